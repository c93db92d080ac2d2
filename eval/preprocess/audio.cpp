// Steps of sounds: f32 [samples], and the field rate.

#include <samplerate.h>

#include <algorithm>
#include <cmath>
#include <optional>

#include "eval/preprocess/arguments.h"
#include "eval/preprocess/mel.h"

namespace tenon::eval {
namespace {

using Kind = Parameter::Kind;

constexpr std::string_view kSound = "f32 [samples]";
constexpr double kMaxRate = 1'000'000;

std::optional<int64_t> rate_in(const Fields& fields) {
  const auto found = fields.find("rate");
  const auto* t = found == fields.end() ? nullptr : std::get_if<Tensor>(&found->second);
  if (t == nullptr || t->size() != 1 || t->dtype() == DType::kString) return std::nullopt;
  return t->at_int(0);
}

constexpr Parameter kResample[] = {{"rate", Kind::kInteger, "16000", "samples a second of the result", 1, kMaxRate},
                                   {"from", Kind::kInteger, "", "of the input; without it the field rate says so", 1, kMaxRate},
                                   {"quality", Kind::kChoice, "\"best\"",
                                    "best|medium|fastest|linear libsamplerate's converter: three sincs and linear interpolation"}};

int converter_of(const std::string& quality) {
  if (quality == "medium") return SRC_SINC_MEDIUM_QUALITY;
  if (quality == "fastest") return SRC_SINC_FASTEST;
  return quality == "linear" ? SRC_LINEAR : SRC_SINC_BEST_QUALITY;
}

Result<Tensor> resampled(const Tensor& in, int64_t from, int64_t to, int converter) {
  if (from == to || in.size() == 0) return in;
  const double ratio = static_cast<double>(to) / static_cast<double>(from);
  if (src_is_valid_ratio(ratio) == 0) return error(Code::kUnsupported, "{} Hz cannot be resampled to {} Hz: the ratio is beyond 256", from, to);
  const double length = std::ceil(static_cast<double>(in.size()) * ratio);
  if (length > static_cast<double>(kMaxElements)) return error(Code::kResourceExhausted, "the sound would have more than {} samples", kMaxElements);
  TENON_ASSIGN_OR_RETURN(Tensor out, Tensor::zeros(DType::kF32, {static_cast<int64_t>(length)}));
  SRC_DATA data{};
  data.data_in = in.span<float>().data();
  data.input_frames = static_cast<long>(in.size());
  data.data_out = out.mutable_span<float>().data();
  data.output_frames = static_cast<long>(out.size());
  data.src_ratio = ratio;
  if (const int code = src_simple(&data, converter, 1); code != 0) return error(Code::kInternal, "the sound cannot be resampled: {}", src_strerror(code));
  return out;
}

Result<StepFunction> make_resample(const StepArguments& a) {
  const int64_t to = integer(a, "rate");
  std::optional<int64_t> given;
  if (a.has("from")) given = integer(a, "from");
  return StepFunction([=, converter = converter_of(text(a, "quality")), input = a.input, output = a.output](Fields& fields) -> Status {
    TENON_ASSIGN_OR_RETURN(const Tensor in, samples_in(fields, input));
    const auto from = given ? given : rate_in(fields);
    if (!from || *from < 1 || *from > static_cast<int64_t>(kMaxRate))
      return error(Code::kInvalidArgument, "the sound's rate is not known").with_hint("say \"from\"");
    TENON_ASSIGN_OR_RETURN(fields[output], resampled(in, *from, to, converter));
    fields["rate"] = Tensor::scalar(to);
    return {};
  });
}

constexpr Parameter kMono[] = {{"channels", Kind::kChoice, "\"last\"", "last|first which dim the channels are"}};

Result<StepFunction> make_mono(const StepArguments& a) {
  return mapped(a, [first = text(a, "channels") == "first"](const Tensor& in) -> Result<Tensor> {
    TENON_ASSIGN_OR_RETURN(const Tensor wide, to_f32(in));
    if (wide.rank() == 1) return wide;
    if (wide.rank() != 2) return error(Code::kInvalidArgument, "sound of shape {} is neither [samples] nor [samples, channels]", to_string(in.shape()));
    const int64_t channels = wide.dim(first ? 0 : 1), samples = wide.dim(first ? 1 : 0);
    if (channels < 1) return error(Code::kInvalidArgument, "the sound has no channels");
    TENON_ASSIGN_OR_RETURN(Tensor out, make_tensor(DType::kF32, {samples}));
    const auto from = wide.span<float>();
    for (int64_t i = 0; i < samples; ++i) {
      double sum = 0;
      for (int64_t c = 0; c < channels; ++c) sum += from[static_cast<size_t>(first ? c * samples + i : i * channels + c)];
      out.mutable_span<float>()[static_cast<size_t>(i)] = static_cast<float>(sum / static_cast<double>(channels));
    }
    return out;
  });
}

constexpr Parameter kFit[] = {{"samples", Kind::kInteger, "", "of the result", 1, static_cast<double>(kMaxElements)},
                              {"seconds", Kind::kNumber, "", "of the result, at the field rate: instead of samples", 0, 1e6},
                              {"align", Kind::kChoice, "\"start\"", "start|center|end which part stays when it is longer, and where it goes when it is shorter"},
                              {"pad", Kind::kBoolean, "true", "whether shorter sounds grow"},
                              {"trim", Kind::kBoolean, "true", "whether longer sounds shrink"},
                              {"value", Kind::kNumber, "0", "of added samples"}};

Result<StepFunction> make_fit(const StepArguments& a) {
  if (a.has("samples") == a.has("seconds")) return error(Code::kInvalidArgument, "give one of 'samples' and 'seconds'");
  const int64_t samples = a.has("samples") ? integer(a, "samples") : 0;
  return StepFunction([=, seconds = samples > 0 ? 0 : number(a, "seconds"), align = text(a, "align"), pad = boolean(a, "pad"), trim = boolean(a, "trim"),
                       value = static_cast<float>(number(a, "value")), input = a.input, output = a.output](Fields& fields) -> Status {
    TENON_ASSIGN_OR_RETURN(const Tensor in, samples_in(fields, input));
    int64_t length = samples;
    if (length == 0) {
      const auto rate = rate_in(fields);
      if (!rate) return error(Code::kInvalidArgument, "the sound's rate is not known").with_hint("say \"samples\"");
      const double exact = std::nearbyint(seconds * static_cast<double>(*rate));
      if (!(exact >= 1) || exact > static_cast<double>(kMaxElements)) return error(Code::kInvalidArgument, "{} seconds at {} Hz are no length", seconds, *rate);
      length = static_cast<int64_t>(exact);
    }
    if ((in.size() < length && !pad) || (in.size() > length && !trim)) length = in.size();
    TENON_ASSIGN_OR_RETURN(Tensor out, make_tensor(DType::kF32, {length}));
    const int64_t difference = length - in.size();  // above 0: added
    const int64_t shift = align == "start" ? 0 : align == "end" ? difference : difference / 2;
    const auto from = in.span<float>();
    const auto to = out.mutable_span<float>();
    for (int64_t i = 0; i < length; ++i) {
      const int64_t at = i - shift;
      to[static_cast<size_t>(i)] = at >= 0 && at < in.size() ? from[static_cast<size_t>(at)] : value;
    }
    fields[output] = std::move(out);
    return {};
  });
}

constexpr Parameter kFrames[] = {{"length", Kind::kInteger, "512", "samples of a frame", 1, static_cast<double>(kMaxElements)},
                                 {"hop", Kind::kInteger, "", "samples from one frame to the next; without it, length", 1, static_cast<double>(kMaxElements)},
                                 {"pad", Kind::kBoolean, "true", "whether zeros complete a last frame, which is left out otherwise"}};

Result<StepFunction> make_frames(const StepArguments& a) {
  const int64_t length = integer(a, "length"), hop = a.has("hop") ? integer(a, "hop") : length;
  return StepFunction([=, pad = boolean(a, "pad"), input = a.input, output = a.output](Fields& fields) -> Status {
    TENON_ASSIGN_OR_RETURN(const Tensor in, samples_in(fields, input));
    const int64_t rest = in.size() - length;
    const int64_t count = rest < 0 ? (pad && in.size() > 0 ? 1 : 0) : 1 + (pad ? (rest + hop - 1) / hop : rest / hop);
    TENON_ASSIGN_OR_RETURN(Tensor out, make_tensor(DType::kF32, {count, length}));
    for (int64_t f = 0; f < count; ++f)
      for (int64_t i = 0; i < length; ++i)
        out.mutable_span<float>()[static_cast<size_t>(f * length + i)] =
            f * hop + i < in.size() ? in.span<float>()[static_cast<size_t>(f * hop + i)] : 0.0f;
    fields[output] = std::move(out);
    return {};
  });
}

constexpr Parameter kLogMel[] = {
    {"rate", Kind::kInteger, "16000", "the sound's, which must have it", 1, kMaxRate},
    {"n_fft", Kind::kInteger, "400", "samples of a frame", 2, 1 << 20},
    {"hop", Kind::kInteger, "160", "samples from one frame to the next", 1, 1 << 20},
    {"window", Kind::kInteger, "", "samples of the Hann window; without it, n_fft", 1, 1 << 20},
    {"mels", Kind::kInteger, "80", "filters", 1, 4096},
    {"low", Kind::kNumber, "0", "Hz, where the first filter begins", 0, kMaxRate},
    {"high", Kind::kNumber, "", "Hz, where the last filter ends; without it, half the rate", 0, kMaxRate},
    {"scale", Kind::kChoice, "\"slaney\"", "slaney|htk mel scale"},
    {"norm", Kind::kChoice, "\"slaney\"", "slaney|none slaney: each filter has the area 1"},
    {"power", Kind::kNumber, "2", "of the magnitudes", 0, 8},
    {"center", Kind::kBoolean, "true", "whether n_fft / 2 samples are added at both ends"},
    {"pad_mode", Kind::kChoice, "\"reflect\"", "reflect|constant what those are: the mirrored sound, or zeros"},
    {"drop_last", Kind::kBoolean, "false", "whether the last frame is left out"},
    {"log", Kind::kChoice, "\"whisper\"", "whisper|ln|log10|db|none what is made of the powers"},
    {"floor", Kind::kNumber, "1e-10", "powers below become it", 0, 1},
    {"order", Kind::kChoice, "\"mels_first\"", "mels_first|frames_first dims of the result"}};

constexpr double kTopDb = 80, kWhisperRange = 8;

/// Logarithms in place. Whisper's: log10, at most 8 below the largest, then (x + 4) / 4; db: 10 log10, at most 80 below the largest.
void take_log(std::span<float> values, const std::string& log, double floor) {
  if (log == "none") return;
  double most = -1e300;
  for (float& v : values) {
    const double x = std::max(static_cast<double>(v), floor);
    v = static_cast<float>(log == "ln" ? std::log(x) : log == "db" ? 10 * std::log10(x) : std::log10(x));
    most = std::max(most, static_cast<double>(v));
  }
  for (float& v : values) {
    if (log == "whisper") v = static_cast<float>((std::max(static_cast<double>(v), most - kWhisperRange) + 4) / 4);
    if (log == "db") v = static_cast<float>(std::max(static_cast<double>(v), most - kTopDb));
  }
}

Result<StepFunction> make_log_mel(const StepArguments& a) {
  MelOptions options;
  options.rate = integer(a, "rate");
  options.n_fft = integer(a, "n_fft");
  options.hop = integer(a, "hop");
  options.window = a.has("window") ? integer(a, "window") : 0;
  options.mels = integer(a, "mels");
  options.low = number(a, "low");
  options.high = a.has("high") ? number(a, "high") : 0;
  options.htk = text(a, "scale") == "htk";
  options.norm = text(a, "norm") == "slaney";
  options.power = number(a, "power");
  options.center = boolean(a, "center");
  options.reflect = text(a, "pad_mode") == "reflect";
  options.drop_last = boolean(a, "drop_last");
  const std::string log = text(a, "log");
  const double floor = number(a, "floor");
  if (floor <= 0 && log != "none") return wrong_parameter("floor", "is 0, which has no logarithm");
  TENON_ASSIGN_OR_RETURN(const MelSpectrogram mel, MelSpectrogram::make(options));
  return StepFunction([=, frames_first = text(a, "order") == "frames_first", rate = options.rate, input = a.input, output = a.output](Fields& fields) -> Status {
    TENON_ASSIGN_OR_RETURN(const Tensor in, samples_in(fields, input));
    if (const auto actual = rate_in(fields); actual && *actual != rate)
      return error(Code::kInvalidArgument, "the sound has {} samples a second, the step {}", *actual, rate).with_hint("put a step resample before");
    TENON_ASSIGN_OR_RETURN(Tensor out, mel.run(in));
    take_log(out.mutable_span<float>(), log, floor);
    if (frames_first) {
      TENON_ASSIGN_OR_RETURN(Tensor turned, make_tensor(DType::kF32, {out.dim(1), out.dim(0)}));
      for (int64_t m = 0; m < out.dim(0); ++m)
        for (int64_t t = 0; t < out.dim(1); ++t)
          turned.mutable_span<float>()[static_cast<size_t>(t * out.dim(0) + m)] = out.span<float>()[static_cast<size_t>(m * out.dim(1) + t)];
      out = std::move(turned);
    }
    fields[output] = std::move(out);
    return {};
  });
}

constexpr Parameter kLevel[] = {{"method", Kind::kChoice, "\"standard\"", "standard|peak standard: (x - mean) / sqrt(variance + epsilon); peak: x / max |x|"},
                                {"epsilon", Kind::kNumber, "1e-7", "so that silence stays finite", 0, 1}};

Result<StepFunction> make_level(const StepArguments& a) {
  const bool peak = text(a, "method") == "peak";
  return StepFunction([=, epsilon = number(a, "epsilon"), input = a.input, output = a.output](Fields& fields) -> Status {
    TENON_ASSIGN_OR_RETURN(const Tensor in, samples_in(fields, input));
    const auto x = in.span<float>();
    double sum = 0, squares = 0, most = 0;
    for (float v : x) sum += v, most = std::max(most, static_cast<double>(std::abs(v)));
    const double mean = x.empty() ? 0 : sum / static_cast<double>(x.size());
    for (float v : x) squares += (v - mean) * (v - mean);
    const double variance = x.empty() ? 0 : squares / static_cast<double>(x.size());
    const double divisor = peak ? most : std::sqrt(variance + epsilon), shift = peak ? 0 : mean;
    TENON_ASSIGN_OR_RETURN(Tensor out, make_tensor(DType::kF32, in.shape()));
    std::transform(x.begin(), x.end(), out.mutable_span<float>().begin(),
                   [&](float v) { return divisor == 0 ? 0.0f : static_cast<float>((v - shift) / divisor); });
    fields[output] = std::move(out);
    return {};
  });
}

constexpr Parameter kInt16[] = {{"dtype", Kind::kChoice, "\"i16\"", "i16|f32 whether whole numbers are stored as such"}};

Result<StepFunction> make_int16(const StepArguments& a) {
  return StepFunction([whole = text(a, "dtype") == "i16", input = a.input, output = a.output](Fields& fields) -> Status {
    TENON_ASSIGN_OR_RETURN(const Tensor in, samples_in(fields, input));
    TENON_ASSIGN_OR_RETURN(Tensor out, make_tensor(whole ? DType::kI16 : DType::kF32, in.shape()));
    for (int64_t i = 0; i < in.size(); ++i) {
      const float x = in.span<float>()[static_cast<size_t>(i)];
      out.set_double(i, std::isnan(x) ? 0 : std::clamp(std::nearbyint(x * 32768.0), -32768.0, 32767.0));
    }
    fields[output] = std::move(out);
    return {};
  });
}

constexpr Parameter kPreemphasis[] = {{"factor", Kind::kNumber, "0.97", "of the sample before", 0, 1}};

Result<StepFunction> make_preemphasis(const StepArguments& a) {
  return StepFunction([factor = static_cast<float>(number(a, "factor")), input = a.input, output = a.output](Fields& fields) -> Status {
    TENON_ASSIGN_OR_RETURN(const Tensor in, samples_in(fields, input));
    TENON_ASSIGN_OR_RETURN(Tensor out, make_tensor(DType::kF32, in.shape()));
    const auto x = in.span<float>();
    for (size_t i = 0; i < x.size(); ++i) out.mutable_span<float>()[i] = i == 0 ? x[0] : x[i] - factor * x[i - 1];
    fields[output] = std::move(out);
    return {};
  });
}

constexpr StepInfo kSteps[] = {
    {"mono", "audio", "audio", "", "numbers [samples, channels]", kSound, "Averages channels. Data sets of sound files have done so.", kMono, make_mono},
    {"resample", "audio", "audio", "", kSound, kSound, "Changes the samples a second, with libsamplerate.", kResample, make_resample},
    {"fit", "audio", "audio", "", kSound, kSound, "Pads or trims to a length.", kFit, make_fit},
    {"level", "audio", "audio", "", kSound, kSound, "Brings the loudness to a common level.", kLevel, make_level},
    {"preemphasis", "audio", "audio", "", kSound, kSound, "y[t] = x[t] - factor · x[t - 1].", kPreemphasis, make_preemphasis},
    {"int16", "audio", "audio", "", kSound, "i16 or f32 [samples]", "x · 32768, rounded to nearest and saturated.", kInt16, make_int16},
    {"frames", "audio", "audio", "", kSound, "f32 [frames, length]", "Cuts into frames.", kFrames, make_frames},
    {"log_mel", "audio", "audio", "mel", kSound, "f32 [mels, frames]", "A mel spectrogram, as librosa and Whisper compute it.", kLogMel, make_log_mel},
};

}  // namespace

std::span<const StepInfo> audio_steps() { return kSteps; }

}  // namespace tenon::eval
