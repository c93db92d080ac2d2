#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "codegen/tuning.h"

namespace tenon::ir {
class Node;
}

namespace tenon::codegen {

/// Where one node (or fused group) runs and why.
struct Placement {
  std::string node;                 // name
  std::string op;
  enum class Kind : uint8_t { kGenerated, kLibrary, kHost, kView, kInterpreted, kFolded } kind = Kind::kGenerated;
  std::string implementation;       // "elementwise", "row-reduction", "contraction 6x32", "host NonMaxSuppression" …
  std::string reason;               // why better-ranked implementations refused; empty for the best
  std::vector<std::string> covers;  // original node names inside
  std::vector<Tunable> tunables;    // of its kernels
  const ir::Node* source = nullptr; // in the executable's graph
};

}  // namespace tenon::codegen
