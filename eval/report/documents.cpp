#include <cerrno>
#include <cstring>
#include <fstream>

#include <fmt/format.h>

#include "eval/datasets/json_text.h"
#include "eval/report/reader.h"
#include "eval/report/report.h"

namespace tenon::eval {
namespace {

using nlohmann::json;

constexpr uintmax_t kMaxBytes = uintmax_t{256} << 20;
constexpr const char* kKinds[] = {"bench", "eval", "profile", "compare"};
constexpr const char* kHint = "give what bench, eval, profile or compare wrote with --json";

}  // namespace

Result<json> read_report_document(const std::filesystem::path& file) {
  std::error_code ec;
  const auto status = std::filesystem::status(file, ec);
  if (!std::filesystem::exists(status)) return Status(Code::kNotFound, "no such file", file.string(), "check the path");
  if (!std::filesystem::is_regular_file(status)) return Status(Code::kInvalidArgument, "is no regular file", file.string(), kHint);
  const uintmax_t size = std::filesystem::file_size(file, ec);
  if (ec) return Status(Code::kIo, "cannot read: " + ec.message(), file.string(), "check its permissions");
  if (size > kMaxBytes)
    return Status(Code::kResourceExhausted, fmt::format("{} MiB, and at most {} are read", size >> 20, kMaxBytes >> 20), file.string(), "report on fewer results at a time");
  errno = 0;
  std::ifstream in(file, std::ios::binary);
  std::string text(static_cast<size_t>(size), '\0');
  in.read(text.data(), static_cast<std::streamsize>(text.size()));
  if (!in && !in.eof()) return Status(Code::kIo, fmt::format("cannot read: {}", std::strerror(errno != 0 ? errno : EIO)), file.string(), "check its permissions");
  text.resize(static_cast<size_t>(in.gcount()));
  Result<json> parsed = parse_json(text);
  if (!parsed.ok()) return Status(parsed.status().code(), parsed.status().what(), file.string(), kHint);
  return parsed;
}

Status add_to_report(json& report, json document, const std::string& source) {
  if (!document.is_object()) return Status(Code::kInvalidArgument, "is no JSON object", source, kHint);
  if (!report.is_object()) report = json::object();
  const auto append = [&](const char* kind, json&& one) {
    json& all = report[kind];
    if (!all.is_array()) all = json::array();
    if (one.is_object() && !one.contains("source")) one["source"] = source;
    all.push_back(std::move(one));
  };
  const std::string kind = report::text(document, "kind");
  for (const char* known : kKinds)
    if (kind == known) {
      // Rows of bench carry their profiles.
      if (const auto rows = document.find("results"); kind == "bench" && rows != document.end() && rows->is_array())
        for (json& row : *rows) {
          const auto profile = row.is_object() ? row.find("profile") : row.end();
          if (profile == row.end() || !profile->is_object()) continue;
          append("profile", std::move(*profile));
          row.erase(profile);
        }
      append(known, std::move(document));
      return {};
    }
  if (!kind.empty()) return Status(Code::kInvalidArgument, fmt::format("is of the kind '{}', which reports do not have", report::text(document, "kind").substr(0, 60)), source, kHint);
  bool whole = false;
  for (const char* known : kKinds) {
    const auto found = document.find(known);
    if (found == document.end() || !found->is_array()) continue;
    whole = true;
    for (json& one : *found) append(known, std::move(one));
  }
  if (!whole) return Status(Code::kInvalidArgument, "has no \"kind\", and no lists of documents", source, kHint);
  for (const char* key : {"title", "context"})
    if (!report.contains(key) && document.contains(key)) report[key] = std::move(document[key]);
  return {};
}

}  // namespace tenon::eval
