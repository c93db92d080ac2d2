// Folders of models with expected outputs, on every backend. Cases that are known to fail stand in a list beside this file,
// with the reason; a case that fails and is not listed, or is listed and passes, fails the test. A line that starts with `? ` names a
// case whose outputs are random, or hang on the last bit of a float: it may do either. TENON_BLESS=1 rewrites the lists and keeps those lines.
// Every kernel runs on emulated processors as well, of a part of the cases: TENON_EMULATE=GLOB says which instead, `*` is all.

#include <algorithm>
#include <cstdlib>
#include <fstream>
#include <map>

#include <unistd.h>

#include <gtest/gtest.h>

#include "eval/verify.h"
#include "support/disk_cache.h"
#include "tests/aarch64/emulator/backend.h"
#include "tests/aarch64/emulator/emulator.h"

namespace tenon::eval {
namespace {

namespace fs = std::filesystem;

struct Suite {
  const char* name;
  const char* backend;
  int round_trip = -1;  // -O level after which the model is written as ONNX and read back; negative: not
  int64_t opset = 0;    // in which it is written; what the opset cannot say is refused
  // Of the emulated backend: what it compiles for, and what part of the cases there is time for.
  std::string_view target = {};
  size_t first = 0, every = 1;
  uintmax_t max_bytes = UINTMAX_MAX;  // of a case's model
};


fs::path shared_folder() {
  const char* shared = std::getenv("TENON_SHARED");
  return shared != nullptr ? fs::path(shared) : fs::path(TENON_SOURCE_DIR) / "../shared";
}

fs::path folder_of(const std::string& suite) {
  if (suite == "libonnx") return "/usr/share/libonnx-testdata/data";
  if (suite == "newest") return fs::path(TENON_BINARY_DIR) / "onnx-backend-tests";
  if (suite == "digits") return fs::path(TENON_SOURCE_DIR) / "models/digits";
  return shared_folder() / (suite == "models" ? "models" : "hf");
}

/// Unpacks the newest ONNX backend tests into the build folder, where the archive is there and newer than what was unpacked.
/// Tests of several backends may come here at once: the folder appears whole, by renaming.
void unpack_newest(const fs::path& folder) {
  const fs::path archive = shared_folder() / "conformance/onnx-backend-tests.tar.zst";
  if (!fs::exists(archive) || (fs::exists(folder) && fs::last_write_time(folder) >= fs::last_write_time(archive))) return;
  const fs::path fresh = fmt::format("{}.{}", folder.string(), ::getpid());
  fs::create_directories(fresh);
  const std::string command = fmt::format("zstd -dc --long=27 '{}' | tar x -C '{}' --exclude=light", archive.string(), fresh.string());
  ASSERT_EQ(std::system(command.c_str()), 0) << command;
  std::error_code taken;
  fs::remove_all(folder);
  fs::rename(fresh, folder, taken);
  if (taken) fs::remove_all(fresh);
  else fs::last_write_time(folder, fs::file_time_type::clock::now());
}

fs::path list_of(const Suite& suite) {
  return fs::path(TENON_SOURCE_DIR) / "tests/conformance" / fmt::format("{}_{}.txt", suite.name, suite.target.empty() ? suite.backend : "cpu");
}

/// Lines `name  # reason`.
std::map<std::string, std::string> read_list(const fs::path& file) {
  std::map<std::string, std::string> out;
  std::ifstream in(file);
  for (std::string line; std::getline(in, line);) {
    const size_t end = line.find("  # ");
    if (!line.empty() && line[0] != '#') out[line.substr(0, end)] = end == std::string::npos ? "" : line.substr(end + 4);
  }
  return out;
}

constexpr const char* kRandom = "? ";

void write_list(const fs::path& file, const std::vector<CaseResult>& results) {
  const std::map<std::string, std::string> before = read_list(file);
  std::ofstream out(file);
  for (const CaseResult& r : results) {
    if (auto random = before.find(kRandom + r.name); random != before.end()) {
      out << random->first << "  # " << random->second << '\n';
      continue;
    }
    if (r.status == CaseStatus::kPassed) continue;
    std::string reason;
    for (char c : r.message.substr(0, r.message.find(" (/")))
      if (c == '\n') reason += ';';
      else reason += c;
    out << r.name << "  # " << reason.substr(0, 120) << '\n';
  }
}

/// Those of the cases that the suite takes.
std::vector<Case> chosen(const std::vector<Case>& cases, const Suite& suite) {
  if (suite.target.empty()) return cases;
  const char* glob = std::getenv("TENON_EMULATE");
  std::vector<Case> out;
  for (size_t i = 0; i < cases.size(); ++i) {
    const bool taken = glob != nullptr ? glob_match(glob, cases[i].name) : i % suite.every == suite.first && fs::file_size(cases[i].folder / "model.onnx") <= suite.max_bytes;
    if (taken) out.push_back(cases[i]);
  }
  return out;
}

/// Suites have kernels in common, above all those of one model before and after its round trip: each is compiled once,
/// by this very program (its build ID is in their keys).
std::shared_ptr<const DiskCache> kernels() {
  const auto cache = DiskCache::open(fs::path(TENON_BINARY_DIR) / "conformance-kernels");
  EXPECT_TRUE(cache.ok()) << cache.status().to_string();
  return cache.ok() ? *cache : nullptr;
}

class Conformance : public ::testing::TestWithParam<Suite> {};

TEST_P(Conformance, OnlyListedCasesFail) {
  const Suite suite = GetParam();
  const fs::path folder = folder_of(suite.name);
  if (std::string(suite.name) == "newest") {
    ASSERT_NO_FATAL_FAILURE(unpack_newest(folder));
  }
  if (!fs::exists(folder)) GTEST_SKIP() << folder << " is not there";
  const backends::Backend* backend = suite.target.empty() ? backends::find_backend(suite.backend) : &emulator::emulated_backend();
  ASSERT_NE(backend, nullptr);
  if (!backend->available().ok()) GTEST_SKIP() << backend->available().to_string();
  const auto found = find_cases(folder);
  ASSERT_TRUE(found.ok()) << found.status().to_string();
  const std::vector<Case> cases = chosen(*found, suite);

  VerifyOptions options;
  options.jobs = 2;
  if (suite.round_trip >= 0) options.round_trip = RoundTrip{.level = suite.round_trip, .opset = suite.opset};
  options.timeout_s = suite.target.empty() ? 120 : 1200;
  options.compile.target = suite.target;
  if (suite.target.empty() && std::string_view(suite.backend) == "cpu") options.compile.cache = kernels();
  // As ONNX's own runner compares (onnx/backend/test/runner); real models by the scale of their outputs.
  if (std::string(suite.name) == "libonnx" || std::string(suite.name) == "newest") options.tolerance = {.rtol = 1e-3, .atol = 1e-7, .scaled_atol = 0};
  const std::vector<CaseResult> results = verify_cases(cases, *backend, options, [](const CaseResult&) {});
  if (const char* bless = std::getenv("TENON_BLESS"); bless != nullptr && *bless == '1' && suite.round_trip < 0 && suite.target.empty()) write_list(list_of(suite), results);

  const std::map<std::string, std::string> expected = read_list(list_of(suite));
  int passed = 0, refused = 0;
  for (const CaseResult& r : results) {
    if (suite.opset != 0 && r.status == CaseStatus::kFailed && r.message.starts_with(fmt::format("opset {} of ", suite.opset))) {
      ++refused;
      continue;
    }
    const bool listed = expected.count(r.name) != 0;
    passed += r.status == CaseStatus::kPassed;
    if (expected.count(kRandom + r.name) != 0) continue;
    if (r.status == CaseStatus::kPassed) {
      EXPECT_FALSE(listed) << r.name << " passes now: take it off " << list_of(suite);
    } else {
      EXPECT_TRUE(listed) << r.name << ": " << r.message;
    }
  }
  EXPECT_TRUE(passed > refused || cases.empty());
  fmt::print("{} on {}: {} of {} pass\n", suite.name, suite.target.empty() ? suite.backend : suite.target, passed, results.size());
}

void PrintTo(const Suite& suite, std::ostream* out) {
  *out << suite.name << " on " << (suite.target.empty() ? suite.backend : suite.target);
  if (suite.round_trip >= 0) *out << " through ONNX at -O" << suite.round_trip;
  if (suite.opset != 0) *out << " in opset " << suite.opset;
}

std::string suite_name(const ::testing::TestParamInfo<Suite>& info) {
  const Suite& suite = info.param;
  std::string name = fmt::format("{}_{}", suite.name, suite.target.empty() ? suite.backend : suite.target);
  std::ranges::replace(name, '+', '_');
  if (suite.round_trip >= 0) name += fmt::format("_O{}", suite.round_trip);
  if (suite.opset != 0) name += fmt::format("_opset{}", suite.opset);
  return name;
}

INSTANTIATE_TEST_SUITE_P(All, Conformance,
                         ::testing::Values(Suite{"digits", "reference"}, Suite{"digits", "cpu"}, Suite{"digits", "vulkan"},
                                           Suite{"libonnx", "reference"}, Suite{"libonnx", "cpu"}, Suite{"newest", "reference"}, Suite{"newest", "cpu"}, Suite{"models", "reference"},
                                           Suite{"models", "cpu"}, Suite{"hf", "reference"}, Suite{"hf", "cpu"}, Suite{"hf", "vulkan"},
                                           Suite{"libonnx", "vulkan"}, Suite{"newest", "vulkan"}, Suite{"models", "vulkan"}),
                         suite_name);

// What passes above must pass as well once the model was written and read again.
INSTANTIATE_TEST_SUITE_P(RoundTrip, Conformance,
                         ::testing::Values(Suite{"digits", "reference", 0}, Suite{"digits", "reference", 2}, Suite{"digits", "cpu", 3},
                                           Suite{"libonnx", "reference", 1}, Suite{"libonnx", "reference", 3}, Suite{"newest", "reference", 1},
                                           Suite{"newest", "reference", 3}, Suite{"newest", "reference", 3, 13}, Suite{"models", "cpu", 1}, Suite{"models", "cpu", 3}, Suite{"hf", "cpu", 1},
                                           Suite{"hf", "cpu", 3}),
                         suite_name);

std::vector<Suite> emulated_suites() {
  std::vector<Suite> out;
  const auto targets = emulator::targets();
  for (size_t i = 0; i < targets.size(); ++i) {
    const auto add = [&](const char* suite, size_t every, uintmax_t max_bytes) {
      out.push_back({.name = suite, .backend = "cpu", .target = targets[i], .first = i * every / targets.size(), .every = every, .max_bytes = max_bytes});
    };
    add("digits", 1, UINTMAX_MAX);
    add("libonnx", 12, UINTMAX_MAX);
    add("newest", 12, UINTMAX_MAX);
    add("models", 3, 1 << 20);
    add("hf", 6, UINTMAX_MAX);
  }
  return out;
}

INSTANTIATE_TEST_SUITE_P(Emulated, Conformance, ::testing::ValuesIn(emulated_suites()), suite_name);

}  // namespace
}  // namespace tenon::eval
