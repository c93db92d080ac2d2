#include <gtest/gtest.h>

#include <algorithm>
#include <map>

#include "ir/compute.h"
#include "recipe.h"

/// Every elementwise op of the table, and every op of one input: these need no recipe of their own, so a new
/// elementwise op is tested by being in the table.
namespace tenon::differential {
namespace {

constexpr DType kKernelTypes[] = {DType::kF32, DType::kF16, DType::kBF16, DType::kF64, DType::kI8,
                                  DType::kI16, DType::kI32, DType::kI64,  DType::kU8,  DType::kU16,
                                  DType::kU32, DType::kU64, DType::kBool};

bool is_plain(const ir::OpDef& op) {
  if (op.domain == "tenon" || op.num_regions > 0 || op.side_effects || op.inputs.empty()) return false;
  for (const ir::AttrDef& attr : op.attrs)
    if (attr.required) return false;
  for (const ir::Param& p : op.inputs)
    if (p.any) return false;
  return std::none_of(op.outputs.begin(), op.outputs.end(), [](const ir::Param& p) { return p.any; });
}

std::vector<DType> allowed(const ir::Param& param) {
  std::vector<DType> out;
  for (DType d : kKernelTypes)
    if ((param.types & ir::dtype_bit(d)) != 0) out.push_back(d);
  return out;
}

// Shapes that broadcast to one: leading dims left out, single dims of 1.
Shape broadcast_part(Random& random, const Shape& full) {
  Shape out = full;
  if (random.chance(0.4)) out.erase(out.begin(), out.begin() + random.between(0, static_cast<int64_t>(out.size())));
  for (int64_t& d : out)
    if (random.chance(0.2)) d = 1;
  return out;
}

bool is_elementwise(const Maker& made) {
  if (!made.status.ok() || made.graph->num_nodes() == 0) return false;
  const ir::Node& node = *made.graph->nodes().back();
  if (node.op().compute.body == nullptr) return false;
  const auto bodies = node.op().compute.body(node);
  return bodies.ok() && std::all_of(bodies->begin(), bodies->end(), [](const ir::Body& body) {
           return body.kind == ir::ComputeKind::kElementwise && body.reduce_axes.empty();
         });
}

void make(Maker& m, const ir::OpDef& op, DType lead, Fill fill) {
  Random& random = m.random;
  const Shape full = random.shape(random.between(0, 4));
  const bool same = random.chance(0.4);
  std::map<std::string_view, DType> chosen{{op.inputs[0].var, lead}};
  std::vector<ir::Value*> in;
  for (const ir::Param& p : op.inputs) {
    if (p.optional && random.chance(0.5)) break;
    const std::vector<DType> types = allowed(p);
    if (types.empty()) return;
    const DType type =
        chosen.emplace(p.var, types[static_cast<size_t>(random.between(0, static_cast<int64_t>(types.size()) - 1))])
            .first->second;
    const int64_t count = p.variadic ? random.between(1, 3) : 1;
    for (int64_t i = 0; i < count; ++i) in.push_back(m.input(type, same ? full : broadcast_part(random, full), fill));
  }
  m.node(ir::qualified_name(op), in, {}, static_cast<int>(std::max<size_t>(op.outputs.size(), 1)));
}

constexpr int kRounds = 6;

// Case `round` of an op: f32 first, then whatever else it takes. Not made when there is nothing to compare.
bool make_round(Maker& m, const ir::OpDef& op, int round) {
  const std::vector<DType> types = allowed(op.inputs[0]);
  if (types.empty()) return false;
  const DType lead =
      round < 2 ? types[0] : types[static_cast<size_t>(m.random.between(0, static_cast<int64_t>(types.size()) - 1))];
  const bool special = round % 3 == 1;
  make(m, op, lead, special ? Fill::kSpecial : Fill::kPlain);
  if (m.ops.empty()) return false;
  // Shapes of other ops must fit together, and sums of special values overflow in f32 before they do in the reference.
  return is_elementwise(m) || (op.inputs.size() == 1 && !special);
}

uint64_t seed_of(const ir::OpDef& op, int round) {
  return std::hash<std::string>()(ir::qualified_name(op)) + static_cast<uint64_t>(round);
}

}  // namespace

bool made_from_its_entry(const ir::OpDef& op) {
  for (int round = 0; is_plain(op) && round < kRounds; ++round) {
    Random random(seed_of(op, round));
    Maker m(random, round % 2 == 0);
    if (make_round(m, op, round) && m.status.ok()) return true;
  }
  return false;
}

namespace {

TEST(Differential, OpsOfTheTableOnPlainTensors) {
  Tally tally;
  int ops = 0;
  for (const ir::OpDef* op : ir::all_ops()) {
    if (!is_plain(*op)) continue;
    const int before = tally.agreed;
    for (int round = 0; round < kRounds; ++round) {
      Random random(seed_of(*op, round));
      Maker m(random, round % 2 == 0);
      if (!make_round(m, *op, round)) continue;
      const std::string wrong = disagreement(m, tally);
      if (wrong.empty()) continue;
      ADD_FAILURE() << wrong << " (round " << round << ")";
      break;
    }
    ops += tally.agreed > before;
  }
  fmt::print("{} cases of {} ops agree, {} without kernels; {} are refused by inference or the reference\n",
             tally.agreed, ops, tally.hosted, tally.refused);
  EXPECT_GT(ops, 50);
}

}  // namespace
}  // namespace tenon::differential
