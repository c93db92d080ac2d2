#pragma once

#include <sys/wait.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>

#include <fmt/format.h>
#include <gtest/gtest.h>

namespace tenon {

inline std::string slurp(const std::filesystem::path& file) {
  std::ifstream in(file, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), {}};
}

/// Runs the command in a folder of its own, which is gone afterwards.
class CommandTest : public ::testing::Test {
 protected:
  CommandTest() {
    std::string pattern = (std::filesystem::temp_directory_path() / "tenon-cli-XXXXXX").string();
    folder_ = ::mkdtemp(pattern.data());
  }
  ~CommandTest() override { std::filesystem::remove_all(folder_); }

  /// Its exit status, -1 when a signal ended it; what it prints goes to out_ and err_.
  int run(const std::string& arguments) { return run_in(folder_, arguments); }
  int run_in(const std::filesystem::path& where, const std::string& arguments) {
    const std::filesystem::path out = folder_ / "stdout", err = folder_ / "stderr";
    const int status = std::system(
        fmt::format("cd '{}' && TENON_CACHE='{}' '{}/bin/tenon' {} >'{}' 2>'{}'", where.string(), cache_, TENON_BINARY_DIR, arguments, out.string(), err.string()).c_str());
    out_ = slurp(out);
    err_ = slurp(err);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
  }

  std::filesystem::path folder_;
  std::string out_, err_;
  std::string cache_ = "off";       // of compiled kernels: TENON_CACHE
};

/// With m.tir, a matrix product and a Relu of [N, 64].
class ProductTest : public CommandTest {
 protected:
  ProductTest() {
    std::ofstream(folder_ / "m.tir") << R"(graph "g" {
  input %x: f32[N, 64]
  input %w: f32[64, 32]
  %p: f32[N, 32] = MatMul(%x, %w) "product"
  %y: f32[N, 32] = Relu(%p) "relu"
  output %y
})";
  }
};

}  // namespace tenon
