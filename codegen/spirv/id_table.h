#pragma once

#include <cstdint>
#include <initializer_list>
#include <span>
#include <vector>

namespace tenon::codegen::spirv {

using Id = uint32_t;

/// Ids by the words that they were made of: an open hash table whose keys lie one after the other.
class IdTable {
 public:
  /// The id of these words, one after the other; 0 where they are new, for the caller to set before the next call.
  Id& find(std::initializer_list<uint32_t> head, std::span<const uint32_t> tail);

 private:
  struct Entry {
    uint64_t hash;
    size_t begin, size;  // in words_
    Id id;
  };
  bool is(const Entry& entry, uint64_t hash, std::initializer_list<uint32_t> head, std::span<const uint32_t> tail) const;
  void grow();

  std::vector<uint32_t> words_;
  std::vector<Entry> entries_;
  std::vector<uint32_t> slots_;  // a power of two of them: an entry's number and 1, or 0
};

}  // namespace tenon::codegen::spirv
