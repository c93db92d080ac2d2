#include "eval/unbound_dims.h"

#include <algorithm>
#include <set>
#include <vector>

#include "frontend/onnx/model_fields.h"

namespace tenon::eval {
namespace {

/// The name that --dim takes for a symbol; empty for a dim that the model gives none.
std::string dim_name(const ir::Graph& graph, const std::string& symbol) {
  const auto found = graph.metadata.find(frontend::fields::dim_param(symbol));
  return found == graph.metadata.end() ? symbol : found->second;
}

/// "state=2xDx128": what --shape takes for an input.
std::string shape_form(const ir::Value& input) {
  std::vector<std::string> dims;
  for (const ir::Dim& dim : *input.tensor().dims) dims.push_back(dim.is_const() ? std::to_string(dim.value()) : "D");
  return fmt::format("{}={}", input.name(), fmt::join(dims, "x"));
}

struct Unbound {
  std::vector<std::string> names, ways;  // as they are called, and how each is bound
};

/// Calls with every symbol that is a dim of the input.
void each_symbol(const ir::Value& input, const auto& call) {
  if (!input.type().is_ranked_tensor()) return;
  for (const ir::Dim& dim : *input.tensor().dims)
    if (dim.is_symbol()) call(dim.symbol_id());
}

Unbound find_unbound(const ir::Graph& graph, std::span<const std::string> given) {
  Unbound out;
  const auto add = [](std::vector<std::string>& list, std::string text) {
    if (std::ranges::find(list, text) == list.end()) list.push_back(std::move(text));
  };
  std::set<int> bound;
  for (const ir::Value* input : graph.inputs())
    if (std::ranges::find(given, input->name()) != given.end()) each_symbol(*input, [&](int id) { bound.insert(id); });
  for (const ir::Value* input : graph.inputs())
    each_symbol(*input, [&](int id) {
      if (bound.contains(id)) return;
      const std::string& symbol = graph.dims().symbol_name(id);
      const std::string name = dim_name(graph, symbol);
      add(out.names, name.empty() ? symbol : name);
      add(out.ways, name.empty() ? "--shape " + shape_form(*input) : "--dim NAME=N");
    });
  return out;
}

bool takes_sizes(const std::filesystem::path& model) { return model.extension() != ".tir"; }

}  // namespace

std::string unbound_dims(const ir::Graph& graph, const std::filesystem::path& model, std::span<const std::string> given) {
  const Unbound unbound = find_unbound(graph, given);
  if (unbound.names.empty()) return {};
  return fmt::format("{} at 1{}", fmt::join(unbound.names, ", "), takes_sizes(model) ? fmt::format(" (bind with {})", fmt::join(unbound.ways, ", ")) : "");
}

Status advise_sizes(Status failed, const ir::Graph& graph, const std::filesystem::path& model, std::span<const std::string> given) {
  if (failed.code() != Code::kInvalidArgument && failed.code() != Code::kInvalidModel) return failed;
  const Unbound unbound = find_unbound(graph, given);
  if (unbound.names.empty() || !takes_sizes(model)) return failed;
  const bool one = unbound.names.size() == 1;
  return Status(failed.code(), std::string(failed.what()), std::string(failed.where()),
                fmt::format("{} {} no size and {} 1 here: give {} with {}", fmt::join(unbound.names, ", "), one ? "has" : "have", one ? "was" : "were",
                                                 one ? "it one" : "them sizes", fmt::join(unbound.ways, ", ")));
}

}  // namespace tenon::eval
