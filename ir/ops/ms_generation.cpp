#include <cmath>
#include <cstring>
#include <limits>

#include "ir/ops/body_helpers.h"
#include "ir/ops/budget.h"
#include "ir/ops/contrib.h"
#include "ir/ops/decompose.h"

/// com.microsoft ops around the generation of text and the sampling of images, whose work is not element by element.
namespace tenon::ir {
namespace {

constexpr DTypeSet kFloat = dtypes(DType::kF32);
constexpr DTypeSet kInt32 = dtypes(DType::kI32);
constexpr DTypeSet kInt64 = dtypes(DType::kI64);

// ---- DynamicTimeWarping

Status infer_time_warping(InferContext& c) {
  if (c.ranked(0)) {
    const size_t rank = c.shape(0).size();
    if (rank != 2 && rank != 3) return c.fail("the input has rank {}; it must be 2 or 3", rank);
    if (rank == 3) TENON_RETURN_IF_ERROR(require_equal(c, c.shape(0)[0], 1, "the batch"));
  }
  c.set(0, tensor_of(DType::kI32, {2, c.fresh_dim(0, 1)}));
  return {};
}

/// The cheapest monotonic path through a matrix of costs (Sakoe and Chiba 1978), as rows and columns. Of equal
/// predecessors the one in the same row is taken.
Status eval_time_warping(EvalContext& c) {
  const Tensor& x = c.tensor(0);
  if (x.rank() != 2 && !(x.rank() == 3 && x.dim(0) == 1)) return eval_error(c, Code::kInvalidArgument, "the input must be [rows, columns] or [1, rows, columns]");
  const int64_t rows = x.dim(x.rank() - 2), columns = x.dim(x.rank() - 1);
  TENON_ASSIGN_OR_RETURN(const int64_t cells, element_count(std::vector<int64_t>{rows + 1, columns + 1}));
  if (cells > c.max_bytes / 16) return eval_error(c, Code::kResourceExhausted, "a matrix of {} x {} costs is too large", rows, columns);
  enum Step : uint8_t { kBoth, kRow, kColumn };
  std::vector<float> cost(static_cast<size_t>(cells), std::numeric_limits<float>::infinity());
  std::vector<uint8_t> step(static_cast<size_t>(cells), kBoth);
  const auto at = [&](int64_t i, int64_t j) { return static_cast<size_t>(i * (columns + 1) + j); };
  cost[0] = 0;
  for (int64_t j = 0; j <= columns; ++j) step[at(0, j)] = kColumn;
  for (int64_t i = 0; i <= rows; ++i) step[at(i, 0)] = kRow;
  const std::vector<float> values = floats_of(x);
  StepCounter steps(c.interrupt);
  for (int64_t i = 1; i <= rows; ++i) {
    TENON_RETURN_IF_ERROR(steps.add(columns + 1));
    for (int64_t j = 1; j <= columns; ++j) {
      const float both = cost[at(i - 1, j - 1)], row = cost[at(i - 1, j)], column = cost[at(i, j - 1)];
      const Step best = both < row && both < column ? kBoth : row < both && row < column ? kRow : kColumn;
      step[at(i, j)] = best;
      cost[at(i, j)] = values[static_cast<size_t>((i - 1) * columns + j - 1)] + (best == kBoth ? both : best == kRow ? row : column);
    }
  }
  std::vector<std::pair<int64_t, int64_t>> path;
  for (int64_t i = rows, j = columns; i > 0 || j > 0;) {
    path.emplace_back(i - 1, j - 1);
    const uint8_t s = step[at(i, j)];
    if (s != kColumn) --i;
    if (s != kRow) --j;
  }
  const int64_t length = static_cast<int64_t>(path.size());
  TENON_ASSIGN_OR_RETURN(Tensor * out, c.allocate(0, DType::kI32, {2, length}));
  for (int64_t k = 0; k < length; ++k) {
    const auto& [i, j] = path[static_cast<size_t>(length - 1 - k)];
    out->set_int(k, i);
    out->set_int(length + k, j);
  }
  return {};
}

// ---- NGramRepeatBlock

Status infer_ngrams(InferContext& c) {
  if (c.node().attr_int("ngram_size", 0) < 1) return c.fail("attribute ngram_size is {}; it must be positive", c.node().attr_int("ngram_size", 0));
  for (int i : {0, 1}) TENON_RETURN_IF_ERROR(require_rank(c, i, 2));
  if (c.ranked(0) && c.ranked(1)) TENON_RETURN_IF_ERROR(require_equal(c, c.shape(0)[0], c.shape(1)[0], "ids and scores"));
  if (c.ranked(1) && exceeds(c.node(), 1, c.shape(1)[1])) return c.fail("there are no scores");
  c.set(0, c.in(1));
  return {};
}

/// Scores of tokens that would complete an n-gram which the ids hold already become -inf.
Status eval_ngrams(EvalContext& c) {
  const Tensor &ids = c.tensor(0), &scores = c.tensor(1);
  if (ids.rank() != 2 || scores.rank() != 2 || ids.dim(0) != scores.dim(0)) return eval_error(c, Code::kInvalidArgument, "ids and scores must be matrices of one batch");
  const int64_t size = c.node.attr_int("ngram_size", 0), steps = ids.dim(1), words = scores.dim(1);
  TENON_ASSIGN_OR_RETURN(Tensor * out, c.allocate(0, scores.dtype(), scores.shape()));
  copy_range(scores, 0, *out, 0, scores.size());
  StepCounter counter(c.interrupt);
  for (int64_t b = 0; b < ids.dim(0); ++b)
    for (int64_t i = 0; i + size <= steps; ++i) {
      TENON_RETURN_IF_ERROR(counter.add(size));
      bool same = true;
      for (int64_t j = 0; same && j + 1 < size; ++j) same = ids.at_int(b * steps + i + j) == ids.at_int(b * steps + steps + 1 - size + j);
      if (!same) continue;
      const int64_t token = ids.at_int(b * steps + i + size - 1);
      if (token < 0 || token >= words) return eval_error(c, Code::kOutOfRange, "token {} is outside the {} scores", token, words);
      out->set_double(b * words + token, -std::numeric_limits<double>::infinity());
    }
  return {};
}

constexpr int64_t kMaxUnrolled = 32;

/// Which windows of the ids are like their end, then a mark at the token that followed each of those.
Result<std::vector<Value*>> decompose_ngrams(Node& node, Builder& b) {
  TENON_RETURN_IF_ERROR(require_ranked_inputs(node));
  Steps s(node, b);
  Value *ids = s.in(0), *scores = s.in(1);
  const int64_t size = node.attr_int("ngram_size", 0);
  if (size > kMaxUnrolled) return error(Code::kUnsupported, "n-grams of {} ids would be as many comparisons", size);
  const Dim batch = ids->tensor().dim(0), steps = ids->tensor().dim(1), words = scores->tensor().dim(1);
  const Dim windows = max(steps - Dim(size - 1), 0);
  Value* zero = b.scalar(DType::kI64, 0);
  Value* padded = s.concat({ids, s.expand(zero, {batch, 1})}, 1);  // so that there is an id even where there are none
  Value* like_end = nullptr;
  for (int64_t j = 0; j + 1 < size; ++j) {
    Value* end = b.make("Gather", {padded, s.dim_vector({max(steps - Dim(size - 1 - j), 0)})}, {{"axis", int64_t{1}}});
    Value* same = b.make("Equal", {s.slice(ids, 1, j, windows + j), end});
    like_end = like_end == nullptr ? same : b.make("And", {like_end, same});
  }
  Value* token = s.slice(ids, 1, size - 1, windows + (size - 1));
  token = b.make("Where", {b.make("Less", {token, zero}), s.dim_scalar(words), token});  // a negative one is out of range, too
  if (like_end == nullptr) like_end = b.make("Equal", {token, token});
  Value* at = b.make("Where", {like_end, token, zero});
  Value* none = s.expand(b.scalar(DType::kI32, 0), {batch, words});
  Value* marks = b.make("ScatterElements", {none, at, s.cast(like_end, DType::kI32)}, {{"axis", int64_t{1}}, {"reduction", std::string("max")}});
  Value* banned = s.like(scores, -std::numeric_limits<double>::infinity());
  return s.done({b.make("Where", {s.cast(marks, DType::kBool), banned, scores})});
}

// ---- MurmurHash3

Status infer_murmur(InferContext& c) {
  const DType out = c.node().attr_int("positive", 1) != 0 ? DType::kU32 : DType::kI32;
  c.set(0, c.ranked(0) ? tensor_of(out, c.shape(0)) : unranked(out));
  return {};
}

/// MurmurHash3_x86_32 (Appleby, public domain).
uint32_t murmur3(std::span<const std::byte> data, uint32_t seed) {
  const auto rotate = [](uint32_t x, int n) { return (x << n) | (x >> (32 - n)); };
  const auto mixed = [&](uint32_t k) { return rotate(k * 0xcc9e2d51U, 15) * 0x1b873593U; };
  uint32_t h = seed;
  const size_t blocks = data.size() / 4;
  for (size_t i = 0; i < blocks; ++i) {
    uint32_t k = 0;
    std::memcpy(&k, data.data() + 4 * i, 4);
    h = rotate(h ^ mixed(k), 13) * 5 + 0xe6546b64U;
  }
  uint32_t tail = 0;
  for (size_t i = data.size() & 3; i-- > 0;) tail = (tail << 8) | static_cast<uint32_t>(data[4 * blocks + i]);
  h ^= mixed(tail);
  h ^= static_cast<uint32_t>(data.size());
  h = (h ^ (h >> 16)) * 0x85ebca6bU;
  h = (h ^ (h >> 13)) * 0xc2b2ae35U;
  return h ^ (h >> 16);
}

/// murmur3 of one or two words of 32 bits.
Result<std::vector<Value*>> decompose_murmur(Node& node, Builder& b) {
  Steps s(node, b);
  const DType dtype = node.input(0)->dtype();
  if (dtype == DType::kString) return error(Code::kUnsupported, "variable-length strings");
  const bool wide = bits(dtype) == 64;
  Value* x = b.make("BitCast", {s.in(0)}, {{"to", onnx_code(wide ? DType::kU64 : DType::kU32)}});
  const auto u32 = [&](uint32_t v) { return b.scalar(DType::kU32, v); };
  const auto times = [&](Value* v, uint32_t by) { return s.mul(v, u32(by)); };
  const auto mix = [&](Value* v, Value* w) { return b.make("BitwiseXor", {v, w}); };
  const auto shift = [&](Value* v, int by, const char* direction) {
    return b.make("BitShift", {v, s.like(v, by)}, {{"direction", std::string(direction)}});
  };
  const auto rotate = [&](Value* v, int by) { return b.make("BitwiseOr", {shift(v, by, "LEFT"), shift(v, 32 - by, "RIGHT")}); };
  std::vector<Value*> words = {s.cast(x, DType::kU32)};
  if (wide) words.push_back(s.cast(shift(x, 32, "RIGHT"), DType::kU32));
  Value* h = u32(static_cast<uint32_t>(node.attr_int("seed", 0)));
  for (Value* word : words) {
    Value* mixed = times(rotate(times(word, 0xcc9e2d51U), 15), 0x1b873593U);
    h = s.add(times(rotate(mix(mixed, h), 13), 5), u32(0xe6546b64U));
  }
  h = mix(h, u32(wide ? 8 : 4));
  h = times(mix(h, shift(h, 16, "RIGHT")), 0x85ebca6bU);
  h = times(mix(h, shift(h, 13, "RIGHT")), 0xc2b2ae35U);
  return s.done({s.cast(mix(h, shift(h, 16, "RIGHT")), node.output(0)->dtype())});
}

Status eval_murmur(EvalContext& c) {
  const Tensor& x = c.tensor(0);
  const uint32_t seed = static_cast<uint32_t>(c.node.attr_int("seed", 0));
  TENON_ASSIGN_OR_RETURN(Tensor * out, c.allocate(0, c.node.output(0)->dtype(), x.shape()));
  const size_t width = x.dtype() == DType::kString ? 0 : static_cast<size_t>(bits(x.dtype()) / 8);
  StepCounter steps(c.interrupt);
  for (int64_t i = 0; i < x.size(); ++i) {
    const auto bytes = x.dtype() == DType::kString ? std::as_bytes(std::span(x.string_values()[static_cast<size_t>(i)]))
                                                   : std::span(x.data() + width * static_cast<size_t>(i), width);
    TENON_RETURN_IF_ERROR(steps.add(std::ssize(bytes) + 8));
    const uint32_t hash = murmur3(bytes, seed);
    out->set_int(i, out->dtype() == DType::kU32 ? static_cast<int64_t>(hash) : static_cast<int32_t>(hash));
  }
  return {};
}

// ---- CropAndResize

Status infer_crop(InferContext& c) {
  const std::string mode = c.node().attr_string("mode", "bilinear");
  if (mode != "bilinear" && mode != "nearest") return c.fail("attribute mode is \"{}\"", mode);
  TENON_RETURN_IF_ERROR(require_rank(c, 0, 4));
  TENON_RETURN_IF_ERROR(require_rank(c, 1, 2));
  for (int i : {2, 3}) TENON_RETURN_IF_ERROR(require_rank(c, i, 1));
  if (c.ranked(1)) TENON_RETURN_IF_ERROR(require_equal(c, c.shape(1)[1], 4, "coordinates of a box"));
  if (c.ranked(1) && c.ranked(2)) TENON_RETURN_IF_ERROR(require_equal(c, c.shape(1)[0], c.shape(2)[0], "boxes and their images"));
  c.set(0, unranked(c.dtype(0)));
  if (!c.ranked(0) || !c.ranked(1)) return {};
  const auto size = c.dim_values(3);
  if (size && size->size() != 2) return c.fail("crop_size has {} entries where 2 are needed", size->size());
  Dims out = {c.shape(1)[0], c.shape(0)[1]};
  for (int i = 0; i < 2; ++i) {
    out.push_back(size ? (*size)[static_cast<size_t>(i)] : c.fresh_dim(0, 2 + i));
    if (bounds(out.back()).hi < 1) return c.fail("crop_size has the entry {}", to_string(out.back()));
  }
  c.set(0, tensor_of(c.dtype(0), std::move(out)));
  return {};
}

/// Where output `i` of `count` reads an axis of `extent` between the normalised `from` and `to`.
float crop_position(int64_t i, int64_t count, float from, float to, int64_t extent) {
  const float last = static_cast<float>(extent - 1);
  if (count == 1) return 0.5F * (from + to) * last;
  return from * last + static_cast<float>(i) * ((to - from) * last / static_cast<float>(count - 1));
}

/// Boxes (y1, x1, y2, x2), normalised to the image less one, resized to one size (TensorFlow's crop_and_resize).
Status eval_crop(EvalContext& c) {
  const Tensor &x = c.tensor(0), &boxes = c.tensor(1), &images = c.tensor(2);
  const std::vector<int64_t> size = ints_of(c.tensor(3));
  if (x.rank() != 4 || boxes.rank() != 2 || boxes.dim(1) != 4 || images.rank() != 1 || images.dim(0) != boxes.dim(0) || size.size() != 2)
    return eval_error(c, Code::kInvalidArgument, "the shapes of the image, the boxes and their images do not fit");
  if (size[0] < 1 || size[1] < 1) return eval_error(c, Code::kInvalidArgument, "crop_size must be positive");
  const int64_t channels = x.dim(1), height = x.dim(2), width = x.dim(3);
  const double outside = c.node.attr_float("extrapolation_value", 0);
  const bool nearest = c.node.attr_string("mode", "bilinear") == "nearest";
  TENON_ASSIGN_OR_RETURN(Tensor * out, c.allocate(0, x.dtype(), {boxes.dim(0), channels, size[0], size[1]}));
  TENON_RETURN_IF_ERROR(check_scratch(c, (Dim(x.size()) + boxes.size()) * 4));
  const std::vector<float> pixels = floats_of(x), box = floats_of(boxes);
  StepCounter steps(c.interrupt);
  int64_t at = 0;
  for (int64_t r = 0; r < boxes.dim(0); ++r) {
    const int64_t image = images.at_int(r);
    if (image < 0 || image >= x.dim(0)) return eval_error(c, Code::kOutOfRange, "box {} is in image {} of {}", r, image, x.dim(0));
    const float* b = box.data() + 4 * r;
    for (int64_t ch = 0; ch < channels; ++ch) {
      const float* plane = pixels.data() + (image * channels + ch) * height * width;
      for (int64_t i = 0; i < size[0]; ++i)
        for (int64_t j = 0; j < size[1]; ++j, ++at) {
          TENON_RETURN_IF_ERROR(steps.add(8));
          const float y = crop_position(i, size[0], b[0], b[2], height), z = crop_position(j, size[1], b[1], b[3], width);
          if (!(y >= 0 && y <= static_cast<float>(height - 1) && z >= 0 && z <= static_cast<float>(width - 1))) {
            out->set_double(at, outside);
            continue;
          }
          if (nearest) {
            out->set_double(at, plane[std::lround(y) * width + std::lround(z)]);
            continue;
          }
          const int64_t top = static_cast<int64_t>(std::floor(y)), left = static_cast<int64_t>(std::floor(z));
          const int64_t bottom = static_cast<int64_t>(std::ceil(y)), right = static_cast<int64_t>(std::ceil(z));
          const float dy = y - static_cast<float>(top), dz = z - static_cast<float>(left);
          const auto row = [&](int64_t h) { return plane[h * width + left] + (plane[h * width + right] - plane[h * width + left]) * dz; };
          out->set_double(at, row(top) + (row(bottom) - row(top)) * dy);
        }
    }
  }
  return {};
}

/// eval_crop's arithmetic, in f32 as there.
Result<std::vector<Body>> crop_body(const Node& node) {
  TENON_RETURN_IF_ERROR(require_known_shape(node));
  Body body = start_body(node, ComputeKind::kMovement);
  ExprPool& p = *body.pool;
  const Dims& x = input_dims(node, 0);
  const Expr box = p.index(0);
  const Expr image = p.checked_index(p.cast(load_at(body, node, 2, std::vector<Expr>{box}), DType::kI64), p.dim(x[0]));
  const auto real = [&](Expr i) { return p.cast(i, DType::kF32); };
  Expr position[2], inside;
  for (int axis = 0; axis < 2; ++axis) {
    const auto edge = [&](int64_t k) { return load_as(p, node, 1, std::vector<Expr>{box, i64(p, k)}, DType::kF32); };
    const Expr from = edge(axis), to = edge(axis + 2), last = real(p.dim(x[static_cast<size_t>(2 + axis)]) - 1.0);
    const Dim count = body.axes[static_cast<size_t>(2 + axis)];
    const Expr centre = (from + to) * 0.5 * last;
    const Expr stepped = from * last + real(p.index(2 + axis)) * ((to - from) * last / real(p.dim(count) - 1.0));
    position[axis] = count.is_const(1) ? centre : select(p.dim(count) == i64(p, 1), centre, stepped);
    const Expr within = position[axis] >= 0.0 && position[axis] <= last;
    inside = inside.valid() ? inside && within : within;
  }
  const Expr none = p.constant(body.dtype, 0);
  const auto pixel = [&](Expr y, Expr z) {
    const std::vector<Expr> at = {image, p.index(1), p.cast(y, DType::kI64), p.cast(z, DType::kI64)};
    return real(p.load_guarded(0, body.dtype, at, inside, none));
  };
  // Where nothing is read the position may be anything, also what no integer holds.
  for (Expr& v : position) v = select(inside, v, p.constant(DType::kF32, 0));
  Expr value;
  if (node.attr_string("mode", "bilinear") == "nearest") {
    const auto nearest = [&](Expr v) { return floor(v) + select(v - floor(v) >= 0.5, p.constant(DType::kF32, 1), p.constant(DType::kF32, 0)); };
    value = pixel(nearest(position[0]), nearest(position[1]));
  } else {
    const Expr top = floor(position[0]), left = floor(position[1]);
    const Expr bottom = unary(ScalarOp::kCeil, position[0]), right = unary(ScalarOp::kCeil, position[1]);
    const auto row = [&](Expr y) { return pixel(y, left) + (pixel(y, right) - pixel(y, left)) * (position[1] - left); };
    value = row(top) + (row(bottom) - row(top)) * (position[0] - top);
  }
  const Expr outside = p.constant(DType::kF32, node.attr_float("extrapolation_value", 0));
  body.value = p.cast(select(inside, value, outside), body.dtype);
  return one_body(std::move(body));
}

}  // namespace

std::vector<OpDef> ms_generation_ops() {
  constexpr DTypeSet kHashed = dtypes(DType::kU32, DType::kI32, DType::kU64, DType::kI64, DType::kF32, DType::kF64, DType::kString);
  return {
      {.domain = "com.microsoft",
       .name = "DynamicTimeWarping",
       .inputs = {{"input", "F", kFloat}},
       .outputs = {{"output", "I", kInt32}},
       .infer = infer_time_warping,
       .compute = {.eval = eval_time_warping},
       .doc = "The cheapest path through a matrix of costs (ONNX Runtime contrib ops).",
       .host = "each cost depends on its neighbours; output size depends on data"},
      {.domain = "com.microsoft",
       .name = "NGramRepeatBlock",
       .inputs = {{"input_ids", "Tid", kInt64}, {"scores", "T", kFloat}},
       .outputs = {{"scores_out", "T", kFloat}},
       .attrs = {{"ngram_size", AttrKind::kInt, true}},
       .infer = infer_ngrams,
       .compute = {.decompose = decompose_ngrams, .eval = eval_ngrams},
       .doc = "Bans tokens that would repeat an n-gram (ONNX Runtime contrib ops)."},
      {.domain = "com.microsoft",
       .name = "MurmurHash3",
       .inputs = {{"X", "T1", kHashed}},
       .outputs = {{"Y", "T2", dtypes(DType::kI32, DType::kU32)}},
       .attrs = {{"positive", AttrKind::kInt, false, "1"}, {"seed", AttrKind::kInt, false, "0"}},
       .infer = infer_murmur,
       .compute = {.decompose = decompose_murmur, .eval = eval_murmur},
       .doc = "MurmurHash3 of each element's bytes (ONNX Runtime contrib ops)."},
      {.domain = "com.microsoft",
       .name = "CropAndResize",
       .inputs = {{"X", "T1", kFloat16To64}, {"rois", "T1", kFloat16To64}, {"batch_indices", "T2", kInt32}, {"crop_size", "T2", kInt32}},
       .outputs = {{"Y", "T1", kFloat16To64}},
       .attrs = {{"extrapolation_value", AttrKind::kFloat, false, "0"}, {"mode", AttrKind::kString, false, "bilinear"}},
       .infer = infer_crop,
       .compute = {.body = crop_body, .eval = eval_crop},
       .doc = "Boxes of images, resized (ONNX Runtime contrib ops)."},
  };
}

}  // namespace tenon::ir
