#include "recipe.h"

namespace tenon::differential {
namespace {

Ints random_axes(Random& r, int64_t rank) {
  Ints out;
  for (int64_t i = 0; i < rank; ++i)
    if (r.chance(0.5)) out.push_back(r.chance(0.3) ? i - rank : i);
  if (out.empty() && rank > 0) out.push_back(r.between(-rank, rank - 1));
  return out;
}

/// Sizes or positions: a constant, or an input of known length.
ir::Value* integers(Maker& m, const Ints& values) {
  if (m.random.chance(0.5)) return m.ints(values);
  const auto count = static_cast<int64_t>(values.size());
  m.inputs.emplace_back(Tensor::from<int64_t>({count}, std::span<const int64_t>(values)));
  return m.graph->add_input(fmt::format("in{}", m.inputs.size() - 1), ir::TensorType(DType::kI64, {count}));
}

Ints permutation(Random& r, int64_t rank) {
  Ints out;
  for (int64_t i = 0; i < rank; ++i) out.insert(out.begin() + r.between(0, i), i);
  return out;
}

// ---- Contractions

void matmul(Maker& m) {
  Random& r = m.random;
  const int64_t rows = r.size(), k = r.pick<int64_t>({0, 1, 3, 17, 64, 200}),
                columns = r.pick<int64_t>({1, 4, 15, 16, 33, 70});
  Shape a{rows, k}, b{k, columns};
  if (r.chance(0.2)) a = {k};
  if (r.chance(0.2)) b = {k};
  const int64_t batch = r.between(0, 2);
  for (int64_t i = 0; i < batch; ++i) {
    const int64_t n = r.between(1, 4);
    if (a.size() > 1 && r.chance(0.8)) a.insert(a.begin(), r.chance(0.3) ? 1 : n);
    if (b.size() > 1 && r.chance(0.8)) b.insert(b.begin(), r.chance(0.3) ? 1 : n);
  }
  const DType dtype = r.pick({DType::kF32, DType::kF32, DType::kF32, DType::kF16, DType::kF64, DType::kI32});
  m.node("MatMul", {m.input(dtype, a), m.input(dtype, b)});
}

void gemm(Maker& m) {
  Random& r = m.random;
  const int64_t rows = r.size(), k = r.pick<int64_t>({1, 7, 64, 130}), n = r.pick<int64_t>({1, 5, 16, 48, 65});
  const bool ta = r.chance(0.5), tb = r.chance(0.5);
  ir::Value* a = m.f32(ta ? Shape{k, rows} : Shape{rows, k});
  ir::Value* b = m.f32(tb ? Shape{n, k} : Shape{k, n});
  const Shape shapes[] = {{rows, n}, {n}, {1, n}, {rows, 1}, {}, {1}};
  ir::Value* c = r.chance(0.7) ? m.f32(shapes[r.between(0, 5)]) : nullptr;
  m.node("Gemm", {a, b, c},
         {{"transA", i64(ta)}, {"transB", i64(tb)}, {"alpha", r.real(-2, 2)}, {"beta", r.real(-2, 2)}});
}

void convolution(Maker& m) {
  Random& r = m.random;
  const int64_t spatial = r.between(1, 3), groups = r.pick<int64_t>({1, 1, 2, 4});
  const int64_t in_channels = groups * r.between(1, 5), out_channels = groups * r.pick<int64_t>({1, 3, 8, 17});
  Shape x{r.between(1, 2), in_channels}, w{out_channels, in_channels / groups};
  Ints strides, dilations, pads(static_cast<size_t>(2 * spatial)), kernel;
  for (int64_t i = 0; i < spatial; ++i) {
    kernel.push_back(r.between(1, 3));
    dilations.push_back(r.between(1, 2));
    strides.push_back(r.between(1, 3));
    pads[static_cast<size_t>(i)] = r.between(0, 2);
    pads[static_cast<size_t>(i + spatial)] = r.between(0, 2);
    x.push_back(r.between((kernel.back() - 1) * dilations.back() + 1, spatial == 3 ? 9 : 19));
    w.push_back(kernel.back());
  }
  ir::Value* bias = r.chance(0.5) ? m.f32({out_channels}) : nullptr;
  m.node("Conv", {m.f32(x), m.f32(w), bias},
         {{"group", groups}, {"strides", strides}, {"dilations", dilations}, {"pads", pads}, {"kernel_shape", kernel}});
}

void depthwise(Maker& m) {
  Random& r = m.random;
  const int64_t c = r.pick<int64_t>({1, 3, 16, 33});
  m.node("Conv", {m.f32({1, c, r.between(3, 20), r.between(3, 20)}), m.f32({c, 1, 3, 3}), m.f32({c})},
         {{"group", c}, {"pads", Ints{1, 1, 1, 1}}, {"strides", Ints(2, r.between(1, 2))}});
}

void conv_transpose(Maker& m) {
  Random& r = m.random;
  const int64_t groups = r.between(1, 2), in = groups * r.between(1, 3), out = r.between(1, 4);
  m.node("ConvTranspose",
         {m.f32({r.between(1, 2), in, r.between(2, 7), r.between(2, 7)}),
          m.f32({in, out, r.between(1, 3), r.between(1, 3)}), m.f32({groups * out})},
         {{"group", groups},
          {"strides", Ints{r.between(1, 3), r.between(1, 3)}},
          {"pads", Ints{0, r.between(0, 1), 0, 0}},
          {"dilations", Ints{1, r.between(1, 2)}}});
}

void einsum(Maker& m) {
  Random& r = m.random;
  const int64_t b = r.between(1, 3), i = r.size(), j = r.between(1, 9), k = r.size();
  switch (r.between(0, 3)) {
    case 0:
      m.node("Einsum", {m.f32({b, i, j}), m.f32({b, j, k})}, {{"equation", std::string("bij,bjk->bik")}});
      break;
    case 1:
      m.node("Einsum", {m.f32({i, j})}, {{"equation", std::string("ij->ji")}});
      break;
    case 2:
      m.node("Einsum", {m.f32({i, j}), m.f32({j})}, {{"equation", std::string("ij,j->i")}});
      break;
    default:
      m.node("Einsum", {m.f32({b, i, j, k})}, {{"equation", std::string("...jk->...j")}});
      break;
  }
}

void matmul_integer(Maker& m) {
  Random& r = m.random;
  const int64_t rows = r.size(), k = r.between(1, 70), n = r.size();
  const DType a = r.pick({DType::kU8, DType::kI8}), b = r.pick({DType::kU8, DType::kI8});
  m.node("MatMulInteger",
         {m.input(a, {rows, k}), m.input(b, {k, n}), r.chance(0.5) ? m.input(a, {}) : nullptr, nullptr});
}

// ---- Windows

void pool(Maker& m) {
  Random& r = m.random;
  const int64_t spatial = r.between(1, 3);
  Shape x{r.between(1, 2), r.pick<int64_t>({1, 3, 17})};
  Ints kernel, strides, pads;
  for (int64_t i = 0; i < spatial; ++i) {
    kernel.push_back(r.between(2, 3));
    strides.push_back(r.between(1, 3));
    x.push_back(r.between(3, spatial == 3 ? 8 : 19));
  }
  for (int64_t i = 0; i < 2 * spatial; ++i) pads.push_back(r.between(0, 1));
  const int64_t ceil = r.between(0, 1);
  if (r.chance(0.5)) {
    m.node("MaxPool", {m.f32(x)}, {{"kernel_shape", kernel}, {"strides", strides}, {"pads", pads}, {"ceil_mode", ceil}},
           r.chance(0.3) ? 2 : 1);
  } else {
    m.node("AveragePool", {m.f32(x)},
           {{"kernel_shape", kernel},
            {"strides", strides},
            {"pads", pads},
            {"ceil_mode", ceil},
            {"count_include_pad", r.between(0, 1)}});
  }
}

void global_pool(Maker& m) {
  Random& r = m.random;
  m.node(r.pick({"GlobalAveragePool", "GlobalMaxPool", "GlobalLpPool"}),
         {m.f32({r.between(1, 3), r.between(1, 17), r.between(1, 9), r.between(1, 9)})});
}

void lrn(Maker& m) {
  m.node("LRN", {m.f32({2, m.random.between(1, 9), 5, 6})}, {{"size", m.random.pick<int64_t>({1, 3, 5})}});
}

// ---- Reductions and normalisation

void reduce(Maker& m) {
  Random& r = m.random;
  const auto op = r.pick({"ReduceSum", "ReduceMean", "ReduceMax", "ReduceMin", "ReduceProd", "ReduceL1", "ReduceL2",
                          "ReduceLogSum", "ReduceLogSumExp", "ReduceSumSquare"});
  const int64_t rank = r.between(0, 4);
  const DType dtype = r.pick({DType::kF32, DType::kF32, DType::kF64, DType::kI32, DType::kI64});
  const bool positive = std::string_view(op) == "ReduceLogSum";
  ir::Value* x = m.input(dtype, r.shape(rank), positive ? Fill::kPositive : Fill::kPlain);
  ir::Value* axes = r.chance(0.8) ? m.ints(random_axes(r, rank)) : nullptr;
  m.node(op, {x, axes}, {{"keepdims", r.between(0, 1)}, {"noop_with_empty_axes", r.between(0, 1)}});
}

void arg_reduce(Maker& m) {
  Random& r = m.random;
  const int64_t rank = r.between(1, 3);
  m.node(r.pick({"ArgMax", "ArgMin"}), {m.input(r.pick({DType::kF32, DType::kI32, DType::kI8}), r.shape(rank))},
         {{"axis", r.between(-rank, rank - 1)}, {"keepdims", r.between(0, 1)}, {"select_last_index", r.between(0, 1)}});
}

void softmax(Maker& m) {
  Random& r = m.random;
  const int64_t rank = r.between(1, 4);
  m.node(r.pick({"Softmax", "LogSoftmax", "Hardmax"}),
         {m.input(r.pick({DType::kF32, DType::kF32, DType::kF16}), r.shape(rank))},
         {{"axis", r.between(-rank, rank - 1)}});
}

void layer_norm(Maker& m) {
  Random& r = m.random;
  const int64_t rank = r.between(1, 3), axis = r.between(0, rank - 1);
  const Shape x = r.shape(rank);
  const Shape scale(x.begin() + axis, x.end());
  m.node("LayerNormalization", {m.f32(x), m.f32(scale), r.chance(0.5) ? m.f32(scale) : nullptr}, {{"axis", axis}});
}

void batch_norm(Maker& m) {
  Random& r = m.random;
  const int64_t c = r.between(1, 17);
  Shape x{r.between(1, 3), c};
  for (int64_t i = r.between(0, 2); i > 0; --i) x.push_back(r.size());
  m.node("BatchNormalization", {m.f32(x), m.f32({c}), m.f32({c}), m.f32({c}), m.f32({c}, Fill::kPositive)});
}

void group_norms(Maker& m) {
  Random& r = m.random;
  const int64_t groups = r.between(1, 3), c = groups * r.between(1, 4);
  const Shape x{r.between(1, 2), c, r.between(1, 9), r.between(2, 9)};
  if (r.chance(0.5))
    m.node("InstanceNormalization", {m.f32(x), m.f32({c}), m.f32({c})});
  else
    m.node("GroupNormalization", {m.f32(x), m.f32({c}), m.f32({c})}, {{"num_groups", groups}});
}

void cumsum(Maker& m) {
  Random& r = m.random;
  const int64_t rank = r.between(1, 3);
  m.node("CumSum", {m.f32(r.shape(rank)), m.constant(Tensor::scalar<int64_t>(r.between(-rank, rank - 1)))},
         {{"exclusive", r.between(0, 1)}, {"reverse", r.between(0, 1)}});
}

void top_k(Maker& m) {
  Random& r = m.random;
  const int64_t n = r.between(1, 33);
  m.node("TopK", {m.f32({r.between(1, 4), n}), m.ints({r.between(0, n)})}, {{"largest", r.between(0, 1)}}, 2);
}

// ---- Movement

void transpose(Maker& m) {
  const int64_t rank = m.random.between(0, 5);
  m.node("Transpose", {m.input(m.random.pick({DType::kF32, DType::kI64, DType::kBool}), m.random.shape(rank))},
         {{"perm", permutation(m.random, rank)}});
}

void slice(Maker& m) {
  Random& r = m.random;
  const int64_t rank = r.between(1, 3);
  const Shape x = r.shape(rank);
  Ints starts, ends, axes, steps;
  for (int64_t a = 0; a < rank; ++a) {
    if (r.chance(0.3)) continue;
    axes.push_back(r.chance(0.3) ? a - rank : a);
    starts.push_back(r.between(-40, 40));
    ends.push_back(r.chance(0.2) ? r.pick<int64_t>({INT64_MAX, INT64_MIN}) : r.between(-40, 40));
    steps.push_back(r.pick<int64_t>({1, 1, 2, 3, -1, -2}));
  }
  m.node("Slice", {m.f32(x), integers(m, starts), integers(m, ends), m.ints(axes), m.ints(steps)});
}

void concat(Maker& m) {
  Random& r = m.random;
  const int64_t rank = r.between(1, 4), axis = r.between(0, rank - 1);
  Shape shape = r.shape(rank);
  std::vector<ir::Value*> in;
  for (int64_t i = r.between(1, 4); i > 0; --i) {
    shape[static_cast<size_t>(axis)] = r.size();
    in.push_back(m.f32(shape));
  }
  m.node("Concat", in, {{"axis", r.chance(0.5) ? axis : axis - rank}}, 1);
}

void split(Maker& m) {
  Random& r = m.random;
  const int64_t rank = r.between(1, 3), axis = r.between(0, rank - 1), parts = r.between(1, 4);
  Shape shape = r.shape(rank);
  Ints sizes;
  for (int64_t i = 0; i < parts; ++i) sizes.push_back(r.between(0, 9));
  shape[static_cast<size_t>(axis)] = 0;
  for (int64_t s : sizes) shape[static_cast<size_t>(axis)] += s;
  if (r.chance(0.5))
    m.node("Split", {m.f32(shape), integers(m, sizes)}, {{"axis", axis}}, static_cast<int>(parts));
  else
    m.node("Split", {m.f32(shape)}, {{"axis", axis}, {"num_outputs", parts}}, static_cast<int>(parts));
}

void gather(Maker& m) {
  Random& r = m.random;
  const int64_t rank = r.between(1, 3), axis = r.between(0, rank - 1);
  Shape x = r.shape(rank);
  int64_t& n = x[static_cast<size_t>(axis)];
  n = r.between(1, 20);
  Tensor index = random_tensor(r, r.pick({DType::kI64, DType::kI32}), r.shape(r.between(0, 2)));
  for (int64_t i = 0; i < index.size(); ++i) index.set_int(i, r.between(-n, r.chance(0.01) ? n : n - 1));
  m.node("Gather", {m.f32(x), m.input(index)}, {{"axis", axis}});
}

void gather_elements(Maker& m) {
  Random& r = m.random;
  const int64_t rank = r.between(1, 3), axis = r.between(0, rank - 1);
  Shape x = r.shape(rank);
  int64_t& n = x[static_cast<size_t>(axis)];
  n = r.between(1, 20);
  const int64_t extent = n;
  Shape at = x;
  at[static_cast<size_t>(axis)] = r.size();
  Tensor index = random_tensor(r, DType::kI64, at);
  for (int64_t i = 0; i < index.size(); ++i) index.set_int(i, r.between(-extent, extent - 1));
  if (r.chance(0.5))
    m.node("GatherElements", {m.f32(x), m.input(index)}, {{"axis", axis}});
  else
    m.node("ScatterElements", {m.f32(x), m.input(index), m.f32(at)},
           {{"axis", axis}, {"reduction", std::string(r.pick({"none", "add", "max"}))}});
}

void gather_nd(Maker& m) {
  Random& r = m.random;
  const int64_t a = r.between(1, 5), b = r.between(1, 5), c = r.between(1, 5), n = r.between(1, 7);
  Tensor index = *Tensor::zeros(DType::kI64, {n, 2});
  for (int64_t i = 0; i < n; ++i) {
    index.set_int(2 * i, r.between(-a, a - 1));
    index.set_int(2 * i + 1, r.between(-b, b - 1));
  }
  if (r.chance(0.5))
    m.node("GatherND", {m.f32({a, b, c}), m.input(index)});
  else
    m.node("ScatterND", {m.f32({a, b, c}), m.input(index), m.f32({n, c})}, {{"reduction", std::string("add")}});
}

void pad(Maker& m) {
  Random& r = m.random;
  const int64_t rank = r.between(1, 4);
  Shape x = r.shape(rank);
  for (int64_t& d : x) d = std::max<int64_t>(d, 4);
  Ints pads;
  const bool constant = r.chance(0.5);
  for (int64_t i = 0; i < 2 * rank; ++i) pads.push_back(r.between(constant ? -1 : 0, 3));
  m.node("Pad", {m.f32(x), integers(m, pads), r.chance(0.5) ? m.f32({}) : nullptr},
         {{"mode", std::string(constant ? "constant" : r.pick({"reflect", "edge", "wrap"}))}});
}

void resize(Maker& m) {
  Random& r = m.random;
  const Shape x{1, r.between(1, 3), r.between(2, 9), r.between(2, 9)};
  const auto mode = r.pick({"nearest", "linear", "cubic"});
  const auto coordinates = r.pick({"half_pixel", "asymmetric", "align_corners", "pytorch_half_pixel"});
  if (r.chance(0.5)) {
    const Tensor scales = Tensor::from<float>({4}, {1, 1, r.pick({0.5f, 2.0f, 1.5f}), r.pick({2.0f, 3.0f, 0.6f})});
    m.node("Resize", {m.f32(x), nullptr, m.constant(scales), nullptr},
           {{"mode", std::string(mode)}, {"coordinate_transformation_mode", std::string(coordinates)}});
  } else {
    m.node("Resize", {m.f32(x), nullptr, nullptr, m.ints({x[0], x[1], r.between(1, 20), r.between(1, 20)})},
           {{"mode", std::string(mode)}, {"coordinate_transformation_mode", std::string(coordinates)}});
  }
}

void expand(Maker& m) {
  Random& r = m.random;
  Shape to = r.shape(r.between(1, 4)), from = to;
  for (int64_t& d : from)
    if (r.chance(0.5)) d = 1;
  from.erase(from.begin(), from.begin() + r.between(0, static_cast<int64_t>(from.size())));
  m.node("Expand", {m.f32(from), integers(m, to)});
}

void tile(Maker& m) {
  Random& r = m.random;
  const Shape x = r.shape(r.between(1, 3));
  Ints repeats;
  for (size_t i = 0; i < x.size(); ++i) repeats.push_back(r.between(0, 3));
  m.node("Tile", {m.f32(x), integers(m, repeats)});
}

void range(Maker& m) {
  Random& r = m.random;
  const auto number = [&](int64_t value) {
    m.inputs.emplace_back(Tensor::scalar<int64_t>(value));
    return m.graph->add_input(fmt::format("in{}", m.inputs.size() - 1), ir::TensorType(DType::kI64, {}));
  };
  ir::Value* start = number(r.between(-9, 9));
  ir::Value* limit = number(r.between(-9, 30));
  m.node("Range", {start, limit, number(r.pick<int64_t>({1, 2, 3, -1, -4}))});
}

void depth_to_space(Maker& m) {
  Random& r = m.random;
  const int64_t block = r.between(1, 3);
  if (r.chance(0.5)) {
    m.node("DepthToSpace", {m.f32({1, block * block * r.between(1, 4), r.between(1, 5), r.between(1, 5)})},
           {{"blocksize", block}, {"mode", std::string(r.pick({"DCR", "CRD"}))}});
  } else {
    m.node("SpaceToDepth", {m.f32({1, r.between(1, 4), block * r.between(1, 5), block * r.between(1, 5)})},
           {{"blocksize", block}});
  }
}

void reshape(Maker& m) {
  Random& r = m.random;
  const int64_t a = r.between(1, 7), b = r.between(1, 7), c = r.between(1, 7);
  switch (r.between(0, 4)) {
    case 0:
      m.node("Reshape", {m.f32({a, b, c}), m.ints({0, -1})});
      break;
    case 1:
      m.node("Reshape", {m.f32({a, b, c}), m.input(Tensor::from<int64_t>({2}, {c, a * b}))});
      break;
    case 2:
      m.node("Flatten", {m.f32({a, b, c})}, {{"axis", r.between(-3, 3)}});
      break;
    case 3:
      m.node("Unsqueeze", {m.f32({a, b}), m.ints({0, -1})});
      break;
    default:
      m.node("Squeeze", {m.f32({a, 1, b, 1}), m.ints({1, -1})});
      break;
  }
}

void one_hot(Maker& m) {
  Random& r = m.random;
  m.node("OneHot",
         {m.input(DType::kI64, r.shape(r.between(0, 2))), m.constant(Tensor::scalar<int64_t>(r.between(1, 9))),
          m.f32({2})},
         {{"axis", r.pick<int64_t>({0, -1})}});
}

void trilu(Maker& m) {
  Random& r = m.random;
  m.node("Trilu", {m.f32({r.between(1, 3), r.size(), r.size()}), m.constant(Tensor::scalar<int64_t>(r.between(-4, 4)))},
         {{"upper", r.between(0, 1)}});
}

void non_zero(Maker& m) {
  m.node("NonZero",
         {m.input(m.random.pick({DType::kF32, DType::kBool, DType::kI32}), m.random.shape(m.random.between(1, 3)))});
}

// ---- Conversion and quantisation

void cast(Maker& m) {
  Random& r = m.random;
  const auto any = [&] {
    return r.pick({DType::kF32, DType::kF16, DType::kBF16, DType::kF64, DType::kI8, DType::kI16, DType::kI32,
                   DType::kI64, DType::kU8, DType::kU16, DType::kU32, DType::kU64, DType::kBool});
  };
  const DType from = any(), to = any();
  m.node("Cast", {m.input(from, r.shape(r.between(0, 3)), is_float(to) ? Fill::kSpecial : Fill::kPositive)},
         {{"to", static_cast<int64_t>(info(to).onnx)}});
}

void quantize(Maker& m) {
  Random& r = m.random;
  const int64_t c = r.between(1, 9);
  const Shape x{r.size(), c, r.size()};
  const bool per_axis = r.chance(0.5);
  const Shape scale = per_axis ? Shape{c} : Shape{};
  const DType q = r.pick({DType::kU8, DType::kI8, DType::kI16, DType::kU16});
  if (r.chance(0.5))
    m.node("QuantizeLinear", {m.f32(x), m.f32(scale, Fill::kPositive), m.input(q, scale)}, {{"axis", int64_t{1}}});
  else
    m.node("DequantizeLinear", {m.input(q, x), m.f32(scale, Fill::kPositive), m.input(q, scale)},
           {{"axis", int64_t{1}}});
}

void dynamic_quantize(Maker& m) {
  m.node("DynamicQuantizeLinear", {m.f32({m.random.between(1, 9), m.random.between(1, 40)})}, {}, 3);
}

// ---- Recurrent

void recurrent(Maker& m) {
  Random& r = m.random;
  const auto op = std::string_view(r.pick({"LSTM", "GRU", "RNN"}));
  const int64_t gates = op == "LSTM" ? 4 : op == "GRU" ? 3 : 1, hidden = r.between(1, 9), input = r.between(1, 9);
  const int64_t directions = r.between(1, 2), steps = r.between(1, 5), batch = r.between(1, 3);
  m.node(
      op,
      {m.f32({steps, batch, input}), m.f32({directions, gates * hidden, input}),
       m.f32({directions, gates * hidden, hidden}), r.chance(0.5) ? m.f32({directions, 2 * gates * hidden}) : nullptr},
      {{"hidden_size", hidden},
       {"direction", std::string(directions == 2 ? "bidirectional" : r.pick({"forward", "reverse"}))}},
      op == "LSTM" ? 3 : 2);
}

void linear_attention(Maker& m) {
  Random& r = m.random;
  const int64_t heads = r.between(1, 3), group = r.between(1, 2), size = r.between(1, 5), steps = r.between(1, 4),
                batch = r.between(1, 2);
  m.node(
      "LinearAttention",
      {m.f32({batch, steps, heads * group * size}), m.f32({batch, steps, heads * size}),
       m.f32({batch, steps, heads * size}), r.chance(0.5) ? m.f32({batch, heads, size, size}) : nullptr,
       m.f32({batch, steps, r.chance(0.5) ? heads : heads * size}), m.f32({batch, steps, r.chance(0.5) ? heads : 1})},
      {{"q_num_heads", heads * group},
       {"kv_num_heads", heads},
       {"update_rule", std::string(r.pick({"gated_delta", "gated", "delta", "linear"}))}},
      2);
}

void causal_conv(Maker& m) {
  Random& r = m.random;
  const int64_t batch = r.between(1, 2), channels = r.between(1, 9), kernel = r.between(1, 4);
  m.node("CausalConvWithState",
         {m.f32({batch, channels, r.between(1, 20)}), m.f32({channels, 1, kernel}),
          r.chance(0.5) ? m.f32({channels}) : nullptr, r.chance(0.5) ? m.f32({batch, channels, kernel - 1}) : nullptr},
         {{"activation", std::string(r.pick({"none", "silu"}))}}, 2);
}

}  // namespace

std::vector<Recipe> core_recipes() {
  return {
      {"MatMul", matmul, 20},
      {"Gemm", gemm, 12},
      {"Conv", convolution, 24},
      {"depthwise Conv", depthwise},
      {"ConvTranspose", conv_transpose},
      {"Einsum", einsum},
      {"MatMulInteger", matmul_integer},
      {"pooling", pool, 14},
      {"global pooling", global_pool},
      {"LRN", lrn, 3},
      {"reductions", reduce, 60},
      {"ArgMax", arg_reduce, 8},
      {"Softmax", softmax, 12},
      {"LayerNormalization", layer_norm, 8},
      {"BatchNormalization", batch_norm},
      {"group norms", group_norms},
      {"CumSum", cumsum},
      {"TopK", top_k},
      {"Transpose", transpose, 8},
      {"Slice", slice, 40},
      {"Concat", concat, 8},
      {"Split", split, 12},
      {"Gather", gather, 10},
      {"GatherElements", gather_elements, 8},
      {"GatherND", gather_nd},
      {"Pad", pad, 20},
      {"Resize", resize, 14},
      {"Expand", expand, 20},
      {"Tile", tile, 12}, {"Range of integers", range, 12},
      {"DepthToSpace", depth_to_space},
      {"Reshape", reshape, 8},
      {"OneHot", one_hot, 10},
      {"Trilu", trilu},
      {"NonZero", non_zero},
      {"Cast", cast, 40},
      {"QuantizeLinear", quantize, 10},
      {"DynamicQuantizeLinear", dynamic_quantize, 3},
      {"recurrent", recurrent, 8},
      {"LinearAttention", linear_attention, 8},
      {"CausalConvWithState", causal_conv, 8},
  };
}

}  // namespace tenon::differential
