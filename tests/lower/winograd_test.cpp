#include <gtest/gtest.h>

#include <cmath>

#include "codegen/schedule/winograd.h"
#include "harness.h"
#include "ir/op.h"
#include "ir/storage_order.h"

namespace tenon::lower_test {
namespace {

using codegen::Target;
using codegen::WinogradForm;
using ir::Dim;
using ir::Graph;
using ir::Node;
using ir::TensorType;
using ir::Value;
using Ints = std::vector<int64_t>;

struct Shape {
  int64_t batch, k, rows, columns, channels;
  Ints pads = {1, 1, 1, 1};
  bool row_major = false;  // the image; the result has its channels innermost

  int64_t out_rows() const { return rows + pads[0] + pads[2] - 2; }
  int64_t out_columns() const { return columns + pads[1] + pads[3] - 2; }
};

/// A convolution with a residual and an activation behind it.
struct Convolution {
  Graph graph;
  Instance instance;
  Node* node = nullptr;
  Tensor weights;

  Convolution(const Shape& s, bool symbolic, std::vector<std::pair<std::string, ir::Attr>> attrs = {},
              bool constant = true, int64_t taps = 3) {
    const auto dim = [&](const char* name, int64_t size) {
      instance.symbols[name] = size;
      return symbolic ? graph.dims().symbol(name) : Dim(size);
    };
    Value* x = input({dim("N", s.batch), s.k, dim("H", s.rows), dim("W", s.columns)});
    if (!s.row_major) x = channels_last(x);
    const int64_t groups = attrs.empty() || attrs[0].first != "group" ? 1 : std::get<int64_t>(attrs[0].second);
    Value* w = input({s.channels, s.k / groups, taps, taps});
    weights = random_tensor(*w, instance, 7);
    if (constant)
      w = ir::Builder(graph).constant(weights);
    else
      instance.tensors[w] = weights;
    Value* bias = ir::Builder(graph).constant(random_tensor(*input({s.channels}), instance, 8));
    attrs.emplace_back("pads", s.pads);
    attrs.emplace_back("activation", std::string("Relu"));
    ir::Builder b(graph);
    const bool same = taps == 3 && s.pads == Ints{1, 1, 1, 1} && attrs.size() == 2;
    Value* z = same ? channels_last(input(
                          {x->tensor().dims->at(0), s.channels, x->tensor().dims->at(2), x->tensor().dims->at(3)}))
                    : nullptr;
    const std::vector<Value*> inputs{x, w, bias, z};
    node = b.make_n("com.microsoft.FusedConv", inputs, 1, attrs)[0]->def();
    EXPECT_TRUE(b.status().ok()) << b.status().to_string();
    graph.add_output(node->output());
    ir::set_storage_order(*node->output(), {0, 2, 3, 1});
    for (int i : {0, 3})
      if (node->has_input(i))
        instance.tensors[node->input(i)] = random_tensor(*node->input(i), instance, 1 + static_cast<uint64_t>(i));
  }

  Value* input(std::vector<Dim> dims) {
    return graph.add_input(graph.unique_name("x"), TensorType(DType::kF32, std::move(dims)));
  }
  Value* channels_last(Value* v) {
    Value* made = graph.create(*ir::find_op("tenon.relayout"), std::span(&v, 1), 1)->output();
    made->set_type(v->type());
    ir::set_storage_order(*made, {0, 2, 3, 1});
    return made;
  }
  std::string implementation(const Target& target) const {
    const auto lowered = codegen::lower(*node, target);
    EXPECT_TRUE(lowered.ok()) << lowered.status().to_string();
    return lowered.ok() ? lowered->implementation : "";
  }
};

using Matrix = std::vector<std::vector<double>>;

Matrix absolute(Matrix m) {
  for (auto& row : m)
    for (double& x : row) x = std::abs(x);
  return m;
}

/// m · x · mᵀ
Matrix both(const Matrix& m, const Matrix& x) {
  Matrix out(m.size(), std::vector<double>(m.size(), 0));
  for (size_t i = 0; i < m.size(); ++i)
    for (size_t j = 0; j < m.size(); ++j)
      for (size_t a = 0; a < x.size(); ++a)
        for (size_t b = 0; b < x.size(); ++b) out[i][j] += m[i][a] * x[a][b] * m[j][b];
  return out;
}

/// The bound of winograd.h for every output [channel, row, column] of image `n`.
std::vector<double> bounds(const Convolution& c, const Shape& s, const WinogradForm& form, int64_t n) {
  const auto image = c.instance.tensors.at(c.node->input(0)).span<float>();
  const auto weights = c.weights.span<float>();
  const Matrix bt = absolute(form.bt), g = absolute(form.g), at = absolute(form.at);
  const int64_t m = form.outputs, points = form.points(), tile_rows = (s.out_rows() + m - 1) / m,
                tile_columns = (s.out_columns() + m - 1) / m;
  std::vector<Matrix> filters;
  for (int64_t i = 0; i < s.channels * s.k; ++i) {
    Matrix taps(3, std::vector<double>(3));
    for (int64_t t = 0; t < 9; ++t)
      taps[static_cast<size_t>(t / 3)][static_cast<size_t>(t % 3)] = std::abs(weights[static_cast<size_t>(i * 9 + t)]);
    filters.push_back(both(g, taps));
  }
  std::vector<double> out(static_cast<size_t>(s.channels * s.out_rows() * s.out_columns()));
  const double steps = static_cast<double>(s.k + 25) * std::ldexp(1.0, -24), gamma = steps / (1 - steps);
  for (int64_t tile = 0; tile < tile_rows * tile_columns; ++tile) {
    const int64_t row = tile / tile_columns * m, column = tile % tile_columns * m;
    std::vector<Matrix> data;
    for (int64_t k = 0; k < s.k; ++k) {
      Matrix d(static_cast<size_t>(points), std::vector<double>(static_cast<size_t>(points), 0));
      for (int64_t i = 0; i < points; ++i)
        for (int64_t j = 0; j < points; ++j) {
          const int64_t y = row + i - s.pads[0], x = column + j - s.pads[1];
          if (y < 0 || x < 0 || y >= s.rows || x >= s.columns) continue;
          d[static_cast<size_t>(i)][static_cast<size_t>(j)] =
              std::abs(image[static_cast<size_t>(((n * s.k + k) * s.rows + y) * s.columns + x)]);
        }
      data.push_back(both(bt, d));
    }
    for (int64_t channel = 0; channel < s.channels; ++channel) {
      Matrix sum(static_cast<size_t>(points), std::vector<double>(static_cast<size_t>(points), 0));
      for (int64_t k = 0; k < s.k; ++k)
        for (size_t i = 0; i < sum.size(); ++i)
          for (size_t j = 0; j < sum.size(); ++j)
            sum[i][j] += filters[static_cast<size_t>(channel * s.k + k)][i][j] * data[static_cast<size_t>(k)][i][j];
      const Matrix y = both(at, sum);
      for (int64_t i = 0; i < m && row + i < s.out_rows(); ++i)
        for (int64_t j = 0; j < m && column + j < s.out_columns(); ++j)
          out[static_cast<size_t>((channel * s.out_rows() + row + i) * s.out_columns() + column + j)] =
              gamma * y[static_cast<size_t>(i)][static_cast<size_t>(j)];
    }
  }
  return out;
}

/// Compares within the bound; the number of outputs per tile and axis, 0 where the schedule is another.
int64_t expect_within_bound(const Shape& s, bool symbolic, const Target& target) {
  Convolution c(s, symbolic);
  const auto lowered = codegen::lower(*c.node, target);
  EXPECT_TRUE(lowered.ok());
  const WinogradForm* form = nullptr;
  for (const WinogradForm& f : codegen::winograd_forms())
    if (lowered->implementation == fmt::format("winograd {0}x{0}", f.outputs)) form = &f;
  if (form == nullptr) return 0;
  const auto got = run_lowered(*lowered, *c.node, c.instance, target);
  EXPECT_TRUE(got.ok()) << got.status().to_string();
  EXPECT_TRUE(evaluate_node(*c.node, c.instance).ok());
  if (!got.ok()) return 0;
  const auto g = (*got)[0].span<float>(), w = c.instance.tensors.at(c.node->output()).span<float>();
  const auto per_image = static_cast<size_t>(s.channels * s.out_rows() * s.out_columns());
  int wrong = 0;
  for (int64_t n = 0; n < s.batch; ++n) {
    const std::vector<double> bound = bounds(c, s, *form, n);
    for (size_t i = 0; i < per_image; ++i) {
      const size_t at = static_cast<size_t>(n) * per_image + i;
      const double rounding = 4 * std::ldexp(1.0, -24) * (std::abs(w[at]) + 2);  // bias and residual
      if (!(std::abs(g[at] - w[at]) <= bound[i] + rounding) && ++wrong < 4)
        ADD_FAILURE() << "element " << at << ": " << g[at] << ", not " << w[at];
    }
  }
  return form->outputs;
}

TEST(LowerWinograd, ErrorsStayWithinTheBound) {
  const std::vector<std::pair<Shape, int64_t>> cases = {
      {{1, 48, 8, 10, 48}, 2},
      {{2, 36, 12, 15, 24}, 4},
      {{1, 24, 18, 13, 20, {0, 0, 0, 0}}, 4},
      {{1, 20, 20, 11, 24, {2, 0, 1, 2}}, 4},
      {{2, 36, 12, 15, 24, {1, 1, 1, 1}, true}, 4},
      {{1, 36, 18, 13, 28, {0, 1, 2, 0}, true}, 4},
  };
  for (const auto& [shape, outputs] : cases) {
    SCOPED_TRACE(fmt::format("{}x{} pixels, {} to {} channels", shape.rows, shape.columns, shape.k, shape.channels));
    EXPECT_EQ(expect_within_bound(shape, false, cpu(512, true)), outputs);
  }
}

TEST(LowerWinograd, ErrorsStayWithinTheBoundOnNarrowerCpus) {
  EXPECT_NE(expect_within_bound({1, 32, 8, 8, 32}, false, cpu(256, true)), 0);
  EXPECT_NE(expect_within_bound({1, 32, 8, 8, 32}, false, cpu(128, false)), 0);
  for (const Target& target : emulated()) EXPECT_NE(expect_within_bound({1, 32, 8, 8, 32}, false, target), 0);
}

TEST(LowerWinograd, SymbolicImagesAreOfAnySize) {
  for (const auto& [rows, columns] : {std::pair<int64_t, int64_t>{1, 1}, {3, 6}, {9, 4}})
    for (const bool row_major : {false, true})
      EXPECT_NE(expect_within_bound({2, 24, rows, columns, 20, {1, 1, 1, 1}, row_major}, true, cpu(512, true)), 0);
}

TEST(LowerWinograd, IsForbiddenByTheTarget) {
  const Convolution c({1, 64, 16, 16, 64}, false);
  Target target = cpu(512, true);
  EXPECT_EQ(c.implementation(target).substr(0, 8), "winograd");
  target.winograd = false;
  EXPECT_EQ(c.implementation(target).substr(0, 11), "contraction");
  ASSERT_TRUE(codegen::cpu_target("x86-64-v3-winograd", false).ok());
  EXPECT_FALSE(codegen::cpu_target("x86-64-v3-winograd", false)->winograd);
  EXPECT_EQ(codegen::cpu_target("x86-64-v3-winograd", false)->vector_bits, 256);
  EXPECT_TRUE(codegen::cpu_target("host")->winograd);
  EXPECT_FALSE(codegen::cpu_target("none-winograd", false).ok());
}

TEST(LowerWinograd, TakesOnlyWhatItIsFor) {
  const Shape s{1, 64, 16, 16, 64};
  using Attrs = std::vector<std::pair<std::string, ir::Attr>>;
  const auto other = [](const Convolution& c) { return c.implementation(cpu(512, true)).substr(0, 8) != "winograd"; };
  EXPECT_FALSE(other(Convolution(s, false)));
  EXPECT_TRUE(other(Convolution(s, false, Attrs{{"strides", Ints{2, 2}}})));
  EXPECT_TRUE(other(Convolution(s, false, Attrs{{"dilations", Ints{2, 2}}})));
  EXPECT_TRUE(other(Convolution(s, false, Attrs{{"group", int64_t{2}}})));
  EXPECT_TRUE(other(Convolution(s, false, {}, false)));
  EXPECT_TRUE(other(Convolution({1, 64, 16, 16, 64, {2, 2, 2, 2}}, false, {}, true, 5)));
  EXPECT_TRUE(other(Convolution({1, 3, 64, 64, 16}, false)));
}

}  // namespace
}  // namespace tenon::lower_test
