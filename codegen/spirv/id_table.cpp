#include "codegen/spirv/id_table.h"

#include <algorithm>

namespace tenon::codegen::spirv {
namespace {

constexpr size_t kFirstSlots = 64;

// FNV-1a with words in the place of bytes, and its upper bits, which depend on all words, mixed into those that choose a slot.
uint64_t hash_of(std::initializer_list<uint32_t> head, std::span<const uint32_t> tail) {
  uint64_t hash = 0xcbf29ce484222325;
  const auto add = [&](uint32_t word) { hash = (hash ^ word) * 0x100000001b3; };
  for (uint32_t word : head) add(word);
  for (uint32_t word : tail) add(word);
  return hash ^ (hash >> 32);
}

}  // namespace

bool IdTable::is(const Entry& entry, uint64_t hash, std::initializer_list<uint32_t> head, std::span<const uint32_t> tail) const {
  if (entry.hash != hash || entry.size != head.size() + tail.size()) return false;
  const uint32_t* word = words_.data() + entry.begin;  // few, too few for a call
  for (uint32_t h : head)
    if (*word++ != h) return false;
  for (uint32_t t : tail)
    if (*word++ != t) return false;
  return true;
}

void IdTable::grow() {
  slots_.assign(std::max(kFirstSlots, 2 * slots_.size()), 0);
  for (size_t e = 0; e < entries_.size(); ++e) {
    size_t slot = entries_[e].hash & (slots_.size() - 1);
    while (slots_[slot] != 0) slot = (slot + 1) & (slots_.size() - 1);
    slots_[slot] = static_cast<uint32_t>(e + 1);
  }
}

Id& IdTable::find(std::initializer_list<uint32_t> head, std::span<const uint32_t> tail) {
  if (2 * entries_.size() >= slots_.size()) grow();
  const uint64_t hash = hash_of(head, tail);
  size_t slot = hash & (slots_.size() - 1);
  for (; slots_[slot] != 0; slot = (slot + 1) & (slots_.size() - 1))
    if (Entry& entry = entries_[slots_[slot] - 1]; is(entry, hash, head, tail)) return entry.id;
  entries_.push_back({hash, words_.size(), head.size() + tail.size(), 0});
  words_.insert(words_.end(), head);
  words_.insert(words_.end(), tail.begin(), tail.end());
  slots_[slot] = static_cast<uint32_t>(entries_.size());
  return entries_.back().id;
}

}  // namespace tenon::codegen::spirv
