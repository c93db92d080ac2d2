#pragma once

#include <atomic>
#include <cstddef>
#include <memory>
#include <thread>

namespace tenon {

/// Part of a file in memory, to be read often: the whole of its last page is, too. Writers must not shorten the file.
///
/// Memory in small pages is slower to read at random than in large ones. Files of some systems lie in large pages (Linux 6.16 for ext4,
/// when written in large, aligned parts); where this one does not, a thread copies it, part by part, into memory of large pages, which
/// takes the place of the mapping under its readers.
class FileMapping {
 public:
  /// `offset` is a multiple of a page. Null when the system refuses.
  static std::shared_ptr<FileMapping> of(int file, size_t offset, size_t bytes);
  ~FileMapping();
  FileMapping(const FileMapping&) = delete;
  FileMapping& operator=(const FileMapping&) = delete;

  std::byte* data() const { return data_; }
  /// Waits until the thread is through; whether it copied.
  bool settle();

 private:
  FileMapping() = default;
  void work();
  bool replace(size_t at, size_t bytes);

  std::byte* data_ = nullptr;
  size_t bytes_ = 0, offset_ = 0;
  void* reserved_ = nullptr;
  size_t room_ = 0;
  int file_ = -1;
  std::atomic<bool> stop_{false}, copied_{false};
  std::thread thread_;
};

}  // namespace tenon
