#include "eval/self_test_groups.h"

#include <fmt/format.h>

#include <span>
#include <string_view>

// The graphs of the self-test. Sizes are odd, so that no schedule's tiles fit.
namespace tenon::eval {
namespace {

struct Line {
  std::string_view name, node;      // the output, and what makes it
};

SelfTestSource source(std::string group, std::string inputs, std::span<const Line> lines, double rtol = 1e-5) {
  std::string text = "graph \"self-test\" {\n" + std::move(inputs), outputs;
  int number = 0;
  for (const Line& line : lines) {
    text += fmt::format("  %o{}: ? = {}\n", number, line.node);
    outputs += fmt::format("  output %o{} as \"{}\"\n", number, line.name);
    ++number;
  }
  return {std::move(group), text + outputs + "}\n", rtol, DType::kF32};
}

constexpr Line kArithmetic[] = {{"Add", "Add(%x, %y)"}, {"Sub", "Sub(%x, %y)"}, {"Mul", "Mul(%x, %y)"}, {"Div", "Div(%x, %p)"},
                                {"Min", "Min(%x, %y)"}, {"Max", "Max(%x, %y)"}, {"Abs", "Abs(%x)"},     {"broadcast", "Add(%x, %r)"}};
constexpr Line kSigned[] = {{"Neg", "Neg(%x)"}, {"Sign", "Sign(%x)"}, {"Clip", "Clip(%x, %a, %b)"}};
constexpr Line kFloats[] = {{"Exp", "Exp(%x)"},         {"Log", "Log(%p)"},     {"Sqrt", "Sqrt(%p)"},   {"Reciprocal", "Reciprocal(%p)"}, {"Sin", "Sin(%x)"},
                            {"Cos", "Cos(%x)"},         {"Tanh", "Tanh(%x)"},   {"Sigmoid", "Sigmoid(%x)"}, {"Erf", "Erf(%x)"},           {"Atan", "Atan(%x)"},
                            {"Floor", "Floor(%x)"},     {"Ceil", "Ceil(%x)"},   {"Round", "Round(%x)"}, {"Softplus", "Softplus(%x)"},     {"Pow", "Pow(%p, %x)"},
                            {"Relu", "Relu(%x)"},       {"Gelu", "Gelu(%x)"},   {"HardSigmoid", "HardSigmoid(%x)"}, {"Elu", "Elu(%x)"},   {"Softsign", "Softsign(%x)"},
                            {"IsNaN", "IsNaN(%x)"},     {"Tan", "Tan(%x)"},     {"Sinh", "Sinh(%x)"},   {"Cosh", "Cosh(%x)"},             {"Asinh", "Asinh(%x)"}};
constexpr Line kComparisons[] = {{"Equal", "Equal(%x, %y)"}, {"Less", "Less(%x, %y)"}, {"Greater", "Greater(%x, %y)"}, {"LessOrEqual", "LessOrEqual(%x, %y)"},
                                 {"Where", "Where(%c, %x, %y)"}};
constexpr Line kLogic[] = {{"And", "And(%c, %d)"}, {"Or", "Or(%c, %d)"}, {"Xor", "Xor(%c, %d)"}, {"Not", "Not(%c)"}};
constexpr Line kBits[] = {{"BitwiseAnd", "BitwiseAnd(%x, %y)"}, {"BitwiseOr", "BitwiseOr(%x, %y)"}, {"BitwiseXor", "BitwiseXor(%x, %y)"}, {"BitwiseNot", "BitwiseNot(%x)"}};
constexpr Line kMovement[] = {{"Transpose", "Transpose(%x) {perm = [2, 0, 1]}"}, {"Concat", "Concat(%x, %y, %x) {axis = 1}"}, {"Gather", "Gather(%x, %i) {axis = 1}"},
                              {"GatherElements", "GatherElements(%x, %ie) {axis = 2}"}, {"Flatten", "Flatten(%x) {axis = 1}"}, {"Trilu", "Trilu(%x)"}};
constexpr Line kReductions[] = {{"ReduceSum", "ReduceSum(%x, %axis)"}, {"ReduceMean", "ReduceMean(%x, %axis)"}, {"ReduceMax", "ReduceMax(%x, %axis)"}, {"ReduceMin", "ReduceMin(%x, %axis)"},
                                {"outer ReduceSum", "ReduceSum(%x, %first)"}, {"whole ReduceSum", "ReduceSum(%x)"}, {"ReduceL2", "ReduceL2(%x, %axis)"}};
constexpr Line kPositions[] = {{"ArgMax", "ArgMax(%x) {axis = 1}"}, {"ArgMin", "ArgMin(%x) {axis = 2}"}, {"CumSum", "CumSum(%x, %one)"}};
constexpr Line kNorms[] = {{"Softmax", "Softmax(%x) {axis = -1}"}, {"outer Softmax", "Softmax(%x) {axis = 1}"}, {"LogSoftmax", "LogSoftmax(%x) {axis = -1}"},
                           {"LayerNormalization", "LayerNormalization(%x, %p, %r) {axis = -1}"}};
constexpr Line kProducts[] = {{"MatMul", "MatMul(%a, %b)"}, {"row", "MatMul(%row, %b)"}, {"batched", "MatMul(%s, %t)"}, {"Gemm", "Gemm(%b, %a, %v) {transA = 1, transB = 1, alpha = 0.5}"},
                              {"long", "MatMul(%k, %l)"}};
constexpr Line kConvolutions[] = {{"Conv", "Conv(%x, %w, %b) {pads = [1, 1, 1, 1], kernel_shape = [3, 3]}"}, {"strided", "Conv(%x, %w) {strides = [2, 2], kernel_shape = [3, 3]}"},
                                  {"dilated", "Conv(%x, %w) {dilations = [2, 2], kernel_shape = [3, 3]}"}, {"depthwise", "Conv(%x, %g) {group = 6, pads = [2, 1, 0, 1], kernel_shape = [3, 3]}"},
                                  {"pointwise", "Conv(%x, %q) {kernel_shape = [1, 1]}"}, {"transposed", "ConvTranspose(%x, %z) {strides = [2, 2], kernel_shape = [3, 3]}"}};
constexpr Line kPools[] = {{"MaxPool", "MaxPool(%x) {kernel_shape = [3, 2], strides = [2, 1], pads = [1, 0, 1, 1]}"}, {"AveragePool", "AveragePool(%x) {kernel_shape = [3, 3], strides = [2, 2]}"},
                           {"GlobalAveragePool", "GlobalAveragePool(%x)"}};

/// Large enough for tiles of matrices, whole and cut off, along K and across.
constexpr Line kMatrices[] = {{"MatMul", "MatMul(%a, %b)"}, {"batched", "MatMul(%s, %t)"}, {"Gemm", "Gemm(%b, %a, %v) {transA = 1, transB = 1}"}, {"whole", "MatMul(%e, %e)"},
                              {"Conv", "Conv(%x, %w) {pads = [1, 1, 1, 1], kernel_shape = [3, 3]}"}, {"wide", "MatMul(%row, %b)"}};

std::string inputs(std::string_view dtype, std::initializer_list<std::pair<std::string_view, std::string_view>> list) {
  std::string out;
  for (const auto& [name, shape] : list) out += fmt::format("  input %{}: {}[{}]\n", name, dtype, shape);
  return out;
}

void add_elementwise(std::vector<SelfTestSource>& out) {
  constexpr std::string_view kShape = "5, 7, 31";
  for (std::string_view d : {"f32", "f16", "bf16", "f64", "i8", "i16", "i32", "i64", "u8", "u16", "u32", "u64"}) {
    const bool floats = d[0] == 'f' || d[0] == 'b', is_signed = d[0] != 'u';
    out.push_back(source(fmt::format("arithmetic {}", d), inputs(d, {{"x", kShape}, {"y", kShape}, {"p", kShape}, {"r", "31"}}), kArithmetic));
    if (is_signed) out.push_back(source(fmt::format("arithmetic {}", d), inputs(d, {{"x", kShape}, {"a", ""}, {"b", ""}}), kSigned));
    out.push_back(source(fmt::format("comparisons {}", d), inputs(d, {{"x", kShape}, {"y", kShape}}) + inputs("bool", {{"c", kShape}}), kComparisons));
    if (!floats) out.push_back(source(fmt::format("bits {}", d), inputs(d, {{"x", kShape}, {"y", kShape}}), kBits));
    if (floats) out.push_back(source(fmt::format("math {}", d), inputs(d, {{"x", kShape}, {"p", kShape}}), kFloats, 2e-5));
    std::vector<std::string> nodes;
    std::vector<Line> casts;
    nodes.reserve(12);
    for (const auto& [name, code] : {std::pair{"f32", 1}, {"f16", 10}, {"bf16", 16}, {"f64", 11}, {"i8", 3}, {"i16", 5}, {"i32", 6}, {"i64", 7}, {"bool", 9}}) {
      nodes.push_back(fmt::format("Cast(%x) {{to = {}}}", code));
      casts.push_back({name, nodes.back()});
    }
    out.push_back(source(fmt::format("casts from {}", d), inputs(d, {{"x", kShape}}), casts));
  }
  out.push_back(source("logic", inputs("bool", {{"c", kShape}, {"d", kShape}}), kLogic));
}

void add_others(std::vector<SelfTestSource>& out) {
  constexpr std::string_view kShape = "5, 7, 31";
  const std::string axes = "  %axis: i64[1] = Constant {value = dense<i64[1], 2>}\n  %first: i64[1] = Constant {value = dense<i64[1], 0>}\n"
                           "  %one: i64[] = Constant {value = dense<i64[], 1>}\n";
  for (std::string_view d : {"f32", "f16", "i32", "i8"}) {
    out.push_back(source(fmt::format("movement {}", d), inputs(d, {{"x", kShape}, {"y", kShape}}) + inputs("i64", {{"i", "4"}, {"ie", "5, 7, 9"}}), kMovement));
    out.push_back(source(fmt::format("positions {}", d), inputs(d, {{"x", kShape}}) + axes, kPositions, 2e-3));
  }
  for (std::string_view d : {"f32", "f16", "f64", "i32"}) out.push_back(source(fmt::format("reductions {}", d), inputs(d, {{"x", "5, 7, 301"}}) + axes, kReductions, 1e-4));
  for (std::string_view d : {"f32", "f16"}) {
    const double rtol = d == "f32" ? 2e-5 : 2e-3;
    out.push_back(source(fmt::format("softmax and norms {}", d), inputs(d, {{"x", "5, 7, 133"}, {"p", "133"}, {"r", "133"}}), kNorms, rtol));
    out.push_back(source(fmt::format("products {}", d),
                         inputs(d, {{"a", "37, 53"}, {"b", "53, 41"}, {"row", "1, 53"}, {"s", "3, 17, 29"}, {"t", "3, 29, 13"}, {"v", "37"}, {"k", "3, 1031"}, {"l", "1031, 5"}}),
                         kProducts, rtol));
    out.push_back(source(fmt::format("convolutions {}", d),
                         inputs(d, {{"x", "2, 6, 13, 11"}, {"w", "9, 6, 3, 3"}, {"b", "9"}, {"g", "6, 1, 3, 3"}, {"q", "7, 6, 1, 1"}, {"z", "6, 5, 3, 3"}}), kConvolutions, rtol));
    out.push_back(source(fmt::format("pools {}", d), inputs(d, {{"x", "2, 6, 13, 11"}}), kPools, rtol));
  }
}

/// Elements of the inputs are exact in the smaller dtypes, so results are those of f32. What matrix units compute where a device has them.
void add_matrices(std::vector<SelfTestSource>& out) {
  for (const DType d : {DType::kF16, DType::kBF16}) {
    out.push_back(source(fmt::format("matrices {}", name(d)),
                         inputs("f32", {{"a", "131, 70"}, {"b", "70, 97"}, {"s", "3, 33, 64"}, {"t", "3, 64, 40"}, {"v", "131"}, {"e", "128, 128"}, {"x", "2, 20, 19, 17"},
                                        {"w", "37, 20, 3, 3"}, {"row", "2, 70"}}),
                         kMatrices, 2e-5));
    out.back().precision = d;
  }
}

}  // namespace

std::vector<SelfTestSource> self_test_sources() {
  std::vector<SelfTestSource> out;
  add_elementwise(out);
  add_others(out);
  add_matrices(out);
  return out;
}

}  // namespace tenon::eval
