#pragma once

#include <filesystem>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "support/status.h"
#include "support/tensor.h"

namespace tenon::eval {

/// Values by name. Data sets make them, preprocessing steps (eval/preprocess/pipeline.h) change them.
using Fields = std::map<std::string, HostValue, std::less<>>;

/// One example of a data set, decoded but not yet made into a model's inputs. Fields by name:
///   image      u8 [height, width, 3]; IDX without channels: [height, width, 1]
///   mask       u8 (or u16) [height, width]: the class of each pixel, in a data set of segmentation masks
///   audio      f32 [samples] in [-1, 1], channels averaged; rate  i64 []
///   label      i64 [], the number of the class; label_name  string [] where classes have names
///   boxes      f32 [n, 4] as x0, y0, x1, y1 in pixels; box_labels i64 [n]; crowd bool [n]; area f32 [n]; image_id i64 [] (COCO)
///   input_N, output_N    tensors of a test_data_set_N folder
///   any column of a table (string [], i64 [] or f64 []), any key of a JSON line, any array of a .npz without its first dim
struct Example {
  int64_t index = 0;
  std::string source;                            // "cat/3.jpg", "dev.tsv:17": where a person finds it
  Fields fields;
};

/// Examples in a fixed order. Immutable: read() may be called from several threads.
class Dataset {
 public:
  virtual ~Dataset() = default;
  virtual int64_t size() const = 0;
  /// One example. What is wrong with it (a broken image, a row with a missing column) is an error that names file and row; the
  /// examples after it can still be read.
  virtual Result<Example> read(int64_t index) const = 0;
  /// Where example `index` comes from, also when it cannot be read.
  virtual std::string source(int64_t index) const = 0;
  /// Names of the classes, by number; empty when the data set has none.
  virtual const std::vector<std::string>& classes() const = 0;
  /// A hash of what determines the examples (names and sizes of files, what tables hold): a resumed evaluation wants the same one.
  virtual uint64_t fingerprint() const = 0;
};

struct DatasetOptions {
  std::string format;                 // of dataset_formats(); empty: told from the path and what is there
  std::string labels;                 // the table of labels; empty: labels, metadata or annotations with .tsv, .csv or .jsonl in the folder
  std::string classes;                // a file of class names, one a line; empty: classes.txt or labels.txt beside the data, if there
  std::string pattern;                // of format "named": where the label stands in a file's name; empty: {label}_*
  std::optional<bool> header;         // whether a table's first row names its columns; empty: told from its content
};

struct FormatInfo {
  std::string_view name;              // "image-folder", "csv"
  std::string_view spec;              // what the path is: "FOLDER", "IMAGES,LABELS"
  std::string_view summary;           // one line
};
/// In the order in which they are tried.
std::span<const FormatInfo> dataset_formats();

/// Opens by form: a folder with a folder of images or sounds a class; a folder of images or sounds with a table beside them; IMAGES,LABELS
/// of IDX (also gzipped); .csv, .tsv, .jsonl; .npz; a folder of an ONNX model's test_data_set_N; IMAGES,INSTANCES.json of COCO; a folder
/// of images/ and masks/. kNotFound, or kInvalidArgument when no form fits, naming them. Only tables and indices are read here: what is
/// wrong with an example is its own error.
Result<std::unique_ptr<Dataset>> open_dataset(const std::string& spec, const DatasetOptions& options);
inline Result<std::unique_ptr<Dataset>> open_dataset(const std::string& spec, const std::string& format = {}) {
  return open_dataset(spec, DatasetOptions{.format = format});
}

}  // namespace tenon::eval
