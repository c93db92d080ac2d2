#include <gtest/gtest.h>

#include <random>

#include "codegen/llvm/lanes.h"
#include "harness.h"
#include "ir/op.h"

// Windows in channels-last storage: Transpose → op → Transpose as one region, as layouts and exporters make them.
namespace tenon::lower_test {
namespace {

using ir::Dim;
using ir::Graph;
using ir::Node;
using ir::TensorType;
using ir::Value;
using Attrs = std::vector<std::pair<std::string, ir::Attr>>;
using Ints = std::vector<int64_t>;

/// One region over an input of N × spatial… × C. Dims -1, -2 and -3 stand for symbols N, H and W.
struct ChannelsLast {
  ChannelsLast(DType dtype, std::vector<Dim> dims, std::vector<std::vector<Dim>> more) {
    const char* const names[] = {"N", "H", "W"};
    for (Dim& d : dims)
      if (d.is_const() && d.value() < 0) d = graph.dims().symbol(names[-d.value() - 1]);
    std::vector<Value*> outer{graph.add_input("x", TensorType(dtype, dims))};
    for (auto& d : more) outer.push_back(graph.add_input(graph.unique_name("p"), TensorType(dtype, d)));
    node = graph.create(*ir::find_op("tenon.fused"), outer, 1);
    region = &node->add_region();
    for (Value* v : outer) in.push_back(region->add_input(v->name() + "_formal", v->type()));
    rank = static_cast<int64_t>(dims.size());
  }
  Value* channels_first(Value* v) {
    Ints perm{0, rank - 1};
    for (int64_t i = 1; i + 1 < rank; ++i) perm.push_back(i);
    return make("Transpose", {v}, {{"perm", perm}});
  }
  Value* channels_last(Value* v) {
    Ints perm{0};
    for (int64_t i = 2; i < rank; ++i) perm.push_back(i);
    perm.push_back(1);
    return make("Transpose", {v}, {{"perm", perm}});
  }
  Value* make(std::string_view op, std::vector<Value*> inputs, Attrs attrs = {}) {
    ir::Builder builder(*region);
    Value* v = builder.make_n(op, inputs, 1, std::move(attrs))[0];
    EXPECT_TRUE(builder.status().ok()) << builder.status().to_string();
    return v;
  }
  std::string check(Value* result, double tolerance = 1e-5) {
    node->output(0)->set_type(result->type());
    region->add_output(result);
    graph.add_output(node->output(0));
    uint64_t seed = 1;
    for (Value* v : graph.inputs()) instance.tensors[v] = random_tensor(*v, instance, seed++);
    return check_everywhere(*node, instance, tolerance);
  }
  codegen::LoweredOp lowered(int bits) { return codegen::lower(*node, cpu(bits, true)).value(); }

  Graph graph;
  Instance instance;
  Node* node = nullptr;
  Graph* region = nullptr;
  std::vector<Value*> in;
  int64_t rank = 0;
};

struct Sizes {
  std::vector<Dim> image;  // spatial
  int64_t channels;
  Ints kernel, pads, strides, dilations;
};

Attrs window_attrs(const Sizes& s) {
  return {{"kernel_shape", s.kernel}, {"pads", s.pads}, {"strides", s.strides}, {"dilations", s.dilations}};
}

std::vector<Dim> image_dims(const Sizes& s, Dim batch) {
  std::vector<Dim> dims{batch};
  dims.insert(dims.end(), s.image.begin(), s.image.end());
  dims.push_back(s.channels);
  return dims;
}

using Symbols = std::map<std::string, int64_t>;

/// Depthwise convolution, bias, a residual and an activation.
std::string check_depthwise(const Sizes& s, Dim batch, DType dtype = DType::kF32, double tolerance = 1e-5, Symbols symbols = {}) {
  std::vector<Dim> weights{s.channels, 1};
  for (int64_t k : s.kernel) weights.push_back(k);
  ChannelsLast c(dtype, image_dims(s, batch), {weights, {s.channels}});
  c.instance.symbols = std::move(symbols);
  Attrs attrs = window_attrs(s);
  attrs.emplace_back("group", s.channels);
  Value* y = c.make("Conv", {c.channels_first(c.in[0]), c.in[1], c.in[2]}, attrs);
  return c.check(c.channels_last(c.make("Relu", {y})), tolerance);
}

std::string check_pool(const char* op, const Sizes& s, Dim batch, Attrs more = {}, DType dtype = DType::kF32, Symbols symbols = {}) {
  ChannelsLast c(dtype, image_dims(s, batch), {});
  c.instance.symbols = std::move(symbols);
  Attrs attrs = window_attrs(s);
  attrs.insert(attrs.end(), more.begin(), more.end());
  return c.check(c.channels_last(c.make(op, {c.channels_first(c.in[0])}, attrs)), dtype == DType::kF16 ? 1e-2 : 1e-5);
}

bool tiled(const std::string& implementation) { return implementation.starts_with("window tile"); }

TEST(LowerWindow, DepthwiseInChannelsLast) {
  const Sizes cases[] = {{{9, 11}, 20, {3, 3}, {1, 1, 1, 1}, {1, 1}, {1, 1}}, {{14, 7}, 33, {3, 3}, {1, 1, 1, 1}, {2, 2}, {1, 1}},
                         {{8, 40}, 16, {5, 5}, {2, 2, 2, 2}, {1, 1}, {1, 1}}, {{9, 17}, 17, {3, 3}, {2, 2, 2, 2}, {1, 1}, {2, 2}},
                         {{10, 23}, 24, {3, 5}, {0, 0, 0, 0}, {1, 2}, {1, 1}}, {{5, 6}, 64, {7, 7}, {3, 3, 3, 3}, {1, 1}, {1, 1}},
                         {{30}, 20, {4}, {2, 1}, {1}, {1}},              {{4, 5, 6}, 18, {3, 2, 3}, {1, 0, 1, 1, 1, 1}, {1, 1, 2}, {1, 1, 1}},
                         {{6, 50}, 19, {1, 9}, {0, 4, 0, 4}, {1, 1}, {1, 1}}, {{6, 12}, 19, {2, 2}, {-1, 0, 0, -1}, {3, 3}, {1, 1}}};
  for (const Sizes& s : cases) EXPECT_PRED1(tiled, check_depthwise(s, 2));
}

TEST(LowerWindow, DepthwiseOfSymbolicImages) {
  for (const int64_t size : {1, 2, 5, 21}) {
    for (const int64_t stride : {1, 2}) {
      const Sizes s{{-2, -3}, 20, {3, 3}, {1, 1, 1, 1}, {stride, stride}, {1, 1}};
      EXPECT_PRED1(tiled, check_depthwise(s, -1, DType::kF32, 1e-5, {{"N", 1}, {"H", size}, {"W", size + 1}}));
    }
  }
}

TEST(LowerWindow, DepthwiseOfOtherDtypes) {
  const Sizes s{{7, 9}, 21, {3, 3}, {1, 1, 1, 1}, {1, 1}, {1, 1}};
  for (DType d : {DType::kF16, DType::kBF16, DType::kF64}) EXPECT_PRED1(tiled, check_depthwise(s, 1, d, d == DType::kF64 ? 1e-5 : 2e-2));
}

TEST(LowerWindow, PoolsInChannelsLast) {
  const Sizes cases[] = {{{9, 11}, 20, {3, 3}, {1, 1, 1, 1}, {1, 1}, {1, 1}}, {{14, 7}, 33, {3, 3}, {1, 1, 1, 1}, {2, 2}, {1, 1}},
                         {{8, 40}, 16, {2, 2}, {0, 0, 0, 0}, {2, 2}, {1, 1}}, {{9, 17}, 17, {3, 3}, {2, 2, 2, 2}, {1, 1}, {2, 2}}};
  for (const Sizes& s : cases) {
    EXPECT_PRED1(tiled, check_pool("MaxPool", s, 2));
    EXPECT_PRED1(tiled, check_pool("MaxPool", s, 2, {{"ceil_mode", int64_t{1}}}, DType::kI8));
    for (int64_t padding : {0, 1})
      EXPECT_PRED1(tiled, check_pool("AveragePool", s, 2, {{"count_include_pad", padding}, {"ceil_mode", padding}}, padding ? DType::kF16 : DType::kF32));
  }
  const Sizes symbolic{{-2, -3}, 20, {3, 3}, {1, 1, 1, 1}, {2, 2}, {1, 1}};
  for (const int64_t size : {1, 4, 19}) {
    const Symbols symbols{{"N", 1}, {"H", size + 2}, {"W", size}};
    EXPECT_PRED1(tiled, check_pool("MaxPool", symbolic, -1, {}, DType::kF32, symbols));
    EXPECT_PRED1(tiled, check_pool("AveragePool", symbolic, -1, {}, DType::kF32, symbols));
  }
}

/// Loads inside `r` whose lanes lie further apart than two elements.
int loads_apart(const codegen::LaneShapes& shapes, const kir::Region& r) {
  using Kind = codegen::LaneShape::Kind;
  int count = 0;
  for (const auto& i : r.insts) {
    if (i->kind == kir::InstKind::kLoad) {
      const codegen::LaneShape at = shapes[static_cast<size_t>(i->operands[0])];
      count += at.kind == Kind::kVarying || (at.kind == Kind::kAffine && std::abs(at.stride) > 2) ? 1 : 0;
    }
    for (const auto& inner : i->regions) count += loads_apart(shapes, inner);
  }
  return count;
}

int loads_apart_in_lanes(const kir::Kernel& kernel, const kir::Region& r) {
  int count = 0;
  for (const auto& i : r.insts) {
    const bool lanes = i->kind == kir::InstKind::kFor && i->loop == kir::LoopKind::kVector;
    for (const auto& inner : i->regions)
      count += lanes ? loads_apart(codegen::analyze_lanes(kernel, *i), inner) : loads_apart_in_lanes(kernel, inner);
  }
  return count;
}

// A convolution over time whose result alone is transposed: memory runs along time, the result along channels.
TEST(LowerWindow, LanesRunAlongWhatIsRead) {
  for (const Dim steps : {Dim(40), Dim(-2)})
    for (const int64_t length : {1, 7, 48}) {
      ChannelsLast c(DType::kF32, {1, 24, steps, 1}, {{24, 1, 20, 1}, {24}});
      c.instance.symbols = {{"H", length + 19}};
      Value* y = c.make("Conv", {c.in[0], c.in[1], c.in[2]}, {{"kernel_shape", Ints{20, 1}}, {"group", int64_t{24}}});
      EXPECT_EQ(c.check(c.make("Transpose", {y}, {{"perm", Ints{0, 2, 3, 1}}})), "window");
      const codegen::LoweredOp lowered = c.lowered(512);
      ASSERT_EQ(lowered.kernels.size(), 1u);
      EXPECT_EQ(loads_apart_in_lanes(lowered.kernels[0].kernel, lowered.kernels[0].kernel.body), 0);
    }
}

}  // namespace
}  // namespace tenon::lower_test
