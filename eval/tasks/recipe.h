#pragma once

#include <filesystem>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>

#include "eval/datasets/dataset.h"
#include "eval/metrics/metric.h"
#include "eval/tasks/task.h"

/// Recipes: how a model is evaluated, as data.
namespace tenon::eval {

struct MetricChoice {
  std::string name;
  MetricOptions options;
  /// "f1 (micro)": the name with the options that it was given.
  std::string title;
};

/// What a model's input is: a field after preprocessing, or the same number everywhere.
struct InputChoice {
  std::string field;
  std::optional<double> value;
};

/// All of it is optional. The text form has the same keys (docs/evaluating.md).
struct Recipe {
  std::string task;                          // empty: image-classification, or outputs for a data set of expected outputs
  std::string dataset;                       // as open_dataset takes it; relative paths are relative to the recipe
  DatasetOptions dataset_options;
  int64_t limit = 0;                         // examples from the start; 0: all
  int64_t batch = 0;                         // examples a run; 0: what the model fixes, else 32
  nlohmann::json preprocess;                 // steps; null: by the model's input
  std::map<std::string, InputChoice> inputs; // of the model, by name; others take the field of their name
  std::map<std::string, std::string> outputs;// names by role
  LabelOptions labels;
  std::vector<MetricChoice> metrics;         // empty: the task's
  nlohmann::json options;                    // of the task; null: its defaults
  std::filesystem::path folder;              // of the recipe: what its files are relative to
};

/// From JSON (or YAML, by the names .yaml and .yml). kInvalidArgument names the key; an unknown one with the known key that is nearest.
Result<Recipe> read_recipe(const std::filesystem::path& file);
Result<Recipe> parse_recipe(const nlohmann::json& json, const std::filesystem::path& folder, const std::string& where);
/// JSON from text of at most 1 MiB and limited depth.
Result<nlohmann::json> parse_json_text(const std::string& text, const std::string& where);
Result<nlohmann::json> parse_yaml_text(const std::string& text, const std::string& where);

/// "f1", "f1:average=micro", "top_k_accuracy:k=3".
Result<MetricChoice> parse_metric(const std::string& text);

/// All keys, such that parse_recipe gives the same.
nlohmann::json to_json(const Recipe& recipe);
/// The same as JSON text for people: keys in the order of the documentation, a line a step.
std::string to_text(const Recipe& recipe);

}  // namespace tenon::eval
