#pragma once

#include <functional>
#include <initializer_list>
#include <memory>
#include <random>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "ir/graph.h"
#include "ir/op.h"
#include "support/tensor.h"

namespace tenon::differential {

class Random {
 public:
  explicit Random(uint64_t seed) : engine_(seed) {}
  int64_t between(int64_t lo, int64_t hi) { return std::uniform_int_distribution<int64_t>(lo, hi)(engine_); }
  double real(double lo, double hi) { return std::uniform_real_distribution<double>(lo, hi)(engine_); }
  bool chance(double p) { return real(0, 1) < p; }
  template <class T>
  T pick(std::initializer_list<T> of) {
    return *(of.begin() + between(0, static_cast<int64_t>(of.size()) - 1));
  }
  /// Sizes that meet vector tails: 1, small odd ones, multiples of lanes and their neighbours, now and then 0.
  int64_t size() {
    if (chance(0.05)) return 0;
    return pick<int64_t>({1, 2, 3, 5, 7, 8, 9, 16, 17, 31, 33});
  }
  Shape shape(int64_t rank) {
    Shape out;
    for (int64_t i = 0; i < rank; ++i) out.push_back(size());
    return out;
  }

 private:
  std::mt19937_64 engine_;
};

enum class Fill {
  kPlain,     // floats in [-4, 4), integers in [-8, 8] (unsigned: [0, 16]), bools
  kSpecial,   // floats: also NaN, infinities, -0, subnormal, large and small ones
  kPositive,  // floats in [0.1, 4), integers in [1, 8]
};
Tensor random_tensor(Random& random, DType dtype, const Shape& shape, Fill fill = Fill::kPlain);

/// Makes one graph of one node with its input values.
class Maker {
 public:
  /// `symbolic`: input dims above 1 are symbols, one for each size, so that one compilation serves other sizes too.
  Maker(Random& random, bool symbolic) : random(random), graph(std::make_unique<ir::Graph>()), symbolic_(symbolic) {}

  ir::Value* input(DType dtype, const Shape& shape, Fill fill = Fill::kPlain) {
    return input(random_tensor(random, dtype, shape, fill));
  }
  ir::Value* input(Tensor value);
  ir::Value* f32(const Shape& shape, Fill fill = Fill::kPlain) { return input(DType::kF32, shape, fill); }
  ir::Value* ints(std::vector<int64_t> values);  // a constant of rank 1
  ir::Value* scalar(int64_t value) { return constant(Tensor::scalar<int64_t>(value)); }
  ir::Value* strings(Shape shape, std::vector<std::string> values) {
    return input(std::move(Tensor::strings(std::move(shape), std::move(values))).value());
  }
  ir::Value* constant(Tensor value);

  using Attributes = std::initializer_list<std::pair<std::string_view, ir::Attr>>;
  /// The node under test; all its outputs become the graph's. Null inputs are absent ones.
  void node(std::string_view op, std::initializer_list<ir::Value*> inputs, Attributes attrs = {}, int outputs = 1) {
    node(op, std::vector<ir::Value*>(inputs), std::vector<std::pair<std::string_view, ir::Attr>>(attrs), outputs);
  }
  void node(std::string_view op, const std::vector<ir::Value*>& inputs,
            const std::vector<std::pair<std::string_view, ir::Attr>>& attrs, int outputs);
  /// A node before or beside it, with its outputs. They are the graph's only when `output` says so.
  std::vector<ir::Value*> step(std::string_view op, const std::vector<ir::Value*>& inputs,
                               const std::vector<std::pair<std::string_view, ir::Attr>>& attrs = {}, int outputs = 1,
                               const std::function<void(ir::Node& node)>& fill_regions = {});
  void output(ir::Value* value) { graph->add_output(value); }

  Random& random;
  std::unique_ptr<ir::Graph> graph;
  std::vector<HostValue> inputs;
  Status status;     // why the node cannot be made
  std::string text;  // ops, types and attributes, for messages
  std::set<std::string> ops;

 private:
  ir::TensorType type_of(const Tensor& value);
  bool symbolic_;
};

/// How the cases of a run went.
struct Tally {
  int cases = 0, agreed = 0, refused = 0;  // refused: by inference or by the reference, so there is nothing to compare
  int hosted = 0;                          // no kernel at O3
};

/// Runs the graph on the reference, on cpu at O0 and O3, and on vulkan at O3 where there is a device. What differs,
/// empty when the values are the same.
std::string disagreement(const Maker& made, Tally& tally);

}  // namespace tenon::differential
