#include <algorithm>
#include <cmath>
#include <map>
#include <unordered_map>

#include "eval/tasks/judge.h"
#include "support/checked.h"

namespace tenon::eval {
namespace {

/// Scores [channels, height, width], read at any size: bilinear between centres of pixels (align_corners false).
class ScoreMap {
 public:
  ScoreMap(const Tensor& scores, bool channels_last) : channels_(channels_last ? scores.dim(2) : scores.dim(0)),
        height_(scores.dim(channels_last ? 0 : 1)), width_(scores.dim(channels_last ? 1 : 2)), values_(static_cast<size_t>(scores.size())) {
    const int64_t pixels = height_ * width_;
    for (int64_t i = 0; i < scores.size(); ++i) {
      const int64_t to = channels_last ? i % channels_ * pixels + i / channels_ : i;
      const double v = scores.at_double(i);
      values_[static_cast<size_t>(to)] = static_cast<float>(std::isnan(v) ? -INFINITY : v);
    }
  }

  int64_t channels() const { return channels_; }

  struct Tap {
    int64_t low, high;
    double weight;  // of high
  };
  static Tap tap(int64_t at, int64_t size, int64_t source) {
    const double x = std::clamp((static_cast<double>(at) + 0.5) * static_cast<double>(source) / static_cast<double>(size) - 0.5, 0.0, static_cast<double>(source - 1));
    const auto low = static_cast<int64_t>(x);
    return {low, std::min(low + 1, source - 1), x - static_cast<double>(low)};
  }
  Tap row(int64_t y, int64_t rows) const { return tap(y, rows, height_); }
  Tap column(int64_t x, int64_t columns) const { return tap(x, columns, width_); }

  double at(int64_t c, const Tap& y, const Tap& x) const {
    const double top = mix(at(c, y.low, x.low), at(c, y.low, x.high), x.weight);
    return y.weight == 0 ? top : mix(top, mix(at(c, y.high, x.low), at(c, y.high, x.high), x.weight), y.weight);
  }

 private:
  static double mix(double a, double b, double weight) { return weight == 0 ? a : a + (b - a) * weight; }
  double at(int64_t c, int64_t y, int64_t x) const { return values_[static_cast<size_t>((c * height_ + y) * width_ + x)]; }

  int64_t channels_, height_, width_;
  std::vector<float> values_;
};

class PixelJudge final : public Judge {
 public:
  explicit PixelJudge(const TaskContext& context)
      : context_(context), channels_last_(context.options.value("layout", "chw") == "hwc"), ignore_(context.options.value("ignore", int64_t{255})),
        classes_(context.options.value("classes", int64_t{0})), threshold_(context.options.value("threshold", 0.5)) {}

  Result<Outcome> judge(const Item& item) const override {
    TENON_ASSIGN_OR_RETURN(Tensor mask, item_tensor(item, context_.labels.field));
    Shape shape = mask.shape();
    while (shape.size() > 2 && shape.front() == 1) shape.erase(shape.begin());
    while (shape.size() > 2 && shape.back() == 1) shape.pop_back();
    if (shape.size() != 2 || mask.size() == 0 || !(is_int(mask.dtype()) || mask.dtype() == DType::kBool))
      return error(Code::kInvalidArgument, "field '{}' has shape {}, not [height, width] of classes", context_.labels.field, to_string(mask.shape()));
    TENON_ASSIGN_OR_RETURN(mask, mask.reshaped(shape));
    TENON_ASSIGN_OR_RETURN(const Tensor raw, role_tensor(context_, item, "scores"));
    return is_float(raw.dtype()) ? by_scores(item, mask) : by_classes(item, mask);
  }

 private:
  Result<Outcome> by_scores(const Item& item, const Tensor& mask) const {
    const HostValue* value = role_value(context_, item, "scores");
    const bool flat = std::get<Tensor>(*value).rank() == 2;
    TENON_ASSIGN_OR_RETURN(Tensor scores, role_tensor(context_, item, "scores", flat ? 2 : 3));
    if (flat) {
      TENON_ASSIGN_OR_RETURN(scores, scores.reshaped(channels_last_ ? Shape{scores.dim(0), scores.dim(1), 1} : Shape{1, scores.dim(0), scores.dim(1)}));
    }
    if (scores.size() == 0) return error(kUnusableOutput, "the output for scores is empty");
    const ScoreMap map(scores, channels_last_);
    TENON_ASSIGN_OR_RETURN(Counts out, start(map.channels() == 1 ? 2 : map.channels()));
    const int64_t rows = mask.dim(0), columns = mask.dim(1);
    std::vector<ScoreMap::Tap> across;
    for (int64_t x = 0; x < columns; ++x) across.push_back(map.column(x, columns));
    for (int64_t y = 0; y < rows; ++y) {
      const ScoreMap::Tap down = map.row(y, rows);
      for (int64_t x = 0; x < columns; ++x) {
        int64_t best = 0;
        double top = map.at(0, down, across[static_cast<size_t>(x)]);
        if (map.channels() == 1) best = top > threshold_;
        for (int64_t c = 1; c < map.channels(); ++c)
          if (const double v = map.at(c, down, across[static_cast<size_t>(x)]); v > top) {
            top = v;
            best = c;
          }
        TENON_RETURN_IF_ERROR(count(mask.at_int(y * columns + x), best, out));
      }
    }
    return Outcome(finish(out));
  }

  Result<Outcome> by_classes(const Item& item, const Tensor& mask) const {
    TENON_ASSIGN_OR_RETURN(const Tensor made, role_tensor(context_, item, "scores", 2));
    if (made.size() == 0) return error(kUnusableOutput, "the output for scores is empty");
    if (classes_ < 1) return error(Code::kInvalidArgument, "the model gives classes, but not how many there are").with_hint("set options.classes");
    TENON_ASSIGN_OR_RETURN(Counts out, start(classes_));
    const int64_t rows = mask.dim(0), columns = mask.dim(1);
    for (int64_t y = 0; y < rows; ++y)
      for (int64_t x = 0; x < columns; ++x) {
        const int64_t from = y * made.dim(0) / rows * made.dim(1) + x * made.dim(1) / columns;
        const int64_t predicted = made.at_int(from);
        if (predicted < 0 || predicted >= classes_)
          return error(kUnusableOutput, "the model gives class {}, beyond options.classes {}", predicted, classes_);
        TENON_RETURN_IF_ERROR(count(mask.at_int(y * columns + x), predicted, out));
      }
    return Outcome(finish(out));
  }

  /// Pixels by label * classes + predicted class.
  struct Counts {
    int64_t classes = 0;
    std::unordered_map<int64_t, int64_t> pixels;
  };

  static Result<Counts> start(int64_t classes) {
    constexpr int64_t kMostClasses = 1024;
    if (classes > kMostClasses) return error(Code::kResourceExhausted, "{} classes of pixels; {} are possible", classes, kMostClasses);
    return Counts{classes, {}};
  }

  Status count(int64_t label, int64_t predicted, Counts& out) const {
    if (label == ignore_) return {};
    label += context_.labels.offset;
    if (label < 0) return {};
    if (label >= out.classes) return error(Code::kInvalidArgument, "a pixel has class {}, beyond the model's {}", label, out.classes);
    ++out.pixels[label * out.classes + predicted];
    return {};
  }

  static PixelOutcome finish(const Counts& counts) {
    PixelOutcome out{counts.classes, {}};
    for (const auto& [pair, pixels] : std::map(counts.pixels.begin(), counts.pixels.end()))
      out.counts.push_back({pair / counts.classes, pair % counts.classes, pixels});
    return out;
  }

  TaskContext context_;
  bool channels_last_;
  int64_t ignore_, classes_;
  double threshold_;
};

}  // namespace

Result<std::unique_ptr<Judge>> make_pixel_judge(const TaskContext& context) {
  if (const std::string layout = context.options.value("layout", "chw"); layout != "chw" && layout != "hwc")
    return Status(Code::kInvalidArgument, fmt::format("'{}' is no layout", layout), "options.layout", "choose from chw, hwc");
  constexpr int64_t kFarthest = 1 << 16;
  if (std::abs(context.labels.offset) > kFarthest) return Status(Code::kInvalidArgument, "the offset is too large", "labels.offset");
  return std::unique_ptr<Judge>(std::make_unique<PixelJudge>(context));
}

}  // namespace tenon::eval
