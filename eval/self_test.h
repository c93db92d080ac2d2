#pragma once

#include <functional>
#include <string>
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

struct SelfTestOptions {
  std::string device;               // CompileOptions::device
  std::string filter;               // only groups whose name contains it
  bool checked = false;             // CompileOptions::checked
};

/// Tests a Vulkan device. `progress` is told each group's name before it runs.
Result<SelfTest> self_test(const SelfTestOptions& options, const std::function<void(const std::string&)>& progress);

}  // namespace tenon::eval
