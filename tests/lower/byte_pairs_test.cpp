// Products of bytes as sums of products of pairs of 16-bit differences (codegen/schedule/dot_product.h).

#include <gtest/gtest.h>

#include "codegen/schedule/dot_product.h"
#include "harness.h"
#include "ir/op.h"

namespace tenon::lower_test {
namespace {

using ir::Dim;
using ir::Graph;
using ir::Node;
using ir::TensorType;
using ir::Value;

struct Model {
  Graph graph;
  Instance instance;
  ir::Builder b{graph};

  Value* given(Tensor tensor) {
    std::vector<Dim> dims(tensor.shape().begin(), tensor.shape().end());
    Value* v = graph.add_input(graph.unique_name("x"), TensorType(tensor.dtype(), std::move(dims)));
    instance.tensors[v] = std::move(tensor);
    return v;
  }
  Node* made(std::string_view op, std::initializer_list<Value*> inputs) {
    graph.add_output(b.make(op, inputs));
    EXPECT_TRUE(b.status().ok()) << b.status().to_string();
    return graph.outputs()[0]->def();
  }
  /// On every CPU without products of bytes, and exact.
  void expect_pairs(const Node& node, std::string_view how = "of pairs of bytes packed") {
    for (const codegen::Target& target : every_target()) {
      if (!codegen::in_pairs(target)) continue;
      EXPECT_NE(check_lowering(node, target, instance, 0).find(how), std::string::npos);
    }
  }
};

/// first, first + step …, within the dtype.
Tensor bytes(DType dtype, Shape shape, int64_t first, int64_t step = 0) {
  Tensor out = *Tensor::zeros(dtype, std::move(shape));
  const int64_t lo = dtype == DType::kI8 ? -128 : 0;
  for (int64_t i = 0; i < out.size(); ++i) out.set_int(i, lo + (first - lo + i * step) % 256);
  return out;
}

/// Where sums of two products of bytes exceed 16 bits, and differences nine of them.
TEST(BytePairs, OfExtremeBytes) {
  struct Extreme {
    DType x, w;
    int64_t of_x, of_w, x_zero, w_zero;
  };
  for (const Extreme& e : {Extreme{DType::kU8, DType::kI8, 255, -128, 0, 0}, Extreme{DType::kU8, DType::kI8, 0, 127, 255, 0},
                           Extreme{DType::kU8, DType::kI8, 255, 127, 0, -128}, Extreme{DType::kU8, DType::kU8, 255, 255, 0, 0},
                           Extreme{DType::kI8, DType::kI8, -128, -128, 127, 127}, Extreme{DType::kU8, DType::kU8, 0, 0, 255, 255}}) {
    SCOPED_TRACE(fmt::format("{} {} by {} {}", e.of_x, name(e.x), e.of_w, name(e.w)));
    Model m;
    Value* x = m.given(bytes(e.x, {3, 1025}, e.of_x));
    Value* w = m.b.constant(bytes(e.w, {1025, 19}, e.of_w));
    m.expect_pairs(*m.made("MatMulInteger", {x, w, m.given(bytes(e.x, {}, e.x_zero)), m.b.constant(bytes(e.w, {}, e.w_zero))}));
  }
}

TEST(BytePairs, OfEveryRestOfATile) {
  for (const DType w : {DType::kI8, DType::kU8})
    for (const auto& [m, k, n] : {std::tuple{1, 64, 48}, {1, 7, 100}, {2, 33, 17}, {3, 9, 2}, {19, 40, 35}, {33, 1030, 70}, {3, 6, 130}}) {
      SCOPED_TRACE(fmt::format("{}x{}x{} by {}", m, k, n, name(w)));
      Model c;
      Value* zeros = c.b.constant(bytes(w, {n}, 5, 7));
      Value *x = c.given(bytes(DType::kU8, {m, k}, 3, 37)), *x_zero = c.given(bytes(DType::kU8, {}, 131));
      c.expect_pairs(*c.made("MatMulInteger", {x, c.b.constant(bytes(w, {k, n}, 11, 101)), x_zero, zeros}));
    }
}

/// What depends on the row is no part of words that all columns read: sums of columns correct it.
TEST(BytePairs, LeaveZeroPointsOfRowsToCorrections) {
  Model m;
  Value* x = m.given(bytes(DType::kU8, {9, 30}, 3, 37));
  m.expect_pairs(*m.made("MatMulInteger", {x, m.b.constant(bytes(DType::kI8, {30, 21}, 11, 101)), m.given(bytes(DType::kU8, {9}, 9, 20))}), " of bytes packed");
}

/// (x - zero) by w, of any zero of 32 bits.
Result<std::vector<ir::Body>> product_body(const Node& node) {
  ir::Body body;
  ir::ExprPool& pool = *body.pool;
  body.kind = ir::ComputeKind::kReduce;
  body.dtype = body.acc_dtype = DType::kI32;
  body.axes = *node.output()->tensor().dims;
  body.reduce_axes = {node.input(0)->tensor().dim(1)};
  const ir::Expr of_x[] = {pool.index(0), pool.index(2)}, of_w[] = {pool.index(2), pool.index(1)};
  const ir::Expr x = pool.cast(pool.load(0, DType::kU8, of_x), DType::kI32) - pool.load(1, DType::kI32, {});
  body.value = x * pool.cast(pool.load(2, DType::kI8, of_w), DType::kI32);
  return std::vector<ir::Body>{body};
}

const ir::OpDef kProduct{.domain = "test", .name = "Product", .compute = {.body = product_body}};

/// Numbers that are no differences of bytes are not cut to 16 bits.
TEST(BytePairs, LeaveWideZeroPointsToCorrections) {
  Model m;
  Value* const inputs[] = {m.given(bytes(DType::kU8, {5, 30}, 3, 37)), m.given(Tensor::scalar<int32_t>(70000)),
                           m.b.constant(bytes(DType::kI8, {30, 21}, 11, 101))};
  Node* node = m.graph.create(kProduct, inputs, 1);
  node->output()->set_type(TensorType(DType::kI32, {5, 21}));
  m.graph.add_output(node->output());
  m.expect_pairs(*node, " of bytes packed");
}

}  // namespace
}  // namespace tenon::lower_test
