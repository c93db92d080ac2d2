#pragma once

#include <span>

#include "eval/datasets/dataset.h"

namespace tenon::eval {

struct Sound {
  Tensor samples;                     // f32 [samples], channels averaged; integers are divided by their full scale
  int64_t rate = 0;                   // samples a second
};
inline constexpr int64_t kMaxSamples = int64_t{1} << 29;  // of all channels: 2 GiB decoded

/// WAV, FLAC, OGG, AIFF and what else libsndfile reads. kInvalidArgument for a damaged file, kResourceExhausted above kMaxSamples.
Result<Sound> decode_audio(std::span<const std::byte> bytes);

}  // namespace tenon::eval
