#pragma once

#include "eval/compare.h"
#include "tools/common.h"

namespace tenon::tools {

/// How far outputs may be off: --rtol, --atol, --scaled-atol, --round-off.
struct ToleranceOptions {
  double rtol = 1e-3, atol = 0, scaled_atol = 1e-4;
  int round_off = 8;
  CLI::Option* rtol_given = nullptr;
  CLI::Option* atol_given = nullptr;
  CLI::Option* scaled_given = nullptr;
  CLI::Option* round_off_given = nullptr;

  /// An absolute tolerance replaces the scaled one unless both are given.
  eval::Tolerance tolerance() const;
  /// A tolerance that someone asks for is the one that holds: it is not widened for what a precision rounds.
  bool given() const;
  /// Nor does round-off excuse what is beyond it, unless that is asked for as well.
  int round_off_samples() const { return given() && round_off_given->count() == 0 ? 0 : round_off; }
};
/// `scale` says of what --scaled-atol is a part, `when` which cases --round-off runs are of.
void add_tolerance(CLI::App& app, ToleranceOptions& options, const char* scale, const char* when);

}  // namespace tenon::tools
