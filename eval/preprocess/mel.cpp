#include "eval/preprocess/mel.h"

#include <fftw3.h>

#include <algorithm>
#include <cmath>
#include <mutex>
#include <numbers>
#include <vector>

#include "eval/preprocess/arguments.h"

namespace tenon::eval {
namespace {

/// FFTW's planner is one for the process and not thread-safe; its plans are.
std::mutex& planner() {
  static std::mutex mutex;
  return mutex;
}

struct DestroyPlan {
  void operator()(fftwf_plan plan) const {
    const std::lock_guard lock(planner());
    fftwf_destroy_plan(plan);
  }
};
struct FreeAligned {
  void operator()(void* p) const { fftwf_free(p); }
};

/// Slaney's Auditory Toolbox (1998): 200/3 Hz a mel up to 1 kHz, then 27 a factor of 6.4.
constexpr double kHzPerMel = 200.0 / 3, kBreakHz = 1000, kBreakMel = kBreakHz / kHzPerMel;
const double kLogStep = std::log(6.4) / 27;

double to_mel(double hz, bool htk) {
  if (htk) return 2595 * std::log10(1 + hz / 700);
  return hz < kBreakHz ? hz / kHzPerMel : kBreakMel + std::log(hz / kBreakHz) / kLogStep;
}
double to_hz(double mel, bool htk) {
  if (htk) return 700 * (std::pow(10.0, mel / 2595) - 1);
  return mel < kBreakMel ? mel * kHzPerMel : kBreakHz * std::exp(kLogStep * (mel - kBreakMel));
}

struct Filter {
  size_t first = 0;
  std::vector<float> weights;
};

std::vector<Filter> filters_of(const MelOptions& o) {
  const double low = to_mel(o.low, o.htk), high = to_mel(o.high, o.htk);
  std::vector<double> edges;
  for (int64_t i = 0; i < o.mels + 2; ++i)
    edges.push_back(to_hz(low + (high - low) * static_cast<double>(i) / static_cast<double>(o.mels + 1), o.htk));
  std::vector<Filter> out;
  for (size_t m = 0; m < static_cast<size_t>(o.mels); ++m) {
    Filter filter;
    for (int64_t k = 0; k <= o.n_fft / 2; ++k) {
      const double hz = static_cast<double>(k) * static_cast<double>(o.rate) / static_cast<double>(o.n_fft);
      const double rise = (hz - edges[m]) / (edges[m + 1] - edges[m]), fall = (edges[m + 2] - hz) / (edges[m + 2] - edges[m + 1]);
      double weight = std::max(0.0, std::min(rise, fall));
      if (o.norm) weight *= 2 / (edges[m + 2] - edges[m]);
      if (weight <= 0 && filter.weights.empty()) continue;
      if (filter.weights.empty()) filter.first = static_cast<size_t>(k);
      filter.weights.push_back(static_cast<float>(weight));
    }
    out.push_back(std::move(filter));
  }
  return out;
}

/// Hann's, periodic, in the middle of n_fft.
std::vector<float> window_of(int64_t length, int64_t n_fft) {
  std::vector<float> out(static_cast<size_t>(n_fft), 0.0f);
  const int64_t begin = (n_fft - length) / 2;
  for (int64_t i = 0; i < length; ++i)
    out[static_cast<size_t>(begin + i)] =
        static_cast<float>(0.5 - 0.5 * std::cos(2 * std::numbers::pi * static_cast<double>(i) / static_cast<double>(length)));
  return out;
}

}  // namespace

struct MelSpectrogram::State {
  MelOptions options;
  std::vector<float> window;
  std::vector<Filter> filters;
  std::unique_ptr<std::remove_pointer_t<fftwf_plan>, DestroyPlan> plan;
};

Result<MelSpectrogram> MelSpectrogram::make(const MelOptions& given) {
  MelOptions o = given;
  if (o.window == 0) o.window = o.n_fft;
  if (o.high == 0) o.high = static_cast<double>(o.rate) / 2;
  if (o.rate < 1) return wrong_parameter("rate", "is below 1");
  if (o.n_fft < 2 || o.n_fft > 1 << 20) return wrong_parameter("n_fft", "is outside [2, 2^20]");
  if (o.hop < 1 || o.mels < 1 || o.mels > 4096) return wrong_parameter("mels", "or 'hop' is below 1, or there are more than 4096 mels");
  if (o.window < 1 || o.window > o.n_fft) return wrong_parameter("window", fmt::format("is {}, n_fft {}", o.window, o.n_fft));
  if (o.low < 0 || o.high <= o.low || o.high > static_cast<double>(o.rate) / 2 + 1e-6)
    return wrong_parameter("high", fmt::format("is {} Hz; 0 <= low < high <= rate / 2 = {} does not hold", o.high, o.rate / 2));
  auto state = std::make_shared<State>();
  state->options = o;
  state->window = window_of(o.window, o.n_fft);
  state->filters = filters_of(o);
  const auto n = static_cast<size_t>(o.n_fft);
  const std::unique_ptr<float, FreeAligned> in(fftwf_alloc_real(n));
  const std::unique_ptr<fftwf_complex, FreeAligned> out(fftwf_alloc_complex(n / 2 + 1));
  if (in == nullptr || out == nullptr) return error(Code::kResourceExhausted, "there is no memory for a transform of {}", n);
  {
    const std::lock_guard lock(planner());
    state->plan.reset(fftwf_plan_dft_r2c_1d(static_cast<int>(n), in.get(), out.get(), FFTW_ESTIMATE));
  }
  if (state->plan == nullptr) return error(Code::kUnsupported, "there is no transform of {} samples", n);
  MelSpectrogram made;
  made.state_ = std::move(state);
  return made;
}

Result<Tensor> MelSpectrogram::run(const Tensor& samples) const {
  const MelOptions& o = state_->options;
  const int64_t n = samples.size(), pad = o.center ? o.n_fft / 2 : 0;
  if (o.center && o.reflect && n <= pad)
    return error(Code::kInvalidArgument, "{} samples are too few to be mirrored for frames of {}", n, o.n_fft).with_hint("put a step fit before");
  if (n + 2 * pad < o.n_fft) return error(Code::kInvalidArgument, "{} samples are too few for a frame of {}", n, o.n_fft).with_hint("put a step fit before");
  int64_t frames = 1 + (n + 2 * pad - o.n_fft) / o.hop;
  if (o.drop_last && frames > 1) --frames;
  constexpr int64_t kMaxTransformed = int64_t{1} << 36;
  if (frames > kMaxTransformed / o.n_fft)
    return error(Code::kResourceExhausted, "{} frames of {} samples are more than 2^36", frames, o.n_fft).with_hint("make 'hop' larger");
  TENON_ASSIGN_OR_RETURN(Tensor out, make_tensor(DType::kF32, {o.mels, frames}));
  const auto size = static_cast<size_t>(o.n_fft);
  const std::unique_ptr<float, FreeAligned> in(fftwf_alloc_real(size));
  const std::unique_ptr<fftwf_complex, FreeAligned> spectrum(fftwf_alloc_complex(size / 2 + 1));
  if (in == nullptr || spectrum == nullptr) return error(Code::kResourceExhausted, "there is no memory for a transform of {}", size);
  const auto x = samples.span<float>();
  const auto to = out.mutable_span<float>();
  std::vector<float> powers(size / 2 + 1);
  for (int64_t t = 0; t < frames; ++t) {
    for (int64_t i = 0; i < o.n_fft; ++i) {
      int64_t at = t * o.hop + i - pad;
      if (o.reflect) at = at < 0 ? -at : at >= n ? 2 * (n - 1) - at : at;
      in.get()[i] = at < 0 || at >= n ? 0.0f : x[static_cast<size_t>(at)] * state_->window[static_cast<size_t>(i)];
    }
    fftwf_execute_dft_r2c(state_->plan.get(), in.get(), spectrum.get());
    for (size_t k = 0; k < powers.size(); ++k) {
      const float re = spectrum.get()[k][0], im = spectrum.get()[k][1], square = re * re + im * im;
      powers[k] = o.power == 2 ? square : std::pow(square, static_cast<float>(o.power / 2));
    }
    for (size_t m = 0; m < state_->filters.size(); ++m) {
      const Filter& filter = state_->filters[m];
      double sum = 0;
      for (size_t k = 0; k < filter.weights.size(); ++k) sum += static_cast<double>(filter.weights[k]) * powers[filter.first + k];
      to[m * static_cast<size_t>(frames) + static_cast<size_t>(t)] = static_cast<float>(sum);
    }
  }
  return out;
}

}  // namespace tenon::eval
