// Convolutional graphs at random, compiled with the memory layouts that choose-layouts picks, against the interpreter.

#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <random>

#include "backends/backend.h"
#include "eval/compare.h"
#include "ir/evaluate.h"
#include "ir/op.h"
#include "ir/printer.h"

namespace tenon::backends {
namespace {

using ir::Builder;
using ir::Dim;
using ir::Graph;
using ir::Value;
using Ints = std::vector<int64_t>;

/// Images of few and of many channels under convolutions of several kinds and what else networks do with images.
class RandomNetwork {
 public:
  explicit RandomNetwork(unsigned seed) : rng_(seed) {
    const Dim n = graph_.dims().symbol("N"), w = pick(2) ? Dim(14) : graph_.dims().symbol("W");
    values_.push_back(graph_.add_input("x", ir::TensorType(DType::kF32, {n, 3, 13, w})));
    values_.push_back(graph_.add_input("y", ir::TensorType(DType::kF32, {1, 16, 13, w})));
    graph_.add_input("which", ir::TensorType(DType::kBool, {}));
  }

  Graph& build(int nodes) {
    for (int i = 0; i < nodes; ++i) {
      Builder b(graph_);
      Value* made = pick(4) ? step(b, values_.back()) : step(b, any());
      EXPECT_TRUE(b.status().ok()) << b.status().to_string();
      if (made != nullptr) values_.push_back(made);
    }
    graph_.add_output(values_.back(), "last");
    graph_.add_output(any(), "some");
    graph_.add_output(branch(values_.back()), "branch");
    return graph_;
  }

 private:
  size_t pick(size_t n) { return rng_() % n; }
  Value* any() { return values_[pick(values_.size())]; }

  Value* weights(Builder& b, Shape shape) {
    Tensor t = *Tensor::empty(DType::kF32, std::move(shape));
    for (float& f : t.mutable_span<float>()) f = static_cast<float>(static_cast<int>(rng_() % 33) - 16) / 64;
    return b.constant(t);
  }

  Value* conv(Builder& b, Value* x) {
    static constexpr int64_t kFilters[] = {16, 32, 20, 3, 48};
    const int64_t channels = x->tensor().dim(1).value(), k = pick(2) ? 3 : 1, stride = pick(4) ? 1 : 2;
    const bool depthwise = pick(3) == 0, grouped = !depthwise && channels % 2 == 0 && pick(4) == 0;
    const int64_t filters = depthwise ? channels : kFilters[pick(5)] / (grouped ? 2 : 1) * (grouped ? 2 : 1);
    const int64_t groups = depthwise ? channels : grouped ? 2 : 1;
    if (grouped && filters % 2 != 0) return nullptr;
    Value* w = weights(b, {filters, channels / groups, k, k});
    Value* bias = weights(b, {filters});
    return b.make("Conv", {x, w, bias}, {{"pads", Ints{k / 2, k / 2, k / 2, k / 2}}, {"strides", Ints{stride, stride}}, {"group", groups}});
  }

  Value* same_type(Value* x) {
    for (int i = 0; i < 20; ++i)
      if (Value* v = any(); v != x && v->type() == x->type()) return v;
    return x;
  }

  /// Of images.
  Value* step(Builder& b, Value* x) {
    if (x->tensor().rank() != 4) return b.make("Relu", {x});
    switch (pick(14)) {
      case 0: return b.make("Relu", {x});
      case 1: return b.make("Add", {x, same_type(x)});
      case 2: return b.make("MaxPool", {x}, {{"kernel_shape", Ints{3, 3}}, {"pads", Ints{1, 1, 1, 1}}, {"strides", Ints{1, 1}}});
      case 3: return b.make("Mul", {x, b.make("Sigmoid", {b.make("GlobalAveragePool", {x})})});
      case 4: return x->tensor().dim(1).value() < 60 ? b.make("Concat", {x, same_type(x)}, {{"axis", int64_t{1}}}) : nullptr;
      case 5: return b.make("Add", {x, weights(b, {x->tensor().dim(1).value(), 1, 1})});
      case 6: return b.make("Softmax", {x}, {{"axis", int64_t{1}}});
      case 7: return shuffle(b, x);
      case 8: return turn(b, x);
      case 9: return b.make("InstanceNormalization", {x, weights(b, {x->tensor().dim(1).value()}), weights(b, {x->tensor().dim(1).value()})});
      default: return conv(b, x);
    }
  }

  /// Channels in two groups, the one between the other.
  Value* shuffle(Builder& b, Value* x) {
    const std::vector<Dim>& d = *x->tensor().dims;
    if (d[1].value() % 2 != 0) return nullptr;
    Value* split = b.make("tenon.reshape", {x}, {{"dims", std::vector<Dim>{d[0], 2, d[1].value() / 2, d[2], d[3]}}});
    Value* turned = b.make("Transpose", {split}, {{"perm", Ints{0, 2, 1, 3, 4}}});
    return b.make("tenon.reshape", {turned}, {{"dims", d}});
  }

  /// To rows of channels, and sometimes back.
  Value* turn(Builder& b, Value* x) {
    const std::vector<Dim>& d = *x->tensor().dims;
    Value* rows = b.make("Transpose", {x}, {{"perm", Ints{0, 2, 3, 1}}});
    Value* scaled = b.make("Mul", {rows, weights(b, {d[1].value()})});
    if (pick(2)) values_.push_back(b.make("tenon.reshape", {scaled}, {{"dims", std::vector<Dim>{d[0], d[2] * d[3], d[1]}}}));
    return b.make("Transpose", {scaled}, {{"perm", Ints{0, 3, 1, 2}}});
  }

  Value* branch(Value* x) {
    Value* condition = graph_.inputs()[2];
    ir::Node* node = graph_.create(*ir::find_op("If"), std::span(&condition, 1), 1);
    Graph& yes = node->add_region();
    yes.add_output(Builder(yes).make("Neg", {x}));
    node->add_region().add_output(x);
    EXPECT_TRUE(ir::infer_node(*node).ok());
    return node->output();
  }

  std::mt19937 rng_;
  Graph graph_;
  std::vector<Value*> values_;
};

std::vector<HostValue> inputs_of(const Graph& graph, int64_t batch, int64_t width, std::mt19937& rng) {
  std::vector<HostValue> out;
  for (const Value* input : graph.inputs()) {
    Shape shape;
    for (const Dim& d : *input->tensor().dims) shape.push_back(d.is_const() ? d.value() : to_string(d) == "N" ? batch : width);
    Tensor t = *Tensor::zeros(input->dtype(), shape);
    for (int64_t i = 0; i < t.size(); ++i) input->dtype() == DType::kBool ? t.set_int(i, 1) : t.set_double(i, static_cast<double>(rng() % 2001) / 1000 - 1);
    out.emplace_back(std::move(t));
  }
  return out;
}

/// Keeps what it is shown, by name.
struct Watcher : runtime::Observer {
  std::map<std::string, HostValue> values;
  void on_step(const runtime::StepEvent&) override {}
  bool wants(const runtime::Plan&, runtime::ValueIdx) const override { return true; }
  Status on_value(const runtime::Plan& plan, runtime::ValueIdx v, const HostValue& value) override {
    TENON_ASSIGN_OR_RETURN(values[plan.values[static_cast<size_t>(v)].name], std::get<Tensor>(value).clone());
    return {};
  }
};

class Layouts : public testing::TestWithParam<std::string> {
 protected:
  void expect_close(const HostValue& want, const HostValue& got, const std::string& what) {
    const auto difference = eval::compare(want, got, {.rtol = 1e-4, .atol = 0, .scaled_atol = 1e-5});
    EXPECT_TRUE(difference.ok) << what << ": " << difference.message;
  }

  void check(unsigned seed) {
    RandomNetwork network(seed);
    Graph& graph = network.build(16);
    CompileOptions options;
    options.target = GetParam();
    options.opt_level = seed % 4 == 0 ? 2 : 3;
    auto executable = find_backend("cpu")->compile(graph, options);
    ASSERT_TRUE(executable.ok()) << executable.status().to_string() << "\n" << ir::to_text(graph);
    for (const Placement& row : (*executable)->placement()) relayouts_ += row.op == "tenon.relayout" ? 1 : 0;
    Watcher watcher;
    auto watched = *(*executable)->create_session({.num_threads = 2, .observer = &watcher});
    auto alone = *(*executable)->create_session({.num_threads = 1});
    std::mt19937 rng(seed);
    for (const auto& [batch, width] : {std::pair<int64_t, int64_t>{1, 14}, {2, 9}}) {
      const std::vector<HostValue> inputs = inputs_of(graph, batch, width, rng);
      std::map<std::string, HostValue> values;
      ir::EvalOptions evaluation;
      evaluation.observe = [&](const ir::Node& node, std::span<const HostValue> outputs) {
        for (size_t i = 0; i < outputs.size(); ++i) values[node.outputs()[i]->name()] = outputs[i];
      };
      const auto want = ir::evaluate_graph(graph, inputs, evaluation);
      watcher.values.clear();
      const auto got = watched->run(inputs), again = alone->run(inputs);
      ASSERT_TRUE(want.ok()) << want.status().to_string();
      ASSERT_TRUE(got.ok()) << got.status().to_string() << "\n" << ir::to_text(graph);
      ASSERT_TRUE(again.ok()) << again.status().to_string();
      for (size_t i = 0; i < want->size(); ++i) {
        expect_close((*want)[i], (*got)[i], fmt::format("seed {}, batch {}, output {}", seed, batch, i));
        const Tensor &a = std::get<Tensor>((*got)[i]), &b = std::get<Tensor>((*again)[i]);
        EXPECT_TRUE(std::equal(a.data(), a.data() + a.bytes(), b.data(), b.data() + b.bytes())) << "threads, seed " << seed;
      }
      for (const auto& [name, value] : watcher.values)
        if (const auto found = values.find(name); found != values.end()) expect_close(found->second, value, fmt::format("seed {}, value {}", seed, name));
      if (HasFailure()) FAIL() << ir::to_text(graph);
    }
  }

  int relayouts_ = 0;
};

TEST_P(Layouts, KeepTheResultsOfRandomNetworks) {
  if (const auto facts = find_backend("cpu")->target_facts({.target = GetParam()}); facts.vector_bytes == 0) GTEST_SKIP() << "this machine cannot execute " << GetParam();
  for (unsigned seed = 1; seed <= 24 && !HasFailure(); ++seed) check(seed);
  EXPECT_GT(relayouts_, 0);
}

INSTANTIATE_TEST_SUITE_P(Targets, Layouts, testing::Values("host", "x86-64-v2", "x86-64-v3"), [](const auto& tested) {
  std::string name = tested.param;
  std::ranges::replace(name, '-', '_');
  return name;
});

}  // namespace
}  // namespace tenon::backends
