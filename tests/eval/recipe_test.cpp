#include "eval/tasks/recipe.h"

#include <unistd.h>

#include <filesystem>
#include <fstream>

#include <gmock/gmock.h>

#include "eval/tasks/object_reader.h"

namespace tenon::eval {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;
using ::testing::HasSubstr;

Status error_of(const json& given) { return parse_recipe(given, {}, "r.json").status(); }

constexpr const char* kYaml = R"(
# a comment
task: image-classification
dataset: {path: "images", format: image-folder, header: false}
limit: 10
batch: 4
preprocess:
  - {step: resize, size: [8, 8]}
  - step: scale
inputs: {pixels: image, temperature: 0.5}
outputs: {scores: logits}
labels: {field: kind, offset: -1, names: [cat, "007"], map: {yes: 1, no: 0}}
metrics: [accuracy, {name: top_k_accuracy, k: 3}]
options: {activation: softmax}
)";
constexpr const char* kJson = R"({"task": "image-classification",
  "dataset": {"path": "images", "format": "image-folder", "header": false}, "limit": 10, "batch": 4,
  "preprocess": [{"step": "resize", "size": [8, 8]}, {"step": "scale"}],
  "inputs": {"pixels": "image", "temperature": 0.5}, "outputs": {"scores": "logits"},
  "labels": {"field": "kind", "offset": -1, "names": ["cat", "007"], "map": {"yes": 1, "no": 0}},
  "metrics": ["accuracy", {"name": "top_k_accuracy", "k": 3}], "options": {"activation": "softmax"}})";

TEST(Recipe, ReadsEveryKey) {
  const Result<json> parsed = parse_json_text(kJson, "r.json");
  ASSERT_TRUE(parsed.ok()) << parsed.status().to_string();
  const Result<Recipe> recipe = parse_recipe(*parsed, "/folder", "r.json");
  ASSERT_TRUE(recipe.ok()) << recipe.status().to_string();
  EXPECT_EQ(recipe->task, "image-classification");
  EXPECT_EQ(recipe->dataset, "/folder/images") << "relative to the recipe";
  EXPECT_EQ(recipe->dataset_options.format, "image-folder");
  EXPECT_EQ(recipe->dataset_options.header, std::optional<bool>(false));
  EXPECT_EQ(recipe->limit, 10);
  EXPECT_EQ(recipe->batch, 4);
  EXPECT_EQ(recipe->preprocess.size(), 2u);
  EXPECT_EQ(recipe->inputs.at("pixels").field, "image");
  EXPECT_EQ(recipe->inputs.at("temperature").value, 0.5);
  EXPECT_EQ(recipe->outputs.at("scores"), "logits");
  EXPECT_EQ(recipe->labels.field, "kind");
  EXPECT_EQ(recipe->labels.offset, -1);
  EXPECT_EQ(recipe->labels.names, (std::vector<std::string>{"cat", "007"}));
  EXPECT_EQ(recipe->labels.map.at("yes"), 1);
  ASSERT_EQ(recipe->metrics.size(), 2u);
  EXPECT_EQ(recipe->metrics[1].options.k, 3);
  EXPECT_EQ(recipe->metrics[1].title, "top_k_accuracy (k 3)");
  EXPECT_EQ(recipe->options["activation"], "softmax");
  EXPECT_EQ(recipe->options["threshold"], 0.5) << "a default";
}

TEST(Recipe, IsTheSameInYaml) {
  const Result<json> yaml = parse_yaml_text(kYaml, "r.yaml"), plain = parse_json_text(kJson, "r.json");
  ASSERT_TRUE(yaml.ok()) << yaml.status().to_string();
  EXPECT_EQ(*yaml, *plain);
}

TEST(Recipe, YamlScalarsFollowTheCoreSchema) {
  // YAML 1.2.2, section 10.3.2, but for octal and hexadecimal numbers, which are texts here.
  const Result<json> yaml = parse_yaml_text("[1, -2, +3, 1.5, -1e3, .5, true, False, null, ~, '1', \"true\", 1.2.3, yes, 0x1F, '']", "y");
  ASSERT_TRUE(yaml.ok()) << yaml.status().to_string();
  EXPECT_EQ(*yaml, json::parse(R"([1, -2, 3, 1.5, -1000.0, 0.5, true, false, null, null, "1", "true", "1.2.3", "yes", "0x1F", ""])"));
}

TEST(Recipe, TextAndJsonGiveTheSameAgain) {
  const Result<Recipe> recipe = parse_recipe(*parse_json_text(kJson, "r"), {}, "r");
  ASSERT_TRUE(recipe.ok());
  const json once = to_json(*recipe);
  const Result<Recipe> again = parse_recipe(once, {}, "again");
  ASSERT_TRUE(again.ok()) << again.status().to_string();
  EXPECT_EQ(to_json(*again), once);
  const Result<json> text = parse_json_text(to_text(*recipe), "text");
  ASSERT_TRUE(text.ok()) << text.status().to_string();
  EXPECT_EQ(*text, once);
}

TEST(Recipe, NamesTheNearestKey) {
  EXPECT_EQ(error_of({{"metric", json::array()}}).to_string(), "unknown key 'metric' (r.json): did you mean 'metrics'?");
  EXPECT_THAT(error_of({{"dataset", {{"pth", "x"}}}}).to_string(), HasSubstr("'pth' (r.json.dataset): did you mean 'path'?"));
  EXPECT_THAT(error_of({{"labels", {{"feild", "x"}}}}).to_string(), HasSubstr("did you mean 'field'?"));
  EXPECT_THAT(error_of({{"task", "image-clasification"}}).to_string(), HasSubstr("did you mean 'image-classification'?"));
  EXPECT_THAT(error_of({{"metrics", {"acuracy"}}}).to_string(), HasSubstr("did you mean 'accuracy'?"));
  EXPECT_THAT(error_of({{"task", "image-classification"}, {"options", {{"activaton", "none"}}}}).to_string(), HasSubstr("did you mean 'activation'?"));
}

TEST(Recipe, RefusesWrongKinds) {
  const json wrong[] = {
      json::array(), "text", {{"task", 1}}, {{"batch", -1}}, {{"batch", 1.5}}, {{"batch", 1e300}}, {{"batch", uint64_t{1} << 63}}, {{"limit", "all"}},
      {{"dataset", 3}}, {{"dataset", {{"header", "no"}}}}, {{"preprocess", "resize"}}, {{"inputs", {{"x", json::array()}}}}, {{"inputs", 1}},
      {{"outputs", {{"scores", 1}}}}, {{"labels", "label"}}, {{"labels", {{"map", {{"a", -1}}}}}}, {{"labels", {{"names", {1}}}}}, {{"metrics", "accuracy"}},
      {{"metrics", {{{"name", "f1"}, {"average", "mean"}}}}}, {{"metrics", {{{"name", "top_k_accuracy"}, {"k", 0}}}}}, {{"task", "image-classification"}, {"options", 1}},
      {{"task", "image-classification"}, {"options", {{"threshold", "high"}}}}};
  for (const json& given : wrong) {
    const Status status = error_of(given);
    EXPECT_EQ(status.code(), Code::kInvalidArgument) << given;
    EXPECT_THAT(status.where(), HasSubstr("r.json")) << given;
  }
}

TEST(Recipe, LimitsWhatTextMayAskFor) {
  EXPECT_EQ(parse_json_text(std::string(100000, '['), "deep").status().code(), Code::kResourceExhausted);
  EXPECT_FALSE(parse_yaml_text(std::string(100000, '['), "deep").ok());
  std::string nested;
  for (int i = 0; i < 40; ++i) nested += std::string(static_cast<size_t>(i), ' ') + "a:\n";
  EXPECT_EQ(parse_yaml_text(nested, "deep").status().code(), Code::kResourceExhausted);
  std::string laughs = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n";
  for (int i = 1; i < 10; ++i) {
    laughs += fmt::format("a{}: &a{} [", i, i);
    for (int k = 0; k < 10; ++k) laughs += fmt::format("{}*a{}", k > 0 ? ", " : "", i - 1);
    laughs += "]\n";
  }
  EXPECT_EQ(parse_yaml_text(laughs, "laughs").status().code(), Code::kResourceExhausted);
  EXPECT_THAT(parse_yaml_text("a: 1\na: 2\n", "twice").status().to_string(), HasSubstr("stands twice, the second time in line 2"));
}

TEST(Recipe, EveryTruncationAndFlippedBitIsARecipeOrAnError) {
  for (const std::string& text : {std::string(kJson), std::string(kYaml)}) {
    const bool yaml = text == kYaml;
    const auto read = [&](const std::string& changed) {
      const Result<json> parsed = yaml ? parse_yaml_text(changed, "t") : parse_json_text(changed, "t");
      if (parsed.ok()) (void)parse_recipe(*parsed, {}, "t").ok();
    };
    for (size_t n = 0; n < text.size(); ++n) read(text.substr(0, n));
    for (size_t n = 0; n < text.size(); ++n)
      for (int bit = 0; bit < 8; ++bit) {
        std::string changed = text;
        changed[n] = static_cast<char>(changed[n] ^ (1 << bit));
        read(changed);
      }
  }
}

TEST(Recipe, MetricsOnTheCommandLine) {
  const Result<MetricChoice> f1 = parse_metric("f1:average=micro");
  ASSERT_TRUE(f1.ok()) << f1.status().to_string();
  EXPECT_EQ(f1->options.average, "micro");
  EXPECT_EQ(parse_metric("top_k_accuracy:k=2")->options.k, 2);
  EXPECT_FALSE(parse_metric("top_k_accuracy:k").ok());
  EXPECT_FALSE(parse_metric("").ok());
  EXPECT_THAT(parse_metric("f1:avrage=micro").status().to_string(), HasSubstr("did you mean 'average'?"));
}

TEST(Recipe, FilesThatAreNotThereOrTooLarge) {
  EXPECT_EQ(read_recipe("/nowhere/recipe.json").status().code(), Code::kNotFound);
  const fs::path file = fs::temp_directory_path() / fmt::format("tenon-recipe-{}.json", ::getpid());
  { std::ofstream(file) << std::string(2 << 20, ' '); }
  EXPECT_EQ(read_recipe(file).status().code(), Code::kResourceExhausted);
  { std::ofstream(file) << R"({"task": "image-classification", "dataset": "a,/b"})"; }
  const Result<Recipe> recipe = read_recipe(file);
  ASSERT_TRUE(recipe.ok()) << recipe.status().to_string();
  EXPECT_EQ(recipe->dataset, (file.parent_path() / "a").string() + ",/b");
  fs::remove(file);
}

TEST(Recipe, ThatOfTheSampleModelIsRight) {
  const fs::path file = fs::path(TENON_SOURCE_DIR) / "models/digits/recipe.json";
  const Result<Recipe> recipe = read_recipe(file);
  ASSERT_TRUE(recipe.ok()) << recipe.status().to_string();
  EXPECT_EQ(recipe->batch, 100);
}

TEST(Nearest, IsFewEditsAway) {
  const std::vector<std::string> names = {"accuracy", "f1", "recall"};
  EXPECT_EQ(nearest("acuracy", names), "accuracy");
  EXPECT_EQ(nearest("recal", names), "recall");
  EXPECT_EQ(nearest("f2", names), "f1");
  EXPECT_EQ(nearest("something", names), "");
  EXPECT_EQ(suggest("something", names), "choose from accuracy, f1, recall");
}

}  // namespace
}  // namespace tenon::eval
