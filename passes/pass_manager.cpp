#include <algorithm>
#include <chrono>

#include "ir/printer.h"
#include "ir/verifier.h"
#include "passes/passes.h"

namespace tenon::passes {

std::span<const PassInfo> pipeline() {
  static constexpr PassInfo kPipeline[] = {
      {"infer", "types, symbolic shapes and the contents of shape tensors", 0, infer},
      {"duplicate-tails", "what follows an If whose branches differ in rank moves into both", 1, duplicate_tails, true},
      {"fold-constants", "what constants and known dims determine; branches of a constant If", 1, fold_constants},
      {"read-contents", "sizes and positions that are data become dims, bound when the data is there", 1, read_contents,
       true},
      {"simplify", "neutral operands, chains of casts, transposes and reshapes, slices of everything", 1, simplify},
      {"eliminate-common", "equal nodes become one", 1, eliminate_common},
      {"eliminate-dead", "nodes whose results nobody uses", 1, eliminate_dead},
      {"fold-batch-norm", "scales and shifts per channel go into the weights before them", 2, fold_batch_norm},
      {"raise", "what exporters spell out in simpler ops: Gelu, LayerNormalization, Softmax …", 2, raise},
      {"eliminate-common", "equal nodes that raise made", 2, eliminate_common},
      {"eliminate-dead", "what raise left unused", 2, eliminate_dead},
      {"integer-products", "products of dequantised bytes become products of the bytes, where the target is faster at those", 1, integer_products, true},
      {"decompose", "ops that are defined by simpler ones become those", 0, decompose, true},
      {"infer", "types of what decompose made", 1, infer},
      {"fold-constants", "what decompose made of constants", 1, fold_constants},
      {"simplify", "what decompose left to simplify", 1, simplify},
      {"fold-constants", "what simplify made constant", 1, fold_constants},
      {"eliminate-common", "equal nodes that decompose made", 1, eliminate_common},
      {"widen-codes", "quantised constants of less than a byte get bytes, which kernels read and pack as tightly again", 1, widen_codes, true},
      {"merge-products", "products of one operand and several constants become one, whose parts are read in place", 2, merge_products, true},
      {"eliminate-dead", "what the passes before left unused", 1, eliminate_dead},
      {"slice-splits", "parts with one reader each become slices, to be read in place", 3, slice_splits, true},
      {"fuse", "nodes that one kernel can compute, into groups", 3, fuse},
      {"choose-layouts", "channels innermost in memory where convolutions gain more than conversions cost", 2, choose_layouts, true},
      {"round-factors", "factors of products become f16 or bf16 where --precision asks for it", 0, round_factors, true},
  };
  return kPipeline;
}

const PassInfo* find_pass(std::string_view name) {
  auto it = std::ranges::find(pipeline(), name, &PassInfo::name);
  return it == pipeline().end() ? nullptr : &*it;
}

namespace {

bool named(const std::vector<std::string>& list, std::string_view name) {
  return std::ranges::find(list, name) != list.end();
}

Status check_names(const std::vector<std::string>& list, std::string_view option, bool all) {
  for (const std::string& name : list)
    if (!find_pass(name) && !(all && name == "all"))
      return Status(Code::kInvalidArgument, fmt::format("there is no pass '{}'", name), std::string(option),
                    "tenon optimize --list-passes prints them");
  return {};
}

Status run_pass(const PassInfo& pass, ir::Graph& graph, const PipelineOptions& options, PassContext& context,
                std::vector<PassTime>* times) {
  const int64_t before = context.steps;
  auto start = std::chrono::steady_clock::now();
  Result<bool> changed = pass.run(graph, context);
  std::chrono::duration<double, std::milli> ms = std::chrono::steady_clock::now() - start;
  if (!changed.ok()) return std::move(changed).status().at(fmt::format("pass {}", pass.name));
  if (times) times->push_back({pass.name, ms.count(), *changed, context.steps - before});
  if (options.print && (named(options.print_after, pass.name) || named(options.print_after, "all")))
    options.print(fmt::format("// after {}\n{}", pass.name, ir::to_text(graph)));
  if (options.verify_each) return ir::verify(graph).at(fmt::format("after pass {}", pass.name));
  return {};
}

std::string describe(const ir::Node& node) {
  return fmt::format("{} '{}'", node.op_name(), node.name().empty() && node.num_outputs() > 0 ? node.output()->name() : node.name());
}

}  // namespace

void PassContext::take_note(std::span<const ir::Node* const> nodes, bool replaceable) {
  Rewrite rewrite{log.taken, std::string(pass), {}, {}};
  for (const ir::Node* node : nodes) {
    rewrite.nodes.push_back(describe(*node));
    for (const ir::Value* output : node->outputs()) rewrite.values.push_back(output->name());
  }
  if (log.taken == wrong_rewrite) {
    Status planted = replaceable ? spoil_result(*nodes.back()) : Status(Code::kUnsupported, "it moves what follows as well");
    wrong = std::move(planted).at(fmt::format("rewrite {}, {} of {}", log.taken, pass, fmt::join(rewrite.nodes, ", ")));
  }
  if (const auto found = log.watched.find(log.taken); found != log.watched.end()) found->second = std::move(rewrite);
}

Status run_pipeline(ir::Graph& graph, const PipelineOptions& options, std::vector<PassTime>* times) {
  TENON_RETURN_IF_ERROR(check_names(options.disabled, "--disable", false));
  TENON_RETURN_IF_ERROR(check_names(options.print_after, "--print-after", true));
  PassContext context;
  context.rewrites_left = options.max_rewrites;
  context.for_export = options.for_export;
  context.target = options.target;
  context.codes_settled = !options.for_export && !options.target.byte_products;
  context.factors = options.factors;
  context.interrupt = options.interrupt;
  if (options.log != nullptr) context.log.watched = options.log->watched;
  context.wrong_rewrite = options.fault.rewrite;
  std::vector<std::string> places;
  if (!options.fault.node.empty()) places = places_of(graph, options.fault.node);
  Status status;
  for (const PassInfo& pass : pipeline()) {
    if (pass.level > options.level || (pass.lowering && options.for_export) || named(options.disabled, pass.name)) continue;
    context.pass = pass.name;
    status = run_pass(pass, graph, options, context, times);
    if (!context.wrong.ok()) status = context.wrong;
    if (!status.ok()) break;
  }
  if (status.ok() && options.max_rewrites < 0 && options.fault.rewrite > context.log.taken)
    status = Status(Code::kNotFound, fmt::format("there is no rewrite {}: the passes make {} at -O{}", options.fault.rewrite, context.log.taken, options.level),
                    "planting a fault", "give a smaller number");
  if (options.log != nullptr) *options.log = std::move(context.log);
  if (!status.ok() || options.fault.node.empty()) return status;
  return spoil_node(graph, options.fault.node, places);
}

}  // namespace tenon::passes
