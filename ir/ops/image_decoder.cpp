#include "image/decode.h"
#include "ir/ops/families.h"
#include "ir/ops/nn_helpers.h"
#include "support/log.h"

namespace tenon::ir {
namespace {

enum class PixelFormat : uint8_t { kRgb, kBgr, kGrayscale };

std::optional<PixelFormat> pixel_format(const Node& node) {
  const std::string name = node.attr_string("pixel_format", "RGB");
  if (name == "RGB") return PixelFormat::kRgb;
  if (name == "BGR") return PixelFormat::kBgr;
  if (name == "Grayscale") return PixelFormat::kGrayscale;
  return std::nullopt;
}

Status infer_image_decoder(InferContext& c) {
  TENON_RETURN_IF_ERROR(require_rank(c, 0, 1));
  const auto format = pixel_format(c.node());
  if (!format)
    return c.fail("attribute pixel_format is '{}', not RGB, BGR or Grayscale",
                  c.node().attr_string("pixel_format", ""));
  c.set(0, tensor_of(DType::kU8, {c.fresh_dim(0, 0), c.fresh_dim(0, 1), *format == PixelFormat::kGrayscale ? 1 : 3}));
  return {};
}

/// Luma of ITU-R BT.601 in 16-bit fixed point, as Pillow's convert("L").
uint8_t luma(const uint8_t* rgb) {
  return static_cast<uint8_t>((rgb[0] * 19595 + rgb[1] * 38470 + rgb[2] * 7471 + 0x8000) >> 16);
}

/// What cannot be decoded is an empty image, by the op's definition, and a warning; beyond the limits it is an error.
Status eval_image_decoder(EvalContext& c) {
  const Tensor& stream = c.tensor(0);
  const PixelFormat format = pixel_format(c.node).value_or(PixelFormat::kRgb);
  const int64_t channels = format == PixelFormat::kGrayscale ? 1 : 3;
  if (stream.rank() != 1) return eval_error(c, Code::kInvalidArgument, "the encoded stream must have rank 1");
  image::DecodeLimits limits;
  limits.max_bytes = std::min(limits.max_bytes, c.max_bytes);
  const auto* bytes = reinterpret_cast<const uint8_t*>(stream.data());
  Result<image::Image> decoded = image::decode({bytes, static_cast<size_t>(stream.size())}, limits);
  if (!decoded.ok() && decoded.status().code() == Code::kResourceExhausted)
    return std::move(decoded).status().at(c.node.name());
  if (!decoded.ok()) {
    log(LogLevel::kWarn, "ImageDecoder {}: {}; the result is empty", c.node.name(), decoded.status().what());
    return c.allocate(0, DType::kU8, {0, 0, channels}).status();
  }
  TENON_ASSIGN_OR_RETURN(Tensor * out, c.allocate(0, DType::kU8, {decoded->height, decoded->width, channels}));
  auto* to = reinterpret_cast<uint8_t*>(out->mutable_data());
  for (const uint8_t *from = decoded->pixels.data(), *end = from + decoded->pixels.size(); from != end;
       from += 3, to += channels) {
    if (format == PixelFormat::kGrayscale)
      to[0] = luma(from);
    else
      for (int i = 0; i < 3; ++i) to[i] = from[format == PixelFormat::kBgr ? 2 - i : i];
  }
  return {};
}

}  // namespace

std::vector<OpDef> image_ops() {
  return {{.domain = "",
           .name = "ImageDecoder",
           .inputs = {{"encoded_stream", "T1", dtypes(DType::kU8)}},
           .outputs = {{"image", "T2", dtypes(DType::kU8)}},
           .attrs = {{"pixel_format", AttrKind::kString, false, "RGB"}},
           .infer = infer_image_decoder,
           .compute = {.eval = eval_image_decoder},
           .doc = "The pixels of an image file, channels last (ONNX ImageDecoder).",
           .host = "it reads a compressed file from beginning to end"}};
}

}  // namespace tenon::ir
