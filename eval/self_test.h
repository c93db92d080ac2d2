#pragma once

#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "support/status.h"

namespace tenon::eval {

/// Small graphs of one kind, compiled as any model is and compared with the reference interpreter, output by output.
struct SelfTestGroup {
  std::string name;                 // "arithmetic f16"
  int passed = 0, failed = 0;       // outputs
  int on_host = 0;                  // nodes that the device has no kernel for: not tested
  std::vector<std::string> messages;  // why, for those that failed
};

struct SelfTest {
  std::string device, driver;
  std::vector<SelfTestGroup> groups;
  bool passed() const;
};

/// Tests the Vulkan device that `device` names (see CompileOptions::device). Only groups whose name contains `filter`. `progress` is told
/// each group's name before it runs.
Result<SelfTest> self_test(std::string_view device, std::string_view filter, const std::function<void(const std::string&)>& progress);

}  // namespace tenon::eval
