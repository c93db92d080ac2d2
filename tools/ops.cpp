#include <algorithm>
#include <map>

#include "frontend/onnx/normalize.h"
#include "frontend/onnx/op_versions.h"
#include "ir/op.h"
#include "tools/common.h"

namespace tenon::tools {
namespace {

constexpr const char* kExamples =
    "Examples:\n"
    "  tenon ops\n"
    "  tenon ops Resize\n"
    "  tenon ops ai.onnx.ml.TreeEnsemble --json -\n"
    "  tenon ops --markdown > docs/operators.md";

struct Options {
  std::string op, json;
  bool markdown = false;
};

/// An op as users meet it: an ONNX name, in the op table or rewritten by the importer.
struct Entry {
  std::string_view domain, name;
  const ir::OpDef* op = nullptr;                 // null: none of its own
  const frontend::OpVersions* versions = nullptr;

  std::string qualified() const { return domain.empty() ? std::string(name) : fmt::format("{}.{}", domain, name); }
};

/// Whether the importer makes other ops of it.
bool rewritten(const Entry& e) {
  return frontend::has_replacement(e.domain, e.name, 1) || (e.op == nullptr && frontend::is_form(e.domain, e.name, 1));
}

std::vector<Entry> entries() {
  std::map<std::pair<std::string_view, std::string_view>, Entry> found;
  for (const frontend::OpVersions& v : frontend::all_op_versions()) found[{v.domain, v.name}] = {v.domain, v.name, ir::find_op(v.domain, v.name), &v};
  for (const ir::OpDef* op : ir::all_ops())
    if (op->domain != "tenon") found.try_emplace({op->domain, op->name}, Entry{op->domain, op->name, op, nullptr});
  std::vector<Entry> out;
  for (auto& [key, entry] : found) {
    // Of ONNX Runtime's ops, and of those that the specification dropped, only what Tenon has.
    const bool optional = entry.domain == "com.microsoft" || (entry.versions != nullptr && entry.versions->ended != 0);
    if (entry.op != nullptr || rewritten(entry) || !optional) out.push_back(entry);
  }
  return out;
}

std::string versions_text(const Entry& e) {
  if (e.versions == nullptr) return "1";
  std::string out = fmt::format("{}", fmt::join(e.versions->versions(), ", "));
  if (e.versions->ended != 0) out += fmt::format("; until {}", e.versions->ended - 1);
  return out;
}

/// How the op runs, and why no better.
std::pair<std::string, std::string> runs(const Entry& e) {
  if (e.op == nullptr)
    return rewritten(e) ? std::pair("rewritten", "by the importer") : std::pair("unsupported", "");
  const ir::Compute& c = e.op->compute;
  if (c.structural) return {"structural", ""};
  if (c.body != nullptr) return {"generated", ""};
  if (c.decompose != nullptr) return {"composed", ""};
  return {"host", e.op->host.empty() ? "not lowered yet" : std::string(e.op->host)};
}

std::string runs_text(const Entry& e) {
  const auto [how, why] = runs(e);
  return why.empty() ? how : fmt::format("{}: {}", how, why);
}

/// A set of dtypes in few words.
std::string types_text(ir::DTypeSet set) {
  const std::pair<const char*, ir::DTypeSet> groups[] = {
      {"float", ir::kFloat16To64},
      {"int", ir::kSignedInts},
      {"uint", ir::kUnsignedInts},
      {"f8", ir::kFloat8},
      {"i4 u4", ir::dtypes(DType::kI4, DType::kU4)},
      {"i2 u2", ir::dtypes(DType::kI2, DType::kU2)},
      {"complex", ir::dtypes(DType::kC64, DType::kC128)},
  };
  const ir::DTypeSet all = ir::kAnyTensor & (ir::dtype_bit(DType::kCount) - 1);
  if ((set & all) == all) return "any";
  std::vector<std::string> out;
  for (const auto& [text, group] : groups)
    if ((set & group) == group) {
      out.emplace_back(text);
      set &= ~group;
    }
  for (int d = 1; d < static_cast<int>(DType::kCount); ++d)
    if ((set & ir::dtype_bit(static_cast<DType>(d))) != 0) out.emplace_back(name(static_cast<DType>(d)));
  return fmt::format("{}", fmt::join(out, " "));
}

std::string param_types(const ir::Param& p) { return p.any ? "any value" : types_text(p.types); }

/// Attributes that hold graphs, which the op table has as regions.
std::vector<std::string_view> graph_attributes(const Entry& e) {
  const auto names = frontend::region_attributes(e.domain, e.name);
  return {names.begin(), names.end()};
}

/// Type variables with their dtypes, in the order of the parameters.
std::vector<std::pair<std::string, std::string>> variables(const ir::OpDef& op) {
  std::vector<std::pair<std::string, std::string>> out;
  for (const auto* params : {&op.inputs, &op.outputs})
    for (const ir::Param& p : *params) {
      const std::string key = p.any || p.var.empty() ? std::string(p.name) : std::string(p.var);
      const std::string types = param_types(p);
      const auto known = std::find_if(out.begin(), out.end(), [&](const auto& v) { return v.first == key; });
      if (known == out.end()) out.emplace_back(key, types);
    }
  return out;
}

constexpr std::string_view kKinds[] = {"int", "float", "string", "tensor", "ints", "floats", "strings", "dims", "type", "tensors"};

std::string_view kind_text(const ir::AttrDef& a) { return kKinds[static_cast<size_t>(a.kind)]; }

std::string param_text(const ir::Param& p) {
  return fmt::format("{}{}{}", p.name, p.variadic ? "…" : "", p.optional ? "?" : "");
}

std::string signature(const ir::OpDef& op) {
  const auto list = [](const std::vector<ir::Param>& params) {
    std::vector<std::string> out;
    for (const ir::Param& p : params) out.push_back(p.any || p.var.empty() ? param_text(p) : fmt::format("{}: {}", param_text(p), p.var));
    return fmt::format("{}", fmt::join(out, ", "));
  };
  return fmt::format("({}) → ({})", list(op.inputs), list(op.outputs));
}

// ---- Output

void print_list(const std::vector<Entry>& all) {
  Table table({"op", "versions", "runs"});
  for (const Entry& e : all) table.add({e.qualified(), versions_text(e), runs_text(e)});
  table.print();
  std::map<std::string, int> totals;
  for (const Entry& e : all) ++totals[runs(e).first];
  fmt::print("{} ops:", all.size());
  for (const auto& [how, n] : totals) fmt::print(" {} {}", n, how);
  fmt::print("\n");
}

void print_op(const Entry& e) {
  fmt::print("{}\n", e.qualified());
  if (e.op != nullptr) fmt::print("  {}\n  {}\n", e.op->doc, signature(*e.op));
  fmt::print("  versions: {}\n  runs: {}\n", versions_text(e), runs_text(e));
  if (e.op == nullptr) return;
  fmt::print("  types:\n");
  for (const auto& [variable, types] : variables(*e.op)) fmt::print("    {}: {}\n", variable, types);
  const std::vector<std::string_view> graphs = graph_attributes(e);
  if (e.op->attrs.empty() && graphs.empty()) return;
  fmt::print("  attributes:\n");
  for (const std::string_view name : graphs) fmt::print("    {}: graph, required\n", name);
  for (const ir::AttrDef& a : e.op->attrs)
    fmt::print("    {}: {}{}\n", a.name, kind_text(a), a.required ? ", required" : a.fallback.empty() ? "" : fmt::format(", default {}", a.fallback));
}

nlohmann::json params_json(const std::vector<ir::Param>& params) {
  nlohmann::json out = nlohmann::json::array();
  for (const ir::Param& p : params) {
    std::vector<std::string> types;
    for (int d = 1; d < static_cast<int>(DType::kCount); ++d)
      if ((p.types & ir::dtype_bit(static_cast<DType>(d))) != 0) types.emplace_back(name(static_cast<DType>(d)));
    out.push_back({{"name", p.name}, {"variable", p.var}, {"types", types}, {"optional", p.optional}, {"variadic", p.variadic}, {"any_value", p.any}});
  }
  return out;
}

nlohmann::json to_json(const Entry& e) {
  const auto [how, why] = runs(e);
  nlohmann::json out{{"domain", e.domain.empty() ? "ai.onnx" : e.domain}, {"op", e.name}, {"runs", how}};
  if (!why.empty()) out["why"] = why;
  if (e.versions != nullptr) out["versions"] = std::vector<int64_t>(e.versions->versions().begin(), e.versions->versions().end());
  if (e.versions != nullptr && e.versions->ended != 0) out["ended"] = e.versions->ended;
  if (e.op == nullptr) return out;
  out["doc"] = e.op->doc;
  out["inputs"] = params_json(e.op->inputs);
  out["outputs"] = params_json(e.op->outputs);
  out["attributes"] = nlohmann::json::array();
  for (const ir::AttrDef& a : e.op->attrs) {
    nlohmann::json attr{{"name", a.name}, {"kind", kind_text(a)}, {"required", a.required}};
    if (!a.fallback.empty()) attr["default"] = a.fallback;
    out["attributes"].push_back(std::move(attr));
  }
  for (const std::string_view name : graph_attributes(e))
    out["attributes"].push_back({{"name", name}, {"kind", "graph"}, {"required", true}});
  return out;
}

constexpr const char* kLegend =
    "# Operators\n\n"
    "Every ONNX op that Tenon reads, by domain. `tenon ops` prints the same list, `tenon ops NAME` one op. This page is the output of\n"
    "`tenon ops --markdown`; a test compares the two.\n\n"
    "**Versions** are the opsets that define or change the op; a model may use any of them, since the importer brings old forms to the\n"
    "newest. *until N* means that opsets after N lack the op.\n\n"
    "**Types** gives each type variable of the op, or a parameter without one, with its dtypes. *float* is f16, bf16, f32 and f64; *int* and\n"
    "*uint* are the integers of 8 to 64 bits; *f8* the four float8 types with mantissa; *any* every tensor; *any value* also sequences,\n"
    "optionals and maps.\n\n"
    "**Attributes** are listed with their defaults; those in bold must be given.\n\n"
    "**Runs** says how the backends compute the op:\n\n"
    "| | |\n| --- | --- |\n"
    "| generated | its body is lowered to kernels, on the CPU and on Vulkan, and fuses with its neighbours |\n"
    "| composed | it becomes a graph of simpler ops, which are generated |\n"
    "| structural | the plan knows it: control flow, constants, views |\n"
    "| rewritten | the importer turns it into other ops of this list |\n"
    "| host | a call of the reference evaluator, on every backend; with the reason |\n"
    "| unsupported | models that use it are refused |\n\n"
    "The reference interpreter runs everything that is not unsupported. Whether one node is generated may depend on its attributes and types:\n"
    "`tenon check MODEL` tells.\n";

std::string attributes_markdown(const Entry& e) {
  std::vector<std::string> out;
  for (const std::string_view name : graph_attributes(e)) out.push_back(fmt::format("**{}**", name));
  for (const ir::AttrDef& a : e.op->attrs)
    out.push_back(a.required ? fmt::format("**{}**", a.name) : a.fallback.empty() ? std::string(a.name) : fmt::format("{} = {}", a.name, a.fallback));
  return fmt::format("{}", fmt::join(out, ", "));
}

std::string markdown(const std::vector<Entry>& all) {
  std::string out = kLegend;
  std::optional<std::string_view> domain;
  for (const Entry& e : all) {
    if (domain != e.domain) {
      domain = e.domain;
      const auto in_domain = [&](const Entry& other) { return other.domain == e.domain; };
      out += fmt::format("\n## {}\n\n{} ops.\n\n| op | versions | types | attributes | runs |\n| --- | --- | --- | --- | --- |\n",
                         e.domain.empty() ? "ai.onnx" : e.domain, std::count_if(all.begin(), all.end(), in_domain));
    }
    std::vector<std::string> types;
    if (e.op != nullptr)
      for (const auto& [variable, set] : variables(*e.op)) types.push_back(fmt::format("{}: {}", variable, set));
    out += fmt::format("| {} | {} | {} | {} | {} |\n", e.name, versions_text(e), fmt::join(types, "; "),
                       e.op == nullptr ? "" : attributes_markdown(e), runs_text(e));
  }
  return out;
}

/// The same name in other domains or another case, as a hint.
std::string similar_text(const std::string& wanted) {
  const auto lower = [](std::string_view text) { return CLI::detail::to_lower(std::string(text)); };
  const std::string name = lower(std::string_view(wanted).substr(wanted.rfind('.') + 1));
  std::vector<std::string> found;
  for (const Entry& e : entries())
    if (lower(e.name) == name) found.push_back(e.qualified());
  return found.empty() ? "`tenon ops` lists them" : fmt::format("did you mean {}?", fmt::join(found, " or "));
}

Status ops(const Options& o) {
  std::vector<Entry> all = entries();
  if (!o.op.empty()) {
    const std::string wanted = o.op.starts_with("ai.onnx.") && !o.op.starts_with("ai.onnx.ml.") && !o.op.starts_with("ai.onnx.preview.") ? o.op.substr(8) : o.op;
    std::erase_if(all, [&](const Entry& e) { return e.qualified() != wanted; });
    if (all.empty())
      return Status(Code::kInvalidArgument, fmt::format("there is no op '{}'", o.op), {}, similar_text(wanted));
  }
  if (o.markdown) {
    fmt::print("{}", markdown(all));
  } else if (o.json != "-") {
    if (o.op.empty()) print_list(all);
    else print_op(all[0]);
  }
  if (o.json.empty()) return {};
  nlohmann::json list = nlohmann::json::array();
  for (const Entry& e : all) list.push_back(to_json(e));
  return write_json({{"ops", list}}, o.json);
}

}  // namespace

void add_ops(CLI::App& app, int& status) {
  auto o = std::make_shared<Options>();
  CLI::App* sub = app.add_subcommand("ops", "List the ops with their versions, types, attributes and how they run");
  sub->add_option("op", o->op, "Only this op, with its domain unless that is ai.onnx")->type_name("NAME");
  sub->add_flag("--markdown", o->markdown, "As a page of documentation");
  sub->add_option("--json", o->json, "Write results to a file, or - for stdout")->type_name("PATH");
  sub->footer(kExamples);
  sub->callback([o, &status] {
    const Status result = ops(*o);
    status = result.ok() ? kSuccess : report(result);
  });
}

}  // namespace tenon::tools
