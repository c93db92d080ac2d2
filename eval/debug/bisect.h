#pragma once

#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "eval/compare.h"
#include "eval/debug/variant.h"
#include "eval/rounded_products.h"
#include "passes/pass.h"

namespace tenon::eval {

struct BisectOptions {
  Tolerance tolerance;
  bool widen = true;                  // it, for what the variant's precision rounds and quantisers do (eval/rounded_products.h, quantised_steps.h)
  int round_off_samples = 8;          // of what is beyond it: see eval/round_off.h; 0: none
  backends::SessionOptions session;
  Interrupt interrupt;
  std::function<void(std::string_view doing)> progress;
};

struct Bisection {
  int64_t rewrites = 0;               // that the passes make in all
  bool differs = false;               // with all of them
  bool before_any = false;            // without one: the fault is in what is not counted (infer, decompose) or behind the passes
  passes::Rewrite culprit;            // number 0: none
  std::string output;                 // that differs
  Difference difference;              // after the culprit; without one, with all rewrites
  std::string before, after;          // .tir of the graph, without and with the culprit, through all passes
  int runs = 0;
  std::string note;                   // why what differs is no fault
  Rounding rounding;                  // what outputs are allowed for the precision
};

/// The single rewrite after which the outputs of a model leave what the interpreter computes of the graph as it is. The variant
/// compiles and runs the graph with the first N rewrites only; the reference evaluates the graph that the passes make of it. Where
/// several rewrites are wrong, one that makes right results wrong is found.
Result<Bisection> bisect_rewrites(const ir::Graph& graph, const Variant& variant, const std::vector<HostValue>& inputs, const BisectOptions& options);

/// Lines of `before` and `after` that differ, each with "- " or "+ ", and up to `context` equal ones around them with "  ". Long
/// differences end in a line that says how much is left out.
std::string line_difference(std::string_view before, std::string_view after, size_t context, size_t max_lines);

}  // namespace tenon::eval
