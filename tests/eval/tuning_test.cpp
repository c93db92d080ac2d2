#include "eval/tune.h"

#include <gtest/gtest.h>

#include <cmath>
#include <map>

#include "eval/compare.h"
#include "eval/tuning_file.h"
#include "ir/op.h"
#include "ir/parser.h"

namespace tenon::eval {
namespace {

using codegen::Choice;
using codegen::Tuning;

Tensor wave(Shape shape, double step) {
  Tensor out = *Tensor::zeros(DType::kF32, std::move(shape));
  for (int64_t i = 0; i < out.size(); ++i) out.set_double(i, std::sin(static_cast<double>(i) * step));
  return out;
}

/// A product and a convolution of 3×3 taps, both by constants.
std::unique_ptr<ir::Graph> model() {
  auto graph = std::make_unique<ir::Graph>();
  ir::Builder b(*graph);
  ir::Value* x = graph->add_input("x", ir::TensorType(DType::kF32, {45, 64}));
  ir::Value* image = graph->add_input("image", ir::TensorType(DType::kF32, {1, 32, 19, 21}));
  graph->add_output(b.make("MatMul", {x, b.constant(wave({64, 70}, 0.3))}));
  graph->add_output(b.make("Conv", {image, b.constant(wave({32, 32, 3, 3}, 0.7))}, {{"pads", std::vector<int64_t>{1, 1, 1, 1}}}));
  EXPECT_TRUE(b.status().ok()) << b.status().to_string();
  return graph;
}

const std::vector<HostValue>& inputs() {
  static const std::vector<HostValue> values = {wave({45, 64}, 0.11), wave({1, 32, 19, 21}, 0.23)};
  return values;
}

Result<std::vector<HostValue>> run(const backends::Executable& executable) {
  TENON_ASSIGN_OR_RETURN(auto session, executable.create_session());
  return session->run(inputs());
}

std::shared_ptr<const backends::Executable> compiled(const char* backend, const Tuning& tuning = {}) {
  backends::CompileOptions options;
  options.tuning = std::make_shared<Tuning>(tuning);
  auto out = backends::find_backend(backend)->compile_owned(model(), options);
  EXPECT_TRUE(out.ok()) << out.status().to_string();
  return out.ok() ? *out : nullptr;
}

std::map<std::string, codegen::Tunable> tunables(const backends::Executable& executable) {
  std::map<std::string, codegen::Tunable> out;
  for (const auto& row : executable.placement())
    for (const auto& t : row.tunables) out.emplace(t.signature, t);
  return out;
}

// Whatever the tile: it is taken, and computes the same.
TEST(Tuning, EveryChoiceThatIsOfferedIsTakenAndRight) {
  const auto plain = compiled("cpu");
  const auto reference = compiled("reference");
  ASSERT_NE(plain, nullptr);
  const auto expected = run(*reference);
  ASSERT_TRUE(expected.ok());
  const auto offered = tunables(*plain);
  ASSERT_GE(offered.size(), 2u);
  int tried = 0;
  for (const auto& [signature, tunable] : offered)
    for (const Choice& choice : tunable.others) {
      const auto other = compiled("cpu", {{signature, choice}});
      ASSERT_NE(other, nullptr);
      const auto taken = tunables(*other);
      ASSERT_TRUE(taken.contains(signature)) << signature;
      const Choice& now = taken.at(signature).taken;
      EXPECT_TRUE(choice.winograd != 0 || (now.rows == choice.rows && now.vectors == choice.vectors)) << signature;
      EXPECT_TRUE(choice.winograd != -1 || now.winograd == -1) << signature;
      const auto actual = run(*other);
      ASSERT_TRUE(actual.ok()) << actual.status().to_string();
      for (size_t i = 0; i < expected->size(); ++i) {
        const auto difference = compare((*expected)[i], (*actual)[i], {.rtol = 1e-4, .atol = 0, .scaled_atol = 1e-5});
        EXPECT_TRUE(difference.ok) << signature << ": " << codegen::to_text({{"", choice}}) << difference.message;
      }
      ++tried;
    }
  EXPECT_GE(tried, 6);
}

TEST(Tuning, WhatCannotBeIsIgnored) {
  const auto plain = compiled("cpu");
  ASSERT_NE(plain, nullptr);
  Tuning impossible;
  for (const auto& [signature, tunable] : tunables(*plain)) impossible[signature] = {.rows = 1000, .vectors = 77, .m_block = -1, .winograd = 5};
  impossible["contraction of nothing"] = {.rows = 1};
  const auto other = compiled("cpu", impossible);
  ASSERT_NE(other, nullptr);
  const auto expected = run(*plain), actual = run(*other);
  ASSERT_TRUE(actual.ok()) << actual.status().to_string();
  for (size_t i = 0; i < expected->size(); ++i) EXPECT_TRUE(compare((*expected)[i], (*actual)[i], {.rtol = 1e-4, .atol = 0, .scaled_atol = 1e-5}).ok);
}

TEST(Tuning, SearchKeepsWhatIsMeasuredFaster) {
  backends::CompileOptions compile;
  compile.reload = []() -> Result<std::unique_ptr<ir::Graph>> { return model(); };
  TuneOptions options;
  options.seconds = 3;
  options.session.num_threads = 1;
  const auto tuned = tune(*backends::find_backend("cpu"), compile, inputs(), options);
  ASSERT_TRUE(tuned.ok()) << tuned.status().to_string();
  EXPECT_GE(tuned->trials, 1);
  for (const TunedChoice& c : tuned->choices) {
    EXPECT_LT(c.after_ms, c.before_ms) << c.signature;
    EXPECT_FALSE(c.before == c.after) << c.signature;
  }
  EXPECT_TRUE(tuned->tuning.empty() || tuned->after_ms < tuned->before_ms);
  const auto with = compiled("cpu", tuned->tuning);
  ASSERT_NE(with, nullptr);
  const auto expected = run(*compiled("reference")), actual = run(*with);
  ASSERT_TRUE(actual.ok());
  for (size_t i = 0; i < expected->size(); ++i) EXPECT_TRUE(compare((*expected)[i], (*actual)[i], {.rtol = 1e-4, .atol = 0, .scaled_atol = 1e-5}).ok);
}

TEST(Tuning, NothingToChoose) {
  backends::CompileOptions compile;
  compile.reload = [] { return ir::parse_text("graph \"g\" {\n  input %x: f32[4]\n  %y: f32[4] = Exp(%x)\n  output %y\n}"); };
  const std::vector<HostValue> in = {wave({4}, 1)};
  EXPECT_EQ(tune(*backends::find_backend("cpu"), compile, in, {}).status().code(), Code::kNotFound);
  EXPECT_EQ(tune(*backends::find_backend("cpu"), {}, in, {}).status().code(), Code::kInvalidArgument);
}

TEST(TuningFile, ReadsWhatItWrites) {
  const Tuning tuning{{"a", {.rows = 6, .vectors = 2}}, {"b", {.winograd = -1}}, {"c \"quoted\"", {.rows = 4, .vectors = 3, .m_block = 48}}};
  const auto read = parse_tuning(tuning_text(tuning, "this one", 2), "this one");
  ASSERT_TRUE(read.ok()) << read.status().to_string();
  EXPECT_EQ(*read, tuning);
  EXPECT_EQ(parse_tuning(tuning_text(tuning, "this one", 2), "another").status().code(), Code::kUnsupported);
}

TEST(TuningFile, RefusesOtherForms) {
  for (const char* text : {"", "{", "[]", "{}", R"({"kind": "bench"})", R"({"kind": "tuning", "version": 2, "target": "t", "choices": []})",
                           R"({"kind": "tuning", "version": 1, "target": "t"})", R"({"kind": "tuning", "version": 1, "target": "t", "choices": {}})",
                           R"({"kind": "tuning", "version": 1, "target": "t", "choices": [1]})",
                           R"({"kind": "tuning", "version": 1, "target": "t", "choices": [{"what": 3}]})",
                           R"({"kind": "tuning", "version": 1, "target": "t", "choices": [{"what": "x", "rows": "6"}]})",
                           R"({"kind": "tuning", "version": 1, "target": "t", "choices": [{"what": "x", "rows": 1e30}]})",
                           R"({"kind": "tuning", "version": 1, "target": "t", "choices": [{"what": "x", "rows": -7}]})"})
    EXPECT_EQ(parse_tuning(text, "t").status().code(), Code::kInvalidArgument) << text;
}

}  // namespace
}  // namespace tenon::eval
