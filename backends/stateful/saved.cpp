// Executables with states as bytes: what their states are, then the inner executable. All types are those of one graph's inputs, as text,
// so that they are over one set of symbols.

#include <algorithm>

#include "backends/stateful/executable.h"
#include "backends/stateful/stateful.h"
#include "ir/parser.h"
#include "ir/printer.h"
#include "support/byte_io.h"

namespace tenon::backends {
namespace {

enum class SourceKind : uint8_t { kUser, kState, kLength };

Status damaged() { return Status(Code::kInvalidArgument, "the saved executable's states are damaged", {}, "compile the model again"); }

/// The inner executable's inputs; the types of what callers give; each state's before and after a run; each group as [length, growth].
std::unique_ptr<ir::Graph> types_of(const StatefulModel& model) {
  auto out = std::make_unique<ir::Graph>(model.dims);
  for (const auto& [name, type] : model.inner_inputs) out->add_input(name, type);
  const auto add = [&](const ir::Type& type) { out->add_input(out->unique_name("tenon.type"), type); };
  for (const ir::Type& type : model.shared.user_types) add(type);
  for (const SharedState& state : model.shared.states) {
    add(state.type);
    add(state.after);
  }
  for (const StateGroup& group : model.shared.groups) add(ir::TensorType(DType::kBool, {group.length, group.growth}));
  return out;
}

void write(const SharedState& state, const StateInfo& info, ByteWriter& out) {
  for (const std::string* text : {&info.pair.input, &info.pair.output, &info.reason}) out.put(*text);
  out.put(info.axis);
  out.put(info.in_place);
  out.put(uint64_t{state.output});
  out.put(state.longer);
  out.put(state.group);
  out.put(state.cleared);
  out.put(state.updated);
  out.put(state.masked);
}

SharedState read_state(ByteReader& in) {
  SharedState out;
  for (std::string* text : {&out.info.pair.input, &out.info.pair.output, &out.info.reason}) *text = in.text();
  out.info.axis = in.get<int>();
  out.info.in_place = in.get<bool>();
  out.output = in.get<uint64_t>();
  out.longer = in.get<int>();
  out.group = in.get<int>();
  out.cleared = in.get<bool>();
  out.updated = in.get<bool>();
  out.masked = in.get<bool>();
  return out;
}

void write(const InputSource& source, ByteWriter& out) {
  out.put(static_cast<SourceKind>(source.index()));
  out.put(std::visit([](const auto& one) -> uint64_t {
    if constexpr (requires { one.number; }) return one.number;
    else if constexpr (requires { one.state; }) return one.state;
    else return one.group;
  }, source));
}

InputSource read_source(ByteReader& in) {
  const auto kind = in.get_enum(SourceKind::kLength);
  const size_t number = in.get<uint64_t>();
  if (kind == SourceKind::kUser) return UserInput{number};
  return kind == SourceKind::kState ? InputSource(StateInput{number}) : LengthInput{number};
}

/// Whether all numbers and types refer to one another as share_states() has it.
bool fits(const SharedGraph& shared) {
  const auto tensor = [](const ir::Type& type, int axis) { return type.is_ranked_tensor() && axis >= -1 && axis < type.tensor().rank(); };
  for (const SharedState& state : shared.states) {
    if (!tensor(state.type, state.info.axis) || !tensor(state.after, state.longer) || state.type.tensor().rank() != state.after.tensor().rank()) return false;
    if (state.info.axis >= 0 && state.info.axis != state.longer) return false;
    if ((state.info.axis >= 0) != (state.group >= 0) || state.group >= std::ssize(shared.groups)) return false;
  }
  for (size_t g = 0; g < shared.groups.size(); ++g)
    if (std::ranges::none_of(shared.states, [&](const SharedState& state) { return state.group == static_cast<int>(g); })) return false;
  return std::ranges::all_of(shared.inputs, [&](const InputSource& source) {
    if (const auto* user = std::get_if<UserInput>(&source)) return user->number < shared.user_types.size();
    if (const auto* own = std::get_if<StateInput>(&source)) return own->state < shared.states.size();
    const size_t group = std::get<LengthInput>(source).group;
    return group < shared.groups.size() && shared.groups[group].length.is_symbol();
  });
}

}  // namespace

Result<SavedExecutable> save_stateful(const Backend& backend, const Executable& executable) {
  const auto* own = dynamic_cast<const StatefulExecutable*>(&executable);
  if (own == nullptr) return backend.save(executable);
  const StatefulModel& model = own->model();
  const std::string types = ir::to_text(*types_of(model), {.full = true});
  const auto again = ir::parse_text(types);
  if (!again.ok() || ir::to_text(**again, {.full = true}) != types) return Status(Code::kUnsupported, "its types do not read as the same again");
  TENON_ASSIGN_OR_RETURN(SavedExecutable out, backend.save(*model.inner));
  ByteWriter writer;
  writer.put(types);
  writer.put(uint64_t{model.shared.inputs.size()});
  for (const InputSource& source : model.shared.inputs) write(source, writer);
  writer.put(uint64_t{model.shared.user_types.size()});
  writer.put(uint64_t{model.shared.states.size()});
  for (size_t s = 0; s < model.shared.states.size(); ++s) write(model.shared.states[s], model.infos[s], writer);
  writer.put(uint64_t{model.shared.groups.size()});
  writer.put(model.shared.memories);
  writer.put(uint64_t{out.bytes.size()});
  writer.bytes(out.bytes);
  out.bytes = writer.take();
  return out;
}

Result<std::shared_ptr<const Executable>> restore_stateful(const Backend& backend, std::span<const std::byte> bytes, const std::shared_ptr<Buffer>& weights,
                                                           const CompileOptions& options, std::span<const StatePair> pairs) {
  ByteReader in(bytes);
  TENON_ASSIGN_OR_RETURN(const auto types, ir::parse_text(in.text()));
  StatefulModel model;
  SharedGraph& shared = model.shared;
  shared.inputs.resize(in.count(1 + sizeof(uint64_t)));
  for (InputSource& source : shared.inputs) source = read_source(in);
  shared.user_types.resize(in.count(1));
  shared.states.resize(in.count(1));
  for (SharedState& state : shared.states) state = read_state(in);
  shared.groups.resize(in.count(1));
  shared.memories = in.texts();
  const auto inner = in.bytes(in.count(1));
  const size_t wanted = shared.inputs.size() + shared.user_types.size() + 2 * shared.states.size() + shared.groups.size();
  if (!in.done() || types->inputs().size() != wanted) return damaged();
  auto next = types->inputs().begin();
  ir::Graph interface(types->shared_dims());
  for (size_t i = 0; i < shared.inputs.size(); ++i, ++next) {
    model.inner_inputs.emplace_back((*next)->name(), (*next)->type());
    interface.add_input((*next)->name(), (*next)->type());
  }
  for (ir::Type& type : shared.user_types) type = (*next++)->type();
  for (SharedState& state : shared.states) {
    state.type = (*next++)->type();
    state.after = (*next++)->type();
    model.infos.push_back(state.info);
  }
  for (StateGroup& group : shared.groups) {
    const ir::Type& type = (*next++)->type();
    if (!type.is_ranked_tensor() || type.tensor().rank() != 2) return damaged();
    group = {type.tensor().dim(0), type.tensor().dim(1)};
  }
  if (!fits(shared)) return damaged();
  model.dims = types->shared_dims();
  model.num_symbols = model.dims->num_symbols();
  TENON_ASSIGN_OR_RETURN(model.inner, backend.restore(inner, weights, interface, inner_options(options, pairs, shared, backend.updates_inputs())));
  return std::shared_ptr<const Executable>(std::make_shared<StatefulExecutable>(std::move(model)));
}

}  // namespace tenon::backends
