// A value that keeps its name through the passes keeps its meaning: what comparisons stand on, on the models that there are. The
// interpreter evaluates what -O3 makes; every value that has a name of the model is judged by its own error.

#include <gmock/gmock.h>

#include <algorithm>

#include "backends/backend.h"
#include "eval/debug/compare_values.h"
#include "eval/inputs.h"
#include "eval/model.h"
#include "eval/verify.h"
#include "tests/eval/debug_models.h"
#include "tests/eval/interpreted.h"

namespace tenon::eval {
namespace {

class ValueNames : public ::testing::TestWithParam<const char*> {};

TEST_P(ValueNames, KeepTheirMeaning) {
  const std::filesystem::path root = GetParam()[0] == '/' ? std::filesystem::path(GetParam()) : std::filesystem::path(TENON_SOURCE_DIR) / GetParam();
  if (!std::filesystem::exists(root)) GTEST_SKIP() << root << " is not there";
  const auto cases = find_cases(root);
  ASSERT_TRUE(cases.ok()) << cases.status().to_string();
  static const Interpreted kOptimised(true);
  const std::vector<Variant> variants = {variant_of("reference"), {"optimised", &kOptimised, {}}};
  size_t models = 0, values = 0;
  for (const Case& one : *cases) {
    const auto graph = load_model(one.folder / "model.onnx");
    if (!graph.ok()) continue;  // the conformance tests say which and why
    const auto inputs = read_inputs(**graph, one.folder / "test_data_set_0");
    if (!inputs.ok()) continue;
    const auto c = compare_values(**graph, variants, *inputs, {});
    if (!c.ok()) continue;
    ++models;
    values += c->values.size();
    for (const ValueDifference& row : c->values) EXPECT_TRUE(row.ok) << one.name << ", value " << row.value << ": " << row.note;
  }
  EXPECT_GT(models, 0U);
  RecordProperty("values", static_cast<int>(values));
  fmt::print("{} values of {} models\n", values, models);
}

INSTANTIATE_TEST_SUITE_P(, ValueNames,
                         ::testing::Values("models", "../shared/models/classify", "../shared/models/control", "../shared/models/detect", "../shared/models/enhance",
                                           "../shared/models/llm-tiny", "../shared/models/match", "../shared/models/ml", "../shared/models/music", "../shared/models/ocr",
                                           "../shared/models/regress", "../shared/models/segment", "../shared/models/speech-enh", "../shared/models/speech-kws",
                                           "../shared/models/speech-vad", "../shared/models/text", "../shared/models/timeseries", "../shared/models/track",
                                           "/usr/share/libonnx-testdata/data/node", "/usr/share/libonnx-testdata/data/simple",
                                           "/usr/share/libonnx-testdata/data/pytorch-converted", "/usr/share/libonnx-testdata/data/pytorch-operator"));

}  // namespace
}  // namespace tenon::eval
