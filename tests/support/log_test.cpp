#include "support/log.h"

#include <string>
#include <vector>

#include <gtest/gtest.h>

namespace tenon {
namespace {

class Log : public testing::Test {
 protected:
  void SetUp() override {
    level_ = Logger::get().level();
    previous_ = Logger::get().set_sink([this](LogLevel level, std::string_view message) {
      lines_.push_back(std::string(log_level_name(level)) + ": " + std::string(message));
    });
  }
  void TearDown() override {
    Logger::get().set_sink(previous_);
    Logger::get().set_level(level_);
  }
  std::vector<std::string> lines_;
  Logger::Sink previous_;
  LogLevel level_;
};

TEST_F(Log, ShowsTheLevelAndWhatIsWorse) {
  Logger::get().set_level(LogLevel::kInfo);
  log(LogLevel::kError, "e{}", 1);
  log(LogLevel::kInfo, "i");
  log(LogLevel::kDebug, "d");
  EXPECT_EQ(lines_, (std::vector<std::string>{"error: e1", "info: i"}));
}

TEST_F(Log, OnceIsOnceForEachText) {
  Logger::get().set_level(LogLevel::kWarn);
  for (int i = 0; i < 3; ++i)
    for (const char* file : {"a", "b"}) log_once(LogLevel::kWarn, "{} is not used", file);
  log_once(LogLevel::kInfo, "quiet");
  Logger::get().set_level(LogLevel::kInfo);
  log_once(LogLevel::kInfo, "quiet");
  EXPECT_EQ(lines_, (std::vector<std::string>{"warning: a is not used", "warning: b is not used", "info: quiet"}));
}

TEST_F(Log, OffIsSilentAndNothingIsLoggedAsOff) {
  Logger::get().set_level(LogLevel::kOff);
  log(LogLevel::kError, "e");
  Logger::get().set_level(LogLevel::kTrace);
  log(LogLevel::kOff, "o");
  EXPECT_TRUE(lines_.empty());
}

TEST_F(Log, ASinkMayLog) {
  Logger::get().set_level(LogLevel::kInfo);
  Logger::get().set_sink([this](LogLevel, std::string_view message) {
    lines_.emplace_back(message);
    if (lines_.size() < 3) log(LogLevel::kInfo, "inner");
  });
  log(LogLevel::kInfo, "outer");
  EXPECT_EQ(lines_, (std::vector<std::string>{"outer", "inner", "inner"}));
}

TEST_F(Log, LevelNamesRoundTrip) {
  for (int i = 0; i <= static_cast<int>(LogLevel::kTrace); ++i) {
    const auto level = static_cast<LogLevel>(i);
    EXPECT_EQ(log_level_from_name(log_level_name(level)), level);
  }
  EXPECT_EQ(log_level_from_name("warn"), LogLevel::kWarn);
  EXPECT_FALSE(log_level_from_name("loud"));
}

TEST_F(Log, StderrSinkWritesOneLine) {
  Logger::get().set_level(LogLevel::kWarn);
  Logger::get().set_sink({});
  testing::internal::CaptureStderr();
  log(LogLevel::kWarn, "x = {}", 2);
  EXPECT_EQ(testing::internal::GetCapturedStderr(), "tenon: warning: x = 2\n");
}

}  // namespace
}  // namespace tenon
