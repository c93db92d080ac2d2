#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <variant>
#include <vector>

namespace tenon::eval {

/// A class for an item, from scores.
struct ClassOutcome {
  int64_t label = 0, predicted = 0;
  int64_t rank = 0;                   // of the label among the scores: 0 is the best; ties count against it
  double probability = 0;             // of the label
  double confidence = 0;              // of the predicted class
  std::vector<float> probabilities;   // of every class; empty unless a metric asks for them
};
/// A class for each token (or other part) of an item. Label -100 marks what does not count.
struct TokenOutcome {
  std::vector<int64_t> labels, predicted;
};
/// A text, and the texts that would be right.
struct TextOutcome {
  std::string predicted;
  std::vector<std::string> references;
};
/// Sum of negative log-likelihoods (natural logarithm) of so many tokens.
struct LikelihoodOutcome {
  double nll = 0;
  int64_t tokens = 0;
};
/// Numbers, and those that would be right: as many.
struct ValueOutcome {
  std::vector<double> predicted, target;
};
/// A class for each pixel: how many pixels of a label were given a class, for the pairs that occur, each once, in ascending order; pixels
/// without a label are not in it.
struct PixelOutcome {
  struct Count {
    int64_t label = 0, predicted = 0, pixels = 0;
    bool operator==(const Count&) const = default;
  };
  int64_t classes = 0;
  std::vector<Count> counts;

  /// From the matrix of all pairs, labels by predictions, row-major.
  static PixelOutcome of(int64_t classes, const std::vector<int64_t>& confusion) {
    PixelOutcome out{classes, {}};
    for (size_t i = 0; i < confusion.size(); ++i)
      if (const auto at = static_cast<int64_t>(i); confusion[i] != 0) out.counts.push_back({at / classes, at % classes, confusion[i]});
    return out;
  }
};
/// A restored image against the original.
struct ImageOutcome {
  double mse = 0, ssim = 0;           // over all channels
  double peak = 1;                    // largest value that a sample may have
};
/// Objects found, and those that are there. Boxes are x0, y0, x1, y1 in pixels.
struct BoxOutcome {
  struct Detection {
    std::array<double, 4> box{};
    int64_t label = 0;
    double score = 0;
  };
  struct Truth {
    std::array<double, 4> box{};
    int64_t label = 0;
    bool crowd = false;
    double area = 0;                  // of the object's mask; 0: that of the box
  };
  std::vector<Detection> detections;
  std::vector<Truth> truths;
};

using Outcome = std::variant<ClassOutcome, TokenOutcome, TextOutcome, LikelihoodOutcome, ValueOutcome, PixelOutcome, ImageOutcome, BoxOutcome>;

/// What one example contributes to a result. A result is a set of these, ordered by index, so it does not depend on the order or the
/// process in which they were made.
struct Record {
  int64_t index = 0;                  // in the data set
  std::string source;                 // file, or file:row
  Outcome outcome;
};

}  // namespace tenon::eval
