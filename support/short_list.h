#pragma once

#include <algorithm>
#include <cstdint>
#include <initializer_list>
#include <iterator>
#include <type_traits>
#include <vector>

namespace tenon {

/// A vector of which the first `kRoom` elements lie in the object: short lists allocate nothing. Elements are plain
/// data.
template <class T, uint32_t kRoom>
class ShortList {
  static_assert(std::is_trivially_copyable_v<T>);

 public:
  using value_type = T;

  ShortList() = default;
  ShortList(std::initializer_list<T> values) { assign(values.begin(), values.end()); }
  ShortList(const std::vector<T>& values) { assign(values.begin(), values.end()); }  // NOLINT: the same list
  ShortList(const ShortList& other) { assign(other.begin(), other.end()); }
  ShortList(ShortList&& other) noexcept { take(other); }
  ~ShortList() { free(); }
  ShortList& operator=(const ShortList& other) {
    if (this != &other) assign(other.begin(), other.end());
    return *this;
  }
  ShortList& operator=(ShortList&& other) noexcept {
    if (this != &other) free(), take(other);
    return *this;
  }
  operator std::vector<T>() const { return {begin(), end()}; }  // NOLINT: the same list

  size_t size() const { return size_; }
  bool empty() const { return size_ == 0; }
  T* data() { return far() ? elements_.far : elements_.near; }
  const T* data() const { return far() ? elements_.far : elements_.near; }
  T* begin() { return data(); }
  T* end() { return data() + size_; }
  const T* begin() const { return data(); }
  const T* end() const { return data() + size_; }
  T& operator[](size_t i) { return data()[i]; }
  const T& operator[](size_t i) const { return data()[i]; }
  T& front() { return *begin(); }
  const T& front() const { return *begin(); }
  T& back() { return end()[-1]; }
  const T& back() const { return end()[-1]; }

  void clear() { size_ = 0; }
  void push_back(T value) {
    reserve(size_ + 1);
    data()[size_++] = value;
  }
  template <class Iterator>
  void assign(Iterator first, Iterator last) {
    clear();
    insert(end(), first, last);
  }
  void insert(const T* before, std::initializer_list<T> values) { insert(before, values.begin(), values.end()); }
  /// `first` to `last` lie elsewhere.
  template <class Iterator>
  void insert(const T* before, Iterator first, Iterator last) {
    const auto at = before - begin(), count = std::distance(first, last);
    reserve(size_ + static_cast<uint32_t>(count));
    std::copy_backward(begin() + at, end(), end() + count);
    std::copy(first, last, begin() + at);
    size_ += static_cast<uint32_t>(count);
  }
  friend bool operator==(const ShortList& a, const ShortList& b) {
    return std::equal(a.begin(), a.end(), b.begin(), b.end());
  }

 private:
  bool far() const { return room_ > kRoom; }
  void reserve(uint32_t wanted) {
    if (wanted <= room_) return;
    const uint32_t room = std::max(wanted, 2 * room_);
    T* const moved = new T[room];
    std::copy(begin(), end(), moved);
    free();
    elements_.far = moved;
    room_ = room;
  }
  void free() {
    if (far()) delete[] elements_.far;
  }
  /// What `other` has, which is empty then.
  void take(ShortList& other) {
    elements_ = other.elements_;
    size_ = other.size_;
    room_ = other.room_;
    other.size_ = 0;
    other.room_ = kRoom;
  }

  union {
    T near[kRoom];
    T* far;
  } elements_;
  uint32_t size_ = 0, room_ = kRoom;
};

}  // namespace tenon
