#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <set>
#include <string>
#include <string_view>

#include <fmt/format.h>

namespace tenon {

enum class LogLevel : uint8_t { kOff, kError, kWarn, kInfo, kDebug, kTrace };

/// "off", "error", "warning" (read as "warn" as well), "info", "debug", "trace".
std::string_view log_level_name(LogLevel level);
std::optional<LogLevel> log_level_from_name(std::string_view name);

/// Where messages go. The level comes from the environment variable TENON_LOG, kWarn when it is unset; the sink writes
/// `tenon: LEVEL: MESSAGE` to stderr until another is set. Safe to use from any thread.
class Logger {
 public:
  /// May be called by several threads at once, and may itself log.
  using Sink = std::function<void(LogLevel, std::string_view message)>;

  static Logger& get();

  bool enabled(LogLevel level) const {
    return level != LogLevel::kOff && level <= level_.load(std::memory_order_relaxed);
  }
  LogLevel level() const { return level_.load(std::memory_order_relaxed); }
  void set_level(LogLevel level) { level_.store(level, std::memory_order_relaxed); }
  /// Replaces the sink and returns the one before it; an empty sink is stderr again.
  Sink set_sink(Sink sink);
  void write(LogLevel level, std::string_view message);
  /// True at the first call with this text, in this process and those that it forks afterwards; of the many texts that a long process
  /// may have, the first 1024 are remembered.
  bool is_first(std::string_view text);

 private:
  Logger();
  std::atomic<LogLevel> level_;
  std::mutex mutex_;
  std::shared_ptr<const Sink> sink_;
  std::set<std::string, std::less<>> texts_;
};

/// log(LogLevel::kInfo, "compiled {} kernels in {:.1f} s", count, seconds). Formats only when the level is enabled.
template <class... Args>
void log(LogLevel level, fmt::format_string<Args...> format, Args&&... args) {
  Logger& logger = Logger::get();
  if (logger.enabled(level)) logger.write(level, fmt::format(format, std::forward<Args>(args)...));
}

/// The same, but what was logged by this before is not logged again.
template <class... Args>
void log_once(LogLevel level, fmt::format_string<Args...> format, Args&&... args) {
  Logger& logger = Logger::get();
  if (!logger.enabled(level)) return;
  const std::string message = fmt::format(format, std::forward<Args>(args)...);
  if (logger.is_first(message)) logger.write(level, message);
}

}  // namespace tenon
