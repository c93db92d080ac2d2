#include "eval/datasets/audio_file.h"

#include <sndfile.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstring>

#include "support/checked.h"

namespace tenon::eval {
namespace {

constexpr int kMaxChannels = 64;
constexpr sf_count_t kBlock = 1 << 16;

/// A file in memory, as libsndfile wants to read it.
struct Source {
  std::span<const std::byte> bytes;
  sf_count_t at = 0;
};

sf_count_t source_length(void* user) { return static_cast<sf_count_t>(static_cast<Source*>(user)->bytes.size()); }
sf_count_t source_seek(sf_count_t offset, int whence, void* user) {
  auto& source = *static_cast<Source*>(user);
  const auto size = static_cast<sf_count_t>(source.bytes.size());
  const sf_count_t from = whence == SEEK_SET ? 0 : whence == SEEK_CUR ? source.at : size;
  const auto to = checked_add(from, offset);
  source.at = std::clamp<sf_count_t>(to.value_or(size), 0, size);
  return source.at;
}
sf_count_t source_read(void* to, sf_count_t count, void* user) {
  auto& source = *static_cast<Source*>(user);
  const sf_count_t left = static_cast<sf_count_t>(source.bytes.size()) - source.at;
  const sf_count_t n = std::clamp<sf_count_t>(count, 0, left);
  if (n > 0) std::memcpy(to, source.bytes.data() + source.at, static_cast<size_t>(n));
  source.at += n;
  return n;
}
sf_count_t source_write(const void*, sf_count_t, void*) { return 0; }
sf_count_t source_tell(void* user) { return static_cast<Source*>(user)->at; }

Status damaged(std::string_view why) {
  return Status(Code::kInvalidArgument, fmt::format("the sound file cannot be decoded: {}", why), {}, "give WAV, FLAC, OGG or AIFF");
}

struct Closer {
  void operator()(SNDFILE* file) const { sf_close(file); }
};

}  // namespace

Result<Sound> decode_audio(std::span<const std::byte> bytes) {
  SF_VIRTUAL_IO io{source_length, source_seek, source_read, source_write, source_tell};
  Source source{bytes};
  SF_INFO about{};
  const std::unique_ptr<SNDFILE, Closer> file(sf_open_virtual(&io, SFM_READ, &about, &source));
  if (file == nullptr) return damaged(sf_strerror(nullptr));
  if (about.channels < 1 || about.channels > kMaxChannels || about.samplerate < 1 || about.frames < 0)
    return damaged(fmt::format("{} channels at {} Hz", about.channels, about.samplerate));
  std::vector<float> block(static_cast<size_t>(kBlock * about.channels)), samples;
  // Frames are counted as they come: the header may say anything.
  for (;;) {
    const sf_count_t frames = sf_readf_float(file.get(), block.data(), kBlock);
    if (frames <= 0) break;
    if ((static_cast<int64_t>(samples.size()) + frames) * about.channels > kMaxSamples)
      return error(Code::kResourceExhausted, "the sound has more than {} samples", kMaxSamples);
    for (sf_count_t i = 0; i < frames; ++i) {
      double sum = 0;
      for (int c = 0; c < about.channels; ++c) sum += block[static_cast<size_t>(i * about.channels + c)];
      const auto mean = static_cast<float>(sum / about.channels);
      samples.push_back(std::isfinite(mean) ? mean : 0.0f);
    }
  }
  if (sf_error(file.get()) != SF_ERR_NO_ERROR) return damaged(sf_strerror(file.get()));
  if (static_cast<sf_count_t>(samples.size()) < about.frames && about.frames != SF_COUNT_MAX)
    return damaged(fmt::format("it ends after {} of {} samples", samples.size(), about.frames));
  const auto count = static_cast<int64_t>(samples.size());
  return Sound{Tensor::from<float>({count}, samples), about.samplerate};
}

}  // namespace tenon::eval
