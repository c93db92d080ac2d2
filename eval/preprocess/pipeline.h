#pragma once

#include <filesystem>
#include <functional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include <nlohmann/json.hpp>

#include "eval/datasets/dataset.h"
#include "support/status.h"

/// Preprocessing: what turns an example's fields into a model's inputs, as a list of steps that is data.
///
///     [{"step": "resize", "shortest": 256}, {"step": "center_crop", "size": 224},
///      {"step": "scale"}, {"step": "normalize", "mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225]}, {"step": "layout"}]
///
/// A step reads the field that its "input" names and writes the one that its "output" names, by default the same; steps of any tensor go
/// on with the field that the step before wrote. docs/preprocessing.md has every step with its formula.
namespace tenon::eval {

struct Parameter {
  enum class Kind : uint8_t { kInteger, kNumber, kBoolean, kText, kChoice, kNumbers, kTexts, kSize };  // kSize: N or [height, width]
  std::string_view name;
  Kind kind;
  std::string_view fallback;          // JSON; empty: there is none, and the step does without where its text says so
  std::string_view help;              // of kChoice: begins with "a|b|c", then a space
  double low = 0, high = 0;           // of numbers, each included; equal: any
};

/// A step of a pipeline with its parameters: pure, callable from several threads.
using StepFunction = std::function<Status(Fields& fields)>;

/// What a step is made from: its parameters, checked and completed.
struct StepArguments {
  nlohmann::json values;              // every parameter of the step that was given or has a default
  std::filesystem::path folder;       // that files are relative to
  std::string input, output;          // names of fields
  bool has(std::string_view name) const { return values.contains(name); }
};

/// The field that the step before wrote; "image" for a first step.
inline constexpr std::string_view kPrevious = "(previous)";

/// One row a step.
struct StepInfo {
  std::string_view name;              // "resize"
  std::string_view group;             // image, audio, text, table, tensor
  std::string_view input;             // the default of "input"; kPrevious; empty: it takes none
  std::string_view output;            // the default of "output"; empty: that of the input
  std::string_view takes, gives;      // "u8 or f32 [height, width, channels]"
  std::string_view summary;           // one sentence
  std::span<const Parameter> parameters;
  Result<StepFunction> (*make)(const StepArguments& arguments);
};

/// All steps, by group, in the order of the documentation.
std::span<const StepInfo> preprocess_steps();
const StepInfo* find_step(std::string_view name);

/// Immutable; run() may be called from several threads.
class Pipeline {
 public:
  /// All steps, in order. The error names the step by number and name. Fields that no step touches stay as they are. Steps that move
  /// the pixels of a field F keep F_size (f32 [height, width], of the original), F_scale and F_offset (f32 [y, x]) up to date:
  /// a point of the original at p is at p · scale + offset in the result.
  Result<Fields> run(Fields fields) const;
  size_t size() const { return steps_.size(); }

 private:
  friend Result<Pipeline> parse_pipeline(const nlohmann::json& steps, const std::filesystem::path& folder);
  struct Step {
    std::string place;                // "step 2 (resize)"
    StepFunction run;
  };
  std::vector<Step> steps_;
};

/// From a JSON array of objects with "step", optionally "input" and "output", and the step's parameters. kInvalidArgument names step and
/// parameter: an unknown step or parameter, a value of the wrong kind or outside its bounds. Files that parameters name (a vocabulary)
/// are relative to `folder`; they are read here.
Result<Pipeline> parse_pipeline(const nlohmann::json& steps, const std::filesystem::path& folder = {});

}  // namespace tenon::eval
