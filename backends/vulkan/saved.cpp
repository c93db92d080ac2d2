#include <algorithm>

#include "backends/planned/saved_rows.h"
#include "backends/vulkan/executable.h"
#include "backends/vulkan/index_width.h"
#include "runtime/prepare.h"

namespace tenon::backends::vulkan {
namespace {

Status write(const Module& module, bool wide, ByteWriter& out) {
  std::vector<uint32_t> wide_words;
  if (wide) {
    TENON_ASSIGN_OR_RETURN(wide_words, module.wide_words());
  }
  out.put(module.words);
  out.put(wide_words);
  out.put(module.lanes);
  return {};
}

Module read_module(ByteReader& in) {
  Module out;
  out.words = in.list<uint32_t>();
  out.wide_words = [words = in.list<uint32_t>()]() -> Result<std::vector<uint32_t>> {
    if (words.empty()) return error(Code::kInternal, "a kernel whose sizes were known to be small meets larger ones");
    return words;
  };
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
  const std::vector<char> wide = may_need_wide(*executable.plan->plan);
  for (size_t k = 0; k < executable.modules.size(); ++k) TENON_RETURN_IF_ERROR(write(executable.modules[k], wide[k] != 0, writer));
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
