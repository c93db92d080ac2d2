#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

namespace tenon {

template <class T>
concept Scalar = std::is_arithmetic_v<T> || std::is_enum_v<T>;

/// Writes values one after the other in this machine's byte order; lists and text after their length. For files that never leave it.
class ByteWriter {
 public:
  template <Scalar T>
  void put(T value) {
    if constexpr (std::is_same_v<T, bool>) put(static_cast<uint8_t>(value));
    else bytes(std::as_bytes(std::span(&value, 1)));
  }
  void put(std::string_view text) {
    put(uint64_t{text.size()});
    bytes(std::as_bytes(std::span(text.data(), text.size())));
  }
  void put(const std::string& text) { put(std::string_view(text)); }
  template <class T>
  void put(const std::vector<T>& list) {
    put(uint64_t{list.size()});
    for (const T& item : list) put(item);
  }
  void bytes(std::span<const std::byte> bytes) { out_.insert(out_.end(), bytes.begin(), bytes.end()); }

  std::span<const std::byte> written() const { return out_; }
  std::vector<std::byte> take() { return std::exchange(out_, {}); }

 private:
  std::vector<std::byte> out_;
};

/// Reads what ByteWriter wrote; the bytes may be hostile. What is not there reads as nothing (0, an empty list), and ok() says so from then on.
/// A list takes memory for the bytes that are there, whatever length they claim.
class ByteReader {
 public:
  explicit ByteReader(std::span<const std::byte> bytes) : left_(bytes) {}

  bool ok() const { return ok_; }
  /// Everything was read, and nothing was missing.
  bool done() const { return ok_ && left_.empty(); }
  /// For readers that find a value wrong.
  void fail() {
    ok_ = false;
    left_ = {};
  }

  template <Scalar T>
  T get() {
    T value{};
    if constexpr (std::is_same_v<T, bool>) {
      const auto stored = get<uint8_t>();
      if (stored > 1) fail();
      value = stored == 1;
    } else if (const auto from = bytes(sizeof(T)); !from.empty()) {
      std::memcpy(&value, from.data(), sizeof(T));
    }
    return value;
  }
  /// An enumerator of those from 0 to `last`.
  template <class T>
    requires std::is_enum_v<T>
  T get_enum(T last) {
    const T value = get<T>();
    if (value >= T{} && value <= last) return value;
    fail();
    return T{};
  }
  std::string text() {
    const auto from = bytes(count(1));
    return {reinterpret_cast<const char*>(from.data()), from.size()};
  }
  /// The length of a list whose items take at least so many bytes.
  size_t count(size_t least) {
    const auto n = get<uint64_t>();
    if (n <= left_.size() / least) return n;
    fail();
    return 0;
  }
  template <Scalar T>
  std::vector<T> list() {
    std::vector<T> out(count(sizeof(T)));
    for (T& item : out) item = get<T>();
    return out;
  }
  std::vector<std::string> texts() {
    std::vector<std::string> out(count(sizeof(uint64_t)));
    for (std::string& item : out) item = text();
    return out;
  }
  std::span<const std::byte> bytes(size_t n) {
    if (n > left_.size()) {
      fail();
      return {};
    }
    const auto out = left_.first(n);
    left_ = left_.subspan(n);
    return out;
  }

 private:
  std::span<const std::byte> left_;
  bool ok_ = true;
};

}  // namespace tenon
