#include "eval/bench/outputs.h"

#include <unistd.h>

#include <cerrno>

namespace tenon::eval {
namespace {

struct Header {
  uint8_t present = 0;
  uint8_t dtype = 0;
  uint16_t rank = 0;
};

Status write_all(int fd, const void* data, size_t bytes) {
  for (auto at = static_cast<const char*>(data); bytes > 0;) {
    const ssize_t n = ::write(fd, at, bytes);
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) return error(Code::kIo, "cannot pass outputs to another process");
    at += n;
    bytes -= static_cast<size_t>(n);
  }
  return {};
}

Status read_all(int fd, void* data, size_t bytes) {
  for (auto at = static_cast<char*>(data); bytes > 0;) {
    const ssize_t n = ::read(fd, at, bytes);
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) return error(Code::kIo, "outputs of another process are cut short");
    at += n;
    bytes -= static_cast<size_t>(n);
  }
  return {};
}

Result<HostValue> load_output(int fd) {
  Header header;
  TENON_RETURN_IF_ERROR(read_all(fd, &header, sizeof header));
  if (header.present == 0) return HostValue();
  Shape shape(header.rank);
  TENON_RETURN_IF_ERROR(read_all(fd, shape.data(), shape.size() * sizeof(int64_t)));
  TENON_ASSIGN_OR_RETURN(Tensor tensor, Tensor::empty(static_cast<DType>(header.dtype), std::move(shape)));
  if (tensor.bytes() > 0) TENON_RETURN_IF_ERROR(read_all(fd, tensor.mutable_data(), tensor.bytes()));
  return HostValue(std::move(tensor));
}

}  // namespace

Status save_outputs(int fd, std::span<const HostValue> outputs) {
  const uint64_t count = outputs.size();
  TENON_RETURN_IF_ERROR(write_all(fd, &count, sizeof count));
  for (const HostValue& output : outputs) {
    const auto* tensor = std::get_if<Tensor>(&output);
    const bool present = tensor != nullptr && tensor->dtype() != DType::kString;
    const Header header{present, present ? static_cast<uint8_t>(tensor->dtype()) : uint8_t{0}, present ? static_cast<uint16_t>(tensor->rank()) : uint16_t{0}};
    TENON_RETURN_IF_ERROR(write_all(fd, &header, sizeof header));
    if (!present) continue;
    TENON_RETURN_IF_ERROR(write_all(fd, tensor->shape().data(), tensor->shape().size() * sizeof(int64_t)));
    TENON_RETURN_IF_ERROR(write_all(fd, tensor->data(), tensor->bytes()));
  }
  return {};
}

Result<std::vector<HostValue>> load_outputs(int fd) {
  ::lseek(fd, 0, SEEK_SET);
  uint64_t count = 0;
  TENON_RETURN_IF_ERROR(read_all(fd, &count, sizeof count));
  std::vector<HostValue> out;
  for (uint64_t i = 0; i < count; ++i) {
    TENON_ASSIGN_OR_RETURN(HostValue value, load_output(fd));
    out.push_back(std::move(value));
  }
  return out;
}

}  // namespace tenon::eval
