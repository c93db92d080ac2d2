#include "passes/raise_rules.h"

namespace tenon::passes {
namespace {

using ir::Builder;
using ir::Dim;
using ir::Value;

using Perm = std::vector<int64_t>;

/// Six dims of the blocked view, transposed, and back to four.
struct Blocks {
  std::vector<Dim> x, view, out;
  Perm perm;
};

std::optional<Blocks> blocks_of(const Match& m) {
  if (!ranked(m["x"]) || !ranked(m["view"]) || !ranked(m.out())) return std::nullopt;
  auto perm = permutation(m.node("transposed"));
  Blocks b{dims_of(m["x"]), dims_of(m["view"]), dims_of(m.out()), perm.value_or(Perm{})};
  if (b.x.size() != 4 || b.view.size() != 6 || b.out.size() != 4) return std::nullopt;
  return b;
}

std::optional<int64_t> block(Dim p, Dim q) {
  if (!p.is_const() || p != q || p.value() < 1) return std::nullopt;
  return p.value();
}

/// [N, b, b, C, H, W] (mode DCR) or [N, C, b, b, H, W] (CRD) to [N, C, H, b, W, b] (ONNX DepthToSpace).
Value* depth_to_space(const Blocks& s, Value* x, Builder& b) {
  bool dcr = s.perm == Perm{0, 3, 4, 1, 5, 2}, crd = s.perm == Perm{0, 1, 4, 2, 5, 3};
  if (!dcr && !crd) return nullptr;
  auto size = dcr ? block(s.view[1], s.view[2]) : block(s.view[2], s.view[3]);
  Dim channels = dcr ? s.view[3] : s.view[1];
  if (!size || s.view[0] != s.x[0] || s.view[4] != s.x[2] || s.view[5] != s.x[3]) return nullptr;
  if (s.out != std::vector<Dim>{s.x[0], channels, s.x[2] * *size, s.x[3] * *size}) return nullptr;
  return b.make("DepthToSpace", {x}, {{"blocksize", *size}, {"mode", std::string(dcr ? "DCR" : "CRD")}});
}

/// [N, C, H/b, b, W/b, b] to [N, b, b, C, H/b, W/b] (ONNX SpaceToDepth).
Value* space_to_depth(const Blocks& s, Value* x, Builder& b) {
  if (s.perm != Perm{0, 3, 5, 1, 2, 4}) return nullptr;
  auto size = block(s.view[3], s.view[5]);
  if (!size || s.view[0] != s.x[0] || s.view[1] != s.x[1]) return nullptr;
  if (s.view[2] * *size != s.x[2] || s.view[4] * *size != s.x[3]) return nullptr;
  if (s.out != std::vector<Dim>{s.x[0], s.x[1] * *size * *size, s.view[2], s.view[4]}) return nullptr;
  return b.make("SpaceToDepth", {x}, {{"blocksize", *size}});
}

}  // namespace

std::span<const RaiseRule> movement_rules() {
  static const auto* rules = new std::vector<RaiseRule>{
      {reshaped(op("Transpose", {reshaped(any("x"), "view")}).as("transposed")), [](auto& m, auto& b) -> Value* {
         auto blocks = blocks_of(m);
         if (!blocks) return nullptr;
         Value* y = depth_to_space(*blocks, m["x"], b);
         return y ? y : space_to_depth(*blocks, m["x"], b);
       }}};
  return *rules;
}

}  // namespace tenon::passes
