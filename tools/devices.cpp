#include "backends/vulkan/devices.h"

#include "eval/self_test.h"
#include "tools/common.h"

namespace tenon::tools {
namespace {

using backends::vulkan::DeviceInfo;
using nlohmann::json;

constexpr const char* kHelp =
    "The number, a part of the name or the beginning of the UUID chooses a device where commands have --device; TENON_VULKAN_DEVICE does so\n"
    "for all. Without either, a discrete GPU is preferred to an integrated one, and that to a software device. The self-test runs\n"
    "generated kernels of every kind on the device and compares with the interpreter: status 1 when a group differs.\n\n"
    "Examples:\n"
    "  tenon devices\n"
    "  tenon devices --json -\n"
    "  tenon devices --self-test --device 0";

struct Options {
  std::string json, device, group;
  bool self_test = false, checked = false;
};

std::string version(uint32_t v) { return fmt::format("{}.{}.{}", (v >> 22) & 0x7f, (v >> 12) & 0x3ff, v & 0xfff); }

std::string feature_list(const DeviceInfo& d) {
  std::vector<std::string> out;
  for (const auto& [there, name] : {std::pair{d.float16 && d.storage16, "f16"}, {d.float64, "f64"}, {d.int8 && d.storage8, "i8"}, {d.int16 && d.storage16, "i16"},
                                    {d.dot_product, "dot4"}, {d.cooperative_matrix, "matrix"}})
    if (there) out.emplace_back(name);
  return fmt::format("{}", fmt::join(out, " "));
}

std::string memory_of(const DeviceInfo& d) {
  double local = 0, free = 0;
  bool known = false;
  for (const auto& heap : d.heaps) {
    if (!heap.device_local) continue;
    local += static_cast<double>(heap.bytes);
    if (heap.budget) free += static_cast<double>(*heap.budget - std::min(*heap.budget, heap.used.value_or(0))), known = true;
  }
  return known ? fmt::format("{}, {} free", human_bytes(local), human_bytes(free)) : human_bytes(local);
}

std::string shape_of(const backends::vulkan::MatrixShape& m) {
  return fmt::format("{}x{}x{} {}*{}+{}>{}{}", m.m, m.n, m.k, m.a, m.b, m.c, m.result, m.saturating ? " saturating" : "");
}

json to_json(const DeviceInfo& d) {
  json heaps = json::array(), matrices = json::array();
  for (const auto& heap : d.heaps) {
    heaps.push_back({{"bytes", heap.bytes}, {"device_local", heap.device_local}});
    if (heap.budget) heaps.back()["budget"] = *heap.budget;
    if (heap.used) heaps.back()["used"] = *heap.used;
  }
  const auto shape = [](const backends::vulkan::MatrixShape& m) {
    return json{{"m", m.m}, {"n", m.n}, {"k", m.k}, {"a", m.a}, {"b", m.b}, {"c", m.c}, {"result", m.result}, {"saturating", m.saturating}};
  };
  for (const auto& m : d.matrices) matrices.push_back(shape(m));
  json workgroup_matrices = json::array();
  for (const auto& m : d.workgroup_matrices) {
    workgroup_matrices.push_back(shape(m.multiples));
    workgroup_matrices.back()["invocations"] = m.invocations;
  }
  return {{"index", d.index},
          {"name", d.name},
          {"type", d.type},
          {"usable", d.refused.empty()},
          {"refused", d.refused},
          {"driver", d.driver},
          {"driver_version", d.driver_version_text},
          {"vendor_id", d.vendor},
          {"device_id", d.device},
          {"api_version", version(d.api_version)},
          {"uuid", d.uuid},
          {"staged", d.staged},
          {"heaps", heaps},
          {"subgroup_size", d.subgroup_size},
          {"subgroup_sizes", {d.min_subgroup_size, d.max_subgroup_size}},
          {"subgroup_size_chosen", d.chooses_subgroup_size},
          {"max_workgroup", d.target.max_workgroup},
          {"shared_bytes", d.emit.shared_bytes},
          {"compute_units", d.compute_units},
          {"timestamp_ns", d.timestamp_ns},
          {"features", {{"f16", d.float16}, {"f64", d.float64}, {"i8", d.int8}, {"i16", d.int16}, {"storage8", d.storage8}, {"storage16", d.storage16},
                        {"dot4", d.dot_product}, {"memory_model", d.memory_model}, {"cooperative_matrix", d.cooperative_matrix}}},
          {"matrices", matrices},
          {"workgroup_matrices", workgroup_matrices}};
}

void print(const std::vector<DeviceInfo>& devices) {
  Table table({"", "name", "type", "driver", "Vulkan", "memory", "copies", "units", "subgroup", "shared", "features", "UUID"});
  for (const DeviceInfo& d : devices)
    table.add({std::to_string(d.index), printable(d.name), d.type, printable(d.driver), version(d.api_version), memory_of(d), d.staged ? "staged" : "mapped",
               d.compute_units > 0 ? std::to_string(d.compute_units) : "-",
               d.min_subgroup_size != d.max_subgroup_size ? fmt::format("{} of {}-{}", d.subgroup_size, d.min_subgroup_size, d.max_subgroup_size)
                                                          : std::to_string(d.subgroup_size),
               human_bytes(static_cast<double>(d.emit.shared_bytes)), feature_list(d), d.uuid});
  table.print();
  for (const DeviceInfo& d : devices) {
    if (!d.refused.empty()) fmt::print("{} {} is not used: {}\n", d.index, printable(d.name), d.refused);
    std::vector<std::string> shapes, multiples;
    for (const auto& m : d.matrices) shapes.push_back(shape_of(m));
    for (const auto& m : d.workgroup_matrices) multiples.push_back(fmt::format("{} by {}", shape_of(m.multiples), m.invocations));
    if (!shapes.empty()) fmt::print("{} cooperative matrices: {}\n", d.index, fmt::join(shapes, ", "));
    if (!multiples.empty()) fmt::print("{} cooperative matrices of workgroups, multiples of: {}\n", d.index, fmt::join(multiples, ", "));
  }
}

json to_json(const eval::SelfTest& test) {
  json groups = json::array();
  for (const auto& g : test.groups)
    groups.push_back({{"group", g.name}, {"passed", g.passed}, {"failed", g.failed}, {"on_host", g.on_host}, {"messages", g.messages}});
  return {{"device", test.device}, {"driver", test.driver}, {"passed", test.passed()}, {"groups", groups}};
}

Result<int> self_test(const Options& o) {
  Progress progress;
  TENON_ASSIGN_OR_RETURN(const eval::SelfTest test, eval::self_test({o.device, o.group, o.checked}, [&](const std::string& what) { progress.show(what); }));
  progress.clear();
  if (o.json != "-") {
    fmt::print("{}, {}\n\n", printable(test.device), printable(test.driver));
    Table table({"group", "outputs that agree", "that differ", "nodes on the host", "result"});
    for (const auto& g : test.groups)
      table.add({g.name, std::to_string(g.passed), std::to_string(g.failed), std::to_string(g.on_host), g.failed > 0 ? "FAIL" : g.passed > 0 ? "ok" : "not run"});
    table.print();
    for (const auto& g : test.groups)
      for (const std::string& message : g.messages) fmt::print("{}\n", printable(message));
  }
  if (!o.json.empty()) TENON_RETURN_IF_ERROR(write_json(to_json(test), o.json));
  return test.passed() ? kSuccess : kDoesNotHold;
}

Result<int> run(const Options& o) {
  if (o.self_test) return self_test(o);
  TENON_ASSIGN_OR_RETURN(const std::vector<DeviceInfo> devices, backends::vulkan::list_devices());
  json all = json::array();
  bool usable = false;
  for (const DeviceInfo& d : devices) {
    all.push_back(to_json(d));
    usable |= d.refused.empty();
  }
  if (o.json != "-") devices.empty() ? fmt::print("there is no Vulkan device on this machine\n") : print(devices);
  if (!o.json.empty()) TENON_RETURN_IF_ERROR(write_json({{"devices", all}}, o.json));
  return usable ? kSuccess : kFailure;
}

}  // namespace

void add_devices(CLI::App& app, int& status) {
  auto o = std::make_shared<Options>();
  CLI::App* sub = app.add_subcommand("devices", "List the Vulkan devices of this machine, or test one");
  sub->add_flag("--self-test", o->self_test, "Run kernels of every kind on the device and compare with the interpreter");
  sub->add_option("--device", o->device, "Device to test: number, part of the name, beginning of the UUID")->type_name("DEVICE")->default_str("");
  sub->add_flag("--checked", o->checked, "Kernels of the self-test compare every index with its buffer's size");
  sub->add_option("--group", o->group, "Only groups of the self-test whose name contains this")->type_name("TEXT")->default_str("");
  sub->add_option("--json", o->json, "Write results to a file, or - for stdout")->type_name("PATH");
  sub->footer(kHelp);
  sub->callback([o, &status] {
    const Result<int> result = run(*o);
    status = result.ok() ? *result : report(result.status());
  });
}

}  // namespace tenon::tools
