#pragma once

#include <filesystem>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "backends/backend.h"
#include "support/tensor.h"

/// Image classification: how often a model's best class is the labelled one, and what each backend takes to find it.
namespace tenon::eval {

/// Pictures [count, rows, columns] or [count, channels, rows, columns], and the class of each.
struct LabelledImages {
  Tensor images;
  std::vector<int64_t> labels;
  int64_t count() const { return static_cast<int64_t>(labels.size()); }
};

/// From two IDX files (eval/idx.h). kInvalidArgument when their counts differ or their ranks are none of the above.
Result<LabelledImages> read_labelled_images(const std::filesystem::path& images, const std::filesystem::path& labels);

struct ClassificationOptions {
  double scale = 1.0 / 255, offset = 0;  // an input element is pixel × scale + offset
  std::string output;                    // scores [batch, classes]; empty: the first output of that form
  int64_t batch = 100;                   // images a run, unless the model fixes it
  int64_t limit = 0;                     // images used, from the start; 0: all
  int64_t singles = 100;                 // images that are timed one by one
  backends::CompileOptions compile;  // its interrupt is that of the runs too
  backends::SessionOptions session;
};

struct Prediction {
  int64_t label = 0;
  double confidence = 0;  // the score when a row of scores is a distribution, else its softmax
  bool top5 = false;      // whether the labelled class is among the five best scores
};

struct ClassificationResult {
  std::string backend;
  Status status;                        // why there is nothing below
  std::vector<Prediction> predictions;  // an image each
  int64_t correct = 0, correct_top5 = 0;
  double compile_ms = 0, first_run_ms = 0;
  double batch_ms = 0, image_ms = 0;    // medians; image_ms is 0 when the model fixes another batch size
  size_t arena_bytes = 0;
  // Against the first backend: outputs of all images, and predictions.
  double max_abs = 0;
  int64_t disagreements = 0;
};

struct ClassificationReport {
  std::string output;                   // what was taken for scores
  int64_t images = 0, batch = 0, singles = 0;
  std::vector<ClassificationResult> results;  // in the order of the backends
};

/// Compiles `graph` on every backend and runs all of them on the same images, taking turns so that what disturbs the
/// machine disturbs all alike. A backend that fails has its status in its result; the others go on. The error is for what no
/// backend could do: a model that does not classify these images. `progress` is called with what is being done.
Result<ClassificationReport> classify(const ir::Graph& graph, const LabelledImages& data,
                                      std::span<const backends::Backend* const> backends, const ClassificationOptions& options,
                                      const std::function<void(const std::string&)>& progress = {});

}  // namespace tenon::eval
