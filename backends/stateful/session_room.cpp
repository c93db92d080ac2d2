#include <algorithm>

#include "backends/stateful/memory.h"
#include "backends/stateful/session.h"
#include "support/checked.h"

// Room of states that grow.
namespace tenon::backends {
namespace {

constexpr int64_t kLeastRoom = 16;

}  // namespace

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
  const size_t free = free_bytes();
  for (const bool last : {false, true}) {
    const Result<size_t> bytes = bytes_with_room(group, room);
    if (bytes.ok() && *bytes <= free) break;
    if (!bytes.ok() && bytes.status().code() != Code::kResourceExhausted) return bytes.status();
    if (last)
      return Status(Code::kResourceExhausted, fmt::format("states of length {} are more than the {} bytes that the limit of {} leaves them", *needed, free, max_bytes_),
                    name_of(state(first)), "reset the states, or raise the memory limit");
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

/// What the limit leaves to states that grow beside the others and the memory of runs.
size_t StatefulSession::free_bytes() const {
  size_t taken = session_->arena_bytes();
  for (size_t s = 0; s < memories_.size(); ++s) taken += grows(s) ? 0 : memories_[s].bytes();
  return max_bytes_ - std::min(max_bytes_, taken);
}

/// Zeros at the places that a run may make longer and not write to.
void StatefulSession::clear_growth() {
  for (size_t s = 0; s < memories_.size(); ++s) {
    if (!state(s).cleared) continue;
    Memory& memory = memories_[s];
    clear_places(memory.tensor, state(s).info.axis, memory.length, growth_[static_cast<size_t>(state(s).group)]);
  }
}

/// Room beyond what the run in progress appends to; false where there is none, or where it must not be run again.
Result<bool> StatefulSession::give_back_room() {
  bool less = false;
  if (std::ranges::any_of(memories_, &Memory::spoilt)) return less;
  for (size_t s = 0; s < memories_.size(); ++s) {
    if (!grows(s)) continue;
    const auto group = static_cast<size_t>(state(s).group);
    const int64_t needed = memories_[s].length + growth_[group];
    less |= room_[group] > needed || memories_[s].tensor.dim(state(s).info.axis) > needed;
    TENON_RETURN_IF_ERROR(give_room(s, needed));
    room_[group] = needed;
  }
  return less;
}

}  // namespace tenon::backends
