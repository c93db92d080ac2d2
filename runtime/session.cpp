#include "runtime/session.h"

#include <algorithm>

#include "runtime/arena.h"
#include "runtime/frame.h"
#include "support/cpu_count.h"
#include "support/memory.h"

namespace tenon::runtime {

namespace {
constexpr size_t kMinOutputBlocks = 16;  // bodies of control flow have outputs, too
}

struct Session::Impl {
  RunContext context;
  std::vector<Operand> operands;
  Symbols symbols;
  size_t aside = 0;              // of the context's held bytes
  std::unique_ptr<Frame> frame;  // after the context that it uses
};

Session::Session(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Session::~Session() = default;

Result<std::unique_ptr<Session>> Session::create(std::shared_ptr<const PreparedPlan> plan, const SessionOptions& options) {
  if (plan == nullptr) return Status(Code::kInvalidArgument, "a session needs a plan");
  if (options.num_threads < 0)
    return error(Code::kInvalidArgument, "{} threads are asked for", options.num_threads).with_hint("give 0 or more");
  auto impl = std::make_unique<Impl>();
  RunContext& context = impl->context;
  context.executor = options.executor != nullptr ? options.executor : &default_pool();
  context.max_threads = context.executor->num_threads();
  const int wanted = options.num_threads > 0 ? options.num_threads : options.executor == nullptr ? default_placement().cores : context.max_threads;
  context.max_threads = std::min(context.max_threads, wanted);
  context.max_bytes = options.max_bytes != 0 ? options.max_bytes : default_memory_limit();
  context.max_loop_trips = options.max_loop_trips;
  context.device = options.device;
  context.observer = options.observer;
  context.outputs = std::make_shared<OutputPool>(std::max(plan->plan->outputs.size(), kMinOutputBlocks));
  impl->frame = std::make_unique<Frame>(std::move(plan), context);
  return std::unique_ptr<Session>(new Session(std::move(impl)));
}

Result<std::vector<HostValue>> Session::run(std::span<const HostValue> inputs, const Interrupt& interrupt) {
  const PreparedPlan& prepared = impl_->frame->plan();
  impl_->context.interrupt = interrupt.or_after(kDefaultTimeLimit);
  impl_->context.unit_dim = impl_->context.began = false;
  impl_->operands.clear();
  for (const HostValue& input : inputs) impl_->operands.push_back({&input, true});
  std::vector<HostValue> outputs(prepared.plan->outputs.size());
  TENON_RETURN_IF_ERROR(impl_->frame->run(impl_->operands, impl_->symbols, outputs));
  // Constants are everybody's: the caller gets a copy that it may write to.
  for (size_t i = 0; i < outputs.size(); ++i) {
    const ValueIdx owner = prepared.root[static_cast<size_t>(prepared.plan->outputs[i].value)];
    auto* tensor = std::get_if<Tensor>(&outputs[i]);
    if (tensor == nullptr || prepared.plan->values[static_cast<size_t>(owner)].storage != Storage::kConstant) continue;
    TENON_ASSIGN_OR_RETURN(*tensor, tensor->clone());
  }
  return outputs;
}

bool Session::failed_at_unit_dim() const { return impl_->context.unit_dim; }

bool Session::began() const { return impl_->context.began; }

void Session::set_aside(size_t bytes) {
  impl_->context.held_bytes += bytes - impl_->aside;
  impl_->aside = bytes;
}

size_t Session::arena_bytes() const { return impl_->context.arena_bytes; }

}  // namespace tenon::runtime
