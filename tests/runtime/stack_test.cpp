#include "runtime/stack.h"

#include <gtest/gtest.h>

namespace tenon::runtime {
namespace {

Tensor numbers(DType dtype, Shape shape, const std::vector<int64_t>& v) {
  Tensor t = *Tensor::zeros(dtype, std::move(shape));
  for (size_t i = 0; i < v.size(); ++i) t.set_int(static_cast<int64_t>(i), v[i]);
  return t;
}
std::vector<int64_t> values(const Tensor& t) {
  std::vector<int64_t> out;
  for (int64_t i = 0; i < t.size(); ++i) out.push_back(t.at_int(i));
  return out;
}
using V = std::vector<int64_t>;

constexpr DType kTypes[] = {DType::kF32, DType::kI64, DType::kI4, DType::kU4, DType::kI2, DType::kU2, DType::kF4E2M1};

// Three 2-bit or 4-bit elements do not fill their bytes.
TEST(Stack, JoinsTensorsAlongAnyAxis) {
  for (const DType dtype : kTypes) {
    SCOPED_TRACE(name(dtype));
    Stack stack;
    const std::vector<V> parts = {{1, 0, 1}, {0, 0, 1}};
    for (const V& part : parts) ASSERT_TRUE(stack.append(numbers(dtype, {3}, part), 1 << 20).ok());
    const auto rows = stack.join(0, false), columns = stack.join(-1, false), backwards = stack.join(0, true);
    ASSERT_TRUE(rows.ok() && columns.ok() && backwards.ok());
    EXPECT_EQ(rows->shape(), (Shape{2, 3}));
    EXPECT_EQ(values(*rows), (V{1, 0, 1, 0, 0, 1}));
    EXPECT_EQ(columns->shape(), (Shape{3, 2}));
    EXPECT_EQ(values(*columns), (V{1, 0, 0, 0, 1, 1}));
    EXPECT_EQ(values(*backwards), (V{0, 0, 1, 1, 0, 1}));
  }
}

TEST(Stack, RefusesAnotherShape) {
  Stack stack;
  ASSERT_TRUE(stack.append(numbers(DType::kI4, {3}, {1, 2, 3}), 1 << 20).ok());
  EXPECT_EQ(stack.append(numbers(DType::kI4, {2}, {1, 2}), 1 << 20).code(), Code::kInvalidModel);
  EXPECT_EQ(stack.append(numbers(DType::kI8, {3}, {1, 2, 3}), 1 << 20).code(), Code::kInvalidModel);
}

TEST(Stack, SlicesAlongAnyAxis) {
  for (const DType dtype : kTypes) {
    SCOPED_TRACE(name(dtype));
    const Tensor source = numbers(dtype, {2, 3}, {1, 0, 1, 0, 0, 1});
    Tensor row = numbers(dtype, {3}, {1, 1, 1}), column = numbers(dtype, {2}, {1, 1});
    ASSERT_TRUE(copy_slice(source, 0, 1, row).ok());
    ASSERT_TRUE(copy_slice(source, 1, 2, column).ok());
    EXPECT_EQ(values(row), (V{0, 0, 1}));
    EXPECT_EQ(values(column), (V{1, 1}));
  }
}

}  // namespace
}  // namespace tenon::runtime
