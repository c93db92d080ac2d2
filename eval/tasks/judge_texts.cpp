#include <algorithm>
#include <cmath>
#include <fstream>
#include <iterator>
#include <map>

#include "eval/datasets/json_text.h"
#include "eval/preprocess/tokenizers.h"
#include "eval/preprocess/unicode.h"
#include "eval/tasks/judge.h"

namespace tenon::eval {
using nlohmann::json;

namespace {

constexpr std::string_view kNoToken = "\uFFFD";
constexpr int64_t kMostTokens = int64_t{1} << 22;  // of a vocabulary

Result<TokenTable> from_json(const std::string& text) {
  TENON_ASSIGN_OR_RETURN(const json parsed, parse_json(text));
  std::vector<std::string> tokens;
  if (parsed.is_array()) {
    for (const json& token : parsed) {
      if (!token.is_string()) return error(Code::kInvalidArgument, "a list of tokens has something else in it");
      tokens.push_back(token.get<std::string>());
    }
    return TokenTable(std::move(tokens));
  }
  if (!parsed.is_object()) return error(Code::kInvalidArgument, "no JSON object of numbers by token, and no list of tokens");
  for (const auto& [token, number] : parsed.items()) {
    if (!number.is_number_integer() || number.get<int64_t>() < 0 || number.get<int64_t>() >= kMostTokens)
      return error(Code::kInvalidArgument, "token '{}' has no number from 0 to {}", token, kMostTokens - 1);
    const auto id = number.get<size_t>();
    if (id >= tokens.size()) tokens.resize(id + 1);
    tokens[id] = token;
  }
  return TokenTable(std::move(tokens));
}

TokenTable from_lines(const std::string& text) {
  std::vector<std::string> tokens;
  for (size_t start = 0; start < text.size();) {
    const size_t end = std::min(text.find('\n', start), text.size());
    tokens.push_back(text.substr(start, end - start));
    if (!tokens.back().empty() && tokens.back().back() == '\r') tokens.back().pop_back();
    start = end + 1;
  }
  return TokenTable(std::move(tokens));
}

/// The bytes that byte-level tokens stand for; what stands for none stays.
std::string from_byte_level(std::string_view text) {
  static const std::map<char32_t, char> kBytes = [] {
    const auto characters = byte_characters();
    std::map<char32_t, char> out;
    for (size_t byte = 0; byte < characters.size(); ++byte) out.emplace(characters[byte], static_cast<char>(byte));
    return out;
  }();
  std::string out;
  while (!text.empty()) {
    const CodePoint c = first_code_point(text);
    const auto found = kBytes.find(c.value);
    if (found != kBytes.end()) out += found->second;
    else out += text.substr(0, c.bytes);
    text.remove_prefix(c.bytes);
  }
  return out;
}

void replace_all(std::string& text, std::string_view from, std::string_view to) {
  for (size_t at = 0; (at = text.find(from, at)) != std::string::npos; at += to.size()) text.replace(at, from.size(), to);
}

std::string trimmed(const std::string& text) {
  const size_t first = text.find_first_not_of(" \t\n\r");
  return first == std::string::npos ? std::string() : text.substr(first, text.find_last_not_of(" \t\n\r") - first + 1);
}

constexpr std::string_view kSchemes[] = {"wordpiece", "bpe", "sentencepiece", "words", "characters"};

/// The options that turn tokens into text.
struct Decoder {
  TokenTable vocabulary{std::vector<std::string>()};
  std::string scheme;
  std::vector<int64_t> skip;

  std::string text(std::span<const int64_t> ids) const { return vocabulary.decode(ids, scheme, skip); }
};

Result<Decoder> make_decoder(const TaskContext& context) {
  Decoder out;
  const std::string file = context.options.value("vocabulary", "");
  if (file.empty()) return Status(Code::kInvalidArgument, "the task needs a vocabulary", "options.vocabulary", "name vocab.txt or vocab.json");
  TENON_ASSIGN_OR_RETURN(out.vocabulary, TokenTable::read(context.folder / file));
  out.scheme = context.options.value("tokens", "wordpiece");
  if (std::find(std::begin(kSchemes), std::end(kSchemes), out.scheme) == std::end(kSchemes))
    return Status(Code::kInvalidArgument, fmt::format("'{}' is no way to join tokens", out.scheme), "options.tokens",
                  fmt::format("choose from {}", fmt::join(kSchemes, ", ")));
  for (const json& id : context.options.value("skip", json::array())) {
    if (!id.is_number_integer()) return Status(Code::kInvalidArgument, "a number of a token is no integer", "options.skip");
    out.skip.push_back(id.get<int64_t>());
  }
  return out;
}

Result<std::vector<std::string>> references(const TaskContext& context, const Item& item) {
  TENON_ASSIGN_OR_RETURN(std::vector<std::string> texts, item_texts(item, context.labels.field));
  if (texts.empty()) return error(Code::kInvalidArgument, "field '{}' has no text", context.labels.field);
  return texts;
}

std::vector<int64_t> integers(const Tensor& t) {
  std::vector<int64_t> out(static_cast<size_t>(t.size()));
  for (int64_t i = 0; i < t.size(); ++i) out[static_cast<size_t>(i)] = t.at_int(i);
  return out;
}

/// Text that the model has made: strings, numbers of tokens, or scores of tokens of which the best is taken.
class GeneratedJudge final : public Judge {
 public:
  GeneratedJudge(const TaskContext& context, std::optional<Decoder> decoder) : context_(context), decoder_(std::move(decoder)), end_(context.options.value("end", int64_t{-1})) {}

  Result<Outcome> judge(const Item& item) const override {
    TextOutcome out;
    TENON_ASSIGN_OR_RETURN(out.references, references(context_, item));
    TENON_ASSIGN_OR_RETURN(const Tensor made, role_tensor(context_, item, "sequences"));
    if (made.dtype() == DType::kString) {
      out.predicted = fmt::format("{}", fmt::join(made.string_values(), " "));
      return Outcome(std::move(out));
    }
    if (!decoder_) return error(kUnusableOutput, "the model gives tokens, but there is no vocabulary").with_hint("set options.vocabulary");
    std::vector<int64_t> ids;
    if (is_float(made.dtype())) {
      TENON_ASSIGN_OR_RETURN(const Tensor scores, role_tensor(context_, item, "sequences", 2));
      for (int64_t t = 0; t < scores.dim(0); ++t) ids.push_back(static_cast<int64_t>(argmax(row_of(scores, t))));
    } else {
      ids = integers(made);
    }
    if (end_ >= 0) ids.erase(std::find(ids.begin(), ids.end(), end_), ids.end());
    out.predicted = decoder_->text(ids);
    return Outcome(std::move(out));
  }

 private:
  TaskContext context_;
  std::optional<Decoder> decoder_;
  int64_t end_;
};

/// The span with the highest start + end score, in order and not too long (Devlin et al. 2019, section 4.2).
class SpanJudge final : public Judge {
 public:
  SpanJudge(const TaskContext& context, std::optional<Decoder> decoder)
      : context_(context), decoder_(std::move(decoder)), longest_(context.options.value("longest", int64_t{30})),
        ids_(context.options.value("ids", "")), mask_(context.options.value("mask", "")), segments_(context.options.value("segments", "")),
        offsets_(context.options.value("offsets", "")), passage_(context.options.value("passage", "")) {}

  Result<Outcome> judge(const Item& item) const override {
    TextOutcome out;
    TENON_ASSIGN_OR_RETURN(out.references, references(context_, item));
    TENON_ASSIGN_OR_RETURN(const Tensor start, role_tensor(context_, item, "start", 1));
    TENON_ASSIGN_OR_RETURN(const Tensor end, role_tensor(context_, item, "end", 1));
    if (start.size() != end.size() || start.size() == 0)
      return error(kUnusableOutput, "{} scores of starts, {} of ends", start.size(), end.size());
    TENON_ASSIGN_OR_RETURN(const std::vector<bool> allowed, allowed_tokens(item, start.size()));
    int64_t first = -1, last = -1;
    double best = 0;
    for (int64_t s = 0; s < start.size(); ++s)
      for (int64_t e = s; e < std::min(start.size(), s + longest_); ++e) {
        if (!allowed[static_cast<size_t>(s)] || !allowed[static_cast<size_t>(e)]) continue;
        const double score = start.at_double(s) + end.at_double(e);
        if (first < 0 || score > best) {
          best = score;
          first = s;
          last = e;
        }
      }
    if (first >= 0) {
      TENON_ASSIGN_OR_RETURN(out.predicted, span_text(item, first, last));
    }
    return Outcome(std::move(out));
  }

 private:
  Result<std::vector<bool>> allowed_tokens(const Item& item, int64_t tokens) const {
    std::vector<bool> allowed(static_cast<size_t>(tokens), true);
    for (const std::string* name : {&mask_, &segments_}) {
      if (name->empty() || item_value(item, *name) == nullptr) continue;
      TENON_ASSIGN_OR_RETURN(const Tensor mask, item_tensor(item, *name));
      if (mask.size() != tokens) return error(Code::kInvalidArgument, "'{}' has {} values for {} tokens", *name, mask.size(), tokens);
      for (int64_t t = 0; t < tokens; ++t)
        if (mask.at_int(t) == 0) allowed[static_cast<size_t>(t)] = false;
    }
    return allowed;
  }

  Result<std::string> span_text(const Item& item, int64_t first, int64_t last) const {
    if (!offsets_.empty() && item_value(item, offsets_) != nullptr) return by_offsets(item, first, last);
    TENON_ASSIGN_OR_RETURN(const Tensor ids, item_tensor(item, ids_));
    if (last >= ids.size()) return error(Code::kInvalidArgument, "'{}' has {} tokens, fewer than the scores", ids_, ids.size());
    if (!decoder_) return error(Code::kInvalidArgument, "the answer is tokens, but there is no vocabulary").with_hint("set options.vocabulary");
    const std::vector<int64_t> all = integers(ids);
    return decoder_->text(std::span(all).subspan(static_cast<size_t>(first), static_cast<size_t>(last - first + 1)));
  }

  Result<std::string> by_offsets(const Item& item, int64_t first, int64_t last) const {
    TENON_ASSIGN_OR_RETURN(const Tensor offsets, item_tensor(item, offsets_));
    TENON_ASSIGN_OR_RETURN(const std::string passage, item_text(item, passage_));
    if (offsets.rank() != 2 || offsets.dim(1) != 2 || last >= offsets.dim(0))
      return error(Code::kInvalidArgument, "'{}' is not [tokens, 2]", offsets_);
    const int64_t from = offsets.at_int(first * 2), to = offsets.at_int(last * 2 + 1);
    if (from < 0 || to < from || to > static_cast<int64_t>(passage.size()))
      return error(Code::kInvalidArgument, "the answer's offsets, {} to {}, are outside the text", from, to);
    return passage.substr(static_cast<size_t>(from), static_cast<size_t>(to - from));
  }

  TaskContext context_;
  std::optional<Decoder> decoder_;
  int64_t longest_;
  std::string ids_, mask_, segments_, offsets_, passage_;
};

class CtcJudge final : public Judge {
 public:
  CtcJudge(const TaskContext& context, Decoder decoder)
      : context_(context), decoder_(std::move(decoder)), blank_(context.options.value("blank", int64_t{0})),
        space_(context.options.value("space", "|")), lower_(context.options.value("lower", true)) {}

  Result<Outcome> judge(const Item& item) const override {
    TextOutcome out;
    TENON_ASSIGN_OR_RETURN(out.references, references(context_, item));
    TENON_ASSIGN_OR_RETURN(const Tensor scores, role_tensor(context_, item, "scores", 2));
    out.predicted = decoder_.text(ctc_greedy(scores, blank_));
    if (!space_.empty()) replace_all(out.predicted, space_, " ");
    out.predicted = trimmed(out.predicted);
    if (lower_) {
      lower(out.predicted);
      for (std::string& reference : out.references) lower(reference);
    }
    return Outcome(std::move(out));
  }

 private:
  static void lower(std::string& text) {
    std::string out;
    for (char32_t c : to_code_points(text)) append_utf8(to_lower(c), out);
    text = std::move(out);
  }

  TaskContext context_;
  Decoder decoder_;
  int64_t blank_;
  std::string space_;
  bool lower_;
};

/// Σ -log p(label at t | scores at t), where a causal model's scores at t are for the token at t + 1.
class LikelihoodJudge final : public Judge {
 public:
  explicit LikelihoodJudge(const TaskContext& context)
      : context_(context), mask_(context.options.value("mask", "")), shift_(context.options.value("shift", true) ? 1 : 0) {}

  Result<Outcome> judge(const Item& item) const override {
    TENON_ASSIGN_OR_RETURN(const Tensor scores, role_tensor(context_, item, "scores", 2));
    TENON_ASSIGN_OR_RETURN(const Tensor labels, item_tensor(item, context_.labels.field));
    if (labels.size() != scores.dim(0)) return error(Code::kInvalidArgument, "{} labels for scores of {} tokens", labels.size(), scores.dim(0));
    Tensor mask;
    if (!mask_.empty() && item_value(item, mask_) != nullptr) {
      TENON_ASSIGN_OR_RETURN(mask, item_tensor(item, mask_));
      if (mask.size() != labels.size()) return error(Code::kInvalidArgument, "'{}' has {} values for {} tokens", mask_, mask.size(), labels.size());
    }
    LikelihoodOutcome out;
    for (int64_t t = 0; t + shift_ < labels.size(); ++t) {
      const int64_t label = labels.at_int(t + shift_);
      if (label == -100 || (mask.defined() && mask.at_int(t + shift_) == 0)) continue;
      if (label < 0 || label >= scores.dim(1)) return error(Code::kInvalidArgument, "token {} is outside the model's {} tokens", label, scores.dim(1));
      const std::vector<double> row = row_of(scores, t);
      out.nll += log_sum_exp(row) - row[static_cast<size_t>(label)];
      ++out.tokens;
    }
    if (out.tokens == 0) return error(Code::kInvalidArgument, "there is no token to predict");
    return Outcome(out);
  }

 private:
  TaskContext context_;
  std::string mask_;
  int64_t shift_;
};

Result<std::optional<Decoder>> make_optional_decoder(const TaskContext& context) {
  if (context.options.value("vocabulary", "").empty()) return std::optional<Decoder>();
  TENON_ASSIGN_OR_RETURN(Decoder decoder, make_decoder(context));
  return std::optional<Decoder>(std::move(decoder));
}

}  // namespace

Result<TokenTable> TokenTable::read(const std::filesystem::path& file) {
  constexpr uintmax_t kMostBytes = uintmax_t{1} << 28;
  std::error_code ec;
  const uintmax_t bytes = std::filesystem::file_size(file, ec);
  if (ec) return Status(Code::kNotFound, "cannot read the vocabulary", file.string(), "check the path");
  if (bytes > kMostBytes) return Status(Code::kResourceExhausted, "the vocabulary is larger than 256 MiB", file.string());
  std::ifstream in(file, std::ios::binary);
  const std::string text((std::istreambuf_iterator<char>(in)), {});
  Result<TokenTable> out = file.extension() == ".json" ? from_json(text) : Result<TokenTable>(from_lines(text));
  if (!out.ok()) return std::move(out).status().at(file.string());
  if (out->size() == 0) return Status(Code::kInvalidArgument, "the vocabulary is empty", file.string());
  return out;
}

std::string_view TokenTable::token(int64_t id) const {
  if (id < 0 || id >= size()) return kNoToken;
  return tokens_[static_cast<size_t>(id)];
}

std::string TokenTable::decode(std::span<const int64_t> ids, std::string_view scheme, std::span<const int64_t> skip) const {
  std::string out;
  for (int64_t id : ids) {
    if (std::find(skip.begin(), skip.end(), id) != skip.end()) continue;
    const std::string_view piece = token(id);
    if (scheme == "wordpiece" && piece.starts_with("##")) {
      out += piece.substr(2);
    } else {
      if ((scheme == "wordpiece" || scheme == "words") && !out.empty()) out += ' ';
      out += piece;
    }
  }
  if (scheme == "bpe") out = from_byte_level(out);
  if (scheme == "sentencepiece") replace_all(out, "▁", " ");
  return scheme == "characters" ? out : trimmed(out);
}

std::vector<int64_t> ctc_greedy(const Tensor& scores, int64_t blank) {
  std::vector<int64_t> out;
  int64_t before = -1;
  for (int64_t t = 0; t < scores.dim(0); ++t) {
    const auto best = static_cast<int64_t>(argmax(row_of(scores, t)));
    if (best != before && best != blank) out.push_back(best);
    before = best;
  }
  return out;
}

Result<std::unique_ptr<Judge>> make_generated_judge(const TaskContext& context) {
  TENON_ASSIGN_OR_RETURN(std::optional<Decoder> decoder, make_optional_decoder(context));
  return std::unique_ptr<Judge>(std::make_unique<GeneratedJudge>(context, std::move(decoder)));
}

Result<std::unique_ptr<Judge>> make_span_judge(const TaskContext& context) {
  TENON_ASSIGN_OR_RETURN(std::optional<Decoder> decoder, make_optional_decoder(context));
  if (context.options.value("longest", int64_t{30}) < 1) return Status(Code::kInvalidArgument, "an answer has one token or more", "options.longest");
  return std::unique_ptr<Judge>(std::make_unique<SpanJudge>(context, std::move(decoder)));
}

Result<std::unique_ptr<Judge>> make_ctc_judge(const TaskContext& context) {
  TENON_ASSIGN_OR_RETURN(Decoder decoder, make_decoder(context));
  return std::unique_ptr<Judge>(std::make_unique<CtcJudge>(context, std::move(decoder)));
}

Result<std::unique_ptr<Judge>> make_likelihood_judge(const TaskContext& context) {
  return std::unique_ptr<Judge>(std::make_unique<LikelihoodJudge>(context));
}

}  // namespace tenon::eval
