#include "support/status.h"

#include <cstdio>
#include <cstdlib>

namespace tenon {

std::string_view code_name(Code code) {
  switch (code) {
    case Code::kOk: return "ok";
    case Code::kInvalidArgument: return "invalid argument";
    case Code::kInvalidModel: return "invalid model";
    case Code::kNotFound: return "not found";
    case Code::kUnsupported: return "unsupported";
    case Code::kOutOfRange: return "out of range";
    case Code::kResourceExhausted: return "resource exhausted";
    case Code::kCancelled: return "cancelled";
    case Code::kDeadlineExceeded: return "deadline exceeded";
    case Code::kIo: return "i/o error";
    case Code::kMismatch: return "mismatch";
    case Code::kInternal: return "internal error";
  }
  return "unknown";
}

namespace {
const std::string kEmpty;
}

const std::string& Status::what() const { return rep_ ? rep_->what : kEmpty; }
const std::string& Status::where() const { return rep_ ? rep_->where : kEmpty; }
const std::string& Status::hint() const { return rep_ ? rep_->hint : kEmpty; }

Status&& Status::at(std::string_view place) && {
  // Layers that see the same node name it once.
  const auto begins = [&](const std::string& where) {
    return where.starts_with(place) && (where.size() == place.size() || where.compare(place.size(), 2, ": ") == 0);
  };
  if (rep_ && !begins(rep_->where)) rep_->where = rep_->where.empty() ? std::string(place) : fmt::format("{}: {}", place, rep_->where);
  return std::move(*this);
}

Status&& Status::with_hint(std::string_view hint) && {
  if (rep_ && rep_->hint.empty()) rep_->hint = hint;
  return std::move(*this);
}

std::string Status::to_string() const {
  if (!rep_) return "ok";
  std::string text = rep_->what;
  if (!rep_->where.empty()) text += fmt::format(" ({})", rep_->where);
  if (!rep_->hint.empty()) text += fmt::format(": {}", rep_->hint);
  return text;
}

void check_failed(const char* condition, const char* file, int line) {
  std::fprintf(stderr, "internal error: %s does not hold (%s:%d): please report this\n", condition, file, line);
  std::abort();
}

}  // namespace tenon
