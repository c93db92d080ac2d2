#include "tests/aarch64/emulator/emulator.h"

#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>

namespace tenon::emulator {
namespace {

struct Emulated {
  std::string_view target, processor;
};
constexpr Emulated kEmulated[] = {{"aarch64", "cortex-a72"}, {"aarch64+dotprod", "cortex-a76"}, {"aarch64+dotprod+i8mm+bf16", "max"}};

Status failed(const char* what) { return error(Code::kIo, "{}: {}", what, std::strerror(errno)); }

bool transfer(auto function, int file, auto* data, size_t bytes) {
  while (bytes > 0) {
    const ssize_t done = function(file, data, bytes);
    if (done < 0 && errno == EINTR) continue;
    if (done <= 0) return false;
    data += done;
    bytes -= static_cast<size_t>(done);
  }
  return true;
}

std::string_view bytes_of(const auto& values) { return {reinterpret_cast<const char*>(std::data(values)), std::size(values) * sizeof *std::data(values)}; }

}  // namespace

std::span<const std::string_view> targets() {
  static const auto names = [] {
    std::array<std::string_view, std::size(kEmulated)> out;
    for (size_t i = 0; i < out.size(); ++i) out[i] = kEmulated[i].target;
    return out;
  }();
  return names;
}

Status Emulator::available() {
  constexpr std::string_view kQemu = TENON_QEMU_AARCH64, kRunner = TENON_AARCH64_RUNNER;
  if (kQemu.empty()) return Status(Code::kUnsupported, "no qemu-aarch64 was found", "", "install qemu-user");
  if (kRunner.empty()) return Status(Code::kUnsupported, "no compiler for aarch64 was found", "", "install g++-aarch64-linux-gnu");
  return {};
}

Result<std::shared_ptr<Emulator>> Emulator::start(std::string_view target) {
  TENON_RETURN_IF_ERROR(available());
  const auto* found = std::find_if(std::begin(kEmulated), std::end(kEmulated), [&](const Emulated& e) { return e.target == target; });
  if (found == std::end(kEmulated)) return error(Code::kInvalidArgument, "no processor to emulate {}", target);
  std::shared_ptr<Emulator> out(new Emulator);
  out->file_ = ::memfd_create("emulated", MFD_CLOEXEC);
  int in[2], back[2];
  if (out->file_ < 0 || ::pipe2(in, O_CLOEXEC) != 0) return failed("pipe");
  out->to_ = in[1];
  if (::pipe2(back, O_CLOEXEC) != 0) return failed("pipe");
  out->from_ = back[0];
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_adddup2(&actions, in[0], STDIN_FILENO);
  posix_spawn_file_actions_adddup2(&actions, back[1], STDOUT_FILENO);
  posix_spawn_file_actions_adddup2(&actions, out->file_, kSharedFile);
  const std::string processor(found->processor);
  const char* const arguments[] = {TENON_QEMU_AARCH64, "-cpu", processor.c_str(), TENON_AARCH64_RUNNER, nullptr};
  const int refused = ::posix_spawn(&out->process_, TENON_QEMU_AARCH64, &actions, nullptr, const_cast<char* const*>(arguments), environ);
  posix_spawn_file_actions_destroy(&actions);
  ::close(in[0]);
  ::close(back[1]);
  if (refused != 0) {
    out->process_ = -1;
    return error(Code::kIo, "{}: {}", TENON_QEMU_AARCH64, std::strerror(refused));
  }
  ::signal(SIGPIPE, SIG_IGN);
  return out;
}

Result<std::shared_ptr<Emulator>> Emulator::shared(std::string_view target) {
  static std::map<std::string, std::shared_ptr<Emulator>, std::less<>> running;
  static pid_t owner = ::getpid();
  if (owner != ::getpid()) {  // a fork must not speak in its parent's place; neither may it end what the parent started
    for (auto& [name, emulator] : running) new std::shared_ptr<Emulator>(std::move(emulator));
    running.clear();
    owner = ::getpid();
  }
  std::shared_ptr<Emulator>& emulator = running[std::string(target)];
  if (emulator == nullptr) {
    TENON_ASSIGN_OR_RETURN(emulator, start(target));
  }
  return emulator;
}

Emulator::~Emulator() {
  for (const auto& [data, region] : regions_) ::munmap(region.mapped, region.bytes);
  for (const int file : {to_, from_, file_})
    if (file >= 0) ::close(file);
  if (process_ > 0) ::waitpid(process_, nullptr, 0);
}

Result<Answer> Emulator::ask(Request request, std::span<const std::string_view> payload, std::string* text) {
  for (std::string_view part : payload) request.bytes += static_cast<uint32_t>(part.size());
  bool well = transfer(::write, to_, reinterpret_cast<const char*>(&request), sizeof request);
  for (std::string_view part : payload) well = well && transfer(::write, to_, part.data(), part.size());
  Answer answer;
  well = well && transfer(::read, from_, reinterpret_cast<char*>(&answer), sizeof answer);
  std::string message(well ? answer.bytes : 0, '\0');
  well = well && transfer(::read, from_, message.data(), message.size());
  if (!well) {
    int status = 0;
    if (process_ > 0 && ::waitpid(process_, &status, 0) == process_) process_ = -1;
    return error(Code::kInternal, "the emulated process died{}", WIFSIGNALED(status) ? fmt::format(" of signal {}", WTERMSIG(status)) : "");
  }
  if (answer.failed != 0) return error(Code::kInternal, "{}", message);
  if (text != nullptr) *text = std::move(message);
  return answer;
}

Result<std::string> Emulator::features() {
  std::string text;
  TENON_RETURN_IF_ERROR(ask({.ask = Ask::kTarget}, {}, &text).status());
  return text;
}

Result<int32_t> Emulator::link(std::string_view object, std::string_view kernel) {
  const std::string name = std::string(kernel) + '\0';
  const std::string_view payload[] = {name, object};
  TENON_ASSIGN_OR_RETURN(const Answer answer, ask({.ask = Ask::kLink}, payload));
  return answer.number;
}

Result<std::shared_ptr<Buffer>> Emulator::allocate(size_t bytes, size_t alignment) {
  const auto page = static_cast<size_t>(::sysconf(_SC_PAGESIZE));
  const size_t used = (bytes + alignment - 1) / alignment * alignment, mapped = (std::max<size_t>(used, 1) + page - 1) / page * page;
  if (::ftruncate(file_, file_end_ + static_cast<int64_t>(mapped)) != 0) return failed("memory");
  void* memory = ::mmap(nullptr, mapped, PROT_READ | PROT_WRITE, MAP_SHARED, file_, file_end_);
  if (memory == MAP_FAILED) return failed("memory");
  const Region region{regions_made_++, static_cast<std::byte*>(memory), mapped};
  const Request request{.ask = Ask::kMap, .a = region.number, .b = file_end_, .c = static_cast<int64_t>(mapped)};
  file_end_ += static_cast<int64_t>(mapped);
  if (auto mapping = ask(request, {}); !mapping.ok()) {
    ::munmap(memory, mapped);
    return mapping.status();
  }
  regions_.emplace(region.mapped, region);
  const std::shared_ptr<const void> owner(memory, [self = shared_from_this()](void* data) { self->release(static_cast<std::byte*>(data)); });
  return Buffer::borrow(region.mapped + (mapped - used), bytes, owner);
}

// Places in the file are not used again; the pages of what was freed go back.
void Emulator::release(std::byte* data) {
  const auto found = regions_.find(data);
  const Region region = found->second;
  regions_.erase(found);
  ::madvise(region.mapped, region.bytes, MADV_REMOVE);
  ::munmap(region.mapped, region.bytes);
  (void)ask({.ask = Ask::kUnmap, .a = region.number}, {});
}

std::optional<Place> Emulator::place_of(const std::byte* data) const {
  auto after = regions_.upper_bound(data);
  if (after == regions_.begin()) return std::nullopt;
  const auto& [begin, region] = *std::prev(after);
  const auto offset = static_cast<size_t>(data - begin);
  if (offset > region.bytes) return std::nullopt;  // of no bytes, it may lie at the end
  return Place{region.number, static_cast<int64_t>(offset)};
}

Result<int32_t> Emulator::run(int32_t kernel, std::span<const Place> bindings, std::span<const int64_t> dims, int64_t begin, int64_t end) {
  const std::string_view payload[] = {bytes_of(bindings), bytes_of(dims)};
  TENON_ASSIGN_OR_RETURN(const Answer answer,
                         ask({.ask = Ask::kRun, .a = kernel, .b = static_cast<int64_t>(bindings.size()), .c = begin, .d = end}, payload));
  return answer.number;
}

}  // namespace tenon::emulator
