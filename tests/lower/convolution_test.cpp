#include <gtest/gtest.h>

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
using Ints = std::vector<int64_t>;
using Attrs = std::vector<std::pair<std::string, ir::Attr>>;

/// A graph of one convolution.
struct Convolution {
  Graph graph;
  Instance instance;
  Node* node = nullptr;

  Value* image(std::vector<Dim> dims) {
    return graph.add_input(graph.unique_name("x"), TensorType(DType::kF32, std::move(dims)));
  }
  Value* weights(std::vector<Dim> dims, bool constant) {
    Value* w = graph.add_input(graph.unique_name("w"), TensorType(DType::kF32, std::move(dims)));
    return constant ? ir::Builder(graph).constant(random_tensor(*w, instance, 99)) : w;
  }
  Dim symbol(const char* name, int64_t value) {
    instance.symbols[name] = value;
    return graph.dims().symbol(name);
  }
  void make(std::string_view op, std::vector<Value*> inputs, Attrs attrs) {
    ir::Builder builder(graph);
    const std::vector<Value*> made = builder.make_n(op, inputs, 1, std::move(attrs));
    ASSERT_TRUE(builder.status().ok()) << builder.status().to_string();
    graph.add_output(made[0]);
    node = made[0]->def();
  }
  /// Images and results with their channels innermost.
  void channels_last() {
    Value* x = node->input(0);
    std::vector<int> order{0};
    for (int a = 2; a < static_cast<int>(x->tensor().rank()); ++a) order.push_back(a);
    order.push_back(1);
    Value* made = graph.create(*ir::find_op("tenon.relayout"), std::span(&x, 1), 1, node)->output();
    made->set_type(x->type());
    ir::set_storage_order(*made, order);
    ir::set_storage_order(*node->output(), order);
    node->set_input(0, made);
  }
  std::string check() {
    uint64_t seed = 1;
    for (int i = 0; i < node->num_inputs(); ++i)
      if (node->has_input(i) && ir::constant_of(node->input(i)) == nullptr)
        instance.tensors[node->input(i)] = random_tensor(*node->input(i), instance, seed++);
    return check_everywhere(*node, instance);
  }
  /// Multiplications and additions of all kernels of every run.
  int64_t operations() const {
    const auto lowered = codegen::lower(*node, cpu(512, true));
    EXPECT_TRUE(lowered.ok());
    int64_t sum = 0;
    for (const auto& k : lowered->kernels)
      if (k.kernel.name == "contraction") sum += k.work.value();
    return sum;
  }
};

struct Transposed {
  std::vector<Dim> x, w;
  Attrs attrs;
};

TEST(LowerConvolution, TransposedWithEveryAlignmentOfPhases) {
  const std::vector<Transposed> cases = {
      {{1, 5, 4, 6}, {5, 17, 2, 2}, {{"strides", Ints{2, 2}}}},
      {{2, 5, 4, 6}, {5, 1, 2, 2}, {{"strides", Ints{2, 2}}}},
      {{1, 3, 5, 4}, {3, 16, 4, 4}, {{"strides", Ints{2, 2}}, {"pads", Ints{1, 1, 1, 1}}}},
      {{1, 3, 5, 4},
       {3, 4, 3, 3},
       {{"strides", Ints{2, 2}}, {"pads", Ints{1, 1, 1, 1}}, {"output_padding", Ints{1, 1}}}},
      {{1, 3, 5, 4}, {3, 4, 3, 3}, {{"strides", Ints{2, 2}}}},
      {{1, 3, 5, 4}, {3, 4, 2, 5}, {{"strides", Ints{3, 2}}, {"pads", Ints{0, 2, 1, 1}}}},
      {{1, 3, 5, 4}, {3, 4, 4, 4}, {{"strides", Ints{2, 4}}, {"dilations", Ints{2, 1}}, {"pads", Ints{2, 0, 2, 0}}}},
      {{1, 6, 5, 4}, {6, 4, 4, 4}, {{"strides", Ints{2, 2}}, {"pads", Ints{1, 0, 1, 0}}, {"group", int64_t{3}}}},
      {{1, 6, 5, 4}, {6, 1, 4, 4}, {{"strides", Ints{2, 2}}, {"pads", Ints{1, 1, 1, 1}}, {"group", int64_t{6}}}},
      {{2, 4, 9}, {4, 6, 16}, {{"strides", Ints{8}}, {"pads", Ints{4, 4}}}},
      {{1, 2, 3, 4, 2}, {2, 3, 2, 3, 2}, {{"strides", Ints{2, 1, 2}}}},
      {{1, 1, 3, 4}, {1, 3, 2, 2}, {{"strides", Ints{2, 2}}}},
  };
  for (size_t i = 0; i < cases.size(); ++i) {
    for (const bool constant : {false, true})
      for (const bool last : {false, true}) {
        SCOPED_TRACE(fmt::format("case {}, constant {}, channels last {}", i, constant, last));
        Convolution c;
        ASSERT_NO_FATAL_FAILURE(
            c.make("ConvTranspose", {c.image(cases[i].x), c.weights(cases[i].w, constant)}, cases[i].attrs));
        if (last) c.channels_last();
        c.check();
      }
  }
}

TEST(LowerConvolution, TransposedOfSymbolicImages) {
  for (const bool last : {false, true}) {
    Convolution c;
    ASSERT_NO_FATAL_FAILURE(
        c.make("ConvTranspose",
               {c.image({c.symbol("N", 2), 5, c.symbol("H", 3), c.symbol("W", 7)}), c.weights({5, 6, 4, 2}, true)},
               {{"strides", Ints{2, 2}}, {"pads", Ints{1, 0, 1, 0}}}));
    if (last) c.channels_last();
    c.check();
  }
}

// A tile's rows run over the ends of the image's rows, and over those of images.
TEST(LowerConvolution, RowsOfSymbolicImagesFollowFromEachOther) {
  for (const int64_t height : {1, 2, 9})
    for (const int64_t width : {1, 2, 3, 5, 31})
      for (const bool last : {false, true})
        for (const int64_t stride : {1, 2}) {
          SCOPED_TRACE(fmt::format("{}x{}, stride {}, channels last {}", height, width, stride, last));
          Convolution c;
          ASSERT_NO_FATAL_FAILURE(c.make(
              "Conv", {c.image({c.symbol("N", 3), 3, c.symbol("H", height), c.symbol("W", width)}), c.weights({16, 3, 3, 3}, true)},
              {{"strides", Ints{stride, stride}}, {"pads", Ints{1, 1, 1, 1}}}));
          if (last) c.channels_last();
          c.check();
        }
  Convolution c;
  ASSERT_NO_FATAL_FAILURE(
      c.make("Conv", {c.image({c.symbol("N", 2), 3, c.symbol("D", 3), c.symbol("H", 2), c.symbol("W", 3)}), c.weights({16, 3, 2, 2, 2}, true)}, {}));
  c.channels_last();
  c.check();
}

TEST(LowerConvolution, TransposedVisitsOnlyTheTapsThatMeetPixels) {
  Convolution c;
  ASSERT_NO_FATAL_FAILURE(c.make("ConvTranspose", {c.image({1, 8, 6, 5}), c.weights({8, 16, 4, 4}, true)},
                                 {{"strides", Ints{2, 2}}, {"pads", Ints{1, 1, 1, 1}}}));
  c.channels_last();
  EXPECT_EQ(c.operations(), int64_t{2} * 12 * 10 * 16 * 8 * 2 * 2);
}

TEST(LowerConvolution, VolumesWithFewChannels) {
  for (const int64_t dilation : {1, 3}) {
    for (const int64_t columns : {17, 32, 9}) {
      SCOPED_TRACE(fmt::format("dilation {}, columns {}", dilation, columns));
      Convolution c;
      const Ints pads(6, dilation);
      ASSERT_NO_FATAL_FAILURE(c.make("Conv", {c.image({2, 3, 4, 5, columns}), c.weights({5, 3, 3, 3, 3}, true)},
                                     {{"pads", pads}, {"dilations", Ints(3, dilation)}}));
      EXPECT_EQ(c.check().substr(0, 11), "contraction");
    }
  }
}

TEST(LowerConvolution, VolumesOfStridesAndGroups) {
  Convolution c;
  ASSERT_NO_FATAL_FAILURE(
      c.make("Conv", {c.image({1, 4, 5, 6, 40}), c.weights({30, 2, 3, 1, 3}, true)},
             {{"pads", Ints{1, 0, 2, 1, 0, 1}}, {"strides", Ints{1, 2, 2}}, {"group", int64_t{2}}}));
  c.check();
}

}  // namespace
}  // namespace tenon::lower_test
