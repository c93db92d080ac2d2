#pragma once

#include <filesystem>
#include <memory>
#include <span>
#include <string_view>

#include "support/status.h"

namespace tenon::frontend {

/// Bytes that stay valid while `owner` lives.
struct Bytes {
  std::shared_ptr<const void> owner;
  std::span<const std::byte> span;
};

/// Files from this size on are mapped, smaller ones are copied. Who makes a mapped file shorter in place takes pages away from
/// the process that reads it, which then ends by SIGBUS; a file that is replaced by another of its name (rename) does no harm.
inline constexpr size_t kMapFrom = size_t{64} << 20;

/// The bytes of a regular file, mapped read-only or copied. kNotFound, kIo; kInvalidArgument for folders, FIFOs and devices.
Result<Bytes> map_file(const std::filesystem::path& file, size_t map_from = kMapFrom);

/// The folder that a model's external data must stay in. Relative locations are resolved beneath it by the kernel
/// (openat2 with RESOLVE_BENEATH) where that exists, else component by component without following any symlink. One
/// layout may leave the folder: a Hugging Face hub cache, `X/snapshots/REV/…` with the model itself a symlink into
/// `X/blobs`, may link to other files of the same `X/blobs`.
class ModelFolder {
 public:
  /// Of a model file; for models from memory, the folder that the caller gives.
  static Result<ModelFolder> of_model(const std::filesystem::path& model);
  static Result<ModelFolder> open(const std::filesystem::path& folder);

  /// The regular file at `location`, mapped from `map_from` bytes on. kInvalidModel for anything that is empty, absolute, leads out of the folder, has
  /// a second hard link, or is not a regular file.
  Result<Bytes> map(std::string_view location) const;
  size_t map_from = kMapFrom;

 private:
  struct Fd;
  std::shared_ptr<Fd> folder_;
  std::shared_ptr<Fd> hub_;             // X, when the model lies in a hub cache
  std::filesystem::path inside_hub_;    // the folder relative to X
  std::filesystem::path blobs_;         // canonical X/blobs
};

}  // namespace tenon::frontend
