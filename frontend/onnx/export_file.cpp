#include "frontend/onnx/export_file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <map>
#include <tuple>
#include <utility>

#include "frontend/onnx/wire.h"

namespace tenon::frontend {
namespace fs = std::filesystem;

namespace {

constexpr size_t kBuffer = size_t{1} << 20;
constexpr uint64_t kPage = 4096;
constexpr size_t kSmallest = 1024;

Status cannot(const char* what, const fs::path& path) {
  return Status(Code::kIo, fmt::format("cannot {}: {}", what, std::strerror(errno)), path.string(),
                "check the folder and the space left");
}

}  // namespace

Result<OutputFile> OutputFile::create(const fs::path& path) {
  struct stat st{};
  if (::lstat(path.c_str(), &st) == 0 && !S_ISREG(st.st_mode))
    return Status(Code::kInvalidArgument,
                  S_ISLNK(st.st_mode) ? "a symbolic link has this name" : "what has this name is no regular file",
                  path.string(), "name another file");
  if (!path.has_filename()) return Status(Code::kInvalidArgument, "this names no file", path.string());
  OutputFile out;
  for (int i = 0; i < 100 && out.fd_ < 0; ++i) {
    out.temporary_ =
        path.parent_path() / fmt::format(".{}.{}.{}", path.filename().string().substr(0, 200), ::getpid(), i);
    out.fd_ = ::open(out.temporary_.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0666);
    if (out.fd_ < 0 && errno != EEXIST) break;
  }
  if (out.fd_ < 0) {
    const Status status = cannot("write", path);
    out.temporary_.clear();
    return status;
  }
  out.path_ = path;
  out.pending_.reserve(kBuffer);
  return out;
}

OutputFile::OutputFile(OutputFile&& other) noexcept { *this = std::move(other); }

OutputFile& OutputFile::operator=(OutputFile&& other) noexcept {
  std::swap(path_, other.path_);
  std::swap(temporary_, other.temporary_);
  std::swap(fd_, other.fd_);
  std::swap(size_, other.size_);
  std::swap(pending_, other.pending_);
  return *this;
}

OutputFile::~OutputFile() {
  if (fd_ >= 0) ::close(fd_);
  if (!temporary_.empty()) ::unlink(temporary_.c_str());
}

namespace {

Status write_all(int fd, std::span<const std::byte> bytes, const fs::path& path) {
  while (!bytes.empty()) {
    const ssize_t n = ::write(fd, bytes.data(), std::min(bytes.size(), size_t{1} << 30));
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) return cannot("write", path);
    bytes = bytes.subspan(static_cast<size_t>(n));
  }
  return {};
}

}  // namespace

Status OutputFile::flush() {
  TENON_RETURN_IF_ERROR(write_all(fd_, pending_, path_));
  pending_.clear();
  return {};
}

Status OutputFile::write(std::span<const std::byte> bytes) {
  size_ += bytes.size();
  if (pending_.size() + bytes.size() > kBuffer) TENON_RETURN_IF_ERROR(flush());
  if (bytes.size() > kBuffer) return write_all(fd_, bytes, path_);
  pending_.insert(pending_.end(), bytes.begin(), bytes.end());
  return {};
}

Status OutputFile::pad_to(uint64_t offset) {
  static constexpr std::byte kZeros[kPage] = {};
  while (size_ < offset) TENON_RETURN_IF_ERROR(write({kZeros, static_cast<size_t>(std::min(offset - size_, kPage))}));
  return {};
}

Status OutputFile::commit() {
  TENON_RETURN_IF_ERROR(flush());
  const int closed = ::close(std::exchange(fd_, -1));
  if (closed != 0) return cannot("write", path_);
  if (::rename(temporary_.c_str(), path_.c_str()) != 0) return cannot("rename", path_);
  temporary_.clear();
  return {};
}

namespace {

class Placer {
 public:
  Placer(std::span<const Tensor> tensors, const std::string& location) : tensors_(tensors), location_(location) {}

  void graph(onnx::GraphProto& graph) {
    for (onnx::TensorProto& tensor : *graph.mutable_initializer()) place(tensor);
    for (onnx::NodeProto& node : *graph.mutable_node())
      for (onnx::AttributeProto& attribute : *node.mutable_attribute())
        if (attribute.has_g()) this->graph(*attribute.mutable_g());
  }

  ExternalLayout take() { return std::move(layout_); }

 private:
  void place(onnx::TensorProto& proto) {
    const auto number = unknown_varint(proto, kRawOffsetField);
    if (!number || tensors_[*number].bytes() < kSmallest) return;
    const Tensor& tensor = tensors_[*number];
    const auto [at, is_new] = offsets_.try_emplace({tensor.data(), tensor.bytes()}, end_);
    if (is_new) {
      layout_.tensors.push_back({static_cast<size_t>(*number), end_});
      end_ = (end_ + tensor.bytes() + kPage - 1) / kPage * kPage;
    }
    proto.GetReflection()->MutableUnknownFields(&proto)->Clear();
    proto.set_data_location(onnx::TensorProto::EXTERNAL);
    const std::pair<const char*, std::string> entries[] = {
        {"location", location_}, {"offset", std::to_string(at->second)}, {"length", std::to_string(tensor.bytes())}};
    for (const auto& [key, value] : entries) {
      onnx::StringStringEntryProto* entry = proto.add_external_data();
      entry->set_key(key);
      entry->set_value(value);
    }
  }

  std::span<const Tensor> tensors_;
  const std::string& location_;
  std::map<std::pair<const std::byte*, size_t>, uint64_t> offsets_;
  uint64_t end_ = 0;
  ExternalLayout layout_;
};

}  // namespace

Result<ExternalLayout> place_externally(onnx::ModelProto& model, std::span<const Tensor> tensors,
                                        const std::string& location) {
  if (location.find_first_of("\\:") != std::string::npos)
    return Status(Code::kInvalidArgument, "readers refuse external data whose name has a backslash or a colon",
                  location, "name another file");
  Placer placer(tensors, location);
  placer.graph(*model.mutable_graph());
  return placer.take();
}

Status write_external(const ExternalLayout& layout, std::span<const Tensor> tensors, OutputFile& file) {
  for (const auto& [tensor, offset] : layout.tensors) {
    TENON_RETURN_IF_ERROR(file.pad_to(offset));
    TENON_RETURN_IF_ERROR(file.write({tensors[tensor].data(), tensors[tensor].bytes()}));
  }
  return {};
}

}  // namespace tenon::frontend
