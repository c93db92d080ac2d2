#include "eval/metrics/sequences.h"

#include <algorithm>
#include <array>
#include <bit>
#include <unordered_map>

namespace tenon::eval {
namespace {

constexpr size_t kBits = 64;

/// Where each symbol stands in a pattern: for the blocks of 64 positions that have it, which ones.
class Positions {
 public:
  struct Block {
    size_t block;
    uint64_t bits;
  };

  explicit Positions(std::span<const uint32_t> pattern) {
    for (size_t i = 0; i < pattern.size(); ++i) {
      std::vector<Block>& blocks = blocks_[pattern[i]];
      if (blocks.empty() || blocks.back().block != i / kBits) blocks.push_back({i / kBits, 0});
      blocks.back().bits |= uint64_t{1} << i % kBits;
    }
  }
  std::span<const Block> of(uint32_t symbol) const {
    const auto found = blocks_.find(symbol);
    return found == blocks_.end() ? std::span<const Block>() : std::span<const Block>(found->second);
  }

 private:
  std::unordered_map<uint32_t, std::vector<Block>> blocks_;
};

/// Calls step(block, bits) for every block in order, with the bits of `found`.
template <class Step>
void for_each_block(std::span<const Positions::Block> found, size_t blocks, Step&& step) {
  size_t next = 0;
  for (size_t block = 0; block < blocks; ++block) {
    uint64_t bits = 0;
    if (next < found.size() && found[next].block == block) bits = found[next++].bits;
    step(block, bits);
  }
}

}  // namespace

int64_t edit_distance(std::span<const uint32_t> a, std::span<const uint32_t> b) {
  if (a.size() < b.size()) std::swap(a, b);
  if (b.empty()) return static_cast<int64_t>(a.size());
  const Positions positions(b);
  const size_t blocks = (b.size() + kBits - 1) / kBits;
  struct Column {
    uint64_t up = ~uint64_t{0}, down = 0;  // rows where the column's values rise, fall
  };
  std::vector<Column> columns(blocks);
  const uint64_t last = uint64_t{1} << (b.size() - 1) % kBits;
  auto distance = static_cast<int64_t>(b.size());
  for (uint32_t symbol : a) {
    int carry = 1;  // the horizontal step above the block: the first row counts up
    for_each_block(positions.of(symbol), blocks, [&](size_t block, uint64_t equal) {
      const auto [up, down] = columns[block];
      const uint64_t same = equal | (carry < 0 ? 1 : 0);
      const uint64_t vertical = equal | down;
      const uint64_t diagonal = (((same & up) + up) ^ up) | same;
      uint64_t rise = down | ~(diagonal | up);
      uint64_t fall = up & diagonal;
      const uint64_t bottom = block + 1 == blocks ? last : uint64_t{1} << (kBits - 1);
      const int out = (rise & bottom) != 0 ? 1 : (fall & bottom) != 0 ? -1 : 0;
      rise = rise << 1 | (carry > 0 ? 1 : 0);
      fall = fall << 1 | (carry < 0 ? 1 : 0);
      columns[block] = {fall | ~(vertical | rise), rise & vertical};
      carry = out;
    });
    distance += carry;
  }
  return distance;
}

int64_t longest_common_subsequence(std::span<const uint32_t> a, std::span<const uint32_t> b) {
  if (a.size() < b.size()) std::swap(a, b);
  if (b.empty()) return 0;
  const Positions positions(b);
  const size_t blocks = (b.size() + kBits - 1) / kBits;
  std::vector<uint64_t> rows(blocks, ~uint64_t{0});  // zero bits: rows where the length steps up
  for (uint32_t symbol : a) {
    uint64_t carry = 0;
    for_each_block(positions.of(symbol), blocks, [&](size_t block, uint64_t equal) {
      const uint64_t row = rows[block], match = row & equal;
      const uint64_t partial = row + match, sum = partial + carry;
      carry = (partial < row || sum < partial) ? 1 : 0;
      rows[block] = sum | (row & ~equal);
    });
  }
  int64_t length = 0;
  for (size_t block = 0; block < blocks; ++block) {
    const size_t bits = std::min(kBits, b.size() - block * kBits);
    const uint64_t in_use = bits == kBits ? ~uint64_t{0} : (uint64_t{1} << bits) - 1;
    length += std::popcount(~rows[block] & in_use);
  }
  return length;
}

void for_each_ngram(std::span<const Symbols> sequences, size_t n, const std::function<void(std::span<const NgramCount>)>& see) {
  struct Gram {
    const uint32_t* first;
    size_t sequence;
  };
  std::vector<Gram> grams;
  for (size_t s = 0; s < sequences.size(); ++s)
    for (size_t i = 0; i + n <= sequences[s].size(); ++i) grams.push_back({sequences[s].data() + i, s});
  const auto order = [n](const Gram& a, const Gram& b) {
    const auto [left, right] = std::mismatch(a.first, a.first + n, b.first);
    return left == a.first + n ? a.sequence < b.sequence : *left < *right;
  };
  std::sort(grams.begin(), grams.end(), order);
  std::vector<NgramCount> counts;
  for (size_t i = 0; i < grams.size(); ++i) {
    if (counts.empty() || counts.back().sequence != grams[i].sequence) counts.push_back({grams[i].sequence, 0});
    ++counts.back().count;
    if (i + 1 < grams.size() && std::equal(grams[i].first, grams[i].first + n, grams[i + 1].first)) continue;
    see(counts);
    counts.clear();
  }
}

Overlap ngram_overlap(const Symbols& a, const Symbols& b, size_t n) {
  const auto count = [n](const Symbols& s) { return s.size() < n ? 0 : static_cast<int64_t>(s.size() - n + 1); };
  Overlap out{count(a), count(b), 0};
  const Symbols both[] = {a, b};
  for_each_ngram(both, n, [&](std::span<const NgramCount> counts) {
    if (counts.size() == 2) out.both += std::min(counts[0].count, counts[1].count);
  });
  return out;
}

}  // namespace tenon::eval
