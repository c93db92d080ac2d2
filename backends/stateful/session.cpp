#include "backends/stateful/session.h"

#include <algorithm>
#include <chrono>
#include <utility>

#include "backends/stateful/memory.h"
#include "runtime/host_values.h"
#include "support/checked.h"
#include "support/memory.h"

namespace tenon::backends {

using ir::Dim;

namespace {

Status wrong_length(const SharedState& state, int64_t length, Dim wanted) {
  return error(Code::kInvalidArgument, "its length along axis {} is {}, the model takes {} alone", state.longer, length, wanted.value())
      .at(name_of(state))
      .with_hint("set the state, or give the model a symbolic dim there");
}

}  // namespace

StatefulSession::StatefulSession(std::shared_ptr<const StatefulModel> model, std::unique_ptr<Session> session, size_t max_bytes)
    : model_(std::move(model)), session_(std::move(session)), max_bytes_(max_bytes != 0 ? max_bytes : default_memory_limit()) {
  memories_.resize(model_->shared.states.size());
  room_.assign(model_->shared.groups.size(), 0);
  growth_.assign(room_.size(), 0);
}

Result<std::vector<HostValue>> StatefulSession::run(std::span<const HostValue> inputs, const Interrupt& interrupt) {
  TENON_RETURN_IF_ERROR(bind(inputs));
  for (size_t g = 0; g < room_.size(); ++g) TENON_RETURN_IF_ERROR(make_room(g));
  Result<std::vector<HostValue>> outputs = run_inner(inputs, interrupt);
  if (outputs.status().code() == Code::kResourceExhausted) {  // room may have taken what the run needs
    TENON_ASSIGN_OR_RETURN(const bool less, give_back_room());
    if (less) outputs = run_inner(inputs, interrupt);
  }
  if (outputs.ok()) TENON_RETURN_IF_ERROR(take(*outputs));
  return outputs;
}

Result<std::vector<HostValue>> StatefulSession::run_inner(std::span<const HostValue> inputs, const Interrupt& interrupt) {
  clear_growth();
  TENON_RETURN_IF_ERROR(give(inputs));
  Result<std::vector<HostValue>> outputs = session_->run(given_, interrupt);
  given_.clear();
  if (!outputs.ok()) spoil();
  return outputs;
}

Result<std::vector<double>> StatefulSession::time(std::span<const HostValue> inputs, const Repeat& repeat, const Interrupt& interrupt) {
  using Clock = std::chrono::steady_clock;
  const auto ms = [](Clock::duration d) { return std::chrono::duration<double, std::milli>(d).count(); };
  TENON_ASSIGN_OR_RETURN(const auto process, session_->process());
  if (process) {  // all states are passed on; the clock is there
    TENON_RETURN_IF_ERROR(bind(inputs));
    TENON_RETURN_IF_ERROR(give(inputs));
    auto samples = session_->time(given_, repeat, interrupt);
    given_.clear();
    return samples;
  }
  TENON_ASSIGN_OR_RETURN(const std::vector<Memory> before, snapshot());
  std::vector<double> samples;
  const auto start = Clock::now();
  auto end = start;
  while (static_cast<int>(samples.size()) < repeat.runs || ms(end - start) < repeat.ms) {
    const auto begin = Clock::now();
    const Result<std::vector<HostValue>> outputs = run(inputs, interrupt);
    end = Clock::now();
    if (!outputs.ok()) return outputs.status();
    samples.push_back(ms(end - begin));
    TENON_RETURN_IF_ERROR(go_back(before));
  }
  return samples;
}

/// What states are now; of those that runs only append to, the length alone.
Result<std::vector<StatefulSession::Memory>> StatefulSession::snapshot() const {
  std::vector<Memory> out = memories_;
  for (size_t s = 0; s < out.size(); ++s) {
    if (grows(s) && !overwritten(s)) out[s].tensor = Tensor();
    if (!overwritten(s) || !out[s].tensor.defined()) continue;
    TENON_ASSIGN_OR_RETURN(out[s].tensor, out[s].tensor.clone());
  }
  return out;
}

Status StatefulSession::go_back(const std::vector<Memory>& before) {
  for (size_t s = 0; s < memories_.size(); ++s) {
    Memory& memory = memories_[s];
    const Tensor& then = before[s].tensor;
    memory.length = before[s].length;
    if (!overwritten(s) || !then.defined()) {
      if (!grows(s)) memory.tensor = then;
    } else if (memory.tensor.shape() == then.shape()) {
      std::copy_n(then.data(), then.bytes(), memory.tensor.mutable_data());
    } else {
      TENON_ASSIGN_OR_RETURN(memory.tensor, then.clone());
    }
  }
  return {};
}

/// After a run that failed.
void StatefulSession::spoil() {
  for (size_t s = 0; s < memories_.size(); ++s) memories_[s].spoilt |= overwritten(s) && memories_[s].tensor.defined() && session_->began();
}

// Symbols of the shapes that callers give, and of lengths. The inner session checks that they fit.
Status StatefulSession::bind(std::span<const HostValue> inputs) {
  const std::vector<ir::Type>& types = model_->shared.user_types;
  if (inputs.size() != types.size())
    return error(Code::kInvalidArgument, "{} inputs are given, {} are wanted", inputs.size(), types.size()).with_hint("the inputs of states are not given: set a state instead");
  symbols_.assign(static_cast<size_t>(model_->num_symbols), std::nullopt);
  const auto bind_shape = [&](const ir::Type& type, const Tensor& tensor) {
    if (!type.is_ranked_tensor() || type.tensor().rank() != tensor.rank()) return;
    for (int axis = 0; axis < tensor.rank(); ++axis)
      if (const Dim dim = type.tensor().dim(axis); dim.is_symbol() && !symbols_[static_cast<size_t>(dim.symbol_id())])
        symbols_[static_cast<size_t>(dim.symbol_id())] = tensor.dim(axis);
  };
  for (size_t i = 0; i < inputs.size(); ++i)
    if (const auto* tensor = std::get_if<Tensor>(&inputs[i])) bind_shape(types[i], *tensor);
  for (size_t s = 0; s < memories_.size(); ++s) {
    if (memories_[s].spoilt) return error(Code::kInvalidArgument, "a run that failed may have written to it").at(name_of(state(s))).with_hint("set the state, or reset it");
    if (grows(s) || !memories_[s].tensor.defined()) continue;
    TENON_RETURN_IF_ERROR(check_lengths(s, memories_[s].tensor.shape()));
    bind_shape(state(s).type, memories_[s].tensor);
  }
  for (size_t g = 0; g < room_.size(); ++g) TENON_RETURN_IF_ERROR(bind_length(g));
  return {};
}

Status StatefulSession::bind_length(size_t group) {
  const StateGroup& shared = model_->shared.groups[group];
  size_t first = memories_.size();
  for (size_t s = 0; s < memories_.size(); ++s) {
    if (state(s).group != static_cast<int>(group)) continue;
    first = std::min(first, s);
    if (memories_[s].length != memories_[first].length)
      return error(Code::kInvalidArgument, "its length is {}, but that of {} is {}", memories_[s].length, name_of(state(first)), memories_[first].length)
          .at(name_of(state(s)))
          .with_hint("set all states that grow together, or reset them");
  }
  const int64_t length = memories_[first].length;
  if (shared.length.is_const() && length != shared.length.value()) return wrong_length(state(first), length, shared.length);
  if (shared.length.is_symbol()) symbols_[static_cast<size_t>(shared.length.symbol_id())] = length;
  return {};
}

/// Whether a state that runs make longer, in whatever memory, is as long as the model wants it.
Status StatefulSession::check_lengths(size_t s, const Shape& shape) const {
  const int axis = state(s).longer;
  if (axis < 0) return {};
  const Dim wanted = state(s).type.tensor().dim(axis);
  const int64_t length = shape[static_cast<size_t>(axis)];
  return wanted.is_const() && wanted.value() != length ? wrong_length(state(s), length, wanted) : Status();
}

/// The shape of a state before the first run: what grows has nothing, the rest is what the inputs say.
Result<Shape> StatefulSession::beginning(size_t s) const {
  const SharedState& shared = state(s);
  Shape shape;
  for (int axis = 0; axis < shared.type.tensor().rank(); ++axis) {
    const Dim dim = shared.type.tensor().dim(axis);
    const Result<int64_t> known = evaluate(dim, symbols_);
    const bool longer = axis == shared.info.axis || (axis == shared.longer && dim != shared.after.tensor().dim(axis));
    const bool changes = longer || (shared.info.axis < 0 && dim != shared.after.tensor().dim(axis));
    if (!known.ok() && !changes)
      return error(Code::kInvalidArgument, "the inputs do not say what its dim {} is ({})", axis, ir::to_string(dim))
          .at(name_of(shared))
          .with_hint("bind the dim, or set the state");
    shape.push_back(longer ? 0 : known.ok() ? *known : 0);
  }
  return shape;
}

/// What the next run takes; a run that fails leaves a state that has not begun as it is.
Result<Tensor> StatefulSession::present(size_t s) const {
  if (memories_[s].tensor.defined()) return memories_[s].tensor;
  TENON_ASSIGN_OR_RETURN(Shape shape, beginning(s));
  TENON_RETURN_IF_ERROR(check_lengths(s, shape));
  return Tensor::zeros(state(s).type.dtype(), std::move(shape));
}

Status StatefulSession::give(std::span<const HostValue> inputs) {
  given_.clear();
  size_t held = 0;
  for (const Memory& memory : memories_) held += memory.bytes();
  session_->set_aside(held);
  for (const InputSource& source : model_->shared.inputs) {
    if (const auto* user = std::get_if<UserInput>(&source)) {
      given_.push_back(inputs[user->number]);
    } else if (const auto* own = std::get_if<StateInput>(&source)) {
      TENON_ASSIGN_OR_RETURN(Tensor tensor, present(own->state));
      given_.emplace_back(std::move(tensor));
    } else {
      const Dim length = model_->shared.groups[std::get<LengthInput>(source).group].length;
      TENON_ASSIGN_OR_RETURN(Tensor tensor, Tensor::zeros(DType::kBool, {*symbols_[static_cast<size_t>(length.symbol_id())], 0}));
      given_.emplace_back(std::move(tensor));
    }
  }
  return {};
}

/// Leaves the outputs that are no states.
Status StatefulSession::take(std::vector<HostValue>& outputs) {
  std::vector<bool> taken(outputs.size(), false);
  for (size_t s = 0; s < memories_.size(); ++s) {
    const size_t o = state(s).output;
    auto* tensor = o < outputs.size() ? std::get_if<Tensor>(&outputs[o]) : nullptr;
    if (tensor == nullptr) return error(Code::kInternal, "the run gave no tensor").at(name_of(state(s)));
    Memory& memory = memories_[s];
    if (!grows(s) || tensor->data() != memory.tensor.data()) memory.tensor = std::move(*tensor);
    if (grows(s)) memory.length += growth_[static_cast<size_t>(state(s).group)];
    taken[o] = true;
  }
  // What callers get, and other states, must not change when the next run writes to a state.
  for (size_t s = 0; s < memories_.size(); ++s) {
    if (!overwritten(s)) continue;
    const Tensor& written = memories_[s].tensor;
    for (size_t o = 0; o < outputs.size(); ++o) {
      if (taken[o] || !runtime::overlaps(outputs[o], written.data(), written.bytes())) continue;
      TENON_ASSIGN_OR_RETURN(outputs[o], runtime::copy_overlapping(outputs[o], written.data(), written.bytes()));
    }
    for (size_t other = 0; other < memories_.size(); ++other) {
      Tensor& tensor = memories_[other].tensor;
      if (other == s || !runtime::overlaps(tensor, written.data(), written.bytes())) continue;
      TENON_ASSIGN_OR_RETURN(tensor, tensor.clone());
    }
  }
  size_t kept = 0;
  for (size_t o = 0; o < outputs.size(); ++o)
    if (!taken[o]) std::swap(outputs[kept++], outputs[o]);
  outputs.resize(kept);
  return {};
}

void StatefulSession::reset() {
  for (size_t s = 0; s < memories_.size(); ++s) {
    memories_[s].length = 0;
    memories_[s].spoilt = false;
    if (!grows(s)) memories_[s].tensor = memories_[s].begin = Tensor();
  }
}

Result<Tensor> StatefulSession::get(size_t s) const {
  if (s >= memories_.size()) return error(Code::kInvalidArgument, "there are {} states, not {}", memories_.size(), s + 1);
  const Memory& memory = memories_[s];
  if (!memory.tensor.defined()) return error(Code::kNotFound, "it holds nothing yet").at(name_of(state(s))).with_hint("run the session, or set the state");
  return grows(s) ? resized(memory.tensor, state(s).info.axis, memory.length, memory.length) : memory.tensor.clone();
}

Status StatefulSession::set(size_t s, const Tensor& value) {
  if (s >= memories_.size()) return error(Code::kInvalidArgument, "there are {} states, not {}", memories_.size(), s + 1);
  const SharedState& shared = state(s);
  bool fits = value.dtype() == shared.type.dtype() && value.rank() == shared.type.tensor().rank();
  for (int axis = 0; fits && axis < value.rank(); ++axis)
    fits = !shared.type.tensor().dim(axis).is_const() || shared.type.tensor().dim(axis).value() == value.dim(axis);
  if (!fits)
    return error(Code::kInvalidArgument, "{}[{}] is given, {} is wanted", name(value.dtype()), fmt::join(value.shape(), ", "), ir::to_string(shared.type)).at(name_of(shared));
  if (shared.masked && !all_finite(value))
    return error(Code::kInvalidArgument, "it holds infinities or NaNs, which reach results from behind the rows that a run counts").at(name_of(shared)).with_hint("give zeros there");
  Memory& memory = memories_[s];
  if (!grows(s)) {
    TENON_ASSIGN_OR_RETURN(memory.tensor, value.clone());
    memory.begin = memory.tensor;
    memory.spoilt = false;
    if (!updated(s)) return {};
    TENON_ASSIGN_OR_RETURN(memory.begin, value.clone());
    return {};
  }
  const int64_t length = value.dim(shared.info.axis);
  TENON_ASSIGN_OR_RETURN(memory.tensor, resized(value, shared.info.axis, length, length));  // runs give it room
  memory.length = length;
  memory.spoilt = false;
  return {};
}

/// Runs make it longer, in its place or by passing on what is.
bool StatefulSession::lengthens(size_t s) const {
  const int axis = state(s).longer;
  return grows(s) || (axis >= 0 && state(s).type.tensor().dim(axis) != state(s).after.tensor().dim(axis));
}

/// Of a state that runs make longer.
int64_t StatefulSession::length_of(size_t s) const {
  const Memory& memory = memories_[s];
  return grows(s) || !memory.tensor.defined() ? memory.length : memory.tensor.dim(state(s).longer);
}

Status StatefulSession::rewind(int64_t length) {
  std::vector<Tensor> shorter(memories_.size());  // of states that are passed on
  for (size_t s = 0; s < memories_.size(); ++s) {
    if (!lengthens(s)) continue;
    const int64_t held = length_of(s);
    if (length < 0 || length > held)
      return error(Code::kInvalidArgument, "its length is {}, so it cannot be {}", held, length).at(name_of(state(s))).with_hint("set the state");
    if (grows(s) || length == held) continue;
    const DType dtype = state(s).type.dtype();
    if (bits(dtype) < 8 || is_packed(dtype)) return error(Code::kUnsupported, "its elements are smaller than a byte").at(name_of(state(s))).with_hint("set the state");
    TENON_ASSIGN_OR_RETURN(shorter[s], resized(memories_[s].tensor, state(s).longer, length, length));
  }
  for (size_t s = 0; s < memories_.size(); ++s) {
    Memory& memory = memories_[s];
    memory.spoilt &= grows(s);
    if (grows(s)) memory.length = length;
    else if (!lengthens(s)) memory.tensor = memory.begin;
    else if (shorter[s].defined()) memory.tensor = std::move(shorter[s]);
    if (!updated(s) || !memory.begin.defined()) continue;
    TENON_ASSIGN_OR_RETURN(memory.tensor, memory.begin.clone());
  }
  return {};
}

}  // namespace tenon::backends
