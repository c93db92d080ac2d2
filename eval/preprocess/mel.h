#pragma once

#include <memory>

#include "support/tensor.h"

namespace tenon::eval {

/// Names and defaults are librosa's (librosa.feature.melspectrogram), whose values this reproduces.
struct MelOptions {
  int64_t rate = 16000;
  int64_t n_fft = 400, hop = 160, window = 0;  // samples; window 0: n_fft
  int64_t mels = 80;
  double low = 0, high = 0;                    // Hz; high 0: half the rate
  bool htk = false;                            // mel scale: HTK's 2595 log10(1 + f / 700), else Slaney's: linear below 1 kHz
  bool norm = true;                            // Slaney's: each filter has the area 1
  double power = 2;                            // of the magnitude
  bool center = true;                          // frame t is centred at t · hop: n_fft / 2 samples are added at both ends
  bool reflect = true;                         // those mirror the sound; else they are 0
  bool drop_last = false;                      // Whisper leaves the last frame out
};

/// mel[m, t] = Σ_k filter[m, k] · |Σ_n hann[n] x[t · hop + n] e^(-2πi k n / n_fft)|^power. Immutable.
class MelSpectrogram {
 public:
  /// kInvalidArgument names the option.
  static Result<MelSpectrogram> make(const MelOptions& options);
  /// f32 [mels, frames] of f32 [samples]. kInvalidArgument when there are too few samples to mirror or for a frame.
  Result<Tensor> run(const Tensor& samples) const;

 private:
  struct State;
  std::shared_ptr<const State> state_;
};

}  // namespace tenon::eval
