#pragma once

#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "eval/metrics/sequences.h"

/// Text as metrics see it: code points, words.
namespace tenon::eval {

/// Code points of UTF-8; what is none becomes U+FFFD, as Unicode recommends (a maximal part of a sequence, one each).
std::u32string decode_utf8(std::string_view text);

/// As Python's str.isspace, str.lower (of the usual Latin, Greek, Cyrillic, Armenian and fullwidth letters) and \w (with combining marks).
bool is_space(char32_t c);
char32_t lower(char32_t c);
std::u32string lower(std::u32string text);
bool is_word(char32_t c);

/// At white space, of which there is none in the words.
std::vector<std::u32string> split_words(std::u32string_view text);
std::u32string_view strip(std::u32string_view text);

/// sacreBLEU's 13a, the tokenizer of mteval-v13a.pl.
std::vector<std::u32string> tokenize_13a(std::u32string_view text);
/// rouge_score's: runs of a-z and 0-9 of the text in lower case; with `stemmer`, Porter stems of those longer than three.
std::vector<std::u32string> tokenize_rouge(std::u32string_view text, bool stemmer);
/// NLTK's wordpunct_tokenize: runs of letters and digits, and of what is neither.
std::vector<std::u32string> tokenize_wordpunct(std::u32string_view text);
/// The words that evaluate-v1.1.py of SQuAD compares: lower case, without ASCII punctuation and articles.
std::vector<std::u32string> squad_words(std::u32string_view text);

/// Numbers for words: equal words, equal numbers.
class Vocabulary {
 public:
  uint32_t number(const std::u32string& word) { return numbers_.try_emplace(word, static_cast<uint32_t>(numbers_.size())).first->second; }
  Symbols numbers(const std::vector<std::u32string>& words) {
    Symbols out;
    out.reserve(words.size());
    for (const std::u32string& word : words) out.push_back(number(word));
    return out;
  }

 private:
  std::unordered_map<std::u32string, uint32_t> numbers_;
};

/// The stem of a word in lower case (Porter 1980), with the extensions of NLTK's PorterStemmer.
std::u32string porter_stem(std::u32string word);

}  // namespace tenon::eval
