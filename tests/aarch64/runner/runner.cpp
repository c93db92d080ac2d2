// Runs kernels on the machine that it is compiled for, as asked over standard input (tests/aarch64/emulator/protocol.h).

#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>

#include <cstring>
#include <map>
#include <string>
#include <vector>

#include "codegen/target.h"
#include "runtime/native_code.h"
#include "tests/aarch64/emulator/protocol.h"

namespace tenon::emulator {
namespace {

bool read_all(void* to, size_t bytes) {
  auto* at = static_cast<char*>(to);
  while (bytes > 0) {
    const ssize_t got = ::read(STDIN_FILENO, at, bytes);
    if (got <= 0) return false;
    at += got;
    bytes -= static_cast<size_t>(got);
  }
  return true;
}

bool write_all(const void* from, size_t bytes) {
  const auto* at = static_cast<const char*>(from);
  while (bytes > 0) {
    const ssize_t done = ::write(STDOUT_FILENO, at, bytes);
    if (done <= 0) return false;
    at += done;
    bytes -= static_cast<size_t>(done);
  }
  return true;
}

struct Region {
  std::byte *reserved, *data;
  size_t reserved_bytes;
};

class Runner {
 public:
  /// The number of an answer; the text that goes with it is left in `text`.
  Result<int32_t> answer(const Request& request, const std::string& payload, std::string& text) {
    switch (request.ask) {
      case Ask::kTarget: {
        TENON_ASSIGN_OR_RETURN(const codegen::Target target, codegen::cpu_target("host"));
        text = target.features;
        return 0;
      }
      case Ask::kLink: return link(payload);
      case Ask::kMap: return map(request);
      case Ask::kUnmap: return unmap(request.a);
      case Ask::kRun: return run(request, payload);
    }
    return Status(Code::kInvalidArgument, "no such request");
  }

 private:
  Result<int32_t> link(const std::string& payload) {
    const std::string name = payload.c_str();
    const auto object = std::as_bytes(std::span(payload).subspan(name.size() + 1));
    TENON_ASSIGN_OR_RETURN(auto code, runtime::NativeCode::link({&object, 1}));
    const runtime::KernelFn function = code->find(name);
    if (function == nullptr) return error(Code::kNotFound, "no kernel {} in its object", name);
    code_.push_back(std::move(code));
    functions_.push_back(function);
    return static_cast<int32_t>(functions_.size()) - 1;
  }

  // Between pages that nobody may touch.
  Result<int32_t> map(const Request& request) {
    const auto page = static_cast<size_t>(::sysconf(_SC_PAGESIZE)), size = static_cast<size_t>(request.c);
    void* reserved = ::mmap(nullptr, size + 2 * page, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (reserved == MAP_FAILED) return Status(Code::kResourceExhausted, "no room for a region");
    auto* data = static_cast<std::byte*>(reserved) + page;
    if (::mmap(data, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, kSharedFile, request.b) == MAP_FAILED)
      return Status(Code::kResourceExhausted, "the shared file cannot be mapped");
    regions_[request.a] = {static_cast<std::byte*>(reserved), data, size + 2 * page};
    return 0;
  }

  Result<int32_t> unmap(int64_t region) {
    const auto found = regions_.find(region);
    if (found == regions_.end()) return Status(Code::kNotFound, "no such region");
    ::munmap(found->second.reserved, found->second.reserved_bytes);
    regions_.erase(found);
    return 0;
  }

  Result<int32_t> run(const Request& request, const std::string& payload) {
    const auto count = static_cast<size_t>(request.b);
    std::vector<Place> places(count);
    std::memcpy(places.data(), payload.data(), count * sizeof(Place));
    std::vector<int64_t> dims((payload.size() - count * sizeof(Place)) / sizeof(int64_t));
    std::memcpy(dims.data(), payload.data() + count * sizeof(Place), dims.size() * sizeof(int64_t));
    std::vector<void*> bindings;
    for (const Place& place : places) {
      const auto found = regions_.find(place.region);
      if (found == regions_.end()) return Status(Code::kNotFound, "no such region");
      bindings.push_back(found->second.data + place.offset);
    }
    return functions_.at(static_cast<size_t>(request.a))(bindings.data(), dims.data(), request.c, request.d);
  }

  std::vector<std::shared_ptr<const runtime::NativeCode>> code_;
  std::vector<runtime::KernelFn> functions_;
  std::map<int64_t, Region> regions_;
};

int serve() {
  Runner runner;
  Request request;
  std::string payload;
  while (read_all(&request, sizeof request)) {
    payload.resize(request.bytes);
    if (!read_all(payload.data(), payload.size())) return 1;
    std::string text;
    const Result<int32_t> number = runner.answer(request, payload, text);
    if (!number.ok()) text = number.status().to_string();
    const Answer answer{number.ok() ? 0 : 1, number.ok() ? *number : 0, static_cast<uint32_t>(text.size())};
    if (!write_all(&answer, sizeof answer) || !write_all(text.data(), text.size())) return 1;
  }
  return 0;
}

}  // namespace
}  // namespace tenon::emulator

int main() {
  const rlimit no_core{0, 0};
  ::setrlimit(RLIMIT_CORE, &no_core);  // of the emulator, where a kernel ends it
  return tenon::emulator::serve();
}
