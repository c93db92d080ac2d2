#include "runtime/plan_format.h"

#include <algorithm>

#include "support/byte_io.h"

namespace tenon::runtime {
namespace {

constexpr int kMaxNesting = 64;
constexpr size_t kAlignment = 64;
constexpr size_t kOutside = size_t{16} << 10;  // bytes from which a constant lies in the block

enum class Stored : uint8_t { kNothing, kStrings, kInside, kOutside };

bool may_reach_memory(DType dtype) { return dtype == DType::kI32 || dtype == DType::kI64 || dtype == DType::kU32 || dtype == DType::kU64 || dtype == DType::kBool; }

class Writer {
 public:
  Writer(const Plan& root, WeightBlock& weights) : root_(root), weights_(weights) {}

  Result<std::vector<std::byte>> run() {
    write_kernels();
    TENON_RETURN_IF_ERROR(write(root_, 0));
    return out_.take();
  }

 private:
  void write_kernels() {
    static const std::vector<PlanKernel> none;
    const auto& kernels = root_.kernels == nullptr ? none : *root_.kernels;
    out_.put(uint64_t{kernels.size()});
    for (const PlanKernel& k : kernels) {
      out_.put(k.name);
      out_.put(k.num_bindings);
      out_.put(k.num_dims);
      out_.put(k.access);
      out_.put(k.moves);
      out_.put(k.round);
    }
  }

  Status write(const Plan& plan, int depth) {
    if (depth > kMaxNesting) return error(Code::kUnsupported, "bodies nest too deep");
    if (plan.kernels != root_.kernels) return error(Code::kUnsupported, "a body has kernels of its own");
    write(plan.dims);
    out_.put(uint64_t{plan.values.size()});
    for (const PlanValue& value : plan.values) TENON_RETURN_IF_ERROR(write(value));
    out_.put(uint64_t{plan.checks.size()});
    for (const DimCheck& check : plan.checks) {
      out_.put(check.kind);
      out_.put(check.a);
      out_.put(check.b);
      out_.put(check.node);
    }
    for (const auto* list : {&plan.inputs, &plan.outputs}) {
      out_.put(uint64_t{list->size()});
      for (const PlanIo& io : *list) {
        out_.put(io.name);
        out_.put(io.value);
      }
    }
    out_.put(uint64_t{plan.steps.size()});
    for (const Step& step : plan.steps) TENON_RETURN_IF_ERROR(write(step, depth));
    return {};
  }

  void write(const DimProgram& dims) {
    out_.put(dims.num_symbols);
    out_.put(dims.symbol_names);
    out_.put(uint64_t{dims.insts.size()});
    for (const DimProgram::Inst& inst : dims.insts) {
      out_.put(inst.op);
      out_.put(inst.imm);
      out_.put(inst.a);
      out_.put(inst.b);
    }
  }

  Status write(const PlanValue& value) {
    out_.put(value.name);
    out_.put(value.dtype);
    out_.put(value.ranked);
    out_.put(value.dims);
    out_.put(value.order);
    out_.put(value.storage);
    out_.put(value.alias_of);
    return write(value.constant);
  }

  Status write(const HostValue& constant) {
    if (std::holds_alternative<std::monostate>(constant)) {
      out_.put(Stored::kNothing);
      return {};
    }
    const auto* tensor = std::get_if<Tensor>(&constant);
    if (tensor == nullptr || !tensor->defined()) return error(Code::kUnsupported, "a constant is no tensor");
    const bool strings = tensor->dtype() == DType::kString;
    const bool outside = !strings && tensor->bytes() >= kOutside && !may_reach_memory(tensor->dtype());
    out_.put(strings ? Stored::kStrings : outside ? Stored::kOutside : Stored::kInside);
    out_.put(tensor->dtype());
    out_.put(tensor->shape());
    if (strings) out_.put(tensor->string_values());
    else if (outside) out_.put(uint64_t{weights_.add(*tensor)});
    else out_.bytes({tensor->data(), tensor->bytes()});
    return {};
  }

  Status write(const Step& step, int depth) {
    if (step.kind == Step::Kind::kHostCall) return error(Code::kUnsupported, "step {} runs on the host", step.node);
    out_.put(step.kind);
    out_.put(step.node);
    out_.put(step.placement);
    out_.put(step.kernel);
    out_.put(step.bindings);
    out_.put(step.kernel_dims);
    out_.put(step.grid);
    out_.put(step.work);
    out_.put(step.updates);
    if (step.kind == Step::Kind::kDispatch) return {};
    out_.put(step.inputs);
    out_.put(step.outputs);
    out_.put(step.captures);
    out_.put(step.num_scan_inputs);
    for (const auto* list : {&step.scan_input_axes, &step.scan_output_axes, &step.scan_input_directions, &step.scan_output_directions}) out_.put(*list);
    out_.put(uint64_t{step.plans.size()});
    for (const auto& body : step.plans) TENON_RETURN_IF_ERROR(write(*body, depth + 1));
    return {};
  }

  const Plan& root_;
  WeightBlock& weights_;
  ByteWriter out_;
};

class Reader {
 public:
  Reader(std::span<const std::byte> bytes, const std::shared_ptr<Buffer>& weights) : in_(bytes), weights_(weights) {}

  Result<ReadPlan> run() {
    read_kernels();
    auto plan = std::make_shared<Plan>();
    read(*plan, 0);
    if (!in_.done()) return Status(Code::kInvalidArgument, "the plan is damaged", "plan", "compile the model again");
    return ReadPlan{std::move(plan), std::move(kernels_)};
  }

 private:
  static constexpr size_t kLeast = sizeof(uint64_t);  // bytes that an item of any list below takes at least

  void read_kernels() {
    kernels_ = std::make_shared<std::vector<PlanKernel>>(in_.count(kLeast));
    for (PlanKernel& k : *kernels_) {
      k.name = in_.text();
      k.num_bindings = in_.get<int32_t>();
      k.num_dims = in_.get<int32_t>();
      k.access = in_.list<Access>();
      k.moves = in_.get<bool>();
      k.round = in_.get<int64_t>();
      if (k.round < 0 || std::ranges::any_of(k.access, [](Access a) { return a > Access::kReadWrite; })) in_.fail();
    }
  }

  void read(Plan& plan, int depth) {
    if (depth > kMaxNesting) return in_.fail();
    plan.kernels = kernels_;
    read(plan.dims);
    plan.values.resize(in_.count(kLeast));
    for (PlanValue& value : plan.values) read(value, plan.dims);
    plan.checks.resize(in_.count(kLeast));
    for (DimCheck& check : plan.checks) {
      check.kind = in_.get_enum(DimCheck::Kind::kBroadcast);
      check.a = in_.get<DimId>();
      check.b = in_.get<DimId>();
      check.node = in_.text();
    }
    for (auto* list : {&plan.inputs, &plan.outputs}) {
      list->resize(in_.count(kLeast));
      for (PlanIo& io : *list) {
        io.name = in_.text();
        io.value = in_.get<ValueIdx>();
      }
    }
    plan.steps.resize(in_.count(kLeast));
    for (Step& step : plan.steps) read(step, depth);
  }

  void read(DimProgram& dims) {
    dims.num_symbols = in_.get<int>();
    dims.symbol_names = in_.texts();
    if (dims.num_symbols < 0 || static_cast<size_t>(dims.num_symbols) != dims.symbol_names.size()) in_.fail();
    dims.insts.resize(in_.count(kLeast));
    for (DimProgram::Inst& inst : dims.insts) {
      inst.op = in_.get_enum(DimProgram::Op::kMax);
      inst.imm = in_.get<int64_t>();
      inst.a = in_.get<DimId>();
      inst.b = in_.get<DimId>();
    }
  }

  void read(PlanValue& value, const DimProgram& dims) {
    value.name = in_.text();
    value.dtype = in_.get<DType>();
    value.ranked = in_.get<bool>();
    value.dims = in_.list<DimId>();
    value.order = in_.list<int32_t>();
    value.storage = in_.get_enum(Storage::kHost);
    value.alias_of = in_.get<ValueIdx>();
    value.constant = read_constant();
    if (value.dtype >= DType::kCount || !constant_fits(value, dims)) in_.fail();
  }

  /// Kernels take it that a constant has the elements that its shape says.
  static bool constant_fits(const PlanValue& value, const DimProgram& dims) {
    if (value.storage != Storage::kConstant) return std::holds_alternative<std::monostate>(value.constant);
    const auto* tensor = std::get_if<Tensor>(&value.constant);
    if (tensor == nullptr || !value.ranked) return true;
    if (tensor->dtype() != value.dtype || tensor->shape().size() != value.dims.size()) return false;
    for (size_t i = 0; i < value.dims.size(); ++i) {
      const DimId d = value.dims[i];
      if (d < 0 || static_cast<size_t>(d) >= dims.insts.size()) return false;
      const DimProgram::Inst& inst = dims.insts[static_cast<size_t>(d)];
      if (inst.op != DimProgram::Op::kConst || inst.imm != tensor->shape()[i]) return false;
    }
    return true;
  }

  HostValue read_constant() {
    const auto stored = in_.get_enum(Stored::kOutside);
    if (stored == Stored::kNothing) return {};
    const auto dtype = in_.get<DType>();
    Result<Tensor> tensor = read_tensor(stored, dtype, in_.list<int64_t>());
    if (in_.ok() && tensor.ok()) return std::move(*tensor);
    in_.fail();
    return {};
  }

  Result<Tensor> read_tensor(Stored stored, DType dtype, Shape shape) {
    const Status bad(Code::kInvalidArgument, "a constant is damaged");
    if (dtype == DType::kInvalid || dtype >= DType::kCount || (dtype == DType::kString) != (stored == Stored::kStrings)) return bad;
    if (stored == Stored::kStrings) return Tensor::strings(std::move(shape), in_.texts());
    if (stored == Stored::kOutside) {
      const auto offset = in_.get<uint64_t>();
      if (offset % kAlignment != 0 || may_reach_memory(dtype)) return bad;
      return Tensor::view(dtype, std::move(shape), weights_, offset);
    }
    const auto count = element_count(shape);
    const auto bytes = count.ok() ? storage_bytes(dtype, *count) : std::nullopt;
    if (!bytes) return bad;
    const auto from = in_.bytes(*bytes);
    if (!in_.ok() || (dtype == DType::kBool && std::ranges::any_of(from, [](std::byte b) { return b > std::byte{1}; }))) return bad;
    TENON_ASSIGN_OR_RETURN(Tensor out, Tensor::empty(dtype, std::move(shape)));
    std::ranges::copy(from, out.mutable_data());
    return out;
  }

  void read(Step& step, int depth) {
    step.kind = in_.get_enum(Step::Kind::kScan);
    step.node = in_.text();
    step.placement = in_.get<int32_t>();
    step.kernel = in_.get<int32_t>();
    step.bindings = in_.list<ValueIdx>();
    step.kernel_dims = in_.list<DimId>();
    step.grid = in_.get<DimId>();
    step.work = in_.get<DimId>();
    step.updates = in_.get<DimId>();
    if (step.kind == Step::Kind::kDispatch) return;
    if (step.kind == Step::Kind::kHostCall) return in_.fail();
    step.inputs = in_.list<ValueIdx>();
    step.outputs = in_.list<ValueIdx>();
    step.captures.resize(in_.count(kLeast));
    for (auto& captures : step.captures) captures = in_.list<ValueIdx>();
    step.num_scan_inputs = in_.get<int32_t>();
    for (auto* list : {&step.scan_input_axes, &step.scan_output_axes, &step.scan_input_directions, &step.scan_output_directions}) *list = in_.list<int64_t>();
    for (size_t left = in_.count(kLeast); left > 0 && in_.ok(); --left) {
      auto body = std::make_shared<Plan>();
      read(*body, depth + 1);
      step.plans.push_back(std::move(body));
    }
  }

  ByteReader in_;
  const std::shared_ptr<Buffer>& weights_;
  std::shared_ptr<std::vector<PlanKernel>> kernels_;
};

}  // namespace

size_t WeightBlock::add(const Tensor& tensor) {
  const auto [found, fresh] = offsets_.try_emplace({tensor.data(), tensor.bytes()}, bytes);
  if (!fresh) return found->second;
  pieces.push_back({bytes, {tensor.data(), tensor.bytes()}, tensor});
  bytes += (tensor.bytes() + kAlignment - 1) / kAlignment * kAlignment;
  return found->second;
}

Result<std::vector<std::byte>> write_plan(const Plan& plan, WeightBlock& weights) { return Writer(plan, weights).run(); }

Result<ReadPlan> read_plan(std::span<const std::byte> bytes, const std::shared_ptr<Buffer>& weights) { return Reader(bytes, weights).run(); }

}  // namespace tenon::runtime
