#pragma once

#include <filesystem>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include <nlohmann/json.hpp>

#include "eval/datasets/dataset.h"
#include "eval/metrics/record.h"
#include "ir/graph.h"

/// Tasks: how what a model gives for an example, and what the data set says of it, become a Record.
namespace tenon::eval {

/// An output of the model by the part that it plays in a task.
struct RoleInfo {
  std::string_view name;
  bool required;
  int rank;                                  // of the output, with the batch; 0: any
  std::vector<std::string_view> aliases;     // names that exporters give it
  std::string_view what;
};

struct TaskOption {
  std::string_view name;
  std::string_view value;                    // by default, as JSON; its type is the option's
  std::string_view what;
};

/// Where the truth of an example is, and how names of classes become numbers.
struct LabelOptions {
  std::string field;                         // empty: the task's own
  std::map<std::string, int64_t> map;        // by the text of the label
  int64_t offset = 0;                        // added to labels that are numbers
  std::vector<std::string> names;            // of the classes; empty: the data set's
};

/// What a judge is made for.
struct TaskContext {
  nlohmann::json options = nlohmann::json::object();  // every option of the task
  LabelOptions labels;                       // field is set
  std::map<std::string, size_t, std::less<>> roles;   // which output plays which
  std::vector<std::string> outputs;          // names, in the model's order
  bool probabilities = false;                // a metric wants those of every class
  std::filesystem::path folder;              // that files of options are relative to
};

/// One example with what became of it. Values are those of the example alone, without the axis of the batch.
struct Item {
  const Example& example;
  const Fields& prepared;               // what preprocessing made of it
  std::span<const HostValue> outputs;        // in the model's order
  std::span<const HostValue> pair_outputs;   // for the other half of a pair, of a task with two runs an example
};

/// Of a judge's error that an output is to blame for, whatever the example says.
inline constexpr Code kUnusableOutput = Code::kMismatch;

class Judge {
 public:
  virtual ~Judge() = default;
  /// An error is a problem of this example (no label, a label that the model has no class for); the others can still be judged. With
  /// kUnusableOutput it is one of the backend: nothing of that form can be judged.
  virtual Result<Outcome> judge(const Item& item) const = 0;
};

struct TaskInfo {
  std::string_view name;                     // as in Hugging Face's list of tasks where it is there
  std::string_view title;
  std::string_view outcome;                  // alternative of Outcome, as metrics name it
  std::string_view input;                    // field that preprocessing begins with by default: "image", "text" …; empty: by name
  std::string_view label;                    // field of the truth, unless the recipe names another
  bool pairs;                                // two runs an example: with FIELD, and with FIELD_pair in its place
  std::vector<RoleInfo> roles;
  std::vector<TaskOption> options;
  std::vector<std::string_view> metrics;     // by default
  Result<std::unique_ptr<Judge>> (*make)(const TaskContext& context);
};

/// All tasks, in the order of the documentation.
std::span<const TaskInfo> tasks();
/// kInvalidArgument with the nearest name when there is none of that name.
Result<const TaskInfo*> find_task(std::string_view name);

/// The defaults of a task with `given` over them; an unknown name or another type is kInvalidArgument.
Result<nlohmann::json> task_options(const TaskInfo& task, const nlohmann::json& given, const std::string& where);

/// Which output plays which role: as named in `given`, else an output with one of the role's names, else the first whose type fits.
Result<std::map<std::string, size_t, std::less<>>> assign_roles(const TaskInfo& task, const ir::Graph& graph,
                                                                const std::map<std::string, std::string>& given);

/// A table of tasks in Markdown.
std::string tasks_markdown();

}  // namespace tenon::eval
