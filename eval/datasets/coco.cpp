// Detection annotations in the form of COCO (https://cocodataset.org/#format-data, "Object Detection").

#include <algorithm>
#include <cmath>
#include <map>

#include "eval/datasets/files.h"
#include "eval/datasets/forms.h"
#include "eval/datasets/json_text.h"

namespace tenon::eval {
namespace {

using nlohmann::json;

constexpr size_t kMaxInstancesBytes = size_t{1} << 30;

struct Object {
  float box[4];
  int64_t label;
  float area;
  bool crowd;
};
struct Picture {
  int64_t id = 0;
  std::string file;
  std::vector<Object> objects;
  Status wrong;  // what its annotations break; the picture is an error when it is read
};

class Coco final : public DatasetBase {
 public:
  Coco(paths::path folder, std::string name, std::vector<Picture> pictures, std::vector<std::string> classes, uint64_t fingerprint)
      : folder_(std::move(folder)), name_(std::move(name)), pictures_(std::move(pictures)) {
    classes_ = std::move(classes);
    fingerprint_ = fingerprint;
  }
  int64_t size() const override { return static_cast<int64_t>(pictures_.size()); }
  std::string source(int64_t index) const override {
    return index < 0 || index >= size() ? name_ : pictures_[static_cast<size_t>(index)].file;
  }
  Result<Example> read(int64_t index) const override {
    TENON_RETURN_IF_ERROR(check_index(index));
    const Picture& picture = pictures_[static_cast<size_t>(index)];
    if (!picture.wrong.ok()) return Status(picture.wrong);
    Result<paths::path> file = resolve_beneath(folder_, picture.file);
    if (!file.ok()) return std::move(file).status().at(fmt::format("{}: image {}", name_, picture.id));
    Example out{index, picture.file, {}};
    TENON_RETURN_IF_ERROR(read_media(*file, picture.file, out.fields));
    const auto n = static_cast<int64_t>(picture.objects.size());
    TENON_ASSIGN_OR_RETURN(Tensor boxes, Tensor::empty(DType::kF32, {n, 4}));
    TENON_ASSIGN_OR_RETURN(Tensor labels, Tensor::empty(DType::kI64, {n}));
    TENON_ASSIGN_OR_RETURN(Tensor areas, Tensor::empty(DType::kF32, {n}));
    TENON_ASSIGN_OR_RETURN(Tensor crowd, Tensor::empty(DType::kBool, {n}));
    for (int64_t i = 0; i < n; ++i) {
      const Object& object = picture.objects[static_cast<size_t>(i)];
      for (int64_t k = 0; k < 4; ++k) boxes.set_double(i * 4 + k, object.box[k]);
      labels.set_int(i, object.label);
      areas.set_double(i, object.area);
      crowd.set_int(i, object.crowd ? 1 : 0);
    }
    out.fields["boxes"] = std::move(boxes);
    out.fields["box_labels"] = std::move(labels);
    out.fields["area"] = std::move(areas);
    out.fields["crowd"] = std::move(crowd);
    out.fields["image_id"] = Tensor::scalar(picture.id);
    return out;
  }

 private:
  paths::path folder_;
  std::string name_;
  std::vector<Picture> pictures_;
};

std::optional<int64_t> integer(const json& object, const char* key) {
  const auto found = object.find(key);
  if (found == object.end() || !found->is_number_integer()) return std::nullopt;
  if (found->is_number_unsigned() && found->get<uint64_t>() > static_cast<uint64_t>(INT64_MAX)) return std::nullopt;
  return found->get<int64_t>();
}

class Reader {
 public:
  explicit Reader(std::string name) : name_(std::move(name)) {}

  Status read(const json& root) {
    if (!root.is_object()) return wrong("the file is no JSON object");
    for (const char* key : {"images", "annotations", "categories"})
      if (!root.contains(key) || !root[key].is_array()) return wrong(fmt::format("'{}' is missing or no list", key));
    TENON_RETURN_IF_ERROR(read_categories(root["categories"]));
    TENON_RETURN_IF_ERROR(read_images(root["images"]));
    return read_annotations(root["annotations"]);
  }

  std::vector<Picture> pictures;
  std::vector<std::string> classes;

 private:
  Status wrong(std::string what) const { return Status(Code::kInvalidArgument, std::move(what), name_, "give instances in COCO's form"); }

  Status read_categories(const json& list) {
    std::map<int64_t, std::string> sorted;
    for (size_t i = 0; i < list.size(); ++i) {
      const auto id = list[i].is_object() ? integer(list[i], "id") : std::nullopt;
      if (!id) return wrong(fmt::format("category {} has no whole number as id", i));
      const auto named = list[i].find("name");
      if (!sorted.emplace(*id, named != list[i].end() && named->is_string() ? named->get<std::string>() : fmt::format("{}", *id)).second)
        return wrong(fmt::format("two categories have the id {}", *id));
      if (static_cast<int64_t>(sorted.size()) > kMaxClasses) return wrong(fmt::format("more than {} categories", kMaxClasses));
    }
    for (auto& [id, text] : sorted) {
      numbers_.emplace(id, static_cast<int64_t>(classes.size()));
      classes.push_back(text);
    }
    return {};
  }

  Status read_images(const json& list) {
    if (list.size() > kMaxFiles) return wrong(fmt::format("more than {} images", kMaxFiles));
    for (size_t i = 0; i < list.size(); ++i) {
      const auto id = list[i].is_object() ? integer(list[i], "id") : std::nullopt;
      if (!id) return wrong(fmt::format("image {} has no whole number as id", i));
      Picture picture;
      picture.id = *id;
      const auto file = list[i].find("file_name");
      if (file != list[i].end() && file->is_string()) picture.file = file->get<std::string>();
      else picture.wrong = Status(Code::kInvalidArgument, "the image has no file_name", fmt::format("{}: image {}", name_, *id));
      if (!places_.emplace(*id, pictures.size()).second) return wrong(fmt::format("two images have the id {}", *id));
      pictures.push_back(std::move(picture));
    }
    return {};
  }

  Status read_annotations(const json& list) {
    for (size_t i = 0; i < list.size(); ++i) {
      const auto image = list[i].is_object() ? integer(list[i], "image_id") : std::nullopt;
      const auto place = image ? places_.find(*image) : places_.end();
      if (place == places_.end()) return wrong(fmt::format("annotation {} belongs to no image", i));
      Picture& picture = pictures[place->second];
      Object object{};
      if (Status s = read_object(list[i], object); !s.ok()) {
        if (picture.wrong.ok()) picture.wrong = std::move(s).at(fmt::format("{}: annotation {}", name_, i));
        continue;
      }
      picture.objects.push_back(object);
    }
    return {};
  }

  Status read_object(const json& value, Object& out) const {
    const auto category = integer(value, "category_id");
    const auto label = category ? numbers_.find(*category) : numbers_.end();
    if (label == numbers_.end()) return error(Code::kOutOfRange, "its category_id is none of the {} categories", numbers_.size());
    out.label = label->second;
    const auto box = value.find("bbox");
    if (box == value.end() || !box->is_array() || box->size() != 4) return error(Code::kInvalidArgument, "its bbox is no list of x, y, width, height");
    double xywh[4];
    for (size_t k = 0; k < 4; ++k) {
      if (!(*box)[k].is_number()) return error(Code::kInvalidArgument, "its bbox is no list of numbers");
      xywh[k] = (*box)[k].get<double>();
      if (!std::isfinite(xywh[k]) || std::abs(xywh[k]) > 1e9) return error(Code::kOutOfRange, "its bbox is beyond 10^9 pixels");
    }
    if (xywh[2] < 0 || xywh[3] < 0) return error(Code::kInvalidArgument, "its bbox has a negative width or height");
    for (size_t k = 0; k < 4; ++k) out.box[k] = static_cast<float>(k < 2 ? xywh[k] : xywh[k - 2] + xywh[k]);
    const auto area = value.find("area");
    out.area = static_cast<float>(area != value.end() && area->is_number() ? area->get<double>() : xywh[2] * xywh[3]);
    const auto crowd = value.find("iscrowd");
    out.crowd = crowd != value.end() && ((crowd->is_number() && crowd->get<double>() != 0) || (crowd->is_boolean() && crowd->get<bool>()));
    return {};
  }

  std::string name_;
  std::map<int64_t, int64_t> numbers_;
  std::map<int64_t, size_t> places_;
};

}  // namespace

DatasetResult open_coco(const paths::path& images, const paths::path& instances, const DatasetOptions&) {
  TENON_ASSIGN_OR_RETURN(const frontend::Bytes bytes, frontend::map_file(instances));
  if (bytes.span.size() > kMaxInstancesBytes)
    return Status(Code::kResourceExhausted, fmt::format("the file is larger than {} bytes", kMaxInstancesBytes), instances.string(), "split it");
  const Result<json> root = parse_json(text_of(bytes.span));
  if (!root.ok()) return root.status().at(instances.string());
  Reader reader(instances.filename().string());
  TENON_RETURN_IF_ERROR(reader.read(*root));
  if (reader.pictures.empty()) return Status(Code::kInvalidArgument, "there are no images in it", instances.string());
  Hasher hasher;
  add_content(hasher, instances.filename().string(), bytes.span);
  for (const Picture& picture : reader.pictures) {
    const Result<paths::path> file = resolve_beneath(images, picture.file);
    add_file(hasher, picture.file, file.ok() ? *file : paths::path());
  }
  return DatasetResult(std::make_unique<Coco>(images, instances.filename().string(), std::move(reader.pictures), std::move(reader.classes),
                                              hasher.digest64()));
}

std::pair<paths::path, paths::path> find_coco(const paths::path& folder) {
  const auto listing = list_folder(folder);
  if (!listing.ok()) return {};
  paths::path instances;
  for (const std::string& name : listing->files) {
    if (!name.ends_with(".json") || (!name.starts_with("instances") && !name.starts_with("annotations") && !name.starts_with("_annotations"))) continue;
    if (!instances.empty()) return {};
    instances = folder / name;
  }
  if (instances.empty()) return {};
  std::error_code ec;
  return {paths::is_directory(folder / "images", ec) ? folder / "images" : folder, instances};
}

}  // namespace tenon::eval
