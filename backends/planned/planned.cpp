#include "backends/planned/planned.h"

#include <algorithm>

#include "ir/op.h"
#include "ir/symbols.h"
#include "ir/weights.h"

namespace tenon::backends {

using ir::Dim;
using ir::Graph;
using ir::Node;
using ir::Value;

passes::PipelineOptions pipeline_options(const CompileOptions& options) {
  passes::PipelineOptions out;
  out.level = options.opt_level;
  out.factors = options.precision;
  out.disabled = options.disabled_passes;
  out.max_rewrites = options.max_rewrites;
  out.fault = options.fault;
  out.interrupt = options.interrupt;
  return out;
}

namespace {

constexpr size_t kMaxVariants = 16;

bool mentions(const Value& value, const ir::SymbolMap& map) {
  std::vector<int> symbols;
  if (value.type().is_ranked_tensor())
    for (const Dim& dim : *value.tensor().dims) collect_symbols(dim, symbols);
  if (value.dim_values())
    for (const Dim& dim : *value.dim_values()) collect_symbols(dim, symbols);
  return std::ranges::any_of(symbols, [&](int s) { return map.contains(s); });
}

/// A copy in which these symbols are numbers. What inference said of values that depend on them is forgotten, for it to say anew.
std::unique_ptr<Graph> specialised(const Graph& source, std::span<const std::pair<int, int64_t>> symbols) {
  std::unique_ptr<Graph> graph = source.clone();
  ir::SymbolMap map;
  for (const auto& [symbol, number] : symbols) map.emplace(symbol, Dim(number));
  std::vector<Value*> stale;
  ir::walk(*graph, [&](Node& node) {
    for (Value* output : node.outputs())
      if (!node.is("Constant") && mentions(*output, map)) stale.push_back(output);
  });
  ir::replace_symbols(*graph, map);
  for (Value* value : stale) {
    value->set_type(ir::Type());
    value->set_dim_values(std::nullopt);
  }
  return graph;
}

/// Symbols of `from`'s inputs by their numbers in another graph of the same inputs.
std::vector<std::pair<int, int64_t>> renumbered(const std::vector<std::pair<int, int64_t>>& symbols, const Graph& from, const Graph& to) {
  std::map<int, int> numbers;
  for (size_t i = 0; i < from.inputs().size(); ++i) {
    if (!from.inputs()[i]->type().is_ranked_tensor()) continue;
    const auto &old = *from.inputs()[i]->tensor().dims, &now = *to.inputs()[i]->tensor().dims;
    for (size_t axis = 0; axis < old.size(); ++axis)
      if (old[axis].is_symbol()) numbers.emplace(old[axis].symbol_id(), now[axis].symbol_id());
  }
  std::vector<std::pair<int, int64_t>> out;
  for (const auto& [symbol, value] : symbols) out.emplace_back(numbers.at(symbol), value);
  return out;
}

}  // namespace

class PlannedExecutable::PlannedSession final : public Session {
 public:
  PlannedSession(std::shared_ptr<const PlannedExecutable> owner, std::unique_ptr<runtime::Session> session, const SessionOptions& options)
      : owner_(std::move(owner)), session_(std::move(session)), options_(options) {}

  Result<std::vector<HostValue>> run(std::span<const HostValue> inputs, const Interrupt& interrupt) override {
    last_ = nullptr;
    Result<std::vector<HostValue>> outputs = session_->run(inputs, interrupt);
    if (outputs.ok() || !session_->failed_at_unit_dim()) return outputs;
    if (const auto& overwritten = owner_->options_.overwritten_inputs; session_->began() && !overwritten.empty())
      return error(Code::kUnsupported, "{} may be written to already, so the run cannot begin again with code for dims that are 1; before that, {}", overwritten.front(),
                   outputs.status().to_string())
          .with_hint("bind the dims that are 1 when the model is compiled, or leave out the state");
    const Symbols units = owner_->units(inputs);
    if (units.empty()) return outputs;
    auto other = variant(units, interrupt);
    if (other.ok()) {
      last_ = *other;
      return (*other)->run(inputs, interrupt);
    }
    const Code code = other.status().code();
    return code == Code::kCancelled || code == Code::kDeadlineExceeded ? Result<std::vector<HostValue>>(other.status()) : outputs;
  }

  const std::vector<Placement>* last_placement() const override {
    return last_ == nullptr ? &owner_->placement() : last_->last_placement();
  }

  bool began() const override { return last_ == nullptr ? session_->began() : last_->began(); }
  void set_aside(size_t bytes) override {
    aside_ = bytes;
    session_->set_aside(bytes);
    for (const auto& [units, session] : variants_) session->set_aside(bytes);
  }

  size_t arena_bytes() const override {
    size_t bytes = session_->arena_bytes();
    for (const auto& [units, session] : variants_) bytes += session->arena_bytes();
    return bytes;
  }

 private:
  Result<Session*> variant(const Symbols& units, const Interrupt& interrupt) {
    if (variants_.size() >= kMaxVariants && !variants_.contains(units)) variants_.erase(variants_.begin());
    std::unique_ptr<Session>& session = variants_[units];
    if (session == nullptr) {
      auto executable = owner_->variant(units, interrupt);
      auto made = executable.ok() ? (*executable)->create_session(options_) : executable.status();
      if (!made.ok()) {
        variants_.erase(units);
        return made.status();
      }
      session = std::move(*made);
      session->set_aside(aside_);
    }
    return session.get();
  }

  std::shared_ptr<const PlannedExecutable> owner_;  // keeps code and graph alive
  std::unique_ptr<runtime::Session> session_;
  SessionOptions options_;
  std::map<Symbols, std::unique_ptr<Session>> variants_;
  size_t aside_ = 0;
  const Session* last_ = nullptr;  // the variant that ran last
};

Result<std::unique_ptr<runtime::Session>> PlannedExecutable::create_inner(const SessionOptions& options) const {
  runtime::SessionOptions inner;
  inner.num_threads = options.num_threads;
  inner.executor = options.executor;
  inner.max_bytes = options.max_bytes;
  inner.observer = options.observer;
  TENON_ASSIGN_OR_RETURN(inner.device, create_device());
  return runtime::Session::create(plan, inner);
}

Result<std::unique_ptr<Session>> PlannedExecutable::create_session(const SessionOptions& options) const {
  TENON_ASSIGN_OR_RETURN(auto session, create_inner(options));
  return std::unique_ptr<Session>(std::make_unique<PlannedSession>(shared_from_this(), std::move(session), options));
}

void PlannedExecutable::keep_source(const Backend& backend, const ir::Graph& source, const CompileOptions& options) {
  std::vector<int> symbols;
  for (const Value* input : source.inputs())
    if (input->type().is_ranked_tensor())
      for (const Dim& dim : *input->tensor().dims) collect_symbols(dim, symbols);
  if (symbols.empty()) return;
  source_ = options.reload ? ir::without_weights(source) : source.clone();
  backend_ = &backend;
  options_ = options;
}

Result<std::unique_ptr<Graph>> PlannedExecutable::whole_source() const {
  if (!options_.reload) return source_->clone();
  TENON_ASSIGN_OR_RETURN(auto graph, options_.reload());
  bool same = graph->inputs().size() == source_->inputs().size();
  for (size_t i = 0; same && i < graph->inputs().size(); ++i)
    same = ir::to_string(graph->inputs()[i]->type()) == ir::to_string(source_->inputs()[i]->type());
  if (same) return graph;
  return Status(Code::kInvalidArgument, "the model's file is no longer the one that was compiled", options_.model.string(), "load the model again");
}

PlannedExecutable::Symbols PlannedExecutable::units(std::span<const HostValue> inputs) const {
  Symbols all, ones;
  if (source_ == nullptr || inputs.size() != source_->inputs().size()) return {};
  for (size_t i = 0; i < inputs.size(); ++i) {
    const Value& input = *source_->inputs()[i];
    const auto* tensor = std::get_if<Tensor>(&inputs[i]);
    if (tensor == nullptr || !input.type().is_ranked_tensor() || input.tensor().rank() != tensor->rank()) continue;
    for (int axis = 0; axis < input.tensor().rank(); ++axis)
      if (const Dim& dim = input.tensor().dim(axis); dim.is_symbol()) all.emplace_back(dim.symbol_id(), tensor->dim(axis));
  }
  std::ranges::sort(all);
  all.erase(std::ranges::unique(all).begin(), all.end());
  std::ranges::copy_if(all, std::back_inserter(ones), [](const auto& one) { return one.second == 1; });
  return ones.empty() ? all : ones;
}

Result<std::shared_ptr<const Executable>> PlannedExecutable::variant(const Symbols& symbols, const Interrupt& interrupt) const {
  const std::lock_guard lock(mutex_);
  if (const auto found = variants_.find(symbols); found != variants_.end()) return found->second;
  if (variants_.size() >= kMaxVariants) variants_.erase(variants_.begin());
  CompileOptions options = options_;
  options.interrupt = interrupt;
  TENON_ASSIGN_OR_RETURN(const auto source, whole_source());
  const Symbols own = renumbered(symbols, *source_, *source);
  if (options.reload)  // for variants of the variant
    options.reload = [again = options_.reload, own]() -> Result<std::unique_ptr<Graph>> {
      TENON_ASSIGN_OR_RETURN(const auto graph, again());
      return specialised(*graph, own);
    };
  TENON_ASSIGN_OR_RETURN(auto made, backend_->compile_owned(specialised(*source, own), options));
  return variants_.emplace(symbols, std::move(made)).first->second;
}

}  // namespace tenon::backends
