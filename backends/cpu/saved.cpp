#include <algorithm>
#include <map>

#include "backends/cpu/executable.h"
#include "backends/planned/saved_rows.h"
#include "runtime/prepare.h"
#include "support/byte_io.h"

namespace tenon::backends {
namespace {

/// Links the kernels' objects and puts their functions in the table.
Status read_code(ByteReader& in, std::vector<runtime::PlanKernel>& kernels, CpuExecutable& out) {
  std::vector<runtime::NativeCode::Object> objects(in.count(sizeof(uint64_t)));
  for (auto& object : objects) object = in.bytes(in.count(1));
  std::vector<std::string> symbols = in.texts();
  if (!in.ok() || symbols.size() != kernels.size()) return damaged_executable();
  TENON_ASSIGN_OR_RETURN(out.code, runtime::NativeCode::link(objects));
  for (size_t i = 0; i < kernels.size(); ++i) {
    kernels[i].fn = out.code->find(symbols[i]);
    if (kernels[i].fn == nullptr) return damaged_executable();
  }
  return {};
}

}  // namespace

Result<SavedExecutable> save_executable(const CpuExecutable& executable) {
  SavedExecutable out;
  const runtime::Plan& plan = *executable.plan->plan;
  const std::span<const codegen::KernelObject> objects = executable.jit == nullptr ? std::span<const codegen::KernelObject>() : executable.jit->objects();
  if (plan.kernels == nullptr || objects.size() != plan.kernels->size()) return error(Code::kUnsupported, "the code of its kernels was not kept");
  ByteWriter writer;
  TENON_ASSIGN_OR_RETURN(const std::vector<std::byte> text, runtime::write_plan(plan, out.weights));
  writer.put(uint64_t{text.size()});
  writer.bytes(text);
  std::map<std::string_view, const codegen::KernelObject*> distinct;
  std::vector<std::string> symbols;
  for (const codegen::KernelObject& object : objects) {
    distinct.emplace(object.symbol, &object);
    symbols.push_back(object.symbol);
  }
  writer.put(uint64_t{distinct.size()});
  for (const auto& [symbol, object] : distinct) {
    writer.put(uint64_t{object->bytes.size()});
    writer.bytes(object->bytes);
  }
  writer.put(symbols);
  write_rows(executable.rows, executable.figures, writer);
  out.bytes = writer.take();
  return out;
}

Result<std::shared_ptr<CpuExecutable>> restore_executable(std::span<const std::byte> bytes, const std::shared_ptr<Buffer>& weights) {
  auto out = std::make_shared<CpuExecutable>();
  ByteReader in(bytes);
  TENON_ASSIGN_OR_RETURN(const runtime::ReadPlan read, runtime::read_plan(in.bytes(in.count(1)), weights));
  TENON_RETURN_IF_ERROR(read_code(in, *read.kernels, *out));
  read_rows(in, out->rows, out->figures);
  if (!in.done()) return damaged_executable();
  TENON_ASSIGN_OR_RETURN(out->plan, runtime::prepare(read.plan));
  return out;
}

}  // namespace tenon::backends
