#include "eval/metrics/record_file.h"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <fstream>

#include <fmt/format.h>

#include "eval/metrics/metric.h"

namespace tenon::eval {
namespace {

constexpr size_t kMaxLine = size_t{64} << 20;

Status read_file(const std::filesystem::path& file, std::vector<Record>& out) {
  errno = 0;
  std::ifstream in(file, std::ios::binary);
  std::error_code ignored;
  if (!in || std::filesystem::is_directory(file, ignored))
    return Status(Code::kNotFound, fmt::format("cannot read: {}", std::strerror(errno != 0 ? errno : EISDIR)), file.string(),
                  "name a file of records");
  std::string line;
  std::vector<char> chunk(size_t{1} << 16);
  int64_t number = 0;
  const auto end_line = [&]() -> Status {
    ++number;
    if (!line.empty() && line.back() == '\r') line.pop_back();
    if (!line.empty() && !line.starts_with("{\"#\":")) {
      Result<Record> record = record_from_line(line);
      if (!record.ok()) return std::move(record).status().at(fmt::format("{}:{}", file.string(), number));
      out.push_back(std::move(record).value());
    }
    line.clear();
    return {};
  };
  while (in.read(chunk.data(), static_cast<std::streamsize>(chunk.size())), in.gcount() > 0) {
    std::string_view rest(chunk.data(), static_cast<size_t>(in.gcount()));
    for (size_t newline; (newline = rest.find('\n')) != rest.npos; rest.remove_prefix(newline + 1)) {
      line += rest.substr(0, newline);
      TENON_RETURN_IF_ERROR(end_line());
    }
    line += rest;
    if (line.size() > kMaxLine)
      return Status(Code::kResourceExhausted, fmt::format("a line of more than {} bytes", kMaxLine),
                    fmt::format("{}:{}", file.string(), number + 1), "name a file of records");
  }
  if (in.bad()) return Status(Code::kIo, "cannot read on", file.string(), "check the disk");
  return end_line();
}

}  // namespace

Result<std::vector<Record>> read_records(const std::vector<std::filesystem::path>& files) {
  std::vector<Record> out;
  for (const std::filesystem::path& file : files) TENON_RETURN_IF_ERROR(read_file(file, out));
  std::stable_sort(out.begin(), out.end(), [](const Record& a, const Record& b) { return a.index < b.index; });
  for (size_t i = 1; i < out.size(); ++i)
    if (out[i].index == out[i - 1].index)
      return Status(Code::kInvalidArgument, fmt::format("record {} occurs twice", out[i].index),
                    files.size() == 1 ? files[0].string() : fmt::format("{} files", files.size()), "give each file of a result once");
  return out;
}

}  // namespace tenon::eval
