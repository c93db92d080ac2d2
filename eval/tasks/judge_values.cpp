#include <algorithm>
#include <cmath>

#include "eval/tasks/judge.h"
#include "support/checked.h"

namespace tenon::eval {
namespace {

/// Numbers that one record may hold.
constexpr int64_t kMostValues = int64_t{1} << 16;
constexpr int64_t kMostOutputValues = int64_t{1} << 18;  // of the task that compares all outputs

/// Whether shapes are one, but for axes of size 1: transposed values are others.
bool same_but_for_ones(Shape a, Shape b) {
  const auto is_one = [](int64_t d) { return d == 1; };
  std::erase_if(a, is_one);
  std::erase_if(b, is_one);
  return a == b;
}

bool is_number(DType dtype) { return is_float(dtype) || is_int(dtype) || dtype == DType::kBool; }

void append(const Tensor& t, std::vector<double>& out) {
  for (int64_t i = 0; i < t.size(); ++i) out.push_back(t.at_double(i));
}

/// A field's numbers; texts that are numbers count, as tables may have them.
Result<std::vector<double>> numbers(const Item& item, const std::string& name) {
  TENON_ASSIGN_OR_RETURN(const Tensor t, item_tensor(item, name));
  std::vector<double> out;
  if (is_number(t.dtype())) {
    if (t.size() > kMostValues) return error(Code::kResourceExhausted, "field '{}' has {} values; a record holds {}", name, t.size(), kMostValues);
    append(t, out);
    return out;
  }
  if (t.dtype() != DType::kString) return error(Code::kInvalidArgument, "field '{}' holds no numbers", name);
  for (const std::string& text : t.string_values()) {
    char* end = nullptr;
    out.push_back(std::strtod(text.c_str(), &end));
    if (text.empty() || *end != '\0') return error(Code::kInvalidArgument, "field '{}' is '{}', not a number", name, text);
  }
  return out;
}

Result<std::vector<double>> role_numbers(const TaskContext& context, const Item& item, std::string_view role) {
  TENON_ASSIGN_OR_RETURN(const Tensor t, role_tensor(context, item, role));
  if (!is_number(t.dtype())) return error(kUnusableOutput, "the output for {} holds no numbers", role);
  if (t.size() > kMostValues) return error(kUnusableOutput, "the output for {} has {} values an example; a record holds {}", role, t.size(), kMostValues);
  std::vector<double> out;
  append(t, out);
  return out;
}

class RegressionJudge final : public Judge {
 public:
  explicit RegressionJudge(const TaskContext& context)
      : context_(context), scale_(context.options.value("scale", 1.0)), offset_(context.options.value("offset", 0.0)) {
    fields_.push_back(context.labels.field);
    for (const auto& more : context.options.value("targets", nlohmann::json::array()))
      if (more.is_string()) fields_.push_back(more.get<std::string>());
    if (fields_.size() > 1) fields_.erase(fields_.begin());
  }

  Result<Outcome> judge(const Item& item) const override {
    ValueOutcome out;
    TENON_ASSIGN_OR_RETURN(out.predicted, role_numbers(context_, item, "values"));
    for (const std::string& field : fields_) {
      TENON_ASSIGN_OR_RETURN(const std::vector<double> more, numbers(item, field));
      out.target.insert(out.target.end(), more.begin(), more.end());
    }
    for (double& v : out.predicted) v = v * scale_ + offset_;
    if (out.predicted.size() != out.target.size())
      return error(Code::kInvalidArgument, "{} values predicted, {} expected", out.predicted.size(), out.target.size());
    for (double v : out.target)
      if (!std::isfinite(v)) return error(Code::kInvalidArgument, "the expected value {} is not finite", v);
    return Outcome(std::move(out));
  }

 private:
  TaskContext context_;
  std::vector<std::string> fields_;
  double scale_, offset_;
};

/// One vector of an output: the mean over tokens that count, the first token's, or all as it is.
Result<std::vector<double>> embedding(const TaskContext& context, const Item& item, bool pair) {
  TENON_ASSIGN_OR_RETURN(const Tensor raw, role_tensor(context, item, "embedding", pair));
  const std::string pooling = context.options.value("pooling", "auto");
  Shape shape = raw.shape();
  while (shape.size() > 1 && shape[0] == 1) shape.erase(shape.begin());
  std::vector<double> out;
  if (pooling == "none" || (pooling == "auto" && shape.size() <= 1)) {
    if (raw.size() > kMostValues) return error(Code::kResourceExhausted, "the embedding has {} values; a record holds {}", raw.size(), kMostValues);
    append(raw, out);
    return out;
  }
  if (shape.size() == 1) shape.insert(shape.begin(), 1);
  if (shape.size() != 2 || !is_number(raw.dtype()))
    return error(kUnusableOutput, "the output for embedding has shape {} for an example, not [tokens, width]", to_string(raw.shape()));
  TENON_ASSIGN_OR_RETURN(const Tensor rows, raw.reshaped(shape));
  if (shape[1] > kMostValues) return error(Code::kResourceExhausted, "the embedding has {} values; a record holds {}", shape[1], kMostValues);
  if (pooling == "first") return row_of(rows, 0);
  Tensor mask;
  const std::string mask_name = context.options.value("mask", "");
  if (!pair && !mask_name.empty() && item_value(item, mask_name) != nullptr) {
    TENON_ASSIGN_OR_RETURN(mask, item_tensor(item, mask_name));
    if (mask.size() != shape[0]) return error(Code::kInvalidArgument, "'{}' has {} values for {} tokens", mask_name, mask.size(), shape[0]);
  }
  const std::string pair_mask = mask_name + "_pair";
  if (pair && !mask_name.empty() && item_value(item, pair_mask) != nullptr) {
    TENON_ASSIGN_OR_RETURN(mask, item_tensor(item, pair_mask));
    if (mask.size() != shape[0]) return error(Code::kInvalidArgument, "'{}' has {} values for {} tokens", pair_mask, mask.size(), shape[0]);
  }
  out.assign(static_cast<size_t>(shape[1]), 0.0);
  double count = 0;
  for (int64_t t = 0; t < shape[0]; ++t) {
    if (mask.defined() && mask.at_int(t) == 0) continue;
    ++count;
    for (int64_t c = 0; c < shape[1]; ++c) out[static_cast<size_t>(c)] += rows.at_double(t * shape[1] + c);
  }
  if (count == 0) return error(Code::kInvalidArgument, "the mask leaves no token");
  for (double& v : out) v /= count;
  return out;
}

Status check_pooling(const TaskContext& context) {
  const std::string pooling = context.options.value("pooling", "auto");
  constexpr std::string_view kKnown[] = {"auto", "mean", "first", "none"};
  if (std::find(std::begin(kKnown), std::end(kKnown), pooling) != std::end(kKnown)) return {};
  return Status(Code::kInvalidArgument, fmt::format("'{}' is no pooling", pooling), "options.pooling",
                fmt::format("choose from {}", fmt::join(kKnown, ", ")));
}

class EmbeddingJudge final : public Judge {
 public:
  explicit EmbeddingJudge(const TaskContext& context) : context_(context) {}

  Result<Outcome> judge(const Item& item) const override {
    ValueOutcome out;
    TENON_ASSIGN_OR_RETURN(out.predicted, embedding(context_, item, false));
    TENON_ASSIGN_OR_RETURN(out.target, numbers(item, context_.labels.field));
    if (out.predicted.size() != out.target.size())
      return error(Code::kInvalidArgument, "an embedding of {} values, {} expected", out.predicted.size(), out.target.size());
    return Outcome(std::move(out));
  }

 private:
  TaskContext context_;
};

class SimilarityJudge final : public Judge {
 public:
  explicit SimilarityJudge(const TaskContext& context) : context_(context) {}

  Result<Outcome> judge(const Item& item) const override {
    ValueOutcome out;
    TENON_ASSIGN_OR_RETURN(const std::vector<double> a, embedding(context_, item, false));
    TENON_ASSIGN_OR_RETURN(const std::vector<double> b, embedding(context_, item, true));
    if (a.size() != b.size()) return error(Code::kInvalidArgument, "embeddings of {} and {} values", a.size(), b.size());
    double dot = 0, aa = 0, bb = 0;
    for (size_t i = 0; i < a.size(); ++i) {
      dot += a[i] * b[i];
      aa += a[i] * a[i];
      bb += b[i] * b[i];
    }
    out.predicted = {aa == 0 || bb == 0 ? 0 : dot / (std::sqrt(aa) * std::sqrt(bb))};
    TENON_ASSIGN_OR_RETURN(out.target, numbers(item, context_.labels.field));
    if (out.target.size() != 1) return error(Code::kInvalidArgument, "field '{}' has {} values, not one", context_.labels.field, out.target.size());
    return Outcome(std::move(out));
  }

 private:
  TaskContext context_;
};

/// Every output against output_K of the example.
class OutputsJudge final : public Judge {
 public:
  explicit OutputsJudge(const TaskContext& context) : context_(context), prefix_(context.labels.field) {}

  Result<Outcome> judge(const Item& item) const override {
    std::vector<std::pair<Tensor, Tensor>> pairs;  // made, expected
    int64_t total = 0;
    for (size_t k = 0; k < item.outputs.size(); ++k) {
      const std::string name = fmt::format("{}{}", prefix_, k);
      if (item_value(item, name) == nullptr) continue;
      TENON_ASSIGN_OR_RETURN(const Tensor expected, item_tensor(item, name));
      const auto* made = std::get_if<Tensor>(&item.outputs[k]);
      if (made == nullptr) return error(kUnusableOutput, "output {} is no tensor", k);
      if (!same_but_for_ones(made->shape(), expected.shape()))
        return error(Code::kInvalidArgument, "output {} has shape {}, but {} is expected", k, to_string(made->shape()), to_string(expected.shape()));
      if (!is_number(expected.dtype()) || !is_number(made->dtype())) continue;
      pairs.emplace_back(*made, expected);
      const auto sum = checked_add(total, expected.size());
      if (!sum) return error(Code::kResourceExhausted, "too many values");
      total = *sum;
    }
    if (total == 0) return error(Code::kInvalidArgument, "there are no numbers of {}N to compare with", prefix_);
    // A part of them would hide what is wrong with the others.
    if (total > kMostOutputValues)
      return error(kUnusableOutput, "the outputs have {} values an example; a record holds {}", total, kMostOutputValues)
          .with_hint("compare them with `tenon compare`, or evaluate a task of fewer values");
    ValueOutcome out;
    for (const auto& [made, expected] : pairs) {
      append(made, out.predicted);
      append(expected, out.target);
    }
    return Outcome(std::move(out));
  }

 private:
  TaskContext context_;
  std::string prefix_;
};

}  // namespace

Result<std::unique_ptr<Judge>> make_regression_judge(const TaskContext& context) {
  return std::unique_ptr<Judge>(std::make_unique<RegressionJudge>(context));
}

Result<std::unique_ptr<Judge>> make_embedding_judge(const TaskContext& context) {
  TENON_RETURN_IF_ERROR(check_pooling(context));
  return std::unique_ptr<Judge>(std::make_unique<EmbeddingJudge>(context));
}

Result<std::unique_ptr<Judge>> make_similarity_judge(const TaskContext& context) {
  TENON_RETURN_IF_ERROR(check_pooling(context));
  return std::unique_ptr<Judge>(std::make_unique<SimilarityJudge>(context));
}

Result<std::unique_ptr<Judge>> make_outputs_judge(const TaskContext& context) {
  return std::unique_ptr<Judge>(std::make_unique<OutputsJudge>(context));
}

}  // namespace tenon::eval
