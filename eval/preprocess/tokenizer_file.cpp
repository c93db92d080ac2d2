// Hugging Face's tokenizer.json (https://github.com/huggingface/tokenizers).

#include "eval/datasets/files.h"
#include "eval/datasets/json_text.h"
#include "eval/preprocess/tokenizers.h"

namespace tenon::eval {
namespace {

using nlohmann::json;

constexpr size_t kMaxFileBytes = size_t{512} << 20;

/// The member of that name, null when there is none.
const json& member(const json& object, const char* name) {
  static const json kNull;
  if (!object.is_object()) return kNull;
  const auto found = object.find(name);
  return found == object.end() ? kNull : *found;
}
std::string text_at(const json& object, const char* name) {
  const json& value = member(object, name);
  return value.is_string() ? value.get<std::string>() : std::string();
}
bool flag_at(const json& object, const char* name, bool otherwise) {
  const json& value = member(object, name);
  return value.is_boolean() ? value.get<bool>() : otherwise;
}
std::optional<int64_t> id_at(const json& value) {
  if (!value.is_number_integer() || value.get<int64_t>() < 0 || value.get<int64_t>() > INT32_MAX) return std::nullopt;
  return value.get<int64_t>();
}

Status wrong(std::string what) { return Status(Code::kInvalidArgument, std::move(what)); }
Status unsupported(std::string_view part, const std::string& kind) {
  return Status(Code::kUnsupported, fmt::format("a {} of type '{}'", part, kind), {}, "WordPiece of BERT and byte-level BPE are read");
}

class FileReader {
 public:
  explicit FileReader(const json& root) : root_(root) {}

  Result<TokenizerFile> read() {
    TENON_RETURN_IF_ERROR(read_vocabulary());
    TokenizerFile out;
    const json& model = member(root_, "model");
    std::string kind = text_at(model, "type");
    // Files of older versions do not say.
    if (kind.empty() && model.contains("max_input_chars_per_word")) kind = "WordPiece";
    if (kind.empty() && model.contains("merges")) kind = "BPE";
    if (kind == "WordPiece") {
      TENON_ASSIGN_OR_RETURN(out.tokenizer, wordpiece());
    } else if (kind == "BPE") {
      TENON_ASSIGN_OR_RETURN(out.tokenizer, bpe());
    } else {
      return unsupported("model", kind);
    }
    TENON_RETURN_IF_ERROR(read_framing(member(root_, "post_processor"), out));
    out.pad_id = id_at(member(member(root_, "padding"), "pad_id"));
    for (const char* token : {"[PAD]", "<pad>", "<|endoftext|>"})
      if (!out.pad_id) out.pad_id = out.tokenizer->id_of(token);
    return out;
  }

 private:
  Status read_vocabulary() {
    const json& vocabulary = member(member(root_, "model"), "vocab");
    if (!vocabulary.is_object()) return unsupported("vocabulary", vocabulary.type_name());
    if (vocabulary.size() > kMaxVocabulary) return wrong(fmt::format("more than {} tokens", kMaxVocabulary));
    for (const auto& [token, value] : vocabulary.items()) {
      const auto id = id_at(value);
      if (!id) return wrong(fmt::format("the id of '{}' is no id", token));
      vocabulary_.emplace(token, *id);
    }
    const json& added = member(root_, "added_tokens");
    for (const json& token : added.is_array() ? added : json::array()) {
      const auto id = id_at(member(token, "id"));
      const std::string content = text_at(token, "content");
      if (!id || content.empty()) return wrong("an added token has no id or no content");
      vocabulary_.emplace(content, *id);
      specials_.push_back(content);
    }
    return {};
  }

  Result<std::shared_ptr<const Tokenizer>> wordpiece() {
    const json &model = member(root_, "model"), &normalizer = member(root_, "normalizer"), &words = member(root_, "pre_tokenizer");
    if (text_at(normalizer, "type") != "BertNormalizer") return unsupported("normalizer", text_at(normalizer, "type"));
    if (text_at(words, "type") != "BertPreTokenizer") return unsupported("pre-tokenizer", text_at(words, "type"));
    if (const std::string prefix = text_at(model, "continuing_subword_prefix"); prefix != "##" && !prefix.empty()) return unsupported("prefix", prefix);
    WordPieceOptions options;
    options.lowercase = flag_at(normalizer, "lowercase", true);
    options.strip_accents = flag_at(normalizer, "strip_accents", options.lowercase);
    options.chinese = flag_at(normalizer, "handle_chinese_chars", true);
    if (const auto most = id_at(member(model, "max_input_chars_per_word"))) options.max_word = *most;
    if (const std::string unknown = text_at(model, "unk_token"); !unknown.empty()) options.unknown = unknown;
    options.specials = specials_;
    return make_wordpiece(std::move(vocabulary_), options, "model");
  }

  Result<std::shared_ptr<const Tokenizer>> bpe() {
    const json &model = member(root_, "model"), &words = member(root_, "pre_tokenizer");
    if (!member(root_, "normalizer").is_null()) return unsupported("normalizer", text_at(member(root_, "normalizer"), "type"));
    if (text_at(words, "type") != "ByteLevel" || !flag_at(words, "use_regex", true)) return unsupported("pre-tokenizer", text_at(words, "type"));
    for (const char* form : {"ignore_merges", "byte_fallback"})
      if (flag_at(model, form, false)) return unsupported("model", form);
    for (const char* affix : {"continuing_subword_prefix", "end_of_word_suffix"})
      if (const std::string text = text_at(model, affix); !text.empty()) return unsupported(affix, text);
    const json& list = member(model, "merges");
    if (!list.is_array()) return wrong("the merges are no list");
    std::vector<std::pair<std::string, std::string>> merges;
    for (const json& merge : list) {
      const bool pair = merge.is_array() && merge.size() == 2 && merge[0].is_string() && merge[1].is_string();
      const std::string text = merge.is_string() ? merge.get<std::string>() : std::string();
      const size_t space = text.find(' ');
      if (!pair && space == text.npos) return wrong(fmt::format("merge {} is no pair of tokens", merges.size() + 1));
      if (pair) merges.emplace_back(merge[0].get<std::string>(), merge[1].get<std::string>());
      else merges.emplace_back(text.substr(0, space), text.substr(space + 1));
    }
    return make_bpe(std::move(vocabulary_), merges, {flag_at(words, "add_prefix_space", false), specials_}, "model");
  }

  static Status read_framing(const json& processor, TokenizerFile& out) {
    const std::string kind = text_at(processor, "type");
    if (processor.is_null() || kind == "ByteLevel") return {};
    if (kind == "BertProcessing" || kind == "RobertaProcessing") {
      const auto id = [&](const char* name) {
        const json& pair = member(processor, name);
        return pair.is_array() && pair.size() == 2 ? id_at(pair[1]) : std::nullopt;
      };
      const auto cls = id("cls"), sep = id("sep");
      if (!cls || !sep) return wrong("the post-processor has no cls or sep");
      out.before = {*cls};
      out.after = {*sep};
      out.between.assign(kind == "RobertaProcessing" ? 2 : 1, *sep);
      return {};
    }
    if (kind != "TemplateProcessing") return unsupported("post-processor", kind);
    return read_template(processor, out);
  }

  /// The single form gives what is before and after a text; the pair form, which has to agree, what is between two.
  static Status read_template(const json& processor, TokenizerFile& out) {
    TokenizerFile pair = out;
    TENON_RETURN_IF_ERROR(read_form(processor, "single", out));
    TENON_RETURN_IF_ERROR(read_form(processor, "pair", pair));
    if (pair.before != out.before || pair.after != out.after) return wrong("the post-processor frames a pair otherwise than a text");
    out.between = pair.between;
    return {};
  }

  static Status read_form(const json& processor, const char* name, TokenizerFile& out) {
    const json& form = member(processor, name);
    const size_t last = std::string_view(name) == "pair" ? 2 : 1;
    size_t texts = 0;
    for (const json& part : form.is_array() ? form : json::array()) {
      if (part.is_object() && part.contains("Sequence")) {
        ++texts;
        continue;
      }
      const std::string token = text_at(member(part, "SpecialToken"), "id");
      const json& ids = member(member(member(processor, "special_tokens"), token.c_str()), "ids");
      if (token.empty() || !ids.is_array()) return wrong("the post-processor names an unknown special token");
      for (const json& value : ids) {
        const auto id = id_at(value);
        if (!id) return wrong("a special token's id is no id");
        (texts == 0 ? out.before : texts == last ? out.after : out.between).push_back(*id);
      }
    }
    return texts == last ? Status() : wrong(fmt::format("the post-processor's form '{}' has {} texts", name, texts));
  }

  const json& root_;
  Vocabulary vocabulary_;
  std::vector<std::string> specials_;
};

}  // namespace

Result<TokenizerFile> read_tokenizer(const std::filesystem::path& file) {
  TENON_ASSIGN_OR_RETURN(const frontend::Bytes bytes, frontend::map_file(file));
  if (bytes.span.size() > kMaxFileBytes)
    return Status(Code::kResourceExhausted, fmt::format("the file is larger than {} bytes", kMaxFileBytes), file.string());
  const Result<json> root = parse_json(text_of(bytes.span));
  if (!root.ok()) return root.status().at(file.string());
  Result<TokenizerFile> out = FileReader(*root).read();
  if (!out.ok()) return std::move(out).status().at(file.string());
  return out;
}

}  // namespace tenon::eval
