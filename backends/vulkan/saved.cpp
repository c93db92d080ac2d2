#include <algorithm>

#include "backends/planned/saved_rows.h"
#include "backends/vulkan/executable.h"
#include "runtime/prepare.h"

namespace tenon::backends::vulkan {
namespace {

void write(const Module& module, ByteWriter& out) {
  out.put(module.words);
  out.put(module.wide_words);
  out.put(module.lanes);
}

Module read_module(ByteReader& in) {
  Module out;
  out.words = in.list<uint32_t>();
  out.wide_words = in.list<uint32_t>();
  out.lanes = in.get<int>();
  return out;
}

}  // namespace

Result<SavedExecutable> save_executable(const VulkanExecutable& executable) {
  const bool checked = std::ranges::any_of(executable.modules, [](const Module& m) { return m.sites != nullptr; });
  if (checked) return error(Code::kUnsupported, "its kernels are checked");
  if (!executable.source_options_.reload) return error(Code::kUnsupported, "its graph cannot be made again");
  SavedExecutable out;
  ByteWriter writer;
  TENON_ASSIGN_OR_RETURN(const std::vector<std::byte> text, runtime::write_plan(*executable.plan->plan, out.weights));
  writer.put(uint64_t{text.size()});
  writer.bytes(text);
  writer.put(uint64_t{executable.modules.size()});
  for (const Module& module : executable.modules) write(module, writer);
  write_rows(executable.rows, executable.figures, writer);
  out.bytes = writer.take();
  return out;
}

Result<std::shared_ptr<VulkanExecutable>> restore_executable(const std::shared_ptr<Device>& device,
                                                             std::span<const std::byte> bytes,
                                                             const std::shared_ptr<Buffer>& weights,
                                                             const CompileOptions& options) {
  auto out = std::make_shared<VulkanExecutable>();
  ByteReader in(bytes);
  TENON_ASSIGN_OR_RETURN(const runtime::ReadPlan read, runtime::read_plan(in.bytes(in.count(1)), weights));
  out->modules.resize(in.count(2 * sizeof(uint64_t)));
  for (Module& module : out->modules) module = read_module(in);
  read_rows(in, out->rows, out->figures);
  const bool fits = out->modules.size() == read.kernels->size() &&
                    std::ranges::all_of(out->modules, [](const Module& m) { return m.lanes >= 1 && !m.words.empty(); });
  if (!in.done() || !fits) return damaged_executable();
  TENON_ASSIGN_OR_RETURN(out->plan, runtime::prepare(read.plan));
  TENON_ASSIGN_OR_RETURN(Pipelines pipelines, make_all_pipelines(device, out->modules, options));
  device->save_cache();
  TENON_RETURN_IF_ERROR(out->load(device, std::move(pipelines)));
  return out;
}

}  // namespace tenon::backends::vulkan
