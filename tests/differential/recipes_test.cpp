#include <gtest/gtest.h>

#include <map>

#include "recipe.h"

namespace tenon::differential {

std::vector<Recipe> all_recipes() {
  std::vector<Recipe> out;
  for (auto family : {core_recipes, shape_recipes, image_recipes, attention_recipes, quantized_recipes, signal_recipes,
                      sequence_recipes, ml_recipes, contrib_recipes})
    for (const Recipe& recipe : family()) out.push_back(recipe);
  return out;
}

namespace {

uint64_t seed_of(const Recipe& recipe, int round) {
  return std::hash<std::string_view>()(recipe.name) + static_cast<uint64_t>(round);
}

class Recipes : public testing::TestWithParam<Recipe> {};

TEST_P(Recipes, AgreeWithTheReference) {
  const Recipe& recipe = GetParam();
  Tally tally;
  std::map<std::string, int> agreed;
  for (int round = 0; round < recipe.rounds; ++round) {
    Random random(seed_of(recipe, round));
    Maker m(random, round % 2 == 1);
    recipe.make(m);
    const int before = tally.agreed;
    const std::string wrong = disagreement(m, tally);
    if (!wrong.empty()) ADD_FAILURE() << wrong << " (round " << round << ")";
    for (const std::string& op : m.ops) agreed[op] += tally.agreed - before;
  }
  fmt::print("{}: {} cases agree, {} without kernels, {} refused by inference or the reference\n", recipe.name,
             tally.agreed, tally.hosted, tally.refused);
  for (const auto& [op, cases] : agreed) EXPECT_GT(cases, 0) << "no case of " << op << " was compared";
}

INSTANTIATE_TEST_SUITE_P(Ops, Recipes, testing::ValuesIn(all_recipes()), [](const auto& param) {
  std::string name = param.param.name;
  std::erase_if(name, [](char c) { return std::isalnum(static_cast<unsigned char>(c)) == 0; });
  return name;
});

/// Ops of the table that no recipe makes and that table_test.cpp cannot make from their entry alone.
TEST(Differential, EveryOpOfTheTableIsMade) {
  std::set<std::string> made;
  for (const Recipe& recipe : all_recipes())
    for (int round = 0; round < recipe.rounds; ++round) {
      Random random(seed_of(recipe, round));
      Maker m(random, round % 2 == 1);
      recipe.make(m);
      if (m.status.ok()) made.insert(m.ops.begin(), m.ops.end());
    }
  int ops = 0;
  for (const ir::OpDef* op : ir::all_ops()) {
    const std::string name = ir::qualified_name(*op);
    if (op->domain == "tenon") continue;  // made by passes, not by models; tests/passes and tests/lower have them
    ++ops;
    EXPECT_TRUE(made.contains(name) || made_from_its_entry(*op))
        << "no recipe makes " << name << ": add one to tests/differential";
  }
  fmt::print("{} ops\n", ops);
}

}  // namespace
}  // namespace tenon::differential
