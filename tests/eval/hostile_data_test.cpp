// Any bytes give examples or errors: each byte of small files of every form is changed and cut off.

#include <cstring>

#include <gtest/gtest.h>

#include "eval/datasets/audio_file.h"
#include "eval/datasets/dataset.h"
#include "eval/datasets/gzip.h"
#include "eval/datasets/json_text.h"
#include "frontend/onnx/npy.h"
#include "tests/eval/data_files.h"

namespace tenon::eval {
namespace {

void read_everything(const std::string& spec, const DatasetOptions& options) {
  const auto data = open_dataset(spec, options);
  if (!data.ok()) {
    EXPECT_FALSE(data.status().what().empty());
    return;
  }
  for (int64_t i = 0; i < std::min<int64_t>((*data)->size(), 50); ++i) {
    const auto example = (*data)->read(i);
    EXPECT_TRUE(example.ok() || !example.status().what().empty());
  }
}

/// Opens `spec` with each byte of `file` changed, and with the file cut before it.
void damage(const TempFolder& folder, const std::string& file, const std::string& spec, const DatasetOptions& options = {}) {
  const std::string bytes = read_all(folder.path / file);
  ASSERT_FALSE(bytes.empty());
  for (size_t i = 0; i < bytes.size(); ++i) {
    folder.write(file, bytes.substr(0, i));
    read_everything(spec, options);
    for (const int change : {0x01, 0x80, 0xff}) {
      std::string changed = bytes;
      changed[i] = static_cast<char>(changed[i] ^ change);
      folder.write(file, changed);
      read_everything(spec, options);
    }
    for (const char other : {'"', '\n', '\0', ',', '9'}) {
      std::string changed = bytes;
      changed[i] = other;
      folder.write(file, changed);
      read_everything(spec, options);
    }
  }
  folder.write(file, bytes);
}

TEST(HostileData, Tables) {
  TempFolder folder;
  damage(folder, "t.csv", folder.write("t.csv", "id,text\n1,\"a, \"\"b\"\"\"\n2,x\n"));
  damage(folder, "t.tsv", folder.write("t.tsv", "some text\t1\nmore\t-2\n"));
  damage(folder, "t.jsonl", folder.write("t.jsonl", "{\"a\": [1, 2.5], \"b\": {\"c\": \"\\u00e9\"}}\n{\"a\": null}\n"));
}

TEST(HostileData, LabelTables) {
  TempFolder folder;
  folder.write("x.ppm", ppm(1, 1, 1, 2, 3));
  folder.write("labels.tsv", "x.ppm\t12\tn\nx.ppm\t0\tm\n");
  damage(folder, "labels.tsv", folder.path.string());
}

TEST(HostileData, Arrays) {
  TempFolder folder;
  const std::string bytes("\0\0\x08\x02\0\0\0\x02\0\0\0\x02\1\2\3\4", 16);
  damage(folder, "a.idx", folder.write("a.idx", bytes), {.format = "idx"});
}

TEST(HostileData, Instances) {
  TempFolder folder;
  folder.write("a.ppm", ppm(1, 1, 1, 2, 3));
  folder.write("instances.json", R"({"images":[{"id":5,"file_name":"a.ppm"}],"annotations":[{"image_id":5,"category_id":9,"bbox":[1,2,3,4]}],"categories":[{"id":9}]})");
  damage(folder, "instances.json", folder.path.string());
}

TEST(HostileData, Sounds) {
  TempFolder folder;
  folder.write("a/x.wav", wav(8000, 2, {1, 2, 3, 4, 5, 6}));
  damage(folder, "a/x.wav", folder.path.string());
}

TEST(HostileData, SoundsThatClaimMuch) {
  std::string bytes = wav(8000, 1, {1, 2, 3});
  for (size_t i = 40; i < 44; ++i) bytes[i] = static_cast<char>(i == 43 ? 0x7f : 0xff);
  const auto sound = decode_audio(std::as_bytes(std::span(bytes)));
  EXPECT_TRUE(!sound.ok() || sound->samples.size() <= 100);
}

TEST(HostileData, Masks) {
  TempFolder folder;
  folder.write("images/a.ppm", ppm(2, 2, 1, 2, 3));
  folder.write("masks/a.pgm", pgm(2, 2, "abcd"));
  damage(folder, "masks/a.pgm", folder.path.string());
}

TEST(HostileData, GzipUnpacksNoFurtherThanItsLimit) {
  // 1 MiB of zeros, by zlib: see the test's own packing.
  TempFolder folder;
  const std::string zeros(1 << 20, '\0');
  const std::string file = folder.write("zeros", zeros);
  const std::string packed = [&] {
    const std::string command = "gzip -c '" + file + "'";
    std::string out;
    FILE* pipe = popen(command.c_str(), "r");
    char buffer[4096];
    for (size_t n; pipe != nullptr && (n = fread(buffer, 1, sizeof buffer, pipe)) > 0;) out.append(buffer, n);
    if (pipe != nullptr) pclose(pipe);
    return out;
  }();
  ASSERT_LT(packed.size(), 4096u);
  const auto bytes = std::as_bytes(std::span(packed));
  EXPECT_EQ(gunzip(bytes, 1 << 20, "x").value()->size(), size_t{1} << 20);
  EXPECT_EQ(gunzip(bytes, 1000, "x").status().code(), Code::kResourceExhausted);
  const std::string twice = packed + packed;
  EXPECT_EQ(gunzip(std::as_bytes(std::span(twice)), 1 << 22, "x").value()->size(), size_t{2} << 20) << "two members";
}

}  // namespace
}  // namespace tenon::eval
