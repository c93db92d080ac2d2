#include "runtime/print.h"

#include "runtime/dim_program.h"

namespace tenon::runtime {
namespace {

std::string_view storage_name(Storage storage) {
  switch (storage) {
    case Storage::kInput: return "input";
    case Storage::kConstant: return "constant";
    case Storage::kArena: return "arena";
    case Storage::kAlias: return "alias";
    case Storage::kHost: return "host";
  }
  return "?";
}

std::string_view relation(DimCheck::Kind kind) {
  switch (kind) {
    case DimCheck::Kind::kEqual: return "==";
    case DimCheck::Kind::kLessEqual: return "<=";
    case DimCheck::Kind::kBroadcast: return "broadcasts";
  }
  return "?";
}

class Printer {
 public:
  Printer(const Plan& plan, int depth, std::string& out) : plan_(plan), indent_(static_cast<size_t>(depth) * 2, ' '), depth_(depth), out_(out) {}

  void run() {
    for (size_t v = 0; v < plan_.values.size(); ++v) print_value(v);
    for (const DimCheck& check : plan_.checks)
      line("check {} {} {}  ; {}", expression(plan_.dims, check.a), relation(check.kind),
           expression(plan_.dims, check.b), check.node);
    for (const Step& step : plan_.steps) print_step(step);
    for (const PlanIo& io : plan_.outputs) line("return {} = %{}", io.name, io.value);
  }

 private:
  template <class... Args>
  void line(fmt::format_string<Args...> format, Args&&... args) {
    out_ += indent_;
    fmt::format_to(std::back_inserter(out_), format, std::forward<Args>(args)...);
    out_ += '\n';
  }

  std::string dims(const std::vector<DimId>& ids) const {
    std::string text;
    for (DimId d : ids) text += (text.empty() ? "" : ", ") + expression(plan_.dims, d);
    return text;
  }

  static std::string list(const std::vector<ValueIdx>& values) {
    std::string text;
    for (ValueIdx v : values) text += (text.empty() ? "" : ", ") + (v < 0 ? "_" : fmt::format("%{}", v));
    return text;
  }

  void print_value(size_t index) {
    const PlanValue& v = plan_.values[index];
    std::string order;
    for (int32_t axis : v.order) order += (order.empty() ? " stored [" : ", ") + std::to_string(axis);
    if (!order.empty()) order += "]";
    const std::string type = v.dtype == DType::kInvalid ? "?" : fmt::format("{}[{}]", name(v.dtype), v.ranked ? dims(v.dims) : "*");
    line("%{}: {}{} {}{}  ; {}", index, type, order, storage_name(v.storage),
         v.storage == Storage::kAlias ? fmt::format(" %{}", v.alias_of) : "", v.name);
  }

  void print_step(const Step& step) {
    switch (step.kind) {
      case Step::Kind::kDispatch: {
        const bool known = plan_.kernels != nullptr && step.kernel >= 0 && static_cast<size_t>(step.kernel) < plan_.kernels->size();
        line("dispatch {}({}) dims [{}] grid {}  ; {}", known ? (*plan_.kernels)[static_cast<size_t>(step.kernel)].name : "?",
             list(step.bindings), dims(step.kernel_dims), expression(plan_.dims, step.grid), step.node);
        return;
      }
      case Step::Kind::kHostCall: line("{} = call({})  ; {}", list(step.outputs), list(step.inputs), step.node); return;
      case Step::Kind::kIf: line("{} = if({})  ; {}", list(step.outputs), list(step.inputs), step.node); break;
      case Step::Kind::kLoop: line("{} = loop({})  ; {}", list(step.outputs), list(step.inputs), step.node); break;
      case Step::Kind::kScan: line("{} = scan({})  ; {}", list(step.outputs), list(step.inputs), step.node); break;
    }
    for (size_t p = 0; p < step.plans.size(); ++p) {
      line("body, captures ({})", p < step.captures.size() ? list(step.captures[p]) : "");
      if (step.plans[p] != nullptr) Printer(*step.plans[p], depth_ + 1, out_).run();
    }
  }

  const Plan& plan_;
  std::string indent_;
  int depth_;
  std::string& out_;
};

}  // namespace

std::string print(const Plan& plan) {
  std::string out;
  Printer(plan, 0, out).run();
  return out;
}

}  // namespace tenon::runtime
