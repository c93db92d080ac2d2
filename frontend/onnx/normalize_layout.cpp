// Layouts that ONNX Runtime's optimiser writes: blocked channels (com.microsoft.nchwc) and channels last
// (com.ms.internal.nhwc), back to plain N×C×…. A blocked tensor becomes one whose channels are padded to whole blocks, so
// that operators between blocked ones mean the same.

#include "frontend/onnx/normalize.h"

namespace tenon::frontend {
namespace {

using namespace rules;
using Outputs = std::optional<std::vector<ir::Value*>>;
using Dims = std::vector<ir::Dim>;

std::vector<std::pair<std::string, ir::Attr>> attributes(const Call& call) {
  std::vector<std::pair<std::string, ir::Attr>> out;
  for (const auto& [name, value] : call.attrs) out.emplace_back(name, value);
  return out;
}

/// Channels from the last axis to axis 1, or back.
ir::Value* channels_first(ir::Builder& builder, ir::Value* x, int64_t rank, bool back = false) {
  std::vector<int64_t> perm = {0};
  if (!back) perm.push_back(rank - 1);
  for (int64_t i = back ? 2 : 1; i < (back ? rank : rank - 1); ++i) perm.push_back(i);
  if (back) perm.push_back(1);
  return builder.make("Transpose", {x}, {{"perm", std::move(perm)}});
}

Result<int64_t> rank_or_fail(const Call& call, size_t input) {
  const std::optional<int64_t> rank = rank_of(call.in(input));
  if (!call.has(input)) return error(Code::kInvalidModel, "input {} is missing", input);
  if (!rank) return unsupported(call, fmt::format("an input {} whose rank is not known", input));
  if (*rank < 3) return error(Code::kInvalidModel, "input {} has rank {}; it must be at least 3", input, *rank);
  return *rank;
}

Status reorder_input(Call& call, ir::Builder& builder, Outputs& outputs) {
  TENON_ASSIGN_OR_RETURN(const int64_t rank, rank_or_fail(call, 0));
  ir::Value* x = call.in(0);
  if (call.integer("channels_last", 0) != 0) x = channels_first(builder, x, rank);
  TENON_RETURN_IF_ERROR(builder.status());
  const ir::Dim missing = ir::mod(ir::Dim(0) - x->tensor().dim(1), call.channel_block);
  Dims pads(static_cast<size_t>(2 * rank), 0);
  pads[static_cast<size_t>(rank + 1)] = missing;
  outputs = {missing.is_const(0) ? builder.make("Identity", {x})
                                 : builder.make("Pad", {x, builder.make("tenon.dim_values", {}, {{"dims", pads}})})};
  return builder.status();
}

Status reorder_output(Call& call, ir::Builder& builder, Outputs& outputs) {
  TENON_ASSIGN_OR_RETURN(const int64_t rank, rank_or_fail(call, 0));
  const int64_t channels = call.integer("channels", 0);
  const ir::Dim have = call.in(0)->tensor().dim(1);
  if (channels <= 0 || ir::known_lt(have, channels))
    return error(Code::kInvalidModel, "attribute channels is {} where there are {}", channels, to_string(have));
  ir::Value* y = have.is_const(channels)
                     ? builder.make("Identity", {call.in(0)})
                     : builder.make("Slice", {call.in(0), builder.ints({0}), builder.ints({channels}), builder.ints({1})});
  if (call.integer("channels_last", 0) != 0) y = channels_first(builder, y, rank, true);
  outputs = {y};
  return builder.status();
}

/// Filters are stored as [out / B, in / B, …, B of in, B of out], or, where a filter has one channel or fewer than a
/// block (then it reads the plain layout), as [out / B, in, …, B of out].
Result<ir::Value*> plain_filters(const Call& call, ir::Builder& builder) {
  if (!call.has(1)) return error(Code::kInvalidModel, "input 1 is missing");
  ir::Value* w = call.in(1);
  if (!w->type().is_ranked_tensor()) return unsupported(call, "filters whose shape is not known");
  const Dims d = *w->tensor().dims;
  if (d.size() != 4) return error(Code::kInvalidModel, "the filters have rank {} where 4 is needed", d.size());
  const int64_t block = call.channel_block;
  if (!d[0].is_const() || !d[1].is_const()) return unsupported(call, "filters whose shape is not known");
  if (d[0].value() % block != 0) return error(Code::kInvalidModel, "{} filters are not whole blocks of {}", d[0].value(), block);
  const bool grouped = call.integer("group", 1) != 1;
  const bool blocked_in = grouped ? !d[1].is_const(1) : d[1].value() >= block;
  if (blocked_in && d[1].value() % block != 0) return error(Code::kInvalidModel, "{} channels are not whole blocks of {}", d[1].value(), block);
  const ir::Dim out_blocks = d[0].value() / block, in_blocks = blocked_in ? d[1].value() / block : d[1].value();
  const Dims stored = blocked_in ? Dims{out_blocks, in_blocks, d[2], d[3], block, block} : Dims{out_blocks, in_blocks, d[2], d[3], block};
  const std::vector<int64_t> perm = blocked_in ? std::vector<int64_t>{0, 5, 1, 4, 2, 3} : std::vector<int64_t>{0, 4, 1, 2, 3};
  ir::Value* apart = builder.make("tenon.reshape", {w}, {{"dims", stored}});
  return builder.make("tenon.reshape", {builder.make("Transpose", {apart}, {{"perm", perm}})}, {{"dims", d}});
}

Status blocked_conv(Call& call, ir::Builder& builder, Outputs& outputs) {
  TENON_ASSIGN_OR_RETURN(ir::Value* w, plain_filters(call, builder));
  ir::Value* inputs[] = {call.in(0), w, call.in(2), call.in(3)};
  outputs = builder.make_n("com.microsoft.FusedConv", inputs, 1, attributes(call));
  return builder.status();
}

Status plain_op(Call& call, ir::Builder&, Outputs&) {
  call.domain.clear();
  return {};
}

/// Reshape to [batch, blocks, height, width, channels of a block]: what is broadcast between two such tensors broadcasts
/// as well without.
Status expose_blocks(Call& call, ir::Builder& builder, Outputs& outputs) {
  if (!call.blocked || call.has(2) || !call.has(1)) return {};
  const std::optional<std::vector<int64_t>> shape = ir::constant_ints(call.in(1));
  if (!shape || *shape != std::vector<int64_t>{0, -1, 0, 0, call.channel_block}) return {};
  outputs = {builder.make("Identity", {call.in(0)})};
  return builder.status();
}

/// Integer scales; the coordinates are Resize's, the nearest one below.
Status blocked_upsample(Call& call, ir::Builder& builder, Outputs& outputs) {
  const std::vector<int64_t>* list = call.integers("scales");
  if (list == nullptr) return error(Code::kInvalidModel, "attribute scales is missing");
  std::vector<float> scales;
  for (int64_t s : *list) scales.push_back(static_cast<float>(s));
  ir::Value* inputs[] = {call.in(0), nullptr,
                         builder.constant(Tensor::from<float>({static_cast<int64_t>(scales.size())}, std::span<const float>(scales)))};
  outputs = builder.make_n("Resize", inputs, 1,
                           {{"mode", call.text("mode", "nearest")},
                            {"coordinate_transformation_mode", call.text("coordinate_transformation_mode", "asymmetric")},
                            {"nearest_mode", std::string("floor")}});
  return builder.status();
}

/// The op of ai.onnx with its data's channels moved to axis 1 and back. Other inputs are as ai.onnx has them.
Status channels_last(Call& call, ir::Builder& builder, Outputs& outputs) {
  TENON_ASSIGN_OR_RETURN(const int64_t rank, rank_or_fail(call, 0));
  std::vector<ir::Value*> inputs = call.inputs;
  inputs[0] = channels_first(builder, inputs[0], rank);
  std::vector<ir::Value*> y = builder.make_n(call.op, inputs, 1, attributes(call));
  TENON_RETURN_IF_ERROR(builder.status());
  outputs = {channels_first(builder, y[0], rank, true)};
  return builder.status();
}

/// com.microsoft's ops with channels last: QLinearConv when it says so, NhwcConv and NhwcMaxPool always; filters are as
/// ai.onnx has them, a residual (input 3 of NhwcFusedConv) is not.
Status channels_last_conv(Call& call, ir::Builder& builder, Outputs& outputs) {
  const bool quantised = call.op == "QLinearConv", last = !quantised || call.integer("channels_last", 0) != 0;
  call.attrs.erase("channels_last");
  if (!last) return plain_op(call, builder, outputs);
  TENON_ASSIGN_OR_RETURN(const int64_t rank, rank_or_fail(call, 0));
  std::vector<ir::Value*> inputs = call.inputs;
  inputs[0] = channels_first(builder, inputs[0], rank);
  if (call.op == "NhwcFusedConv" && call.has(3)) inputs[3] = channels_first(builder, inputs[3], rank);
  const char* op = quantised ? "QLinearConv" : call.op == "NhwcConv" ? "Conv" : call.op == "NhwcMaxPool" ? "MaxPool" : "com.microsoft.FusedConv";
  const std::vector<ir::Value*> y = builder.make_n(op, inputs, 1, attributes(call));
  TENON_RETURN_IF_ERROR(builder.status());
  outputs = {channels_first(builder, y[0], rank, true)};
  return builder.status();
}

Status identity(Call& call, ir::Builder& builder, Outputs& outputs) {
  if (!call.has(0)) return error(Code::kInvalidModel, "input 0 is missing");
  outputs = {builder.make("Identity", {call.in(0)})};
  return builder.status();
}

constexpr NormalizeRule kRules[] = {
    {"com.microsoft.nchwc", "ReorderInput", kAnyVersion, reorder_input, true},
    {"com.microsoft.nchwc", "ReorderOutput", kAnyVersion, reorder_output, true},
    {"com.microsoft.nchwc", "Conv", kAnyVersion, blocked_conv, true},
    {"com.microsoft.nchwc", "MaxPool AveragePool GlobalMaxPool GlobalAveragePool", kAnyVersion, plain_op, true},
    {"com.microsoft.nchwc", "Upsample", kAnyVersion, blocked_upsample, true},
    {"", "Reshape", kAnyVersion, expose_blocks},
    {"com.ms.internal.nhwc",
     "Conv ConvTranspose MaxPool AveragePool GlobalAveragePool GlobalMaxPool InstanceNormalization LRN DepthToSpace SpaceToDepth",
     kAnyVersion, channels_last, true},
    {"com.microsoft", "QLinearConv NhwcConv NhwcFusedConv NhwcMaxPool", kAnyVersion, channels_last_conv, true},
    {"", "MemcpyToHost MemcpyFromHost", kAnyVersion, identity, true},
};

}  // namespace

std::span<const NormalizeRule> layout_rules() { return kRules; }

}  // namespace tenon::frontend
