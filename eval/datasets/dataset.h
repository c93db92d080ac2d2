#pragma once

#include <filesystem>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "support/status.h"
#include "support/tensor.h"

namespace tenon::eval {

/// One example of a data set, decoded but not yet made into a model's inputs. Fields by name:
///   image   u8 [height, width, 3 or 1]            audio   f32 [samples] in [-1, 1], one channel; rate  i64 []
///   text, text_pair, reference …  string []       label   i64 [] or string []
///   any column of a table, any array of a .npz    tensors of its own type
struct Example {
  int64_t index = 0;
  std::string source;                            // "cat/3.jpg", "dev.tsv:17": where a person finds it
  std::map<std::string, HostValue, std::less<>> fields;
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
  /// A hash of what determines the examples (paths, sizes, times of files): a resumed evaluation wants the same one.
  virtual uint64_t fingerprint() const = 0;
};

/// Opens by form: a folder with a folder of images a class; a folder of images with a table of labels beside them; IMAGES,LABELS of
/// IDX (also gzipped); .csv, .tsv, .jsonl; .npz; a folder of an ONNX model's test_data_set_N; a folder of WAV files with a table.
/// `format` names the form where it cannot be told from the path.
Result<std::unique_ptr<Dataset>> open_dataset(const std::string& spec, const std::string& format = {});

}  // namespace tenon::eval
