// Steps of images: u8 or f32 [height, width, channels].

#include <algorithm>
#include <array>
#include <cmath>
#include <optional>

#include "eval/preprocess/arguments.h"
#include "eval/preprocess/resize.h"

namespace tenon::eval {
namespace {

using Kind = Parameter::Kind;

constexpr std::string_view kImage = "u8 or f32 [height, width, channels]", kSame = "the same dtype and channels";
constexpr const char* kFilters = "nearest|bilinear|bicubic|lanczos|box|hamming how pixels are weighed";

/// Where a point of the original went: p · scale + offset, y first.
struct Geometry {
  std::array<double, 2> size{}, scale{1, 1}, offset{};
};

std::array<double, 2> pair_in(const Fields& fields, const std::string& name, std::array<double, 2> otherwise) {
  const auto found = fields.find(name);
  const auto* t = found == fields.end() ? nullptr : std::get_if<Tensor>(&found->second);
  if (t == nullptr || t->dtype() != DType::kF32 || t->size() != 2) return otherwise;
  return {t->at_double(0), t->at_double(1)};
}

Geometry geometry_in(const Fields& fields, const std::string& name, const Tensor& image) {
  return {pair_in(fields, name + "_size", {static_cast<double>(image.dim(0)), static_cast<double>(image.dim(1))}),
          pair_in(fields, name + "_scale", {1, 1}), pair_in(fields, name + "_offset", {0, 0})};
}

void set_geometry(Fields& fields, const std::string& name, const Geometry& g) {
  const auto put = [&](const char* what, const std::array<double, 2>& v) {
    fields[name + what] = Tensor::from<float>({2}, {static_cast<float>(v[0]), static_cast<float>(v[1])});
  };
  put("_size", g.size);
  put("_scale", g.scale);
  put("_offset", g.offset);
}

/// What a step did to the pixels of an image, and with them to its points.
struct Moved {
  Tensor image;
  std::array<double, 2> scale{1, 1}, offset{};
};

template <class Function>
StepFunction moving(const StepArguments& a, Function function) {
  return [input = a.input, output = a.output, function = std::move(function)](Fields& fields) -> Status {
    TENON_ASSIGN_OR_RETURN(const Tensor image, image_in(fields, input));
    TENON_ASSIGN_OR_RETURN(Moved moved, function(image));
    Geometry g = geometry_in(fields, input, image);
    for (size_t d = 0; d < 2; ++d) {
      g.scale[d] *= moved.scale[d];
      g.offset[d] = g.offset[d] * moved.scale[d] + moved.offset[d];
    }
    fields[output] = std::move(moved.image);
    set_geometry(fields, output, g);
    return {};
  };
}

Filter filter_of(const std::string& name) {
  constexpr std::pair<std::string_view, Filter> kNames[] = {{"nearest", Filter::kNearest}, {"bilinear", Filter::kBilinear},
                                                            {"bicubic", Filter::kBicubic}, {"lanczos", Filter::kLanczos},
                                                            {"box", Filter::kBox},         {"hamming", Filter::kHamming}};
  for (const auto& [text, filter] : kNames)
    if (text == name) return filter;
  return Filter::kBilinear;
}

Result<Moved> resized(const Tensor& image, int64_t height, int64_t width, Filter filter, bool antialias) {
  TENON_ASSIGN_OR_RETURN(Tensor out, resize_image(image, height, width, filter, antialias));
  return Moved{std::move(out),
               {static_cast<double>(height) / static_cast<double>(image.dim(0)), static_cast<double>(width) / static_cast<double>(image.dim(1))},
               {0, 0}};
}

/// A canvas of height x width with the image's pixel (0, 0) at (top, left), which may be negative; what it leaves open is `value`.
Result<Moved> placed(const Tensor& image, int64_t height, int64_t width, int64_t top, int64_t left, double value) {
  if (height > kMaxSide || width > kMaxSide) return error(Code::kInvalidArgument, "the result of {} x {} is beyond {}", height, width, kMaxSide);
  const int64_t channels = image.dim(2);
  TENON_ASSIGN_OR_RETURN(Tensor out, make_tensor(image.dtype(), {height, width, channels}));
  const auto fill = [&](auto zero) {
    using T = decltype(zero);
    const auto to = out.mutable_span<T>();
    const T filled = std::is_same_v<T, uint8_t> ? static_cast<T>(std::clamp(std::nearbyint(value), 0.0, 255.0)) : static_cast<T>(value);
    std::fill(to.begin(), to.end(), filled);
    const int64_t first = std::max<int64_t>(0, left), last = std::min(width, left + image.dim(1));
    if (first >= last) return;
    for (int64_t y = std::max<int64_t>(0, top); y < std::min(height, top + image.dim(0)); ++y)
      std::copy_n(image.span<T>().data() + ((y - top) * image.dim(1) + first - left) * channels, (last - first) * channels,
                  to.data() + (y * width + first) * channels);
  };
  if (image.dtype() == DType::kU8) fill(uint8_t{0});
  else fill(0.0f);
  return Moved{std::move(out), {1, 1}, {static_cast<double>(top), static_cast<double>(left)}};
}

constexpr Parameter kResize[] = {
    {"size", Kind::kSize, "", "exactly so", 1, kMaxSide},
    {"shortest", Kind::kInteger, "", "the shorter side becomes so, the other int(shortest · longer / shorter)", 1, kMaxSide},
    {"longest", Kind::kInteger, "", "the longer side becomes so, the other keeps the ratio, rounded", 1, kMaxSide},
    {"filter", Kind::kChoice, "\"bilinear\"", kFilters},
    {"antialias", Kind::kBoolean, "true", "filters widen with the reduction, as Pillow's do"}};

Result<StepFunction> make_resize(const StepArguments& a) {
  if (a.has("size") + a.has("shortest") + a.has("longest") != 1)
    return error(Code::kInvalidArgument, "give one of 'size', 'shortest' and 'longest'");
  const Filter filter = filter_of(text(a, "filter"));
  const bool antialias = boolean(a, "antialias");
  if (a.has("size"))
    return moving(a, [=, size = size_of(a, "size")](const Tensor& image) { return resized(image, size.first, size.second, filter, antialias); });
  const bool shortest = a.has("shortest");
  const int64_t side = integer(a, shortest ? "shortest" : "longest");
  return moving(a, [=](const Tensor& image) -> Result<Moved> {
    const int64_t h = image.dim(0), w = image.dim(1), low = std::min(h, w), high = std::max(h, w);
    const int64_t other = shortest ? side * high / low : std::max<int64_t>(1, (2 * side * low + high) / (2 * high));
    const bool height_first = shortest ? h <= w : h >= w;
    return resized(image, height_first ? side : other, height_first ? other : side, filter, antialias);
  });
}

constexpr Parameter kLetterbox[] = {
    {"size", Kind::kSize, "640", "of the result", 1, kMaxSide},
    {"value", Kind::kNumber, "114", "of the pixels around the image"},
    {"align", Kind::kChoice, "\"center\"", "center|top_left where the image goes"},
    {"scale_up", Kind::kBoolean, "true", "whether a smaller image grows"},
    {"filter", Kind::kChoice, "\"bilinear\"", kFilters},
    {"antialias", Kind::kBoolean, "false", "filters widen with the reduction, as Pillow's do"}};

Result<StepFunction> make_letterbox(const StepArguments& a) {
  const auto [height, width] = size_of(a, "size");
  return moving(a, [=, height = height, width = width, value = number(a, "value"), centre = text(a, "align") == "center", up = boolean(a, "scale_up"),
                    filter = filter_of(text(a, "filter")), antialias = boolean(a, "antialias")](const Tensor& image) -> Result<Moved> {
    double ratio = std::min(static_cast<double>(height) / static_cast<double>(image.dim(0)), static_cast<double>(width) / static_cast<double>(image.dim(1)));
    if (!up) ratio = std::min(ratio, 1.0);
    const auto side = [&](int64_t from, int64_t most) {
      return std::clamp<int64_t>(static_cast<int64_t>(std::nearbyint(static_cast<double>(from) * ratio)), 1, most);
    };
    const int64_t h = side(image.dim(0), height), w = side(image.dim(1), width);
    TENON_ASSIGN_OR_RETURN(Moved inner, resized(image, h, w, filter, antialias));
    TENON_ASSIGN_OR_RETURN(Moved out, placed(inner.image, height, width, centre ? (height - h) / 2 : 0, centre ? (width - w) / 2 : 0, value));
    out.scale = inner.scale;
    return out;
  });
}

constexpr Parameter kCenterCrop[] = {
    {"size", Kind::kSize, "", "of the result; a smaller image is padded", 1, kMaxSide},
    {"fraction", Kind::kNumber, "", "of each side, rounded down: instead of size", 1e-6, 1},
    {"value", Kind::kNumber, "0", "of padded pixels"}};

Result<StepFunction> make_center_crop(const StepArguments& a) {
  if (a.has("size") == a.has("fraction")) return error(Code::kInvalidArgument, "give one of 'size' and 'fraction'");
  std::optional<std::pair<int64_t, int64_t>> size;
  if (a.has("size")) size = size_of(a, "size");
  return moving(a, [=, fraction = size ? 1.0 : number(a, "fraction"), value = number(a, "value")](const Tensor& image) {
    const auto part = [&](int64_t side) { return std::max<int64_t>(1, static_cast<int64_t>(static_cast<double>(side) * fraction)); };
    const auto [height, width] = size.value_or(std::pair(part(image.dim(0)), part(image.dim(1))));
    // An image that is larger loses round half to even of the difference before its first pixel, one that is smaller gains its lower half.
    const auto start = [](int64_t from, int64_t to) {
      return from >= to ? -static_cast<int64_t>(std::nearbyint(static_cast<double>(from - to) / 2)) : (to - from) / 2;
    };
    return placed(image, height, width, start(image.dim(0), height), start(image.dim(1), width), value);
  });
}

constexpr Parameter kPad[] = {
    {"size", Kind::kSize, "", "sides grow to it; larger ones stay", 1, kMaxSide},
    {"multiple", Kind::kInteger, "", "sides grow to multiples of it: instead of size", 1, kMaxSide},
    {"value", Kind::kNumber, "0", "of the added pixels"},
    {"align", Kind::kChoice, "\"top_left\"", "center|top_left where the image goes"}};

Result<StepFunction> make_pad(const StepArguments& a) {
  if (a.has("size") == a.has("multiple")) return error(Code::kInvalidArgument, "give one of 'size' and 'multiple'");
  const auto size = a.has("size") ? size_of(a, "size") : std::pair<int64_t, int64_t>(1, 1);
  return moving(a, [=, multiple = a.has("multiple") ? integer(a, "multiple") : 1, value = number(a, "value"),
                    centre = text(a, "align") == "center"](const Tensor& image) {
    const auto grown = [&](int64_t from, int64_t least) { return (std::max(from, least) + multiple - 1) / multiple * multiple; };
    const int64_t h = grown(image.dim(0), size.first), w = grown(image.dim(1), size.second);
    return placed(image, h, w, centre ? (h - image.dim(0)) / 2 : 0, centre ? (w - image.dim(1)) / 2 : 0, value);
  });
}

constexpr Parameter kChannels[] = {{"to", Kind::kChoice, "", "rgb|bgr|grey|grey3 what the channels are; grey3 is grey three times"}};

/// ITU-R BT.601 luma; bytes as Pillow's convert("L") weighs them.
uint8_t luma(const uint8_t* p) { return static_cast<uint8_t>((p[0] * 19595 + p[1] * 38470 + p[2] * 7471 + 0x8000) >> 16); }
float luma(const float* p) { return 0.299f * p[0] + 0.587f * p[1] + 0.114f * p[2]; }

template <class T>
Result<Tensor> to_channels(const Tensor& image, const std::string& to) {
  const int64_t pixels = image.dim(0) * image.dim(1), from = image.dim(2), count = to == "grey" ? 1 : 3;
  TENON_ASSIGN_OR_RETURN(Tensor out, make_tensor(image.dtype(), {image.dim(0), image.dim(1), count}));
  const T* source = image.span<T>().data();
  T* target = out.mutable_span<T>().data();
  const bool grey = to.starts_with("grey") || from == 1;
  for (int64_t i = 0; i < pixels; ++i, source += from, target += count) {
    if (grey) std::fill_n(target, count, from == 1 ? source[0] : luma(source));
    else if (to == "bgr") std::reverse_copy(source, source + 3, target);
    else std::copy_n(source, 3, target);
  }
  return out;
}

Result<StepFunction> make_channels(const StepArguments& a) {
  if (!a.has("to")) return wrong_parameter("to", "is missing");
  return StepFunction([to = text(a, "to"), input = a.input, output = a.output](Fields& fields) -> Status {
    TENON_ASSIGN_OR_RETURN(const Tensor image, image_in(fields, input));
    if (image.dim(2) != 1 && image.dim(2) != 3)
      return error(Code::kInvalidArgument, "the field '{}' has {} channels, not 1 or 3 (red, green, blue)", input, image.dim(2));
    TENON_ASSIGN_OR_RETURN(fields[output], image.dtype() == DType::kU8 ? to_channels<uint8_t>(image, to) : to_channels<float>(image, to));
    return {};
  });
}

constexpr Parameter kLayout[] = {{"to", Kind::kChoice, "\"chw\"", "chw|hwc|hw the order of the dims; hw drops the one channel"}};

Result<StepFunction> make_layout(const StepArguments& a) {
  return StepFunction([to = text(a, "to"), input = a.input, output = a.output](Fields& fields) -> Status {
    TENON_ASSIGN_OR_RETURN(Tensor image, tensor_in(fields, input));
    if (image.rank() == 2) {
      TENON_ASSIGN_OR_RETURN(image, image.reshaped({image.dim(0), image.dim(1), 1}));
    }
    if (image.rank() != 3 || image.dtype() == DType::kString || is_packed(image.dtype()))
      return error(Code::kInvalidArgument, "the field '{}' is {} of shape {}, not [height, width, channels]", input,
                   name(image.dtype()), to_string(image.shape()));
    if (to == "hwc") {
      fields[output] = std::move(image);
      return {};
    }
    const int64_t pixels = image.dim(0) * image.dim(1), channels = image.dim(2);
    if (to == "hw") {
      if (channels != 1) return error(Code::kInvalidArgument, "the field '{}' has {} channels, not 1", input, channels);
      TENON_ASSIGN_OR_RETURN(fields[output], image.reshaped({image.dim(0), image.dim(1)}));
      return {};
    }
    TENON_ASSIGN_OR_RETURN(Tensor out, make_tensor(image.dtype(), {channels, image.dim(0), image.dim(1)}));
    const auto width = static_cast<size_t>(bits(image.dtype())) / 8;
    for (int64_t i = 0; i < pixels; ++i)
      for (int64_t c = 0; c < channels; ++c)
        std::copy_n(image.data() + static_cast<size_t>(i * channels + c) * width, width, out.mutable_data() + static_cast<size_t>(c * pixels + i) * width);
    fields[output] = std::move(out);
    return {};
  });
}

constexpr StepInfo kSteps[] = {
    {"resize", "image", "image", "", kImage, kSame, "Resizes, exactly or by one side.", kResize, make_resize},
    {"letterbox", "image", "image", "", kImage, kSame, "Resizes to fit and fills the rest, as YOLO's detectors want it.", kLetterbox, make_letterbox},
    {"center_crop", "image", "image", "", kImage, kSame, "Cuts the middle out, as torchvision's CenterCrop.", kCenterCrop, make_center_crop},
    {"pad", "image", "image", "", kImage, kSame, "Adds pixels at the edges.", kPad, make_pad},
    {"channels", "image", "image", "", "u8 or f32 [height, width, 1 or 3], red first", "the same with 1 or 3 channels",
     "Reorders channels, or makes grey of them (ITU-R BT.601).", kChannels, make_channels},
    {"layout", "image", kPrevious, "", "[height, width, channels]", "[channels, height, width], or [height, width]", "Reorders dims.", kLayout, make_layout},
};

}  // namespace

std::span<const StepInfo> image_steps() { return kSteps; }

}  // namespace tenon::eval
