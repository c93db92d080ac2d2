#include <gtest/gtest.h>

#include <limits>

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
  /// Images, and results where `all` says so, with their channels innermost.
  void channels_last(bool all = true) {
    Value* x = node->input(0);
    std::vector<int> order{0};
    for (int a = 2; a < static_cast<int>(x->tensor().rank()); ++a) order.push_back(a);
    order.push_back(1);
    Value* made = graph.create(*ir::find_op("tenon.relayout"), std::span(&x, 1), 1, node)->output();
    made->set_type(x->type());
    ir::set_storage_order(*made, order);
    if (all) ir::set_storage_order(*node->output(), order);
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

// Zeros that round windows up to whole strides meet no pixels where convolutions must be computed as they are defined.
TEST(LowerConvolution, TransposedKeepsInfinitiesInTheirWindows) {
  Convolution c;
  ASSERT_NO_FATAL_FAILURE(c.make("ConvTranspose", {c.image({1, 20, 6, 7}), c.weights({20, 24, 3, 3}, true)},
                                 {{"strides", Ints{2, 2}}, {"pads", Ints{1, 1, 1, 1}}, {"output_padding", Ints{1, 1}}}));
  Tensor x = random_tensor(*c.node->input(0), c.instance, 1);
  x.set_double(17, std::numeric_limits<double>::infinity());
  c.instance.tensors[c.node->input(0)] = x;
  codegen::Target target = cpu(512, true);
  target.winograd = false;
  const auto lowered = codegen::lower(*c.node, target);
  ASSERT_TRUE(lowered.ok());
  const auto got = run_lowered(*lowered, *c.node, c.instance, target);
  ASSERT_TRUE(got.ok()) << got.status().to_string();
  ASSERT_TRUE(evaluate_node(*c.node, c.instance).ok());
  expect_close((*got)[0], c.instance.tensors.at(c.node->output()), 1e-5, "");
}

// Weights that are computed from constants are not zero where these are; and what is constant may be the image.
TEST(LowerConvolution, TransposedByWeightsThatAreComputed) {
  for (const bool constant_image : {false, true}) {
    Convolution c;
    Value* given = c.image({1, 20, 6, 7});
    Value* x = constant_image ? ir::Builder(c.graph).constant(random_tensor(*given, c.instance, 3)) : given;
    Value* w = c.weights({20, 24, 3, 3}, !constant_image);
    c.node = c.graph.create(*ir::find_op("tenon.fused"), std::vector<Value*>{x, w}, 1);
    ir::Graph& region = c.node->add_region();
    Value *image = region.add_input("image", x->type()), *weights = region.add_input("weights", w->type());
    ir::Builder b(region);
    if (!constant_image) weights = b.make("Add", {weights, b.scalar(DType::kF32, 1)});
    Value* y = b.make_n("ConvTranspose", std::vector<Value*>{image, weights}, 1,
                        {{"strides", Ints{2, 2}}, {"pads", Ints{1, 1, 1, 1}}, {"output_padding", Ints{1, 1}}})[0];
    ASSERT_TRUE(b.status().ok()) << b.status().to_string();
    region.add_output(y);
    c.node->output()->set_type(y->type());
    c.graph.add_output(c.node->output());
    c.check();
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

// Weights of groups are packed as those of all channels are, wherever the result lies.
TEST(LowerConvolution, GroupsOverRowsOfChannelsArePacked) {
  for (const bool symbolic : {false, true}) {
    Convolution c;
    const Dim length = symbolic ? c.symbol("T", 13) : Dim(13), batch = symbolic ? c.symbol("N", 2) : Dim(2);
    ASSERT_NO_FATAL_FAILURE(c.make("Conv", {c.image({batch, 16, length}), c.weights({32, 4, 8}, true)},
                                   {{"pads", Ints{4, 4}}, {"group", int64_t{4}}}));
    c.channels_last(false);
    const std::string how = c.check();
    EXPECT_NE(how.find("packed, stored transposed"), std::string::npos) << how;
  }
}

// Rows of sums are results far apart: whole vectors of rows, some of them, and fewer than lanes.
TEST(LowerConvolution, ResultsThatLieAcrossTheirSums) {
  for (const int64_t length : {3, 16, 33, 140}) {
    for (const bool symbolic : {false, true}) {
      Convolution c;
      const Dim along = symbolic ? c.symbol("T", length) : Dim(length);
      ASSERT_NO_FATAL_FAILURE(c.make("Conv", {c.image({2, 24, along}), c.weights({37, 24, 1}, true), c.weights({37}, true)}, {}));
      c.channels_last(false);
      const std::string how = c.check();
      EXPECT_NE(how.find("packed, stored transposed"), std::string::npos) << how;
    }
  }
}

struct Dilated {
  Ints x, taps, dilations, strides, pads;
  int64_t group = 1;
};

TEST(LowerConvolution, DilatedVisitsOnlyTheTapsThatMeetTheImage) {
  const std::vector<Dilated> cases = {
      {{1, 7, 9, 11}, {3, 3}, {5, 5}, {1, 1}, {5, 5, 5, 5}},
      {{2, 5, 6, 7}, {3, 3}, {6, 7}, {1, 1}, {6, 7, 6, 7}},              // the one in the middle alone
      {{2, 5, 6, 9}, {5, 3}, {2, 4}, {1, 1}, {4, 4, 4, 4}},
      {{1, 5, 11, 13}, {3, 3}, {3, 3}, {2, 2}, {3, 3, 3, 3}},
      {{1, 5, 8, 9}, {3, 3}, {4, 6}, {1, 1}, {8, 0, 0, 12}},             // taps on one side
      {{1, 4, 6, 5}, {2, 3}, {9, 8}, {1, 1}, {9, 8, 9, 8}},              // places that no tap meets
      {{1, 5, 12, 10}, {3, 1}, {9, 1}, {1, 1}, {9, 0, 9, 0}},            // along rows alone
      {{1, 5, 10, 12}, {1, 3}, {1, 9}, {1, 1}, {0, 9, 0, 9}},            // along columns alone
      {{2, 6, 9, 10}, {3, 3}, {6, 6}, {1, 1}, {6, 6, 6, 6}, 2},
      {{1, 3, 40}, {4}, {20}, {1}, {60, 0}},
      {{1, 3, 300}, {3}, {250}, {1}, {250, 250}},
      {{1, 3, 5, 6, 7}, {3, 3, 3}, {3, 4, 5}, {1, 1, 1}, {3, 4, 5, 3, 4, 5}},
      {{1, 3, 2, 9, 6}, {1, 3, 3}, {1, 7, 4}, {1, 1, 1}, {0, 7, 4, 0, 7, 4}},
  };
  for (size_t i = 0; i < cases.size(); ++i)
    for (const bool symbolic : {false, true}) {
      SCOPED_TRACE(fmt::format("case {}, symbolic {}", i, symbolic));
      const Dilated& of = cases[i];
      Convolution c;
      std::vector<Dim> x(of.x.begin(), of.x.end()), w{16, of.x[1] / of.group};
      for (size_t a = 0; a < x.size() && symbolic; ++a)
        if (a != 1) x[a] = c.symbol(fmt::format("d{}", a).c_str(), of.x[a]);
      w.insert(w.end(), of.taps.begin(), of.taps.end());
      ASSERT_NO_FATAL_FAILURE(c.make("Conv", {c.image(x), c.weights(w, true)},
                                     {{"dilations", of.dilations}, {"strides", of.strides}, {"pads", of.pads}, {"group", of.group}}));
      c.channels_last();
      const std::string how = c.check();
      EXPECT_TRUE(symbolic || how.find("taps that meet the image") != std::string::npos) << how;
    }
}

// Taps that meet the image at almost every place stay as they are.
TEST(LowerConvolution, SamePaddingKeepsAllTaps) {
  Convolution c;
  ASSERT_NO_FATAL_FAILURE(c.make("Conv", {c.image({1, 5, 14, 14}), c.weights({16, 5, 3, 3}, true)}, {{"pads", Ints{1, 1, 1, 1}}, {"strides", Ints{2, 2}}}));
  c.channels_last();
  EXPECT_EQ(c.check().find("taps that meet the image"), std::string::npos);
}

// The image is stored with as many zeros around it as tiles read, not as far as the taps reach.
TEST(LowerConvolution, DilatedStoresFewZeros) {
  Convolution c;
  ASSERT_NO_FATAL_FAILURE(
      c.make("Conv", {c.image({1, 8, 28, 28}), c.weights({16, 8, 3, 3}, true)}, {{"dilations", Ints{24, 24}}, {"pads", Ints(4, 24)}}));
  c.channels_last();
  const auto lowered = codegen::lower(*c.node, cpu(256, true));
  ASSERT_TRUE(lowered.ok());
  for (const auto& t : lowered->temporaries) {
    ASSERT_TRUE(t.count.is_const());
    EXPECT_LE(t.count.value(), 28 * (28 + 2 * 13) * 8);
  }
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
