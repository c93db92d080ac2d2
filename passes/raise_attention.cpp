#include "passes/raise_rules.h"

namespace tenon::passes {
std::span<const RaiseRule> attention_rules() { return {}; }
}  // namespace tenon::passes
