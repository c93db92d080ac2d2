// Inference of custom ops: dims are numbered in the order in which a callback sees them.

#include "frontend/custom/api.h"

using namespace tenon;
using namespace tenon::frontend::custom;
using ir::Dim;

struct tenon_infer {
  tenon_node& node;
  ir::InferContext& context;
  std::vector<Dim> dims = {};

  tenon_dim number(Dim dim) {
    dims.push_back(dim);
    return {static_cast<uint32_t>(dims.size())};
  }
  const Dim* find(tenon_dim dim) const { return dim.id >= 1 && dim.id <= dims.size() ? &dims[dim.id - 1] : nullptr; }
  size_t outputs() const { return static_cast<size_t>(node.node.num_outputs()); }
  bool has(size_t input) const {
    return input < static_cast<size_t>(node.node.num_inputs()) && context.has(static_cast<int>(input));
  }
};

namespace {

constexpr int64_t kMaxRank = 64;
constexpr size_t kMaxDims = 1 << 20;

/// A dim for the callback; `what` says what is wrong when there is none.
tenon_dim give(tenon_infer& c, std::optional<Dim> dim, const char* what) {
  if (dim && c.dims.size() < kMaxDims) return c.number(*dim);
  c.node.misused(dim ? "there are too many dims" : what);
  return {};
}

int64_t input_rank(const tenon_infer* c, size_t input) {
  if (c == nullptr || !c->has(input) || !c->context.ranked(static_cast<int>(input))) return -1;
  return std::ssize(c->context.shape(static_cast<int>(input)));
}

tenon_dim input_dim(tenon_infer* c, size_t input, size_t axis) {
  if (c == nullptr) return {};
  const int64_t rank = input_rank(c, input);
  const bool there = rank >= 0 && axis < static_cast<size_t>(rank);
  return give(*c, there ? std::optional(c->context.shape(static_cast<int>(input))[axis]) : std::nullopt,
              "input_dim of an axis that is not known to exist");
}

const tenon_tensor* constant_input(tenon_infer* c, size_t input) {
  return c == nullptr || !c->has(input) ? nullptr : to_c(c->context.constant(static_cast<int>(input)));
}

std::optional<std::vector<Dim>> input_values(const tenon_infer* c, size_t input) {
  return c == nullptr || !c->has(input) ? std::nullopt : c->context.dim_values(static_cast<int>(input));
}

int64_t num_input_values(tenon_infer* c, size_t input) {
  const auto values = input_values(c, input);
  return values ? std::ssize(*values) : -1;
}

tenon_dim input_value(tenon_infer* c, size_t input, size_t index) {
  if (c == nullptr) return {};
  const auto values = input_values(c, input);
  return give(*c, values && index < values->size() ? std::optional((*values)[index]) : std::nullopt,
              "input_value of an element that is not known");
}

tenon_dim dim_constant(tenon_infer* c, int64_t value) { return c == nullptr ? tenon_dim{} : give(*c, Dim(value), ""); }

template <Dim (*kOp)(Dim, Dim)>
tenon_dim dim_op(tenon_infer* c, tenon_dim a, tenon_dim b) {
  if (c == nullptr) return {};
  const Dim *x = c->find(a), *y = c->find(b);
  return give(*c, x != nullptr && y != nullptr ? std::optional(kOp(*x, *y)) : std::nullopt,
              "arithmetic on a dim that does not exist");
}

tenon_dim run_time_dim(tenon_infer* c, size_t output, size_t axis) {
  if (c == nullptr) return {};
  const bool there = output < c->outputs() && axis < static_cast<size_t>(kMaxRank);
  return give(
      *c, there ? std::optional(c->context.fresh_dim(static_cast<int>(output), static_cast<int>(axis))) : std::nullopt,
      "run_time_dim of an output or axis that does not exist");
}

int32_t dim_value(tenon_infer* c, tenon_dim dim, int64_t* value) {
  const Dim* found = c == nullptr ? nullptr : c->find(dim);
  if (found == nullptr || !found->is_const()) return 0;
  if (value != nullptr) *value = found->value();
  return 1;
}

Status read_dims(tenon_infer& c, const tenon_dim* dims, size_t count, std::vector<Dim>& out) {
  if (dims == nullptr && count > 0) return error(Code::kInvalidArgument, "the dims are null");
  for (size_t i = 0; i < count; ++i) {
    const Dim* dim = c.find(dims[i]);
    if (dim == nullptr) return error(Code::kInvalidArgument, "dim {} does not exist", i);
    if (!dim->is_valid()) return error(Code::kInvalidModel, "dim {} overflows, or divides by zero", i);
    out.push_back(*dim);
  }
  return {};
}

Result<DType> output_dtype(tenon_infer& c, size_t output, tenon_dtype dtype) {
  if (output >= c.outputs()) return error(Code::kInvalidArgument, "the node has no output {}", output);
  const DType out = dtype_from_c(dtype);
  if (out == DType::kInvalid) return error(Code::kInvalidArgument, "output {}: there is no dtype {}", output, dtype);
  return out;
}

Status set(tenon_infer& c, size_t output, tenon_dtype dtype, const tenon_dim* dims, int64_t rank) {
  TENON_ASSIGN_OR_RETURN(const DType type, output_dtype(c, output, dtype));
  if (rank < -1 || rank > kMaxRank) return error(Code::kInvalidArgument, "output {} has the rank {}", output, rank);
  if (rank < 0) {
    c.context.set(static_cast<int>(output), ir::TensorType::unranked(type));
    return {};
  }
  std::vector<Dim> shape;
  TENON_RETURN_IF_ERROR(read_dims(c, dims, static_cast<size_t>(rank), shape).at(fmt::format("output {}", output)));
  c.context.set(static_cast<int>(output), ir::TensorType(type, std::move(shape)));
  return {};
}

tenon_status set_output(tenon_infer* c, size_t output, tenon_dtype dtype, const tenon_dim* dims, int64_t rank) {
  return c == nullptr ? TENON_INVALID_ARGUMENT : c->node.keep(set(*c, output, dtype, dims, rank));
}

Status set_values(tenon_infer& c, size_t output, const tenon_dim* values, size_t count) {
  constexpr size_t kMaxValues = 4096;
  if (output >= c.outputs()) return error(Code::kInvalidArgument, "the node has no output {}", output);
  const ir::Type& type = c.node.node.output(static_cast<int>(output))->type();
  const bool fits = type.is_ranked_tensor() && is_int(type.dtype()) &&
                    (type.tensor().rank() == 0
                         ? count == 1
                         : type.tensor().rank() == 1 && type.tensor().dim(0).is_const(static_cast<int64_t>(count)));
  if (!fits || count > kMaxValues)
    return error(Code::kInvalidArgument, "output {} is not set to integers of this number ({})", output, count);
  std::vector<Dim> known;
  TENON_RETURN_IF_ERROR(read_dims(c, values, count, known).at(fmt::format("values of output {}", output)));
  c.context.set_dim_values(static_cast<int>(output), std::move(known));
  return {};
}

tenon_status set_output_values(tenon_infer* c, size_t output, const tenon_dim* values, size_t count) {
  return c == nullptr ? TENON_INVALID_ARGUMENT : c->node.keep(set_values(*c, output, values, count));
}

/// The shape that all inputs broadcast to; unranked when the rank of one is not known.
Status broadcast_to(ir::InferContext& c, int output, DType dtype) {
  std::vector<std::vector<Dim>> shapes;
  bool ranked = true;
  for (int i = 0; i < c.node().num_inputs(); ++i) {
    if (!c.has(i)) continue;
    if (c.ranked(i))
      shapes.push_back(c.shape(i));
    else
      ranked = false;
  }
  TENON_ASSIGN_OR_RETURN(std::vector<Dim> dims, ir::broadcast(shapes));
  c.set(output, ranked ? ir::Type(ir::TensorType(dtype, std::move(dims))) : ir::Type(ir::TensorType::unranked(dtype)));
  return {};
}

tenon_status broadcast_inputs(tenon_infer* c, size_t output, tenon_dtype dtype) {
  if (c == nullptr) return TENON_INVALID_ARGUMENT;
  Result<DType> type = output_dtype(*c, output, dtype);
  if (!type.ok()) return c->node.keep(std::move(type).status());
  return c->node.keep(broadcast_to(c->context, static_cast<int>(output), *type));
}

Status infer_broadcast(ir::InferContext& c, const CustomOp& op) {
  const ir::OpDef& def = c.node().op();
  for (int i = 0; i < c.node().num_outputs(); ++i) {
    const size_t formal = std::min(static_cast<size_t>(i), def.outputs.size() - 1);
    DType dtype = op.fixed_dtypes[formal];
    for (size_t k = 0; dtype == DType::kInvalid && k < def.inputs.size(); ++k)
      if (def.inputs[k].var == def.outputs[formal].var && c.has(static_cast<int>(k)))
        dtype = c.dtype(static_cast<int>(k));
    if (dtype == DType::kInvalid) return c.fail("nothing gives the dtype of the output '{}'", def.outputs[formal].name);
    if (Status status = broadcast_to(c, i, dtype); !status.ok()) return c.fail_text(status.what());
  }
  return {};
}

}  // namespace

Status tenon::frontend::custom::infer(ir::InferContext& context) {
  const CustomOp& op = CustomOp::of(context.node());
  if (op.calls.infer == nullptr) return infer_broadcast(context, op);
  tenon_node node{context.node()};
  tenon_infer c{node, context};
  TENON_RETURN_IF_ERROR(node.run("infer", [&] { return op.calls.infer(&api(), &node, &c); }));
  for (const ir::Value* output : context.node().outputs())
    if (!output->type().known()) return node.defect(fmt::format("infer does not set the output '{}'", output->name()));
  return {};
}

void tenon::frontend::custom::add_infer_functions(tenon_custom_api& a) {
  a.input_rank = input_rank;
  a.input_dim = input_dim;
  a.constant_input = constant_input;
  a.num_input_values = num_input_values;
  a.input_value = input_value;
  a.dim_constant = dim_constant;
  a.dim_add = dim_op<(ir::operator+)>;
  a.dim_sub = dim_op<(ir::operator-)>;
  a.dim_mul = dim_op<(ir::operator*)>;
  a.dim_floor_div = dim_op<ir::floor_div>;
  a.dim_mod = dim_op<ir::mod>;
  a.dim_min = dim_op<ir::min>;
  a.dim_max = dim_op<ir::max>;
  a.run_time_dim = run_time_dim;
  a.dim_value = dim_value;
  a.set_output = set_output;
  a.set_output_values = set_output_values;
  a.broadcast_inputs = broadcast_inputs;
}
