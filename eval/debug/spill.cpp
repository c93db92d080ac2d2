#include "eval/debug/spill.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <filesystem>

namespace tenon::eval {
namespace {

constexpr const char* kHint = "name a folder with more space in TMPDIR";

/// write or read at an offset, until all is done.
template <class Transfer, class Byte>
Status transfer(Transfer&& call, Byte* data, size_t bytes, uint64_t offset, const char* what) {
  while (bytes > 0) {
    const ssize_t done = call(data, bytes, static_cast<off_t>(offset));
    if (done < 0 && errno == EINTR) continue;
    if (done <= 0)
      return Status(Code::kIo, fmt::format("cannot {}: {}", what, done == 0 ? "it is cut short" : std::strerror(errno)), "temporary file", kHint);
    data += done;
    bytes -= static_cast<size_t>(done);
    offset += static_cast<uint64_t>(done);
  }
  return {};
}

}  // namespace

Result<Spill> Spill::create(uint64_t max_bytes) {
  std::error_code ec;
  const std::filesystem::path folder = std::filesystem::temp_directory_path(ec);
  if (ec) return Status(Code::kIo, "there is no folder for temporary files: " + ec.message(), {}, "name one in TMPDIR");
  std::string path = (folder / "tenon-values-XXXXXX").string();
  Spill out;
  out.fd_ = ::mkostemp(path.data(), O_CLOEXEC);
  if (out.fd_ < 0) return Status(Code::kIo, fmt::format("cannot make a temporary file: {}", std::strerror(errno)), folder.string(), kHint);
  ::unlink(path.c_str());
  out.max_bytes_ = max_bytes;
  return out;
}

Spill::~Spill() {
  if (fd_ >= 0) ::close(fd_);
}

Spill::Spill(Spill&& other) noexcept { *this = std::move(other); }

Spill& Spill::operator=(Spill&& other) noexcept {
  std::swap(fd_, other.fd_);
  std::swap(end_, other.end_);
  std::swap(max_bytes_, other.max_bytes_);
  std::swap(places_, other.places_);
  return *this;
}

Status Spill::put(const std::string& name, const Tensor& tensor) {
  if (!tensor.defined() || tensor.dtype() == DType::kString)
    return Status(Code::kUnsupported, "only tensors of numbers can be kept", fmt::format("value {}", name));
  const uint64_t bytes = tensor.bytes();
  if (bytes > max_bytes_ || end_ > max_bytes_ - bytes)
    return Status(Code::kResourceExhausted, fmt::format("the values of one variant take more than its share, {} bytes on disk", max_bytes_), fmt::format("value {}", name),
                  "give a larger --spill-limit, of which every variant has an equal share");
  TENON_RETURN_IF_ERROR(transfer([this](const std::byte* d, size_t n, off_t at) { return ::pwrite(fd_, d, n, at); }, tensor.data(), bytes, end_, "write"));
  places_.insert_or_assign(name, Place{end_, tensor.dtype(), tensor.shape()});
  end_ += bytes;
  return {};
}

Result<Tensor> Spill::get(const std::string& name) const {
  const auto found = places_.find(name);
  if (found == places_.end()) return Status(Code::kNotFound, fmt::format("no value '{}' is kept", name));
  const Place& place = found->second;
  TENON_ASSIGN_OR_RETURN(Tensor out, Tensor::empty(place.dtype, place.shape));
  TENON_RETURN_IF_ERROR(transfer([this](std::byte* d, size_t n, off_t at) { return ::pread(fd_, d, n, at); }, out.mutable_data(), out.bytes(), place.offset, "read"));
  return out;
}

}  // namespace tenon::eval
