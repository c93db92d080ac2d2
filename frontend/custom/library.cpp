#include "frontend/custom/library.h"

#include <dlfcn.h>

#include "frontend/custom/api.h"
#include "frontend/custom/define.h"

using namespace tenon;

struct tenon_op_registrar {
  std::string origin;
  std::shared_ptr<void> owner;
  ir::OpRegistry& registry;
  Status status = {};  // the first refusal
  size_t count = 0;

  Status add(const tenon_op* op) {
    TENON_ASSIGN_OR_RETURN(ir::OpDef def, frontend::define_op(op, origin, owner));
    TENON_RETURN_IF_ERROR(registry.add(std::move(def), origin));
    ++count;
    return {};
  }
};

namespace tenon::frontend {

namespace custom {

tenon_status register_op(tenon_op_registrar* registrar, const tenon_op* op) {
  if (registrar == nullptr) return TENON_INVALID_ARGUMENT;
  Status status = registrar->add(op);
  const tenon_status code = to_c(status.code());
  if (registrar->status.ok()) registrar->status = std::move(status);
  return code;
}

}  // namespace custom

Status add_custom_ops(decltype(&tenon_register_ops) register_ops, const std::string& origin,
                      std::shared_ptr<void> owner, ir::OpRegistry& registry) {
  ir::OpRegistry extended = registry;
  tenon_op_registrar registrar{origin, std::move(owner), extended};
  tenon_status code = TENON_OK;
  TENON_RETURN_IF_ERROR(
      custom::contain("tenon_register_ops", [&] { code = register_ops(&custom::api(), &registrar); }).at(origin));
  TENON_RETURN_IF_ERROR(std::move(registrar.status));
  if (code != TENON_OK)
    return Status(Code::kInvalidArgument, fmt::format("tenon_register_ops fails with status {}", code), origin);
  if (registrar.count == 0) return Status(Code::kInvalidArgument, "tenon_register_ops registers no op", origin);
  registry = std::move(extended);
  return {};
}

Status load_custom_ops(const std::filesystem::path& library, ir::OpRegistry& registry) {
  std::error_code ec;
  if (!std::filesystem::is_regular_file(library, ec))
    return Status(Code::kNotFound, "no such library", library.string(), "check the path");
  // A name without a slash would be searched for elsewhere.
  const std::string path = std::filesystem::absolute(library, ec).string();
  void* handle = ec ? nullptr : ::dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL);
  if (handle == nullptr) {
    const char* why = ::dlerror();
    return Status(Code::kInvalidArgument,
                  fmt::format("the library cannot be loaded: {}", why == nullptr ? "no reason given" : why),
                  library.string());
  }
  std::shared_ptr<void> owner(handle, ::dlclose);
  auto* entry = reinterpret_cast<decltype(&tenon_register_ops)>(::dlsym(handle, "tenon_register_ops"));
  if (entry == nullptr)
    return Status(Code::kInvalidArgument, "the library does not export tenon_register_ops", library.string(),
                  "see docs/custom-operators.md");
  return add_custom_ops(entry, library.string(), std::move(owner), registry);
}

}  // namespace tenon::frontend
