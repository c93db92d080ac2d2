#include "eval/bench/sweep.h"

#include <algorithm>
#include <charconv>
#include <limits>
#include <optional>

#include <fmt/format.h>

namespace tenon::eval {
namespace {

constexpr size_t kMost = 1000;

std::optional<int64_t> number(std::string_view text) {
  int64_t value = 0;
  const auto [end, ec] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (ec != std::errc() || end != text.data() + text.size()) return std::nullopt;
  return value;
}

Status bad(std::string_view part, const char* option, const char* why) {
  return Status(Code::kInvalidArgument, fmt::format("'{}' {}", part, why), option, "write N, N,N, FIRST-LAST, FIRST-LAST+STEP or FIRST-LAST*FACTOR");
}

/// FIRST-LAST, with +STEP or *FACTOR; a single number is a range of itself.
Status add_range(std::string_view part, const char* option, int64_t low, int64_t high, std::vector<int64_t>& out) {
  const size_t dash = part.find('-', 1);
  const size_t mark = dash == part.npos ? part.npos : part.find_first_of("+*", dash);
  const auto first = number(part.substr(0, dash));
  const auto last = dash == part.npos ? first : number(part.substr(dash + 1, mark == part.npos ? part.npos : mark - dash - 1));
  const auto step = mark == part.npos ? std::optional<int64_t>(1) : number(part.substr(mark + 1));
  if (!first || !last || !step) return bad(part, option, "is neither a number nor a range");
  const bool multiply = mark != part.npos && part[mark] == '*';
  if (*first > *last) return bad(part, option, "ends before it begins");
  if (*first < low || *last > high)
    return Status(Code::kInvalidArgument, fmt::format("'{}' is not within {} to {}", part, low, high), option, "give numbers in that range");
  if (*step < (multiply ? 2 : 1) || (multiply && *first < 1)) return bad(part, option, "never reaches its end");
  for (int64_t v = *first;;) {
    if (std::find(out.begin(), out.end(), v) == out.end()) out.push_back(v);
    if (out.size() > kMost) return bad(part, option, "is more than 1,000 numbers");
    if (multiply ? v > *last / *step : v > *last - *step) return {};
    v = multiply ? v * *step : v + *step;
  }
}

}  // namespace

Result<std::vector<int64_t>> parse_sweep(std::string_view text, const char* option, int64_t low, int64_t high) {
  std::vector<int64_t> out;
  for (size_t start = 0;;) {
    const size_t comma = text.find(',', start);
    TENON_RETURN_IF_ERROR(add_range(text.substr(start, comma == text.npos ? comma : comma - start), option, low, high, out));
    if (comma == text.npos) return out;
    start = comma + 1;
  }
}

Result<std::vector<DimBinding>> parse_dim_sweeps(const std::vector<std::string>& items) {
  std::vector<DimBinding> out{{}};
  for (const std::string& item : items) {
    const size_t eq = item.rfind('=');
    if (eq == std::string::npos || eq == 0)
      return Status(Code::kInvalidArgument, fmt::format("'{}' is not of the form NAME=N", item), "--dim", "write batch=8, or batch=1,2,4");
    TENON_ASSIGN_OR_RETURN(const std::vector<int64_t> sizes, parse_sweep(std::string_view(item).substr(eq + 1), "--dim", 0, std::numeric_limits<int64_t>::max()));
    std::vector<DimBinding> next;
    for (const DimBinding& binding : out)
      for (int64_t size : sizes) {
        next.push_back(binding);
        next.back().emplace_back(item.substr(0, eq), size);
      }
    out = std::move(next);
    if (out.size() > kMost) return Status(Code::kInvalidArgument, "more than 1,000 combinations", "--dim", "give fewer sizes");
  }
  return out;
}

}  // namespace tenon::eval
