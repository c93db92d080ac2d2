#include "eval/tasks/evaluate.h"

#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <fstream>

#include <gmock/gmock.h>

#include "eval/tasks/binding.h"
#include "eval/tasks/result.h"
#include "ir/op.h"

namespace tenon::eval {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;
using ::testing::HasSubstr;

/// Scores of three classes from the first number p of each example: -|p - 0|, -|p - 1|, -|p - 2|, plus `error` for class 0.
class FakeBackend final : public backends::Backend {
 public:
  FakeBackend(std::string name, double error, Status available = {}) : name_(std::move(name)), error_(error), available_(std::move(available)) {}
  std::string_view name() const override { return name_; }
  Status available() const override { return available_; }
  Result<std::shared_ptr<const backends::Executable>> compile(const ir::Graph&, const backends::CompileOptions&) const override {
    return std::shared_ptr<const backends::Executable>(std::make_shared<FakeExecutable>(*this));
  }

  mutable std::vector<Shape> runs;
  std::string* order = nullptr;         // gets the name of who runs
  int64_t classes = 3;
  int64_t fails_at = -1;                // the run that is an error
  std::atomic<bool>* stops = nullptr;   // set by the third run

 private:
  struct FakeExecutable final : backends::Executable {
    explicit FakeExecutable(const FakeBackend& b) : backend(b) {}
    Result<std::unique_ptr<backends::Session>> create_session(const backends::SessionOptions&) const override {
      return std::unique_ptr<backends::Session>(std::make_unique<FakeSession>(backend));
    }
    const std::vector<backends::Placement>& placement() const override { return places; }
    const backends::CompileStats& stats() const override { return numbers; }
    const FakeBackend& backend;
    std::vector<backends::Placement> places;
    backends::CompileStats numbers;
  };
  struct FakeSession final : backends::Session {
    explicit FakeSession(const FakeBackend& b) : backend(b) {}
    Result<std::vector<double>> time(std::span<const HostValue>, const backends::Repeat&, const Interrupt&) override { return std::vector<double>{1}; }
    Result<std::vector<HostValue>> run(std::span<const HostValue> inputs, const Interrupt&) override {
      if (backend.order != nullptr) *backend.order += backend.name_;
      const Tensor& values = std::get<Tensor>(inputs[0]);
      if (static_cast<int64_t>(backend.runs.size()) == backend.fails_at) return tenon::error(Code::kInternal, "broken");
      backend.runs.push_back(values.shape());
      if (backend.stops != nullptr && backend.runs.size() == 3) backend.stops->store(true);
      const int64_t batch = values.dim(0), width = values.size() / batch;
      TENON_ASSIGN_OR_RETURN(Tensor scores, Tensor::zeros(DType::kF32, {batch, backend.classes}));
      for (int64_t i = 0; i < batch; ++i)
        for (int64_t c = 0; c < backend.classes; ++c)
          scores.set_double(i * backend.classes + c, -std::abs(values.at_double(i * width) - static_cast<double>(c)) + (c == 0 ? backend.error_ : 0));
      return std::vector<HostValue>{scores};
    }
    size_t arena_bytes() const override { return 4096; }
    const FakeBackend& backend;
  };

  std::string name_;
  double error_;
  Status available_;
};

/// Input f32 [batch, 2], output [batch, 3]; nobody evaluates the node between them. `batch` 0: symbolic.
std::unique_ptr<ir::Graph> classifier(int64_t batch) {
  auto graph = std::make_unique<ir::Graph>();
  const ir::Dim n = batch > 0 ? ir::Dim(batch) : graph->dims().symbol("N");
  ir::Value* x = graph->add_input("x", ir::TensorType(DType::kF32, {n, 2}));
  ir::Node* node = graph->create(*ir::find_op("Softmax"), std::vector<ir::Value*>{x}, 1);
  node->output()->set_type(ir::TensorType(DType::kF32, {n, 3}));
  graph->add_output(node->output(), "scores");
  return graph;
}

/// Rows (p, 9) with labels; a label of -1 is missing, one of -2 a row that cannot be read.
class Rows final : public Dataset {
 public:
  explicit Rows(std::vector<std::pair<double, int64_t>> rows) : rows_(std::move(rows)) {}
  int64_t size() const override { return static_cast<int64_t>(rows_.size()); }
  Result<Example> read(int64_t index) const override {
    const auto [p, label] = rows_[static_cast<size_t>(index)];
    if (label == -2) return Status(Code::kInvalidArgument, "torn", source(index));
    Example out{index, source(index), {}};
    out.fields["x"] = Tensor::from<double>({2}, {p, 9});
    if (label >= 0) out.fields["label"] = Tensor::scalar<int64_t>(label);
    return out;
  }
  std::string source(int64_t index) const override { return fmt::format("rows:{}", index + 1); }
  const std::vector<std::string>& classes() const override { return names_; }
  uint64_t fingerprint() const override { return rows_.size(); }

 private:
  std::vector<std::pair<double, int64_t>> rows_;
  std::vector<std::string> names_;
};

/// First numbers 0, 1, 2, 2, 1, labelled 0, 1, 2, 0, 1.
const Rows& five() {
  static const Rows rows({{0, 0}, {1, 1}, {2, 2}, {2, 0}, {1, 1}});
  return rows;
}

EvaluateOptions options_for(std::initializer_list<const FakeBackend*> backends, int64_t batch) {
  EvaluateOptions options;
  options.recipe.task = "tabular-classification";
  options.recipe.batch = batch;
  for (const FakeBackend* b : backends) options.candidates.push_back({std::string(b->name()), b, {}});
  return options;
}

const ClassOutcome& outcome(const Evaluation& e, size_t result, size_t record) {
  return std::get<ClassOutcome>(e.results[result].state.records[record].outcome);
}

TEST(Evaluate, WhoBeginsChangesFromBatchToBatch) {
  FakeBackend a("a", 0), b("b", 0);
  std::string order;
  a.order = b.order = &order;
  EvaluateOptions options = options_for({&a, &b}, 2);
  options.singles = 0;
  ASSERT_TRUE(evaluate(*classifier(0), five(), options).ok());
  EXPECT_EQ(order, "abbaab");
}

TEST(Evaluate, CountsWhatIsRightAndHowBackendsDiffer) {
  const FakeBackend exact("exact", 0), off("off", 1.5);
  EvaluateOptions options = options_for({&exact, &off}, 2);
  options.singles = 3;
  const auto e = evaluate(*classifier(0), five(), options);
  ASSERT_TRUE(e.ok()) << e.status().to_string();
  EXPECT_EQ(e->recipe.outputs.at("scores"), "scores");
  EXPECT_EQ(exact.runs, (std::vector<Shape>{{2, 2}, {2, 2}, {1, 2}, {1, 2}, {1, 2}, {1, 2}})) << "two batches, the rest, three single examples";
  EXPECT_NEAR(outcome(*e, 0, 0).confidence, 1 / (1 + std::exp(-1) + std::exp(-2)), 1e-6) << "a softmax of 0, -1, -2";
  EXPECT_EQ(outcome(*e, 0, 3).predicted, 2);
  const auto scores = score_all(*e, 100);
  ASSERT_TRUE(scores.ok()) << scores.status().to_string();
  const ScoredCandidate &a = (*scores)[0], &b = (*scores)[1];
  EXPECT_DOUBLE_EQ(a.metrics[0].score.value, 4.0 / 5);
  EXPECT_EQ(a.arena_bytes, 4096u);
  EXPECT_FALSE(a.compared);
  // Class 0 gains 1.5: first numbers of 1 now give 0.5 against 0; of 2, -0.5 against 0.
  EXPECT_DOUBLE_EQ(b.metrics[0].score.value, 2.0 / 5);
  EXPECT_EQ(b.other_predictions, 2);
  EXPECT_NEAR(b.max_abs, 1.5, 1e-6);
  ASSERT_TRUE(b.mcnemar.has_value());
  EXPECT_EQ(b.mcnemar->only_first, 2);
  EXPECT_EQ(b.mcnemar->only_second, 0);
  EXPECT_DOUBLE_EQ(b.mcnemar->p, 0.5) << "two of two discordant pairs: 2 (1/2)^2";
  const json document = to_json(*e, *scores, json::object());
  EXPECT_EQ(document["kind"], "eval");
  EXPECT_EQ(document["examples"], 5);
  EXPECT_EQ(document["results"][1]["other_predictions"], 2);
  EXPECT_EQ(document["results"][0]["other_predictions"], nullptr);
  for (const char* key : {"backend", "threads", "status", "message", "metrics", "latency_ms", "throughput", "compile_ms", "first_run_ms", "arena_bytes", "max_abs"})
    EXPECT_TRUE(document["results"][1].contains(key)) << key;
  EXPECT_EQ(document["comparisons"].back()["test"], "mcnemar");
}

TEST(Evaluate, FillsUpBatchesThatTheModelFixes) {
  const FakeBackend backend("fixed", 0);
  const auto e = evaluate(*classifier(4), five(), options_for({&backend}, 100));
  ASSERT_TRUE(e.ok()) << e.status().to_string();
  EXPECT_EQ(e->results[0].state.records.size(), 5u);
  EXPECT_EQ(e->recipe.batch, 4);
  EXPECT_EQ(backend.runs, (std::vector<Shape>{{4, 2}, {4, 2}}));
}

TEST(Evaluate, ABackendThatIsNotThereDoesNotStopTheOthers) {
  const FakeBackend here("here", 0), missing("missing", 0, Status(Code::kNotFound, "no device"));
  const auto e = evaluate(*classifier(0), five(), options_for({&missing, &here}, 5));
  ASSERT_TRUE(e.ok());
  EXPECT_EQ(e->results[0].status.code(), Code::kNotFound);
  EXPECT_FALSE(e->results[0].available);
  const auto scores = score_all(*e, 0);
  EXPECT_DOUBLE_EQ((*scores)[1].metrics[0].score.value, 0.8);
  EXPECT_FALSE((*scores)[1].compared) << "nothing to compare with";
}

TEST(Evaluate, ABackendThatBreaksDoesNotStopTheOthers) {
  const FakeBackend here("here", 0);
  FakeBackend breaks("breaks", 0);
  breaks.fails_at = 1;
  const auto e = evaluate(*classifier(0), five(), options_for({&here, &breaks}, 2));
  ASSERT_TRUE(e.ok());
  EXPECT_EQ(e->results[1].status.code(), Code::kInternal);
  EXPECT_EQ(e->results[0].state.records.size(), 5u);
}

TEST(Evaluate, WhatCannotBeEvaluatedIsNamedAndLeftOut) {
  const FakeBackend backend("fake", 0);
  const Rows rows({{0, 0}, {1, -1}, {2, -2}, {1, 3}, {1, 1}});
  const auto e = evaluate(*classifier(0), rows, options_for({&backend}, 2));
  ASSERT_TRUE(e.ok()) << e.status().to_string();
  ASSERT_EQ(e->problems.size(), 3u);
  EXPECT_EQ(e->problems[0].source, "rows:2");
  EXPECT_THAT(e->problems[0].message, HasSubstr("there is no field 'label': it has x"));
  EXPECT_EQ(e->problems[1].source, "rows:3");
  EXPECT_THAT(e->problems[1].message, HasSubstr("torn"));
  EXPECT_EQ(e->problems[2].source, "rows:4");
  EXPECT_EQ(e->problems[2].message, "label 3 is beyond the model's 3 classes");
  ASSERT_EQ(e->results[0].state.records.size(), 2u);
  EXPECT_EQ(e->results[0].state.records[1].index, 4);
  const Rows none({{0, -1}, {1, -2}});
  const Status nothing = evaluate(*classifier(0), none, options_for({&backend}, 2)).status();
  EXPECT_EQ(nothing.code(), Code::kInvalidArgument);
  EXPECT_THAT(nothing.to_string(), HasSubstr("none of 2 examples"));
}

TEST(Evaluate, ABackendWhoseOutputCannotBeJudgedFailsAndOthersKeepTheExample) {
  const FakeBackend good("good", 0);
  FakeBackend odd("odd", 0);
  odd.classes = 2;  // label 2 is beyond them
  const auto e = evaluate(*classifier(0), five(), options_for({&good, &odd}, 2));
  ASSERT_TRUE(e.ok()) << e.status().to_string();
  EXPECT_TRUE(e->problems.empty());
  EXPECT_EQ(e->results[0].state.records.size(), 5u);
  EXPECT_THAT(e->results[1].status.to_string(), HasSubstr("label 2 is beyond the model's 2 classes (rows:3)"));
}

TEST(Evaluate, NamesWhatDoesNotFit) {
  const FakeBackend backend("fake", 0);
  const auto status_with = [&](auto change) {
    EvaluateOptions options = options_for({&backend}, 1);
    change(options.recipe);
    return evaluate(*classifier(0), five(), options).status().to_string();
  };
  EXPECT_THAT(status_with([](Recipe& r) { r.outputs["scores"] = "nothing"; }), HasSubstr("the model has no output 'nothing' (outputs.scores)"));
  EXPECT_THAT(status_with([](Recipe& r) { r.outputs["score"] = "scores"; }), HasSubstr("did you mean 'scores'?"));
  EXPECT_THAT(status_with([](Recipe& r) { r.inputs["y"].field = "x"; }), HasSubstr("the model has no input 'y'"));
  EXPECT_THAT(status_with([](Recipe& r) { r.inputs["x"].field = "y"; r.labels.field = "z"; }), HasSubstr("no field 'z'")) << "the input's own name serves as well";
  EXPECT_THAT(status_with([](Recipe& r) { r.metrics.push_back({"bleu", {}, "bleu"}); }), HasSubstr("metric bleu is of outcomes of kind text"));
  EXPECT_THAT(status_with([](Recipe& r) { r.preprocess = json::parse(R"([{"step": "rezise"}])"); }), HasSubstr("rezise"));
  const Rows empty({});
  EXPECT_THAT(evaluate(*classifier(0), empty, options_for({&backend}, 1)).status().to_string(), HasSubstr("no examples"));
}

/// Twenty rows of which some are wrong and some are problems.
const Rows& twenty() {
  static const Rows rows = [] {
    std::vector<std::pair<double, int64_t>> out;
    for (int64_t i = 0; i < 20; ++i) out.emplace_back(0.3 * static_cast<double>(i % 7), i == 11 ? -1 : i % 3);
    return Rows(std::move(out));
  }();
  return rows;
}

class State : public ::testing::Test {
 protected:
  void SetUp() override {
    std::string pattern = (fs::temp_directory_path() / "tenon-state-XXXXXX").string();
    folder_ = ::mkdtemp(pattern.data());
  }
  void TearDown() override { fs::remove_all(folder_); }

  /// All that must not depend on how an evaluation was cut up: records, problems, differences, metrics.
  static std::string essence(const Evaluation& e) {
    json out = json::array();
    for (const CandidateResult& r : e.results) {
      for (const Record& record : r.state.records) out.push_back(to_line(record));
      for (const BatchFigures& b : r.state.batches) out.push_back({b.batch, b.max_abs, b.comparable, b.runs.size()});
    }
    for (const Problem& p : e.problems) out.push_back({p.index, p.source, p.message});
    const auto scores = score_all(e, 100);
    EXPECT_TRUE(scores.ok());
    for (const ScoredCandidate& s : *scores)
      for (const ScoredMetric& m : s.metrics) out.push_back({m.score.value, m.score.low, m.score.high});
    return out.dump(1);
  }

  EvaluateOptions options(std::initializer_list<const FakeBackend*> backends, const fs::path& state) const {
    EvaluateOptions out = options_for(backends, 3);
    out.state = state;
    return out;
  }

  std::string whole() {
    const FakeBackend a("a", 0), b("b", 0.5);
    const auto e = evaluate(*classifier(0), twenty(), options({&a, &b}, {}));
    EXPECT_TRUE(e.ok()) << e.status().to_string();
    return essence(*e);
  }

  static std::string slurp(const fs::path& file) {
    std::ifstream in(file, std::ios::binary);
    return {std::istreambuf_iterator<char>(in), {}};
  }

  fs::path folder_;
};

TEST_F(State, AnInterruptedEvaluationGoesOnWhereItWas) {
  std::atomic<bool> stop{false};
  FakeBackend a("a", 0);
  const FakeBackend b("b", 0.5);
  a.stops = &stop;
  EvaluateOptions first = options({&a, &b}, folder_);
  first.stop = &stop;
  const auto interrupted = evaluate(*classifier(0), twenty(), first);
  ASSERT_TRUE(interrupted.ok()) << interrupted.status().to_string();
  EXPECT_EQ(interrupted->stopped.code(), Code::kCancelled);
  EXPECT_EQ(interrupted->batches_done, 3) << "the batch at hand is finished";
  const FakeBackend a2("a", 0), b2("b", 0.5);
  const auto resumed = evaluate(*classifier(0), twenty(), options({&a2, &b2}, folder_));
  ASSERT_TRUE(resumed.ok()) << resumed.status().to_string();
  EXPECT_EQ(a2.runs.size(), 4u);
  EXPECT_EQ(essence(*resumed), whole());
  const FakeBackend a3("a", 0), b3("b", 0.5);
  const auto again = evaluate(*classifier(0), twenty(), options({&a3, &b3}, folder_));
  ASSERT_TRUE(again.ok());
  EXPECT_TRUE(a3.runs.empty()) << "nothing is left to do";
  EXPECT_EQ(essence(*again), whole());
}

TEST_F(State, EveryPlaceWhereAFileMayBeTornIsTakenUpRight) {
  const FakeBackend a("a", 0), b("b", 0.5);
  ASSERT_TRUE(evaluate(*classifier(0), twenty(), options({&a, &b}, folder_)).ok());
  const std::string expected = whole();
  for (const char* name : {"a.jsonl", "b.jsonl", "problems.jsonl"}) {
    const std::string all = slurp(folder_ / name);
    for (size_t keep = 0; keep < all.size(); keep += 37) {
      { std::ofstream(folder_ / name, std::ios::binary | std::ios::trunc) << all.substr(0, keep); }
      const FakeBackend a2("a", 0), b2("b", 0.5);
      const auto resumed = evaluate(*classifier(0), twenty(), options({&a2, &b2}, folder_));
      ASSERT_TRUE(resumed.ok()) << name << " " << keep << ": " << resumed.status().to_string();
      ASSERT_EQ(essence(*resumed), expected) << name << " " << keep;
    }
  }
}

TEST_F(State, DamagedLinesAreErrorsOrTakenUp) {
  const FakeBackend a("a", 0);
  ASSERT_TRUE(evaluate(*classifier(0), twenty(), options({&a}, folder_)).ok());
  for (const char* name : {"a.jsonl", "problems.jsonl", "manifest.json"}) {
    const std::string all = slurp(folder_ / name);
    for (size_t at = 0; at < all.size(); at += 11) {
      std::string changed = all;
      changed[at] = static_cast<char>(changed[at] ^ 0x15);
      { std::ofstream(folder_ / name, std::ios::binary | std::ios::trunc) << changed; }
      const FakeBackend a2("a", 0);
      (void)evaluate(*classifier(0), twenty(), options({&a2}, folder_)).ok();
      (void)merge_evaluations({folder_}).ok();
    }
    { std::ofstream(folder_ / name, std::ios::binary | std::ios::trunc) << all; }
  }
}

TEST_F(State, AnotherEvaluationIsNotTakenUp) {
  const FakeBackend a("a", 0);
  ASSERT_TRUE(evaluate(*classifier(0), twenty(), options({&a}, folder_)).ok());
  EvaluateOptions other = options({&a}, folder_);
  other.recipe.limit = 5;
  EXPECT_THAT(evaluate(*classifier(0), twenty(), other).status().to_string(), HasSubstr("recipe.limit differs"));
  EXPECT_THAT(evaluate(*classifier(0), five(), options({&a}, folder_)).status().to_string(), HasSubstr("dataset.examples differs"));
  other = options({&a}, folder_);
  other.identity = "another model";
  EXPECT_THAT(evaluate(*classifier(0), twenty(), other).status().to_string(), HasSubstr("identity differs"));
}

TEST_F(State, ABackendThatBrokeStaysBroken) {
  FakeBackend b("b", 0.5);
  const FakeBackend a("a", 0);
  b.fails_at = 2;
  ASSERT_TRUE(evaluate(*classifier(0), twenty(), options({&a, &b}, folder_)).ok());
  const FakeBackend a2("a", 0), b2("b", 0.5);
  const auto again = evaluate(*classifier(0), twenty(), options({&a2, &b2}, folder_));
  ASSERT_TRUE(again.ok()) << again.status().to_string();
  EXPECT_EQ(again->results[1].status.code(), Code::kInternal);
  EXPECT_EQ(again->results[0].state.records.size(), 19u);
}

TEST_F(State, ShardsMergeToTheWhole) {
  const std::string expected = whole();
  for (int64_t shards : {1, 2, 3, 9}) {
    std::vector<fs::path> folders;
    for (int64_t i = shards - 1; i >= 0; --i) {
      const FakeBackend a("a", 0), b("b", 0.5);
      folders.push_back(folder_ / fmt::format("{}-{}", i, shards));
      EvaluateOptions one = options({&a, &b}, folders.back());
      one.shard = i;
      one.shards = shards;
      const auto part = evaluate(*classifier(0), twenty(), one);
      ASSERT_TRUE(part.ok()) << part.status().to_string();
    }
    const auto merged = merge_evaluations(folders);
    ASSERT_TRUE(merged.ok()) << merged.status().to_string();
    EXPECT_EQ(essence(*merged), expected) << shards << " shards";
    if (shards == 1) continue;
    EXPECT_THAT(merge_evaluations({folders.back(), folders.back()}).status().to_string(), HasSubstr("in two of the folders"));
    folders.pop_back();
    EXPECT_THAT(merge_evaluations(folders).status().to_string(), HasSubstr(fmt::format("batch 0 is missing: name the folder of shard 1/{}, too", shards)));
  }
  EXPECT_EQ(merge_evaluations({folder_}).status().code(), Code::kNotFound);
}

TEST_F(State, ShardsMergeWithoutABackendThatIsNotThere) {
  const auto missing = [] { return FakeBackend("missing", 0, Status(Code::kNotFound, "no device")); };
  std::vector<fs::path> folders;
  for (int64_t i = 0; i < 2; ++i) {
    const FakeBackend a("a", 0), m = missing(), b("b", 0.5);
    folders.push_back(folder_ / fmt::format("{}", i));
    EvaluateOptions one = options({&a, &m, &b}, folders.back());
    one.shard = i;
    one.shards = 2;
    ASSERT_TRUE(evaluate(*classifier(0), twenty(), one).ok());
    const FakeBackend a2("a", 0), m2 = missing(), b2("b", 0.5);
    one.candidates = options({&a2, &m2, &b2}, folders.back()).candidates;
    const auto again = evaluate(*classifier(0), twenty(), one);
    ASSERT_TRUE(again.ok()) << again.status().to_string();
    EXPECT_TRUE(a2.runs.empty()) << "all is done already";
    EXPECT_FALSE(again->results[1].available);
  }
  const auto merged = merge_evaluations(folders);
  ASSERT_TRUE(merged.ok()) << merged.status().to_string();
  EXPECT_EQ(merged->results[0].state.records.size(), 19u);
  EXPECT_EQ(merged->results[2].state.records.size(), 19u);
  EXPECT_EQ(merged->results[1].status.code(), Code::kNotFound);
  EXPECT_FALSE(merged->results[1].available);
}

TEST_F(State, AManifestThatIsAnotherIsAnErrorOfItsOwn) {
  const FakeBackend a("a", 0);
  EvaluateOptions made = options({&a}, folder_);
  made.identity = {{"path", "m.onnx"}};
  ASSERT_TRUE(evaluate(*classifier(0), twenty(), made).ok());
  const json manifest = json::parse(slurp(folder_ / "manifest.json"));
  const auto merged_with = [&](const char* pointer, const json& value) {
    json changed = manifest;
    changed[json::json_pointer(pointer)] = value;
    { std::ofstream(folder_ / "manifest.json", std::ios::trunc) << changed; }
    return merge_evaluations({folder_});
  };
  EXPECT_EQ(merged_with("/identity/hash", "x")->model, "m.onnx");
  for (const json& odd : {json(nullptr), json(7), json("x"), json::array({1})}) {
    EXPECT_TRUE(merged_with("/identity", odd).ok());
    for (const char* key : {"/shard", "/dataset", "/recipe", "/backends", "/version"}) {
      const auto merged = merged_with(key, odd);
      EXPECT_EQ(merged.status().code(), Code::kInvalidArgument) << key << " " << odd;
      EXPECT_THAT(merged.status().to_string(), HasSubstr("manifest.json")) << key << " " << odd;
    }
  }
  EXPECT_THAT(merged_with("/dataset/examples", 6).status().to_string(), HasSubstr("beyond the 2"));
  EXPECT_THAT(merged_with("/dataset/examples", 19).status().to_string(), HasSubstr("example 19, but there are 19"));
  EXPECT_FALSE(merged_with("/backends", json::array()).ok());
  EXPECT_FALSE(merged_with("/backends", {"a", "a"}).ok());
  json none = manifest;
  none.erase("identity");
  { std::ofstream(folder_ / "manifest.json", std::ios::trunc) << none; }
  EXPECT_TRUE(merge_evaluations({folder_}).ok());
}

TEST(Binding, FitsStacksAndSplits) {
  auto graph = std::make_unique<ir::Graph>();
  const ir::Dim n = graph->dims().symbol("N"), t = graph->dims().symbol("T");
  ir::Value* x = graph->add_input("x", ir::TensorType(DType::kF32, {n, 1, t}));
  graph->add_input("flag", ir::TensorType(DType::kI64, {n}));
  ir::Node* node = graph->create(*ir::find_op("Identity"), std::vector<ir::Value*>{x}, 1);
  node->output()->set_type(x->type());
  graph->add_output(node->output(), "y");
  Recipe recipe;
  recipe.inputs["flag"].value = 3;
  const TaskInfo& task = **find_task("tabular-regression");
  const auto binding = Binding::make(*graph, task, recipe);
  ASSERT_TRUE(binding.ok()) << binding.status().to_string();
  std::vector<Row> rows;
  for (int i = 0; i < 4; ++i) {
    Example example{i, "", {}};
    const bool longer = i == 1;
    example.fields["x"] = longer ? Tensor::from<int64_t>({3}, {7, 8, 9}) : Tensor::from<int64_t>({2}, {i, 10 + i});
    auto row = binding->prepare(std::move(example));
    ASSERT_TRUE(row.ok()) << row.status().to_string();
    rows.push_back(std::move(*row));
  }
  const std::vector<Group> groups = binding->group(rows);
  ASSERT_EQ(groups.size(), 2u);
  EXPECT_EQ(groups[0].rows, (std::vector<size_t>{0, 2, 3}));
  EXPECT_EQ(groups[1].rows, (std::vector<size_t>{1}));
  const auto inputs = binding->stack(rows, groups[0], false);
  ASSERT_TRUE(inputs.ok()) << inputs.status().to_string();
  const Tensor &stacked = std::get<Tensor>((*inputs)[0]), &flag = std::get<Tensor>((*inputs)[1]);
  EXPECT_EQ(stacked.shape(), (Shape{3, 1, 2}));
  EXPECT_EQ(stacked.dtype(), DType::kF32);
  EXPECT_EQ(std::vector<float>(stacked.span<float>().begin(), stacked.span<float>().end()), (std::vector<float>{0, 10, 2, 12, 3, 13}));
  EXPECT_EQ(flag.shape(), (Shape{3}));
  EXPECT_EQ(flag.at_int(2), 3);
  const auto parts = binding->split({stacked}, rows, groups[0]);
  ASSERT_TRUE(parts.ok());
  EXPECT_EQ(std::get<Tensor>((*parts)[1][0]).shape(), (Shape{1, 2}));
  EXPECT_EQ(std::get<Tensor>((*parts)[1][0]).at_double(1), 12);
  EXPECT_FALSE(binding->split({Tensor::from<float>({2}, {1, 2})}, rows, groups[0]).ok()) << "two parts for three examples";
  Example text{9, "", {}};
  text.fields["x"] = *Tensor::strings({2}, {"a", "b"});
  EXPECT_THAT(binding->prepare(std::move(text)).status().to_string(), HasSubstr("input x takes f32, but its field holds string"));
}

TEST(Binding, IntegersThatAnInputDoesNotHaveAreErrors) {
  auto graph = std::make_unique<ir::Graph>();
  ir::Value* x = graph->add_input("x", ir::TensorType(DType::kU8, {graph->dims().symbol("N"), 1}));
  graph->add_input("fill", ir::TensorType(DType::kI8, {1}));
  ir::Node* node = graph->create(*ir::find_op("Identity"), std::vector<ir::Value*>{x}, 1);
  node->output()->set_type(x->type());
  graph->add_output(node->output(), "y");
  const auto made = [&](double fill, const Tensor& value) -> Status {
    Recipe recipe;
    recipe.inputs["fill"].value = fill;
    recipe.outputs["values"] = "y";
    TENON_ASSIGN_OR_RETURN(const Binding binding, Binding::make(*graph, **find_task("tabular-regression"), recipe));
    Example example{0, "", {}};
    example.fields["x"] = value;
    return binding.prepare(std::move(example)).status();
  };
  EXPECT_TRUE(made(-128, Tensor::from<int64_t>({1}, {255})).ok());
  EXPECT_THAT(made(0, Tensor::from<int64_t>({1}, {256})).to_string(), HasSubstr("input x takes u8, which does not have 256"));
  EXPECT_FALSE(made(0, Tensor::from<int64_t>({1}, {-1})).ok());
  EXPECT_FALSE(made(0, Tensor::from<float>({1}, {300})).ok());
  EXPECT_FALSE(made(0, Tensor::from<uint64_t>({1}, {UINT64_MAX})).ok());
  EXPECT_FALSE(made(128, Tensor::from<int64_t>({1}, {1})).ok());
}

}  // namespace
}  // namespace tenon::eval
