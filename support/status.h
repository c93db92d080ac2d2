#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <variant>

#include <fmt/format.h>

namespace tenon {

/// What kind of failure an error is. The command line maps every code to exit status 2 but kMismatch, which is 1.
enum class Code : uint8_t {
  kOk,
  kInvalidArgument,    // the caller's option, shape or dtype is wrong
  kInvalidModel,       // the model or file breaks its format's rules
  kNotFound,           // a file, name or device does not exist
  kUnsupported,        // correct input that Tenon cannot handle
  kOutOfRange,         // a run-time index or size is outside its bounds
  kResourceExhausted,  // a memory, size or recursion limit
  kCancelled,
  kDeadlineExceeded,
  kIo,
  kMismatch,           // a comparison does not hold
  kInternal,           // a bug in Tenon
};

std::string_view code_name(Code code);

/// An error says what is wrong, where (node, file, offset, option) and what to do next. Printed as
/// `WHAT (WHERE): WHAT TO DO`. A default Status is success and costs one null pointer.
class [[nodiscard]] Status {
 public:
  Status() = default;
  Status(Code code, std::string what, std::string where = {}, std::string hint = {})
      : rep_(std::make_unique<Rep>(Rep{code, std::move(what), std::move(where), std::move(hint)})) {}
  Status(const Status& other) : rep_(other.rep_ ? std::make_unique<Rep>(*other.rep_) : nullptr) {}
  Status& operator=(const Status& other) {
    rep_ = other.rep_ ? std::make_unique<Rep>(*other.rep_) : nullptr;
    return *this;
  }
  Status(Status&&) = default;
  Status& operator=(Status&&) = default;

  bool ok() const { return rep_ == nullptr; }
  Code code() const { return rep_ ? rep_->code : Code::kOk; }
  const std::string& what() const;
  const std::string& where() const;
  const std::string& hint() const;

  /// Adds an outer place: `where` becomes "place: old where", unless it begins with place already. Does nothing on success.
  Status&& at(std::string_view place) &&;
  Status&& with_hint(std::string_view hint) &&;
  std::string to_string() const;

 private:
  struct Rep {
    Code code;
    std::string what, where, hint;
  };
  std::unique_ptr<Rep> rep_;
};

/// error(Code::kInvalidModel, "axis {} is outside [-{}, {})", axis, rank, rank)
template <class... Args>
Status error(Code code, fmt::format_string<Args...> format, Args&&... args) {
  return Status(code, fmt::format(format, std::forward<Args>(args)...));
}

/// A value or the Status that says why there is none.
template <class T>
class [[nodiscard]] Result {
 public:
  Result(T value) : v_(std::in_place_index<1>, std::move(value)) {}  // NOLINT: implicit by design
  Result(Status status) : v_(std::in_place_index<0>, std::move(status)) {}  // NOLINT
  template <class U>
    requires(!std::is_same_v<std::remove_cvref_t<U>, Result> && !std::is_same_v<std::remove_cvref_t<U>, Status> &&
             std::is_convertible_v<U, T> && !std::is_same_v<std::remove_cvref_t<U>, T>)
  Result(U&& value) : v_(std::in_place_index<1>, std::forward<U>(value)) {}  // NOLINT

  bool ok() const { return v_.index() == 1; }
  Status status() const& { return ok() ? Status() : std::get<0>(v_); }
  Status status() && { return ok() ? Status() : std::move(std::get<0>(v_)); }
  T& value() & { return std::get<1>(v_); }
  const T& value() const& { return std::get<1>(v_); }
  T&& value() && { return std::move(std::get<1>(v_)); }
  T& operator*() & { return value(); }
  const T& operator*() const& { return value(); }
  T&& operator*() && { return std::move(*this).value(); }
  T* operator->() { return &value(); }
  const T* operator->() const { return &value(); }

 private:
  std::variant<Status, T> v_;
};

#define TENON_CONCAT_(a, b) a##b
#define TENON_CONCAT(a, b) TENON_CONCAT_(a, b)

/// Returns from the enclosing function when `expr`, a Status, is an error.
#define TENON_RETURN_IF_ERROR(expr)                     \
  do {                                                  \
    ::tenon::Status tenon_status_ = (expr);             \
    if (!tenon_status_.ok()) return tenon_status_;      \
  } while (false)

/// TENON_ASSIGN_OR_RETURN(auto x, f()): x from a Result, or return its Status.
#define TENON_ASSIGN_OR_RETURN(lhs, expr) TENON_ASSIGN_OR_RETURN_(TENON_CONCAT(tenon_result_, __LINE__), lhs, expr)
#define TENON_ASSIGN_OR_RETURN_(tmp, lhs, expr)  \
  auto tmp = (expr);                             \
  if (!tmp.ok()) return std::move(tmp).status(); \
  lhs = std::move(tmp).value()

/// Internal invariants only; never for conditions that input can cause. Aborts with the place.
[[noreturn]] void check_failed(const char* condition, const char* file, int line);
#define TENON_CHECK(cond)                                                    \
  do {                                                                       \
    if (!(cond)) [[unlikely]] ::tenon::check_failed(#cond, __FILE__, __LINE__); \
  } while (false)

}  // namespace tenon
