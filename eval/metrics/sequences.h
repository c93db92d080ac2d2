#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <vector>

/// Sequences of symbols (words by number, code points): distances and n-grams.
namespace tenon::eval {

using Symbols = std::vector<uint32_t>;

/// Pairs of positions that edit_distance and longest_common_subsequence may be asked to look at: a product of lengths. They look at
/// 64 at a time.
inline constexpr double kMaxPairs = 64.0 * (1ull << 30);

/// Fewest insertions, deletions and substitutions (Levenshtein 1966), by bit vectors (Myers 1999, blocks of Hyyrö 2003).
int64_t edit_distance(std::span<const uint32_t> a, std::span<const uint32_t> b);

/// Length of the longest common subsequence, by bit vectors (Crochemore et al. 2001, Hyyrö 2004).
int64_t longest_common_subsequence(std::span<const uint32_t> a, std::span<const uint32_t> b);

/// For each distinct n-gram of these sequences, calls `see` with how often each sequence that has it has it: by number, in order.
struct NgramCount {
  size_t sequence;
  int64_t count;
};
void for_each_ngram(std::span<const Symbols> sequences, size_t n, const std::function<void(std::span<const NgramCount>)>& see);

/// n-grams of `a` and `b`, and those of both (counted as often as in the one that has fewer).
struct Overlap {
  int64_t a = 0, b = 0, both = 0;
};
Overlap ngram_overlap(const Symbols& a, const Symbols& b, size_t n);

}  // namespace tenon::eval
