#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "eval/datasets/dataset.h"
#include "frontend/onnx/file.h"
#include "support/hash.h"

/// Files of data sets: listing, reading and decoding them.
namespace tenon::eval {

inline constexpr size_t kMaxFiles = 20'000'000;         // in one data set
inline constexpr size_t kMaxTextBytes = size_t{4} << 30;  // of a table or an index
inline constexpr int64_t kMaxClasses = 1'000'000;

/// The file that a table names: below `folder` also when symbolic links are followed. kInvalidArgument for names that are empty,
/// absolute or lead out of the folder; kNotFound.
Result<std::filesystem::path> resolve_beneath(const std::filesystem::path& folder, std::string_view name);

enum class Media : uint8_t { kNone, kImage, kAudio };
/// By the ending, upper or lower case.
Media media_of(const std::filesystem::path& file);

/// Names in a folder, sorted bytewise; those that begin with a dot are left out.
struct Listing {
  std::vector<std::string> folders, files;
};
Result<Listing> list_folder(const std::filesystem::path& folder);
/// Files of images or sounds at any depth below `folder`, as paths relative to it, sorted; symbolic links to folders are not followed.
Result<std::vector<std::string>> list_media(const std::filesystem::path& folder);

/// Decodes an image or a sound into fields (see Example). Errors name `source`.
Status read_media(const std::filesystem::path& file, const std::string& source, Fields& fields);
/// u8 [height, width, 3].
Result<Tensor> read_image(const std::filesystem::path& file);
/// u8 or u16 [height, width]: grey values or palette indices as they are stored.
Result<Tensor> read_mask(const std::filesystem::path& file);

/// Lines without their ends; blank ones at the end are dropped.
Result<std::vector<std::string>> read_lines(const std::filesystem::path& file);
/// Names of the classes: the option's file, else classes.txt or labels.txt in the folder when `optional_in` has one.
Result<std::vector<std::string>> read_classes(const DatasetOptions& options, const std::filesystem::path& optional_in);

/// What fingerprints are made of; copies of a data set have the same one, wherever they are. Of files that are examples, name and size
/// (0 where there is no file); of tables, indices and arrays, the name and up to kMaxHashed bytes as well.
inline constexpr size_t kMaxHashed = size_t{1} << 30;
void add_file(Hasher& hasher, std::string_view name, const std::filesystem::path& file);
void add_content(Hasher& hasher, std::string_view name, std::span<const std::byte> bytes);
void add_content(Hasher& hasher, const std::filesystem::path& file);

inline std::string_view text_of(std::span<const std::byte> bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}
Tensor text_tensor(std::string_view text);
/// A number in decimal, all of `text`.
std::optional<int64_t> to_integer(std::string_view text);
std::optional<double> to_number(std::string_view text);
/// Whether all of `text` is a number in decimal that is too large or too near to 0 for a double.
bool is_beyond_double(std::string_view text);

/// What all data sets keep.
class DatasetBase : public Dataset {
 public:
  const std::vector<std::string>& classes() const override { return classes_; }
  uint64_t fingerprint() const override { return fingerprint_; }

 protected:
  /// kOutOfRange when there is no such example.
  Status check_index(int64_t index) const;
  std::vector<std::string> classes_;
  uint64_t fingerprint_ = 0;
};

}  // namespace tenon::eval
