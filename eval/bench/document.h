#pragma once

#include <filesystem>
#include <span>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>

#include "eval/bench/measure.h"

/// What `tenon bench --json` writes, and what other parts (tables, reports, baselines) read:
///   {"kind": "bench", "context": machine_context() and how it was measured, "warnings": [text], "results": [row]}
namespace tenon::eval {

/// A row of "results". Latencies are in ms, memory in MiB, throughput in runs a second:
///   {"model", "backend", "threads", "dims": {name: size}, "latency_ms": {"p10", "p50", "p90", "p99", "mean", "min"}, "p50_ci95": [low, high],
///    "runs", "quantiles_ms": [0 % … 100 %], "round_p50_ms": [], "launches_ms": [[a round's median …] …], "throughput", "streams", "load_ms",
///    "compile_ms", "first_run_ms", "ready_ms", "peak_rss_mb", "arena_mb", "warmup_runs", "runtime", "max_abs", "outputs_agree",
///    "ratio": {"vs", "median", "ci95": [low, high]}}
/// or {"model", "backend", "threads", "error"}. What is not known is left out; an interval that there are too few rounds for is null.
nlohmann::json bench_row(const Subject& subject, const Measurement& measured, const Subject& base, const Measurement& base_measured, const MeasureOptions& options);

/// The geometric mean over models of the (mean logarithmic) ratios of rows whose outputs agree, by backend and threads, where there are
/// several models: [{"backend", "threads", "vs", "models", "ratio"}].
nlohmann::json geometric_means(const nlohmann::json& results);

}  // namespace tenon::eval
