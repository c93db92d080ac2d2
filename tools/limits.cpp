#include "tools/limits.h"

#include <sys/resource.h>

#include <algorithm>
#include <charconv>
#include <cmath>

#include "support/memory.h"
#include "tools/common.h"

namespace tenon::tools {
namespace {

/// Beside the values of a run: the model, the compiler and its code.
constexpr double kProcessBytes = 4.0 * (1 << 30);

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
constexpr bool kShadowMemory = true;  // sanitizers reserve terabytes
#else
constexpr bool kShadowMemory = false;
#endif

double unit_of(std::string_view unit) {
  if (unit.empty() || unit == "B") return 1;
  const size_t at = std::string_view("KMGT").find(unit.front());
  const std::string_view rest = unit.substr(1);
  if (at == std::string_view::npos || (!rest.empty() && rest != "B" && rest != "iB")) return 0;
  return std::pow(1024.0, static_cast<double>(at + 1));
}

}  // namespace

Result<size_t> parse_size(const std::string& text, const char* option) {
  double number = 0;
  const auto [end, ec] = std::from_chars(text.data(), text.data() + text.size(), number);
  const std::string_view unit(end, static_cast<size_t>(text.data() + text.size() - end));
  if (ec == std::errc() && unit == "%" && number > 100)
    return Status(Code::kInvalidArgument, fmt::format("'{}' is more than the machine has", text), option, "write 512M, 8G or up to 100%");
  const double scale = unit == "%" ? static_cast<double>(physical_memory()) / 100 : unit_of(unit);
  const double bytes = number * scale;
  if (ec != std::errc() || !(bytes >= 1) || bytes > 9e18)
    return Status(Code::kInvalidArgument, fmt::format("'{}' is no size", text), option, "write 512M, 8G or 50%");
  return static_cast<size_t>(bytes);
}

void add_limit_options(CLI::App& app, LimitOptions& options, const char* what) {
  app.add_option("--timeout", options.timeout_s, fmt::format("What {} may take", what))
      ->check(number_within(1e-3, 1e9))
      ->type_name("SECONDS");
  app.add_option("--memory-limit", options.memory, "What the values of a run may take, as 512M, 8G or 50% of the machine's memory; 80% if not given")
      ->type_name("SIZE")
      ->default_str("");
}

Interrupt start_clock(const LimitOptions& options) {
  return Interrupt::after(std::chrono::duration_cast<std::chrono::steady_clock::duration>(std::chrono::duration<double>(options.timeout_s)));
}

Result<size_t> apply_memory_limit(const LimitOptions& options) {
  size_t bytes = default_memory_limit();
  if (!options.memory.empty()) {
    TENON_ASSIGN_OR_RETURN(bytes, parse_size(options.memory, "--memory-limit"));
  }
  rlimit limit{};
  if (!kShadowMemory && ::getrlimit(RLIMIT_DATA, &limit) == 0) {
    limit.rlim_cur = std::min(limit.rlim_max, static_cast<rlim_t>(static_cast<double>(bytes) + kProcessBytes));
    ::setrlimit(RLIMIT_DATA, &limit);
  }
  return bytes;
}

}  // namespace tenon::tools
