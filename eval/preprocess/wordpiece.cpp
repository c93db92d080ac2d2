#include "eval/datasets/files.h"
#include "eval/preprocess/tokenizers.h"
#include "eval/preprocess/unicode.h"

namespace tenon::eval {
namespace {

bool is_chinese(char32_t c) {
  constexpr std::pair<char32_t, char32_t> kBlocks[] = {{0x4e00, 0x9fff},   {0x3400, 0x4dbf},   {0x20000, 0x2a6df}, {0x2a700, 0x2b73f},
                                                       {0x2b740, 0x2b81f}, {0x2b820, 0x2ceaf}, {0xf900, 0xfaff},   {0x2f800, 0x2fa1f}};
  for (const auto& [first, last] : kBlocks)
    if (c >= first && c <= last) return true;
  return false;
}

/// BERT takes all of ASCII's signs for punctuation, symbols included.
bool splits(char32_t c) {
  if ((c >= 33 && c <= 47) || (c >= 58 && c <= 64) || (c >= 91 && c <= 96) || (c >= 123 && c <= 126)) return true;
  return is_punctuation(c);
}

bool is_blank(char32_t c) { return c == '\t' || c == '\n' || c == '\r' || (is_white_space(c) && !is_other(c)); }

class WordPiece final : public Tokenizer {
 public:
  WordPiece(Vocabulary vocabulary, int64_t unknown, WordPieceOptions options)
      : vocabulary_(std::move(vocabulary)), unknown_(unknown), options_(std::move(options)) {
    for (const std::string& token : options_.specials)
      if (const auto id = id_of(token)) specials_.emplace_back(token, *id);
  }

  std::optional<int64_t> id_of(std::string_view token) const override {
    const auto found = vocabulary_.find(token);
    return found == vocabulary_.end() ? std::nullopt : std::optional(found->second);
  }

  std::vector<int64_t> encode(std::string_view text) const override {
    std::vector<int64_t> out;
    split_specials(text, specials_, [&](std::string_view part) { encode_plain(part, out); }, [&](int64_t id) { out.push_back(id); });
    return out;
  }

 private:
  void encode_plain(std::string_view text, std::vector<int64_t>& out) const {
    std::vector<char32_t> word;
    const auto flush = [&] {
      if (!word.empty()) encode_word(word, out);
      word.clear();
    };
    for (char32_t c : normalized(text)) {
      const bool alone = splits(c) || (options_.chinese && is_chinese(c));
      if (alone || is_blank(c)) flush();
      if (is_blank(c)) continue;
      word.push_back(c);
      if (alone) flush();
    }
    flush();
  }

  std::vector<char32_t> normalized(std::string_view text) const {
    std::vector<char32_t> out;
    for (char32_t c : to_code_points(text)) {
      if (is_blank(c)) out.push_back(' ');
      else if (c != 0 && c != 0xfffd && !is_other(c)) out.push_back(c);
    }
    if (options_.strip_accents) {
      out = decompose(out);
      std::erase_if(out, is_mark);
    }
    if (options_.lowercase)
      for (char32_t& c : out) c = to_lower(c);
    return out;
  }

  void encode_word(const std::vector<char32_t>& word, std::vector<int64_t>& out) const {
    if (static_cast<int64_t>(word.size()) > options_.max_word) {
      out.push_back(unknown_);
      return;
    }
    std::string utf8;
    std::vector<size_t> ends{0};  // of each code point
    for (char32_t c : word) {
      append_utf8(c, utf8);
      ends.push_back(utf8.size());
    }
    const size_t before = out.size();
    std::string piece;
    for (size_t begin = 0; begin < word.size();) {
      size_t end = word.size();
      std::optional<int64_t> id;
      for (; end > begin && !id; --end) {
        piece = begin > 0 ? "##" : "";
        piece.append(utf8, ends[begin], ends[end] - ends[begin]);
        id = id_of(piece);
        if (id) break;
      }
      if (!id) {
        out.resize(before);
        out.push_back(unknown_);
        return;
      }
      out.push_back(*id);
      begin = end;
    }
  }

  Vocabulary vocabulary_;
  int64_t unknown_;
  WordPieceOptions options_;
  std::vector<std::pair<std::string, int64_t>> specials_;
};

}  // namespace

Result<std::shared_ptr<const Tokenizer>> make_wordpiece(const std::filesystem::path& vocab, const WordPieceOptions& options) {
  TENON_ASSIGN_OR_RETURN(const std::vector<std::string> lines, read_lines(vocab));
  if (lines.size() > kMaxVocabulary)
    return Status(Code::kResourceExhausted, fmt::format("more than {} tokens", kMaxVocabulary), vocab.string());
  Vocabulary vocabulary;
  for (size_t i = 0; i < lines.size(); ++i) vocabulary[lines[i]] = static_cast<int64_t>(i);
  return make_wordpiece(std::move(vocabulary), options, vocab.string());
}

Result<std::shared_ptr<const Tokenizer>> make_wordpiece(Vocabulary vocabulary, const WordPieceOptions& options, const std::string& where) {
  const auto unknown = vocabulary.find(options.unknown);
  if (unknown == vocabulary.end())
    return Status(Code::kInvalidArgument, fmt::format("the vocabulary has no '{}'", options.unknown), where, "give the vocab.txt of a BERT");
  const int64_t id = unknown->second;
  return std::shared_ptr<const Tokenizer>(std::make_shared<WordPiece>(std::move(vocabulary), id, options));
}

}  // namespace tenon::eval
