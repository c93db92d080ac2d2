#include "eval/datasets/dataset.h"

#include <zlib.h>

#include <cmath>
#include <fstream>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "eval/datasets/files.h"
#include "frontend/onnx/import.h"
#include "frontend/onnx/npy.h"
#include "tests/eval/data_files.h"

namespace tenon::eval {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

std::unique_ptr<Dataset> open(const std::string& spec, const DatasetOptions& options = {}) {
  Result<std::unique_ptr<Dataset>> made = open_dataset(spec, options);
  EXPECT_TRUE(made.ok()) << made.status().to_string();
  return made.ok() ? std::move(made).value() : nullptr;
}
Example read(const Dataset& data, int64_t index) {
  Result<Example> example = data.read(index);
  EXPECT_TRUE(example.ok()) << example.status().to_string();
  return example.ok() ? std::move(example).value() : Example();
}
std::string failure(const Dataset& data, int64_t index) {
  const Result<Example> example = data.read(index);
  EXPECT_FALSE(example.ok());
  return example.status().to_string();
}
const Tensor& field(const Example& example, std::string_view name) {
  static const Tensor kNone;
  const auto found = example.fields.find(name);
  EXPECT_NE(found, example.fields.end()) << name;
  return found == example.fields.end() ? kNone : std::get<Tensor>(found->second);
}
int64_t integer(const Example& example, std::string_view name) {
  const Tensor& t = field(example, name);
  EXPECT_EQ(t.dtype(), DType::kI64) << name;
  return t.size() == 1 ? t.at_int(0) : -1;
}
std::string text(const Example& example, std::string_view name) {
  const Tensor& t = field(example, name);
  EXPECT_EQ(t.dtype(), DType::kString) << name;
  return t.dtype() == DType::kString ? t.string_values().at(0) : "";
}

TEST(ImageFolder, NumbersSortedFolders) {
  TempFolder folder;
  folder.write("dog/b.ppm", ppm(2, 3, 1, 2, 3));
  folder.write("cat/2.ppm", ppm(1, 1, 9, 9, 9));
  folder.write("cat/1.ppm", ppm(1, 1, 8, 8, 8));
  folder.write("cat/notes.md", "no image");
  const auto data = open(folder.path);
  ASSERT_EQ(data->size(), 3);
  EXPECT_THAT(data->classes(), ElementsAre("cat", "dog"));
  const Example last = read(*data, 2);
  EXPECT_EQ(last.source, "dog/b.ppm");
  EXPECT_EQ(integer(last, "label"), 1);
  EXPECT_EQ(text(last, "label_name"), "dog");
  EXPECT_EQ(field(last, "image").shape(), (Shape{2, 3, 3}));
  EXPECT_EQ(field(last, "image").at_int(4), 2);
  EXPECT_EQ(read(*data, 0).source, "cat/1.ppm");
}

TEST(ImageFolder, TakesClassesFromTheirFile) {
  TempFolder folder;
  folder.write("dog/b.ppm", ppm(1, 1, 1, 2, 3));
  folder.write("cat/a.ppm", ppm(1, 1, 1, 2, 3));
  folder.write("classes.txt", "fish\r\ndog\r\ncat\r\n");
  const auto data = open(folder.path);
  EXPECT_THAT(data->classes(), ElementsAre("fish", "dog", "cat"));
  EXPECT_EQ(integer(read(*data, 0), "label"), 2);
  folder.write("classes.txt", "dog\n");
  EXPECT_THAT(open_dataset(folder.path).status().to_string(), HasSubstr("the folder 'cat' is none of the 1 classes"));
}

TEST(ImageFolder, ABrokenImageIsItsOwnError) {
  TempFolder folder;
  folder.write("a/1.png", "\x89PNG no");
  folder.write("a/2.ppm", ppm(1, 1, 1, 2, 3));
  const auto data = open(folder.path);
  EXPECT_THAT(failure(*data, 0), HasSubstr("a/1.png"));
  EXPECT_EQ(data->source(0), "a/1.png");
  EXPECT_EQ(read(*data, 1).source, "a/2.ppm");
  EXPECT_THAT(failure(*data, 2), HasSubstr("there is no example 2"));
  EXPECT_THAT(failure(*data, -1), HasSubstr("there is no example -1"));
}

TEST(ImageFolder, FingerprintsFollowTheFiles) {
  TempFolder folder;
  folder.write("a/1.ppm", ppm(1, 1, 1, 2, 3));
  const uint64_t first = open(folder.path)->fingerprint();
  EXPECT_EQ(open(folder.path)->fingerprint(), first);
  folder.write("a/2.ppm", ppm(1, 1, 1, 2, 3));
  EXPECT_NE(open(folder.path)->fingerprint(), first);
}

TEST(LabelTable, ReadsFilesClassesAndNames) {
  TempFolder folder;
  folder.write("x.ppm", ppm(1, 2, 1, 2, 3));
  folder.write("sub/y.ppm", ppm(1, 1, 4, 5, 6));
  folder.write("labels.tsv", "x.ppm\t3\tbird\nsub/y.ppm\t0\tplane\n");
  const auto data = open(folder.path);
  ASSERT_EQ(data->size(), 2);
  EXPECT_THAT(data->classes(), ElementsAre("plane", "", "", "bird"));
  const Example first = read(*data, 0);
  EXPECT_EQ(integer(first, "label"), 3);
  EXPECT_EQ(text(first, "label_name"), "bird");
  EXPECT_EQ(first.source, "labels.tsv:1 (x.ppm)");
  EXPECT_EQ(field(read(*data, 1), "image").at_int(0), 4);
}

TEST(LabelTable, ReadsAHeaderAndNumbersNames) {
  TempFolder folder;
  folder.write("x.ppm", ppm(1, 1, 1, 2, 3));
  folder.write("y.ppm", ppm(1, 1, 1, 2, 3));
  folder.write("metadata.csv", "id,file_name,label\n7,x.ppm,zebra\n8,y.ppm,\"ape, great\"\n");
  const auto data = open(folder.path);
  ASSERT_EQ(data->size(), 2);
  EXPECT_THAT(data->classes(), ElementsAre("ape, great", "zebra"));
  EXPECT_EQ(integer(read(*data, 0), "label"), 1);
  EXPECT_EQ(integer(read(*data, 0), "id"), 7);
  EXPECT_EQ(integer(read(*data, 1), "label"), 0);
}

TEST(LabelTable, NamesFileAndRowOfWhatIsWrong) {
  TempFolder folder;
  folder.write("x.ppm", ppm(1, 1, 1, 2, 3));
  folder.write("../outside.ppm", ppm(1, 1, 1, 2, 3));
  std::filesystem::create_symlink(folder.path.parent_path() / "outside.ppm", folder.path / "link.ppm");
  folder.write("classes.txt", "a\nb\n");
  folder.write("labels.tsv", "x.ppm\t1\nx.ppm\t2\nx.ppm\t-1\ngone.ppm\t0\n../outside.ppm\t0\n/etc/passwd.ppm\t0\nlink.ppm\t0\nx.ppm\nx.ppm\t0\n");
  const auto data = open(folder.path);
  ASSERT_EQ(data->size(), 9);
  EXPECT_EQ(integer(read(*data, 0), "label"), 1);
  EXPECT_THAT(failure(*data, 1), HasSubstr("the label 2 is outside [0, 2) (labels.tsv:2)"));
  EXPECT_THAT(failure(*data, 2), HasSubstr("labels.tsv:3"));
  EXPECT_THAT(failure(*data, 3), HasSubstr("there is no file 'gone.ppm' (labels.tsv:4"));
  EXPECT_THAT(failure(*data, 4), HasSubstr("leads out of the data set's folder"));
  EXPECT_THAT(failure(*data, 5), HasSubstr("is absolute"));
  EXPECT_THAT(failure(*data, 6), HasSubstr("leads out of the data set's folder"));
  EXPECT_THAT(failure(*data, 7), HasSubstr("'c1' is missing (labels.tsv:8)"));
  EXPECT_EQ(integer(read(*data, 8), "label"), 0);
  std::filesystem::remove(folder.path.parent_path() / "outside.ppm");
}

TEST(NamedFiles, TakesLabelsFromNames) {
  TempFolder folder;
  folder.write("ship_0001.ppm", ppm(1, 1, 1, 2, 3));
  folder.write("car_0002.ppm", ppm(1, 1, 1, 2, 3));
  folder.write("nolabel.ppm", ppm(1, 1, 1, 2, 3));
  const auto data = open(folder.path, {.format = "named"});
  ASSERT_EQ(data->size(), 2);
  EXPECT_THAT(data->classes(), ElementsAre("car", "ship"));
  EXPECT_EQ(integer(read(*data, 1), "label"), 1);
  folder.write("fsdd_7_theo_0.ppm", ppm(1, 1, 1, 2, 3));
  const auto digits = open(folder.path, {.pattern = "fsdd_{label}_*"});
  ASSERT_EQ(digits->size(), 1);
  EXPECT_EQ(integer(read(*digits, 0), "label"), 7);
  EXPECT_THAT(open_dataset(folder.path, DatasetOptions{.pattern = "label"}).status().to_string(), HasSubstr("has no {label}"));
  const auto plain = open(folder.path);
  EXPECT_EQ(plain->size(), 4) << "without labels";
  EXPECT_FALSE(read(*plain, 0).fields.contains("label"));
}

TEST(Masks, PairsImagesWithMasks) {
  TempFolder folder;
  folder.write("images/a.ppm", ppm(2, 2, 1, 2, 3));
  folder.write("images/b.ppm", ppm(2, 2, 1, 2, 3));
  folder.write("images/c.ppm", ppm(2, 3, 1, 2, 3));
  folder.write("masks/a.pgm", pgm(2, 2, std::string_view("\0\1\2\xff", 4)));
  folder.write("masks/c.pgm", pgm(2, 2, "abcd"));
  const auto data = open(folder.path);
  ASSERT_EQ(data->size(), 3);
  const Example first = read(*data, 0);
  EXPECT_EQ(field(first, "mask").shape(), (Shape{2, 2}));
  EXPECT_EQ(field(first, "mask").at_int(2), 2);
  EXPECT_EQ(field(first, "mask").at_int(3), 255);
  EXPECT_THAT(failure(*data, 1), HasSubstr("masks/b.png"));
  EXPECT_THAT(failure(*data, 2), HasSubstr("the mask has 2x2 pixels, its image 2 x 3"));
}

std::string idx(std::initializer_list<uint8_t> bytes) { return {bytes.begin(), bytes.end()}; }

std::string gzipped(const TempFolder& folder, const std::string& bytes) {
  const std::string file = (folder.path / "packed.gz").string();
  gzFile out = gzopen(file.c_str(), "wb");
  EXPECT_EQ(gzwrite(out, bytes.data(), static_cast<unsigned>(bytes.size())), static_cast<int>(bytes.size()));
  gzclose(out);
  std::string packed = read_all(file);
  std::filesystem::remove(file);
  return packed;
}

TEST(IdxPairs, ReadsPlainAndGzipped) {
  TempFolder folder;
  const std::string images = idx({0, 0, 8, 3, 0, 0, 0, 2, 0, 0, 0, 1, 0, 0, 0, 2, 10, 20, 30, 40});
  const std::string labels = idx({0, 0, 8, 1, 0, 0, 0, 2, 7, 3});
  const std::string image_file = folder.write("i-idx3-ubyte.gz", gzipped(folder, images)), label_file = folder.write("l-idx1-ubyte", labels);
  for (const std::string& spec : {image_file + "," + label_file, folder.path.string()}) {
    const auto data = open(spec);
    ASSERT_EQ(data->size(), 2);
    const Example second = read(*data, 1);
    EXPECT_EQ(field(second, "image").shape(), (Shape{1, 2, 1}));
    EXPECT_EQ(field(second, "image").at_int(1), 40);
    EXPECT_EQ(integer(second, "label"), 3);
  }
  folder.write("l-idx1-ubyte", idx({0, 0, 8, 1, 0, 0, 0, 1, 7}));
  EXPECT_THAT(open_dataset(folder.path).status().to_string(), HasSubstr("1 labels for 2 images"));
  folder.write("l-idx1-ubyte", labels);
  folder.write("classes.txt", "a\nb\nc\nd\ne\n");
  const auto data = open(folder.path);
  EXPECT_THAT(failure(*data, 0), HasSubstr("the label 7 is outside [0, 5) (i-idx3-ubyte.gz:0)"));
  EXPECT_EQ(text(read(*data, 1), "label_name"), "d");
}

TEST(IdxPairs, RefusesDamagedGzip) {
  TempFolder folder;
  const std::string packed = gzipped(folder, idx({0, 0, 8, 1, 0, 0, 0, 4, 1, 2, 3, 4}));
  ASSERT_TRUE(open_dataset(folder.write("a.idx.gz", packed)).ok());
  for (size_t n = 2; n < packed.size(); ++n) EXPECT_FALSE(open_dataset(folder.write("a.idx.gz", packed.substr(0, n)), "idx").ok()) << n;
  std::string wrong_sum = packed;
  EXPECT_TRUE(open_dataset(folder.write("padded.idx.gz", packed + std::string(512, '\0')), "idx").ok()) << "zero bytes behind the last member";
  EXPECT_FALSE(open_dataset(folder.write("padded.idx.gz", packed + std::string(512, '\0') + "x"), "idx").ok());
  wrong_sum[packed.size() - 6] ^= 1;
  EXPECT_FALSE(open_dataset(folder.write("a.idx.gz", wrong_sum), "idx").ok());
}

TEST(Csv, FollowsRfc4180) {
  TempFolder folder;
  const auto data = open(folder.write("t.csv", "\xef\xbb\xbfid,text,score\r\n1,\"a, \"\"b\"\"\nnext\",0.5\r\n\r\n-2,,\r\n3,\"x\",1e3\r\n"));
  ASSERT_EQ(data->size(), 3);
  const Example first = read(*data, 0);
  EXPECT_EQ(integer(first, "id"), 1);
  EXPECT_EQ(text(first, "text"), "a, \"b\"\nnext");
  EXPECT_EQ(field(first, "score").at_double(0), 0.5);
  EXPECT_EQ(first.source, "t.csv:2");
  const Example second = read(*data, 1);
  EXPECT_EQ(second.source, "t.csv:5") << "lines, not rows";
  EXPECT_EQ(text(second, "text"), "");
  EXPECT_TRUE(std::isnan(field(second, "score").at_double(0)));
  EXPECT_EQ(field(read(*data, 2), "score").at_double(0), 1000);
}

TEST(Csv, BrokenRowsAreTheirOwnErrors) {
  TempFolder folder;
  const auto data = open(folder.write("t.csv", "a,b\n1,2\n1\n1,2,3\n\"1\"x,2\n5,6\n7,\"open"));
  ASSERT_EQ(data->size(), 6);
  EXPECT_THAT(failure(*data, 1), HasSubstr("the row has 1 of 2 fields; 'b' is missing (t.csv:3)"));
  EXPECT_THAT(failure(*data, 2), HasSubstr("3 fields, the table 2 columns (t.csv:4)"));
  EXPECT_THAT(failure(*data, 3), HasSubstr("t.csv:5"));
  EXPECT_EQ(integer(read(*data, 4), "a"), 5);
  EXPECT_THAT(failure(*data, 5), HasSubstr("field 2 has a quote that is not closed"));
}

TEST(Csv, QuotesWithinUnquotedFieldsAreText) {
  TempFolder folder;
  const auto data = open(folder.write("t.csv", "size,label\n5\"\" pipe,0\n3\" pipe,1\nx,2\n"));
  ASSERT_EQ(data->size(), 3);
  EXPECT_EQ(text(read(*data, 0), "size"), "5\"\" pipe");
  EXPECT_EQ(text(read(*data, 1), "size"), "3\" pipe");
  EXPECT_EQ(integer(read(*data, 2), "label"), 2);
}

TEST(Csv, AnUnclosedQuoteTakesNoOtherRows) {
  TempFolder folder;
  const auto data = open(folder.write("t.csv", "a,b\n1,\"open\n2,x\n3,y\n"));
  ASSERT_EQ(data->size(), 3);
  EXPECT_THAT(failure(*data, 0), HasSubstr("field 2 has a quote that is not closed, or text after it (t.csv:2)"));
  EXPECT_EQ(integer(read(*data, 1), "a"), 2);
  EXPECT_EQ(text(read(*data, 2), "b"), "y");
  // From each line on, quotes are open to the end.
  std::string open_quotes = "a,b\n";
  for (int i = 0; i < 200'000; ++i) open_quotes += "\"x\"y,\"\n";
  EXPECT_EQ(open(folder.write("u.csv", open_quotes))->size(), 200'000);
}

TEST(Csv, KeepsDigitsOfLongNumbers) {
  TempFolder folder;
  const auto data = open(folder.write("t.csv", "id,n,wide\n9007199254740993,1,18446744073709551615\n,2,7\n"));
  EXPECT_EQ(text(read(*data, 0), "id"), "9007199254740993");
  EXPECT_EQ(text(read(*data, 1), "id"), "");
  EXPECT_EQ(text(read(*data, 0), "wide"), "18446744073709551615");
  EXPECT_EQ(integer(read(*data, 1), "n"), 2);
  const auto whole = open(folder.write("u.csv", "id,n\n9007199254740993,1\n"));
  EXPECT_EQ(integer(read(*whole, 0), "id"), 9007199254740993) << "without an empty field";
}

TEST(Csv, NumbersBeyondDoublesAreTheirRowsErrors) {
  TempFolder folder;
  const auto data = open(folder.write("t.csv", "v,n\n0.5,1\n1e999,2\n0.25,3\n"));
  EXPECT_EQ(field(read(*data, 0), "v").at_double(0), 0.5);
  EXPECT_THAT(failure(*data, 1), HasSubstr("'v' is 1e999, which no double holds (t.csv:3)"));
  EXPECT_EQ(field(read(*data, 2), "v").at_double(0), 0.25);
}

TEST(Table, FingerprintsFollowTheContentNotTheTime) {
  TempFolder folder;
  const std::string file = folder.write("t.csv", "a,b\n1,2\n");
  const uint64_t first = open(file)->fingerprint();
  std::filesystem::last_write_time(file, std::filesystem::file_time_type::clock::now() - std::chrono::hours(30));
  EXPECT_EQ(open(file)->fingerprint(), first);
  std::filesystem::create_directories(folder.path / "copy");
  std::filesystem::copy_file(file, folder.path / "copy/t.csv");
  EXPECT_EQ(open((folder.path / "copy/t.csv").string())->fingerprint(), first);
  folder.write("t.csv", "a,b\n1,3\n");
  EXPECT_NE(open(file)->fingerprint(), first) << "of the same size";
}

TEST(JsonLines, NamesThatOccurTwiceAreErrors) {
  TempFolder folder;
  const auto data = open(folder.write("t.jsonl", "{\"a\": 1, \"b\": {\"a\": 2}}\n{\"a\": 1, \"a\": 2}\n{\"b\": [{\"c\": 1, \"c\": 1}]}\n{\"a\": 4}\n"));
  EXPECT_EQ(integer(read(*data, 0), "b.a"), 2);
  EXPECT_THAT(failure(*data, 1), HasSubstr("'a' occurs twice in a JSON object (t.jsonl:2)"));
  EXPECT_THAT(failure(*data, 2), HasSubstr("'c' occurs twice"));
  EXPECT_EQ(integer(read(*data, 3), "a"), 4);
}

TEST(Csv, TellsHeaders) {
  TempFolder folder;
  const auto columns = [&](std::string_view bytes, std::optional<bool> header = {}) {
    const auto data = open(folder.write("t.tsv", bytes), {.header = header});
    std::vector<std::string> out;
    for (const auto& [name, value] : read(*data, 0).fields) out.push_back(name);
    return out;
  };
  EXPECT_THAT(columns("one sentence\t0\nanother\t1\n"), ElementsAre("c0", "c1"));
  EXPECT_THAT(columns("sentence\tlabel\nanother\t1\n"), ElementsAre("label", "sentence"));
  EXPECT_THAT(columns("the text\tits label\nanother\t1\n"), ElementsAre("its label", "the text")) << "above a column of numbers";
  EXPECT_THAT(columns("two words\tmore words\nand\tso on\n"), ElementsAre("c0", "c1"));
  EXPECT_THAT(columns("two words\tmore words\nand\tso on\n", true), ElementsAre("more words", "two words"));
  EXPECT_THAT(columns("a\tb\n", false), ElementsAre("c0", "c1"));
}

TEST(Tsv, KeepsQuotesThatAreText) {
  TempFolder folder;
  const auto data = open(folder.write("t.tsv", "\"quoted\"\t1\n\"open\t2\n\"a\" b\t3\n5'11\"\t4\n"), {.header = false});
  ASSERT_EQ(data->size(), 4);
  EXPECT_EQ(text(read(*data, 0), "c0"), "quoted");
  EXPECT_EQ(text(read(*data, 1), "c0"), "\"open");
  EXPECT_EQ(text(read(*data, 2), "c0"), "\"a\" b");
  EXPECT_EQ(text(read(*data, 3), "c0"), "5'11\"");
}

TEST(Csv, KeepsNumbersThatAreNames) {
  TempFolder folder;
  const auto data = open(folder.write("t.csv", "zip,n\n01234,1\n99999,2\n"));
  EXPECT_EQ(text(read(*data, 0), "zip"), "01234");
  EXPECT_EQ(integer(read(*data, 1), "n"), 2);
}

TEST(JsonLines, FlattensOneLevel) {
  TempFolder folder;
  const auto data = open(folder.write("t.jsonl", R"({"q": "why", "n": 3, "ok": true, "none": null, "answers": {"text": ["a", "b"], "start": [1, 2]}, "m": [[1, 2], [3, 4.5]], "deep": [{"x": 1}]}

{"q": 1
[1, 2]
{"q": "last"})"));
  ASSERT_EQ(data->size(), 4);
  const Example first = read(*data, 0);
  EXPECT_EQ(text(first, "q"), "why");
  EXPECT_EQ(integer(first, "n"), 3);
  EXPECT_EQ(field(first, "ok").dtype(), DType::kBool);
  EXPECT_FALSE(first.fields.contains("none"));
  EXPECT_THAT(field(first, "answers.text").string_values(), ElementsAre("a", "b"));
  EXPECT_EQ(field(first, "answers.start").at_int(1), 2);
  EXPECT_EQ(field(first, "m").shape(), (Shape{2, 2}));
  EXPECT_EQ(field(first, "m").at_double(3), 4.5);
  EXPECT_EQ(text(first, "deep"), R"([{"x":1}])");
  EXPECT_THAT(failure(*data, 1), HasSubstr("malformed JSON at byte"));
  EXPECT_THAT(failure(*data, 1), HasSubstr("t.jsonl:3"));
  EXPECT_THAT(failure(*data, 2), HasSubstr("no JSON object (t.jsonl:4)"));
  EXPECT_EQ(text(read(*data, 3), "q"), "last");
}

TEST(JsonLines, BoundsNesting) {
  TempFolder folder;
  const auto data = open(folder.write("t.jsonl", "{\"a\": " + std::string(1'000'000, '[') + "\n{\"a\": 1e999}\n{\"a\": 18446744073709551615}\n"));
  EXPECT_THAT(failure(*data, 0), HasSubstr("nested more than 64 deep"));
  EXPECT_FALSE(data->read(1).ok());
  EXPECT_EQ(field(read(*data, 2), "a").at_double(0), 0x1p64);
}

/// A ZIP of stored members; numpy.savez writes the same.
std::string npz(const std::vector<std::pair<std::string, std::string>>& members) {
  std::string out, directory;
  const auto number = [](std::string& to, uint64_t value, int bytes) {
    for (int i = 0; i < bytes; ++i) to += static_cast<char>(i < 8 ? value >> (8 * i) & 0xff : 0);
  };
  for (const auto& [name, data] : members) {
    const auto crc = crc32(0, reinterpret_cast<const Bytef*>(data.data()), static_cast<uInt>(data.size()));
    const size_t offset = out.size();
    out += std::string("PK\3\4\x14\0\0\0\0\0\0\0\0\0", 14);
    directory += std::string("PK\1\2\x14\0\x14\0\0\0\0\0\0\0\0\0", 16);
    for (std::string* to : {&out, &directory}) {
      number(*to, crc, 4);
      number(*to, data.size(), 4);
      number(*to, data.size(), 4);
      number(*to, name.size(), 2);
      number(*to, 0, 2);
    }
    number(directory, 0, 10);
    number(directory, offset, 4);
    directory += name;
    out += name + data;
  }
  const size_t at = out.size();
  out += directory + std::string("PK\5\6\0\0\0\0", 8);
  number(out, members.size(), 2);
  number(out, members.size(), 2);
  number(out, directory.size(), 4);
  number(out, at, 4);
  number(out, 0, 2);
  return out;
}

TEST(Npz, GivesAnExampleAnEntry) {
  TempFolder folder;
  const std::string x = *frontend::format_npy(Tensor::from<float>({2, 3}, {1, 2, 3, 4, 5, 6}));
  const std::string y = *frontend::format_npy(Tensor::from<int64_t>({2}, {7, 8}));
  const std::string one = *frontend::format_npy(Tensor::scalar<float>(1));
  const auto data = open(folder.write("t.npz", npz({{"x.npy", x}, {"y.npy", y}, {"scalar.npy", one}})));
  ASSERT_EQ(data->size(), 2);
  const Example second = read(*data, 1);
  EXPECT_EQ(field(second, "x").shape(), (Shape{3}));
  EXPECT_EQ(field(second, "x").at_double(0), 4);
  EXPECT_EQ(integer(second, "y"), 8);
  EXPECT_FALSE(second.fields.contains("scalar"));
  const std::string three = *frontend::format_npy(Tensor::from<int64_t>({3}, {7, 8, 9}));
  EXPECT_THAT(open_dataset(folder.write("t.npz", npz({{"x.npy", x}, {"y.npy", three}}))).status().to_string(),
              HasSubstr("arrays x and y have 2 and 3 examples"));
}

TEST(TestSets, ReadsInputsAndOutputs) {
  TempFolder folder;
  for (int set : {0, 1, 10}) {
    const std::filesystem::path at = folder.path / ("test_data_set_" + std::to_string(set));
    std::filesystem::create_directories(at);
    ASSERT_TRUE(frontend::write_tensor(Tensor::from<float>({1}, {static_cast<float>(set)}), "x", at / "input_0.pb").ok());
    ASSERT_TRUE(frontend::write_tensor(Tensor::from<int64_t>({2}, {set, set}), "y", at / "output_0.pb").ok());
  }
  folder.write("test_data_set_1/output_0.pb", "broken");
  const auto data = open(folder.path);
  ASSERT_EQ(data->size(), 3);
  EXPECT_EQ(read(*data, 2).source, "test_data_set_10");
  EXPECT_EQ(field(read(*data, 2), "input_0").at_double(0), 10);
  EXPECT_EQ(field(read(*data, 0), "output_0").shape(), (Shape{2}));
  EXPECT_THAT(failure(*data, 1), HasSubstr("test_data_set_1/output_0.pb"));
}

TEST(Coco, ReadsBoxesByCategory) {
  TempFolder folder;
  folder.write("images/a.ppm", ppm(2, 2, 1, 2, 3));
  folder.write("images/b.ppm", ppm(2, 2, 1, 2, 3));
  folder.write("instances_val.json", R"({"images": [{"id": 5, "file_name": "a.ppm"}, {"id": 3, "file_name": "b.ppm"}, {"id": 9, "file_name": "../x.ppm"}],
    "annotations": [{"id": 1, "image_id": 5, "category_id": 90, "bbox": [1, 2, 3, 4.5], "area": 10, "iscrowd": 1},
                    {"id": 2, "image_id": 5, "category_id": 2, "bbox": [0, 0, 1, 1]},
                    {"id": 3, "image_id": 3, "category_id": 4, "bbox": [0, 0, 1, 1]}],
    "categories": [{"id": 90, "name": "zebra"}, {"id": 2, "name": "ape"}]})");
  const auto data = open(folder.path);
  ASSERT_EQ(data->size(), 3);
  EXPECT_THAT(data->classes(), ElementsAre("ape", "zebra"));
  const Example first = read(*data, 0);
  EXPECT_EQ(field(first, "boxes").shape(), (Shape{2, 4}));
  EXPECT_THAT(field(first, "boxes").span<float>(), ElementsAre(1, 2, 4, 6.5, 0, 0, 1, 1));
  EXPECT_THAT(field(first, "box_labels").span<int64_t>(), ElementsAre(1, 0));
  EXPECT_THAT(field(first, "area").span<float>(), ElementsAre(10, 1));
  EXPECT_THAT(field(first, "crowd").span<bool>(), ElementsAre(true, false));
  EXPECT_EQ(integer(first, "image_id"), 5);
  EXPECT_THAT(failure(*data, 1), HasSubstr("category_id is none of the 2 categories (instances_val.json: annotation 2)"));
  EXPECT_THAT(failure(*data, 2), HasSubstr("leads out of the data set's folder"));
}

TEST(Sounds, AveragesChannels) {
  TempFolder folder;
  folder.write("metadata.csv", "file_name,transcription\na.wav,hello there\nb.wav,nothing\n");
  folder.write("a.wav", wav(8000, 2, {16384, 0, -32768, -32768, 8192, 8192}));
  folder.write("b.wav", wav(8000, 1, {1, 2, 3}).substr(0, 30));
  const auto data = open(folder.path);
  ASSERT_EQ(data->size(), 2);
  const Example first = read(*data, 0);
  EXPECT_THAT(field(first, "audio").span<float>(), ElementsAre(0.25f, -1, 0.25f));
  EXPECT_EQ(integer(first, "rate"), 8000);
  EXPECT_EQ(text(first, "transcription"), "hello there");
  EXPECT_THAT(failure(*data, 1), HasSubstr("metadata.csv:3 (b.wav)"));
}

TEST(Datasets, NamesWhatIsMissing) {
  TempFolder folder;
  EXPECT_THAT(open_dataset("no/such/place").status().to_string(), HasSubstr("the data set is not there (no/such/place)"));
  EXPECT_THAT(open_dataset(folder.path).status().to_string(), HasSubstr("name its form, one of onnx-tests, coco"));
  EXPECT_THAT(open_dataset(folder.path, "nonsense").status().to_string(), HasSubstr("no form of data set 'nonsense'"));
  for (const FormatInfo& format : dataset_formats()) {
    const auto made = open_dataset(folder.path, std::string(format.name));
    EXPECT_FALSE(made.ok()) << format.name << " of an empty folder";
    EXPECT_THAT(made.status().to_string(), HasSubstr(folder.path.filename().string())) << format.name;
  }
}

TEST(Datasets, SharedFilesOpen) {
  const std::filesystem::path root = shared_data();
  if (!std::filesystem::exists(root)) GTEST_SKIP() << root << " is not there";
  struct Case {
    const char* path;
    DatasetOptions options;
    int64_t size, label;  // of the last example
  };
  const Case cases[] = {{"imagenet", {}, 15, 868}, {"mnist", {}, 1000, 9}, {"cifar10", {.format = "named"}, 100, 9},
                        {"speech", {.pattern = "fsdd_{label}_*"}, 20, 9}};
  for (const Case& c : cases) {
    const auto data = open(root / c.path, c.options);
    ASSERT_EQ(data->size(), c.size) << c.path;
    for (int64_t i = 0; i < data->size(); ++i) read(*data, i);
    EXPECT_EQ(integer(read(*data, c.size - 1), "label"), c.label) << c.path;
  }
  const auto photos = open(root / "imagenet");
  EXPECT_EQ(integer(read(*photos, 1), "label"), 73);
  EXPECT_EQ(text(read(*photos, 1), "label_name"), "barn_spider");
  const auto sentences = open(root / "sst2" / "dev.tsv");
  ASSERT_EQ(sentences->size(), 872);
  EXPECT_EQ(text(read(*sentences, 0), "c0"), "one long string of cliches");
  for (int64_t i = 0; i < 872; ++i) ASSERT_LE(integer(read(*sentences, i), "c1"), 1);
}

}  // namespace
}  // namespace tenon::eval
