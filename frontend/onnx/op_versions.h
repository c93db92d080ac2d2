#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string_view>

namespace tenon::frontend {

/// The opsets in which an op's definition was new or changed (ONNX docs/Changelog.md and Changelog-ml.md), ascending.
struct OpVersions {
  static constexpr int kMax = 12;
  std::string_view domain, name;  // domain "" is ai.onnx
  int64_t since[kMax] = {};       // zeros behind the last one
  int64_t ended = 0;              // opset that deprecates or lacks the op; 0: none

  std::span<const int64_t> versions() const;
};

/// Every op of ai.onnx, ai.onnx.ml, ai.onnx.preview, ai.onnx.preview.training and com.microsoft, in order of domain and
/// name. Beside the specification's: the experimental ops of version 1 that opset 10 took out or defined anew, and the
/// normalisations that ONNX Runtime defines in ai.onnx from version 1.
std::span<const OpVersions> all_op_versions();

/// Null for an op that the table does not know.
const OpVersions* find_op_versions(std::string_view domain, std::string_view op);
/// Empty for an op that the table does not know.
std::span<const int64_t> op_versions(std::string_view domain, std::string_view op);
/// The version of the op which is in force at an opset; nullopt before the first one.
std::optional<int64_t> since_version(std::string_view domain, std::string_view op, int64_t opset);
/// The newest opset of a domain of the specification that the table covers; nullopt for other domains.
std::optional<int64_t> newest_opset(std::string_view domain);

}  // namespace tenon::frontend
