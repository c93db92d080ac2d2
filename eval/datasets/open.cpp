#include <algorithm>
#include <array>

#include "eval/datasets/files.h"
#include "eval/datasets/forms.h"
#include "eval/datasets/rows.h"
#include "eval/inputs.h"

namespace tenon::eval {
namespace {

/// The one path of a spec, or the two that a comma separates.
struct Spec {
  paths::path first, second;
  bool is_folder = false;
};

struct Form {
  FormatInfo info;
  bool (*fits)(const Spec& spec);
  DatasetResult (*open)(const Spec& spec, const DatasetOptions& options);
};

bool ends_with_any(const paths::path& file, std::initializer_list<std::string_view> endings) {
  std::string name = file.filename().string();
  std::transform(name.begin(), name.end(), name.begin(), [](char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c; });
  return std::any_of(endings.begin(), endings.end(), [&](std::string_view ending) { return name.ends_with(ending); });
}

bool has_folder(const paths::path& folder, const char* name) {
  std::error_code ec;
  return paths::is_directory(folder / name, ec);
}

bool has_media(const paths::path& folder) {
  const auto listing = list_folder(folder);
  return listing.ok() && std::any_of(listing->files.begin(), listing->files.end(), [](const std::string& f) { return media_of(f) != Media::kNone; });
}

bool has_class_folders(const paths::path& folder) {
  const auto listing = list_folder(folder);
  return listing.ok() &&
         std::any_of(listing->folders.begin(), listing->folders.end(), [&](const std::string& name) { return has_media(folder / name); });
}

constexpr auto kNever = [](const Spec&) { return false; };

// Several may fit a path: the first does.
constexpr Form kForms[] = {
    {{"onnx-tests", "FOLDER", "an ONNX model's folder with test_data_set_N: inputs and expected outputs"},
     [](const Spec& s) { return s.is_folder && !data_sets(s.first).empty(); },
     [](const Spec& s, const DatasetOptions& o) { return open_test_sets(s.first, o); }},
    {{"coco", "IMAGES,INSTANCES.json", "images and COCO's boxes; also a folder with instances*.json"},
     [](const Spec& s) { return s.is_folder && (s.second.empty() ? !find_coco(s.first).second.empty() : ends_with_any(s.second, {".json"})); },
     [](const Spec& s, const DatasetOptions& o) {
       if (!s.second.empty()) return open_coco(s.first, s.second, o);
       const auto [images, instances] = find_coco(s.first);
       if (instances.empty())
         return DatasetResult(Status(Code::kInvalidArgument, "there is no instances.json, or several", s.first.string(), "give IMAGES,INSTANCES.json"));
       return open_coco(images, instances, o);
     }},
    {{"masks", "FOLDER", "segmentation: images/ and masks/, PNGs of class numbers"},
     [](const Spec& s) { return s.is_folder && has_folder(s.first, "images") && has_folder(s.first, "masks"); },
     [](const Spec& s, const DatasetOptions& o) { return open_masks(s.first, o); }},
    {{"table-of-files", "FOLDER", "images or sounds with a table of labels: labels.tsv, metadata.csv …; also the table itself"},
     [](const Spec& s) { return s.is_folder && s.second.empty() && !find_label_table(s.first).empty(); },
     [](const Spec& s, const DatasetOptions& o) { return open_labelled_files(s.first, o); }},
    {{"idx", "IMAGES,LABELS", "IDX files as MNIST's, also gzipped; also a folder with one pair of them"},
     [](const Spec& s) {
       return s.is_folder ? s.second.empty() && !find_idx_pair(s.first).first.empty()
                          : ends_with_any(s.first, {"-ubyte", "-ubyte.gz", ".idx", ".idx.gz"}) || !s.second.empty();
     },
     [](const Spec& s, const DatasetOptions& o) {
       if (!s.is_folder) return open_idx(s.first, s.second, o);
       const auto [images, labels] = find_idx_pair(s.first);
       if (images.empty())
         return DatasetResult(Status(Code::kInvalidArgument, "there is no single pair of IDX files", s.first.string(), "give IMAGES,LABELS"));
       return open_idx(images, labels, o);
     }},
    {{"image-folder", "FOLDER", "a folder of images or sounds a class"},
     [](const Spec& s) { return s.is_folder && has_class_folders(s.first); },
     [](const Spec& s, const DatasetOptions& o) { return open_class_folders(s.first, o); }},
    {{"named", "FOLDER", "images or sounds with the label in their names"}, kNever,
     [](const Spec& s, const DatasetOptions& o) { return open_named_files(s.first, o); }},
    {{"files", "FOLDER", "images or sounds without labels"},
     [](const Spec& s) { return s.is_folder && has_media(s.first); },
     [](const Spec& s, const DatasetOptions& o) { return open_files(s.first, o); }},
    {{"csv", "FILE.csv", "comma-separated values, RFC 4180"},
     [](const Spec& s) { return ends_with_any(s.first, {".csv"}); },
     [](const Spec& s, const DatasetOptions& o) { return open_table(s.first, o); }},
    {{"tsv", "FILE.tsv", "tab-separated values"},
     [](const Spec& s) { return ends_with_any(s.first, {".tsv", ".tab"}); },
     [](const Spec& s, const DatasetOptions& o) { return open_table(s.first, o); }},
    {{"jsonl", "FILE.jsonl", "a JSON object a line"},
     [](const Spec& s) { return ends_with_any(s.first, {".jsonl", ".ndjson"}); },
     [](const Spec& s, const DatasetOptions& o) { return open_table(s.first, o); }},
    {{"npz", "FILE.npz", "NumPy arrays whose first dims agree: an example each"},
     [](const Spec& s) { return ends_with_any(s.first, {".npz"}); },
     [](const Spec& s, const DatasetOptions& o) { return open_npz(s.first, o); }},
};

constexpr size_t kCount = std::size(kForms);

constexpr std::array<FormatInfo, kCount> kInfos = [] {
  std::array<FormatInfo, kCount> out{};
  for (size_t i = 0; i < kCount; ++i) out[i] = kForms[i].info;
  return out;
}();

std::string format_names() {
  std::string out;
  for (const FormatInfo& info : kInfos) out += (out.empty() ? "" : ", ") + std::string(info.name);
  return out;
}

Result<Spec> parse_spec(const std::string& text) {
  std::error_code ec;
  const auto there = [&](const paths::path& path) { return !path.empty() && paths::exists(path, ec); };
  const auto made = [&](paths::path first, paths::path second) {
    const bool is_folder = paths::is_directory(first, ec);
    return Spec{std::move(first), std::move(second), is_folder};
  };
  if (there(text)) return made(text, {});
  const size_t comma = text.find(',');
  if (comma != text.npos) {
    const paths::path first = text.substr(0, comma), second = text.substr(comma + 1);
    for (const paths::path& path : {first, second})
      if (!there(path)) return Status(Code::kNotFound, "the data set is not there", path.string(), "check the path");
    return made(first, second);
  }
  return Status(Code::kNotFound, "the data set is not there", text, "check the path");
}

}  // namespace

std::span<const FormatInfo> dataset_formats() { return kInfos; }

Result<std::unique_ptr<Dataset>> open_dataset(const std::string& text, const DatasetOptions& options) {
  TENON_ASSIGN_OR_RETURN(const Spec spec, parse_spec(text));
  const Form* form = nullptr;
  if (!options.format.empty()) {
    form = std::find_if(std::begin(kForms), std::end(kForms), [&](const Form& f) { return f.info.name == options.format; });
    if (form == std::end(kForms))
      return Status(Code::kInvalidArgument, fmt::format("there is no form of data set '{}'", options.format), {}, "give one of " + format_names());
  } else if (!options.labels.empty()) {
    form = std::find_if(std::begin(kForms), std::end(kForms), [](const Form& f) { return f.info.name == "table-of-files"; });
  } else if (!options.pattern.empty()) {
    form = std::find_if(std::begin(kForms), std::end(kForms), [](const Form& f) { return f.info.name == "named"; });
  } else {
    form = std::find_if(std::begin(kForms), std::end(kForms), [&](const Form& f) { return f.fits(spec); });
    if (form == std::end(kForms))
      return Status(Code::kInvalidArgument, "the path is no data set of a known form", text, "name its form, one of " + format_names());
  }
  try {
    DatasetResult made = form->open(spec, options);
    if (!made.ok() && made.status().where().empty()) return std::move(made).status().at(text);
    return made;
  } catch (const std::bad_alloc&) {
    return Status(Code::kResourceExhausted, "there is not enough memory for the data set", text);
  } catch (const std::filesystem::filesystem_error& e) {
    return Status(Code::kIo, e.code().message(), text, "check the path");
  }
}

}  // namespace tenon::eval
