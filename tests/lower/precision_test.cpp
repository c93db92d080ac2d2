// Products of 16-bit factors on GPUs: kept in 16 bits in shared memory, multiplied in registers or in matrix units.

#include <gtest/gtest.h>

#include <algorithm>

#include "codegen/spirv/emit.h"
#include "harness.h"
#include "ir/op.h"

namespace tenon::lower_test {
namespace {

using ir::Dim;
using ir::TensorType;
using ir::Value;

struct Case {
  ir::Graph graph;
  Instance instance;
  uint64_t seed = 1;

  Value* input(DType dtype, std::vector<Dim> dims) {
    Value* v = graph.add_input(graph.unique_name("x"), TensorType(dtype, std::move(dims)));
    return v;
  }
  ir::Node* node(std::string_view op, std::vector<Value*> inputs, std::vector<std::pair<std::string, ir::Attr>> attrs = {}) {
    ir::Builder builder(graph);
    const auto made = builder.make_n(op, inputs, 1, std::move(attrs));
    EXPECT_TRUE(builder.status().ok()) << builder.status().to_string();
    graph.add_output(made[0]);
    for (Value* v : inputs) instance.tensors[v] = random_tensor(*v, instance, seed++);
    return made[0]->def();
  }
};

codegen::Target with_matrices(DType factor) {
  codegen::Target t = gpu();
  t.subgroup_size = 8;
  t.matrices = {{8, 8, 8, factor, factor, DType::kF32}, {4, 8, 8, factor, factor, DType::kF32}};
  return t;
}

/// The capabilities of the module that is made of a kernel for this target.
std::vector<uint32_t> capabilities(const kir::Kernel& kernel, const codegen::Target& target) {
  codegen::spirv::EmitOptions options{.subgroup_size = target.subgroup_size, .narrow_indices = true};
  options.matrices = target.matrices;
  const auto words = codegen::spirv::emit(kernel, options);
  EXPECT_TRUE(words.ok()) << words.status().to_string();
  std::vector<uint32_t> out;
  for (size_t i = 5; words.ok() && i < words->size() && ((*words)[i] & 0xffff) == 17; i += 2) out.push_back((*words)[i + 1]);
  return out;
}

bool uses_matrices(const kir::Kernel& kernel, const codegen::Target& target) {
  constexpr uint32_t kCooperativeMatrix = 6022;
  const auto all = capabilities(kernel, target);
  return std::ranges::find(all, kCooperativeMatrix) != all.end();
}

TEST(Precision, HalvesStayHalvesInSharedMemory) {
  for (const DType d : {DType::kF16, DType::kBF16}) {
    Case c;
    ir::Node* node = c.node("MatMul", {c.input(d, {19, 40}), c.input(d, {40, 35})});
    EXPECT_EQ(check_lowering(*node, gpu(), c.instance, 1e-2), fmt::format("contraction 16x16x16 of {}, 64 lanes of 2x2", name(d)));
    const auto lowered = codegen::lower(*node, gpu());
    ASSERT_TRUE(lowered.ok());
    for (const kir::BufferInfo& buffer : lowered->kernels[0].kernel.buffers) {
      if (buffer.name != "a_tile" && buffer.name != "b_tile") continue;
      EXPECT_EQ(buffer.dtype, d);
    }
  }
}

TEST(Precision, MatrixUnitsTakeWhatTheyHaveShapesFor) {
  const codegen::Target target = with_matrices(DType::kF16);
  for (const DType d : {DType::kF16, DType::kF32, DType::kBF16}) {
    Case c;
    ir::Node* node = c.node("MatMul", {c.input(d, {19, 40}), c.input(d, {40, 35})});
    const std::string how = check_lowering(*node, target, c.instance, d == DType::kF32 ? 1e-5 : 1e-2);
    EXPECT_EQ(how.find("matrices 8x8x8") != std::string::npos, d == DType::kF16) << how;
    const auto lowered = codegen::lower(*node, target);
    ASSERT_TRUE(lowered.ok());
    EXPECT_EQ(uses_matrices(lowered->kernels[0].kernel, target), d == DType::kF16);
  }
}

TEST(Precision, MatricesOfEveryOrderAndSize) {
  const codegen::Target target = with_matrices(DType::kF16);
  struct Shape {
    std::vector<Dim> a, b;
  };
  for (const Shape& s : {Shape{{7, 9}, {9, 11}}, Shape{{2, 33, 20}, {20, 70}}, Shape{{3, 2, 8, 5}, {2, 5, 40}}, Shape{{64, 64}, {64, 64}},
                         Shape{{9, 70}, {70, 130}}}) {
    Case c;
    ir::Node* node = c.node("MatMul", {c.input(DType::kF16, s.a), c.input(DType::kF16, s.b)});
    EXPECT_NE(check_lowering(*node, target, c.instance, 1e-2).find("matrices"), std::string::npos);
    const auto lowered = codegen::lower(*node, target);
    ASSERT_TRUE(lowered.ok());
    EXPECT_TRUE(uses_matrices(lowered->kernels.back().kernel, target)) << "the emitter cannot use what the schedule made for it";
  }
  for (int64_t t = 0; t < 4; ++t) {
    Case c;
    const int64_t ta = t & 1, tb = t >> 1;
    Value* a = c.input(DType::kF16, ta ? std::vector<Dim>{21, 9} : std::vector<Dim>{9, 21});
    Value* b = c.input(DType::kF16, tb ? std::vector<Dim>{34, 21} : std::vector<Dim>{21, 34});
    ir::Node* node = c.node("Gemm", {a, b, c.input(DType::kF16, {34})}, {{"transA", ta}, {"transB", tb}, {"alpha", 0.5}, {"beta", 2.0}});
    EXPECT_NE(check_lowering(*node, target, c.instance, 1e-2).find("matrices"), std::string::npos);
    EXPECT_TRUE(uses_matrices(codegen::lower(*node, target)->kernels.back().kernel, target));
  }
  Case c;
  ir::Node* node = c.node("Conv", {c.input(DType::kF16, {1, 5, 9, 11}), c.input(DType::kF16, {20, 5, 3, 3})},
                          {{"pads", std::vector<int64_t>{1, 1, 1, 1}}});
  EXPECT_NE(check_lowering(*node, target, c.instance, 1e-2).find("matrices"), std::string::npos);
}

TEST(Precision, ABatchOfAnySizeIsOneKernel) {
  const codegen::Target target = with_matrices(DType::kF16);
  for (const int64_t m : {1, 5, 0, 33}) {
    Case c;
    c.instance.symbols["M"] = m;
    const Dim rows = c.graph.dims().symbol("M");
    ir::Node* node = c.node("MatMul", {c.input(DType::kF16, {rows, 24}), c.input(DType::kF16, {24, 37})});
    EXPECT_NE(check_lowering(*node, target, c.instance, 1e-2).find("matrices"), std::string::npos);
  }
}

bool has_buffer(const kir::Kernel& kernel, std::string_view name) {
  return std::ranges::any_of(kernel.buffers, [&](const kir::BufferInfo& b) { return b.name == name; });
}

TEST(TiledContraction, FactorsComeInVectorsWhereTheyAreAligned) {
  struct Shape {
    std::vector<Dim> a, b;
    int wide_loads;
  };
  const codegen::Target matrices = with_matrices(DType::kF16);
  for (const codegen::Target& target : {gpu(), matrices})
    for (const DType d : {DType::kF32, DType::kF16})
      for (const Shape& s : {Shape{{20, 36}, {36, 44}, 2}, Shape{{20, 36}, {36, 45}, 1}, Shape{{20, 37}, {37, 44}, 1}, Shape{{20, 37}, {37, 45}, 0}}) {
        Case c;
        ir::Node* node = c.node("MatMul", {c.input(d, s.a), c.input(d, s.b)});
        check_lowering(*node, target, c.instance, d == DType::kF16 ? 1e-2 : 1e-5);
        const std::string text = kir::print(codegen::lower(*node, target)->kernels[0].kernel);
        int found = 0;
        for (size_t at = 0; (at = text.find("= load wide 4", at)) != std::string::npos; ++at) ++found;
        EXPECT_EQ(found, s.wide_loads) << text;
      }
}

TEST(TiledContraction, LanesAskForTheNextStepAhead) {
  codegen::Target target = gpu();
  target.lane_sums = 64;
  for (const auto& [m, k, n] : {std::tuple{70, 50, 90}, {64, 64, 64}, {33, 16, 100}, {65, 3, 65}}) {
    Case c;
    ir::Node* node = c.node("MatMul", {c.input(DType::kF32, {m, k}), c.input(DType::kF32, {k, n})});
    check_lowering(*node, target, c.instance);
    const auto lowered = codegen::lower(*node, target);
    ASSERT_TRUE(lowered.ok());
    EXPECT_TRUE(has_buffer(lowered->kernels[0].kernel, "a_ahead"));
  }
  Case c;
  ir::Node* node = c.node("Conv", {c.input(DType::kF32, {1, 5, 9, 11}), c.input(DType::kF32, {20, 5, 3, 3})}, {{"pads", std::vector<int64_t>{1, 1, 1, 1}}});
  check_lowering(*node, target, c.instance);
  for (const int64_t k : {0, 1, 40}) {
    Case s;
    s.instance.symbols["K"] = k;
    const Dim depth = s.graph.dims().symbol("K");
    check_lowering(*s.node("MatMul", {s.input(DType::kF32, {33, depth}), s.input(DType::kF32, {depth, 40})}), target, s.instance);
  }
}

}  // namespace
}  // namespace tenon::lower_test
