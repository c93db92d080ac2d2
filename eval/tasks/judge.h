#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "eval/tasks/task.h"

/// What judges have in common, and the judges of all tasks.
namespace tenon::eval {

/// The output that plays a role; null when none does. `pair`: that of the second run.
const HostValue* role_value(const TaskContext& context, const Item& item, std::string_view role, bool pair = false);
Result<Tensor> role_tensor(const TaskContext& context, const Item& item, std::string_view role, bool pair = false);
/// The same without axes of size 1, from the left, until `rank` are left; kInvalidArgument when there are more or fewer.
Result<Tensor> role_tensor(const TaskContext& context, const Item& item, std::string_view role, int rank, bool pair = false);

/// What preprocessing made under this name, or the example's field; null when there is neither.
const HostValue* item_value(const Item& item, std::string_view name);
/// The same as a tensor; an error names the fields that there are.
Result<Tensor> item_tensor(const Item& item, std::string_view name);
/// The same as one text; numbers as they are written.
Result<std::string> item_text(const Item& item, std::string_view name);
/// The same as texts: one a string.
Result<std::vector<std::string>> item_texts(const Item& item, std::string_view name);

/// Numbers of classes from what data sets say.
class LabelReader {
 public:
  explicit LabelReader(LabelOptions options) : options_(std::move(options)) {}
  /// The class that element `i` of a field names. `keys` are names that the model itself gives its classes, by number.
  Result<int64_t> read(const Tensor& field, int64_t i, const std::vector<std::string>& keys = {}) const;
  const std::string& field() const { return options_.field; }

 private:
  LabelOptions options_;
};

/// Scores of classes: a tensor's elements, or the entries of a map in the order of their keys.
struct Scores {
  std::vector<double> values;                // NaN counts as the lowest, -inf
  bool any_number = false;                   // one at least is not NaN
  std::vector<std::string> keys;             // of a map
};
Result<Scores> read_scores(const HostValue& value);

size_t argmax(std::span<const double> values);
/// Stable softmax. Infinities share 1 where there are some; without a number above -inf, all are NaN.
std::vector<double> softmax(std::span<const double> values);
double sigmoid(double x);
/// log Σ exp(values).
double log_sum_exp(std::span<const double> values);

/// Row `i` of a matrix.
std::vector<double> row_of(const Tensor& matrix, int64_t i);

/// Tokens by number, from a JSON object of token → number, a JSON list, or a text file of one token a line.
class TokenTable {
 public:
  static Result<TokenTable> read(const std::filesystem::path& file);
  explicit TokenTable(std::vector<std::string> tokens) : tokens_(std::move(tokens)) {}
  int64_t size() const { return static_cast<int64_t>(tokens_.size()); }
  /// U+FFFD where there is no such token.
  std::string_view token(int64_t id) const;
  /// Text of tokens. `scheme`: wordpiece ("##" joins), bpe (bytes as GPT-2 writes them), sentencepiece ("▁" is a space), words
  /// (spaces between), characters. `skip`: numbers to leave out.
  std::string decode(std::span<const int64_t> ids, std::string_view scheme, std::span<const int64_t> skip) const;

 private:
  std::vector<std::string> tokens_;
};

/// Classes of the most probable path of connectionist temporal classification: repeats are one, blanks none (Graves et al. 2006, best
/// path decoding). `scores` is [time, classes].
std::vector<int64_t> ctc_greedy(const Tensor& scores, int64_t blank);

Result<std::unique_ptr<Judge>> make_class_judge(const TaskContext& context);
Result<std::unique_ptr<Judge>> make_token_judge(const TaskContext& context);
Result<std::unique_ptr<Judge>> make_generated_judge(const TaskContext& context);
Result<std::unique_ptr<Judge>> make_span_judge(const TaskContext& context);
Result<std::unique_ptr<Judge>> make_ctc_judge(const TaskContext& context);
Result<std::unique_ptr<Judge>> make_likelihood_judge(const TaskContext& context);
Result<std::unique_ptr<Judge>> make_regression_judge(const TaskContext& context);
Result<std::unique_ptr<Judge>> make_embedding_judge(const TaskContext& context);
Result<std::unique_ptr<Judge>> make_similarity_judge(const TaskContext& context);
Result<std::unique_ptr<Judge>> make_outputs_judge(const TaskContext& context);
Result<std::unique_ptr<Judge>> make_pixel_judge(const TaskContext& context);
Result<std::unique_ptr<Judge>> make_image_judge(const TaskContext& context);
Result<std::unique_ptr<Judge>> make_box_judge(const TaskContext& context);

}  // namespace tenon::eval
