#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "eval/preprocess/pipeline.h"
#include "eval/tasks/recipe.h"
#include "eval/tasks/task.h"
#include "ir/graph.h"

/// How examples become inputs of a model, several a run, and how its outputs become those of each example.
namespace tenon::eval {

/// One example, ready to be put into a run.
struct Row {
  Example example;
  Fields prepared;
  std::vector<HostValue> inputs;             // in the model's order; without the axis of the batch unless `whole`
  std::vector<HostValue> pair_inputs;        // of tasks with pairs
  bool whole = false;                        // its values have all axes of the inputs: it is a run of its own
};

/// Examples that go through the model together: those with equal shapes.
struct Group {
  std::vector<size_t> rows;                  // positions in the batch
};

class Binding {
 public:
  /// Completes `recipe`: task, preprocessing, batch. kInvalidArgument when the recipe does not fit the model.
  static Result<Binding> make(const ir::Graph& graph, const TaskInfo& task, Recipe& recipe);

  /// Examples a batch, and how many a run takes in any case; 0: as many as there are.
  int64_t batch() const { return batch_; }
  int64_t fixed_batch() const { return fixed_; }

  /// Preprocesses one example and fits it to the inputs. An error is a problem of that example.
  Result<Row> prepare(Example example) const;
  /// In the order of their first rows.
  std::vector<Group> group(std::span<const Row> rows) const;
  /// The model's inputs for the rows of a group; with a fixed batch, the last row is repeated to fill it.
  Result<std::vector<HostValue>> stack(std::span<const Row> rows, const Group& group, bool pair) const;
  /// Outputs of each row of the group. Those that no role names are left out where the task has roles.
  Result<std::vector<std::vector<HostValue>>> split(std::vector<HostValue> outputs, std::span<const Row> rows, const Group& group) const;

 private:
  struct Input {
    std::string name;
    ir::Type type;
    std::string field;                       // empty: `value`
    double value = 0;
  };
  Result<std::vector<HostValue>> fit_all(const Fields& fields, bool& whole) const;

  std::vector<Input> inputs_;
  std::vector<std::string> output_names_;
  std::vector<bool> wanted_;                 // of outputs
  Pipeline pipeline_;
  bool whole_ = false, pairs_ = false;
  int64_t batch_ = 1, fixed_ = 0;
};

/// Fields with those of the other half of a pair in their places: FIELD_pair as FIELD.
Fields other_half(const Fields& fields);

}  // namespace tenon::eval
