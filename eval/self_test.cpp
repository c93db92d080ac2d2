#include "eval/self_test.h"

#include <algorithm>

#include "backends/backend.h"
#include "backends/vulkan/devices.h"
#include "eval/compare.h"
#include "eval/self_test_groups.h"
#include "ir/parser.h"

namespace tenon::eval {
namespace {

/// Seeded by place: no two neighbours are alike, zeros and both signs occur, integers are small and shifts stay in range.
Result<Tensor> fill(const ir::Value& input) {
  const ir::TensorType& type = input.tensor();
  Shape shape;
  for (const ir::Dim& dim : *type.dims) shape.push_back(dim.value());
  TENON_ASSIGN_OR_RETURN(Tensor out, Tensor::zeros(type.dtype, std::move(shape)));
  const bool index = input.name().starts_with("i"), positive = input.name().starts_with("p");
  for (int64_t i = 0; i < out.size(); ++i) {
    const auto mixed = static_cast<int64_t>((static_cast<uint64_t>(i) * 2654435761U + input.name().size() * 40503U) >> 7 & 0xffff);
    if (index) out.set_int(i, mixed % 3);
    else if (type.dtype == DType::kBool) out.set_int(i, mixed & 1);
    else if (is_float(type.dtype)) out.set_double(i, positive ? 0.25 + static_cast<double>(mixed % 97) / 48 : static_cast<double>(mixed % 129 - 64) / 32);
    else out.set_int(i, positive || !is_signed_int(type.dtype) ? 1 + mixed % 7 : mixed % 15 - 7);
  }
  return out;
}

class Tester {
 public:
  explicit Tester(const SelfTestOptions& options) {
    options_.device = options.device;
    options_.checked = options.checked;
    options_.require_placement = "vulkan=0%";  // some may run on the host, but a lost device does not hand over to the CPU
  }

  void run(const SelfTestSource& source, SelfTestGroup& group) {
    const Status status = compare_all(source, group);
    if (status.ok()) return;
    ++group.failed;
    group.messages.push_back(fmt::format("{}: {}", group.name, status.to_string()));
  }

 private:
  Status compare_all(const SelfTestSource& source, SelfTestGroup& group) {
    TENON_ASSIGN_OR_RETURN(const auto graph, ir::parse_text(source.text));
    std::vector<HostValue> inputs;
    for (const ir::Value* input : graph->inputs()) {
      TENON_ASSIGN_OR_RETURN(Tensor tensor, fill(*input));
      inputs.emplace_back(std::move(tensor));
    }
    TENON_ASSIGN_OR_RETURN(const auto want, outputs_of("reference", *graph, inputs, DType::kF32, nullptr));
    TENON_ASSIGN_OR_RETURN(const auto got, outputs_of("vulkan", *graph, inputs, source.precision, &group));
    for (size_t i = 0; i < want.size(); ++i) {
      const Difference d = compare(want[i], got[i], {.rtol = source.rtol, .atol = 0, .scaled_atol = source.rtol});
      ++(d.ok ? group.passed : group.failed);
      if (!d.ok) group.messages.push_back(fmt::format("{}: {}: {}", group.name, graph->output_name(static_cast<int>(i)), d.message));
    }
    return {};
  }

  Result<std::vector<HostValue>> outputs_of(const char* backend, const ir::Graph& graph, const std::vector<HostValue>& inputs,
                                            DType precision, SelfTestGroup* group) const {
    backends::CompileOptions options = options_;
    options.precision = precision;
    TENON_ASSIGN_OR_RETURN(const auto executable, backends::find_backend(backend)->compile(graph, options));
    TENON_ASSIGN_OR_RETURN(const auto session, executable->create_session({.num_threads = 1}));
    if (group != nullptr)
      for (const backends::Placement& row : executable->placement())
        if (row.kind == backends::Placement::Kind::kHost || row.kind == backends::Placement::Kind::kInterpreted) ++group->on_host;
    return session->run(inputs);
  }

  backends::CompileOptions options_;
};

}  // namespace

bool SelfTest::passed() const {
  return std::ranges::none_of(groups, [](const SelfTestGroup& g) { return g.failed > 0; });
}

Result<SelfTest> self_test(const SelfTestOptions& options, const std::function<void(const std::string&)>& progress) {
  SelfTest out;
  TENON_ASSIGN_OR_RETURN(const auto info, backends::vulkan::open_info(options.device));
  out.device = info.name;
  out.driver = info.driver;
  Tester tester(options);
  for (const SelfTestSource& source : self_test_sources()) {
    if (source.group.find(options.filter) == std::string::npos) continue;
    auto group = std::ranges::find(out.groups, source.group, &SelfTestGroup::name);
    if (group == out.groups.end()) group = out.groups.insert(group, SelfTestGroup{source.group});
    progress(source.group);
    tester.run(source, *group);
  }
  if (out.groups.empty()) return Status(Code::kInvalidArgument, fmt::format("no group of the self-test has '{}' in its name", options.filter), "--group");
  return out;
}

}  // namespace tenon::eval
