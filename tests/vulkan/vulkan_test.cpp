#include "tests/vulkan/vulkan_test.h"

#include "backends/vulkan/faults.h"
#include "backends/vulkan/instance.h"
#include "eval/compare.h"
#include "ir/parser.h"

namespace tenon::vulkan_test {
namespace {

/// Wraps the functions of drivers before any is opened, and fails the program for what the validation layer says.
class Setup : public ::testing::Environment {
 public:
  Setup() { EXPECT_TRUE(backends::vulkan::Faults::set("").ok()); }
  void TearDown() override { EXPECT_EQ(backends::vulkan::Instance::validation_messages(), 0); }
};
const auto* const kSetup = ::testing::AddGlobalTestEnvironment(new Setup());

}  // namespace

std::unique_ptr<ir::Graph> parse(const std::string& text) {
  auto graph = ir::parse_text(text);
  EXPECT_TRUE(graph.ok()) << graph.status().to_string();
  return graph.ok() ? std::move(*graph) : nullptr;
}

Tensor numbers(Shape shape, int seed) {
  Tensor out = *Tensor::zeros(DType::kF32, std::move(shape));
  for (int64_t i = 0; i < out.size(); ++i) out.set_double(i, static_cast<double>((i * 37 + seed * 101) % 97) / 16.0 - 3);
  return out;
}

std::vector<HostValue> expected(const ir::Graph& graph, const std::vector<HostValue>& inputs) {
  const auto executable = backends::find_backend("reference")->compile(graph, {});
  EXPECT_TRUE(executable.ok()) << executable.status().to_string();
  const auto out = (*(*executable)->create_session())->run(inputs);
  EXPECT_TRUE(out.ok()) << out.status().to_string();
  return out.ok() ? *out : std::vector<HostValue>();
}

void expect_equal(const std::vector<HostValue>& want, const Result<std::vector<HostValue>>& got) {
  ASSERT_TRUE(got.ok()) << got.status().to_string();
  ASSERT_EQ(want.size(), got->size());
  for (size_t i = 0; i < want.size(); ++i) {
    const eval::Difference d = eval::compare(want[i], (*got)[i], {.rtol = 1e-4, .atol = 1e-5, .scaled_atol = 1e-5});
    EXPECT_TRUE(d.ok) << "output " << i << ": " << d.message;
  }
}

std::string no_device() {
  const Status available = backends::find_backend("vulkan")->available();
  return available.ok() ? std::string() : available.to_string();
}

}  // namespace tenon::vulkan_test
