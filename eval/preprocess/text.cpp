// Steps of texts: one string each; tokenizers make input_ids, attention_mask and token_type_ids.

#include <algorithm>
#include <array>

#include "eval/preprocess/arguments.h"
#include "eval/preprocess/tokenizers.h"
#include "eval/preprocess/unicode.h"

namespace tenon::eval {
namespace {

using Kind = Parameter::Kind;

constexpr double kMaxLength = 1 << 24;
constexpr std::string_view kText = "one text";
constexpr std::string_view kTokens = "i64 [tokens], also attention_mask and token_type_ids of that shape";

constexpr std::array kLengthParameters = {
    Parameter{"pair", Kind::kText, "\"text_pair\"", "the field of a second text, used where the example has it"},
    Parameter{"max_length", Kind::kInteger, "512", "tokens at most, those around the text included", 1, kMaxLength},
    Parameter{"truncation", Kind::kBoolean, "true", "whether longer texts lose their ends, the longer of a pair first; else they are errors"},
    Parameter{"padding", Kind::kChoice, "\"none\"", "none|max_length whether shorter texts are padded"},
    Parameter{"padding_side", Kind::kChoice, "\"right\"", "right|left where padding goes"}};

/// A tokenizer's own parameters, and those that all of them have.
template <size_t N>
constexpr auto with_length(const Parameter (&own)[N]) {
  std::array<Parameter, N + kLengthParameters.size()> out{};
  std::copy(std::begin(own), std::end(own), out.begin());
  std::copy(kLengthParameters.begin(), kLengthParameters.end(), out.begin() + N);
  return out;
}

constexpr auto kWordPiece = with_length({
    {"vocab", Kind::kText, "", "the vocab.txt"},
    {"lowercase", Kind::kBoolean, "true", "whether the model is uncased"},
    {"strip_accents", Kind::kBoolean, "", "whether accents go; without it, as lowercase"},
    {"chinese", Kind::kBoolean, "true", "whether Chinese characters are words of their own"},
    {"special_tokens", Kind::kBoolean, "true", "whether to write [CLS] text [SEP], or [CLS] text [SEP] pair [SEP]"},
    {"unknown", Kind::kText, "\"[UNK]\"", "the token of unknown words"},
    {"cls", Kind::kText, "\"[CLS]\"", "the token before the text"},
    {"sep", Kind::kText, "\"[SEP]\"", "the token after a text"},
    {"pad", Kind::kText, "\"[PAD]\"", "the token that pads"}});

constexpr auto kBpe = with_length({
    {"vocab", Kind::kText, "", "the vocab.json"},
    {"merges", Kind::kText, "", "the merges.txt"},
    {"prefix_space", Kind::kBoolean, "false", "whether a space goes before the text"},
    {"specials", Kind::kTexts, "[\"<|endoftext|>\"]", "tokens that are kept whole in a text"},
    {"bos", Kind::kText, "", "the token before the text, if any"},
    {"sep", Kind::kTexts, "", "the tokens between a text and its pair, if any"},
    {"eos", Kind::kText, "", "the token after the text, if any"},
    {"pad", Kind::kText, "\"<|endoftext|>\"", "the token that pads"}});

constexpr auto kTokenizer = with_length({
    {"file", Kind::kText, "", "the tokenizer.json"},
    {"special_tokens", Kind::kBoolean, "true", "whether the file's tokens go around a text"}});

constexpr auto kBytes = with_length({
    {"offset", Kind::kInteger, "0", "added to each byte (ByT5: 3)", 0, 1 << 20},
    {"eos_id", Kind::kInteger, "", "the id after the text, if any (ByT5: 1)", 0, 1 << 20},
    {"pad_id", Kind::kInteger, "0", "the id that pads", 0, 1 << 20}});

/// What goes around a text and its pair, and how long the whole may be.
struct Framing {
  std::vector<int64_t> before, between, after;
  int64_t pad_id = 0;
  int64_t max_length = 512;
  bool truncate = true, pad = false, pad_left = false;
  std::string pair;
};

Framing framing_of(const StepArguments& a) {
  Framing out;
  out.pair = text(a, "pair");
  out.max_length = integer(a, "max_length");
  out.truncate = boolean(a, "truncation");
  out.pad = text(a, "padding") == "max_length";
  out.pad_left = text(a, "padding_side") == "left";
  return out;
}

Status fit_length(const Framing& f, std::vector<int64_t>& first, std::vector<int64_t>* second) {
  const auto around = static_cast<int64_t>(f.before.size() + f.after.size() + (second != nullptr ? f.between.size() : 0));
  const int64_t room = f.max_length - around;
  if (room < 0) return error(Code::kInvalidArgument, "max_length {} has no room for the {} tokens around a text", f.max_length, around);
  int64_t length = static_cast<int64_t>(first.size() + (second != nullptr ? second->size() : 0));
  if (length <= room) return {};
  if (!f.truncate) return error(Code::kInvalidArgument, "the text has {} tokens, max_length {}", length + around, f.max_length).with_hint("say \"truncation\": true");
  for (; length > room; --length) {
    if (second == nullptr || first.size() > second->size()) first.pop_back();
    else second->pop_back();
  }
  return {};
}

Status write_tokens(const Framing& f, std::vector<int64_t> first, std::vector<int64_t>* second, const std::string& output, Fields& fields) {
  TENON_RETURN_IF_ERROR(fit_length(f, first, second));
  std::vector<int64_t> ids = f.before;
  ids.insert(ids.end(), first.begin(), first.end());
  size_t second_from = ids.size();
  if (second != nullptr) {
    ids.insert(ids.end(), f.between.begin(), f.between.end());
    second_from = ids.size();
    ids.insert(ids.end(), second->begin(), second->end());
  }
  ids.insert(ids.end(), f.after.begin(), f.after.end());
  std::vector<int64_t> mask(ids.size(), 1), types(ids.size(), 0);
  if (second != nullptr) std::fill(types.begin() + static_cast<std::ptrdiff_t>(second_from), types.end(), 1);
  if (f.pad && static_cast<int64_t>(ids.size()) < f.max_length) {
    const size_t missing = static_cast<size_t>(f.max_length) - ids.size();
    const auto pad = [&](std::vector<int64_t>& list, int64_t value) { list.insert(f.pad_left ? list.begin() : list.end(), missing, value); };
    pad(ids, f.pad_id);
    pad(mask, 0);
    pad(types, 0);
  }
  const Shape shape{static_cast<int64_t>(ids.size())};
  fields[output] = Tensor::from<int64_t>(shape, ids);
  fields["attention_mask"] = Tensor::from<int64_t>(shape, mask);
  fields["token_type_ids"] = Tensor::from<int64_t>(shape, types);
  return {};
}

template <class Encode>
StepFunction tokenizing(const StepArguments& a, Framing framing, Encode encode) {
  return [input = a.input, output = a.output, f = std::move(framing), encode = std::move(encode)](Fields& fields) -> Status {
    TENON_ASSIGN_OR_RETURN(const std::string text, text_in(fields, input));
    if (f.pair.empty() || !fields.contains(f.pair)) return write_tokens(f, encode(text), nullptr, output, fields);
    TENON_ASSIGN_OR_RETURN(const std::string pair, text_in(fields, f.pair));
    std::vector<int64_t> second = encode(pair);
    return write_tokens(f, encode(text), &second, output, fields);
  };
}

Result<int64_t> token_in(const Tokenizer& tokenizer, std::string_view parameter, const std::string& token) {
  const auto id = tokenizer.id_of(token);
  if (!id) return wrong_parameter(parameter, fmt::format("is '{}', which the vocabulary does not have", token));
  return *id;
}

Result<StepFunction> make_wordpiece_step(const StepArguments& a) {
  if (!a.has("vocab")) return wrong_parameter("vocab", "is missing");
  WordPieceOptions options;
  options.lowercase = boolean(a, "lowercase");
  options.strip_accents = a.has("strip_accents") ? boolean(a, "strip_accents") : options.lowercase;
  options.chinese = boolean(a, "chinese");
  options.unknown = text(a, "unknown");
  const std::string cls = text(a, "cls"), sep = text(a, "sep"), pad = text(a, "pad");
  options.specials = {options.unknown, sep, pad, cls, "[MASK]"};
  TENON_ASSIGN_OR_RETURN(const std::shared_ptr<const Tokenizer> tokenizer, make_wordpiece(a.folder / text(a, "vocab"), options));
  Framing framing = framing_of(a);
  if (boolean(a, "special_tokens")) {
    TENON_ASSIGN_OR_RETURN(const int64_t cls_id, token_in(*tokenizer, "cls", cls));
    TENON_ASSIGN_OR_RETURN(const int64_t sep_id, token_in(*tokenizer, "sep", sep));
    framing.before = {cls_id};
    framing.between = framing.after = {sep_id};
  }
  if (framing.pad) {
    TENON_ASSIGN_OR_RETURN(framing.pad_id, token_in(*tokenizer, "pad", pad));
  }
  return tokenizing(a, std::move(framing), [tokenizer](const std::string& s) { return tokenizer->encode(s); });
}

Result<StepFunction> make_bpe_step(const StepArguments& a) {
  for (const char* name : {"vocab", "merges"})
    if (!a.has(name)) return wrong_parameter(name, "is missing");
  TENON_ASSIGN_OR_RETURN(const std::shared_ptr<const Tokenizer> tokenizer,
                         make_bpe(a.folder / text(a, "vocab"), a.folder / text(a, "merges"), {boolean(a, "prefix_space"), texts(a, "specials")}));
  Framing framing = framing_of(a);
  for (const auto& [name, list] : {std::pair("bos", &framing.before), std::pair("eos", &framing.after)}) {
    if (!a.has(name)) continue;
    TENON_ASSIGN_OR_RETURN(const int64_t id, token_in(*tokenizer, name, text(a, name)));
    list->push_back(id);
  }
  if (a.has("sep"))
    for (const std::string& token : texts(a, "sep")) {
      TENON_ASSIGN_OR_RETURN(const int64_t id, token_in(*tokenizer, "sep", token));
      framing.between.push_back(id);
    }
  if (framing.pad) {
    TENON_ASSIGN_OR_RETURN(framing.pad_id, token_in(*tokenizer, "pad", text(a, "pad")));
  }
  return tokenizing(a, std::move(framing), [tokenizer](const std::string& s) { return tokenizer->encode(s); });
}

Result<StepFunction> make_tokenizer_step(const StepArguments& a) {
  if (!a.has("file")) return wrong_parameter("file", "is missing");
  TENON_ASSIGN_OR_RETURN(TokenizerFile file, read_tokenizer(a.folder / text(a, "file")));
  Framing framing = framing_of(a);
  if (boolean(a, "special_tokens")) {
    framing.before = std::move(file.before);
    framing.between = std::move(file.between);
    framing.after = std::move(file.after);
  }
  if (framing.pad && !file.pad_id) return wrong_parameter("padding", "is max_length, and the file has no token that pads");
  framing.pad_id = file.pad_id.value_or(0);
  return tokenizing(a, std::move(framing), [tokenizer = file.tokenizer](const std::string& s) { return tokenizer->encode(s); });
}

Result<StepFunction> make_bytes_step(const StepArguments& a) {
  Framing framing = framing_of(a);
  if (a.has("eos_id")) framing.after = framing.between = {integer(a, "eos_id")};
  framing.pad_id = integer(a, "pad_id");
  return tokenizing(a, std::move(framing), [offset = integer(a, "offset")](const std::string& s) {
    std::vector<int64_t> out;
    for (char c : s) out.push_back(static_cast<uint8_t>(c) + offset);
    return out;
  });
}

Result<StepFunction> make_lowercase(const StepArguments& a) {
  return StepFunction([input = a.input, output = a.output](Fields& fields) -> Status {
    TENON_ASSIGN_OR_RETURN(std::string text, text_in(fields, input));
    std::string out;
    for (std::string_view rest = text; !rest.empty();) {
      const CodePoint c = first_code_point(rest);
      if (c.value == 0xfffd) out.append(rest.substr(0, c.bytes));  // bytes that are no text stay
      else append_utf8(to_lower(c.value), out);
      rest.remove_prefix(c.bytes);
    }
    TENON_ASSIGN_OR_RETURN(fields[output], Tensor::strings({}, {std::move(out)}));
    return {};
  });
}

constexpr Parameter kTemplate[] = {{"text", Kind::kText, "", "with {FIELD} where a field's text or number goes; {{ and }} are braces"}};

/// Parts that alternate: text, field, text, …, text.
Result<std::vector<std::string>> parse_template(const std::string& form) {
  std::vector<std::string> parts(1);
  for (size_t i = 0; i < form.size(); ++i) {
    if ((form[i] == '{' || form[i] == '}') && i + 1 < form.size() && form[i + 1] == form[i]) {
      parts.back() += form[i++];
    } else if (form[i] == '{') {
      const size_t end = form.find('}', i);
      if (end == form.npos) return wrong_parameter("text", "has a { that is not closed");
      parts.push_back(form.substr(i + 1, end - i - 1));
      parts.emplace_back();
      i = end;
    } else if (form[i] == '}') {
      return wrong_parameter("text", "has a } that closes nothing");
    } else {
      parts.back() += form[i];
    }
  }
  return parts;
}

Result<StepFunction> make_template(const StepArguments& a) {
  if (!a.has("text")) return wrong_parameter("text", "is missing");
  TENON_ASSIGN_OR_RETURN(const std::vector<std::string> parts, parse_template(text(a, "text")));
  return StepFunction([parts, output = a.output](Fields& fields) -> Status {
    std::string out;
    for (size_t i = 0; i < parts.size(); ++i) {
      if (i % 2 == 0) {
        out += parts[i];
        continue;
      }
      TENON_ASSIGN_OR_RETURN(const Tensor t, tensor_in(fields, parts[i]));
      if (t.size() != 1) return error(Code::kInvalidArgument, "the field '{}' has {} elements, not one", parts[i], t.size());
      out += t.dtype() == DType::kString ? t.string_values()[0] : is_float(t.dtype()) ? fmt::format("{}", t.at_double(0)) : fmt::format("{}", t.at_int(0));
    }
    TENON_ASSIGN_OR_RETURN(fields[output], Tensor::strings({}, {std::move(out)}));
    return {};
  });
}

constexpr StepInfo kSteps[] = {
    {"template", "text", "", "text", "fields of one text or number each", kText, "Writes a text with fields in it.", kTemplate, make_template},
    {"lowercase", "text", "text", "", kText, kText, "Maps each character to lower case (Unicode's simple mapping).", {}, make_lowercase},
    {"wordpiece", "text", "text", "input_ids", kText, kTokens, "BERT's tokenizer: its basic tokenizer, then the longest pieces of the vocabulary.",
     kWordPiece, make_wordpiece_step},
    {"bpe", "text", "text", "input_ids", kText, kTokens, "GPT-2's byte-level pair encoding.", kBpe, make_bpe_step},
    {"tokenizer", "text", "text", "input_ids", kText, kTokens, "What Hugging Face's tokenizer.json says: a WordPiece of BERT, or a byte-level BPE.",
     kTokenizer, make_tokenizer_step},
    {"bytes", "text", "text", "input_ids", kText, kTokens, "A token a byte of UTF-8.", kBytes, make_bytes_step},
};

}  // namespace

std::span<const StepInfo> text_steps() { return kSteps; }

}  // namespace tenon::eval
