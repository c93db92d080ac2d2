#include <algorithm>
#include <map>

#include "eval/metrics/text.h"

namespace tenon::eval {
namespace {

using View = std::u32string_view;

/// Which letters are consonants: all but a, e, i, o, u, and y after a consonant.
std::vector<bool> consonants(View word) {
  std::vector<bool> out;
  for (size_t i = 0; i < word.size(); ++i) {
    const bool vowel = View(U"aeiou").find(word[i]) != View::npos || (word[i] == U'y' && i > 0 && out[i - 1]);
    out.push_back(!vowel);
  }
  return out;
}

/// m of the form [C](VC){m}[V].
int measure(View stem) {
  const std::vector<bool> consonant = consonants(stem);
  int m = 0;
  for (size_t i = 1; i < consonant.size(); ++i) m += !consonant[i - 1] && consonant[i] ? 1 : 0;
  return m;
}

bool has_vowel(View stem) {
  const std::vector<bool> consonant = consonants(stem);
  return std::find(consonant.begin(), consonant.end(), false) != consonant.end();
}

bool ends_double_consonant(View word) { return word.size() >= 2 && word.back() == word[word.size() - 2] && consonants(word).back(); }

/// *o: consonant, vowel, consonant that is not w, x or y; in NLTK also a vowel and a consonant alone.
bool ends_cvc(View word) {
  const std::vector<bool> consonant = consonants(word);
  const size_t n = word.size();
  if (n == 2) return !consonant[0] && consonant[1];
  return n >= 3 && consonant[n - 3] && !consonant[n - 2] && consonant[n - 1] && View(U"wxy").find(word.back()) == View::npos;
}

bool always(View) { return true; }
bool positive(View stem) { return measure(stem) > 0; }
bool above_one(View stem) { return measure(stem) > 1; }
bool above_one_s_or_t(View stem) { return measure(stem) > 1 && (stem.back() == U's' || stem.back() == U't'); }
bool consonant_after_another(View stem) { return stem.size() > 1 && consonants(stem).back(); }

struct Rule {
  View suffix, replacement;
  bool (*holds)(View stem);
  size_t kept = 0;  // letters of the suffix that belong to the stem which is judged
};

/// The first rule whose suffix the word has decides.
template <size_t N>
void apply(const Rule (&rules)[N], std::u32string& word) {
  for (const Rule& rule : rules) {
    if (!View(word).ends_with(rule.suffix)) continue;
    const size_t stem = word.size() - rule.suffix.size();
    if (rule.holds(View(word).substr(0, stem + rule.kept))) word.replace(stem, View::npos, rule.replacement);
    return;
  }
}

constexpr Rule kStep1a[] = {{U"sses", U"ss", always}, {U"ies", U"i", always}, {U"ss", U"ss", always}, {U"s", U"", always}};
constexpr Rule kStep1c[] = {{U"y", U"i", consonant_after_another}};
constexpr Rule kStep2[] = {
    {U"ational", U"ate", positive}, {U"tional", U"tion", positive}, {U"enci", U"ence", positive},   {U"anci", U"ance", positive},
    {U"izer", U"ize", positive},    {U"bli", U"ble", positive},     {U"alli", U"al", positive},     {U"entli", U"ent", positive},
    {U"eli", U"e", positive},       {U"ousli", U"ous", positive},   {U"ization", U"ize", positive}, {U"ation", U"ate", positive},
    {U"ator", U"ate", positive},    {U"alism", U"al", positive},    {U"iveness", U"ive", positive}, {U"fulness", U"ful", positive},
    {U"ousness", U"ous", positive}, {U"aliti", U"al", positive},    {U"iviti", U"ive", positive},   {U"biliti", U"ble", positive},
    {U"fulli", U"ful", positive},   {U"logi", U"log", positive, 1}};
constexpr Rule kStep3[] = {{U"icate", U"ic", positive}, {U"ative", U"", positive}, {U"alize", U"al", positive}, {U"iciti", U"ic", positive},
                           {U"ical", U"ic", positive},  {U"ful", U"", positive},   {U"ness", U"", positive}};
constexpr Rule kStep4[] = {
    {U"al", U"", above_one},    {U"ance", U"", above_one}, {U"ence", U"", above_one}, {U"er", U"", above_one},
    {U"ic", U"", above_one},    {U"able", U"", above_one}, {U"ible", U"", above_one}, {U"ant", U"", above_one},
    {U"ement", U"", above_one}, {U"ment", U"", above_one}, {U"ent", U"", above_one},  {U"ion", U"", above_one_s_or_t},
    {U"ou", U"", above_one},    {U"ism", U"", above_one},  {U"ate", U"", above_one},  {U"iti", U"", above_one},
    {U"ous", U"", above_one},   {U"ive", U"", above_one},  {U"ize", U"", above_one}};

/// What is left of a word whose -ed or -ing is off gets its e back, or loses a doubled letter.
void mend(std::u32string& stem) {
  for (View suffix : {View(U"at"), View(U"bl"), View(U"iz")})
    if (View(stem).ends_with(suffix)) {
      stem += U'e';
      return;
    }
  if (ends_double_consonant(stem)) {
    if (View(U"lsz").find(stem.back()) == View::npos) stem.pop_back();
  } else if (measure(stem) == 1 && ends_cvc(stem)) {
    stem += U'e';
  }
}

void step1b(std::u32string& word) {
  const View view = word;
  if (view.ends_with(U"ied")) {
    word.erase(word.size() - (word.size() == 4 ? 1 : 2));
  } else if (view.ends_with(U"eed")) {
    if (positive(view.substr(0, view.size() - 3))) word.pop_back();
  } else {
    for (View suffix : {View(U"ed"), View(U"ing")})
      if (view.ends_with(suffix) && has_vowel(view.substr(0, view.size() - suffix.size()))) {
        word.erase(word.size() - suffix.size());
        mend(word);
        return;
      }
  }
}

void step2(std::u32string& word) {
  // -alli comes first, and what it leaves is looked at again.
  if (View(word).ends_with(U"alli") && positive(View(word).substr(0, word.size() - 4))) word.erase(word.size() - 2);
  apply(kStep2, word);
}

void step5(std::u32string& word) {
  if (View(word).ends_with(U"e")) {
    const View stem = View(word).substr(0, word.size() - 1);
    const int m = measure(stem);
    if (m > 1 || (m == 1 && !ends_cvc(stem))) word.pop_back();
  }
  if (View(word).ends_with(U"ll") && measure(View(word).substr(0, word.size() - 1)) > 1) word.pop_back();
}

}  // namespace

std::u32string porter_stem(std::u32string word) {
  static const std::map<View, View> kIrregular = {
      {U"sky", U"sky"},        {U"skies", U"sky"},       {U"dying", U"die"},        {U"lying", U"lie"},
      {U"tying", U"tie"},      {U"news", U"news"},       {U"innings", U"inning"},   {U"inning", U"inning"},
      {U"outings", U"outing"}, {U"outing", U"outing"},   {U"cannings", U"canning"}, {U"canning", U"canning"},
      {U"howe", U"howe"},      {U"proceed", U"proceed"}, {U"exceed", U"exceed"},    {U"succeed", U"succeed"}};
  if (const auto found = kIrregular.find(word); found != kIrregular.end()) return std::u32string(found->second);
  if (word.size() <= 2) return word;
  if (word.size() == 4 && View(word).ends_with(U"ies"))
    word.pop_back();
  else
    apply(kStep1a, word);
  step1b(word);
  apply(kStep1c, word);
  step2(word);
  apply(kStep3, word);
  apply(kStep4, word);
  step5(word);
  return word;
}

}  // namespace tenon::eval
