#include "backends/vulkan/faults.h"

#include <atomic>
#include <charconv>
#include <cstdlib>
#include <map>
#include <mutex>
#include <string>
#include <vector>

#include "backends/vulkan/loader.h"
#include "support/log.h"

namespace tenon::backends::vulkan {
namespace {

struct Fault {
  std::string function;
  int64_t call = 1, seen = 0;
  bool onwards = false;
  VkResult result = VK_ERROR_UNKNOWN;
};

struct State {
  std::mutex mutex;
  std::vector<Fault> faults;
  std::map<std::string, int64_t, std::less<>> calls;
  std::atomic<bool> wanted = false;
};

Result<Fault> parse(std::string_view text) {
  const auto bad = [&] {
    return Status(Code::kInvalidArgument, fmt::format("'{}' is not of the form FUNCTION:N=RESULT", text), "TENON_VULKAN_FAULTS",
                  "write for example vkQueueSubmit:3=VK_ERROR_DEVICE_LOST");
  };
  const size_t colon = text.find(':'), equals = text.find('=');
  if (colon == std::string_view::npos || equals == std::string_view::npos || equals < colon) return bad();
  Fault fault;
  fault.function = text.substr(0, colon);
  std::string_view number = text.substr(colon + 1, equals - colon - 1);
  if (number.ends_with('+')) fault.onwards = true, number.remove_suffix(1);
  const auto [end, ec] = std::from_chars(number.data(), number.data() + number.size(), fault.call);
  if (ec != std::errc() || end != number.data() + number.size() || fault.call < 1) return bad();
  const auto result = result_from_name(text.substr(equals + 1));
  if (!result) return bad();
  fault.result = *result;
  return fault;
}

Status assign(State& state, std::string_view text) {
  std::vector<Fault> faults;
  while (!text.empty()) {
    const size_t comma = std::min(text.find(','), text.size());
    TENON_ASSIGN_OR_RETURN(Fault fault, parse(text.substr(0, comma)));
    faults.push_back(std::move(fault));
    text.remove_prefix(std::min(comma + 1, text.size()));
  }
  const std::lock_guard lock(state.mutex);
  state.faults = std::move(faults);
  state.calls.clear();
  state.wanted = true;
  return {};
}

State& state() {
  static State state;
  static const bool read = [] {
    const char* text = std::getenv("TENON_VULKAN_FAULTS");
    if (text == nullptr) return false;
    const Status status = assign(state, text);
    if (!status.ok()) log(LogLevel::kWarn, "{}", status.to_string());
    return true;
  }();
  static_cast<void>(read);
  return state;
}

}  // namespace

Status Faults::set(std::string_view faults) { return assign(state(), faults); }

bool Faults::wanted() { return state().wanted; }

int64_t Faults::calls(std::string_view function) {
  State& s = state();
  const std::lock_guard lock(s.mutex);
  const auto found = s.calls.find(function);
  return found == s.calls.end() ? 0 : found->second;
}

std::optional<VkResult> Faults::take(std::string_view function) {
  State& s = state();
  const std::lock_guard lock(s.mutex);
  auto counted = s.calls.find(function);
  if (counted == s.calls.end()) counted = s.calls.emplace(function, 0).first;
  ++counted->second;
  std::optional<VkResult> out;
  for (Fault& fault : s.faults) {
    if (fault.function != function) continue;
    ++fault.seen;
    if (fault.seen == fault.call || (fault.onwards && fault.seen > fault.call)) out = fault.result;
  }
  return out;
}

}  // namespace tenon::backends::vulkan
