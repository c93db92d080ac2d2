#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "eval/report/scale.h"

/// Charts in SVG that need no script. Positions along x are percentages and those along y pixels, so a chart takes the width that
/// there is, on a phone and on paper, while text and lines keep their size. Colours are classes of the style sheet.
namespace tenon::eval::report {

/// Colours of the palette; a series takes colour and shape by its number, the shape changing when the colours begin anew.
inline constexpr size_t kColours = 8;
/// " class" of what is drawn in the colour of a series: "s3".
std::string series_class(size_t series);

/// What is drawn in a row; positions are fractions of the width, `title` is text that is shown for it.
std::string draw_dot(double x, double y, size_t series, std::string_view title, double radius = 5);
std::string draw_whisker(double low, double high, double y, size_t series);
/// A rectangle; `part` is its class beside the colour: "bar", "faint".
std::string draw_box(double low, double high, double y, double height, size_t series, std::string_view part, std::string_view title = {});

/// Rows that share an axis: a label, what is drawn, the figure in words.
class RowChart {
 public:
  RowChart(Scale scale, Formatter format, std::string axis) : scale_(scale), format_(format), axis_(std::move(axis)) {}
  const Scale& scale() const { return scale_; }
  /// A vertical line through all rows.
  void guide(double value) { guides_.push_back(value); }
  /// `label` and `value` are HTML. Empty rows of a group head it.
  void head(std::string label);
  void row(std::string label, std::string svg, std::string value);
  bool empty() const { return rows_ == 0; }
  size_t rows() const { return rows_; }
  /// A figure with the caption, HTML, and below it `foot`.
  std::string str(std::string_view caption, std::string_view foot = {}) const;

  static constexpr double kHeight = 26, kMiddle = kHeight / 2;

 private:
  Scale scale_;
  Formatter format_;
  std::string axis_;
  std::vector<double> guides_;
  std::string body_;
  size_t rows_ = 0;
};

/// A plane with two axes.
class XyChart {
 public:
  struct Axis {
    Scale scale;
    Formatter format;
    std::string title;  // HTML
  };
  struct Point {
    double x = 0, y = 0;
  };
  XyChart(Axis x, Axis y, double height = 260) : x_(std::move(x)), y_(std::move(y)), height_(height) {}

  void dot(Point at, size_t series, std::string_view title, double radius = 6);
  /// Beside the point, where it is free of earlier labels.
  void label(Point at, std::string_view text, double distance = 8);
  /// `part` is its class: "line", "roof", "front"; `dashes` as in stroke-dasharray, or empty.
  void line(const std::vector<Point>& points, size_t series, std::string_view part, std::string_view dashes = {});
  /// The rectangle between two values of each axis.
  void column(double x0, double x1, double y0, double y1, size_t series, std::string_view part, std::string_view title);
  /// Through the whole height, with a text in so many lines from the top.
  void vertical(double x, std::string_view part, std::string_view text, int line = 0);
  /// `described` says in words what is to be seen.
  std::string str(std::string_view caption, std::string_view described, std::string_view foot = {}) const;
  /// The plot alone, small, without a figure around it.
  std::string plot(std::string_view described) const;

 private:
  double px(double y) const { return height_ * (1 - y_.scale.at(y)); }

  Axis x_, y_;
  double height_;
  std::string body_, labels_;
  struct Box {
    double left, top, right, bottom;
  };
  std::vector<Box> taken_;
};

/// Names of series with their colours; `names` are HTML.
std::string legend(const std::vector<std::string>& names, const std::vector<size_t>& series);

}  // namespace tenon::eval::report
