#pragma once

#include <string>

#include "eval/preprocess/pipeline.h"

namespace tenon::eval {

/// A step's parameters and fields as text for a terminal.
std::string describe_step(const StepInfo& step);
/// All steps as Markdown: a heading a group, a section a step. The end of docs/preprocessing.md.
std::string steps_markdown();

}  // namespace tenon::eval
