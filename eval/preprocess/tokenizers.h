#pragma once

#include <array>
#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

#include "support/status.h"

namespace tenon::eval {

/// Text to the ids of its tokens, without those that a model wants around them. Immutable, callable from several threads.
class Tokenizer {
 public:
  virtual ~Tokenizer() = default;
  virtual std::vector<int64_t> encode(std::string_view text) const = 0;
  /// Of a whole token, as the vocabulary writes it.
  virtual std::optional<int64_t> id_of(std::string_view token) const = 0;
};

struct TextHash {
  using is_transparent = void;
  size_t operator()(std::string_view s) const { return std::hash<std::string_view>()(s); }
};
/// Tokens and their ids, which are not negative.
using Vocabulary = std::unordered_map<std::string, int64_t, TextHash, std::equal_to<>>;
inline constexpr size_t kMaxVocabulary = 10'000'000;

/// BERT's (https://github.com/google-research/bert, tokenization.py): the basic tokenizer cleans, splits at white space and punctuation,
/// and around Chinese characters; each word then becomes the longest pieces that the vocabulary has, from the left, those after the first
/// written ##piece; a word that does not, or is longer than max_word code points, is unknown.
struct WordPieceOptions {
  bool lowercase = true;
  bool strip_accents = true;
  bool chinese = true;                 // whether Chinese characters are words of their own
  int64_t max_word = 100;
  std::string unknown = "[UNK]";
  std::vector<std::string> specials = {"[UNK]", "[SEP]", "[PAD]", "[CLS]", "[MASK]"};  // kept whole in a text, where the vocabulary has them
};
/// `vocab`: a token a line; its number is its id. kInvalidArgument when the unknown token is not in it.
Result<std::shared_ptr<const Tokenizer>> make_wordpiece(const std::filesystem::path& vocab, const WordPieceOptions& options);
/// `where` names it in errors.
Result<std::shared_ptr<const Tokenizer>> make_wordpiece(Vocabulary vocabulary, const WordPieceOptions& options, const std::string& where);

/// GPT-2's byte-level BPE (https://github.com/openai/gpt-2, src/encoder.py): words by its expression, their bytes as printable characters,
/// then the merge of lowest rank, over and over. Any bytes have an encoding.
struct BpeOptions {
  bool prefix_space = false;           // a space before the text, unless there is one
  std::vector<std::string> specials;   // kept whole in a text, where the vocabulary has them
};
/// The printable character that stands for each byte: itself for visible Latin-1, U+0100 on for the others, in order.
std::array<char32_t, 256> byte_characters();
/// `vocab`: JSON of token → id; `merges`: two tokens a line, best first, comment lines begin with #version.
Result<std::shared_ptr<const Tokenizer>> make_bpe(const std::filesystem::path& vocab, const std::filesystem::path& merges, const BpeOptions& options);

/// kInvalidArgument when a byte or a merge's token is not in the vocabulary; the merge by its number, from 1.
Result<std::shared_ptr<const Tokenizer>> make_bpe(Vocabulary vocabulary, const std::vector<std::pair<std::string, std::string>>& merges,
                                                  const BpeOptions& options, const std::string& where);

/// What Hugging Face's tokenizer.json says, for tokenizers of the two kinds above. kUnsupported names a part of another kind.
struct TokenizerFile {
  std::shared_ptr<const Tokenizer> tokenizer;
  std::vector<int64_t> before, between, after;  // the ids around a text and its pair
  std::optional<int64_t> pad_id;
};
Result<TokenizerFile> read_tokenizer(const std::filesystem::path& file);

/// Cuts `text` where a special token stands; calls `plain` or `special` for each part in turn.
template <class Plain, class Special>
void split_specials(std::string_view text, const std::vector<std::pair<std::string, int64_t>>& specials, Plain plain, Special special) {
  size_t done = 0;
  for (size_t at = 0; at < text.size();) {
    const std::pair<std::string, int64_t>* found = nullptr;
    for (const auto& s : specials)
      if (!s.first.empty() && text.substr(at).starts_with(s.first) && (found == nullptr || s.first.size() > found->first.size())) found = &s;
    if (found == nullptr) {
      ++at;
      continue;
    }
    if (at > done) plain(text.substr(done, at - done));
    special(found->second);
    at = done = at + found->first.size();
  }
  if (done < text.size()) plain(text.substr(done));
}

}  // namespace tenon::eval
