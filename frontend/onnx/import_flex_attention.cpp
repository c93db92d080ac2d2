// FlexAttention of ai.onnx.preview: attention whose scores and weights subgraphs may change.

#include "frontend/onnx/importer.h"
#include "ir/ops/attention.h"

namespace tenon::frontend {

/// The nodes of a subgraph of one input and one output, in place of a call of it on x.
Result<ir::Value*> Importer::inline_modifier(const onnx::GraphProto& proto, ir::Value* x, const std::string& name,
                                             ir::Graph& graph, const Scope& scope, const Frame& frame) {
  if (frame.depth + 1 > options_.max_nesting)
    return error(Code::kResourceExhausted, "subgraphs are nested more than {} deep", options_.max_nesting);
  if (proto.input_size() != 1 || proto.output_size() != 1)
    return error(Code::kInvalidModel, "has {} inputs and {} outputs, but takes one tensor and gives one",
                 proto.input_size(), proto.output_size());
  Frame inner = frame;
  inner.depth = frame.depth + 1;
  inner.prefix = name.size() <= kMaxPrefix ? name + "/" : fmt::format("subgraph_{}/", unnamed_++);
  Scope inside;
  inside.parent = &scope;
  inside.values.emplace(proto.input(0).name(), x);
  TENON_RETURN_IF_ERROR(import_initializers(proto, graph, inside, inner));
  TENON_RETURN_IF_ERROR(import_nodes(proto.node(), graph, inside, inner, {}));
  ir::Value* y = inside.find(proto.output(0).name());
  if (y == nullptr) return error(Code::kInvalidModel, "nothing defines '{}'", proto.output(0).name());
  if (!unsupported_.empty()) return x;  // only read on, to report everything at once
  const bool tensors = x->type().is_ranked_tensor() && y->type().is_ranked_tensor();
  bool same = tensors && x->dtype() == y->dtype() && x->tensor().rank() == y->tensor().rank();
  for (int64_t i = 0; same && i < x->tensor().rank(); ++i) same = !known_ne(x->tensor().dim(i), y->tensor().dim(i));
  if (!same)
    return error(Code::kInvalidModel, "gives {} where {} comes in", to_string(y->type()), to_string(x->type()));
  return y;
}

Importer::Values Importer::import_flex_attention(const Call& call, const Regions& regions, ir::Graph& graph,
                                                 const Scope& scope, const Frame& frame) {
  if (call.inputs.size() != 3 || call.used.size() != 1)
    return error(Code::kInvalidModel, "has {} inputs and {} outputs, not 3 and 1", call.inputs.size(),
                 call.used.size());
  for (size_t i = 0; i < 3; ++i) {
    if (!call.has(i)) return error(Code::kInvalidModel, "input {} is missing", i);
    const ir::Value& x = *call.in(i);
    if (!x.type().is_tensor() || (ir::kFloat16To64 & ir::dtype_bit(x.dtype())) == 0 || x.dtype() != call.in(0)->dtype())
      return error(Code::kInvalidModel, "input {} is {}; Q, K and V are float tensors of one dtype", i,
                   to_string(x.type()));
    if (!x.type().is_ranked_tensor())
      return rules::unsupported(call, fmt::format("the rank of input {} is not known", i));
    if (x.tensor().rank() != 4) return error(Code::kInvalidModel, "input {} has rank {}, not 4", i, x.tensor().rank());
  }
  for (const auto& [name, value] : call.attrs)
    if (!(name == "scale" && std::holds_alternative<double>(value)) &&
        !(name == "softmax_precision" && std::holds_alternative<int64_t>(value)))
      return error(Code::kInvalidModel, "attribute {} is not one of FlexAttention's, or of another type", name);
  const ir::TensorType &q = call.in(0)->tensor(), &k = call.in(1)->tensor(), &v = call.in(2)->tensor();
  const std::pair<std::string_view, std::pair<ir::Dim, ir::Dim>> equal[] = {
      {"batches of Q and K", {q.dim(0), k.dim(0)}},
      {"batches of Q and V", {q.dim(0), v.dim(0)}},
      {"heads of K and V", {k.dim(1), v.dim(1)}},
      {"lengths of K and V", {k.dim(2), v.dim(2)}},
      {"head sizes of Q and K", {q.dim(3), k.dim(3)}}};
  for (const auto& [what, dims] : equal)
    if (known_ne(dims.first, dims.second))
      return error(Code::kInvalidModel, "the {} differ: {} and {}", what, to_string(dims.first),
                   to_string(dims.second));
  if (q.dim(1).is_const() && k.dim(1).is_const() &&
      (k.dim(1).value() == 0 ? q.dim(1).value() != 0 : q.dim(1).value() % k.dim(1).value() != 0))
    return error(Code::kInvalidModel, "{} query heads do not divide among {} key heads", q.dim(1).value(),
                 k.dim(1).value());

  ir::AttentionSpec spec{.q = call.in(0), .k = call.in(1), .v = call.in(2)};
  spec.scale = call.real("scale", 0);
  spec.scale_given = call.attrs.has("scale");
  const int64_t precision =
      call.integer("softmax_precision", info(q.dtype == DType::kF64 ? DType::kF64 : DType::kF32).onnx);
  const auto softmax_type =
      precision > 0 && precision < 100 ? dtype_from_onnx(static_cast<int>(precision)) : std::nullopt;
  if (!softmax_type || (ir::kFloat16To64 & ir::dtype_bit(*softmax_type)) == 0)
    return error(Code::kInvalidModel, "softmax_precision {} is no float type", precision);
  spec.softmax_type = *softmax_type;
  spec.values_in_softmax_type = true;

  ir::Builder builder(graph);
  builder.set_name(call.name);
  Status modified;
  const auto modifier = [&](size_t i) -> std::function<ir::Value*(ir::Value*)> {
    if (regions[i] == nullptr) return {};
    return [&, i](ir::Value* x) -> ir::Value* {
      if (x == nullptr) return nullptr;
      const std::string_view what = region_attributes(call.domain, call.op)[i];
      Result<ir::Value*> y =
          inline_modifier(*regions[i], x, fmt::format("{}/{}", call.name, what), graph, scope, frame);
      if (y.ok()) return *y;
      modified = std::move(y).status().at(std::string(what));
      return nullptr;
    };
  };
  spec.score_mod = modifier(0);
  spec.weight_mod = modifier(1);
  ir::Steps steps(builder);
  const ir::AttentionResult result = ir::attend(steps, spec);
  TENON_RETURN_IF_ERROR(modified);
  TENON_RETURN_IF_ERROR(builder.status());
  return std::vector<ir::Value*>{result.y};
}

}  // namespace tenon::frontend
