#include "support/file_mapping.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cinttypes>
#include <cstdint>
#include <cstdio>
#include <fstream>
#include <string>
#include <system_error>

#include "support/large_pages.h"

namespace tenon {
namespace {

constexpr size_t kPart = 8 * kLargePage;        // is copied at a time, and held twice meanwhile
constexpr size_t kWorthIt = 16 * kLargePage;

std::byte* round_up(void* at) {
  return reinterpret_cast<std::byte*>((reinterpret_cast<uintptr_t>(at) + kLargePage - 1) / kLargePage * kLargePage);
}

/// Bytes of the mapping that begins there which lie in large pages of the file, as /proc/self/smaps tells; 0 where that says nothing.
size_t in_large_pages(const void* begin) {
  std::ifstream maps("/proc/self/smaps");
  bool here = false;
  for (std::string line; std::getline(maps, line);) {
    uintptr_t first = 0, last = 0;
    size_t kib = 0;
    if (std::sscanf(line.c_str(), "%" SCNxPTR "-%" SCNxPTR " ", &first, &last) == 2) here = first == reinterpret_cast<uintptr_t>(begin);
    else if (here && std::sscanf(line.c_str(), "FilePmdMapped: %zu kB", &kib) == 1) return kib << 10;
  }
  return 0;
}

bool system_has_large_pages() {
  std::string modes;
  std::getline(std::ifstream("/sys/kernel/mm/transparent_hugepage/enabled"), modes);
  return !modes.empty() && modes.find("[never]") == modes.npos;
}

bool read_at(int file, std::byte* to, size_t bytes, size_t offset) {
  while (bytes > 0) {
    const ssize_t n = ::pread(file, to, bytes, static_cast<off_t>(offset));
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) return false;
    to += n;
    offset += static_cast<size_t>(n);
    bytes -= static_cast<size_t>(n);
  }
  return true;
}

}  // namespace

std::shared_ptr<FileMapping> FileMapping::of(int file, size_t offset, size_t bytes) {
  std::shared_ptr<FileMapping> out(new FileMapping);
  const size_t room = bytes + kLargePage;
  void* reserved = ::mmap(nullptr, room, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (reserved == MAP_FAILED) return nullptr;
  out->reserved_ = reserved;
  out->room_ = room;
  out->data_ = round_up(reserved);
  out->bytes_ = bytes;
  out->offset_ = offset;
  if (::mmap(out->data_, bytes, PROT_READ, MAP_PRIVATE | MAP_FIXED, file, static_cast<off_t>(offset)) == MAP_FAILED) return nullptr;
  ::madvise(out->data_, bytes, MADV_HUGEPAGE);
  if (bytes < kWorthIt) return out;
  out->file_ = ::fcntl(file, F_DUPFD_CLOEXEC, 0);
  try {
    if (out->file_ >= 0) out->thread_ = std::thread([mapping = out.get()] { mapping->work(); });
  } catch (const std::system_error&) {  // no more threads: it stays as it is
  }
  return out;
}

FileMapping::~FileMapping() {
  stop_ = true;
  settle();
  if (file_ >= 0) ::close(file_);
  if (reserved_ != nullptr) ::munmap(reserved_, room_);
}

bool FileMapping::settle() {
  if (thread_.joinable()) thread_.join();
  return copied_;
}

// Pages that are not there yet count as small ones, so they are brought first.
void FileMapping::work() {
  for (size_t at = 0; at < bytes_ && !stop_; at += kPart)
    if (::madvise(data_ + at, std::min(kPart, bytes_ - at), MADV_POPULATE_READ) != 0 && errno != EINVAL) return;
  const size_t whole = bytes_ / kLargePage * kLargePage;
  if (stop_ || in_large_pages(data_) >= whole / 8 * 7 || !system_has_large_pages()) return;
  for (size_t at = 0; at < whole && !stop_; at += kPart)
    if (!replace(at, std::min(kPart, whole - at))) return;
  copied_ = true;
}

// Readers see the same bytes before and after; one that comes while the pages move waits for the kernel's lock of the address space.
bool FileMapping::replace(size_t at, size_t bytes) {
  void* room = ::mmap(nullptr, bytes + kLargePage, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (room == MAP_FAILED) return false;
  std::byte* copy = round_up(room);
  ::madvise(copy, bytes, MADV_HUGEPAGE);
  const bool moved = read_at(file_, copy, bytes, offset_ + at) && ::mprotect(copy, bytes, PROT_READ) == 0 &&
                     ::mremap(copy, bytes, bytes, MREMAP_MAYMOVE | MREMAP_FIXED, data_ + at) != MAP_FAILED;
  const auto before = static_cast<size_t>(copy - static_cast<std::byte*>(room));
  if (!moved) ::munmap(room, bytes + kLargePage);
  if (moved && before > 0) ::munmap(room, before);
  if (moved) ::munmap(copy + bytes, kLargePage - before);
  return moved;
}

}  // namespace tenon
