// Evaluation of custom ops, and the state that a node keeps between them.

#include "frontend/custom/api.h"

using namespace tenon;
using namespace tenon::frontend::custom;

struct tenon_eval {
  tenon_node& node;
  ir::EvalContext& context;
};

namespace {

/// What a library's create_state made; the closure keeps destroy_state callable.
class State {
 public:
  State(void* state, std::shared_ptr<const void> closure) : state_(state), closure_(std::move(closure)) {}
  ~State() {
    const tenon_op& calls = static_cast<const CustomOp*>(closure_.get())->calls;
    // What fails here has no one to tell.
    if (calls.destroy_state != nullptr)
      (void)contain("destroy_state", [&] { calls.destroy_state(state_, calls.user_data); });
  }
  State(const State&) = delete;
  State& operator=(const State&) = delete;
  void* get() const { return state_; }

 private:
  void* state_;
  std::shared_ptr<const void> closure_;
};

Result<void*> state_of(tenon_node& node) {
  const tenon_op& calls = node.op.calls;
  if (calls.create_state == nullptr) return static_cast<void*>(nullptr);
  ir::NodeState& kept = *node.node.state();
  std::call_once(kept.once, [&] {
    void* made = nullptr;
    kept.status = node.run("create_state", [&] { return calls.create_state(&api(), &node, &made); });
    if (kept.status.ok()) kept.value = std::make_shared<State>(made, node.node.op().closure);
  });
  if (!kept.status.ok()) return kept.status;
  return static_cast<const State*>(kept.value.get())->get();
}

/// Evaluation must give what inference has promised for these inputs. A size that it left open is the same wherever it
/// stands.
Status check_outputs(const tenon_node& node, const ir::EvalContext& context) {
  std::vector<std::optional<int64_t>> symbols(static_cast<size_t>(node.node.graph()->dims().num_symbols()));
  const auto fits = [&](const ir::Dim& promised, int64_t size) {
    if (promised.is_symbol() && !symbols[static_cast<size_t>(promised.symbol_id())])
      symbols[static_cast<size_t>(promised.symbol_id())] = size;
    const Result<int64_t> expected = ir::evaluate(promised, symbols);
    return !expected.ok() || *expected == size;
  };
  for (int i = 0; i < node.node.num_outputs(); ++i) {
    const ir::Value& output = *node.node.output(i);
    const auto* made = std::get_if<Tensor>(&context.outputs[static_cast<size_t>(i)]);
    if (made == nullptr) return node.defect(fmt::format("evaluate does not allocate output {}", i));
    const ir::TensorType& promised = output.tensor();
    bool kept = made->dtype() == promised.dtype && (!promised.ranked() || promised.rank() == made->rank());
    for (int64_t axis = 0; kept && promised.ranked() && axis < promised.rank(); ++axis)
      kept = fits(promised.dim(axis), made->dim(axis));
    if (!kept)
      return node.defect(fmt::format("evaluate gives output {} as {} {}, infer as {}", i, name(made->dtype()),
                                     tenon::to_string(made->shape()), to_string(output.type())));
  }
  return {};
}

const tenon_tensor* input(tenon_eval* c, size_t i) {
  if (c == nullptr || i >= c->context.inputs.size()) return nullptr;
  return to_c(std::get_if<Tensor>(&c->context.inputs[i]));
}

Result<Tensor*> allocate(tenon_eval& c, size_t output, tenon_dtype dtype, const int64_t* dims, size_t rank) {
  constexpr size_t kMaxRank = 64;
  if (output >= c.context.outputs.size()) return error(Code::kInvalidArgument, "the node has no output {}", output);
  if (rank > kMaxRank || (dims == nullptr && rank > 0))
    return error(Code::kInvalidArgument, "output {}: {} dims, or null", output, rank);
  const DType type = dtype_from_c(dtype);
  if (type == DType::kInvalid) return error(Code::kInvalidArgument, "output {}: there is no dtype {}", output, dtype);
  if (std::holds_alternative<Tensor>(c.context.outputs[output]))
    return error(Code::kInvalidArgument, "output {} is allocated twice", output);
  return c.context.allocate(static_cast<int>(output), type, Shape(dims, dims + rank));
}

tenon_status allocate_output(tenon_eval* c, size_t output, tenon_dtype dtype, const int64_t* dims, size_t rank,
                             void** data) {
  if (c == nullptr) return TENON_INVALID_ARGUMENT;
  if (data != nullptr) *data = nullptr;
  Result<Tensor*> made = allocate(*c, output, dtype, dims, rank);
  if (!made.ok()) return c->node.keep(std::move(made).status());
  if (data != nullptr && (*made)->bytes() > 0) *data = (*made)->mutable_data();
  return TENON_OK;
}

tenon_status set_output_string(tenon_eval* c, size_t output, int64_t index, const char* text, size_t length) {
  if (c == nullptr) return TENON_INVALID_ARGUMENT;
  Tensor* made = output < c->context.outputs.size() ? std::get_if<Tensor>(&c->context.outputs[output]) : nullptr;
  if (made == nullptr || made->dtype() != DType::kString)
    return c->node.keep(error(Code::kInvalidArgument, "output {} is not allocated as strings", output));
  if (index < 0 || index >= made->size() || (text == nullptr && length > 0))
    return c->node.keep(
        error(Code::kInvalidArgument, "output {} has no string {}, or the text is null", output, index));
  made->mutable_strings()[static_cast<size_t>(index)].assign(text == nullptr ? "" : text, length);
  return TENON_OK;
}

}  // namespace

Status tenon::frontend::custom::evaluate(ir::EvalContext& context) {
  tenon_node node{context.node};
  TENON_ASSIGN_OR_RETURN(void* const state, state_of(node));
  tenon_eval c{node, context};
  TENON_RETURN_IF_ERROR(node.run("evaluate", [&] { return node.op.calls.evaluate(&api(), &node, &c, state); }));
  return check_outputs(node, context);
}

void tenon::frontend::custom::add_eval_functions(tenon_custom_api& a) {
  a.input = input;
  a.allocate_output = allocate_output;
  a.set_output_string = set_output_string;
}
