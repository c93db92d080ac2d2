#include "backends/vulkan/requirement.h"

#include <algorithm>
#include <charconv>

namespace tenon::backends::vulkan {
namespace {

using codegen::Placement;

bool on_host(const Placement& row) {
  return row.kind == Placement::Kind::kHost || row.kind == Placement::Kind::kInterpreted || row.kind == Placement::Kind::kLibrary;
}

Result<double> wanted_percent(std::string_view text) {
  constexpr std::string_view kPrefix = "vulkan=";
  double percent = 0;
  std::string_view number = text;
  if (number.starts_with(kPrefix)) number.remove_prefix(kPrefix.size());
  if (number.ends_with('%')) number.remove_suffix(1);
  const auto [end, ec] = std::from_chars(number.data(), number.data() + number.size(), percent);
  const bool ok = text.starts_with(kPrefix) && ec == std::errc() && end == number.data() + number.size() && percent >= 0 && percent <= 100;
  if (ok) return percent;
  return Status(Code::kInvalidArgument, fmt::format("'{}' is not of the form vulkan=N%", text), "--require-placement", "write vulkan=100%");
}

}  // namespace

Status check_requirement(std::string_view wanted) { return wanted.empty() ? Status() : wanted_percent(wanted).status(); }

Status check_placement(std::span<const Placement> rows, std::string_view wanted_text) {
  if (wanted_text.empty()) return {};
  TENON_ASSIGN_OR_RETURN(const double wanted, wanted_percent(wanted_text));
  size_t all = 0, hosted = 0;
  std::string list;
  for (const Placement& row : rows) {
    const size_t nodes = std::max<size_t>(1, row.covers.size());
    all += nodes;
    if (!on_host(row)) continue;
    hosted += nodes;
    list += fmt::format("{}{} ({}): {}", list.empty() ? "" : "; ", row.node, row.op, row.reason.empty() ? "no reason is known" : row.reason);
  }
  const double share = all == 0 ? 100 : 100.0 * static_cast<double>(all - hosted) / static_cast<double>(all);
  if (share >= wanted) return {};
  return Status(Code::kMismatch, fmt::format("{} of {} nodes {}, {:.1f} % on the device where {} % are required", hosted, all, kOnHost, share, wanted), list);
}

}  // namespace tenon::backends::vulkan
