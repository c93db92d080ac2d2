// com.microsoft ops that are a few of ai.onnx: what ONNX Runtime's exporters and optimisers write (its
// docs/ContribOperators.md), in the standard's words.

#include <cmath>

#include "frontend/onnx/normalize.h"

namespace tenon::frontend {
namespace {

using namespace rules;
using Outputs = std::optional<std::vector<ir::Value*>>;
using Dims = std::vector<ir::Dim>;
using Named = std::vector<std::pair<std::string, ir::Attr>>;

constexpr const char* kDomain = "com.microsoft";

Status require(const Call& call, size_t inputs) {
  for (size_t i = 0; i < inputs; ++i)
    if (!call.has(i)) return error(Code::kInvalidModel, "input {} is missing", i);
  return {};
}

Result<int64_t> known_rank(const Call& call, size_t input) {
  TENON_RETURN_IF_ERROR(require(call, input + 1));
  const std::optional<int64_t> rank = rank_of(call.in(input));
  if (!rank) return unsupported(call, fmt::format("an input {} whose rank is not known", input));
  return *rank;
}

ir::Value* cast(ir::Builder& builder, ir::Value* x, DType to) {
  if (x == nullptr || x->dtype() == to) return x;
  return builder.make("Cast", {x}, {{"to", int64_t{info(to).onnx}}});
}

ir::Value* reshape(ir::Builder& builder, ir::Value* x, std::initializer_list<int64_t> shape) {
  return builder.make("Reshape", {x, builder.ints(shape)});
}

Status finish(ir::Builder& builder, ir::Value* y, Outputs& outputs) {
  outputs = {y};
  return builder.status();
}

// ---- The same under another name or with other types

Status to_onnx(Call& call, ir::Builder&, Outputs&) {
  call.domain.clear();
  return {};
}

Status transpose_matmul(Call& call, ir::Builder&, Outputs&) {
  call.op = "FusedMatMul";
  return {};
}

Status grid_sample(Call& call, ir::Builder&, Outputs&) {
  const std::string mode = call.text("mode", "bilinear");
  call.attrs.set("mode", mode == "bilinear" ? std::string("linear") : mode == "bicubic" ? std::string("cubic") : mode);
  call.domain.clear();
  return {};
}

Status gather_nd(Call& call, ir::Builder& builder, Outputs& outputs) {
  TENON_RETURN_IF_ERROR(require(call, 2));
  return finish(builder, builder.make("GatherND", {call.in(0), cast(builder, call.in(1), DType::kI64)}), outputs);
}

Status torch_embedding(Call& call, ir::Builder& builder, Outputs& outputs) {
  TENON_RETURN_IF_ERROR(require(call, 2));
  return finish(builder, builder.make("Gather", {call.in(0), call.in(1)}, {{"axis", int64_t{0}}}), outputs);
}

Status expand_dims(Call& call, ir::Builder& builder, Outputs& outputs) {
  TENON_RETURN_IF_ERROR(require(call, 2));
  ir::Value* axes = reshape(builder, cast(builder, call.in(1), DType::kI64), {1});
  return finish(builder, builder.make("Unsqueeze", {call.in(0), axes}), outputs);
}

Status range(Call& call, ir::Builder& builder, Outputs& outputs) {
  TENON_RETURN_IF_ERROR(require(call, 2));
  ir::Value* delta = call.has(2) ? call.in(2) : scalar_like(builder, call.in(0), 1);
  auto scalar = [&](ir::Value* x) { return rank_of(x) == 0 ? x : builder.make("Reshape", {x, builder.ints({})}); };
  return finish(builder, builder.make("Range", {scalar(call.in(0)), scalar(call.in(1)), scalar(delta)}), outputs);
}

/// pads may be [1, 2 n] here.
Status pad(Call& call, ir::Builder& builder, Outputs& outputs) {
  TENON_RETURN_IF_ERROR(require(call, 2));
  ir::Value* inputs[] = {call.in(0), reshape(builder, call.in(1), {-1}), call.in(2)};
  outputs = builder.make_n("Pad", inputs, 1, {{"mode", call.text("mode", "constant")}});
  return builder.status();
}

/// Values in the order of their first appearance; the positions are those of the inputs' values among them.
Status unique(Call& call, ir::Builder& builder, Outputs& outputs) {
  TENON_RETURN_IF_ERROR(require(call, 1));
  ir::Value* inputs[] = {call.in(0)};
  const std::vector<ir::Value*> y = builder.make_n("Unique", inputs, 4, {{"sorted", int64_t{0}}});
  TENON_RETURN_IF_ERROR(builder.status());
  outputs = {y[0], y[2], y[3]};
  return {};
}

// ---- Products

Status activated(const Call& call, ir::Builder& builder, ir::Value* x, Outputs& outputs) {
  const std::string name = call.text("activation", "");
  const std::pair<const char*, const char*> names[] = {{"activation_alpha", "alpha"}, {"activation_beta", "beta"}, {"activation_gamma", "gamma"}, {"activation_axis", "axis"}};
  const ir::OpDef* op = ir::find_op(name);
  if (op == nullptr || op->inputs.size() != 1) return unsupported(call, fmt::format("activation \"{}\"", name));
  Named attrs;
  for (const auto& [from, to] : names)
    for (const ir::AttrDef& def : op->attrs)
      if (def.name == to && call.attrs.has(from)) attrs.emplace_back(to, *call.attrs.find(from));
  ir::Value* inputs[] = {x};
  outputs = builder.make_n(name, inputs, 1, std::move(attrs));
  return builder.status();
}

Status fused_matmul_activation(Call& call, ir::Builder& builder, Outputs& outputs) {
  TENON_RETURN_IF_ERROR(require(call, 2));
  Named attrs;
  for (const char* name : {"alpha", "transA", "transB", "transBatchA", "transBatchB"})
    if (const ir::Attr* attr = call.attrs.find(name)) attrs.emplace_back(name, *attr);
  ir::Value* inputs[] = {call.in(0), call.in(1)};
  const std::vector<ir::Value*> y = builder.make_n("com.microsoft.FusedMatMul", inputs, 1, std::move(attrs));
  TENON_RETURN_IF_ERROR(builder.status());
  return activated(call, builder, y[0], outputs);
}

Status gemm_fast_gelu(Call& call, ir::Builder& builder, Outputs& outputs) {
  TENON_RETURN_IF_ERROR(require(call, 2));
  return finish(builder, builder.make("com.microsoft.FastGelu", {builder.make("MatMul", {call.in(0), call.in(1)}), call.in(2)}), outputs);
}

/// Products of 16-bit integers in 32 bits, which wrap.
Status matmul_integer_16(Call& call, ir::Builder& builder, Outputs& outputs) {
  TENON_RETURN_IF_ERROR(require(call, 2));
  return finish(builder, builder.make("MatMul", {cast(builder, call.in(0), DType::kI32), cast(builder, call.in(1), DType::kI32)}), outputs);
}

/// (A - A_zero_point) (B - B_zero_point) in 32 bits; inputs A, A_zero_point, B, B_zero_point.
Status mul_integer(Call& call, ir::Builder& builder, Outputs& outputs) {
  if (!call.has(0) || !call.has(2)) return error(Code::kInvalidModel, "A or B is missing");
  auto level = [&](size_t i) {
    ir::Value* x = cast(builder, call.in(i), DType::kI32);
    return call.has(i + 1) ? builder.make("Sub", {x, cast(builder, call.in(i + 1), DType::kI32)}) : x;
  };
  return finish(builder, builder.make("Mul", {level(0), level(2)}), outputs);
}

Status reduce_sum_integer(Call& call, ir::Builder& builder, Outputs& outputs) {
  TENON_RETURN_IF_ERROR(require(call, 1));
  const std::vector<int64_t>* axes = call.integers("axes");
  if (axes == nullptr) return error(Code::kInvalidModel, "attribute axes is missing");
  return finish(builder,
                builder.make("ReduceSum", {cast(builder, call.in(0), DType::kI32), builder.ints(*axes)}, {{"keepdims", call.integer("keepdims", 1)}}),
                outputs);
}

// ---- Biases

Status bias_add(Call& call, ir::Builder& builder, Outputs& outputs) {
  TENON_RETURN_IF_ERROR(require(call, 3));
  return finish(builder, builder.make("Add", {builder.make("Add", {call.in(0), call.in(1)}), call.in(2)}), outputs);
}

/// The halves of x + bias on the last axis: the first times Gelu of the second.
Status bias_split_gelu(Call& call, ir::Builder& builder, Outputs& outputs) {
  TENON_RETURN_IF_ERROR(require(call, 2));
  ir::Value* inputs[] = {builder.make("Add", {call.in(0), call.in(1)})};
  const std::vector<ir::Value*> half = builder.make_n("Split", inputs, 2, {{"axis", int64_t{-1}}, {"num_outputs", int64_t{2}}});
  TENON_RETURN_IF_ERROR(builder.status());
  return finish(builder, builder.make("Mul", {half[0], builder.make("Gelu", {half[1]})}), outputs);
}

/// Softmax over all axes from `axis` on, of data + bias.
Status bias_softmax(Call& call, ir::Builder& builder, Outputs& outputs) {
  TENON_ASSIGN_OR_RETURN(const int64_t rank, known_rank(call, 0));
  TENON_RETURN_IF_ERROR(require(call, 2));
  TENON_ASSIGN_OR_RETURN(const int64_t axis, ir::normalize_axis(call.integer("axis", 1), rank));
  ir::Value* sum = builder.make("Add", {call.in(0), call.in(1)});
  TENON_RETURN_IF_ERROR(builder.status());
  const Dims dims = *sum->tensor().dims;
  const Dims flat = {ir::product(std::span(dims).first(static_cast<size_t>(axis))), ir::product(std::span(dims).subspan(static_cast<size_t>(axis)))};
  ir::Value* y = builder.make("Softmax", {builder.make("tenon.reshape", {sum}, {{"dims", flat}})}, {{"axis", int64_t{1}}});
  return finish(builder, builder.make("tenon.reshape", {y}, {{"dims", dims}}), outputs);
}

/// At inference: data + bias + residual, and a mask that keeps everything.
Status bias_dropout(Call& call, ir::Builder& builder, Outputs& outputs) {
  TENON_RETURN_IF_ERROR(require(call, 2));
  if (call.has(4)) {
    const Tensor* training = ir::constant_of(call.in(4));
    if (training == nullptr || training->size() != 1 || training->at_double(0) != 0) return unsupported(call, "training mode");
  }
  ir::Value* y = builder.make("Add", {call.in(0), call.in(1)});
  if (call.has(2)) y = builder.make("Add", {y, call.in(2)});
  ir::Value* mask = nullptr;
  if (call.output_used(1))
    mask = builder.make("ConstantOfShape", {builder.make("Shape", {call.in(0)})}, {{"value", Tensor::from<bool>({1}, {true})}});
  outputs = {y, mask};
  return builder.status();
}

// ---- Layers

/// Pads as an input. Those that are data cut the result without pads.
Status deconvolution_pads(Call& call, ir::Builder& builder, Outputs& outputs) {
  TENON_RETURN_IF_ERROR(require(call, 2));
  Named attrs;
  for (const auto& [name, value] : call.attrs) attrs.emplace_back(name, value);
  ir::Value* inputs[] = {call.in(0), call.in(1), call.in(3)};
  const std::optional<std::vector<int64_t>> pads = call.has(2) ? ir::constant_ints(call.in(2)) : std::vector<int64_t>();
  if (pads) {
    if (!pads->empty()) attrs.emplace_back("pads", *pads);
    outputs = builder.make_n("ConvTranspose", inputs, 1, std::move(attrs));
    return builder.status();
  }
  TENON_ASSIGN_OR_RETURN(const int64_t rank, known_rank(call, 0));
  if (call.attrs.has("output_shape") || call.text("auto_pad", "NOTSET") != "NOTSET")
    return unsupported(call, "pads that are not constant beside output_shape or auto_pad");
  ir::Value* whole = builder.make_n("ConvTranspose", inputs, 1, std::move(attrs))[0];
  const int64_t spatial = rank - 2;
  std::vector<int64_t> axes;
  for (int64_t i = 2; i < rank; ++i) axes.push_back(i);
  auto part = [&](ir::Value* list, int64_t from, int64_t to) { return builder.make("Slice", {list, builder.ints({from}), builder.ints({to}), builder.ints({0})}); };
  ir::Value* ends = builder.make("Sub", {part(builder.make("Shape", {whole}), 2, rank), part(call.in(2), spatial, 2 * spatial)});
  return finish(builder, builder.make("Slice", {whole, part(call.in(2), 0, spatial), ends, builder.ints(axes)}), outputs);
}

/// Group normalisation in f32 of [batch, height, width, channels], or channels first, with SiLU when activation is 1.
Status group_norm_of(Call& call, ir::Builder& builder, ir::Value* x, Outputs& outputs) {
  TENON_ASSIGN_OR_RETURN(const int64_t rank, known_rank(call, 0));
  TENON_RETURN_IF_ERROR(require(call, 3));
  if (rank < 3) return error(Code::kInvalidModel, "the input has rank {}; it must be at least 3", rank);
  const int64_t activation = call.integer("activation", 0);
  if (activation != 0 && activation != 1) return error(Code::kInvalidModel, "attribute activation is {}; it must be 0 or 1", activation);
  const bool last = call.integer("channels_last", 1) != 0;
  std::vector<int64_t> first = {0, rank - 1}, back = {0};
  for (int64_t i = 1; i + 1 < rank; ++i) first.push_back(i), back.push_back(i + 1);
  back.push_back(1);
  const DType type = call.in(0)->dtype();
  ir::Value* wide = cast(builder, x, DType::kF32);
  if (last) wide = builder.make("Transpose", {wide}, {{"perm", first}});
  ir::Value* y = builder.make("GroupNormalization", {wide, cast(builder, call.in(1), DType::kF32), cast(builder, call.in(2), DType::kF32)},
                              {{"epsilon", call.real("epsilon", 1e-5)}, {"num_groups", call.integer("groups", 0)}});
  if (activation == 1) y = builder.make("Mul", {y, builder.make("Sigmoid", {y})});
  if (last) y = builder.make("Transpose", {y}, {{"perm", back}});
  outputs = {cast(builder, y, type), x};
  return builder.status();
}

Status group_norm(Call& call, ir::Builder& builder, Outputs& outputs) {
  TENON_RETURN_IF_ERROR(group_norm_of(call, builder, call.in(0), outputs));
  outputs->resize(1);
  return {};
}

/// Of the sum of input, skip ([batch, channels] or [batch, 1, 1, channels] too) and bias; the sum is the second output.
Status skip_group_norm(Call& call, ir::Builder& builder, Outputs& outputs) {
  TENON_ASSIGN_OR_RETURN(const int64_t rank, known_rank(call, 0));
  TENON_RETURN_IF_ERROR(require(call, 4));
  ir::Value* skip = call.in(3);
  if (rank_of(skip) == 2 && rank > 2) {
    std::vector<int64_t> axes;
    for (int64_t i = 1; i + 1 < rank; ++i) axes.push_back(i);
    skip = builder.make("Unsqueeze", {skip, builder.ints(axes)});
  }
  ir::Value* sum = builder.make("Add", {call.in(0), skip});
  if (call.has(4)) sum = builder.make("Add", {sum, call.in(4)});
  TENON_RETURN_IF_ERROR(builder.status());
  return group_norm_of(call, builder, sum, outputs);
}

// ---- Others

/// Distances between the rows of two matrices.
Status cdist(Call& call, ir::Builder& builder, Outputs& outputs) {
  TENON_RETURN_IF_ERROR(require(call, 2));
  const std::string metric = call.text("metric", "sqeuclidean");
  if (metric != "sqeuclidean" && metric != "euclidean") return unsupported(call, fmt::format("metric \"{}\"", metric));
  ir::Value* difference = builder.make("Sub", {builder.make("Unsqueeze", {call.in(0), builder.ints({1})}), builder.make("Unsqueeze", {call.in(1), builder.ints({0})})});
  ir::Value* y = builder.make("ReduceSumSquare", {difference, builder.ints({2})}, {{"keepdims", int64_t{0}}});
  return finish(builder, metric == "euclidean" ? builder.make("Sqrt", {y}) : y, outputs);
}

Status is_all_finite(Call& call, ir::Builder& builder, Outputs& outputs) {
  TENON_RETURN_IF_ERROR(require(call, 1));
  const bool only_inf = call.integer("isinf_only", 0) != 0, only_nan = call.integer("isnan_only", 0) != 0;
  if (only_inf && only_nan) return error(Code::kInvalidModel, "isinf_only and isnan_only exclude each other");
  ir::Value* all = nullptr;
  for (size_t i = 0; i < call.inputs.size(); ++i) {
    TENON_RETURN_IF_ERROR(require(call, i + 1));
    ir::Value* x = call.in(i);
    ir::Value* bad = only_nan ? builder.make("IsNaN", {x}) : builder.make("IsInf", {x});
    if (!only_inf && !only_nan) bad = builder.make("Or", {bad, builder.make("IsNaN", {x})});
    ir::Value* any = builder.make("ReduceMax", {cast(builder, bad, DType::kI32)}, {{"keepdims", int64_t{0}}});
    ir::Value* fine = builder.make("Equal", {any, builder.scalar(DType::kI32, 0)});
    all = all == nullptr ? fine : builder.make("And", {all, fine});
  }
  return finish(builder, reshape(builder, all, {1}), outputs);
}

/// Windows of `size` every `step` along `dim`, as a new last axis.
Status unfold(Call& call, ir::Builder& builder, Outputs& outputs) {
  TENON_ASSIGN_OR_RETURN(const int64_t rank, known_rank(call, 0));
  const int64_t size = call.integer("size", 0), step = call.integer("step", 1);
  if (rank == 0) return error(Code::kInvalidModel, "the input is a scalar");
  TENON_ASSIGN_OR_RETURN(const int64_t axis, ir::normalize_axis(call.integer("dim", -1), rank, "dim"));
  if (size < 1 || step < 1 || size > INT32_MAX || step > INT32_MAX) return error(Code::kInvalidModel, "attributes size and step must be positive; they are {} and {}", size, step);
  const ir::Dim extent = call.in(0)->tensor().dim(axis), windows = ir::floor_div(extent - size, step) + 1;
  if (ir::known_lt(extent, size)) return error(Code::kInvalidModel, "a window of {} does not fit {}", size, to_string(extent));
  auto counted = [&](ir::Dim n) {
    ir::Value* limit = builder.make("tenon.dim_values", {}, {{"dims", Dims{n}}, {"scalar", int64_t{1}}});
    return builder.make("Range", {builder.scalar(DType::kI64, 0), limit, builder.scalar(DType::kI64, 1)});
  };
  ir::Value* starts = builder.make("Mul", {builder.make("Unsqueeze", {counted(windows), builder.ints({1})}), builder.constant(Tensor::scalar(step))});
  ir::Value* y = builder.make("Gather", {call.in(0), builder.make("Add", {starts, counted(size)})}, {{"axis", axis}});
  std::vector<int64_t> perm;
  for (int64_t i = 0; i <= rank; ++i)
    if (i != axis + 1) perm.push_back(i);
  perm.push_back(axis + 1);
  return finish(builder, builder.make("Transpose", {y}, {{"perm", perm}}), outputs);
}

/// Pairs of real and imaginary parts on the last axis, multiplied; Conj: by the second's conjugate.
Status complex_mul(Call& call, ir::Builder& builder, Outputs& outputs) {
  TENON_RETURN_IF_ERROR(require(call, 2));
  auto part = [&](size_t i, int64_t at) {
    return builder.make("Slice", {call.in(i), builder.ints({at}), builder.ints({at + 1}), builder.ints({-1})});
  };
  auto mul = [&](ir::Value* a, ir::Value* b) { return builder.make("Mul", {a, b}); };
  const bool conjugate = call.op == "ComplexMulConj";
  ir::Value *ar = part(0, 0), *ai = part(0, 1), *br = part(1, 0), *bi = part(1, 1);
  ir::Value* re = builder.make(conjugate ? "Add" : "Sub", {mul(ar, br), mul(ai, bi)});
  ir::Value* im = conjugate ? builder.make("Sub", {mul(ai, br), mul(ar, bi)}) : builder.make("Add", {mul(ar, bi), mul(ai, br)});
  return finish(builder, builder.make("Concat", {re, im}, {{"axis", int64_t{-1}}}), outputs);
}

/// Sinusoids of an embedding applied to queries and keys with their halves rotated before (Gemma).
Status gemma_rotary(Call& call, ir::Builder& builder, Outputs& outputs) {
  TENON_RETURN_IF_ERROR(require(call, 5));
  auto table = [&](const char* op) {
    return builder.make("Unsqueeze", {cast(builder, builder.make(op, {call.in(0)}), call.in(1)->dtype()), builder.ints({1})});
  };
  ir::Value *cos = table("Cos"), *sin = table("Sin");
  auto embed = [&](size_t i) {
    return builder.make("Add", {builder.make("Mul", {call.in(i), cos}), builder.make("Mul", {call.in(i + 1), sin})});
  };
  outputs = {embed(1), embed(3)};
  return builder.status();
}

/// EmbedLayerNormalization whose tables, gamma and beta are bytes: their scales are inputs 8 to 12, zero points 13 to 17.
Status quantised_embeddings(Call& call, ir::Builder& builder, Outputs&) {
  std::vector<ir::Value*> inputs(call.inputs.begin(), call.inputs.begin() + static_cast<ptrdiff_t>(std::min<size_t>(call.inputs.size(), 8)));
  inputs.resize(8);
  for (size_t k = 0; k < 5; ++k) {
    if (!call.has(2 + k)) continue;
    if (!call.has(8 + k) || !call.has(13 + k)) return error(Code::kInvalidModel, "input {} has no scale or zero point", 2 + k);
    ir::Value* scale = call.in(8 + k);
    ir::Value* zero = call.in(13 + k);
    inputs[2 + k] = builder.make("DequantizeLinear", {call.in(2 + k), scale, zero});
  }
  call.inputs = std::move(inputs);
  call.op = "EmbedLayerNormalization";
  return builder.status();
}

/// accuracy_level 4 lets a product take its left operand in 8 bits. It is quantised as ONNX Runtime does, in the blocks of the weights,
/// symmetric, by the largest magnitude of each.
Status matmul_of_bytes(Call& call, ir::Builder& builder, Outputs&) {
  constexpr int64_t kBytes = 4;
  constexpr double kLargest = 127;
  const int64_t block = call.integer("block_size", 0), k = call.integer("K", 0);
  const ir::Value* a = call.in(0);
  const bool known = a != nullptr && a->type().is_ranked_tensor() && a->dtype() == DType::kF32 && a->tensor().rank() > 0;
  if (call.integer("accuracy_level", 0) != kBytes || call.has(4) || !known || block <= 0 || k <= 0 || k % block != 0) return {};
  const std::vector<ir::Dim> dims = *a->tensor().dims;
  if (!dims.back().is_const(k)) return {};
  std::vector<ir::Dim> blocks = dims;
  blocks.back() = k / block;
  std::vector<ir::Dim> apart = blocks;
  apart.push_back(block);
  ir::Value* x = builder.make("tenon.reshape", {call.in(0)}, {{"dims", apart}});
  ir::Value* largest = builder.make("ReduceMax", {builder.make("Abs", {x}), builder.ints({-1})}, {{"keepdims", int64_t{1}}});
  ir::Value* some = builder.make("Greater", {largest, builder.scalar(DType::kF32, 0)});
  ir::Value* per_unit = builder.make("Where", {some, builder.make("Div", {builder.scalar(DType::kF32, kLargest), largest}), builder.scalar(DType::kF32, 0)});
  ir::Value* rounded = cast(builder, builder.make("Round", {builder.make("Mul", {x, per_unit})}), DType::kI8);
  ir::Value* bytes = builder.make("tenon.reshape", {rounded}, {{"dims", dims}});
  ir::Value* scale = builder.make("tenon.reshape", {builder.make("Div", {largest, builder.scalar(DType::kF32, kLargest)})}, {{"dims", blocks}});
  call.set_input(0, builder.make("DequantizeLinear", {bytes, scale}, {{"axis", int64_t{-1}}, {"block_size", block}}));
  call.attrs.erase("accuracy_level");
  return builder.status();
}

constexpr NormalizeRule kRules[] = {
    {kDomain, "MatMulNBits", kAnyVersion, matmul_of_bytes},
    {kDomain, "QEmbedLayerNormalization", kAnyVersion, quantised_embeddings, true},
    {kDomain, "LayerNormalization SimplifiedLayerNormalization Trilu QuantizeLinear DequantizeLinear", kAnyVersion, to_onnx, true},
    {kDomain, "TransposeMatMul", kAnyVersion, transpose_matmul, true},
    {kDomain, "GridSample", kAnyVersion, grid_sample, true},
    {kDomain, "GatherND", kAnyVersion, gather_nd, true},
    {kDomain, "TorchEmbedding", kAnyVersion, torch_embedding, true},
    {kDomain, "ExpandDims", kAnyVersion, expand_dims, true},
    {kDomain, "Range", kAnyVersion, range, true},
    {kDomain, "Pad", kAnyVersion, pad, true},
    {kDomain, "Unique", kAnyVersion, unique, true},
    {kDomain, "FusedMatMulActivation", kAnyVersion, fused_matmul_activation, true},
    {kDomain, "GemmFastGelu", kAnyVersion, gemm_fast_gelu, true},
    {kDomain, "MatMulInteger16", kAnyVersion, matmul_integer_16, true},
    {kDomain, "MulInteger", kAnyVersion, mul_integer, true},
    {kDomain, "ReduceSumInteger", kAnyVersion, reduce_sum_integer, true},
    {kDomain, "BiasAdd", kAnyVersion, bias_add, true},
    {kDomain, "BiasSplitGelu", kAnyVersion, bias_split_gelu, true},
    {kDomain, "BiasSoftmax", kAnyVersion, bias_softmax, true},
    {kDomain, "BiasDropout", kAnyVersion, bias_dropout, true},
    {kDomain, "ConvTransposeWithDynamicPads", kAnyVersion, deconvolution_pads, true},
    {kDomain, "GroupNorm", kAnyVersion, group_norm, true},
    {kDomain, "SkipGroupNorm", kAnyVersion, skip_group_norm, true},
    {kDomain, "CDist", kAnyVersion, cdist, true},
    {kDomain, "IsAllFinite", kAnyVersion, is_all_finite, true},
    {kDomain, "UnfoldTensor", kAnyVersion, unfold, true},
    {kDomain, "ComplexMul ComplexMulConj", kAnyVersion, complex_mul, true},
    {kDomain, "GemmaRotaryEmbedding", kAnyVersion, gemma_rotary, true},
};

}  // namespace

std::span<const NormalizeRule> contrib_rules() { return kRules; }

}  // namespace tenon::frontend
