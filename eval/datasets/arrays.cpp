// Arrays that hold an example in each of their first dim's entries (IDX, .npz), and folders of an ONNX model's test data.

#include <algorithm>
#include <cstring>
#include <map>

#include "eval/datasets/files.h"
#include "eval/datasets/forms.h"
#include "eval/idx.h"
#include "eval/inputs.h"
#include "frontend/onnx/import.h"
#include "frontend/onnx/npz.h"
#include "ir/type.h"
#include "support/memory.h"

namespace tenon::eval {
namespace {

/// Entry `index` along the first dim, as `shape`.
Result<Tensor> entry(const Tensor& all, int64_t index, Shape shape) {
  TENON_ASSIGN_OR_RETURN(Tensor out, Tensor::empty(all.dtype(), std::move(shape)));
  if (out.bytes() > 0) std::memcpy(out.mutable_data(), all.data() + static_cast<size_t>(index) * out.bytes(), out.bytes());
  return out;
}

class Arrays final : public DatasetBase {
 public:
  Arrays(std::map<std::string, Tensor> arrays, std::vector<std::string> classes, std::string name, uint64_t fingerprint)
      : arrays_(std::move(arrays)), name_(std::move(name)), size_(arrays_.begin()->second.dim(0)) {
    classes_ = std::move(classes);
    fingerprint_ = fingerprint;
  }
  int64_t size() const override { return size_; }
  std::string source(int64_t index) const override { return fmt::format("{}:{}", name_, index); }
  Result<Example> read(int64_t index) const override {
    TENON_RETURN_IF_ERROR(check_index(index));
    Example out{index, source(index), {}};
    for (const auto& [name, array] : arrays_) {
      TENON_ASSIGN_OR_RETURN(out.fields[name], entry(array, index, Shape(array.shape().begin() + 1, array.shape().end())));
    }
    return out;
  }

 private:
  std::map<std::string, Tensor> arrays_;
  std::string name_;
  int64_t size_;
};

class Idx final : public DatasetBase {
 public:
  Idx(IdxFile images, Tensor labels, std::vector<std::string> classes, std::string name, uint64_t fingerprint)
      : images_(std::move(images)), labels_(std::move(labels)), name_(std::move(name)) {
    classes_ = std::move(classes);
    fingerprint_ = fingerprint;
  }
  int64_t size() const override { return images_.shape()[0]; }
  std::string source(int64_t index) const override { return fmt::format("{}:{}", name_, index); }
  Result<Example> read(int64_t index) const override {
    TENON_RETURN_IF_ERROR(check_index(index));
    Example out{index, source(index), {}};
    Shape shape(images_.shape().begin() + 1, images_.shape().end());
    const bool planar = shape.size() == 3 && (shape[0] == 1 || shape[0] == 3);
    const bool picture = images_.dtype() == DType::kU8 && (shape.size() == 2 || planar);
    if (shape.size() == 2 && picture) shape.push_back(1);
    TENON_ASSIGN_OR_RETURN(Tensor pixels, images_.entry(index, shape));
    if (planar && picture) {
      TENON_ASSIGN_OR_RETURN(pixels, interleaved(pixels));
    }
    out.fields[picture ? "image" : "values"] = std::move(pixels);
    if (labels_.defined()) {
      const int64_t label = labels_.at_int(index), end = classes_.empty() ? kMaxClasses : static_cast<int64_t>(classes_.size());
      if (label < 0 || label >= end)
        return Status(Code::kOutOfRange, fmt::format("the label {} is outside [0, {})", label, end), out.source, "correct the file of labels");
      out.fields["label"] = Tensor::scalar(label);
      if (!classes_.empty()) out.fields["label_name"] = text_tensor(classes_[static_cast<size_t>(label)]);
    }
    return out;
  }

 private:
  static Result<Tensor> interleaved(const Tensor& planes) {
    const int64_t channels = planes.dim(0), pixels = planes.dim(1) * planes.dim(2);
    TENON_ASSIGN_OR_RETURN(Tensor out, Tensor::empty(DType::kU8, {planes.dim(1), planes.dim(2), channels}));
    const auto from = planes.span<uint8_t>();
    const auto to = out.mutable_span<uint8_t>();
    for (int64_t c = 0; c < channels; ++c)
      for (int64_t i = 0; i < pixels; ++i) to[static_cast<size_t>(i * channels + c)] = from[static_cast<size_t>(c * pixels + i)];
    return out;
  }

  IdxFile images_;
  Tensor labels_;
  std::string name_;
};

class TestSets final : public DatasetBase {
 public:
  TestSets(std::vector<paths::path> folders, std::vector<std::vector<std::string>> files)
      : folders_(std::move(folders)), files_(std::move(files)) {
    Hasher hasher;
    for (size_t i = 0; i < folders_.size(); ++i)
      for (const std::string& file : files_[i]) {
        hasher.add(source(static_cast<int64_t>(i)));
        add_content(hasher, folders_[i] / file);
      }
    fingerprint_ = hasher.digest64();
  }
  int64_t size() const override { return static_cast<int64_t>(folders_.size()); }
  std::string source(int64_t index) const override {
    return index < 0 || index >= size() ? std::string() : folders_[static_cast<size_t>(index)].filename().string();
  }
  Result<Example> read(int64_t index) const override {
    TENON_RETURN_IF_ERROR(check_index(index));
    Example out{index, source(index), {}};
    const auto at = static_cast<size_t>(index);
    for (const std::string& file : files_[at]) {
      const paths::path path = folders_[at] / file;
      Result<HostValue> value = frontend::read_value(path, {});
      if (!value.ok()) value = read_other(path, std::move(value).status());
      if (!value.ok()) return std::move(value).status().at(out.source + "/" + file);
      out.fields[paths::path(file).stem().string()] = std::move(value).value();
    }
    return out;
  }

 private:
  /// A file does not say whether it is a tensor or a sequence.
  static Result<HostValue> read_other(const paths::path& path, Status as_tensor) {
    Result<HostValue> sequence = frontend::read_value(path, ir::SequenceType{});
    if (sequence.ok() && !std::get<std::shared_ptr<Sequence>>(*sequence)->items.empty()) return sequence;
    return as_tensor;
  }

  std::vector<paths::path> folders_;
  std::vector<std::vector<std::string>> files_;
};

uint64_t fingerprint_of(std::initializer_list<paths::path> files) {
  Hasher hasher;
  for (const paths::path& file : files)
    if (!file.empty()) add_content(hasher, file);
  return hasher.digest64();
}

}  // namespace

DatasetResult open_idx(const paths::path& images, const paths::path& labels, const DatasetOptions& options) {
  TENON_ASSIGN_OR_RETURN(IdxFile pixels, IdxFile::open(images));
  if (pixels.shape().empty() || pixels.shape()[0] == 0) return Status(Code::kInvalidArgument, "the file holds no examples", images.string());
  Tensor numbers;
  if (!labels.empty()) {
    TENON_ASSIGN_OR_RETURN(numbers, read_idx(labels));
    if (numbers.rank() != 1 || is_float(numbers.dtype()))
      return Status(Code::kInvalidArgument, fmt::format("labels are {} {}, not a list of whole numbers", to_string(numbers.shape()), name(numbers.dtype())),
                    labels.string(), "give IMAGES,LABELS in this order");
    if (numbers.dim(0) != pixels.shape()[0])
      return Status(Code::kInvalidArgument, fmt::format("there are {} labels for {} images", numbers.dim(0), pixels.shape()[0]), labels.string(),
                    "give files that belong together");
  }
  TENON_ASSIGN_OR_RETURN(std::vector<std::string> classes, read_classes(options, images.parent_path()));
  return DatasetResult(std::make_unique<Idx>(std::move(pixels), std::move(numbers), std::move(classes), images.filename().string(),
                                             fingerprint_of({images, labels})));
}

std::pair<paths::path, paths::path> find_idx_pair(const paths::path& folder) {
  const auto listing = list_folder(folder);
  paths::path images, labels;
  if (!listing.ok()) return {};
  for (const std::string& name : listing->files) {
    const bool image = name.find("idx3") != name.npos || name.find("idx4") != name.npos, label = name.find("idx1") != name.npos;
    paths::path& file = image ? images : labels;
    if (!image && !label) continue;
    if (!file.empty()) return {};
    file = folder / name;
  }
  if (images.empty() || labels.empty()) return {};
  return {images, labels};
}

DatasetResult open_npz(const paths::path& file, const DatasetOptions& options) {
  TENON_ASSIGN_OR_RETURN(const frontend::Bytes bytes, frontend::map_file(file));
  Result<std::vector<std::string>> names = frontend::npz_names(bytes.span);
  if (!names.ok()) return std::move(names).status().at(file.string());
  std::map<std::string, Tensor> arrays;
  size_t left = default_memory_limit() / 2;
  for (const std::string& name : *names) {
    Result<Tensor> array = frontend::parse_npz(bytes.span, name, left);
    if (!array.ok()) return std::move(array).status().at(file.string());
    if (array->rank() == 0) continue;
    left -= std::min(left, array->bytes());
    arrays[name] = std::move(array).value();
  }
  if (arrays.empty()) return Status(Code::kInvalidArgument, "the archive has no array with a dim for examples", file.string());
  const auto& [first_name, first] = *arrays.begin();
  for (const auto& [name, array] : arrays)
    if (array.dim(0) != first.dim(0))
      return Status(Code::kInvalidArgument,
                    fmt::format("arrays {} and {} have {} and {} examples", first_name, name, first.dim(0), array.dim(0)), file.string(),
                    "save arrays whose first dims agree");
  if (first.dim(0) == 0) return Status(Code::kInvalidArgument, "the archive holds no examples", file.string());
  TENON_ASSIGN_OR_RETURN(std::vector<std::string> classes, read_classes(options, {}));
  return DatasetResult(std::make_unique<Arrays>(std::move(arrays), std::move(classes), file.filename().string(), fingerprint_of({file})));
}

DatasetResult open_test_sets(const paths::path& folder, const DatasetOptions&) {
  std::vector<paths::path> folders = data_sets(folder);
  if (folders.empty()) return Status(Code::kInvalidArgument, "there is no test_data_set_0", folder.string(), "give the model's folder");
  std::vector<std::vector<std::string>> files;
  for (const paths::path& one : folders) {
    TENON_ASSIGN_OR_RETURN(const Listing listing, list_folder(one));
    std::vector<std::string>& kept = files.emplace_back();
    for (const std::string& name : listing.files)
      if ((name.starts_with("input_") || name.starts_with("output_")) && (name.ends_with(".pb") || name.ends_with(".npy"))) kept.push_back(name);
  }
  return DatasetResult(std::make_unique<TestSets>(std::move(folders), std::move(files)));
}

}  // namespace tenon::eval
