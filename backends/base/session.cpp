#include <chrono>

#include "backends/backend.h"

namespace tenon::backends {

Result<std::vector<double>> Session::time(std::span<const HostValue> inputs, const Repeat& repeat, const Interrupt& interrupt) {
  using Clock = std::chrono::steady_clock;
  const auto ms = [](Clock::duration d) { return std::chrono::duration<double, std::milli>(d).count(); };
  std::vector<double> samples;
  const auto start = Clock::now();
  auto end = start;
  while (static_cast<int>(samples.size()) < repeat.runs || ms(end - start) < repeat.ms) {
    const auto begin = Clock::now();
    Result<std::vector<HostValue>> outputs = run(inputs, interrupt);
    end = Clock::now();
    if (!outputs.ok()) return outputs.status();
    samples.push_back(ms(end - begin));
  }
  return samples;
}

std::string_view taken_over_by(const Backend& backend, const Executable& executable, const Session& session) {
  if (!session.taken_over_by().empty()) return session.taken_over_by();
  const std::string_view code = executable.code_of();
  return code == backend.name() ? std::string_view() : code;
}

}  // namespace tenon::backends
