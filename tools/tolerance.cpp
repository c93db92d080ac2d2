#include "tools/tolerance.h"

namespace tenon::tools {

eval::Tolerance ToleranceOptions::tolerance() const {
  eval::Tolerance out;
  out.rtol = rtol;
  out.atol = atol;
  out.scaled_atol = atol_given->count() > 0 && scaled_given->count() == 0 ? 0 : scaled_atol;
  return out;
}

bool ToleranceOptions::given() const { return rtol_given->count() + atol_given->count() + scaled_given->count() > 0; }

void add_tolerance(CLI::App& app, ToleranceOptions& o, const char* scale, const char* when) {
  o.rtol_given = app.add_option("--rtol", o.rtol, "Relative tolerance; 1e-3, or what --precision rounds, if not given")->type_name("X")->default_str("")->check(non_negative());
  o.atol_given = app.add_option("--atol", o.atol, "Absolute tolerance; alone, it replaces --scaled-atol")->type_name("X")->check(non_negative());
  o.scaled_given = app.add_option("--scaled-atol", o.scaled_atol, fmt::format("Tolerance relative to {}; 1e-4, or what --precision rounds, if not given", scale))
                       ->type_name("X")
                       ->default_str("")
                       ->check(non_negative());
  o.round_off_given = app.add_option("--round-off", o.round_off, fmt::format("Runs with random rounding of {}; 0, and beside a given tolerance: none", when))
                          ->type_name("N")
                          ->check(CLI::Range(0, 1000).description(""));
}

}  // namespace tenon::tools
