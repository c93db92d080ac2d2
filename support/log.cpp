#include "support/log.h"

#include <array>
#include <cstdio>
#include <cstdlib>
#include <utility>

namespace tenon {
namespace {

constexpr std::array<std::string_view, 6> kNames = {"off", "error", "warning", "info", "debug", "trace"};

void write_to_stderr(LogLevel level, std::string_view message) {
  const std::string line = fmt::format("tenon: {}: {}\n", log_level_name(level), message);
  std::fwrite(line.data(), 1, line.size(), stderr);
}

}  // namespace

std::string_view log_level_name(LogLevel level) { return kNames[static_cast<size_t>(level)]; }

std::optional<LogLevel> log_level_from_name(std::string_view name) {
  if (name == "warn") return LogLevel::kWarn;
  for (size_t i = 0; i < kNames.size(); ++i)
    if (kNames[i] == name) return static_cast<LogLevel>(i);
  return std::nullopt;
}

Logger& Logger::get() {
  static Logger logger;
  return logger;
}

Logger::Logger() : level_(LogLevel::kWarn), sink_(std::make_shared<const Sink>(write_to_stderr)) {
  const char* wanted = std::getenv("TENON_LOG");
  if (wanted == nullptr || *wanted == '\0') return;
  if (const auto level = log_level_from_name(wanted))
    set_level(*level);
  else
    write(LogLevel::kWarn, fmt::format("TENON_LOG={} is not a level: use {}", wanted, fmt::join(kNames, ", ")));
}

Logger::Sink Logger::set_sink(Sink sink) {
  if (!sink) sink = write_to_stderr;
  auto next = std::make_shared<const Sink>(std::move(sink));
  std::lock_guard lock(mutex_);
  std::swap(sink_, next);
  return *next;
}

bool Logger::is_first(std::string_view text) {
  constexpr size_t kRemembered = 1024;
  std::lock_guard lock(mutex_);
  if (texts_.contains(text)) return false;
  if (texts_.size() < kRemembered) texts_.emplace(text);
  return true;
}

void Logger::write(LogLevel level, std::string_view message) {
  std::shared_ptr<const Sink> sink;
  {
    std::lock_guard lock(mutex_);
    sink = sink_;
  }
  (*sink)(level, message);
}

}  // namespace tenon
