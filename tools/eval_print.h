#pragma once

#include "eval/datasets/dataset.h"
#include "eval/tasks/result.h"

namespace tenon::tools {

/// Metrics, times and differences of an evaluation as tables, what went wrong below them.
void print_evaluation(const eval::Evaluation& evaluation, const std::vector<eval::ScoredCandidate>& scores, int resamples);

/// Images of the data set as characters, each above what the first backend that ran takes it for: two thirds of `show` spread over the
/// data set, the rest taken from those that it gets wrong. Nothing for tasks that do not classify images.
void print_pictures(const eval::Evaluation& evaluation, const eval::Dataset& dataset, int64_t show);

}  // namespace tenon::tools
