#pragma once

#include <algorithm>
#include <random>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "ir/graph.h"
#include "ir/op.h"

namespace tenon::ir {

struct LayerSpec {
  std::string op = "LSTM", direction = "forward";
  int64_t steps = 5, batch = 3, input = 4, hidden = 6;
  DType dtype = DType::kF64;
  bool symbolic = false, bias = true, initial = true, peepholes = false;
  std::vector<int32_t> lengths;
  bool lengths_are_data = false;
  double scale = 1;  // of the weights: with large ones, long sums make a layer amplify its own rounding
  std::vector<std::pair<std::string, Attr>> attrs;
};

/// One recurrent node whose weights are constants and whose data are inputs, with random values for them.
struct Layer {
  Graph graph;
  std::vector<HostValue> inputs;
};

class LayerBuilder {
 public:
  LayerBuilder(const LayerSpec& setup, Layer& layer, uint64_t seed) : s_(setup), layer_(layer), builder_(layer.graph), random_(seed) {}

  void build() {
    const int64_t directions = s_.direction == "bidirectional" ? 2 : 1;
    const int64_t width = s_.hidden * (s_.op == "LSTM" ? 4 : s_.op == "GRU" ? 3 : 1);
    const bool batch_first = std::any_of(s_.attrs.begin(), s_.attrs.end(), [](const auto& a) { return a.first == "layout"; });
    const Shape x = batch_first ? Shape{s_.batch, s_.steps, s_.input} : Shape{s_.steps, s_.batch, s_.input};
    const Shape state = batch_first ? Shape{s_.batch, directions, s_.hidden} : Shape{directions, s_.batch, s_.hidden};
    std::vector<Value*> operands = {data("x", x, batch_first ? std::vector<std::string>{"B", "T", ""} : std::vector<std::string>{"T", "B", ""}),
                                    weight({directions, width, s_.input}), weight({directions, width, s_.hidden}),
                                    s_.bias ? weight({directions, 2 * width}) : nullptr, lengths()};
    const std::vector<std::string> names = batch_first ? std::vector<std::string>{"B", "", ""} : std::vector<std::string>{"", "B", ""};
    for (int i = 0; i < (s_.op == "LSTM" ? 2 : 1); ++i) operands.push_back(s_.initial ? data("state", state, names) : nullptr);
    if (s_.op == "LSTM") operands.push_back(s_.peepholes ? weight({directions, 3 * s_.hidden}) : nullptr);
    std::vector<std::pair<std::string, Attr>> attrs = s_.attrs;
    attrs.emplace_back("direction", s_.direction);
    attrs.emplace_back("hidden_size", s_.hidden);
    for (Value* v : builder_.make_n(s_.op, operands, s_.op == "LSTM" ? 3 : 2, attrs)) {
      ASSERT_TRUE(builder_.status().ok()) << builder_.status().to_string();
      layer_.graph.add_output(v);
    }
  }

 private:
  Tensor random(Shape shape, double scale = 1) {
    std::uniform_real_distribution<double> uniform(-scale, scale);
    Tensor t = *Tensor::zeros(s_.dtype, std::move(shape));
    for (int64_t i = 0; i < t.size(); ++i) t.set_double(i, uniform(random_));
    return t;
  }
  Value* weight(Shape shape) { return builder_.constant(random(std::move(shape), s_.scale)); }
  Value* lengths() {
    if (s_.lengths.empty()) return nullptr;
    Tensor lengths = Tensor::from<int32_t>({static_cast<int64_t>(s_.lengths.size())}, std::span<const int32_t>(s_.lengths));
    if (!s_.lengths_are_data) return builder_.constant(std::move(lengths));
    layer_.inputs.push_back(std::move(lengths));
    return layer_.graph.add_input("lengths", TensorType(DType::kI32, {s_.symbolic ? layer_.graph.dims().symbol("B") : Dim(s_.batch)}));
  }
  Value* data(const char* name, const Shape& shape, const std::vector<std::string>& symbols) {
    std::vector<Dim> dims(shape.begin(), shape.end());
    for (size_t i = 0; i < dims.size() && s_.symbolic; ++i)
      if (!symbols[i].empty()) dims[i] = layer_.graph.dims().symbol(symbols[i]);
    layer_.inputs.push_back(random(shape));
    return layer_.graph.add_input(layer_.graph.unique_name(name), TensorType(s_.dtype, std::move(dims)));
  }

  const LayerSpec& s_;
  Layer& layer_;
  Builder builder_;
  std::mt19937_64 random_;
};

}  // namespace tenon::ir
