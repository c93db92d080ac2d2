#include "frontend/onnx/channel_block.h"

#include <cstring>
#include <string>
#include <unordered_map>
#include <vector>

namespace tenon::frontend {
namespace {

constexpr const char* kDomain = "com.microsoft.nchwc";

int64_t block_of_host() {
#if defined(__x86_64__)
  return __builtin_cpu_supports("avx512f") ? 16 : 8;
#elif defined(__aarch64__)
  return 16;
#else
  return 8;
#endif
}

int64_t attribute(const onnx::NodeProto& node, const char* name, int64_t fallback) {
  for (const auto& a : node.attribute())
    if (a.name() == name && a.has_i()) return a.i();
  return fallback;
}

/// The number that ends the shape of a reshape from blocked channels to an axis of blocks and one of channels in them.
int64_t exposed_block(const onnx::TensorProto& shape) {
  std::vector<int64_t> v(shape.int64_data().begin(), shape.int64_data().end());
  if (v.empty() && shape.raw_data().size() == 5 * sizeof(int64_t)) {
    v.resize(5);
    std::memcpy(v.data(), shape.raw_data().data(), shape.raw_data().size());
  }
  return v.size() == 5 && v[0] == 0 && v[1] == -1 && v[2] == 0 && v[3] == 0 ? v[4] : 0;
}

class Evidence {
 public:
  void read(const onnx::GraphProto& graph) {
    std::unordered_map<std::string, const onnx::TensorProto*> weights;
    for (const auto& tensor : graph.initializer()) weights.emplace(tensor.name(), &tensor);
    std::unordered_map<std::string, int64_t> channels;  // padded, of what convolutions give, followed through unary nodes
    for (const auto& node : graph.node()) {
      for (const auto& a : node.attribute())
        if (a.has_g()) read(a.g());
      if (node.input_size() == 0 || node.output_size() == 0) continue;
      const auto from = channels.find(node.input(0));
      const int64_t before = from == channels.end() ? 0 : from->second;
      if (node.domain() != kDomain) {
        if (node.op_type() == "Reshape" && node.input_size() > 1)
          if (const auto shape = weights.find(node.input(1)); shape != weights.end()) reshaped(exposed_block(*shape->second));
        if (node.input_size() == 1 && before > 0) channels[node.output(0)] = before;
        continue;
      }
      found_ = true;
      if (node.op_type() == "Conv" && node.input_size() > 1) {
        const auto w = weights.find(node.input(1));
        if (w == weights.end() || w->second->dims_size() < 2) continue;
        convolution(w->second->dims(0), w->second->dims(1), attribute(node, "group", 1));
        channels[node.output(0)] = w->second->dims(0);
      } else if (node.op_type() == "ReorderOutput") {
        cut(before, attribute(node, "channels", 0));
      } else if (before > 0) {
        channels[node.output(0)] = before;
      }
    }
  }

  int64_t block() const { return !found_ ? 0 : is_8_ ? 8 : is_16_ ? 16 : block_of_host(); }

 private:
  void convolution(int64_t out, int64_t in, int64_t group) {
    if (out % 16 == 8) is_8_ = true;
    if (group != 1) return;
    // Fewer channels than a block are read from the plain layout.
    if (in > 8 && in < 16) is_16_ = true;
    if (in > 16 && in % 16 == 8) is_8_ = true;
  }
  void reshaped(int64_t block) {
    if (block == 8) is_8_ = true;
    if (block == 16) is_16_ = true;
  }
  void cut(int64_t padded, int64_t channels) {
    if (padded > 0 && channels > 0 && padded - channels >= 8) is_16_ = true;
  }

  bool found_ = false, is_8_ = false, is_16_ = false;
};

}  // namespace

int64_t channel_block(const onnx::GraphProto& graph) {
  Evidence evidence;
  evidence.read(graph);
  return evidence.block();
}

}  // namespace tenon::frontend
