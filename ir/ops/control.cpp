#include <algorithm>

#include "ir/ops/families.h"

namespace tenon::ir {
namespace {

Value* region_input(const Graph& region, int i) { return region.inputs()[static_cast<size_t>(i)]; }
Value* region_output(const Graph& region, int i) { return region.outputs()[static_cast<size_t>(i)]; }
int num_inputs(const Graph& region) { return static_cast<int>(region.inputs().size()); }
int num_outputs(const Graph& region) { return static_cast<int>(region.outputs().size()); }

/// The name that InferContext::fresh_dim would use, for a value of a region.
Dim fresh_dim(const Value& value, int axis) {
  return value.graph()->dims().symbol(fmt::format("{}.d{}", value.name(), axis));
}

void collect_fresh(const Value& value, std::vector<int>& ids) {
  if (!value.type().is_ranked_tensor()) return;
  for (int axis = 0; axis < value.tensor().rank(); ++axis)
    if (auto dim = value.graph()->dims().find_symbol(fmt::format("{}.d{}", value.name(), axis)))
      ids.push_back(dim->symbol_id());
}

/// Symbols that have a value only while the region runs.
void collect_local_symbols(const Graph& region, std::vector<int>& ids) {
  for (const Value* input : region.inputs()) collect_fresh(*input, ids);
  for (const auto& node : region.nodes()) {
    for (const Value* output : node->outputs()) collect_fresh(*output, ids);
    for (const auto& nested : node->regions()) collect_local_symbols(*nested, ids);
  }
}

bool mentions(Dim dim, const std::vector<int>& ids) {
  std::vector<int> symbols;
  collect_symbols(dim, symbols);
  return std::ranges::any_of(symbols, [&](int id) { return std::ranges::find(ids, id) != ids.end(); });
}

/// A region's type as its owner's output `output`: dims that mean something only inside become fresh ones. A dim i of
/// the type is axis i + `offset` of the output.
Type exported(InferContext& c, int output, const Type& type, const std::vector<int>& local, int offset = 0) {
  if (!type.is_ranked_tensor()) {
    if (const auto* s = type.as_sequence(); s && s->elem && s->elem->is_ranked_tensor())
      if (std::ranges::any_of(*s->elem->tensor().dims, [&](Dim d) { return mentions(d, local); }))
        return SequenceType{std::make_shared<const Type>(TensorType::unranked(s->elem->dtype()))};
    return type;
  }
  std::vector<Dim> dims = *type.tensor().dims;
  for (size_t i = 0; i < dims.size(); ++i)
    if (mentions(dims[i], local)) dims[i] = c.fresh_dim(output, static_cast<int>(i) + offset);
  return TensorType(type.dtype(), std::move(dims));
}

/// The types of everything in a region are forgotten, so that inference with wider inputs does not keep narrower ones.
void forget_types(Graph& region) {
  region.forget_assumptions();
  walk(region, [](Node& node) {
    for (Value* output : node.outputs()) output->set_type({});
    for (const auto& nested : node.regions()) {
      nested->forget_assumptions();
      for (Value* input : nested->inputs()) input->set_type({});
    }
  });
}

bool one_bool(const Type& type) { return type.is_tensor() && type.dtype() == DType::kBool; }

// ---- If

Status infer_if(InferContext& c) {
  if (!one_bool(c.in(0))) return c.fail("the condition is {}, not bool", to_string(c.in(0)));
  // With a known condition the other branch need not even make sense: it may be there for other ranks.
  std::optional<int> taken;
  if (const auto condition = constant_ints(c.node().input(0)); condition && condition->size() == 1)
    taken = (*condition)[0] != 0 ? 0 : 1;
  for (int r = 0; r < 2; ++r) {
    Graph& region = c.node().region(r);
    if (num_inputs(region) != 0) return c.fail("a branch of If takes no inputs");
    if (num_outputs(region) != c.node().num_outputs())
      return c.fail("a branch gives {} values, the node {}", num_outputs(region), c.node().num_outputs());
    Status status = infer_graph(region);
    if (!status.ok() && (!taken || *taken == r)) return status;
  }
  std::vector<int> local;
  for (int r = 0; r < 2; ++r) collect_local_symbols(c.node().region(r), local);
  for (int i = 0; i < c.node().num_outputs(); ++i) {
    const Value& a = *region_output(c.node().region(taken.value_or(0)), i);
    const Value& b = *region_output(c.node().region(taken.value_or(1)), i);
    auto merged = merge_types(a.type(), b.type(), [&](int axis) { return c.fresh_dim(i, axis); });
    if (!merged.ok()) return c.fail("output {}: {}", i, merged.status().what());
    c.set(i, exported(c, i, *merged, local));
    if (a.dim_values() && a.dim_values() == b.dim_values() &&
        std::ranges::none_of(*a.dim_values(), [&](Dim d) { return mentions(d, local); }))
      c.set_dim_values(i, *a.dim_values());
  }
  return {};
}

Status eval_if(EvalContext& c) {
  const Tensor& condition = c.tensor(0);
  if (condition.size() != 1)
    return error(Code::kInvalidModel, "the condition of If has {} elements, not 1", condition.size());
  TENON_ASSIGN_OR_RETURN(auto values, c.run_region(condition.at_int(0) != 0 ? 0 : 1, {}));
  std::ranges::move(values, c.outputs.begin());
  return {};
}

// ---- Carried values of Loop and Scan

struct Carried {
  Type initial;
  Value* input;   // of the region
  Value* output;  // of the region
};

/// Every level of loops may repeat the inference of the next one.
constexpr int kMaxLoopDepth = 8;

Status check_loop_depth(const Node& node) {
  int depth = 0;
  for (const Node* owner = &node; owner; owner = owner->graph()->parent())
    if (!owner->is("If")) ++depth;
  if (depth <= kMaxLoopDepth) return {};
  return Status(Code::kUnsupported, fmt::format("loops nest more than {} deep", kMaxLoopDepth), node.name());
}

/// The type that holds both what `value` is and what an iteration makes of it; from the third round on a value that
/// still changes keeps only its rank, then not even that.
Result<Type> widened(const Carried& value, int round) {
  const Type& now = value.input->type();
  auto fresh = [&](int axis) { return fresh_dim(*value.input, axis); };
  TENON_ASSIGN_OR_RETURN(Type merged, merge_types(now, value.output->type(), fresh));
  if (round < 2 || merged == now || !merged.is_ranked_tensor()) return merged;
  if (round > 2) return Type(TensorType::unranked(merged.dtype()));
  std::vector<Dim> dims;
  for (int axis = 0; axis < merged.tensor().rank(); ++axis) dims.push_back(fresh(axis));
  return Type(TensorType(merged.dtype(), std::move(dims)));
}

/// Leaves carried tensors their ranks alone; false when that is all that they have.
bool forget_dims(std::span<const Carried> carried) {
  bool forgot = false;
  for (const Carried& value : carried) {
    if (!value.input->type().is_ranked_tensor()) continue;
    std::vector<Dim> dims;
    for (int axis = 0; axis < value.input->tensor().rank(); ++axis) dims.push_back(fresh_dim(*value.input, axis));
    forgot |= dims != *value.input->tensor().dims;
    value.input->set_type(TensorType(value.input->dtype(), std::move(dims)));
  }
  return forgot;
}

/// Infers the region with carried types that hold for every iteration: a dim which an iteration changes becomes a fresh
/// symbol, a changing rank an unknown one.
Status infer_carried(InferContext& c, Graph& region, std::span<const Carried> carried) {
  TENON_RETURN_IF_ERROR(check_loop_depth(c.node()));
  for (const Carried& value : carried) value.input->set_type(value.initial);
  bool changed = true;
  for (int round = 0; changed; ++round) {
    changed = false;
    forget_types(region);
    if (Status status = infer_graph(region); !status.ok()) {
      // What the first iteration's dims do not fit may be a branch for later ones.
      if (!forget_dims(carried)) return status;
      changed = true;
      continue;
    }
    for (const Carried& value : carried) {
      auto wider = widened(value, round);
      if (!wider.ok()) return c.fail("the carried value '{}': {}", value.input->name(), wider.status().what());
      if (*wider == value.input->type()) continue;
      value.input->set_type(std::move(*wider));
      changed = true;
    }
  }
  return {};
}

/// A carried value after the last iteration.
void export_carried(InferContext& c, int output, const Carried& value, const std::vector<int>& local) {
  c.set(output, exported(c, output, value.input->type(), local));
}

/// A stack of one value an iteration along `axis` (of the result).
Status export_scan(InferContext& c, int output, const Value& value, Dim trips, int64_t axis,
                   const std::vector<int>& local) {
  if (!value.type().is_tensor())
    return c.fail("the scan output '{}' is {}, not a tensor", value.name(), to_string(value.type()));
  if (!value.type().is_ranked_tensor()) {
    c.set(output, value.type());
    return {};
  }
  TENON_ASSIGN_OR_RETURN(int64_t at, normalize_axis(axis, value.tensor().rank() + 1, "scan_output_axes"));
  std::vector<Dim> dims = *value.tensor().dims;
  for (size_t i = 0; i < dims.size(); ++i) {
    int outer = static_cast<int>(i) + (static_cast<int64_t>(i) >= at ? 1 : 0);
    if (mentions(dims[i], local)) dims[i] = c.fresh_dim(output, outer);
  }
  if (!trips.is_valid()) trips = c.fresh_dim(output, static_cast<int>(at));
  dims.insert(dims.begin() + at, trips);
  c.set(output, TensorType(value.dtype(), std::move(dims)));
  return {};
}

// ---- Loop

bool constant_true(const Value* value) {
  auto ints = constant_ints(value);
  return ints && ints->size() == 1 && (*ints)[0] != 0;
}

/// The number of iterations when the condition never ends the loop, else invalid.
Dim loop_trips(InferContext& c, const Graph& body) {
  const Value* condition = region_output(body, 0);
  while (condition->def() && condition->def()->is("Identity")) condition = condition->def()->input(0);
  bool starts = !c.has(1) || constant_true(c.node().input(1));
  bool goes_on = constant_true(condition) || condition == region_input(body, 1);
  auto count = c.dim_values(0);
  if (!starts || !goes_on || !count || count->size() != 1) return Dim::invalid();
  return max(count->front(), 0);
}

Status infer_loop(InferContext& c) {
  Graph& body = c.node().region(0);
  int carried_count = std::max(0, c.node().num_inputs() - 2);
  if (num_inputs(body) != carried_count + 2)
    return c.fail("the body takes {} values, {} are given", num_inputs(body), carried_count + 2);
  int scan_count = num_outputs(body) - 1 - carried_count;
  if (scan_count < 0 || c.node().num_outputs() != carried_count + scan_count)
    return c.fail("the body gives {} values with {} carried ones, the node {}", num_outputs(body), carried_count,
                  c.node().num_outputs());
  if (c.has(1) && !one_bool(c.in(1))) return c.fail("the condition is {}, not bool", to_string(c.in(1)));
  region_input(body, 0)->set_type(TensorType(DType::kI64, {}));
  region_input(body, 1)->set_type(TensorType(DType::kBool, {}));
  std::vector<Carried> carried;
  for (int i = 0; i < carried_count; ++i) {
    if (!c.has(i + 2)) return c.fail("the carried value {} has no initial value", i);
    carried.push_back({c.in(i + 2), region_input(body, i + 2), region_output(body, i + 1)});
  }
  TENON_RETURN_IF_ERROR(infer_carried(c, body, carried));
  if (!one_bool(region_output(body, 0)->type())) return c.fail("the body's condition is not bool");
  std::vector<int> local;
  collect_local_symbols(body, local);
  for (int i = 0; i < carried_count; ++i) export_carried(c, i, carried[static_cast<size_t>(i)], local);
  Dim trips = loop_trips(c, body);
  for (int i = 0; i < scan_count; ++i)
    TENON_RETURN_IF_ERROR(
        export_scan(c, carried_count + i, *region_output(body, 1 + carried_count + i), trips, 0, local));
  return {};
}

// ---- Scan

int64_t entry(const std::vector<int64_t>& list, int i) {
  return static_cast<size_t>(i) < list.size() ? list[static_cast<size_t>(i)] : 0;
}

Status check_scan(InferContext& c, int64_t scans, int states) {
  Graph& body = c.node().region(0);
  if (num_inputs(body) != c.node().num_inputs() || num_outputs(body) != c.node().num_outputs() ||
      num_outputs(body) < states)
    return c.fail("the body takes {} values and gives {}, the node {} and {}", num_inputs(body), num_outputs(body),
                  c.node().num_inputs(), c.node().num_outputs());
  auto fits = [&](std::string_view name, int64_t count) {
    size_t size = c.node().attr_ints(name).size();
    return size == 0 || size == static_cast<size_t>(count);
  };
  int64_t outs = num_outputs(body) - states;
  for (auto [name, count] : {std::pair<std::string_view, int64_t>{"scan_input_axes", scans},
                             {"scan_input_directions", scans},
                             {"scan_output_axes", outs},
                             {"scan_output_directions", outs}})
    if (!fits(name, count)) return c.fail("{} has {} entries, {} needed", name, c.node().attr_ints(name).size(), count);
  return {};
}

Status infer_scan(InferContext& c) {
  Graph& body = c.node().region(0);
  int64_t scans = c.node().attr_int("num_scan_inputs", 0);
  if (scans < 1 || scans > c.node().num_inputs()) return c.fail("num_scan_inputs {} is out of range", scans);
  int states = c.node().num_inputs() - static_cast<int>(scans);
  TENON_RETURN_IF_ERROR(check_scan(c, scans, states));
  std::vector<int64_t> axes = c.node().attr_ints("scan_input_axes");
  Dim length = Dim::invalid();
  for (int i = 0; i < scans; ++i) {
    Value* slice = region_input(body, states + i);
    if (!c.in(states + i).is_tensor()) return c.fail("the scan input {} is no tensor", i);
    if (!c.ranked(states + i)) {
      slice->set_type(c.in(states + i));
      continue;
    }
    std::vector<Dim> dims = c.shape(states + i);
    auto axis = normalize_axis(entry(axes, i), static_cast<int64_t>(dims.size()), "scan_input_axes");
    if (!axis.ok()) return c.fail_text(axis.status().what());
    Dim extent = dims[static_cast<size_t>(*axis)];
    if (length.is_valid() && known_ne(length, extent))
      return c.fail("scan inputs of lengths {} and {}", to_string(length), to_string(extent));
    if (!length.is_valid() || (extent.is_const() && !length.is_const())) length = extent;
    dims.erase(dims.begin() + *axis);
    slice->set_type(TensorType(c.dtype(states + i), std::move(dims)));
  }
  std::vector<Carried> carried;
  for (int i = 0; i < states; ++i) carried.push_back({c.in(i), region_input(body, i), region_output(body, i)});
  TENON_RETURN_IF_ERROR(infer_carried(c, body, carried));
  std::vector<int> local;
  collect_local_symbols(body, local);
  for (int i = 0; i < states; ++i) export_carried(c, i, carried[static_cast<size_t>(i)], local);
  std::vector<int64_t> out_axes = c.node().attr_ints("scan_output_axes");
  for (int i = states; i < num_outputs(body); ++i)
    TENON_RETURN_IF_ERROR(export_scan(c, i, *region_output(body, i), length, entry(out_axes, i - states), local));
  return {};
}

}  // namespace

std::vector<OpDef> control_ops() {
  return {
      {.domain = "",
       .name = "If",
       .inputs = {{"cond", "B", dtypes(DType::kBool)}},
       .outputs = {{.name = "outputs", .variadic = true, .any = true}},
       .infer = infer_if,
       .compute = {.eval = eval_if, .structural = true},
       .num_regions = 2,
       .doc = "The values of the first region when the condition holds, else those of the second (If)"},
      {.domain = "",
       .name = "Loop",
       .inputs = {{.name = "M", .var = "I", .types = dtypes(DType::kI64), .optional = true},
                  {.name = "cond", .var = "B", .types = dtypes(DType::kBool), .optional = true},
                  {.name = "v_initial", .variadic = true, .any = true}},
       .outputs = {{.name = "v_final_and_scan_outputs", .variadic = true, .any = true}},
       .infer = infer_loop,
       .compute = {.structural = true},
       .num_regions = 1,
       .doc = "Runs the region while its condition holds, at most M times (Loop)"},
      {.domain = "",
       .name = "Scan",
       .inputs = {{.name = "initial_state_and_scan_inputs", .variadic = true, .any = true}},
       .outputs = {{.name = "final_state_and_scan_outputs", .variadic = true, .any = true}},
       .attrs = {{"num_scan_inputs", AttrKind::kInt, true},
                 {"scan_input_axes", AttrKind::kInts},
                 {"scan_input_directions", AttrKind::kInts},
                 {"scan_output_axes", AttrKind::kInts},
                 {"scan_output_directions", AttrKind::kInts}},
       .infer = infer_scan,
       .compute = {.structural = true},
       .num_regions = 1,
       .doc = "Runs the region over slices of its scan inputs (Scan)"},
  };
}

}  // namespace tenon::ir
