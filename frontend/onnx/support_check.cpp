// The survey of a model before anything is built: every op that is missing, in one error.

#include <algorithm>

#include "frontend/onnx/importer.h"
#include "frontend/onnx/op_versions.h"

namespace tenon::frontend {

std::string canonical_domain(const std::string& domain) { return domain == "ai.onnx" ? std::string() : domain; }

Result<Opsets> read_opsets(const google::protobuf::RepeatedPtrField<onnx::OperatorSetIdProto>& imports) {
  Opsets out;
  for (const auto& import : imports) {
    const std::string domain = canonical_domain(import.domain());
    if (import.version() < 1 || import.version() > 1'000'000)
      return error(Code::kInvalidModel, "opset version {} of domain '{}' is not valid", import.version(), domain);
    auto [it, inserted] = out.emplace(domain, import.version());
    if (!inserted && it->second != import.version())
      return error(Code::kInvalidModel, "domain '{}' is imported twice, as opset {} and {}", domain, it->second, import.version());
  }
  return out;
}

namespace {

std::string identity(const std::string& domain, const std::string& name, const std::string& overload) {
  return canonical_domain(domain) + '\0' + name + '\0' + overload;
}

}  // namespace

Result<Functions> Functions::read(const onnx::ModelProto& model, const ir::OpRegistry* ops) {
  Functions out;
  for (const onnx::FunctionProto& f : model.functions()) {
    if (ops != nullptr && overload_of(f).empty() && ops->has(f.domain(), f.name())) continue;
    Entry entry{&f, {}, {}};
    TENON_ASSIGN_OR_RETURN(entry.opsets, read_opsets(f.opset_import()));
    const auto& unknown = f.GetReflection()->GetUnknownFields(f);
    for (int i = 0; i < unknown.field_count(); ++i) {
      if (unknown.field(i).number() != 11 || unknown.field(i).type() != google::protobuf::UnknownField::TYPE_LENGTH_DELIMITED)
        continue;
      onnx::AttributeProto attribute;
      if (!parse_message(unknown.field(i).length_delimited(), attribute))
        return error(Code::kInvalidModel, "function {} has a damaged attribute default", f.name());
      const std::string name = attribute.name();
      entry.defaults.emplace(name, std::move(attribute));
    }
    if (!out.entries_.emplace(identity(f.domain(), f.name(), overload_of(f)), std::move(entry)).second)
      return error(Code::kInvalidModel, "function {} of domain '{}' is defined twice", f.name(), f.domain());
  }
  return out;
}

const Functions::Entry* Functions::find(const onnx::NodeProto& node) const {
  if (entries_.empty()) return nullptr;
  auto it = entries_.find(identity(node.domain(), node.op_type(), overload_of(node)));
  return it == entries_.end() ? nullptr : &it->second;
}

namespace {

/// Missing ops with the nodes that use them.
struct Missing {
  std::string what;
  std::vector<std::string> nodes;
  int64_t count = 0;
};

class Survey {
 public:
  Survey(const Functions& functions, const ImportOptions& options)
      : functions_(functions), ops_(options.ops.get()), max_nesting_(options.max_nesting) {}

  Status nodes(const Nodes& nodes, const Opsets& opsets, int depth) {
    if (depth > max_nesting_)
      return error(Code::kResourceExhausted, "subgraphs are nested more than {} deep", max_nesting_);
    for (const onnx::NodeProto& node : nodes) {
      if (functions_.find(node) == nullptr) TENON_RETURN_IF_ERROR(op(node, opsets));
      for (const onnx::AttributeProto& a : node.attribute()) {
        if (a.has_g()) TENON_RETURN_IF_ERROR(this->nodes(a.g().node(), opsets, depth + 1));
        for (const onnx::GraphProto& g : a.graphs()) TENON_RETURN_IF_ERROR(this->nodes(g.node(), opsets, depth + 1));
      }
    }
    return {};
  }

  Status report() const {
    if (missing_.empty()) return {};
    std::string text = "the model needs what Tenon lacks:";
    for (const auto& [key, m] : missing_) {
      text += fmt::format("\n  {}: {} node{} ({}{})", m.what, m.count, m.count == 1 ? "" : "s", fmt::join(m.nodes, ", "),
                          m.count > static_cast<int64_t>(m.nodes.size()) ? ", …" : "");
    }
    return Status(Code::kUnsupported, std::move(text), {}, std::string(custom_ ? ir::kMissingOpHint : ""));
  }

 private:
  Status op(const onnx::NodeProto& node, const Opsets& opsets) {
    const std::string domain = canonical_domain(node.domain());
    if (node.op_type().empty()) return Status(Code::kInvalidModel, "a node has no op_type", node.name());
    const auto found = opsets.find(domain);
    if (found == opsets.end() && domain.empty())
      return Status(Code::kInvalidModel, "the model imports no opset for ai.onnx", node.name());
    const int64_t version = found == opsets.end() ? 1 : found->second;
    const std::span<const int64_t> versions = op_versions(domain, node.op_type());
    if (!versions.empty() && version < versions[0])
      return Status(Code::kInvalidModel,
                    fmt::format("{} exists from opset {}, and the model imports opset {}", node.op_type(), versions[0], version),
                    node.name(), "import a newer opset");
    const int64_t newest = newest_opset(domain).value_or(version);
    if (version > newest)
      add(domain + '\0' + "opset", fmt::format("opset {} of {} (the newest known is {})", version, domain.empty() ? "ai.onnx" : domain, newest), node);
    else if (!known(domain, node.op_type(), version)) {
      const bool newer = ops_ != nullptr && ops_->has(domain, node.op_type());
      custom_ |= !domain.empty() && !domain.starts_with("ai.onnx");
      add(domain + '\0' + node.op_type(),
          fmt::format("{}{}{} of opset {}{}", domain, domain.empty() ? "" : ".", node.op_type(), version,
                      newer ? ", which is older than every form that is registered" : ""), node);
    }
    return {};
  }

  bool known(const std::string& domain, const std::string& op, int64_t version) const {
    if (ops_ != nullptr && ops_->find(domain, op, version) != nullptr) return true;
    return ir::find_op(domain, op) != nullptr || has_replacement(domain, op, version) || is_form(domain, op, version);
  }

  void add(const std::string& key, std::string what, const onnx::NodeProto& node) {
    Missing& m = missing_[key];
    if (m.count++ == 0) m.what = std::move(what);
    if (m.nodes.size() < 5)
      m.nodes.push_back(!node.name().empty()        ? node.name()
                        : node.output_size() > 0 ? fmt::format("the one that makes {}", node.output(0))
                                                 : "unnamed");
  }

  const Functions& functions_;
  const ir::OpRegistry* ops_;
  int max_nesting_;
  std::map<std::string, Missing> missing_;
  bool custom_ = false;  // whether one of the missing ops is of a domain that is not ONNX's
};

/// How many nodes there are once functions are inlined, before any is: a few functions that call each other twice make 2^n.
class InlinedSize {
 public:
  InlinedSize(const Functions& functions, const ImportOptions& options) : functions_(functions), options_(options) {}

  Result<int64_t> nodes(const Nodes& nodes, int depth) {
    if (depth > options_.max_nesting)
      return error(Code::kResourceExhausted, "calls and subgraphs are nested more than {} deep", options_.max_nesting);
    int64_t total = nodes.size();
    const auto add = [&](const Result<int64_t>& more) -> Status {
      if (!more.ok()) return more.status();
      total += *more;
      return total <= options_.max_nodes ? Status()
                                         : error(Code::kResourceExhausted, "more than {} nodes once functions are inlined", options_.max_nodes);
    };
    for (const onnx::NodeProto& node : nodes) {
      if (const Functions::Entry* f = functions_.find(node)) TENON_RETURN_IF_ERROR(add(function(*f, depth + 1)));
      for (const onnx::AttributeProto& a : node.attribute()) {
        if (a.has_g()) TENON_RETURN_IF_ERROR(add(this->nodes(a.g().node(), depth + 1)));
        for (const onnx::GraphProto& g : a.graphs()) TENON_RETURN_IF_ERROR(add(this->nodes(g.node(), depth + 1)));
      }
    }
    return total;
  }

 private:
  Result<int64_t> function(const Functions::Entry& f, int depth) {
    // Zero while it is being counted: a function that calls itself is reported where it is called.
    const auto [it, fresh] = counts_.emplace(&f, 0);
    if (!fresh) return it->second;
    TENON_ASSIGN_OR_RETURN(const int64_t count, nodes(f.proto->node(), depth));
    return counts_[&f] = count;
  }

  const Functions& functions_;
  const ImportOptions& options_;
  std::map<const Functions::Entry*, int64_t> counts_;
};

}  // namespace

Status check_supported(const onnx::ModelProto& model, const Opsets& opsets, const Functions& functions, const ImportOptions& options) {
  Survey survey(functions, options);
  TENON_RETURN_IF_ERROR(survey.nodes(model.graph().node(), opsets, 0));
  for (const auto& [id, function] : functions.all())
    TENON_RETURN_IF_ERROR(survey.nodes(function.proto->node(), function.opsets, 0).at(fmt::format("function {}", function.proto->name())));
  TENON_RETURN_IF_ERROR(survey.report());
  return InlinedSize(functions, options).nodes(model.graph().node(), 0).status();
}

std::span<const std::string_view> region_attributes(std::string_view domain, std::string_view op) {
  static constexpr std::string_view kBranches[] = {"then_branch", "else_branch"}, kBody[] = {"body"}, kModifiers[] = {"score_mod", "prob_mod"};
  if (domain.empty() && op == "If") return kBranches;
  if (domain.empty() && (op == "Loop" || op == "Scan" || op == "SequenceMap")) return kBody;
  if (domain == "ai.onnx.preview" && op == "FlexAttention") return kModifiers;
  return {};
}

}  // namespace tenon::frontend
