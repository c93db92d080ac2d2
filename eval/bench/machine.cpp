#include "eval/bench/machine.h"

#include <sched.h>
#include <sys/utsname.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <cstdlib>
#include <ctime>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <sstream>
#include <string>
#include <thread>
#include <vector>

#include <fmt/format.h>

#include "support/cpu_count.h"

namespace tenon::eval {
namespace fs = std::filesystem;
using nlohmann::json;
namespace {

std::string first_line(const fs::path& file) {
  std::ifstream in(file);
  std::string line;
  std::getline(in, line);
  return line;
}

double number_in(const fs::path& file, double missing) {
  std::ifstream in(file);
  double value = missing;
  return in >> value ? value : missing;
}

/// The value of "KEY : value" in a file of such lines.
std::string field(const fs::path& file, std::string_view key) {
  std::ifstream in(file);
  for (std::string line; std::getline(in, line);) {
    const size_t colon = line.find(':');
    if (!line.starts_with(key) || colon == std::string::npos) continue;
    if (line.find_first_not_of(" \t", key.size()) != colon) continue;
    const size_t from = line.find_first_not_of(" \t", colon + 1);
    return from == std::string::npos ? "" : line.substr(from);
  }
  return {};
}

/// Those that decide which code is generated or which library kernels are taken.
constexpr std::array<std::string_view, 16> kFeatures = {"sse4_2", "avx", "fma", "f16c", "avx2", "avx512f", "avx512bw", "avx512vl",
                                                        "avx512_vnni", "avx512_bf16", "avx512_fp16", "avx_vnni", "amx_tile", "asimd", "asimddp", "i8mm"};

std::vector<std::string> features() {
  std::string flags = field("/proc/cpuinfo", "flags");
  if (flags.empty()) flags = field("/proc/cpuinfo", "Features");
  std::istringstream words(flags);
  std::vector<std::string> have, out;
  std::copy(std::istream_iterator<std::string>(words), {}, std::back_inserter(have));
  for (std::string_view feature : kFeatures)
    if (std::find(have.begin(), have.end(), feature) != have.end()) out.emplace_back(feature);
  return out;
}

std::string cpu_name() {
  for (const char* key : {"model name", "Model", "CPU part"})
    if (std::string name = field("/proc/cpuinfo", key); !name.empty()) return name;
  return "unknown";
}

std::string governor() { return first_line("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor"); }

std::string turbo() {
  if (const double off = number_in("/sys/devices/system/cpu/intel_pstate/no_turbo", -1); off >= 0) return off == 0 ? "on" : "off";
  if (const double on = number_in("/sys/devices/system/cpu/cpufreq/boost", -1); on >= 0) return on == 0 ? "off" : "on";
  return {};
}

std::string now() {
  const std::time_t time = std::chrono::system_clock::to_time_t(std::chrono::system_clock::now());
  std::tm parts{};
  ::gmtime_r(&time, &parts);
  std::array<char, 32> text{};
  std::strftime(text.data(), text.size(), "%Y-%m-%dT%H:%M:%SZ", &parts);
  return text.data();
}

template <class T>
void add(json& out, const char* key, T value, bool known) {
  if (known) out[key] = std::move(value);
}

}  // namespace

json machine_context() {
  utsname kernel{};
  ::uname(&kernel);
  json out = {{"cpu", cpu_name()},
              {"cores", std::thread::hardware_concurrency()},
              {"usable_cores", available_cores()},
              {"features", features()},
              {"memory_mb", std::stod("0" + field("/proc/meminfo", "MemTotal")) / 1024},
              {"kernel", fmt::format("{} {} {}", kernel.sysname, kernel.release, kernel.machine)},
              {"virtual", (" " + field("/proc/cpuinfo", "flags") + " ").find(" hypervisor ") != std::string::npos},
              {"compiler", __VERSION__},
              {"date", now()}};
  std::array<double, 3> load{};
  if (::getloadavg(load.data(), 3) == 3) out["load"] = load;
  add(out, "governor", governor(), !governor().empty());
  add(out, "turbo", turbo(), !turbo().empty());
  add(out, "mhz", current_mhz(), current_mhz() > 0);
  return out;
}

CpuTimes cpu_times() {
  cpu_set_t usable;
  if (::sched_getaffinity(0, sizeof usable, &usable) != 0) return {};
  const double tick = static_cast<double>(::sysconf(_SC_CLK_TCK));
  CpuTimes out;
  std::ifstream in("/proc/stat");
  for (std::string line; std::getline(in, line);) {
    std::istringstream words(line);
    std::string name;
    std::array<double, 8> t{};  // user, nice, system, idle, iowait, irq, softirq, steal
    words >> name;
    if (name.size() < 4 || !name.starts_with("cpu")) continue;
    const auto number = static_cast<size_t>(std::strtoul(name.c_str() + 3, nullptr, 10));
    for (double& v : t) words >> v;
    if (!words || number >= CPU_SETSIZE || !CPU_ISSET(number, &usable)) continue;
    out.busy += (t[0] + t[1] + t[2] + t[5] + t[6]) / tick;
    out.stolen += t[7] / tick;
  }
  return out;
}

double tree_cpu_seconds(pid_t pid) {
  std::vector<pid_t> todo{pid};
  double ticks = 0;
  constexpr size_t kMost = 4096;  // a tree that grows meanwhile
  for (size_t i = 0; i < todo.size() && i < kMost; ++i) {
    const fs::path folder = fmt::format("/proc/{}", todo[i]);
    const std::string stat = first_line(folder / "stat");
    const size_t name_end = stat.rfind(')');  // names may hold anything
    if (name_end == std::string::npos) continue;
    std::istringstream rest(stat.substr(name_end + 1));
    std::string word;
    double user = 0, system = 0;
    for (int skip = 0; skip < 11; ++skip) rest >> word;
    if (rest >> user >> system) ticks += user + system;
    std::error_code ec;
    for (const auto& task : fs::directory_iterator(folder / "task", ec)) {
      std::ifstream children(task.path() / "children");
      for (pid_t child = 0; children >> child;) todo.push_back(child);
    }
  }
  return ticks / static_cast<double>(::sysconf(_SC_CLK_TCK));
}

double current_mhz() {
  double lowest = 0;
  const auto take = [&](double mhz) {
    if (mhz > 0) lowest = lowest == 0 ? mhz : std::min(lowest, mhz);
  };
  std::error_code ec;
  for (const auto& cpu : fs::directory_iterator("/sys/devices/system/cpu", ec))
    take(number_in(cpu.path() / "cpufreq/scaling_cur_freq", 0) / 1000);
  if (lowest > 0) return lowest;
  std::ifstream in("/proc/cpuinfo");
  for (std::string line; std::getline(in, line);)
    if (line.starts_with("cpu MHz") && line.find(':') != std::string::npos) take(std::strtod(line.c_str() + line.find(':') + 1, nullptr));
  return lowest;
}

int64_t thermal_throttles() {
  int64_t sum = -1;
  std::error_code ec;
  for (const auto& cpu : fs::directory_iterator("/sys/devices/system/cpu", ec))
    if (const double count = number_in(cpu.path() / "thermal_throttle/core_throttle_count", -1); count >= 0)
      sum = std::max<int64_t>(sum, 0) + static_cast<int64_t>(count);
  return sum;
}

}  // namespace tenon::eval
