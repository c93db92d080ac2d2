#include <gtest/gtest.h>

#include <algorithm>
#include <functional>
#include <numeric>
#include <random>

#include "harness.h"
#include "ir/op.h"
#include "ir/storage_order.h"

namespace tenon::lower_test {
namespace {

using ir::Dim;
using ir::Graph;
using ir::Node;
using ir::TensorType;
using ir::Value;
using Attrs = std::vector<std::pair<std::string, ir::Attr>>;

/// A graph with one node to lower.
struct Case {
  Graph graph;
  Instance instance;
  uint64_t seed = 1;
  std::vector<Value*> stored_values;

  Value* input(DType dtype, std::vector<Dim> dims) {
    return graph.add_input(graph.unique_name("x"), TensorType(dtype, std::move(dims)));
  }
  Dim symbol(const char* name, int64_t value) {
    instance.symbols[name] = value;
    return graph.dims().symbol(name);
  }
  Node* node(std::string_view op, std::vector<Value*> inputs, Attrs attrs = {}, int outputs = 1) {
    ir::Builder builder(graph);
    std::vector<Value*> made = builder.make_n(op, inputs, outputs, std::move(attrs));
    EXPECT_TRUE(builder.status().ok()) << builder.status().to_string();
    if (!builder.status().ok()) return nullptr;
    for (Value* v : made) graph.add_output(v);
    return made[0]->def();
  }
  /// The value in memory in this order.
  Value* stored(Value* v, const std::vector<int>& order, Node* before = nullptr) {
    Value* made = graph.create(*ir::find_op("tenon.relayout"), std::span(&v, 1), 1, before)->output();
    made->set_type(v->type());
    ir::set_storage_order(*made, order);
    stored_values.push_back(made);
    return made;
  }
  std::string check(Node* n, double tolerance = 1e-5) {
    if (n == nullptr) return "";
    std::vector<Value*> given(graph.inputs().begin(), graph.inputs().end());
    given.insert(given.end(), stored_values.begin(), stored_values.end());
    for (Value* v : given) {
      if (!instance.tensors.contains(v)) instance.tensors[v] = random_tensor(*v, instance, seed++);
    }
    return check_everywhere(*n, instance, tolerance);
  }
};

TEST(Lower, ReshapeOfSymbolicDimsIsAView) {
  Case c;
  const Dim n = c.symbol("N", 3), s = c.symbol("S", 5);
  EXPECT_EQ(c.check(c.node("tenon.reshape", {c.input(DType::kF32, {n, s, 24})}, {{"dims", std::vector<Dim>{n, s, 4, 6}}})), "view");
}

TEST(Lower, TranspositionIsAViewWhereTheStorageOrderSaysSo) {
  Case c;
  const Dim n = c.symbol("N", 2);
  Value* x = c.stored(c.input(DType::kF32, {n, 5, 3, 4}), {0, 2, 3, 1});
  EXPECT_EQ(c.check(c.node("Transpose", {x}, {{"perm", std::vector<int64_t>{0, 2, 3, 1}}})), "view");
  EXPECT_EQ(c.check(c.node("tenon.reshape", {x}, {{"dims", std::vector<Dim>{n, 5, 12}}})), "map");
  Node* kept = c.node("tenon.reshape", {x}, {{"dims", std::vector<Dim>{n, 5, 12}}});
  ir::set_storage_order(*kept->output(), {0, 2, 1});
  EXPECT_EQ(c.check(kept), "view");
  EXPECT_EQ(c.check(c.node("tenon.relayout", {x})), "map");
}

TEST(Lower, ExpandBroadcasts) {
  Case c;
  const Dim n = c.symbol("N", 3);
  EXPECT_EQ(c.check(c.node("tenon.expand", {c.input(DType::kI64, {n, 1, 5})}, {{"dims", std::vector<Dim>{n, 7, 5}}})), "map");
}

TEST(Lower, ConcatenationCopiesOperandByOperand) {
  for (int64_t axis : {0, 1, 2}) {
    Case c;
    const Dim n = c.symbol("N", 3), m = c.symbol("M", 0), k = c.symbol("K", 5);
    std::vector<Value*> inputs;
    for (Dim d : {n, m, Dim(7), k}) {
      std::vector<Dim> dims{4, 6, 9};
      dims[static_cast<size_t>(axis)] = d;
      inputs.push_back(c.input(DType::kF32, dims));
    }
    Node* node = c.node("Concat", inputs, {{"axis", axis}});
    EXPECT_EQ(c.check(node), "map");
    const auto lowered = codegen::lower(*node, cpu(512, true));
    ASSERT_TRUE(lowered.ok());
    EXPECT_EQ(lowered->kernels.size(), 4u);
    for (const auto& k : lowered->kernels) EXPECT_EQ(kir::print(k.kernel).find("select"), std::string::npos);
  }
}

TEST(Lower, PadReflectsAndFills) {
  for (const char* mode : {"constant", "edge", "reflect"}) {
    Case c;
    ir::Builder b(c.graph);
    Value* x = c.input(DType::kF32, {3, c.symbol("N", 6), 8});
    c.check(c.node("Pad", {x, b.ints({0, 2, 1, 0, 1, 3})}, {{"mode", std::string(mode)}}));
  }
}

TEST(Lower, RunningSumsAlongEveryAxis) {
  for (int64_t axis : {0, 1, 2}) {
    for (int64_t options = 0; options < 4; ++options) {
      Case c;
      ir::Builder b(c.graph);
      Value* x = c.input(axis == 1 ? DType::kI32 : DType::kF32, {c.symbol("N", 5), 1, c.symbol("M", 37)});
      EXPECT_EQ(c.check(c.node("CumSum", {x, b.constant(Tensor::scalar<int64_t>(axis))},
                               {{"exclusive", options & 1}, {"reverse", options >> 1}})), "scan");
    }
  }
}

TEST(Lower, RunningSumsOfNothingAndOfOneRow) {
  for (int64_t n : {0, 1, 19}) {
    Case c;
    ir::Builder b(c.graph);
    c.check(c.node("CumSum", {c.input(DType::kF16, {c.symbol("N", n)}), b.constant(Tensor::scalar<int64_t>(0))}), 1e-2);
    Case d;
    ir::Builder e(d.graph);
    d.check(d.node("CumProd", {d.input(DType::kF32, {4, d.symbol("N", n), 20}), e.constant(Tensor::scalar<int64_t>(-2))}));
  }
}

/// Indices in -extent ... extent - 1, several of them equal.
Tensor some_indices(DType dtype, Shape shape, int64_t extent, uint64_t seed) {
  Tensor t = *Tensor::empty(dtype, std::move(shape));
  std::mt19937_64 random(seed);
  for (int64_t i = 0; i < t.size(); ++i) t.set_int(i, static_cast<int64_t>(random() % static_cast<uint64_t>(2 * extent)) - extent);
  return t;
}

TEST(Lower, ScatterElementsKeepsTheOrderOfUpdates) {
  for (const char* reduction : {"none", "add", "mul", "min", "max"}) {
    for (int64_t axis : {0, 1, 2}) {
      Case c;
      const Dim n = c.symbol("N", 6);
      Value* x = c.input(DType::kF32, {n, 7, 33});
      Value* at = c.input(DType::kI64, {3, 5, 20});
      c.instance.tensors[at] = some_indices(DType::kI64, {3, 5, 20}, axis == 0 ? 6 : axis == 1 ? 7 : 33, 3);
      Node* node = c.node("ScatterElements", {x, at, c.input(DType::kF32, {3, 5, 20})},
                          {{"axis", axis}, {"reduction", std::string(reduction)}});
      EXPECT_EQ(c.check(node), "scatter");
    }
  }
}

TEST(Lower, ScatterNDOfSlicesAndOfElements) {
  for (const char* reduction : {"none", "add"}) {
    for (int64_t depth : {1, 2, 3}) {
      Case c;
      Value* x = c.input(DType::kF16, {4, c.symbol("N", 4), 40});
      const Dim k = c.symbol("K", 9);
      Value* at = c.input(DType::kI64, {k, depth});
      c.instance.tensors[at] = some_indices(DType::kI64, {9, depth}, 4, 5);
      std::vector<Dim> updates{k, 4, 40};
      if (depth == 1) updates[1] = *c.graph.dims().find_symbol("N");
      if (depth == 2) updates = {k, 40};
      if (depth == 3) updates = {k};
      EXPECT_EQ(c.check(c.node("ScatterND", {x, at, c.input(DType::kF16, updates)}, {{"reduction", std::string(reduction)}}), 1e-2), "scatter");
    }
  }
}

TEST(Lower, ScatterOfOneTupleAndOfNone) {
  Case c;
  Value* at = c.input(DType::kI64, {2});
  c.instance.tensors[at] = some_indices(DType::kI64, {2}, 3, 7);
  c.check(c.node("ScatterND", {c.input(DType::kBool, {3, 3}), at, c.input(DType::kBool, {})}));
  Case d;
  const Dim none = d.symbol("K", 0);
  d.check(d.node("ScatterND", {d.input(DType::kI32, {3, 3}), d.input(DType::kI64, {none, 1}), d.input(DType::kI32, {none, 3})}));
}

TEST(Lower, TensorScatterWritesRuns) {
  for (const char* mode : {"linear", "circular"}) {
    Case c;
    const Dim n = c.symbol("N", 9);
    Value* at = c.input(DType::kI64, {2});
    Tensor starts = *Tensor::empty(DType::kI64, {2});
    starts.set_int(0, 4);
    starts.set_int(1, mode[0] == 'c' ? 8 : 0);
    c.instance.tensors[at] = starts;
    Node* node = c.node("TensorScatter", {c.input(DType::kF32, {2, 3, n, 8}), c.input(DType::kF32, {2, 3, 5, 8}), at}, {{"mode", std::string(mode)}});
    EXPECT_EQ(c.check(node), "scatter");
  }
}

TEST(Lower, MatMul) {
  struct Shape {
    std::vector<Dim> a, b;
  };
  for (const Shape& s : {Shape{{7, 9}, {9, 11}}, Shape{{2, 33, 20}, {20, 70}}, Shape{{3, 2, 8, 5}, {2, 5, 40}}, Shape{{9}, {9, 17}},
                         Shape{{1, 64}, {64, 100}}, Shape{{6, 300}, {300, 64}}, Shape{{13, 1}, {1, 13}}, Shape{{4, 12}, {12}}}) {
    Case c;
    c.check(c.node("MatMul", {c.input(DType::kF32, s.a), c.input(DType::kF32, s.b)}));
  }
}

TEST(Lower, MatMulOfSymbolicDims) {
  for (int64_t m : {1, 5, 0, 19}) {
    Case c;
    const Dim n = c.symbol("M", m), k = c.symbol("K", 13), b = c.symbol("B", 2), w = c.symbol("W", 37);
    c.check(c.node("MatMul", {c.input(DType::kF32, {b, n, k}), c.input(DType::kF32, {b, k, w})}));
  }
}

TEST(Lower, MatMulOfOtherDtypes) {
  for (DType d : {DType::kF16, DType::kBF16, DType::kF64, DType::kI32, DType::kU64}) {
    Case c;
    c.check(c.node("MatMul", {c.input(d, {7, 40}), c.input(d, {40, 35})}), d == DType::kF16 || d == DType::kBF16 ? 1e-2 : 1e-5);
  }
}

TEST(Lower, GemmOfEveryTransposition) {
  for (int64_t t = 0; t < 4; ++t) {
    Case c;
    const int64_t ta = t & 1, tb = t >> 1;
    Value* a = c.input(DType::kF32, ta ? std::vector<Dim>{21, 9} : std::vector<Dim>{9, 21});
    Value* b = c.input(DType::kF32, tb ? std::vector<Dim>{34, 21} : std::vector<Dim>{21, 34});
    c.check(c.node("Gemm", {a, b, c.input(DType::kF32, {34})},
                   {{"transA", ta}, {"transB", tb}, {"alpha", 0.5}, {"beta", 2.0}}));
  }
}

TEST(Lower, Conv) {
  struct Shape {
    std::vector<Dim> x, w;
    std::vector<int64_t> pads, strides, dilations;
    int64_t group;
  };
  for (const Shape& s : {Shape{{1, 3, 9, 11}, {8, 3, 3, 3}, {1, 1, 1, 1}, {1, 1}, {1, 1}, 1},
                         Shape{{2, 4, 8, 8}, {6, 4, 1, 1}, {0, 0, 0, 0}, {1, 1}, {1, 1}, 1},
                         Shape{{1, 4, 13, 9}, {4, 4, 3, 3}, {1, 0, 2, 1}, {2, 2}, {1, 2}, 1},
                         Shape{{2, 6, 7, 7}, {6, 1, 3, 3}, {1, 1, 1, 1}, {1, 1}, {1, 1}, 6},
                         Shape{{1, 8, 7, 7}, {12, 4, 3, 3}, {1, 1, 1, 1}, {1, 1}, {1, 1}, 2},
                         Shape{{1, 3, 33}, {5, 3, 4}, {2, 1}, {3}, {1}, 1},
                         Shape{{1, 2, 4, 5, 6}, {3, 2, 2, 2, 2}, {0, 1, 0, 0, 1, 0}, {1, 1, 2}, {1, 1, 1}, 1}}) {
    Case c;
    c.check(c.node("Conv", {c.input(DType::kF32, s.x), c.input(DType::kF32, s.w), c.input(DType::kF32, {s.w[0]})},
                   {{"pads", s.pads}, {"strides", s.strides}, {"dilations", s.dilations}, {"group", s.group}}));
  }
}

TEST(Lower, ConvOfSymbolicImages) {
  Case c;
  const Dim n = c.symbol("N", 2), h = c.symbol("H", 10), w = c.symbol("W", 13);
  c.check(c.node("Conv", {c.input(DType::kF32, {n, 3, h, w}), c.input(DType::kF32, {5, 3, 3, 3})},
                 {{"pads", std::vector<int64_t>{1, 1, 1, 1}}, {"strides", std::vector<int64_t>{2, 2}}}));
}

TEST(Lower, GroupedConvIsABatchOfContractions) {
  for (const int64_t stride : {1, 2}) {
    Case c;
    const Dim n = c.symbol("N", 2);
    Node* node = c.node("Conv", {c.input(DType::kF32, {n, 8, 7, 7}), c.input(DType::kF32, {12, 2, 3, 3}), c.input(DType::kF32, {12})},
                        {{"pads", std::vector<int64_t>{1, 1, 1, 1}}, {"strides", std::vector<int64_t>{stride, stride}}, {"group", int64_t{4}}});
    c.check(node);
    const auto lowered = codegen::lower(*node, cpu(256, true));
    ASSERT_TRUE(lowered.ok());
    EXPECT_EQ(lowered->implementation.substr(0, 11), "contraction") << stride;
  }
}

/// The bounds of all vector loops in the text of a kernel.
std::vector<std::string> vector_bounds(const std::string& text) {
  std::vector<std::string> out;
  for (size_t at = text.find("for vector"); at != std::string::npos; at = text.find("for vector", at + 1)) {
    const size_t to = text.find(" to ", at) + 4;
    out.push_back(text.substr(to, text.find(' ', to) - to));
  }
  return out;
}

/// The lanes of a depthwise convolution over `size` × `size` positions of 24 channels and a batch of unknown size.
void expect_lanes_of_depthwise(int64_t size, int64_t lanes) {
  Case c;
  const Dim n = c.symbol("N", 1);
  Node* node = c.node("Conv", {c.input(DType::kF32, {n, 24, size, size}), c.input(DType::kF32, {24, 1, 3, 3})},
                      {{"pads", std::vector<int64_t>{1, 1, 1, 1}}, {"group", int64_t{24}}});
  c.check(node);
  const auto lowered = codegen::lower(*node, cpu(256, true));
  ASSERT_TRUE(lowered.ok());
  const std::string text = kir::print(lowered->kernels.back().kernel);
  const std::vector<std::string> bounds = vector_bounds(text);
  ASSERT_FALSE(bounds.empty()) << text;
  for (const std::string& bound : bounds)
    EXPECT_NE(text.find(bound + " = const i64 " + std::to_string(lanes) + "\n"), std::string::npos) << text;
}

TEST(Lower, LanesDoNotRunOverABatchOfUnknownSize) {
  expect_lanes_of_depthwise(3, 24);  // channels: rows are too short
  expect_lanes_of_depthwise(7, 7);
}

TEST(Lower, ConvIntegerSubtractsZeroPoints) {
  Case c;
  c.check(c.node("ConvInteger", {c.input(DType::kU8, {1, 3, 8, 9}), c.input(DType::kI8, {4, 3, 3, 3}), c.input(DType::kU8, {}),
                                 c.input(DType::kI8, {4})}));
}

TEST(Lower, Pools) {
  for (const char* op : {"MaxPool", "AveragePool"}) {
    Case c;
    c.check(c.node(op, {c.input(DType::kF32, {2, 3, 11, 14})},
                   {{"kernel_shape", std::vector<int64_t>{3, 2}}, {"strides", std::vector<int64_t>{2, 1}},
                    {"pads", std::vector<int64_t>{1, 0, 1, 1}}}));
  }
  Case c;
  c.check(c.node("MaxPool", {c.input(DType::kF32, {1, 2, 8, 8})}, {{"kernel_shape", std::vector<int64_t>{2, 2}}}, 2));
  Case g;
  g.check(g.node("GlobalAveragePool", {g.input(DType::kF32, {2, 5, 7, 9})}));
}

TEST(Lower, ConvolutionsOfConstantWeightsWithChannelsInLanes) {
  using Ints = std::vector<int64_t>;
  const auto weights = [](Case& c, DType dtype, std::vector<Dim> dims) {
    return ir::Builder(c.graph).constant(random_tensor(*c.graph.add_input(c.graph.unique_name("w"), TensorType(dtype, std::move(dims))), c.instance, 99));
  };
  const auto scalar = [](Case& c, double value) { return ir::Builder(c.graph).scalar(DType::kF32, value); };
  const std::vector<std::function<Node*(Case&)>> cases = {
      [&](Case& c) { return c.node("Conv", {c.input(DType::kF32, {2, 3, 13, 12}), weights(c, DType::kF32, {24, 3, 3, 3}), weights(c, DType::kF32, {24})}, {{"pads", Ints{1, 1, 1, 1}}, {"strides", Ints{2, 2}}}); },
      [&](Case& c) { return c.node("Conv", {c.stored(c.input(DType::kF32, {c.symbol("N", 2), 20, 7, 9}), {0, 2, 3, 1}), weights(c, DType::kF32, {17, 20, 3, 3})}, {{"pads", Ints{1, 1, 1, 1}}}); },
      [&](Case& c) { return c.node("Conv", {c.stored(c.input(DType::kF32, {1, 12, 7, 9}), {0, 2, 3, 1}), weights(c, DType::kF32, {36, 4, 3, 3})}, {{"group", int64_t{3}}}); },
      [&](Case& c) { return c.node("ConvInteger", {c.input(DType::kU8, {1, 3, 13, 12}), weights(c, DType::kI8, {24, 3, 3, 3}), c.input(DType::kU8, {})}, {{"pads", Ints{1, 1, 1, 1}}, {"strides", Ints{2, 2}}}); },
      [&](Case& c) {
        return c.node("QLinearConv", {c.input(DType::kU8, {1, 3, 13, 12}), scalar(c, 0.02), ir::Builder(c.graph).constant(Tensor::scalar<uint8_t>(114)), weights(c, DType::kI8, {24, 3, 3, 3}), weights(c, DType::kF32, {24}),
                                      ir::Builder(c.graph).constant(*Tensor::zeros(DType::kI8, {24})), scalar(c, 0.5), ir::Builder(c.graph).constant(Tensor::scalar<uint8_t>(3)), weights(c, DType::kI32, {24})},
                      {{"pads", Ints{1, 1, 1, 1}}, {"strides", Ints{2, 2}}});
      },
  };
  for (size_t i = 0; i < cases.size(); ++i) {
    Case c;
    Node* node = cases[i](c);
    ir::set_storage_order(*node->output(), {0, 2, 3, 1});
    SCOPED_TRACE(fmt::format("case {}", i));
    EXPECT_EQ(c.check(node).substr(0, 11), "contraction");
  }
}

TEST(Lower, ProductsOfBytesAreDotProductsOfWords) {
  using Ints = std::vector<int64_t>;
  struct Kind {
    DType x, w;
    std::vector<Dim> image, weights;
    int64_t groups;
    bool zeros_vary;  // by output channel
  };
  // Channels that do and do not fill words, any signs, zero points that weights less them do and do not fit a byte, groups.
  const Kind kinds[] = {{DType::kU8, DType::kI8, {1, 8, 9, 7}, {24, 8, 3, 3}, 1, false}, {DType::kU8, DType::kU8, {2, 6, 9, 7}, {70, 6, 3, 3}, 1, false},
                        {DType::kI8, DType::kI8, {1, 21, 6, 5}, {18, 21, 1, 1}, 1, true}, {DType::kI8, DType::kU8, {1, 16, 6, 5}, {40, 8, 3, 2}, 2, true}};
  for (const Kind& k : kinds)
    for (const int64_t zero : {int64_t{0}, int64_t{77}}) {
      Case c;
      ir::Builder b(c.graph);
      const auto constant = [&](DType dtype, std::vector<Dim> dims) {
        return b.constant(random_tensor(*c.graph.add_input(c.graph.unique_name("w"), TensorType(dtype, std::move(dims))), c.instance, 99));
      };
      Value* zeros = k.zeros_vary ? constant(k.w, {k.weights[0]}) : k.w == DType::kU8 ? b.constant(Tensor::scalar<uint8_t>(static_cast<uint8_t>(zero)))
                                                                                    : b.constant(Tensor::scalar<int8_t>(static_cast<int8_t>(zero)));
      Value* image = c.stored(c.input(k.x, k.image), {0, 2, 3, 1});
      Node* node = c.node("ConvInteger", {image, constant(k.w, k.weights), c.input(k.x, {}), zeros}, {{"pads", Ints{1, 1, 1, 1}}, {"group", k.groups}});
      ir::set_storage_order(*node->output(), {0, 2, 3, 1});
      SCOPED_TRACE(fmt::format("{} by {}, zero point {}", name(k.x), name(k.w), zero));
      EXPECT_NE(c.check(node).find("of bytes"), std::string::npos);
      codegen::Target words = cpu(256, true);
      words.has_dot4 = true;
      EXPECT_NE(check_lowering(*node, words, c.instance).find(" of bytes"), std::string::npos);
      codegen::Target with_dot = gpu();
      with_dot.has_dot4_signed = true;
      EXPECT_NE(check_lowering(*node, with_dot, c.instance).find("of bytes"), std::string::npos);
      for (const codegen::Target& target : emulated()) EXPECT_NE(check_lowering(*node, target, c.instance).find("of bytes"), std::string::npos) << target.features;
    }
}

/// Every value of the node in an order of its own.
void shuffle_orders(Case& c, Node& node, std::mt19937& random) {
  const auto order = [&](const Value* v) {
    std::vector<int> axes(static_cast<size_t>(v->tensor().rank()));
    std::iota(axes.begin(), axes.end(), 0);
    std::shuffle(axes.begin(), axes.end(), random);
    return axes;
  };
  for (int i = 0; i < node.num_inputs(); ++i)
    if (node.has_input(i) && node.input(i)->def() == nullptr) node.set_input(i, c.stored(node.input(i), order(node.input(i)), &node));
  for (Value* v : node.outputs()) ir::set_storage_order(*v, order(v));
}

TEST(Lower, ValuesMayBeStoredInAnyOrder) {
  using Ints = std::vector<int64_t>;
  const std::vector<std::function<Node*(Case&)>> cases = {
      [](Case& c) { return c.node("Conv", {c.input(DType::kF32, {2, 4, 9, 11}), c.input(DType::kF32, {18, 4, 3, 3}), c.input(DType::kF32, {18})}, {{"pads", Ints{1, 1, 1, 1}}}); },
      [](Case& c) { return c.node("Conv", {c.input(DType::kF32, {c.symbol("N", 2), 8, 7, c.symbol("W", 6)}), c.input(DType::kF32, {12, 4, 3, 3})}, {{"pads", Ints{1, 0, 1, 2}}, {"strides", Ints{2, 1}}, {"group", int64_t{2}}}); },
      [](Case& c) { return c.node("Conv", {c.input(DType::kF32, {1, 19, 7, 8}), c.input(DType::kF32, {19, 1, 3, 3})}, {{"pads", Ints{1, 1, 1, 1}}, {"group", int64_t{19}}}); },
      [](Case& c) { return c.node("Conv", {c.input(DType::kF32, {2, 3, 5, 4, 6}), c.input(DType::kF32, {17, 3, 2, 2, 2})}); },
      [](Case& c) { return c.node("ConvTranspose", {c.input(DType::kF32, {1, 5, 4, 6}), c.input(DType::kF32, {5, 17, 3, 3})}, {{"strides", Ints{2, 2}}}); },
      [](Case& c) { return c.node("MaxPool", {c.input(DType::kF32, {2, 18, 8, 9})}, {{"kernel_shape", Ints{3, 2}}, {"strides", Ints{2, 1}}, {"pads", Ints{1, 0, 1, 1}}}); },
      [](Case& c) { return c.node("GlobalAveragePool", {c.input(DType::kF32, {2, 33, 7, c.symbol("W", 9)})}); },
      [](Case& c) { return c.node("MatMul", {c.input(DType::kF32, {3, 20, 17}), c.input(DType::kF32, {17, 34})}); },
      [](Case& c) { return c.node("Add", {c.input(DType::kF32, {c.symbol("N", 3), 6, 1, 5}), c.input(DType::kF32, {6, 4, 1})}); },
      [](Case& c) { return c.node("Concat", {c.input(DType::kF32, {2, 3, 5}), c.input(DType::kF32, {2, c.symbol("C", 4), 5})}, {{"axis", int64_t{1}}}); },
      [](Case& c) { return c.node("ReduceMean", {c.input(DType::kF32, {4, 6, 5}), ir::Builder(c.graph).ints({1})}); },
      [](Case& c) { return c.node("ArgMax", {c.input(DType::kF32, {4, 6, 5})}, {{"axis", int64_t{2}}}); },
      [](Case& c) { return c.node("CumSum", {c.input(DType::kF32, {4, 6, 5}), ir::Builder(c.graph).constant(Tensor::scalar<int64_t>(1))}); },
      [](Case& c) { return c.node("DepthToSpace", {c.input(DType::kF32, {2, 12, 3, 5})}, {{"blocksize", int64_t{2}}}); },
  };
  std::mt19937 random(7);
  for (size_t i = 0; i < cases.size(); ++i) {
    for (int round = 0; round < 4; ++round) {
      Case c;
      Node* node = cases[i](c);
      if (round > 0) shuffle_orders(c, *node, random);
      SCOPED_TRACE(fmt::format("case {}, round {}", i, round));
      c.check(node);
    }
  }
}

}  // namespace
}  // namespace tenon::lower_test
