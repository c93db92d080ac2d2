#include <algorithm>

#include "runtime/arena.h"
#include "runtime/dim_program.h"
#include "runtime/frame.h"
#include "runtime/host_values.h"
#include "support/checked.h"
#include "support/large_pages.h"

// What depends on dims alone: binding symbols, evaluating phases, placing the arena.
namespace tenon::runtime {
namespace {

Status dim_mismatch(size_t axis, int64_t actual, int64_t wanted, std::string_view dim) {
  const std::string text = std::to_string(wanted);
  return error(Code::kInvalidArgument, "dim {} is {}, but {} is wanted{}", axis, actual, wanted,
               dim == text ? "" : fmt::format(" ({})", dim));
}

}  // namespace

// Dims that are bare symbols take their value from here, unless they have one: then it must be the same.
Status Frame::bind_shape(ValueIdx v, const HostValue& actual) {
  const PlanValue& declared = value(v);
  const auto* tensor = std::get_if<Tensor>(&actual);
  if (!declared.ranked || tensor == nullptr) return {};
  if (tensor->shape().size() != declared.dims.size())
    return error(Code::kInvalidArgument, "{} has rank {}, but rank {} is wanted", describe(actual), tensor->rank(),
                 declared.dims.size());
  const DimProgram& program = plan_->plan->dims;
  for (size_t axis = 0; axis < declared.dims.size(); ++axis) {
    const DimProgram::Inst& inst = program.insts[static_cast<size_t>(declared.dims[axis])];
    const int64_t size = tensor->shape()[axis];
    std::optional<int64_t> wanted;
    if (inst.op == DimProgram::Op::kConst) wanted = inst.imm;
    if (inst.op == DimProgram::Op::kSymbol) {
      auto& symbol = symbols_[static_cast<size_t>(inst.imm)];
      if (!symbol) symbol = size;
      wanted = symbol;
    }
    if (wanted && *wanted != size) return dim_mismatch(axis, size, *wanted, expression(program, declared.dims[axis]));
  }
  return {};
}

Status Frame::check_shape(ValueIdx v, const HostValue& actual) const {
  const PlanValue& declared = value(v);
  const auto* tensor = std::get_if<Tensor>(&actual);
  if (!declared.ranked || tensor == nullptr) return {};
  for (size_t axis = 0; axis < declared.dims.size(); ++axis) {
    const int64_t wanted = dim(declared.dims[axis]), size = tensor->shape()[axis];
    if (wanted != size) return dim_mismatch(axis, size, wanted, expression(plan_->plan->dims, declared.dims[axis]));
  }
  return {};
}

Status Frame::check_input_shapes() {
  for (const PlanIo& io : plan_->plan->inputs) {
    if (!value(io.value).ranked || plan_->phase_of[static_cast<size_t>(io.value)] != 0) continue;
    Status status = check_shape(io.value, slot(io.value));
    if (!status.ok()) return std::move(status).at(fmt::format("input {}", io.name));
  }
  return {};
}

Status Frame::begin_phase(size_t index, std::span<HostValue> outputs) {
  const PreparedPlan::Phase& phase = plan_->phases[index];
  PhaseState& state = phases_[index];
  const uint64_t before = index == 0 ? 0 : phases_[index - 1].evaluation;
  bool same = state.evaluation != 0 && state.before == before;
  state.key.resize(phase.symbols.size());
  for (size_t i = 0; i < phase.symbols.size(); ++i) {
    const auto& symbol = symbols_[static_cast<size_t>(phase.symbols[i])];
    same &= state.key[i] == symbol;
    state.key[i] = symbol;
  }
  if (!same) {
    state.evaluation = 0;
    TENON_RETURN_IF_ERROR(evaluate_phase(index));
    state.evaluation = ++evaluations_;
    state.before = before;
    if (index == 0) threads_ = choose_threads();
    if (context_.observer != nullptr && depth_ == 0) observe_arena(index);
  }
  for (int32_t output : phase.outputs) TENON_RETURN_IF_ERROR(allocate_output(output, outputs));
  return {};
}

Status Frame::evaluate_phase(size_t index) {
  const PreparedPlan::Phase& phase = plan_->phases[index];
  for (DimId d : phase.insts) {
    TENON_ASSIGN_OR_RETURN(dims_[static_cast<size_t>(d)], evaluate(plan_->plan->dims, d, dims_, symbols_));
  }
  TENON_RETURN_IF_ERROR(check_sizes(phase));
  TENON_RETURN_IF_ERROR(check_facts(phase));
  return place_arena(index);
}

int Frame::choose_threads() const {
  if (repeated_ || context_.max_threads <= 1) return context_.max_threads;
  int64_t total = 0;
  for (size_t s = 0; s < plan_->plan->steps.size(); ++s) {
    const Step& step = plan_->plan->steps[s];
    if (step.kind != Step::Kind::kDispatch) continue;  // bodies and host functions choose for themselves
    const int64_t ns = plan_->work_known[s] ? predicted_ns(cost_of(step)) : -1;
    if (ns < 0 || worth_threads(total += ns)) return context_.max_threads;
  }
  return 1;
}

Status Frame::check_sizes(const PreparedPlan::Phase& phase) {
  Shape shape;
  for (ValueIdx v : phase.shapes) {
    shape.clear();
    for (DimId d : value(v).dims) shape.push_back(dim(d));
    const Result<int64_t> count = element_count(shape);
    const auto bytes = count.ok() ? storage_bytes(value(v).dtype, *count) : std::nullopt;
    if (!bytes)
      return error(Code::kOutOfRange, "the shape {} is impossible", to_string(shape))
          .at(fmt::format("value {}", value(v).name))
          .with_hint("the inputs' shapes do not fit the model");
    bytes_[static_cast<size_t>(v)] = *bytes;
  }
  for (ValueIdx v : phase.aliases)
    if (bytes_[static_cast<size_t>(v)] != bytes_[static_cast<size_t>(root(v))])
      return error(Code::kInvalidArgument, "a tensor of {} bytes cannot be reshaped to one of {}",
                   bytes_[static_cast<size_t>(root(v))], bytes_[static_cast<size_t>(v)])
          .at(fmt::format("value {}", value(v).name));
  return {};
}

Status Frame::check_facts(const PreparedPlan::Phase& phase) const {
  for (int32_t c : phase.checks) {
    const DimCheck& check = plan_->plan->checks[static_cast<size_t>(c)];
    const int64_t a = dim(check.a), b = dim(check.b);
    if (check.kind == DimCheck::Kind::kLessEqual ? a <= b : a == b) continue;
    if (check.kind == DimCheck::Kind::kBroadcast && b == 1) continue;
    const DimProgram& program = plan_->plan->dims;
    context_.unit_dim = a == 1 || b == 1;
    return error(Code::kInvalidArgument, "the dims {} = {} and {} = {} do not fit", expression(program, check.a), a,
                 expression(program, check.b), b)
        .at(check.node)
        .with_hint("give inputs whose shapes agree");
  }
  return {};
}

bool Frame::fits_layout(size_t index) const {
  const std::vector<ValueIdx>& values = plan_->phases[index].arena;
  const std::vector<size_t>& placed = phases_[index].placed;
  if (placed.size() != values.size()) return false;
  for (size_t i = 0; i < values.size(); ++i)
    if (bytes_[static_cast<size_t>(values[i])] > placed[i]) return false;
  return true;
}

/// `with_room`: what has grown a little since the layout before, as a decoder's scores do with each token, will grow again.
Result<ArenaLayout> Frame::lay_out(size_t index, bool with_room, std::vector<size_t>& placed) const {
  const PreparedPlan::Phase& phase = plan_->phases[index];
  const std::vector<size_t>& before = phases_[index].placed;
  std::vector<ArenaRequest> requests;
  requests.reserve(phase.arena.size());
  placed.clear();
  for (size_t i = 0; i < phase.arena.size(); ++i) {
    const auto v = static_cast<size_t>(phase.arena[i]);
    const size_t bytes = bytes_[v];
    const bool grows = with_room && i < before.size() && bytes > before[i] && bytes / 2 <= before[i];
    placed.push_back(grows ? checked_add(bytes, bytes / 4).value_or(bytes) : bytes);
    const bool used = plan_->first_use[v] <= plan_->last_use[v];
    requests.push_back({used ? placed.back() : 0, plan_->first_use[v], plan_->last_use[v]});
  }
  return place(requests);
}

Status Frame::place_arena(size_t index) {
  const PreparedPlan::Phase& phase = plan_->phases[index];
  PhaseState& state = phases_[index];
  for (ValueIdx v : phase.views) clear(slot(v));
  if (phase.arena.empty() || fits_layout(index)) return {};
  const size_t held = state.arena == nullptr ? 0 : state.arena->size();
  const size_t others = context_.arena_bytes - held, beside = others + context_.held_bytes;
  std::vector<size_t> placed;
  Result<ArenaLayout> layout = lay_out(index, true, placed);
  const auto too_large = [&] { return layout->bytes > held && (beside > context_.max_bytes || layout->bytes > context_.max_bytes - beside); };
  if (!layout.ok() || too_large()) layout = lay_out(index, false, placed);
  if (!layout.ok()) return layout.status();
  state.placed.clear();  // until it has its memory
  if (state.arena == nullptr || layout->bytes > held) {
    if (too_large())
      return Status(Code::kResourceExhausted,
                    fmt::format("intermediate values take {} bytes, the limit is {}", layout->bytes + beside,
                                context_.max_bytes),
                    {}, "make the inputs smaller or raise the memory limit");
    state.arena.reset();
    context_.arena_bytes = others;
    const size_t bytes = std::max(layout->bytes, kArenaAlignment);
    TENON_ASSIGN_OR_RETURN(state.arena, context_.device != nullptr ? context_.device->allocate(bytes) : allocate_in_large_pages(bytes));
    context_.arena_bytes += state.arena->size();
  }
  for (size_t i = 0; i < phase.arena.size(); ++i)
    data_[static_cast<size_t>(phase.arena[i])] = state.arena->data() + layout->offsets[i];
  state.placed = std::move(placed);
  return {};
}

Status Frame::allocate_output(int32_t output, std::span<HostValue> outputs) {
  const ValueIdx v = root(plan_->plan->outputs[static_cast<size_t>(output)].value);
  const auto i = static_cast<size_t>(v);
  Status held = context_.hold(held_[i], bytes_[i]);
  if (!held.ok()) return std::move(held).at(fmt::format("output {}", value(v).name));
  HostValue& given = outputs[static_cast<size_t>(output)];
  auto* tensor = std::get_if<Tensor>(&given);
  const bool reuse = tensor != nullptr && tensor->dtype() == value(v).dtype && tensor->bytes() == bytes_[i] && tensor->unique();
  if (reuse && shape_is(*tensor, v)) {
    slot(v) = given;
  } else {
    Shape shape = shape_of(v);
    if (reuse) {
      TENON_ASSIGN_OR_RETURN(slot(v), tensor->reshaped(std::move(shape)));
    } else {
      TENON_ASSIGN_OR_RETURN(auto memory, allocate_for_output(bytes_[i]));
      TENON_ASSIGN_OR_RETURN(slot(v), Tensor::view(value(v).dtype, std::move(shape), std::move(memory)));
    }
  }
  data_[i] = std::get<Tensor>(slot(v)).mutable_data();
  return {};
}

Shape Frame::shape_of(ValueIdx v) const {
  Shape shape;
  shape.reserve(value(v).dims.size());
  for (DimId d : value(v).dims) shape.push_back(dim(d));
  return shape;
}

bool Frame::shape_is(const Tensor& tensor, ValueIdx v) const {
  const auto& dims = value(v).dims;
  return std::equal(dims.begin(), dims.end(), tensor.shape().begin(), tensor.shape().end(),
                    [&](DimId d, int64_t size) { return dim(d) == size; });
}

}  // namespace tenon::runtime
