#include "eval/tasks/state.h"

#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <fstream>
#include <iterator>

#include "eval/metrics/metric.h"
#include "eval/tasks/object_reader.h"
#include "eval/tasks/recipe.h"

namespace tenon::eval {
namespace fs = std::filesystem;
using nlohmann::json;

namespace {

constexpr const char* kManifest = "manifest.json";
constexpr const char* kProblems = "problems.jsonl";
// The key of lines that are no records. It sorts before all others, so such lines begin with it.
constexpr const char* kControl = "#";
constexpr size_t kMaxLine = (size_t{64} << 20) + 1;  // a byte more than records have
constexpr std::string_view kControlStart = "{\"#\":";

Status io_error(const fs::path& file, const char* what) {
  return Status(Code::kIo, fmt::format("{}: {}", what, std::strerror(errno != 0 ? errno : EIO)), file.string(), "check the folder and the space left");
}

/// One line after another; what is behind the last newline is no line.
class Lines {
 public:
  explicit Lines(const fs::path& file) {
    std::error_code ec;
    const fs::file_status found = fs::status(file, ec);
    if (fs::is_regular_file(found)) in_.open(file, std::ios::binary);
    else if (fs::exists(found)) status_ = Status(Code::kInvalidArgument, "no regular file", file.string(), "give another --state folder");
  }
  /// What there is may be something else, that has no end.
  const Status& status() const { return status_; }
  bool there() const { return in_.is_open(); }
  /// A line that is longer than any record may be is cut after kMaxLine bytes: it is none that can be read.
  bool next(std::string& line) {
    line.clear();
    std::streambuf& bytes = *in_.rdbuf();
    for (int c; (c = bytes.sbumpc()) != std::char_traits<char>::eof();) {
      if (c == '\n' || line.size() >= kMaxLine) {
        offset_ += static_cast<int64_t>(line.size()) + 1;
        return true;
      }
      line += static_cast<char>(c);
    }
    return false;
  }
  /// Where the next line begins.
  int64_t offset() const { return offset_; }

 private:
  std::ifstream in_;
  Status status_;
  int64_t offset_ = 0;
};

json to_json(const BatchFigures& f) {
  json runs = json::array();
  for (const BatchFigures::Run& run : f.runs) runs.push_back({run.ms, run.examples, run.first});
  return {{kControl, "batch"}, {"batch", f.batch}, {"runs", runs}, {"max_abs", f.max_abs}, {"comparable", f.comparable}, {"arena_bytes", f.arena_bytes}};
}

Result<BatchFigures> figures_from(const json& line) {
  BatchFigures out;
  try {
    out.batch = line.at("batch").get<int64_t>();
    for (const json& run : line.at("runs")) out.runs.push_back({run.at(0).get<double>(), run.at(1).get<int64_t>(), run.at(2).get<bool>()});
    out.max_abs = line.at("max_abs").get<double>();
    out.comparable = line.at("comparable").get<bool>();
    out.arena_bytes = line.at("arena_bytes").get<size_t>();
  } catch (const json::exception&) {
    return error(Code::kInvalidArgument, "a batch's line is not what this program writes");
  }
  if (out.batch < 0) return error(Code::kInvalidArgument, "a batch has a negative number");
  return out;
}

/// Up to the last finished batch before `end`; `keep` is where the file may be cut, `ends` has the offset behind each batch.
struct Contents {
  SubjectState state;
  std::vector<size_t> records_after;  // count of records after each batch
  std::vector<int64_t> ends;          // offset after each batch
  int64_t head = 0;                   // offset after what comes before the first batch
};

Result<Contents> read_subject(const fs::path& file) {
  Contents out;
  Lines lines(file);
  if (!lines.status().ok()) return Status(lines.status());
  if (!lines.there()) return out;
  std::vector<Record> pending;
  std::string line;
  for (int64_t number = 1; lines.next(line); ++number) {
    const auto at = [&](Status status) { return std::move(status).at(fmt::format("{}:{}", file.string(), number)).with_hint("give another --state folder"); };
    if (line.starts_with(kControlStart)) {
      Result<json> parsed = parse_json_text(line, {});
      if (!parsed.ok()) return at(std::move(parsed).status());
      if (parsed->contains("batch")) {
        Result<BatchFigures> figures = figures_from(*parsed);
        if (!figures.ok()) return at(std::move(figures).status());
        if (!out.state.batches.empty() && figures->batch <= out.state.batches.back().batch)
          return at(error(Code::kInvalidArgument, "batch {} comes after batch {}", figures->batch, out.state.batches.back().batch));
        out.state.batches.push_back(std::move(*figures));
        for (Record& r : pending) out.state.records.push_back(std::move(r));
        pending.clear();
        out.records_after.push_back(out.state.records.size());
        out.ends.push_back(lines.offset());
        continue;
      }
      if (parsed->contains("failure") && (*parsed)["failure"].is_string() && parsed->contains("code") && (*parsed)["code"].is_number_integer()) {
        out.state.failure = Status(static_cast<Code>(std::clamp((*parsed)["code"].get<int>(), 1, static_cast<int>(Code::kInternal))), (*parsed)["failure"].get<std::string>());
        out.state.available = !(parsed->contains("available") && (*parsed)["available"] == false);
        break;
      }
      if (parsed->contains("compile_ms") && (*parsed)["compile_ms"].is_number()) {
        if (out.state.compile_ms == 0) out.state.compile_ms = (*parsed)["compile_ms"].get<double>();
        if (out.ends.empty()) out.head = lines.offset();
        continue;
      }
      return at(error(Code::kInvalidArgument, "a line is not what this program writes"));
    }
    Result<Record> parsed = record_from_line(line);
    if (!parsed.ok()) return at(std::move(parsed).status());
    pending.push_back(std::move(*parsed));
  }
  return out;
}

struct Problems {
  std::vector<std::pair<int64_t, std::vector<Problem>>> by_batch;
  std::vector<int64_t> ends;
};

Result<Problems> read_problems(const fs::path& file) {
  Problems out;
  Lines lines(file);
  if (!lines.status().ok()) return Status(lines.status());
  if (!lines.there()) return out;
  std::string line;
  for (int64_t number = 1; lines.next(line); ++number) {
    const std::string where = fmt::format("{}:{}", file.string(), number);
    TENON_ASSIGN_OR_RETURN(const json parsed, parse_json_text(line, where));
    try {
      std::vector<Problem> found;
      for (const json& p : parsed.at("problems")) found.push_back({p.at(0).get<int64_t>(), p.at(1).get<std::string>(), p.at(2).get<std::string>()});
      out.by_batch.emplace_back(parsed.at("batch").get<int64_t>(), std::move(found));
    } catch (const json::exception&) {
      return Status(Code::kInvalidArgument, "a line of problems is not what this program writes", where, "give another --state folder");
    }
    out.ends.push_back(lines.offset());
  }
  return out;
}

struct Loaded {
  StateContents contents;
  std::vector<int64_t> cuts;  // where each file, then that of the problems, may be cut
};

/// Everything up to the last batch that is in all files.
Result<Loaded> load(const fs::path& folder, const std::vector<std::string>& subjects) {
  std::vector<Contents> all;
  for (const std::string& subject : subjects) {
    TENON_ASSIGN_OR_RETURN(Contents contents, read_subject(folder / state_file_name(subject)));
    all.push_back(std::move(contents));
  }
  TENON_ASSIGN_OR_RETURN(const Problems problems, read_problems(folder / kProblems));
  Loaded out;
  // A subject that failed stops at its last batch, the others go on.
  size_t finished = problems.by_batch.size();
  for (const Contents& c : all)
    if (c.state.failure.ok()) finished = std::min(finished, c.state.batches.size());
  for (size_t i = 0; i < finished; ++i) {
    out.contents.batches.push_back(problems.by_batch[i].first);
    for (const Problem& p : problems.by_batch[i].second) out.contents.problems.push_back(p);
  }
  for (size_t s = 0; s < all.size(); ++s) {
    Contents& c = all[s];
    const bool failed = !c.state.failure.ok();
    const size_t count = std::min(finished, c.state.batches.size());
    for (size_t i = 0; i < count; ++i)
      if (c.state.batches[i].batch != out.contents.batches[i])
        return Status(Code::kInvalidArgument, fmt::format("batch {} of {} is number {} elsewhere", c.state.batches[i].batch, subjects[s], out.contents.batches[i]),
                      folder.string(), "give another --state folder");
    out.cuts.push_back(failed ? -1 : count == 0 ? c.head : c.ends[count - 1]);
    c.state.batches.resize(count);
    c.state.records.resize(count == 0 ? 0 : c.records_after[count - 1]);
    out.contents.subjects.push_back(std::move(c.state));
  }
  out.cuts.push_back(finished == 0 ? 0 : problems.ends[finished - 1]);
  return out;
}

Status cut(const fs::path& file, int64_t bytes) {
  std::error_code ec;
  if (bytes < 0 || !fs::exists(file, ec)) return {};
  fs::resize_file(file, static_cast<uintmax_t>(bytes), ec);
  return ec ? Status(Code::kIo, fmt::format("cannot shorten the file: {}", ec.message()), file.string(), "check its permissions") : Status();
}

std::string first_difference(const json& a, const json& b, const std::string& path) {
  if (a == b) return {};
  if (!a.is_object() || !b.is_object()) return path;
  for (const auto& [key, value] : a.items()) {
    const std::string inner = path.empty() ? key : path + "." + key;
    if (!b.contains(key)) return inner;
    if (const std::string found = first_difference(value, b[key], inner); !found.empty()) return found;
  }
  for (const auto& [key, value] : b.items())
    if (!a.contains(key)) return path.empty() ? key : path + "." + key;
  return path;
}

/// Whole or not at all.
Status write_whole(const fs::path& file, const std::string& text) {
  const fs::path fresh = file.string() + ".new";
  errno = 0;
  {
    std::ofstream out(fresh, std::ios::binary | std::ios::trunc);
    if (!out.write(text.data(), static_cast<std::streamsize>(text.size())).flush()) return io_error(fresh, "cannot write");
  }
  std::error_code ec;
  fs::rename(fresh, file, ec);
  return ec ? Status(Code::kIo, fmt::format("cannot write: {}", ec.message()), file.string(), "check the folder") : Status();
}

}  // namespace

std::string manifest_difference(const json& a, const json& b) { return first_difference(a, b, {}); }

std::string state_file_name(const std::string& subject) {
  std::string out;
  for (char c : subject) out += std::isalnum(static_cast<unsigned char>(c)) != 0 || c == '-' || c == '_' ? c : '_';
  return out + ".jsonl";
}

Result<json> read_manifest(const fs::path& folder) {
  std::error_code ec;
  const fs::path file = folder / kManifest;
  constexpr uintmax_t kMostBytes = uintmax_t{1} << 24;
  const uintmax_t bytes = fs::is_regular_file(file, ec) ? fs::file_size(file, ec) : 0;
  if (ec || bytes == 0) return Status(Code::kNotFound, "there is no evaluation in the folder", folder.string(), "name a folder that --state has made");
  if (bytes > kMostBytes) return Status(Code::kResourceExhausted, "larger than 16 MiB", file.string());
  std::ifstream in(file, std::ios::binary);
  const std::string text((std::istreambuf_iterator<char>(in)), {});
  return parse_json_text(text, file.string());
}

Result<StateContents> read_state(const fs::path& folder, const std::vector<std::string>& subjects) {
  TENON_ASSIGN_OR_RETURN(Loaded loaded, load(folder, subjects));
  return std::move(loaded.contents);
}

Result<std::unique_ptr<StateFolder>> StateFolder::open(const fs::path& folder, const json& manifest, const std::vector<std::string>& subjects,
                                                       StateContents& contents) {
  std::error_code ec;
  fs::create_directories(folder, ec);
  if (ec) return Status(Code::kIo, fmt::format("cannot make the folder: {}", ec.message()), folder.string(), "check the path");
  std::unique_ptr<StateFolder> out(new StateFolder);
  out->folder_ = folder;
  const fs::path lock = folder / "lock";
  errno = 0;
  out->lock_ = ::open(lock.c_str(), O_CREAT | O_RDWR | O_CLOEXEC, 0644);
  if (out->lock_ < 0) return io_error(lock, "cannot write");
  if (::flock(out->lock_, LOCK_EX | LOCK_NB) != 0)
    return Status(Code::kInvalidArgument, "another process is evaluating into the folder", folder.string(), "wait for it, or give another --state folder");
  if (fs::exists(folder / kManifest, ec)) {
    TENON_ASSIGN_OR_RETURN(const json before, read_manifest(folder));
    if (const std::string where = first_difference(manifest, before, {}); !where.empty())
      return Status(Code::kInvalidArgument, fmt::format("the folder holds another evaluation: {} differs", where), folder.string(),
                    "give the same options, or another --state folder");
  } else {
    TENON_RETURN_IF_ERROR(write_whole(folder / kManifest, manifest.dump(2, ' ', false, json::error_handler_t::replace) + "\n"));
  }
  TENON_ASSIGN_OR_RETURN(Loaded loaded, load(folder, subjects));
  for (size_t i = 0; i <= subjects.size(); ++i) {
    const fs::path file = folder / (i < subjects.size() ? state_file_name(subjects[i]) : kProblems);
    TENON_RETURN_IF_ERROR(cut(file, loaded.cuts[i]));
    errno = 0;
    out->files_.push_back(std::fopen(file.c_str(), "ab"));
    if (out->files_.back() == nullptr) return io_error(file, "cannot write");
  }
  contents = std::move(loaded.contents);
  return out;
}

StateFolder::~StateFolder() {
  for (std::FILE* file : files_)
    if (file != nullptr) std::fclose(file);
  if (lock_ >= 0) ::close(lock_);
}

Status StateFolder::write(size_t file, const std::string& text) {
  errno = 0;
  if (std::fwrite(text.data(), 1, text.size(), files_[file]) != text.size() || std::fflush(files_[file]) != 0) return io_error(folder_, "cannot write");
  return {};
}

Status StateFolder::append(size_t subject, const std::vector<Record>& records, const BatchFigures& figures) {
  std::string text;
  for (const Record& record : records) text += to_line(record) + "\n";
  return write(subject, text + to_json(figures).dump() + "\n");
}

Status StateFolder::append_problems(int64_t batch, const std::vector<Problem>& problems) {
  json list = json::array();
  for (const Problem& p : problems) list.push_back({p.index, p.source, p.message});
  return write(files_.size() - 1, json{{"batch", batch}, {"problems", list}}.dump(-1, ' ', false, json::error_handler_t::replace) + "\n");
}

Status StateFolder::append_failure(size_t subject, const Status& failure, bool available) {
  const json line = {{kControl, "failure"}, {"failure", failure.to_string()}, {"code", static_cast<int>(failure.code())}, {"available", available}};
  return write(subject, line.dump(-1, ' ', false, json::error_handler_t::replace) + "\n");
}

Status StateFolder::append_compiled(size_t subject, double compile_ms) { return write(subject, json{{kControl, "compiled"}, {"compile_ms", compile_ms}}.dump() + "\n"); }

Result<StateContents> merge_states(std::vector<StateContents> shards) {
  StateContents out;
  if (shards.empty()) return out;
  out.subjects.resize(shards[0].subjects.size());
  for (StateContents& shard : shards) {
    if (shard.subjects.size() != out.subjects.size()) return error(Code::kInvalidArgument, "the shards have other backends");
    out.batches.insert(out.batches.end(), shard.batches.begin(), shard.batches.end());
    out.problems.insert(out.problems.end(), shard.problems.begin(), shard.problems.end());
    for (size_t s = 0; s < out.subjects.size(); ++s) {
      SubjectState &to = out.subjects[s], &from = shard.subjects[s];
      to.records.insert(to.records.end(), std::make_move_iterator(from.records.begin()), std::make_move_iterator(from.records.end()));
      to.batches.insert(to.batches.end(), from.batches.begin(), from.batches.end());
      if (to.compile_ms == 0) to.compile_ms = from.compile_ms;
      // What broke somewhere is told rather than that another machine does not have it.
      if (to.failure.ok() || (!to.available && !from.failure.ok() && from.available)) {
        to.failure = from.failure;
        to.available = from.available;
      }
    }
  }
  std::sort(out.batches.begin(), out.batches.end());
  if (const auto twice = std::adjacent_find(out.batches.begin(), out.batches.end()); twice != out.batches.end())
    return error(Code::kInvalidArgument, "batch {} is in two of the folders", *twice).with_hint("name each shard's folder once");
  std::sort(out.problems.begin(), out.problems.end(), [](const Problem& a, const Problem& b) { return a.index < b.index; });
  for (SubjectState& s : out.subjects) {
    std::sort(s.records.begin(), s.records.end(), [](const Record& a, const Record& b) { return a.index < b.index; });
    std::sort(s.batches.begin(), s.batches.end(), [](const BatchFigures& a, const BatchFigures& b) { return a.batch < b.batch; });
  }
  return out;
}

}  // namespace tenon::eval
