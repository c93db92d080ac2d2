// Symbolic dims that turn out to be 1 broadcast, as ONNX's Broadcasting.md says, wherever they stand.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "backends/backend.h"
#include "ir/graph.h"
#include "ir/parser.h"

namespace tenon::backends {
namespace {

using ::testing::ElementsAre;

/// y = (a + b) W summed over rows' own shape: a chain in which the sum's rows matter to a product, a reduction and a reshape.
constexpr std::string_view kModel = R"(graph "g" {
  input %a: f32[M, 2]
  input %b: f32[N, 2]
  %w: f32[2, 1] = Constant {value = dense<f32[2, 1], 1, 10>}
  %s: f32[M, 2] = Add(%a, %b)
  %e: f32[M, 2] = Relu(%s)
  %p: f32[M, 1] = MatMul(%e, %w)
  %flat: i64[1] = Constant {value = dense<i64[1], -1>}
  %y: f32[M] = Reshape(%p, %flat)
  output %y
  output %s
})";

Tensor rows(int64_t count, float first) {
  Tensor t = *Tensor::zeros(DType::kF32, {count, 2});
  for (int64_t i = 0; i < t.size(); ++i) t.set_double(i, first + static_cast<double>(i));
  return t;
}

std::vector<double> numbers(const HostValue& value) {
  std::vector<double> out;
  const Tensor& t = std::get<Tensor>(value);
  for (int64_t i = 0; i < t.size(); ++i) out.push_back(t.at_double(i));
  return out;
}

class Broadcast : public testing::TestWithParam<std::string_view> {
 protected:
  void SetUp() override {
    auto graph = ir::parse_text(kModel);
    ASSERT_TRUE(graph.ok()) << graph.status().to_string();
    auto executable = find_backend(GetParam())->compile(**graph, {});
    ASSERT_TRUE(executable.ok()) << executable.status().to_string();
    executable_ = *executable;
    session_ = *executable_->create_session({});
  }
  Result<std::vector<HostValue>> run(int64_t m, int64_t n) {
    const std::vector<HostValue> inputs = {rows(m, 1), rows(n, 100)};
    return session_->run(inputs);
  }
  std::shared_ptr<const Executable> executable_;
  std::unique_ptr<Session> session_;
};

TEST_P(Broadcast, TakesOnesOnEitherSide) {
  for (int round = 0; round < 2; ++round) {
    auto second = run(3, 1);
    ASSERT_TRUE(second.ok()) << second.status().to_string();
    EXPECT_THAT(numbers((*second)[0]), ElementsAre(101 + 1030, 103 + 1050, 105 + 1070));
    auto first = run(1, 3);
    ASSERT_TRUE(first.ok()) << first.status().to_string();
    EXPECT_THAT(numbers((*first)[0]), ElementsAre(101 + 1030, 103 + 1050, 105 + 1070));
    EXPECT_EQ(std::get<Tensor>((*first)[1]).shape(), (Shape{3, 2}));
    auto both = run(1, 1);
    ASSERT_TRUE(both.ok()) << both.status().to_string();
    EXPECT_THAT(numbers((*both)[0]), ElementsAre(101 + 1030));
    auto equal = run(2, 2);
    ASSERT_TRUE(equal.ok()) << equal.status().to_string();
    EXPECT_THAT(numbers((*equal)[0]), ElementsAre(101 + 1030, 105 + 1070));
    auto none = run(1, 0);
    ASSERT_TRUE(none.ok()) << none.status().to_string();
    EXPECT_TRUE(numbers((*none)[0]).empty());
  }
}

TEST_P(Broadcast, RefusesWhatDoesNotFit) {
  EXPECT_FALSE(run(2, 3).ok());
  EXPECT_FALSE(run(0, 3).ok());
  EXPECT_TRUE(run(1, 3).ok());
  EXPECT_FALSE(run(2, 3).ok());
}

INSTANTIATE_TEST_SUITE_P(Backends, Broadcast, testing::Values("reference", "cpu"), [](const auto& info) { return std::string(info.param); });

}  // namespace
}  // namespace tenon::backends
