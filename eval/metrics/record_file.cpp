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

/// Lines that an evaluation writes between records begin so; those of finished batches with kBatch.
constexpr std::string_view kControl = "{\"#\":", kBatch = "{\"#\":\"batch\"";

/// All records of a file, or, where an evaluation wrote it, those of its finished batches: what is behind the last one may be torn.
Status read_file(const std::filesystem::path& file, std::vector<Record>& out) {
  std::error_code ec;
  const bool regular = std::filesystem::is_regular_file(file, ec);  // others may have no end, or nobody who writes
  errno = 0;
  std::ifstream in;
  if (regular) in.open(file, std::ios::binary);
  if (!in.is_open()) {
    const std::string why = ec ? ec.message() : std::filesystem::is_directory(file, ec) ? std::strerror(EISDIR) : regular ? std::strerror(errno != 0 ? errno : EIO) : "no regular file";
    return Status(Code::kNotFound, fmt::format("cannot read: {}", why), file.string(), "name a file of records");
  }
  std::string line;
  std::vector<char> chunk(size_t{1} << 16);
  int64_t number = 0;
  bool evaluation = false;
  size_t finished = out.size();
  Status torn;  // the first wrong line behind the last finished batch
  const auto end_line = [&]() -> Status {
    ++number;
    if (!line.empty() && line.back() == '\r') line.pop_back();
    if (line.starts_with(kControl)) {
      evaluation = true;
      if (line.starts_with(kBatch)) {
        TENON_RETURN_IF_ERROR(std::move(torn));
        torn = {};
        finished = out.size();
      }
    } else if (!line.empty() && torn.ok()) {
      Result<Record> record = record_from_line(line);
      if (record.ok())
        out.push_back(std::move(record).value());
      else
        torn = std::move(record).status().at(fmt::format("{}:{}", file.string(), number));
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
  TENON_RETURN_IF_ERROR(end_line());
  if (!evaluation) return torn;
  out.erase(out.begin() + static_cast<std::ptrdiff_t>(finished), out.end());
  return {};
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
