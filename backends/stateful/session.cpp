#include "backends/stateful/session.h"

#include <algorithm>
#include <chrono>
#include <utility>

#include "backends/stateful/memory.h"
#include "support/checked.h"
#include "support/memory.h"

namespace tenon::backends {

using ir::Dim;

namespace {

constexpr int64_t kLeastRoom = 16;

std::string name_of(const SharedState& state) { return fmt::format("state {}", state.info.pair.input); }

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
  TENON_RETURN_IF_ERROR(give(inputs));
  Result<std::vector<HostValue>> outputs = session_->run(given_, interrupt);
  given_.clear();
  if (outputs.ok()) TENON_RETURN_IF_ERROR(take(*outputs));
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
  std::vector<double> samples;
  const auto start = Clock::now();
  auto end = start;
  while (static_cast<int>(samples.size()) < repeat.runs || ms(end - start) < repeat.ms) {
    std::vector<std::pair<Tensor, int64_t>> before;
    for (const Memory& memory : memories_) before.emplace_back(grows(before.size()) ? Tensor() : memory.tensor, memory.length);
    const auto begin = Clock::now();
    const Result<std::vector<HostValue>> outputs = run(inputs, interrupt);
    end = Clock::now();
    if (!outputs.ok()) return outputs.status();
    samples.push_back(ms(end - begin));
    for (size_t s = 0; s < memories_.size(); ++s) {
      memories_[s].length = before[s].second;
      if (!grows(s)) memories_[s].tensor = std::move(before[s].first);
    }
  }
  return samples;
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
  for (size_t s = 0; s < memories_.size(); ++s)
    if (!grows(s) && memories_[s].tensor.defined()) bind_shape(state(s).type, memories_[s].tensor);
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
  if (shared.length.is_const() && length != shared.length.value())
    return error(Code::kInvalidArgument, "its length along axis {} is {}, the model takes {} alone", state(first).info.axis, length, shared.length.value())
        .at(name_of(state(first)))
        .with_hint("set the state, or give the model a symbolic dim there");
  if (shared.length.is_symbol()) symbols_[static_cast<size_t>(shared.length.symbol_id())] = length;
  return {};
}

/// The shape of a state before the first run: what grows has nothing, the rest is what the inputs say.
Result<Shape> StatefulSession::beginning(size_t s) const {
  const SharedState& shared = state(s);
  Shape shape;
  for (int axis = 0; axis < shared.type.tensor().rank(); ++axis) {
    const Dim dim = shared.type.tensor().dim(axis);
    const Result<int64_t> known = evaluate(dim, symbols_);
    const bool changes = axis == shared.info.axis || (shared.info.axis < 0 && dim != shared.after.tensor().dim(axis));
    if (!known.ok() && !changes)
      return error(Code::kInvalidArgument, "the inputs do not say what its dim {} is ({})", axis, ir::to_string(dim))
          .at(name_of(shared))
          .with_hint("bind the dim, or set the state");
    shape.push_back(axis == shared.info.axis ? 0 : known.ok() ? *known : 0);
  }
  return shape;
}

/// What the next run takes; a run that fails leaves a state that has not begun as it is.
Result<Tensor> StatefulSession::present(size_t s) const {
  if (memories_[s].tensor.defined()) return memories_[s].tensor;
  TENON_ASSIGN_OR_RETURN(Shape shape, beginning(s));
  return Tensor::zeros(state(s).type.dtype(), std::move(shape));
}

/// Room for what the run appends: twice what there was, or as much as is needed where that is beyond the memory limit.
Status StatefulSession::make_room(size_t group) {
  size_t first = 0;
  while (state(first).group != static_cast<int>(group)) ++first;
  const Result<int64_t> growth = evaluate(model_->shared.groups[group].growth, symbols_);
  if (!growth.ok()) return Status(growth.status()).at(name_of(state(first)));
  const auto needed = checked_add(memories_[first].length, *growth);
  if (!needed || *growth < 0) return error(Code::kOutOfRange, "it would grow by {} from {}", *growth, memories_[first].length).at(name_of(state(first)));
  growth_[group] = *growth;
  if (has_room(group, *needed)) return {};
  int64_t room = room_[group];
  if (*needed > room) room = std::max({*needed, kLeastRoom, room <= INT64_MAX / 2 ? 2 * room : room});
  for (const bool last : {false, true}) {
    const Result<size_t> bytes = bytes_with_room(group, room);
    if (bytes.ok() && *bytes <= max_bytes_) break;
    if (!bytes.ok() && bytes.status().code() != Code::kResourceExhausted) return bytes.status();
    if (last)
      return Status(Code::kResourceExhausted, fmt::format("states of length {} are more than the limit of {} bytes", *needed, max_bytes_), name_of(state(first)),
                    "reset the states, or raise the memory limit");
    room = *needed;
  }
  for (size_t s = 0; s < memories_.size(); ++s)
    if (state(s).group == static_cast<int>(group)) TENON_RETURN_IF_ERROR(give_room(s, room));
  room_[group] = room;
  return {};
}

/// Whether nothing has to move. The other dims of what is empty may be others now.
bool StatefulSession::has_room(size_t group, int64_t needed) const {
  if (needed > room_[group]) return false;
  for (size_t s = 0; s < memories_.size(); ++s)
    if (state(s).group == static_cast<int>(group) && (memories_[s].length == 0 || memories_[s].tensor.dim(state(s).info.axis) != room_[group])) return false;
  return true;
}

/// Of memory; what is empty takes its other dims from the inputs, where these say them.
Result<Shape> StatefulSession::shape_with_room(size_t s, int64_t room) const {
  const Memory& memory = memories_[s];
  Shape shape;
  if (memory.tensor.defined()) shape = memory.tensor.shape();
  if (memory.length == 0) {
    Result<Shape> wanted = beginning(s);
    if (!wanted.ok() && shape.empty()) return wanted;
    if (wanted.ok()) shape = std::move(*wanted);
  }
  shape[static_cast<size_t>(state(s).info.axis)] = room;
  return shape;
}

Status StatefulSession::give_room(size_t s, int64_t room) {
  Memory& memory = memories_[s];
  TENON_ASSIGN_OR_RETURN(Shape shape, shape_with_room(s, room));
  if (memory.tensor.defined() && memory.tensor.shape() == shape) return {};
  if (memory.length == 0) {
    shape[static_cast<size_t>(state(s).info.axis)] = 0;
    TENON_ASSIGN_OR_RETURN(memory.tensor, Tensor::empty(state(s).type.dtype(), std::move(shape)));
  }
  TENON_ASSIGN_OR_RETURN(memory.tensor, resized(memory.tensor, state(s).info.axis, memory.length, room));
  return {};
}

/// Of all states that grow, with this room for one group.
Result<size_t> StatefulSession::bytes_with_room(size_t group, int64_t room) const {
  size_t sum = 0;
  for (size_t s = 0; s < memories_.size(); ++s) {
    if (!grows(s)) continue;
    const bool own = state(s).group == static_cast<int>(group);
    TENON_ASSIGN_OR_RETURN(const Shape shape, shape_with_room(s, own ? room : room_[static_cast<size_t>(state(s).group)]));
    TENON_ASSIGN_OR_RETURN(const size_t bytes, bytes_of(state(s).type.dtype(), shape));
    const auto more = checked_add(sum, bytes);
    if (!more) return error(Code::kResourceExhausted, "states of more than 2^64 bytes are wanted");
    sum = *more;
  }
  return sum;
}

Status StatefulSession::give(std::span<const HostValue> inputs) {
  given_.clear();
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
  size_t kept = 0;
  for (size_t o = 0; o < outputs.size(); ++o)
    if (!taken[o]) std::swap(outputs[kept++], outputs[o]);
  outputs.resize(kept);
  return {};
}

void StatefulSession::reset() {
  for (size_t s = 0; s < memories_.size(); ++s) {
    memories_[s].length = 0;
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
  Memory& memory = memories_[s];
  if (!grows(s)) {
    TENON_ASSIGN_OR_RETURN(memory.tensor, value.clone());
    memory.begin = memory.tensor;
    return {};
  }
  const int64_t length = value.dim(shared.info.axis);
  TENON_ASSIGN_OR_RETURN(memory.tensor, resized(value, shared.info.axis, length, length));  // runs give it room
  memory.length = length;
  return {};
}

/// Of a state that a concatenation makes longer.
int64_t StatefulSession::length_of(size_t s) const {
  const Memory& memory = memories_[s];
  return grows(s) || !memory.tensor.defined() ? memory.length : memory.tensor.dim(state(s).longer);
}

Status StatefulSession::rewind(int64_t length) {
  std::vector<Tensor> shorter(memories_.size());  // of states that are passed on
  for (size_t s = 0; s < memories_.size(); ++s) {
    if (state(s).longer < 0) continue;
    const int64_t held = length_of(s);
    if (length < 0 || length > held)
      return error(Code::kInvalidArgument, "its length is {}, so it cannot be {}", held, length).at(name_of(state(s))).with_hint("set the state");
    if (grows(s) || length == held) continue;
    const DType dtype = state(s).type.dtype();
    if (bits(dtype) < 8 || is_packed(dtype)) return error(Code::kUnsupported, "its elements are smaller than a byte").at(name_of(state(s))).with_hint("set the state");
    TENON_ASSIGN_OR_RETURN(shorter[s], resized(memories_[s].tensor, state(s).longer, length, length));
  }
  for (size_t s = 0; s < memories_.size(); ++s) {
    if (grows(s)) memories_[s].length = length;
    else if (state(s).longer < 0) memories_[s].tensor = memories_[s].begin;
    else if (shorter[s].defined()) memories_[s].tensor = std::move(shorter[s]);
  }
  return {};
}

}  // namespace tenon::backends
