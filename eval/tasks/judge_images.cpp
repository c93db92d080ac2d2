#include <algorithm>
#include <cmath>

#include "eval/metrics/image_quality.h"
#include "eval/tasks/judge.h"

namespace tenon::eval {
namespace {

/// An image as f32 [height, width, channels] without its border, in [0, 1].
Result<Tensor> normal_form(const Tensor& t, bool planar, double peak, int64_t border, std::string_view what) {
  Shape shape = t.shape();
  while (shape.size() > 3 && shape[0] == 1) shape.erase(shape.begin());
  if (shape.size() == 2) shape.insert(planar ? shape.begin() : shape.end(), 1);
  if (shape.size() != 3 || !(is_float(t.dtype()) || is_int(t.dtype())))
    return error(Code::kInvalidArgument, "{} has shape {}, not that of an image", what, to_string(t.shape()));
  const int64_t channels = shape[planar ? 0 : 2], rows = shape[planar ? 1 : 0], columns = shape[planar ? 2 : 1];
  if (border > (std::min(rows, columns) - 1) / 2) return error(Code::kInvalidArgument, "{} of {} x {} pixels has no room for a border of {}", what, rows, columns, border);
  TENON_ASSIGN_OR_RETURN(Tensor out, Tensor::empty(DType::kF32, {rows - 2 * border, columns - 2 * border, channels}));
  const std::span<float> to = out.mutable_span<float>();
  size_t at = 0;
  for (int64_t y = border; y < rows - border; ++y)
    for (int64_t x = border; x < columns - border; ++x)
      for (int64_t c = 0; c < channels; ++c, ++at) {
        const double v = t.at_double(planar ? (c * rows + y) * columns + x : (y * columns + x) * channels + c) / peak;
        to[at] = static_cast<float>(std::clamp(v, 0.0, 1.0));
      }
  return out;
}

/// The target is an image of the data set (u8, channels last) or what preprocessing made of it, in the form of the output.
class ImageJudge final : public Judge {
 public:
  explicit ImageJudge(const TaskContext& context)
      : context_(context), planar_(context.options.value("layout", "chw") == "chw"), peak_(context.options.value("peak", 1.0)),
        border_(context.options.value("border", int64_t{0})) {}

  Result<Outcome> judge(const Item& item) const override {
    TENON_ASSIGN_OR_RETURN(const Tensor raw, role_tensor(context_, item, "image"));
    TENON_ASSIGN_OR_RETURN(const Tensor wanted, item_tensor(item, context_.labels.field));
    TENON_ASSIGN_OR_RETURN(const Tensor made, normal_form(raw, planar_, peak_, border_, "the output"));
    const bool bytes = wanted.dtype() == DType::kU8;
    TENON_ASSIGN_OR_RETURN(const Tensor target, normal_form(wanted, !bytes && planar_, bytes ? 255 : peak_, border_, "the target"));
    if (made.shape() != target.shape())
      return error(Code::kInvalidArgument, "the output is an image of {}, the target of {}", to_string(made.shape()), to_string(target.shape()));
    ImageOutcome out;
    out.mse = mse(made, target);
    out.ssim = ssim(made, target, out.peak);
    return Outcome(out);
  }

 private:
  TaskContext context_;
  bool planar_;
  double peak_;
  int64_t border_;
};

}  // namespace

Result<std::unique_ptr<Judge>> make_image_judge(const TaskContext& context) {
  if (const std::string layout = context.options.value("layout", "chw"); layout != "chw" && layout != "hwc")
    return Status(Code::kInvalidArgument, fmt::format("'{}' is no layout", layout), "options.layout", "choose from chw, hwc");
  if (!(context.options.value("peak", 1.0) > 0)) return Status(Code::kInvalidArgument, "the peak must be positive", "options.peak");
  if (context.options.value("border", int64_t{0}) < 0) return Status(Code::kInvalidArgument, "the border is negative", "options.border");
  return std::unique_ptr<Judge>(std::make_unique<ImageJudge>(context));
}

}  // namespace tenon::eval
