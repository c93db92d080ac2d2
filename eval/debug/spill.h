#pragma once

#include <cstdint>
#include <string>
#include <unordered_map>

#include "support/status.h"
#include "support/tensor.h"

namespace tenon::eval {

/// Tensors by name, in a temporary file that only this process can open: it has no name, so the system removes it with the process,
/// however that ends. Not thread-safe.
class Spill {
 public:
  /// In the folder for temporary files (TMPDIR, else /tmp). kIo when there can be none.
  static Result<Spill> create(uint64_t max_bytes);
  Spill() = default;                  // holds nothing and takes nothing
  ~Spill();
  Spill(Spill&& other) noexcept;
  Spill& operator=(Spill&& other) noexcept;

  /// Keeps a copy, in place of an earlier one of that name. kResourceExhausted beyond max_bytes, kIo when the disk is full,
  /// kUnsupported for strings.
  Status put(const std::string& name, const Tensor& tensor);
  bool has(const std::string& name) const { return places_.contains(name); }
  /// kNotFound when there is none of that name.
  Result<Tensor> get(const std::string& name) const;
  uint64_t bytes() const { return end_; }
  size_t size() const { return places_.size(); }

 private:
  struct Place {
    uint64_t offset;
    DType dtype;
    Shape shape;
  };
  int fd_ = -1;
  uint64_t end_ = 0, max_bytes_ = 0;
  std::unordered_map<std::string, Place> places_;
};

}  // namespace tenon::eval
