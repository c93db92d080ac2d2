#pragma once

#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <string>
#include <string_view>
#include <vector>

#include <gtest/gtest.h>

namespace tenon::eval {

/// A folder of a test's own, empty, and gone with it.
class TempFolder {
 public:
  TempFolder() {
    const auto* test = ::testing::UnitTest::GetInstance()->current_test_info();
    path = std::filesystem::temp_directory_path() /
           (std::string("tenon_") + test->test_suite_name() + "_" + test->name() + "_" + std::to_string(::getpid()));
    std::filesystem::remove_all(path);
    std::filesystem::create_directories(path);
  }
  ~TempFolder() {
    std::error_code ec;
    std::filesystem::remove_all(path, ec);
  }
  TempFolder(const TempFolder&) = delete;
  TempFolder& operator=(const TempFolder&) = delete;

  /// Writes a file, making its folders; gives its path.
  std::string write(const std::string& name, std::string_view bytes) const {
    const std::filesystem::path file = path / name;
    std::filesystem::create_directories(file.parent_path());
    std::ofstream(file, std::ios::binary).write(bytes.data(), static_cast<std::streamsize>(bytes.size()));
    return file.string();
  }

  std::filesystem::path path;
};

inline std::filesystem::path shared_data() {
  const char* shared = std::getenv("TENON_SHARED");
  return std::filesystem::path(shared != nullptr ? shared : TENON_SOURCE_DIR "/../shared") / "data";
}

inline std::string read_all(const std::filesystem::path& file) {
  std::ifstream in(file, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), {}};
}

/// A binary PPM of height x width pixels, all of one colour.
inline std::string ppm(int height, int width, unsigned char red, unsigned char green, unsigned char blue) {
  std::string out = "P6\n" + std::to_string(width) + " " + std::to_string(height) + "\n255\n";
  for (int i = 0; i < height * width; ++i) out += {static_cast<char>(red), static_cast<char>(green), static_cast<char>(blue)};
  return out;
}

/// A binary PGM of given values.
inline std::string pgm(int height, int width, std::string_view values) {
  return "P5\n" + std::to_string(width) + " " + std::to_string(height) + "\n255\n" + std::string(values);
}

/// A WAV file of 16-bit samples (RIFF; format 1).
inline std::string wav(int rate, int channels, const std::vector<int16_t>& samples) {
  std::string out;
  const auto number = [&](uint32_t value, int bytes) {
    for (int i = 0; i < bytes; ++i) out += static_cast<char>(value >> (8 * i) & 0xff);
  };
  const auto data = static_cast<uint32_t>(samples.size() * 2);
  out += "RIFF";
  number(36 + data, 4);
  out += "WAVEfmt ";
  number(16, 4);
  number(1, 2);
  number(static_cast<uint32_t>(channels), 2);
  number(static_cast<uint32_t>(rate), 4);
  number(static_cast<uint32_t>(rate * channels * 2), 4);
  number(static_cast<uint32_t>(channels * 2), 2);
  number(16, 2);
  out += "data";
  number(data, 4);
  for (int16_t s : samples) number(static_cast<uint16_t>(s), 2);
  return out;
}

}  // namespace tenon::eval
