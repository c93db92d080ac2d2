#pragma once

#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "ir/graph.h"
#include "ir/op.h"

namespace tenon::frontend {

/// One ONNX node on its way into the graph: operands resolved, attributes read, functions inlined.
struct Call {
  std::string domain, op;
  int64_t version = 0;              // opset in force for the domain
  std::string name;                 // of the node
  std::vector<ir::Value*> inputs;   // null: absent
  ir::Attrs attrs;
  std::vector<bool> used;           // per declared output: it has a name
  int64_t channel_block = 0;        // of the model's com.microsoft.nchwc layout, 0: it has none
  bool blocked = false;             // an input comes from ops of that layout

  bool has(size_t i) const { return i < inputs.size() && inputs[i] != nullptr; }
  ir::Value* in(size_t i) const { return i < inputs.size() ? inputs[i] : nullptr; }
  bool output_used(size_t i) const { return i < used.size() && used[i]; }
  void set_input(size_t i, ir::Value* value) {
    if (inputs.size() <= i) inputs.resize(i + 1, nullptr);
    inputs[i] = value;
  }
  /// Typed reads; the fallback also for an attribute of another kind, which the op table's check refuses later.
  int64_t integer(std::string_view name, int64_t fallback) const;
  double real(std::string_view name, double fallback) const;
  std::string text(std::string_view name, std::string_view fallback) const;
  const std::vector<int64_t>* integers(std::string_view name) const;
  const std::vector<double>* reals(std::string_view name) const;
};

/// Changes a call into the next newer form in place, or builds it whole and gives the outputs (null for unused ones).
using Rewrite = Status (*)(Call& call, ir::Builder& builder, std::optional<std::vector<ir::Value*>>& outputs);

/// Applies to calls of `ops` (names separated by spaces) whose opset version is below `below`.
struct NormalizeRule {
  std::string_view domain, ops;
  int64_t below;
  Rewrite rewrite;
  bool replaces = false;  // the op itself need not be in the op table
};

/// The tables, in the order in which rules apply to one op: oldest form first.
std::span<const NormalizeRule> math_rules();
std::span<const NormalizeRule> nn_rules();
std::span<const NormalizeRule> tensor_rules();
std::span<const NormalizeRule> experimental_rules();
std::span<const NormalizeRule> layout_rules();
std::span<const NormalizeRule> contrib_rules();

/// Brings a call to the newest form of its op. kUnsupported when an old form has no newer equivalent.
Status normalize(Call& call, ir::Builder& builder, std::optional<std::vector<ir::Value*>>& outputs);
/// Whether some rule turns this op into others.
bool has_replacement(std::string_view domain, std::string_view op, int64_t version);
/// Whether the importer itself builds this op: what it means lies in its subgraphs or in the graph around it.
bool is_form(std::string_view domain, std::string_view op, int64_t version);

/// Helpers of the tables.
namespace rules {

inline constexpr int64_t kAnyVersion = INT64_MAX;

Status unsupported(const Call& call, std::string what);
/// Removes attribute `name` (a list of integers) and makes it input `index`.
Status axes_to_input(Call& call, ir::Builder& builder, std::string_view name, size_t index);
/// A scalar constant of the dtype of `like`.
ir::Value* scalar_like(ir::Builder& builder, const ir::Value* like, double value);
/// Rank of a value, when inference knows it.
std::optional<int64_t> rank_of(const ir::Value* value);

}  // namespace rules
}  // namespace tenon::frontend
