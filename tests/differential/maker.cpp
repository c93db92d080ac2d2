#include "maker.h"

#include <cmath>
#include <cstdlib>
#include <limits>

#include "backends/backend.h"
#include "eval/compare.h"
#include "tests/aarch64/emulator/backend.h"
#include "tests/aarch64/emulator/emulator.h"

namespace tenon::differential {
namespace {

double special_value(Random& random, DType dtype) {
  const double large = dtype == DType::kF16 ? 6e4 : 1e30;
  return random.pick({std::numeric_limits<double>::quiet_NaN(), std::numeric_limits<double>::infinity(),
                      -std::numeric_limits<double>::infinity(), 0.0, -0.0, 1.0, -1.0, large, -large, 1e-40, -1e-7, 0.5,
                      -2.5});
}

constexpr eval::Tolerance kTolerance{.rtol = 2e-5, .atol = 0, .scaled_atol = 4e-6};

const backends::Backend& backend(std::string_view name) {
  const backends::Backend* found = backends::find_backend(name);
  TENON_CHECK(found != nullptr);
  return *found;
}

/// What runs a case.
struct Setting {
  const backends::Backend* on;
  int level;                   // -O
  std::string_view target = {};

  std::string_view name() const { return target.empty() ? on->name() : target; }
};

Result<std::vector<HostValue>> run(const Setting& setting, const Maker& made, int* dispatches = nullptr) {
  backends::CompileOptions options;
  options.opt_level = setting.level;
  options.target = setting.target;
  options.compile_threads = 1;
  TENON_ASSIGN_OR_RETURN(const auto executable, setting.on->compile(*made.graph, options));
  if (dispatches != nullptr) *dispatches = executable->stats().dispatches;
  TENON_ASSIGN_OR_RETURN(const auto session, executable->create_session());
  return session->run(made.inputs);
}

/// Of every run that is compared with the reference. TENON_EMULATE adds emulated CPUs.
const std::vector<Setting>& settings() {
  static const auto all = [] {
    std::vector<Setting> out{{&backend("cpu"), 0}, {&backend("cpu"), 3}};
    const auto add = [&](const Setting& setting) {
      const Status available = setting.on->available();
      if (available.ok()) out.push_back(setting);
      else fmt::print("{} is not compared: {}\n", setting.name(), available.to_string());
    };
    add({&backend("vulkan"), 3});
    if (std::getenv("TENON_EMULATE") != nullptr)
      for (std::string_view target : emulator::targets()) add({&emulator::emulated_backend(), 3, target});
    return out;
  }();
  return all;
}

}  // namespace

Tensor random_tensor(Random& random, DType dtype, const Shape& shape, Fill fill) {
  Tensor out = std::move(Tensor::zeros(dtype, shape)).value();
  for (int64_t i = 0; i < out.size(); ++i) {
    if (is_float(dtype)) {
      if (fill == Fill::kSpecial && random.chance(0.3))
        out.set_double(i, special_value(random, dtype));
      else
        out.set_double(i, fill == Fill::kPositive ? random.real(0.1, 4) : random.real(-4, 4));
    } else if (dtype == DType::kBool) {
      out.set_int(i, random.between(0, 1));
    } else {
      const bool negative = is_signed_int(dtype) && fill != Fill::kPositive;
      out.set_int(i, random.between(negative ? -8 : (fill == Fill::kPositive ? 1 : 0), 8));
    }
  }
  return out;
}

ir::TensorType Maker::type_of(const Tensor& value) {
  std::vector<ir::Dim> dims;
  for (int64_t size : value.shape())
    dims.push_back(symbolic_ && size != 1 ? graph->dims().symbol("n" + std::to_string(size)) : ir::Dim(size));
  return {value.dtype(), std::move(dims)};
}

ir::Value* Maker::input(Tensor value) {
  ir::Value* v = graph->add_input("in" + std::to_string(inputs.size()), type_of(value));
  inputs.emplace_back(std::move(value));
  return v;
}

ir::Value* Maker::constant(Tensor value) { return ir::Builder(*graph).constant(std::move(value)); }

ir::Value* Maker::ints(std::vector<int64_t> values) {
  const auto count = static_cast<int64_t>(values.size());
  return constant(Tensor::from<int64_t>({count}, std::span<const int64_t>(values)));
}

void Maker::node(std::string_view op, const std::vector<ir::Value*>& in,
                 const std::vector<std::pair<std::string_view, ir::Attr>>& attrs, int outputs) {
  for (ir::Value* v : step(op, in, attrs, outputs)) output(v);
}

std::vector<ir::Value*> Maker::step(std::string_view op, const std::vector<ir::Value*>& in,
                                    const std::vector<std::pair<std::string_view, ir::Attr>>& attrs, int outputs,
                                    const std::function<void(ir::Node& node)>& fill_regions) {
  const ir::OpDef* def = ir::find_op(op);
  if (def == nullptr) {
    status = error(Code::kNotFound, "there is no op {}", op);
    return std::vector<ir::Value*>(static_cast<size_t>(outputs), nullptr);
  }
  ir::Node* made = graph->create(*def, in, outputs);
  made->set_name(fmt::format("node{}", ops.size()));
  ops.emplace(op);
  text += std::string(op) + "(";
  for (const ir::Value* v : in) text += (v == nullptr ? std::string("_") : ir::to_string(v->type())) + " ";
  text += ")";
  for (const auto& [name, value] : attrs) {
    made->attrs().set(name, value);
    text += fmt::format(" {}", name);
    if (const auto* i = std::get_if<int64_t>(&value)) text += fmt::format("={}", *i);
    if (const auto* l = std::get_if<std::vector<int64_t>>(&value)) text += fmt::format("=[{}]", fmt::join(*l, ","));
    if (const auto* s = std::get_if<std::string>(&value)) text += "=" + *s;
  }
  text += " shapes";
  for (const HostValue& v : inputs)
    if (const Tensor* t = std::get_if<Tensor>(&v)) text += " " + to_string(t->shape());
  text += "; ";
  if (fill_regions) fill_regions(*made);
  if (status.ok()) status = ir::infer_node(*made);
  return std::vector<ir::Value*>(made->outputs().begin(), made->outputs().end());
}

std::string disagreement(const Maker& made, Tally& tally) {
  ++tally.cases;
  if (!made.status.ok()) {
    ++tally.refused;
    return {};
  }
  const auto expected = run({&backend("reference"), 0}, made);
  if (!expected.ok()) {
    ++tally.refused;
    for (int level : {0, 3}) (void)run({&backend("cpu"), level}, made);  // must not crash either
    return {};
  }
  int dispatches = 0;
  for (const Setting& setting : settings()) {
    const std::string place = fmt::format("{} on {} at O{}", made.text, setting.name(), setting.level);
    const auto actual = run(setting, made, setting.on->name() == "cpu" ? &dispatches : nullptr);
    if (!actual.ok()) return fmt::format("{}: {}", place, actual.status().to_string());
    if (actual->size() != expected->size()) return place + ": another number of outputs";
    for (size_t i = 0; i < expected->size(); ++i) {
      const auto difference = eval::compare((*expected)[i], (*actual)[i], kTolerance);
      if (!difference.ok) return fmt::format("{}, output {}: {}", place, i, difference.message);
    }
  }
  tally.hosted += dispatches == 0;
  ++tally.agreed;
  return {};
}

}  // namespace tenon::differential
