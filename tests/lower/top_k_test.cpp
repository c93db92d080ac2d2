#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <numeric>

#include "harness.h"
#include "ir/op.h"

// TopK on GPUs against a stable sort of the elements as numbers.
namespace tenon::lower_test {
namespace {

using ir::Dim;
using ir::TensorType;
using ir::Value;

struct Case {
  DType dtype = DType::kF32;
  Shape shape;
  int64_t axis = 0, k = 0;
  bool largest = true;
  bool symbolic = false;
};

/// Few different values, so that many are equal; of floats, also those that compare in a way of their own.
Tensor elements(const Case& c) {
  Tensor x = *Tensor::empty(c.dtype, c.shape);
  uint64_t state = 7;
  const double odd[] = {std::nan(""), 0.0, -0.0, std::numeric_limits<double>::infinity(), -std::numeric_limits<double>::infinity()};
  for (int64_t i = 0; i < x.size(); ++i) {
    state = state * 6364136223846793005u + 1442695040888963407u;
    const auto r = static_cast<int64_t>(state >> 40);
    if (is_float(c.dtype))
      x.set_double(i, r % 9 == 0 ? odd[r / 9 % 5] : static_cast<double>(r % 200 - 100) / 4);
    else if (r % 17 == 0)
      x.set_int(i, is_unsigned_int(c.dtype) ? (bits(c.dtype) == 64 ? -1 : (int64_t{1} << bits(c.dtype)) - 1) : r % 2 == 0 ? INT64_MAX >> (64 - bits(c.dtype)) : INT64_MIN >> (64 - bits(c.dtype)));
    else
      x.set_int(i, is_unsigned_int(c.dtype) ? r % 100 : r % 100 - 50);
  }
  return x;
}

/// Whether element i of a row comes before element j by its value.
bool before(const Tensor& x, int64_t i, int64_t j, bool largest) {
  if (!is_float(x.dtype())) {
    const int64_t a = x.at_int(i), b = x.at_int(j);
    const bool less = x.dtype() == DType::kU64 ? static_cast<uint64_t>(a) < static_cast<uint64_t>(b) : a < b;
    return largest ? a != b && !less : less;
  }
  const double a = x.at_double(i), b = x.at_double(j);
  const bool less = std::isnan(b) ? !std::isnan(a) : a < b, more = std::isnan(a) ? !std::isnan(b) : a > b;
  return largest ? more : less;
}

std::string check(const Case& c, const codegen::Target& target) {
  SCOPED_TRACE(fmt::format("{} {} of {} along {} {}", name(c.dtype), c.k, fmt::join(c.shape, "x"), c.axis, c.largest));
  ir::Graph graph;
  Instance instance;
  std::vector<Dim> dims(c.shape.begin(), c.shape.end());
  for (size_t a = 0; a < dims.size() && c.symbolic; ++a) {
    const std::string symbol = fmt::format("d{}", a);
    dims[a] = graph.dims().symbol(symbol);
    instance.symbols[symbol] = c.shape[a];
  }
  Value* x = graph.add_input("x", TensorType(c.dtype, dims));
  ir::Builder b(graph);
  Value* const inputs[] = {x, b.ints({c.k})};
  const std::vector<Value*> made = b.make_n("TopK", inputs, 2, {{"axis", c.axis}, {"largest", int64_t{c.largest}}});
  EXPECT_TRUE(b.status().ok()) << b.status().to_string();
  for (Value* v : made) graph.add_output(v);
  const Tensor given = instance.tensors[x] = elements(c);
  const auto lowered = codegen::lower(*made[0]->def(), target);
  EXPECT_TRUE(lowered.ok()) << lowered.status().to_string();
  if (!lowered.ok()) return "";
  const auto outputs = run_lowered(*lowered, *made[0]->def(), instance, target);
  EXPECT_TRUE(outputs.ok()) << outputs.status().to_string();
  if (!outputs.ok()) return "";
  const int64_t n = c.shape[static_cast<size_t>(c.axis)];
  int64_t inner = 1, outer = 1;
  for (size_t a = 0; a < c.shape.size(); ++a) (static_cast<int64_t>(a) < c.axis ? outer : inner) *= static_cast<int64_t>(a) == c.axis ? 1 : c.shape[a];
  for (int64_t o = 0; o < outer; ++o)
    for (int64_t i = 0; i < inner; ++i) {
      std::vector<int64_t> order(static_cast<size_t>(n));
      std::iota(order.begin(), order.end(), 0);
      const auto at = [&](int64_t position) { return (o * n + position) * inner + i; };
      std::stable_sort(order.begin(), order.end(), [&](int64_t p, int64_t q) { return before(given, at(p), at(q), c.largest); });
      for (int64_t r = 0; r < c.k; ++r) {
        const int64_t to = (o * c.k + r) * inner + i, want = order[static_cast<size_t>(r)];
        EXPECT_EQ((*outputs)[1].at_int(to), want) << "rank " << r << " of row " << o << ", " << i;
        const auto size = static_cast<size_t>(bits(c.dtype) / 8);
        EXPECT_EQ(std::memcmp((*outputs)[0].data() + static_cast<size_t>(to) * size, given.data() + static_cast<size_t>(at(want)) * size, size), 0);
        if (::testing::Test::HasFailure()) return lowered->implementation;
      }
    }
  return lowered->implementation;
}

codegen::Target small_gpu() {
  codegen::Target t = gpu();
  t.shared_bytes = 2560;
  t.max_workgroup = 64;
  return t;
}

TEST(LowerTopK, RowsThatFit) {
  for (bool largest : {true, false})
    for (bool symbolic : {true, false}) {
      EXPECT_EQ(check({.shape = {3, 300}, .axis = 1, .k = 5, .largest = largest, .symbolic = symbolic}, gpu()).substr(0, 7), "sort of");
      check({.shape = {2, 257, 3}, .axis = 1, .k = 257, .largest = largest}, gpu());
      check({.shape = {65, 2}, .axis = 0, .k = 64, .largest = largest}, gpu());
      check({.shape = {2, 1}, .axis = 1, .k = 1, .largest = largest}, gpu());
      for (const int64_t whole : {2, 256}) check({.shape = {2, whole}, .axis = 1, .k = whole, .largest = largest, .symbolic = symbolic}, gpu());
      check({.shape = {2, 2048}, .axis = 1, .k = 2048, .largest = largest}, gpu());
    }
}

TEST(LowerTopK, EveryDtype) {
  for (DType d : {DType::kI8, DType::kI16, DType::kI32, DType::kI64, DType::kU8, DType::kU16, DType::kU32, DType::kU64, DType::kF16, DType::kBF16,
                  DType::kF32, DType::kF64})
    for (bool largest : {true, false}) check({.dtype = d, .shape = {2, 100}, .axis = 1, .k = 100, .largest = largest}, gpu());
}

TEST(LowerTopK, RowsThatComeInTurns) {
  for (DType d : {DType::kF32, DType::kI64})
    for (bool symbolic : {true, false})
      for (int64_t k : {1, 31, 60})
        for (int64_t n : {257, 400, 1001})
          check({.dtype = d, .shape = {2, n, 2}, .axis = 1, .k = k, .largest = k != 31, .symbolic = symbolic}, small_gpu());
}

TEST(LowerTopK, LongRowsHaveParts) {
  codegen::Target target = small_gpu();
  target.busy_workgroups = 7;
  EXPECT_EQ(check({.shape = {6007}, .axis = 0, .k = 9}, target), "sort of 256 in 6 parts");
  check({.shape = {2, 6007}, .axis = 1, .k = 1, .largest = false}, target);
  check({.shape = {5003, 2}, .axis = 0, .k = 60}, target);
}

TEST(LowerTopK, NoRows) { check({.shape = {0, 300}, .axis = 1, .k = 5}, gpu()); }

TEST(LowerTopK, WhatDoesNotFitIsRefused) {
  ir::Graph graph;
  ir::Builder b(graph);
  Value* x = graph.add_input("x", TensorType(DType::kF32, {Dim(1000)}));
  Value* const inputs[] = {x, b.ints({1000})};
  const Value* all = b.make_n("TopK", inputs, 2, {})[0];
  EXPECT_EQ(codegen::lower(*all->def(), small_gpu()).status().code(), Code::kUnsupported);
  EXPECT_TRUE(codegen::lower(*all->def(), gpu()).ok());
  EXPECT_EQ(codegen::lower(*all->def(), cpu(256, true)).status().code(), Code::kUnsupported);
}

}  // namespace
}  // namespace tenon::lower_test
