#include "ir/ops/body_helpers.h"
#include "ir/ops/budget.h"
#include "ir/ops/families.h"
#include "ir/ops/nn_helpers.h"
#include "ir/scalar_op.h"
#include "support/checked.h"

/// Col2Im: columns of blocks added up into an image (the adjoint of im2col), for any number of spatial axes.
namespace tenon::ir {
namespace {

/// What has a sum: that of booleans is their disjunction.
constexpr DTypeSet kSummed = kNumeric | dtypes(DType::kBool, DType::kC64, DType::kC128);

struct Window {
  std::vector<int64_t> image, block, dilations, strides, pads, counts;  // counts: block positions an axis
};

Result<Window> window_of(const Node& node, std::vector<int64_t> image, std::vector<int64_t> block) {
  const size_t rank = image.size();
  Window w{std::move(image), std::move(block), node.attr_ints("dilations"), node.attr_ints("strides"), node.attr_ints("pads"), {}};
  if (w.dilations.empty()) w.dilations.assign(rank, 1);
  if (w.strides.empty()) w.strides.assign(rank, 1);
  if (w.pads.empty()) w.pads.assign(2 * rank, 0);
  if (w.block.size() != rank || w.dilations.size() != rank || w.strides.size() != rank || w.pads.size() != 2 * rank)
    return error(Code::kInvalidModel, "image_shape, block_shape, dilations, strides and pads differ in rank");
  for (size_t i = 0; i < rank; ++i) {
    constexpr int64_t kMax = int64_t{1} << 40;
    for (int64_t v : {w.image[i], w.block[i], w.dilations[i], w.strides[i]})
      if (v < 1 || v > kMax) return error(Code::kInvalidModel, "a size, dilation or stride of {}", v);
    if (w.pads[i] < 0 || w.pads[rank + i] < 0 || w.pads[i] > kMax || w.pads[rank + i] > kMax)
      return error(Code::kInvalidModel, "negative or huge pads");
    const std::optional<int64_t> reach = checked_mul(w.dilations[i], w.block[i] - 1);
    const int64_t room = reach ? w.image[i] + w.pads[i] + w.pads[rank + i] - *reach - 1 : -1;
    if (room < 0) return error(Code::kInvalidModel, "a block of {} does not fit an image of {}", w.block[i], w.image[i]);
    w.counts.push_back(room / w.strides[i] + 1);
  }
  return w;
}

std::vector<int64_t> list_or(const Node& node, std::string_view name, size_t count, int64_t fallback) {
  std::vector<int64_t> v = node.attr_ints(name);
  return v.empty() ? std::vector<int64_t>(count, fallback) : v;
}

Expr zero_of(ExprPool& p, DType dtype) { return is_float(dtype) ? p.constant(dtype, 0) : p.constant_int(dtype, 0); }

Status infer_col2im(InferContext& c) {
  const std::optional<std::vector<Dim>> image = c.dim_values(1);
  const std::optional<std::vector<int64_t>> block = known_ints(c, 2);
  c.set(0, TensorType::unranked(c.dtype(0)));
  if (!c.ranked(0) || !image || !block) return {};
  const std::vector<Dim>& in = c.shape(0);
  if (in.size() != 3 || block->size() != image->size()) return c.fail("the input is {}, the image of rank {}", to_string(c.in(0)), image->size());
  Dim points = 1;
  for (int64_t b : *block) {
    if (b < 1) return c.fail("a block of {}", b);
    points = points * Dim(b);
  }
  if (!points.is_valid() || c.differ(mod(in[1], points), 0))
    return c.fail("{} rows do not divide into blocks of {}", to_string(in[1]), to_string(points));
  std::vector<Dim> out = {in[0], floor_div(in[1], points)};
  out.insert(out.end(), image->begin(), image->end());
  c.set(0, TensorType(c.dtype(0), std::move(out)));
  return {};
}

void add_element(Tensor& out, int64_t to, const Tensor& in, int64_t from) {
  const DType dtype = out.dtype();
  const auto add_parts = [&]<class T>(T* sum, const T* term) {
    for (int i = 0; i < 2; ++i) sum[2 * to + i] += term[2 * from + i];
  };
  if (dtype == DType::kC64) return add_parts(reinterpret_cast<float*>(out.mutable_data()), reinterpret_cast<const float*>(in.data()));
  if (dtype == DType::kC128) return add_parts(reinterpret_cast<double*>(out.mutable_data()), reinterpret_cast<const double*>(in.data()));
  const Scalar args[] = {load_scalar(out.data(), dtype, to), load_scalar(in.data(), dtype, from)};
  store_scalar(out.mutable_data(), dtype, to, eval_scalar(dtype == DType::kBool ? ScalarOp::kOr : ScalarOp::kAdd, dtype, args));
}

// Adds one row of columns (a place in the block) to an image plane.
Status add_row(const Window& w, const std::vector<int64_t>& place, const Tensor& in, int64_t from, Tensor& out, int64_t plane, StepCounter& steps) {
  std::vector<int64_t> at(w.counts.size(), 0);
  int64_t total = 1;
  for (int64_t n : w.counts) total *= n;
  for (int64_t k = 0; k < total; ++k) {
    TENON_RETURN_IF_ERROR(steps.add(8));
    int64_t offset = 0;
    bool inside = true;
    for (size_t i = 0; i < at.size(); ++i) {
      const int64_t p = at[i] * w.strides[i] + place[i] * w.dilations[i] - w.pads[i];
      inside = inside && p >= 0 && p < w.image[i];
      offset = offset * w.image[i] + p;
    }
    if (inside) add_element(out, plane + offset, in, from + k);
    for (size_t i = at.size(); i-- > 0 && ++at[i] == w.counts[i];) at[i] = 0;
  }
  return {};
}

Status eval_col2im(EvalContext& c) {
  const Tensor& in = c.tensor(0);
  TENON_ASSIGN_OR_RETURN(const Window w, window_of(c.node, int_values(c.tensor(1)), int_values(c.tensor(2))));
  TENON_ASSIGN_OR_RETURN(const int64_t points, element_count(w.block));
  TENON_ASSIGN_OR_RETURN(const int64_t blocks, element_count(w.counts));
  TENON_ASSIGN_OR_RETURN(const int64_t pixels, element_count(w.image));
  if (in.rank() != 3 || in.dim(1) % points != 0 || in.dim(2) != blocks)
    return error(Code::kInvalidArgument, "an input of {} for {} blocks of {} elements", tenon::to_string(in.shape()), blocks, points);
  Shape shape = {in.dim(0), in.dim(1) / points};
  shape.insert(shape.end(), w.image.begin(), w.image.end());
  TENON_ASSIGN_OR_RETURN(Tensor * out, c.allocate(0, in.dtype(), shape));
  StepCounter steps(c.interrupt);
  for (int64_t plane = 0; plane < shape[0] * shape[1]; ++plane) {
    std::vector<int64_t> place(w.block.size(), 0);
    for (int64_t p = 0; p < points; ++p) {
      TENON_RETURN_IF_ERROR(steps.add(1));
      TENON_RETURN_IF_ERROR(add_row(w, place, in, (plane * points + p) * blocks, *out, plane * pixels, steps));
      for (size_t i = place.size(); i-- > 0 && ++place[i] == w.block[i];) place[i] = 0;
    }
  }
  return {};
}

/// Each pixel is the sum over the places in a block of the one block, if any, that has the pixel there.
Result<std::vector<Body>> col2im_body(const Node& node) {
  TENON_RETURN_IF_ERROR(require_known_shape(node));
  const std::optional<std::vector<int64_t>> block = constant_ints(node.input(2));
  if (!block) return error(Code::kUnsupported, "block_shape is known only at run time");
  Body body = start_body(node, ComputeKind::kReduce);
  ExprPool& p = *body.pool;
  const size_t rank = block->size();
  const Window w{{}, *block, list_or(node, "dilations", rank, 1), list_or(node, "strides", rank, 1), list_or(node, "pads", 2 * rank, 0), {}};
  constexpr int64_t kMax = int64_t{1} << 40;
  for (size_t i = 0; i < 2 * rank; ++i) {
    const bool pads_fit = w.pads.size() == 2 * rank && w.pads[i] >= 0 && w.pads[i] <= kMax;
    const auto fits = [&](const std::vector<int64_t>& v) { return v.size() == rank && v[i % rank] >= 1 && v[i % rank] <= kMax; };
    if (!pads_fit || !fits(w.block) || !fits(w.dilations) || !fits(w.strides)) return error(Code::kUnsupported, "an attribute has a value that does not fit");
  }
  body.acc_dtype = body.dtype == DType::kBool ? DType::kBool : accumulator_of(body.dtype);
  body.combiner = body.dtype == DType::kBool ? Combiner::kOr : Combiner::kAdd;
  Expr row = p.index(1), column = i64(p, 0), found;
  Dim blocks = 1, points = 1;
  for (size_t i = 0; i < rank; ++i) {
    const Expr place = p.index(static_cast<int>(2 + rank + i));
    const Dim spare = body.axes[2 + i] + Dim(w.pads[i]) + Dim(w.pads[rank + i]) - Dim(w.dilations[i]) * Dim(w.block[i] - 1) - 1;
    const Dim count = floor_div(spare, w.strides[i]) + 1;
    const Expr from = p.index(static_cast<int>(2 + i)) + static_cast<double>(w.pads[i]) - place * static_cast<double>(w.dilations[i]);
    const Expr stride = i64(p, w.strides[i]), at = floor_div(from, stride);
    Expr here = from >= 0.0 && at < p.dim(count);
    if (w.strides[i] != 1) here = here && mod(from, stride) == i64(p, 0);
    found = found.valid() ? found && here : here;
    column = column * p.dim(count) + at;
    row = row * static_cast<double>(w.block[i]) + place;
    if (exceeds(node, 0, spare)) return error(Code::kInvalidModel, "a block of {} does not fit the image", w.block[i]);
    blocks = blocks * count;
    points = points * Dim(w.block[i]);
    body.reduce_axes.push_back(w.block[i]);
  }
  if (!blocks.is_valid() || !points.is_valid()) return error(Code::kUnsupported, "the columns are too many");
  const Dims& x = input_dims(node, 0);
  if (differ(node, x[2], blocks) || differ(node, x[1], body.axes[1] * points))
    return error(Code::kInvalidModel, "an input of {} for {} blocks of {} elements", to_string(node.input(0)->type()), to_string(blocks), to_string(points));
  const Expr element = p.load_guarded(0, body.dtype, std::vector<Expr>{p.index(0), row, column}, found, zero_of(p, body.dtype));
  body.value = p.cast(element, body.acc_dtype);
  return one_body(std::move(body));
}

}  // namespace

std::vector<OpDef> fold_ops() {
  return {
      {.domain = "",
       .name = "Col2Im",
       .inputs = {{"input", "T", kSummed}, {"image_shape", "I", dtypes(DType::kI64)}, {"block_shape", "I", dtypes(DType::kI64)}},
       .outputs = {{"output", "T", kSummed}},
       .attrs = {{"dilations", AttrKind::kInts}, {"pads", AttrKind::kInts}, {"strides", AttrKind::kInts}},
       .infer = infer_col2im,
       .compute = {.body = col2im_body, .eval = eval_col2im},
       .doc = "Columns of blocks added up into an image (Col2Im)"},
  };
}

}  // namespace tenon::ir
