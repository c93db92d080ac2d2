#include "eval/datasets/files.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <cstring>

#include "eval/datasets/audio_file.h"
#include "image/decode.h"

namespace tenon::eval {
namespace fs = std::filesystem;
namespace {

constexpr int kMaxDepth = 16;
constexpr std::array<std::string_view, 14> kImageEndings = {".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff",
                                                            ".ppm", ".pgm",  ".pbm", ".pnm", ".jp2", ".j2k", ".jpe"};
constexpr std::array<std::string_view, 8> kAudioEndings = {".wav", ".flac", ".ogg", ".oga", ".opus", ".aif", ".aiff", ".mp3"};

std::string lower_ending(const fs::path& file) {
  std::string ending = file.extension().string();
  for (char& c : ending) c = c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
  return ending;
}

image::Bytes image_bytes(std::span<const std::byte> bytes) { return {reinterpret_cast<const uint8_t*>(bytes.data()), bytes.size()}; }

Status cannot_list(const fs::path& folder, const std::error_code& ec) {
  return Status(Code::kNotFound, fmt::format("cannot list the folder: {}", ec.message()), folder.string(), "check the path");
}

Status list_below(const fs::path& root, const std::string& prefix, int depth, std::vector<std::string>& out) {
  if (depth > kMaxDepth)
    return Status(Code::kResourceExhausted, fmt::format("folders are nested more than {} deep", kMaxDepth), (root / prefix).string());
  TENON_ASSIGN_OR_RETURN(const Listing listing, list_folder(root / prefix));
  for (const std::string& name : listing.files) {
    if (media_of(name) == Media::kNone) continue;
    if (out.size() >= kMaxFiles) return Status(Code::kResourceExhausted, fmt::format("more than {} files", kMaxFiles), root.string());
    out.push_back(prefix + name);
  }
  for (const std::string& name : listing.folders) {
    std::error_code ec;
    if (fs::is_symlink(root / (prefix + name), ec)) continue;
    TENON_RETURN_IF_ERROR(list_below(root, prefix + name + "/", depth + 1, out));
  }
  return {};
}

}  // namespace

Result<fs::path> resolve_beneath(const fs::path& folder, std::string_view name) {
  const auto refuse = [&](std::string_view why) {
    return Status(Code::kInvalidArgument, fmt::format("the file name '{}' {}", name, why), {}, "name files of the data set's folder");
  };
  if (name.empty() || name.find('\0') != name.npos) return refuse("is empty or has a zero byte");
  const fs::path relative(name);
  if (relative.is_absolute()) return refuse("is absolute");
  for (const fs::path& part : relative)
    if (part == "..") return refuse("leads out of the data set's folder");
  std::error_code ec;
  const fs::path root = fs::canonical(folder, ec);
  if (ec) return Status(Code::kNotFound, "the folder is not there", folder.string(), "check the path");
  const fs::path file = fs::canonical(root / relative, ec);
  if (ec) return Status(Code::kNotFound, fmt::format("there is no file '{}'", name), folder.string(), "check the table");
  if (std::mismatch(root.begin(), root.end(), file.begin(), file.end()).first != root.end())
    return refuse("leads out of the data set's folder");
  return file;
}

Media media_of(const fs::path& file) {
  const std::string ending = lower_ending(file);
  if (std::find(kImageEndings.begin(), kImageEndings.end(), ending) != kImageEndings.end()) return Media::kImage;
  if (std::find(kAudioEndings.begin(), kAudioEndings.end(), ending) != kAudioEndings.end()) return Media::kAudio;
  return Media::kNone;
}

Result<Listing> list_folder(const fs::path& folder) {
  Listing out;
  std::error_code ec;
  fs::directory_iterator it(folder, ec);
  for (; !ec && it != fs::directory_iterator(); it.increment(ec)) {
    std::string name = it->path().filename().string();
    if (name.starts_with(".")) continue;
    std::error_code kind;
    if (it->is_directory(kind)) out.folders.push_back(std::move(name));
    else if (it->is_regular_file(kind)) out.files.push_back(std::move(name));
    if (out.folders.size() + out.files.size() > kMaxFiles)
      return Status(Code::kResourceExhausted, fmt::format("more than {} files", kMaxFiles), folder.string());
  }
  if (ec) return cannot_list(folder, ec);
  std::sort(out.folders.begin(), out.folders.end());
  std::sort(out.files.begin(), out.files.end());
  return out;
}

Result<std::vector<std::string>> list_media(const fs::path& folder) {
  std::vector<std::string> out;
  TENON_RETURN_IF_ERROR(list_below(folder, "", 0, out));
  return out;
}

Result<Tensor> read_image(const fs::path& file) {
  TENON_ASSIGN_OR_RETURN(const frontend::Bytes bytes, frontend::map_file(file));
  TENON_ASSIGN_OR_RETURN(image::Image image, image::decode(image_bytes(bytes.span)));
  auto owner = std::make_shared<std::vector<uint8_t>>(std::move(image.pixels));
  return Tensor::view(DType::kU8, {image.height, image.width, 3}, Buffer::borrow(owner->data(), owner->size(), owner));
}

Result<Tensor> read_mask(const fs::path& file) {
  TENON_ASSIGN_OR_RETURN(const frontend::Bytes bytes, frontend::map_file(file));
  TENON_ASSIGN_OR_RETURN(image::Plane plane, image::decode_plane(image_bytes(bytes.span)));
  const bool wide = plane.bits > 8;
  TENON_ASSIGN_OR_RETURN(Tensor out, Tensor::empty(wide ? DType::kU16 : DType::kU8, {plane.height, plane.width}));
  if (wide) std::copy(plane.values.begin(), plane.values.end(), out.mutable_span<uint16_t>().begin());
  else std::transform(plane.values.begin(), plane.values.end(), out.mutable_span<uint8_t>().begin(), [](uint16_t v) { return static_cast<uint8_t>(v); });
  return out;
}

Status read_media(const fs::path& file, const std::string& source, Fields& fields) {
  if (media_of(file) == Media::kAudio) {
    Result<frontend::Bytes> bytes = frontend::map_file(file);
    if (!bytes.ok()) return std::move(bytes).status().at(source);
    Result<Sound> sound = decode_audio(bytes->span);
    if (!sound.ok()) return std::move(sound).status().at(source);
    fields["audio"] = std::move(sound->samples);
    fields["rate"] = Tensor::scalar<int64_t>(sound->rate);
    return {};
  }
  Result<Tensor> image = read_image(file);
  if (!image.ok()) return std::move(image).status().at(source);
  fields["image"] = std::move(image).value();
  return {};
}

Result<std::vector<std::string>> read_lines(const fs::path& file) {
  TENON_ASSIGN_OR_RETURN(const frontend::Bytes bytes, frontend::map_file(file));
  if (bytes.span.size() > kMaxTextBytes)
    return Status(Code::kResourceExhausted, fmt::format("the file is larger than {} bytes", kMaxTextBytes), file.string());
  std::string_view text = text_of(bytes.span);
  if (text.starts_with("\xef\xbb\xbf")) text.remove_prefix(3);
  std::vector<std::string> out;
  while (!text.empty()) {
    const size_t end = std::min(text.find('\n'), text.size());
    std::string_view line = text.substr(0, end);
    if (line.ends_with('\r')) line.remove_suffix(1);
    out.emplace_back(line);
    text.remove_prefix(std::min(end + 1, text.size()));
  }
  while (!out.empty() && out.back().empty()) out.pop_back();
  return out;
}

Result<std::vector<std::string>> read_classes(const DatasetOptions& options, const fs::path& optional_in) {
  fs::path file = options.classes;
  if (file.empty()) {
    std::error_code ec;
    for (const char* name : {"classes.txt", "labels.txt"})
      if (file.empty() && !optional_in.empty() && fs::is_regular_file(optional_in / name, ec)) file = optional_in / name;
    if (file.empty()) return std::vector<std::string>();
  }
  TENON_ASSIGN_OR_RETURN(std::vector<std::string> names, read_lines(file));
  if (static_cast<int64_t>(names.size()) > kMaxClasses)
    return Status(Code::kResourceExhausted, fmt::format("more than {} classes", kMaxClasses), file.string());
  return names;
}

void add_file(Hasher& hasher, std::string_view name, const fs::path& file) {
  std::error_code ec;
  const uintmax_t size = fs::file_size(file, ec);
  hasher.add(name).add(ec ? uint64_t{0} : static_cast<uint64_t>(size));
}

void add_content(Hasher& hasher, std::string_view name, std::span<const std::byte> bytes) {
  hasher.add(name).add(static_cast<uint64_t>(bytes.size())).bytes(bytes.first(std::min(bytes.size(), kMaxHashed)));
}

void add_content(Hasher& hasher, const fs::path& file) {
  const Result<frontend::Bytes> bytes = frontend::map_file(file);
  add_content(hasher, file.filename().string(), bytes.ok() ? bytes->span : std::span<const std::byte>());
}

Tensor text_tensor(std::string_view text) { return std::move(Tensor::strings({}, {std::string(text)})).value(); }

std::optional<int64_t> to_integer(std::string_view text) {
  int64_t value = 0;
  const auto [end, ec] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (ec != std::errc() || end != text.data() + text.size()) return std::nullopt;
  return value;
}

std::optional<double> to_number(std::string_view text) {
  double value = 0;
  if (text.starts_with('+')) text.remove_prefix(1);
  const auto [end, ec] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (ec != std::errc() || end != text.data() + text.size()) return std::nullopt;
  return value;
}

bool is_beyond_double(std::string_view text) {
  double value = 0;
  if (text.starts_with('+')) text.remove_prefix(1);
  const auto [end, ec] = std::from_chars(text.data(), text.data() + text.size(), value);
  return ec == std::errc::result_out_of_range && end == text.data() + text.size();
}

Status DatasetBase::check_index(int64_t index) const {
  if (index >= 0 && index < size()) return {};
  return error(Code::kOutOfRange, "there is no example {}; the data set has {}", index, size());
}

}  // namespace tenon::eval
