#pragma once

#include "runtime/frame.h"
#include "runtime/stack.h"

namespace tenon::runtime {

/// What a failing check of a kernel means.
Status index_error(std::string_view where);

/// What a frame keeps for one of its steps from run to run, so that a warm step allocates nothing.
struct Frame::StepState {
  std::vector<Operand> operands;          // of the host call, or of the body
  std::vector<HostValue> in, out;         // of the host call; slices of a scan in `in`
  std::unique_ptr<Frame> bodies[2];
  std::vector<HostValue> results[2];      // of the last two iterations, in turn: one is read while the other is written
  int turn = 0;                           // results[turn] is written next
  HostValue iteration, condition;
  std::vector<HostValue> own;             // of the carried values, those that the body writes to; empty between iterations
  std::vector<Stack> stacks;              // outputs of a body beyond the carried ones
  size_t held[4] = {};                    // accounts of results[0], results[1], the stacks and copies in own
};

}  // namespace tenon::runtime
