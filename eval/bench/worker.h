#pragma once

#include <nlohmann/json_fwd.hpp>

#include "eval/bench/child.h"
#include "eval/bench/measure.h"

namespace tenon::eval {

/// What runs in a subject's process. Prepares the subject, writes its outputs to `outputs` (eval/bench/outputs.h), and reports a line of JSON
/// {"error", "load_ms", …}. Then answers each line that comes in: "run" with the samples of a round, "throughput" with runs a second,
/// "figures" with {"peak_rss_mb", "arena_mb"}. What fails is answered with {"error"}, which failure_of reads.
void serve_subject(const Subject& subject, const MeasureOptions& options, int outputs, Lines& lines);

/// The error that an answer holds; success where it has none.
Status failure_of(const nlohmann::json& answer);

}  // namespace tenon::eval
