#include <algorithm>
#include <array>
#include <queue>
#include <unordered_map>

#include "eval/datasets/files.h"
#include "eval/datasets/json_text.h"
#include "eval/preprocess/tokenizers.h"
#include "eval/preprocess/unicode.h"

namespace tenon::eval {
namespace {

constexpr size_t kMaxVocabularyBytes = size_t{256} << 20;

struct Merge {
  int64_t rank, id;
};

enum class Class : uint8_t { kLetter, kNumber, kSpace, kOther };
Class class_of(char32_t c) {
  if (is_letter(c)) return Class::kLetter;
  if (is_number(c)) return Class::kNumber;
  return is_white_space(c) ? Class::kSpace : Class::kOther;
}

/// The length of the next match of
///   's|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+
size_t next_word(std::string_view text) {
  for (const std::string_view ending : {"'s", "'t", "'re", "'ve", "'m", "'ll", "'d"})
    if (text.starts_with(ending)) return ending.size();
  size_t at = text.front() == ' ' && text.size() > 1 && class_of(first_code_point(text.substr(1)).value) != Class::kSpace ? 1 : 0;
  const Class kind = class_of(first_code_point(text.substr(at)).value);
  size_t last = at;  // where the last code point begins
  while (at < text.size()) {
    const CodePoint c = first_code_point(text.substr(at));
    if (class_of(c.value) != kind) break;
    last = at;
    at += c.bytes;
  }
  // Spaces leave the last one of them to the word that follows.
  return kind == Class::kSpace && at < text.size() && last > 0 ? last : at;
}

class Bpe final : public Tokenizer {
 public:
  Vocabulary vocabulary;
  std::unordered_map<uint64_t, Merge> merges;  // by the pair of ids
  std::array<int64_t, 256> bytes{};
  std::vector<std::pair<std::string, int64_t>> specials;
  bool prefix_space = false;

  static uint64_t pair_of(int64_t a, int64_t b) { return static_cast<uint64_t>(a) << 32 | static_cast<uint64_t>(b); }

  std::optional<int64_t> id_of(std::string_view token) const override {
    const auto found = vocabulary.find(token);
    return found == vocabulary.end() ? std::nullopt : std::optional(found->second);
  }

  std::vector<int64_t> encode(std::string_view text) const override {
    std::vector<int64_t> out;
    std::string spaced;
    if (prefix_space && !text.empty() && text.front() != ' ') {
      spaced = " " + std::string(text);
      text = spaced;
    }
    split_specials(
        text, specials,
        [&](std::string_view part) {
          while (!part.empty()) {
            const size_t n = next_word(part);
            encode_word(part.substr(0, n), out);
            part.remove_prefix(n);
          }
        },
        [&](int64_t id) { out.push_back(id); });
    return out;
  }

 private:
  struct Symbol {
    int64_t id;
    size_t before, after;  // neighbours; size() is none
    bool gone = false;
  };
  struct Candidate {
    int64_t rank;
    size_t left, right;
    int64_t left_id, right_id, merged;
    bool operator<(const Candidate& other) const { return rank != other.rank ? rank > other.rank : left > other.left; }
  };

  void encode_word(std::string_view word, std::vector<int64_t>& out) const {
    std::vector<Symbol> symbols;
    for (size_t i = 0; i < word.size(); ++i)
      symbols.push_back({bytes[static_cast<uint8_t>(word[i])], i == 0 ? word.size() : i - 1, i + 1});
    std::priority_queue<Candidate> queue;
    const auto offer = [&](size_t left, size_t right) {
      if (left >= symbols.size() || right >= symbols.size()) return;
      const auto found = merges.find(pair_of(symbols[left].id, symbols[right].id));
      if (found != merges.end()) queue.push({found->second.rank, left, right, symbols[left].id, symbols[right].id, found->second.id});
    };
    for (size_t i = 0; i + 1 < symbols.size(); ++i) offer(i, i + 1);
    while (!queue.empty()) {
      const Candidate best = queue.top();
      queue.pop();
      Symbol &left = symbols[best.left], &right = symbols[best.right];
      if (left.gone || right.gone || left.id != best.left_id || right.id != best.right_id || left.after != best.right) continue;
      left.id = best.merged;
      left.after = right.after;
      right.gone = true;
      if (left.after < symbols.size()) symbols[left.after].before = best.left;
      offer(left.before, best.left);
      offer(best.left, left.after);
    }
    for (const Symbol& s : symbols)
      if (!s.gone) out.push_back(s.id);
  }
};

Result<Vocabulary> read_vocabulary(const std::filesystem::path& file) {
  TENON_ASSIGN_OR_RETURN(const frontend::Bytes bytes, frontend::map_file(file));
  const auto wrong = [&](std::string what) { return Status(Code::kInvalidArgument, std::move(what), file.string(), "give the vocab.json of a byte-level BPE"); };
  if (bytes.span.size() > kMaxVocabularyBytes) return wrong(fmt::format("the vocabulary is larger than {} bytes", kMaxVocabularyBytes));
  const Result<nlohmann::json> root = parse_json(text_of(bytes.span));
  if (!root.ok()) return root.status().at(file.string());
  if (!root->is_object()) return wrong("the vocabulary is no JSON object");
  Vocabulary out;
  for (const auto& [token, id] : root->items()) {
    if (!id.is_number_integer() || id.get<int64_t>() < 0 || id.get<int64_t>() > INT32_MAX) return wrong(fmt::format("the id of '{}' is no id", token));
    out.emplace(token, id.get<int64_t>());
  }
  return out;
}

Result<std::vector<std::pair<std::string, std::string>>> read_merges(const std::filesystem::path& file) {
  TENON_ASSIGN_OR_RETURN(const std::vector<std::string> lines, read_lines(file));
  std::vector<std::pair<std::string, std::string>> out;
  for (size_t i = 0; i < lines.size(); ++i) {
    const std::string& line = lines[i];
    if (line.empty() || line.starts_with("#version")) continue;
    const size_t space = line.find(' ');
    if (space == line.npos || line.find(' ', space + 1) != line.npos)
      return Status(Code::kInvalidArgument, "the line is no pair of tokens", fmt::format("{}:{}", file.string(), i + 1), "give a merges.txt");
    out.emplace_back(line.substr(0, space), line.substr(space + 1));
  }
  return out;
}

}  // namespace

std::array<char32_t, 256> byte_characters() {
  std::array<char32_t, 256> out{};
  char32_t next = 256;
  for (char32_t b = 0; b < 256; ++b) {
    const bool visible = (b >= '!' && b <= '~') || (b >= 0xa1 && b <= 0xac) || b >= 0xae;
    out[b] = visible ? b : next++;
  }
  return out;
}

Result<std::shared_ptr<const Tokenizer>> make_bpe(const std::filesystem::path& vocab, const std::filesystem::path& merges, const BpeOptions& options) {
  TENON_ASSIGN_OR_RETURN(Vocabulary vocabulary, read_vocabulary(vocab));
  TENON_ASSIGN_OR_RETURN(const auto pairs, read_merges(merges));
  return make_bpe(std::move(vocabulary), pairs, options, fmt::format("{}, {}", vocab.string(), merges.string()));
}

Result<std::shared_ptr<const Tokenizer>> make_bpe(Vocabulary vocabulary, const std::vector<std::pair<std::string, std::string>>& merges,
                                                  const BpeOptions& options, const std::string& where) {
  const auto wrong = [&](std::string what) {
    return Status(Code::kInvalidArgument, std::move(what), where, "give vocabulary and merges of one byte-level BPE");
  };
  auto bpe = std::make_shared<Bpe>();
  bpe->vocabulary = std::move(vocabulary);
  const auto characters = byte_characters();
  for (size_t b = 0; b < 256; ++b) {
    std::string token;
    append_utf8(characters[b], token);
    const auto id = bpe->id_of(token);
    if (!id) return wrong(fmt::format("the vocabulary has no token for the byte {}", b));
    bpe->bytes[b] = *id;
  }
  for (size_t i = 0; i < merges.size(); ++i) {
    const auto& [left, right] = merges[i];
    const auto a = bpe->id_of(left), b = bpe->id_of(right), merged = bpe->id_of(left + right);
    if (!a || !b || !merged) return wrong(fmt::format("a token of merge {} is not in the vocabulary", i + 1));
    bpe->merges.try_emplace(Bpe::pair_of(*a, *b), Merge{static_cast<int64_t>(i), *merged});
  }
  bpe->prefix_space = options.prefix_space;
  for (const std::string& token : options.specials)
    if (const auto id = bpe->id_of(token)) bpe->specials.emplace_back(token, *id);
  return std::shared_ptr<const Tokenizer>(std::move(bpe));
}

}  // namespace tenon::eval
