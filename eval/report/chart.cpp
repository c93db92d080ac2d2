#include "eval/report/chart.h"

#include <algorithm>
#include <cmath>

#include <fmt/format.h>

#include "eval/report/html.h"

namespace tenon::eval::report {
namespace {

constexpr double kAxisHeight = 22;
// Labels are placed as if plots had this width; where they are narrower, some may touch.
constexpr double kTypicalWidth = 620, kLetter = 7, kLine = 14;

std::string titled(std::string_view title) { return title.empty() ? std::string() : fmt::format("<title>{}</title>", escape(title)); }

std::string position(double fraction) { return fmt::format("{:.3f}%", 100 * std::clamp(fraction, 0.0, 1.0)); }

/// The shape of a series around the origin.
std::string shape(size_t series, double r) {
  switch (series / kColours % 4) {
    case 0: return fmt::format("<circle r=\"{:.1f}\"/>", r);
    case 1: return fmt::format("<path d=\"M{0:.1f} {0:.1f}H-{0:.1f}V-{0:.1f}H{0:.1f}Z\"/>", r * 0.9);
    case 2: return fmt::format("<path d=\"M0 -{0:.1f}L{0:.1f} 0L0 {0:.1f}L-{0:.1f} 0Z\"/>", r * 1.2);
    default: return fmt::format("<path d=\"M0 -{0:.1f}L{0:.1f} {1:.1f}H-{0:.1f}Z\"/>", r * 1.1, r * 0.9);
  }
}

std::string_view anchor(double fraction) { return fraction < 0.04 ? "start" : fraction > 0.96 ? "end" : "middle"; }

/// Powers of two for sizes, else what is round in decimal.
std::vector<double> ticks_of(const Scale& scale, Formatter format, size_t most = 6) {
  if (format != bytes) return scale.ticks(most);
  std::vector<double> out;
  if (scale.is_log()) {
    const double first = std::ceil(std::log2(scale.low())), last = std::floor(std::log2(scale.high()));
    const double stride = std::max(1.0, std::ceil((last - first + 1) / static_cast<double>(most)));
    for (double power = first; power <= last; power += stride) out.push_back(std::exp2(power));
    return out.empty() ? scale.ticks(most) : out;
  }
  const double step = std::exp2(std::ceil(std::log2((scale.high() - scale.low()) / static_cast<double>(most))));
  for (double k = std::ceil(scale.low() / step); k * step <= scale.high() && out.size() <= most; ++k) out.push_back(k == 0 ? 0 : k * step);
  return out;
}

/// Lines of the grid behind a plot.
std::string grid(const Scale& scale, const std::vector<double>& ticks) {
  std::string out;
  for (double tick : ticks) {
    const std::string x = position(scale.at(tick));
    out += fmt::format("<line class=\"grid\" x1=\"{0}\" x2=\"{0}\" y1=\"0\" y2=\"100%\"/>", x);
  }
  return out;
}

/// Every other label of many is left out where the plot is narrow.
std::string x_axis(const Scale& scale, Formatter format) {
  std::string out = fmt::format("<svg class=\"axis\" height=\"{}\" aria-hidden=\"true\">", kAxisHeight);
  const std::vector<double> ticks = ticks_of(scale, format);
  for (size_t i = 0; i < ticks.size(); ++i) {
    const double at = scale.at(ticks[i]);
    out += fmt::format("<text{} x=\"{}\" y=\"15\" text-anchor=\"{}\">{}</text>", ticks.size() > 4 && i % 2 == 1 ? " class=\"wide\"" : "", position(at), anchor(at),
                       trimmed(format(ticks[i])));
  }
  return out + "</svg>";
}

}  // namespace

std::string series_class(size_t series) { return fmt::format("s{}", series % kColours); }

std::string draw_dot(double x, double y, size_t series, std::string_view title, double radius) {
  return fmt::format("<svg class=\"dot {}\" x=\"{}\" y=\"{:.1f}\">{}{}</svg>", series_class(series), position(x), y, titled(title), shape(series, radius));
}

std::string draw_whisker(double low, double high, double y, size_t series) {
  std::string out = fmt::format("<g class=\"whisker {}\"><line x1=\"{}\" x2=\"{}\" y1=\"{y}\" y2=\"{y}\"/>", series_class(series), position(low),
                                position(high), fmt::arg("y", y));
  for (double end : {low, high}) out += fmt::format("<line x1=\"{0}\" x2=\"{0}\" y1=\"{1}\" y2=\"{2}\"/>", position(end), y - 4, y + 4);
  return out + "</g>";
}

std::string draw_box(double low, double high, double y, double height, size_t series, std::string_view part, std::string_view title) {
  return fmt::format("<rect class=\"{} {}\" x=\"{}\" width=\"{}\" y=\"{:.2f}\" height=\"{:.2f}\">{}</rect>", part, series_class(series), position(low),
                     position(high - low), y, height, titled(title));
}

void RowChart::head(std::string label) { body_ += fmt::format("<div class=\"head\">{}</div>\n", label); }

void RowChart::row(std::string label, std::string svg, std::string value) {
  std::string guides;
  for (double guide : guides_)
    guides += fmt::format("<line class=\"guide\" x1=\"{0}\" x2=\"{0}\" y1=\"0\" y2=\"100%\"/>", position(scale_.at(guide)));
  body_ += fmt::format("<div class=\"label\">{}</div><div class=\"value\">{}</div><svg class=\"plot\" height=\"{}\" aria-hidden=\"true\">{}{}{}</svg>\n", label,
                       value, kHeight, grid(scale_, ticks_of(scale_, format_)), guides, svg);
  ++rows_;
}

std::string RowChart::str(std::string_view caption, std::string_view foot) const {
  if (rows_ == 0) return {};
  return fmt::format(
      "<figure><figcaption>{}</figcaption><div class=\"rows\">{}<div class=\"axis-title\">{}</div>{}</div>{}</figure>\n", caption, body_, axis_,
      x_axis(scale_, format_), foot);
}

void XyChart::dot(Point at, size_t series, std::string_view title, double radius) {
  const double x = x_.scale.at(at.x), y = px(at.y);
  body_ += draw_dot(x, y, series, title, radius);
  taken_.push_back({x * kTypicalWidth - radius, y - radius, x * kTypicalWidth + radius, y + radius});
}

void XyChart::label(Point at, std::string_view text, double distance) {
  const double x = x_.scale.at(at.x) * kTypicalWidth, y = px(at.y), width = static_cast<double>(shortened(text, 40).size()) * kLetter;
  struct Place {
    double dx, dy;
    const char* anchor;
  };
  const Place places[] = {{distance, 4, "start"}, {-distance, 4, "end"}, {0, -distance, "middle"}, {0, distance + 10, "middle"},
                          {distance, -distance, "start"}, {distance, distance + 8, "start"}, {-distance, -distance, "end"}, {-distance, distance + 8, "end"}};
  for (const Place& place : places) {
    const double left = x + place.dx - (place.anchor[0] == 'e' ? width : place.anchor[0] == 'm' ? width / 2 : 0);
    const Box box{left, y + place.dy - kLine + 3, left + width, y + place.dy + 3};
    const bool inside = box.left >= 0 && box.right <= kTypicalWidth && box.top >= 0 && box.bottom <= height_;
    const auto overlaps = [&](const Box& other) {
      return box.left < other.right && other.left < box.right && box.top < other.bottom && other.top < box.bottom;
    };
    if (!inside || std::any_of(taken_.begin(), taken_.end(), overlaps)) continue;
    taken_.push_back(box);
    labels_ += fmt::format("<text class=\"name\" x=\"{}\" y=\"{:.1f}\" dx=\"{}\" dy=\"{}\" text-anchor=\"{}\">{}</text>", position(x / kTypicalWidth), y,
                           place.dx, place.dy, place.anchor, escape(shortened(text, 40)));
    return;
  }
}

void XyChart::line(const std::vector<Point>& points, size_t series, std::string_view part, std::string_view dashes) {
  if (points.size() < 2) return;
  body_ += fmt::format("<g class=\"{} {}\"{}>", part, series_class(series), dashes.empty() ? std::string() : fmt::format(" stroke-dasharray=\"{}\"", dashes));
  for (size_t i = 1; i < points.size(); ++i)
    body_ += fmt::format("<line x1=\"{}\" y1=\"{:.1f}\" x2=\"{}\" y2=\"{:.1f}\"/>", position(x_.scale.at(points[i - 1].x)), px(points[i - 1].y),
                         position(x_.scale.at(points[i].x)), px(points[i].y));
  body_ += "</g>";
}

void XyChart::column(double x0, double x1, double y0, double y1, size_t series, std::string_view part, std::string_view title) {
  const double top = px(std::max(y0, y1)), bottom = px(std::min(y0, y1));
  body_ += draw_box(x_.scale.at(x0), x_.scale.at(x1), top, std::max(bottom - top, 0.0), series, part, title);
}

void XyChart::vertical(double x, std::string_view part, std::string_view text, int line) {
  const double at = x_.scale.at(x);
  labels_ += fmt::format("<line class=\"{0}\" x1=\"{1}\" x2=\"{1}\" y1=\"0\" y2=\"100%\"/><text class=\"name\" x=\"{1}\" y=\"{2}\" dx=\"{3}\" text-anchor=\"{4}\">{5}</text>",
                         part, position(at), 12 + 16 * line, at > 0.6 ? -5 : 5, at > 0.6 ? "end" : "start", escape(text));
}

std::string XyChart::plot(std::string_view described) const {
  std::string labels;
  for (double tick : ticks_of(y_.scale, y_.format, 5)) labels += fmt::format("<text x=\"100%\" dx=\"-6\" y=\"{:.1f}\" text-anchor=\"end\">{}</text>", px(tick) + 4, trimmed(y_.format(tick)));
  std::string lines;
  for (double tick : ticks_of(y_.scale, y_.format, 5)) lines += fmt::format("<line class=\"grid\" x1=\"0\" x2=\"100%\" y1=\"{0:.1f}\" y2=\"{0:.1f}\"/>", px(tick));
  return fmt::format(
      "<div class=\"xy\"><div class=\"y-title\">{}</div><svg class=\"axis\" height=\"{h}\" aria-hidden=\"true\">{}</svg>"
      "<svg class=\"plot\" height=\"{h}\" role=\"img\" aria-label=\"{}\">{}{}{}{}</svg>{}<div class=\"x-title\">{}</div></div>",
      y_.title, labels, escape(described), grid(x_.scale, ticks_of(x_.scale, x_.format)), lines, body_, labels_, x_axis(x_.scale, x_.format), x_.title,
      fmt::arg("h", height_));
}

std::string XyChart::str(std::string_view caption, std::string_view described, std::string_view foot) const {
  return fmt::format("<figure><figcaption>{}</figcaption>{}{}</figure>\n", caption, plot(described), foot);
}

std::string legend(const std::vector<std::string>& names, const std::vector<size_t>& series) {
  std::string out = "<ul class=\"legend\">";
  for (size_t i = 0; i < names.size() && i < series.size(); ++i)
    out += fmt::format("<li><svg width=\"14\" height=\"14\" aria-hidden=\"true\">{}</svg>{}</li>", draw_dot(0.5, 7, series[i], {}, 5), names[i]);
  return out + "</ul>\n";
}

}  // namespace tenon::eval::report
