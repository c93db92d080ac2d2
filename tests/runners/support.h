#pragma once

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>
#include <vector>

#include "backends/backend.h"
#include "ir/parser.h"

namespace tenon::backends {

inline bool has_python() {
  static const bool found = std::system("python3 -c '' >/dev/null 2>&1") == 0;
  return found;
}

/// A folder that goes at the end of the test.
class Folder {
 public:
  Folder() {
    std::string pattern = (std::filesystem::temp_directory_path() / "tenon-runners-XXXXXX").string();
    path_ = ::mkdtemp(pattern.data());
  }
  ~Folder() { std::filesystem::remove_all(path_); }
  const std::filesystem::path& path() const { return path_; }

 private:
  std::filesystem::path path_;
};

inline std::unique_ptr<ir::Graph> parse(const std::string& text) {
  auto graph = ir::parse_text(text);
  EXPECT_TRUE(graph.ok()) << graph.status().to_string();
  return std::move(graph).value();
}

/// y = x for float [2].
inline std::unique_ptr<ir::Graph> identity() {
  return parse("graph \"g\" {\n  input %x: f32[2]\n  %y: f32[2] = Identity(%x)\n  output %y\n}");
}

inline Result<std::unique_ptr<Session>> open(const Backend& backend, const ir::Graph& graph, const SessionOptions& options = {},
                                             CompileOptions compile = {}) {
  TENON_ASSIGN_OR_RETURN(const auto executable, backend.compile(graph, compile));
  return executable->create_session(options);
}

/// The runner of fake_runner.py, for a model that it does not read.
inline Result<std::unique_ptr<Session>> fake(const std::string& mode, const ir::Graph& graph, const SessionOptions& options = {}) {
  CompileOptions compile;
  compile.model = "/dev/null";
  return open(*find_backend("exec:python3 '" TENON_SOURCE_DIR "/tests/runners/fake_runner.py' " + mode), graph, options, compile);
}

inline std::string slurp(const std::filesystem::path& file) {
  std::ifstream in(file, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), {}};
}

}  // namespace tenon::backends
