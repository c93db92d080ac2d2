#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "harness.h"
#include "ir/op.h"

// Regions of generic ops whose bodies the test states itself: elementwise operations by number and reductions.
namespace tenon::lower_test {
namespace {

using ir::Body;
using ir::Combiner;
using ir::Dim;
using ir::Expr;
using ir::Graph;
using ir::Node;
using ir::ScalarOp;
using ir::TensorType;
using ir::Value;

std::vector<Expr> broadcast_index(ir::ExprPool& pool, const Value* v, size_t rank) {
  std::vector<Expr> index;
  const std::vector<Dim>& dims = *v->tensor().dims;
  for (size_t i = 0; i < dims.size(); ++i) {
    index.push_back(dims[i].is_const(1) ? pool.constant_int(DType::kI64, 0) : pool.index(static_cast<int>(rank - dims.size() + i)));
  }
  return index;
}

Result<std::vector<Body>> elementwise_body(const Node& node) {
  Body body;
  body.dtype = node.output()->dtype();
  body.axes = *node.output()->tensor().dims;
  std::vector<Expr> args;
  for (int i = 0; i < node.num_inputs(); ++i)
    args.push_back(body.pool->load(i, node.input(i)->dtype(), broadcast_index(*body.pool, node.input(i), body.axes.size())));
  body.value = body.pool->op(static_cast<ScalarOp>(node.attr_int("op", 0)), args);
  return std::vector<Body>{body};
}

/// Over the last `count` axes, kept as 1.
Result<std::vector<Body>> reduce_body(const Node& node) {
  Body body;
  body.kind = ir::ComputeKind::kReduce;
  body.dtype = node.output()->dtype();
  body.acc_dtype = node.input(0)->dtype();
  body.combiner = static_cast<Combiner>(node.attr_int("combiner", 0));
  body.axes = *node.output()->tensor().dims;
  std::vector<Expr> index;
  for (size_t i = 0; i < body.axes.size(); ++i) {
    const Dim in = node.input(0)->tensor().dim(static_cast<int64_t>(i));
    const bool reduced = body.axes[i].is_const(1) && !in.is_const(1);
    index.push_back(reduced ? body.pool->index(static_cast<int>(body.axes.size() + body.reduce_axes.size()))
                            : body.pool->index(static_cast<int>(i)));
    if (reduced) body.reduce_axes.push_back(in);
  }
  body.value = body.pool->load(0, body.acc_dtype, index);
  return std::vector<Body>{body};
}

const ir::OpDef kElementwise{.domain = "test", .name = "Elementwise", .compute = {.body = elementwise_body}};
const ir::OpDef kReduce{.domain = "test", .name = "Reduce", .compute = {.body = reduce_body}};

/// One tenon.fused node; values inside by shorthand. Symbols: N = 3, S = 21.
class Fused {
 public:
  Fused(std::vector<std::pair<DType, std::vector<Dim>>> inputs, int outputs) {
    std::vector<Value*> outer;
    for (auto& [dtype, dims] : inputs) {
      for (Dim& d : dims) {
        if (d.is_const(-1)) d = symbol("N", 3);
        if (d.is_const(-2)) d = symbol("S", 21);
      }
      outer.push_back(graph.add_input(graph.unique_name("x"), TensorType(dtype, dims)));
    }
    node = graph.create(*ir::find_op("tenon.fused"), outer, outputs);
    region = &node->add_region();
    for (Value* v : outer) in.push_back(region->add_input(v->name() + "_formal", v->type()));
  }
  Dim symbol(const char* name, int64_t value) {
    instance.symbols[name] = value;
    return graph.dims().symbol(name);
  }
  Value* op(ScalarOp op, std::vector<Value*> args) {
    size_t rank = 0;
    for (Value* v : args) rank = std::max(rank, v->tensor().dims->size());
    std::vector<Dim> dims(rank, Dim(1));
    for (Value* v : args) {
      for (size_t i = 0; i < v->tensor().dims->size(); ++i) {
        const Dim d = (*v->tensor().dims)[i];
        if (!d.is_const(1)) dims[rank - v->tensor().dims->size() + i] = d;
      }
    }
    Node* n = region->create(kElementwise, args, 1);
    n->attrs().set("op", static_cast<int64_t>(op));
    n->output()->set_type(TensorType(ir::info(op).result_is_bool ? DType::kBool : args.back()->dtype(), dims));
    return n->output();
  }
  Value* reduce(Combiner combiner, Value* x, std::vector<size_t> axes) {
    std::vector<Dim> dims = *x->tensor().dims;
    for (size_t a : axes) dims[a] = 1;
    Node* n = region->create(kReduce, std::vector<Value*>{x}, 1);
    n->attrs().set("combiner", static_cast<int64_t>(combiner));
    n->output()->set_type(TensorType(combiner >= Combiner::kArgMin ? DType::kI64 : x->dtype(), dims));
    return n->output();
  }
  Value* matmul(Value* a, Value* b) {
    ir::Builder builder(*region);
    return builder.make("MatMul", {a, b});
  }
  Value* scalar(double v) {
    ir::Builder builder(*region);
    return builder.scalar(DType::kF32, v);
  }
  void output(Value* v) {
    node->output(static_cast<int>(region->outputs().size()))->set_type(v->type());
    region->add_output(v);
  }
  std::string check(double tolerance = 1e-5) {
    for (Value* v : node->outputs()) graph.add_output(v);
    uint64_t seed = 1;
    for (Value* v : graph.inputs()) {
      if (!instance.tensors.contains(v)) instance.tensors[v] = random_tensor(*v, instance, seed++);
    }
    return check_everywhere(*node, instance, tolerance);
  }

  Graph graph;
  Instance instance;
  Node* node = nullptr;
  Graph* region = nullptr;
  std::vector<Value*> in;
};

constexpr DType kF32 = DType::kF32;

TEST(LowerFused, ChainBroadcastsAndHasTwoOutputs) {
  Fused f({{kF32, {-1, 7, -2}}, {kF32, {7, 1}}, {kF32, {-2}}}, 2);
  Value* sum = f.op(ScalarOp::kAdd, {f.in[0], f.in[1]});
  f.output(f.op(ScalarOp::kTanh, {sum}));
  f.output(f.op(ScalarOp::kMul, {sum, f.in[2]}));
  EXPECT_EQ(f.check(), "map");
}

void softmax(Fused& f, Value* x, std::vector<size_t> axes) {
  Value* e = f.op(ScalarOp::kExp, {f.op(ScalarOp::kSub, {x, f.reduce(Combiner::kMax, x, axes)})});
  f.output(f.op(ScalarOp::kDiv, {e, f.reduce(Combiner::kAdd, e, axes)}));
}

TEST(LowerFused, SoftmaxIsOneRowReduction) {
  Fused f({{kF32, {-1, 5, 37}}}, 1);
  softmax(f, f.in[0], {2});
  EXPECT_EQ(f.check(), "row reduction");
  const auto lowered = codegen::lower(*f.node, cpu(512, true));
  ASSERT_TRUE(lowered.ok());
  EXPECT_EQ(lowered->kernels.size(), 1u);
  EXPECT_TRUE(lowered->temporaries.empty());
  const std::string text = kir::print(lowered->kernels[0].kernel);
  EXPECT_EQ(text.find("exp"), text.rfind("exp")) << "the exponential is computed once and kept";
}

TEST(LowerFused, SoftmaxOfSymbolicRows) {
  Fused f({{kF32, {-1, -2}}, {kF32, {-2}}}, 1);
  softmax(f, f.op(ScalarOp::kAdd, {f.in[0], f.in[1]}), {1});
  EXPECT_EQ(f.check(), "row reduction");
  const auto lowered = codegen::lower(*f.node, cpu(512, true));
  ASSERT_TRUE(lowered.ok());
  const std::string text = kir::print(lowered->kernels[0].kernel);
  EXPECT_EQ(text.find("exp"), text.rfind("exp")) << "the exponential is computed once and kept where the result goes";
}

TEST(LowerFused, SoftmaxOverTwoAxes) {
  Fused f({{kF32, {4, 6, 9}}, {kF32, {6, 1}}}, 1);
  softmax(f, f.op(ScalarOp::kAdd, {f.in[0], f.in[1]}), {1, 2});
  EXPECT_EQ(f.check(), "row reduction");
}

void layer_norm(Fused& f, Value* x, std::vector<size_t> axes, Value* n) {
  Value* mean = f.op(ScalarOp::kDiv, {f.reduce(Combiner::kAdd, x, axes), n});
  Value* d = f.op(ScalarOp::kSub, {x, mean});
  Value* var = f.op(ScalarOp::kDiv, {f.reduce(Combiner::kAdd, f.op(ScalarOp::kMul, {d, d}), axes), n});
  f.output(f.op(ScalarOp::kDiv, {d, f.op(ScalarOp::kSqrt, {f.op(ScalarOp::kAdd, {var, f.scalar(1e-5)})})}));
}

TEST(LowerFused, SoftmaxOverOtherAxesHasARowInEachLane) {
  const std::vector<std::vector<Dim>> shapes = {{2, 11, 70}, {-1, 3, -2}, {40, 2, 9}};
  for (const std::vector<Dim>& shape : shapes) {
    for (const std::vector<size_t>& axes : {std::vector<size_t>{0}, {1}, {0, 1}}) {
      Fused f({{kF32, shape}}, 1);
      softmax(f, f.in[0], axes);
      EXPECT_EQ(f.check(), "row reduction");
      const auto lowered = codegen::lower(*f.node, cpu(512, true));
      ASSERT_TRUE(lowered.ok());
      EXPECT_TRUE(lowered->temporaries.empty());
    }
  }
}

TEST(LowerFused, NormOverChannelsWithResidual) {
  Fused f({{kF32, {-1, 10, 5, 7}}, {kF32, {-1, 10, 5, 7}}}, 2);
  Value* x = f.op(ScalarOp::kAdd, {f.in[0], f.in[1]});
  layer_norm(f, x, {1}, f.scalar(10));
  f.output(x);
  EXPECT_EQ(f.check(), "row reduction");
}

TEST(LowerFused, ShortRowsHaveALaneEach) {
  for (int64_t length : {2, 3, 5, 7}) {
    Fused f({{kF32, {-1, 50, length}}}, 1);
    Tensor t = random_tensor(*f.graph.inputs()[0], f.instance, 5);
    t.set_double(4, std::numeric_limits<double>::quiet_NaN());
    t.set_double(length * 50 + 1, std::numeric_limits<double>::infinity());
    f.instance.tensors[f.graph.inputs()[0]] = t;
    softmax(f, f.in[0], {2});
    EXPECT_EQ(f.check(), "row reduction");
  }
}

TEST(LowerFused, ScalarsOfRowsAcrossMemory) {
  Fused f({{kF32, {6, 9, 21}}}, 2);
  Value* sum = f.reduce(Combiner::kAdd, f.in[0], {1});
  f.output(sum);
  f.output(f.op(ScalarOp::kMul, {f.in[0], f.op(ScalarOp::kAbs, {sum})}));
  EXPECT_EQ(f.check(), "row reduction");
}

TEST(LowerFused, LayerNormWithResidual) {
  Fused f({{kF32, {-1, -2, 48}}, {kF32, {-1, -2, 48}}, {kF32, {48}}, {kF32, {48}}}, 2);
  Value* x = f.op(ScalarOp::kAdd, {f.in[0], f.in[1]});
  Value* n = f.scalar(48);
  Value* mean = f.op(ScalarOp::kDiv, {f.reduce(Combiner::kAdd, x, {2}), n});
  Value* d = f.op(ScalarOp::kSub, {x, mean});
  Value* var = f.op(ScalarOp::kDiv, {f.reduce(Combiner::kAdd, f.op(ScalarOp::kMul, {d, d}), {2}), n});
  Value* s = f.op(ScalarOp::kSqrt, {f.op(ScalarOp::kAdd, {var, f.scalar(1e-5)})});
  f.output(f.op(ScalarOp::kAdd, {f.op(ScalarOp::kMul, {f.op(ScalarOp::kDiv, {d, s}), f.in[2]}), f.in[3]}));
  f.output(x);
  EXPECT_EQ(f.check(), "row reduction");
}

TEST(LowerFused, ArgReductions) {
  for (Combiner c : {Combiner::kArgMax, Combiner::kArgMin, Combiner::kArgMaxLast, Combiner::kArgMinLast}) {
    for (const std::vector<size_t>& axes : {std::vector<size_t>{1}, std::vector<size_t>{0}, std::vector<size_t>{0, 1}}) {
      Fused f({{kF32, {6, 19}}}, 1);
      Tensor t = random_tensor(*f.graph.inputs()[0], f.instance, 7);
      for (int64_t i : {30, 31, 40, 41}) t.set_double(i, i < 35 ? 2 : -2);
      t.set_double(60, std::numeric_limits<double>::quiet_NaN());
      t.set_double(63, std::numeric_limits<double>::quiet_NaN());
      f.instance.tensors[f.graph.inputs()[0]] = t;
      f.output(f.reduce(c, f.in[0], axes));
      f.check();
    }
  }
}

TEST(LowerFused, ReductionsOfEveryAxis) {
  for (Combiner c : {Combiner::kAdd, Combiner::kMax, Combiner::kMin, Combiner::kMul}) {
    for (const std::vector<size_t>& axes : {std::vector<size_t>{0}, {1}, {2}, {0, 1}, {0, 2}, {1, 2}, {0, 1, 2}}) {
      Fused f({{kF32, {-1, 5, -2}}}, 1);
      f.output(f.op(ScalarOp::kAbs, {f.reduce(c, f.op(ScalarOp::kMul, {f.in[0], f.in[0]}), axes)}));
      f.check();
    }
  }
}

TEST(LowerFused, ReductionsOfTransposedRowsRunInLanesAlongMemory) {
  for (Combiner combiner : {Combiner::kAdd, Combiner::kMul, Combiner::kMin, Combiner::kMax, Combiner::kArgMax}) {
    Fused f({{DType::kF32, {-1, 40, 33}}}, 1);
    ir::Builder builder(*f.region);
    Value* turned = builder.make("Transpose", {f.in[0]}, {{"perm", std::vector<int64_t>{0, 2, 1}}});
    ASSERT_TRUE(builder.status().ok()) << builder.status().to_string();
    f.output(f.reduce(combiner, turned, {1, 2}));
    f.check(1e-4);
    const auto lowered = codegen::lower(*f.node, cpu(512, true));
    ASSERT_TRUE(lowered.ok());
    const std::string text = kir::print(lowered->kernels.back().kernel);
    EXPECT_EQ(text.find("combine") != std::string::npos, combiner != Combiner::kArgMax) << text;
  }
}

TEST(LowerFused, MatMulWithEpilogueAndPrologue) {
  for (int64_t m : {1, 4, 29}) {
    Fused f({{kF32, {m, 20}}, {kF32, {20, 33}}, {kF32, {33}}, {kF32, {m, 33}}}, 1);
    Value* y = f.matmul(f.op(ScalarOp::kNeg, {f.in[0]}), f.op(ScalarOp::kAbs, {f.in[1]}));
    y = f.op(ScalarOp::kAdd, {f.op(ScalarOp::kTanh, {f.op(ScalarOp::kAdd, {y, f.in[2]})}), f.in[3]});
    f.output(y);
    EXPECT_EQ(f.check().substr(0, 8), m == 1 ? "window" : "contract");
  }
}

TEST(LowerFused, TwoProductsGoThroughATemporary) {
  Fused f({{kF32, {8, 20}}, {kF32, {20, 33}}, {kF32, {33, 6}}}, 1);
  f.output(f.matmul(f.op(ScalarOp::kTanh, {f.matmul(f.in[0], f.in[1])}), f.in[2]));
  f.check();
  const auto lowered = codegen::lower(*f.node, cpu(512, true));
  ASSERT_TRUE(lowered.ok());
  EXPECT_EQ(lowered->temporaries.size(), 1u);
}

}  // namespace
}  // namespace tenon::lower_test
