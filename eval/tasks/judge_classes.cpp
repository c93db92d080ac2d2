#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

#include "eval/tasks/judge.h"

namespace tenon::eval {
namespace {

enum class Activation { kAuto, kNone, kSoftmax, kSigmoid };

Result<Activation> activation_of(const TaskContext& context) {
  const std::string name = context.options.value("activation", "auto");
  constexpr std::pair<std::string_view, Activation> kNames[] = {
      {"auto", Activation::kAuto}, {"none", Activation::kNone}, {"softmax", Activation::kSoftmax}, {"sigmoid", Activation::kSigmoid}};
  for (const auto& [known, value] : kNames)
    if (known == name) return value;
  return Status(Code::kInvalidArgument, fmt::format("'{}' is no activation", name), "options.activation", "choose from auto, none, softmax, sigmoid");
}

bool is_distribution(const std::vector<double>& s) {
  return std::abs(std::accumulate(s.begin(), s.end(), 0.0) - 1) < 1e-2 && *std::min_element(s.begin(), s.end()) >= 0;
}

class ClassJudge final : public Judge {
 public:
  ClassJudge(const TaskContext& context, Activation activation)
      : context_(context), labels_(context.labels), activation_(activation), threshold_(context.options.value("threshold", 0.5)) {}

  Result<Outcome> judge(const Item& item) const override {
    TENON_ASSIGN_OR_RETURN(const Tensor field, item_tensor(item, labels_.field()));
    if (field.size() > 1) return error(Code::kInvalidArgument, "field '{}' has {} values, not one label", labels_.field(), field.size());
    const HostValue* scores = role_value(context_, item, "scores");
    return scores != nullptr ? by_scores(*scores, field) : by_prediction(item, field);
  }

 private:
  Result<Outcome> by_scores(const HostValue& value, const Tensor& field) const {
    TENON_ASSIGN_OR_RETURN(Scores scores, read_scores(value));
    std::vector<double>& s = scores.values;
    if (s.empty()) return error(kUnusableOutput, "the output for scores is empty");
    ClassOutcome out;
    TENON_ASSIGN_OR_RETURN(out.label, labels_.read(field, 0, scores.keys));
    if (s.size() == 1) {
      if (activation_ == Activation::kAuto)
        return error(kUnusableOutput, "the model gives one score").with_hint("set options.activation: sigmoid for a logit, none for a probability");
      const double p = activation_ == Activation::kSigmoid ? sigmoid(s[0]) : s[0];
      s = {1 - p, p};
      if (!scores.any_number) s.assign(2, -std::numeric_limits<double>::infinity());
      out.predicted = scores.any_number && p >= threshold_;
    } else {
      out.predicted = static_cast<int64_t>(argmax(s));
    }
    const auto classes = static_cast<int64_t>(s.size());
    if (out.label >= classes) return error(Code::kInvalidArgument, "label {} is beyond the model's {} classes", out.label, classes);
    const double own = s[static_cast<size_t>(out.label)];
    for (int64_t c = 0; c < classes; ++c) out.rank += c != out.label && s[static_cast<size_t>(c)] >= own;
    std::vector<double> p = probabilities(std::move(s), scores.keys.empty());
    if (!scores.any_number) std::fill(p.begin(), p.end(), std::numeric_limits<double>::quiet_NaN());
    out.probability = p[static_cast<size_t>(out.label)];
    out.confidence = p[static_cast<size_t>(out.predicted)];
    if (context_.probabilities) out.probabilities.assign(p.begin(), p.end());
    return Outcome(std::move(out));
  }

  std::vector<double> probabilities(std::vector<double> s, bool may_be_logits) const {
    if (context_.options.empty() || activation_ == Activation::kNone || s.size() < 2) return s;
    if (activation_ == Activation::kSigmoid) {
      if (may_be_logits && s.size() > 2) for (double& v : s) v = sigmoid(v);
      return s;
    }
    if (activation_ == Activation::kAuto && is_distribution(s)) return s;
    return softmax(s);
  }

  Result<Outcome> by_prediction(const Item& item, const Tensor& field) const {
    TENON_ASSIGN_OR_RETURN(const Tensor predicted, role_tensor(context_, item, "predicted"));
    ClassOutcome out;
    TENON_ASSIGN_OR_RETURN(out.label, labels_.read(field, 0));
    if (predicted.size() != 1) return error(kUnusableOutput, "the output for predicted has {} values for an example, not one", predicted.size());
    if (predicted.dtype() == DType::kString) {
      const Result<int64_t> number = labels_.read(predicted, 0);
      if (!number.ok()) return Status(kUnusableOutput, number.status().what(), {}, number.status().hint());
      out.predicted = *number;
    } else {
      out.predicted = predicted.at_int(0);
    }
    out.rank = out.predicted == out.label ? 0 : 1;
    out.probability = out.rank == 0 ? 1 : 0;
    out.confidence = 1;
    return Outcome(std::move(out));
  }

  TaskContext context_;
  LabelReader labels_;
  Activation activation_;
  double threshold_;
};

/// Labels stand for tokens one to one, or, with `words`, for words: the first token of a word has its label.
class TokenJudge final : public Judge {
 public:
  explicit TokenJudge(const TaskContext& context)
      : context_(context), labels_(context.labels), words_(context.options.value("words", "")), mask_(context.options.value("mask", "")),
        offset_(context.options.value("first", int64_t{0})) {}

  Result<Outcome> judge(const Item& item) const override {
    TENON_ASSIGN_OR_RETURN(const Tensor scores, role_tensor(context_, item, "scores", 2));
    TENON_ASSIGN_OR_RETURN(const Tensor field, item_tensor(item, labels_.field()));
    const int64_t tokens = scores.dim(0);
    TokenOutcome out;
    out.labels.assign(static_cast<size_t>(tokens), kIgnored);
    TENON_RETURN_IF_ERROR(words_.empty() ? place_by_token(field, out.labels) : place_by_word(item, field, out.labels));
    if (!mask_.empty() && item_value(item, mask_) != nullptr) {
      TENON_ASSIGN_OR_RETURN(const Tensor mask, item_tensor(item, mask_));
      for (int64_t t = 0; t < std::min(tokens, mask.size()); ++t)
        if (mask.at_int(t) == 0) out.labels[static_cast<size_t>(t)] = kIgnored;
    }
    for (int64_t t = 0; t < tokens; ++t) {
      if (out.labels[static_cast<size_t>(t)] >= scores.dim(1))
        return error(Code::kInvalidArgument, "label {} is beyond the model's {} classes", out.labels[static_cast<size_t>(t)], scores.dim(1));
      out.predicted.push_back(static_cast<int64_t>(argmax(row_of(scores, t))));
    }
    return Outcome(std::move(out));
  }

 private:
  static constexpr int64_t kIgnored = -100;

  Result<int64_t> label(const Tensor& field, int64_t i) const {
    if (field.dtype() != DType::kString && field.at_int(i) == kIgnored) return kIgnored;
    return labels_.read(field, i);
  }

  Status place_by_token(const Tensor& field, std::vector<int64_t>& labels) const {
    if (field.size() + offset_ > static_cast<int64_t>(labels.size()))
      return error(Code::kInvalidArgument, "{} labels for {} tokens", field.size(), static_cast<int64_t>(labels.size()) - offset_)
          .with_hint("name the field that counts tokens' words with options.words, or raise the length");
    for (int64_t i = 0; i < field.size(); ++i) {
      TENON_ASSIGN_OR_RETURN(labels[static_cast<size_t>(i + offset_)], label(field, i));
    }
    return {};
  }

  Status place_by_word(const Item& item, const Tensor& field, std::vector<int64_t>& labels) const {
    TENON_ASSIGN_OR_RETURN(const Tensor words, item_tensor(item, words_));
    if (words.size() != static_cast<int64_t>(labels.size()))
      return error(Code::kInvalidArgument, "'{}' has {} values for {} tokens", words_, words.size(), labels.size());
    int64_t before = -1;
    for (int64_t t = 0; t < words.size(); ++t) {
      const int64_t word = words.at_int(t);
      if (word >= 0 && word != before) {
        if (word >= field.size()) return error(Code::kInvalidArgument, "token {} is of word {}, but there are {} labels", t, word, field.size());
        TENON_ASSIGN_OR_RETURN(labels[static_cast<size_t>(t)], label(field, word));
      }
      before = word;
    }
    return {};
  }

  TaskContext context_;
  LabelReader labels_;
  std::string words_, mask_;
  int64_t offset_;
};

}  // namespace

Result<std::unique_ptr<Judge>> make_class_judge(const TaskContext& context) {
  if (!context.roles.contains("scores") && !context.roles.contains("predicted"))
    return Status(Code::kInvalidArgument, "no output has the form of scores, [batch, classes]", "outputs", "name one as scores or predicted");
  TENON_ASSIGN_OR_RETURN(const Activation activation, activation_of(context));
  return std::unique_ptr<Judge>(std::make_unique<ClassJudge>(context, activation));
}

Result<std::unique_ptr<Judge>> make_token_judge(const TaskContext& context) {
  if (context.options.value("first", int64_t{0}) < 0)
    return Status(Code::kInvalidArgument, "the first token with a label is negative", "options.first");
  return std::unique_ptr<Judge>(std::make_unique<TokenJudge>(context));
}

}  // namespace tenon::eval
