// Folders of images or sounds: a folder a class, labels in names, masks beside images.

#include <algorithm>
#include <map>
#include <set>

#include "eval/datasets/files.h"
#include "eval/datasets/forms.h"

namespace tenon::eval {
namespace {

Status nothing_there(const paths::path& folder) {
  return Status(Code::kInvalidArgument, "there are no images or sounds", folder.string(), "check the path");
}

class LabelledFiles final : public DatasetBase {
 public:
  LabelledFiles(paths::path folder, std::vector<std::string> files, std::vector<int64_t> labels, std::vector<std::string> classes)
      : folder_(std::move(folder)), files_(std::move(files)), labels_(std::move(labels)) {
    classes_ = std::move(classes);
    Hasher hasher;
    for (const std::string& file : files_) add_file(hasher, file, folder_ / file);
    for (const std::string& name : classes_) hasher.add(name);
    fingerprint_ = hasher.digest64();
  }

  int64_t size() const override { return static_cast<int64_t>(files_.size()); }
  std::string source(int64_t index) const override {
    return index < 0 || index >= size() ? folder_.string() : files_[static_cast<size_t>(index)];
  }
  Result<Example> read(int64_t index) const override {
    TENON_RETURN_IF_ERROR(check_index(index));
    Example out{index, source(index), {}};
    if (!labels_.empty()) {
      const int64_t label = labels_[static_cast<size_t>(index)];
      out.fields["label"] = Tensor::scalar(label);
      if (label < static_cast<int64_t>(classes_.size())) out.fields["label_name"] = text_tensor(classes_[static_cast<size_t>(label)]);
    }
    TENON_RETURN_IF_ERROR(read_media(folder_ / out.source, out.source, out.fields));
    return out;
  }

 private:
  paths::path folder_;
  std::vector<std::string> files_;
  std::vector<int64_t> labels_;
};

/// What {label} stands for in `name`: as short as possible, and nothing when the pattern does not fit.
std::optional<std::string_view> label_in(std::string_view name, std::string_view before, std::string_view after) {
  const auto matches = [](std::string_view pattern, std::string_view text) {
    size_t p = 0, t = 0, star = pattern.npos, resumed = 0;
    while (t < text.size()) {
      if (p < pattern.size() && pattern[p] == '*') star = p++, resumed = t;
      else if (p < pattern.size() && pattern[p] == text[t]) ++p, ++t;
      else if (star != pattern.npos) p = star + 1, t = ++resumed;
      else return false;
    }
    while (p < pattern.size() && pattern[p] == '*') ++p;
    return p == pattern.size();
  };
  for (size_t begin = 0; begin < name.size(); ++begin) {
    if (!matches(before, name.substr(0, begin))) continue;
    for (size_t end = begin + 1; end <= name.size(); ++end)
      if (matches(after, name.substr(end))) return name.substr(begin, end - begin);
  }
  return std::nullopt;
}

/// Numbers for names: the classes' own, else the whole numbers that all of them are, else their sorted order.
Result<std::vector<int64_t>> number(const std::vector<std::string>& names, std::vector<std::string>& classes) {
  std::vector<int64_t> out;
  if (!classes.empty()) {
    std::map<std::string_view, int64_t> numbers;
    for (size_t i = 0; i < classes.size(); ++i) numbers.emplace(classes[i], static_cast<int64_t>(i));
    for (const std::string& name : names) {
      const auto found = numbers.find(name);
      if (found == numbers.end())
        return Status(Code::kInvalidArgument, fmt::format("the label '{}' is none of the {} classes", name, classes.size()), {},
                      "correct the file of class names");
      out.push_back(found->second);
    }
    return out;
  }
  for (const std::string& name : names) {
    const auto value = to_integer(name);
    if (!value || *value < 0 || *value >= kMaxClasses) break;
    out.push_back(*value);
  }
  if (out.size() == names.size()) return out;
  const std::set<std::string> sorted(names.begin(), names.end());
  if (static_cast<int64_t>(sorted.size()) > kMaxClasses) return error(Code::kResourceExhausted, "more than {} classes", kMaxClasses);
  classes.assign(sorted.begin(), sorted.end());
  return number(names, classes);
}

class Masks final : public DatasetBase {
 public:
  Masks(paths::path folder, std::vector<std::pair<std::string, std::string>> files, std::vector<std::string> classes)
      : folder_(std::move(folder)), files_(std::move(files)) {
    classes_ = std::move(classes);
    Hasher hasher;
    for (const auto& [image, mask] : files_) {
      add_file(hasher, image, folder_ / image);
      add_file(hasher, mask, folder_ / mask);
    }
    fingerprint_ = hasher.digest64();
  }
  int64_t size() const override { return static_cast<int64_t>(files_.size()); }
  std::string source(int64_t index) const override {
    return index < 0 || index >= size() ? folder_.string() : files_[static_cast<size_t>(index)].first;
  }
  Result<Example> read(int64_t index) const override {
    TENON_RETURN_IF_ERROR(check_index(index));
    const auto& [image, mask] = files_[static_cast<size_t>(index)];
    Example out{index, image, {}};
    TENON_RETURN_IF_ERROR(read_media(folder_ / image, image, out.fields));
    Result<Tensor> plane = read_mask(folder_ / mask);
    if (!plane.ok()) return std::move(plane).status().at(mask);
    const Tensor& pixels = std::get<Tensor>(out.fields["image"]);
    if (plane->dim(0) != pixels.dim(0) || plane->dim(1) != pixels.dim(1))
      return Status(Code::kInvalidArgument,
                    fmt::format("the mask has {} pixels, its image {} x {}", to_string(plane->shape()), pixels.dim(0), pixels.dim(1)), mask,
                    "give a mask of the image's size");
    out.fields["mask"] = std::move(plane).value();
    return out;
  }

 private:
  paths::path folder_;
  std::vector<std::pair<std::string, std::string>> files_;
};

std::string stem_of(const std::string& file) { return paths::path(file).replace_extension().generic_string(); }

}  // namespace

DatasetResult open_class_folders(const paths::path& folder, const DatasetOptions& options) {
  TENON_ASSIGN_OR_RETURN(const Listing listing, list_folder(folder));
  TENON_ASSIGN_OR_RETURN(std::vector<std::string> classes, read_classes(options, folder));
  const bool given = !classes.empty();
  if (!given) classes = listing.folders;
  if (static_cast<int64_t>(classes.size()) > kMaxClasses)
    return Status(Code::kResourceExhausted, fmt::format("more than {} classes", kMaxClasses), folder.string());
  std::map<std::string_view, int64_t> numbers;
  for (size_t i = 0; i < classes.size(); ++i) numbers.emplace(classes[i], static_cast<int64_t>(i));
  std::vector<std::string> files;
  std::vector<int64_t> labels;
  for (const std::string& name : listing.folders) {
    TENON_ASSIGN_OR_RETURN(const std::vector<std::string> below, list_media(folder / name));
    if (below.empty()) continue;
    const auto label = numbers.find(name);
    if (label == numbers.end())
      return Status(Code::kInvalidArgument, fmt::format("the folder '{}' is none of the {} classes", name, classes.size()), folder.string(),
                    "correct the file of class names");
    for (const std::string& file : below) {
      files.push_back(name + "/" + file);
      labels.push_back(label->second);
    }
  }
  if (files.empty()) return nothing_there(folder);
  return DatasetResult(std::make_unique<LabelledFiles>(folder, std::move(files), std::move(labels), std::move(classes)));
}

DatasetResult open_named_files(const paths::path& folder, const DatasetOptions& options) {
  constexpr std::string_view kLabel = "{label}";
  const std::string pattern = options.pattern.empty() ? "{label}_*" : options.pattern;
  const size_t at = pattern.find(kLabel);
  if (at == pattern.npos || pattern.size() > 255)
    return Status(Code::kInvalidArgument, fmt::format("the pattern '{}' has no {}", pattern, kLabel), {}, "write for example {label}_*.jpg");
  TENON_ASSIGN_OR_RETURN(std::vector<std::string> files, list_media(folder));
  std::vector<std::string> kept, names;
  for (std::string& file : files) {
    const std::string name = paths::path(file).filename().string();
    if (const auto label = label_in(name, std::string_view(pattern).substr(0, at), std::string_view(pattern).substr(at + kLabel.size()))) {
      names.emplace_back(*label);
      kept.push_back(std::move(file));
    }
  }
  if (kept.empty())
    return Status(Code::kInvalidArgument, fmt::format("no image or sound has a name like '{}'", pattern), folder.string(), "give another pattern");
  TENON_ASSIGN_OR_RETURN(std::vector<std::string> classes, read_classes(options, {}));
  TENON_ASSIGN_OR_RETURN(std::vector<int64_t> labels, number(names, classes));
  return DatasetResult(std::make_unique<LabelledFiles>(folder, std::move(kept), std::move(labels), std::move(classes)));
}

DatasetResult open_files(const paths::path& folder, const DatasetOptions& options) {
  TENON_ASSIGN_OR_RETURN(std::vector<std::string> files, list_media(folder));
  if (files.empty()) return nothing_there(folder);
  TENON_ASSIGN_OR_RETURN(std::vector<std::string> classes, read_classes(options, folder));
  return DatasetResult(std::make_unique<LabelledFiles>(folder, std::move(files), std::vector<int64_t>(), std::move(classes)));
}

DatasetResult open_masks(const paths::path& folder, const DatasetOptions& options) {
  std::string masks;
  std::error_code ec;
  for (const char* name : {"masks", "labels", "annotations"})
    if (masks.empty() && paths::is_directory(folder / name, ec)) masks = name;
  if (masks.empty() || !paths::is_directory(folder / "images", ec))
    return Status(Code::kInvalidArgument, "there are no folders images and masks", folder.string(), "put images in images/, masks in masks/");
  TENON_ASSIGN_OR_RETURN(const std::vector<std::string> images, list_media(folder / "images"));
  TENON_ASSIGN_OR_RETURN(const std::vector<std::string> planes, list_media(folder / masks));
  std::map<std::string, std::string> by_stem;
  for (const std::string& file : planes) by_stem.emplace(stem_of(file), file);
  std::vector<std::pair<std::string, std::string>> files;
  for (const std::string& image : images) {
    if (media_of(image) != Media::kImage) continue;
    const auto mask = by_stem.find(stem_of(image));
    // A missing mask is that example's error, when it is read.
    files.emplace_back("images/" + image, masks + "/" + (mask == by_stem.end() ? stem_of(image) + ".png" : mask->second));
  }
  if (files.empty()) return nothing_there(folder / "images");
  TENON_ASSIGN_OR_RETURN(std::vector<std::string> classes, read_classes(options, folder));
  return DatasetResult(std::make_unique<Masks>(folder, std::move(files), std::move(classes)));
}

}  // namespace tenon::eval
