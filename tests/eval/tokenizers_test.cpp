#include "eval/preprocess/tokenizers.h"

#include <sstream>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "eval/preprocess/pipeline.h"
#include "eval/preprocess/unicode.h"
#include "tests/eval/data_files.h"

namespace tenon::eval {
namespace {

using nlohmann::json;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

/// Texts and the ids that llama.cpp's tests expect for them.
void expect_ids(const Tokenizer& tokenizer, const std::filesystem::path& stem) {
  const std::string input = read_all(stem.string() + ".inp"), separator = "\n__ggml_vocab_test__\n";
  std::ifstream expected(stem.string() + ".out");
  size_t at = 0;
  int texts = 0;
  for (std::string line; at <= input.size() && std::getline(expected, line); ++texts) {
    const size_t end = std::min(input.find(separator, at), input.size());
    const std::string text = input.substr(at, end - at);
    at = end + separator.size();
    std::vector<int64_t> ids;
    std::istringstream numbers(line);
    for (int64_t id; numbers >> id;) ids.push_back(id);
    EXPECT_EQ(tokenizer.encode(text), ids) << "text " << texts << ": " << text;
  }
  EXPECT_GT(texts, 40);
}

TEST(WordPiece, AgreesOnPublishedTexts) {
  const std::filesystem::path folder = shared_data() / "tokenizers";
  if (!std::filesystem::exists(folder)) GTEST_SKIP() << folder << " is not there";
  const auto tokenizer = make_wordpiece(folder / "bert-base-uncased-vocab.txt", {});
  ASSERT_TRUE(tokenizer.ok()) << tokenizer.status().to_string();
  expect_ids(**tokenizer, folder / "ggml-vocab-bert-bge.gguf");
}

TEST(Bpe, AgreesOnPublishedTexts) {
  const std::filesystem::path folder = shared_data() / "tokenizers";
  if (!std::filesystem::exists(folder)) GTEST_SKIP() << folder << " is not there";
  const auto tokenizer = make_bpe(folder / "gpt2-vocab.json", folder / "gpt2-merges.txt", {});
  ASSERT_TRUE(tokenizer.ok()) << tokenizer.status().to_string();
  expect_ids(**tokenizer, folder / "ggml-vocab-gpt-2.gguf");
}

Fields run(const json& step, Fields fields, const TempFolder& folder) {
  const auto pipeline = parse_pipeline(json::array({step}), folder.path);
  EXPECT_TRUE(pipeline.ok()) << pipeline.status().to_string();
  if (!pipeline.ok()) return {};
  Result<Fields> out = pipeline->run(std::move(fields));
  EXPECT_TRUE(out.ok()) << out.status().to_string();
  return out.ok() ? std::move(out).value() : Fields();
}
std::vector<int64_t> list(const Fields& fields, const std::string& name) {
  const auto found = fields.find(name);
  if (found == fields.end()) return {};
  const auto span = std::get<Tensor>(found->second).span<int64_t>();
  return {span.begin(), span.end()};
}
Tensor text(const std::string& value) { return *Tensor::strings({}, {value}); }

constexpr const char* kVocabulary = "[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\nun\n##aff\n##able\nhello\n,\ncafe\n世\n!\n";

TEST(WordPiece, FindsTheLongestPieces) {
  TempFolder folder;
  folder.write("vocab.txt", kVocabulary);
  const json step{{"step", "wordpiece"}, {"vocab", "vocab.txt"}};
  const auto ids = [&](const std::string& s) { return list(run(step, {{"text", text(s)}}, folder), "input_ids"); };
  EXPECT_THAT(ids("unaffable"), ElementsAre(2, 5, 6, 7, 3));
  EXPECT_THAT(ids("Hello,\tCAFÉ!"), ElementsAre(2, 8, 9, 10, 12, 3));
  EXPECT_THAT(ids("unknown"), ElementsAre(2, 1, 3));
  EXPECT_THAT(ids("世世"), ElementsAre(2, 11, 11, 3));
  EXPECT_THAT(ids("hello [MASK]!"), ElementsAre(2, 8, 4, 12, 3));
  EXPECT_THAT(ids(""), ElementsAre(2, 3));
  EXPECT_THAT(ids(std::string("he\0l\xcc\x81lo", 8)), ElementsAre(2, 8, 3)) << "zero bytes and accents go";
  EXPECT_THAT(ids("\xff\xfe"), ElementsAre(2, 3)) << "what is no UTF-8 goes";
  EXPECT_THAT(ids(std::string(101, 'u')), ElementsAre(2, 1, 3));
}

TEST(WordPiece, TruncatesPadsAndPairs) {
  TempFolder folder;
  folder.write("vocab.txt", kVocabulary);
  json step{{"step", "wordpiece"}, {"vocab", "vocab.txt"}, {"max_length", 8}, {"padding", "max_length"}};
  const Fields one = run(step, {{"text", text("hello")}}, folder);
  EXPECT_EQ(list(one, "input_ids"), (std::vector<int64_t>{2, 8, 3, 0, 0, 0, 0, 0}));
  EXPECT_EQ(list(one, "attention_mask"), (std::vector<int64_t>{1, 1, 1, 0, 0, 0, 0, 0}));
  const Fields pair = run(step, {{"text", text("hello hello hello hello hello")}, {"text_pair", text("!!")}}, folder);
  EXPECT_EQ(list(pair, "input_ids"), (std::vector<int64_t>{2, 8, 8, 8, 3, 12, 12, 3}));
  EXPECT_EQ(list(pair, "token_type_ids"), (std::vector<int64_t>{0, 0, 0, 0, 0, 1, 1, 1}));
  step["padding_side"] = "left";
  EXPECT_EQ(list(run(step, {{"text", text("hello")}}, folder), "attention_mask"), (std::vector<int64_t>{0, 0, 0, 0, 0, 1, 1, 1}));
  step["truncation"] = false;
  const auto pipeline = parse_pipeline(json::array({step}), folder.path);
  EXPECT_THAT(pipeline->run({{"text", text("hello hello hello hello hello hello hello")}}).status().to_string(),
              HasSubstr("the text has 9 tokens, max_length 8 (step 1 (wordpiece))"));
}

TEST(WordPiece, NamesWhatTheVocabularyLacks) {
  TempFolder folder;
  folder.write("vocab.txt", "[PAD]\n[CLS]\n");
  const json step{{"step", "wordpiece"}, {"vocab", "vocab.txt"}};
  EXPECT_THAT(parse_pipeline(json::array({step}), folder.path).status().to_string(), HasSubstr("the vocabulary has no '[UNK]'"));
  folder.write("vocab.txt", "[PAD]\n[CLS]\n[UNK]\n");
  EXPECT_THAT(parse_pipeline(json::array({step}), folder.path).status().to_string(), HasSubstr("parameter 'sep' is '[SEP]', which the vocabulary does not have"));
  EXPECT_THAT(parse_pipeline(json::array({json{{"step", "wordpiece"}, {"vocab", "gone.txt"}}}), folder.path).status().to_string(), HasSubstr("gone.txt"));
}

/// All 256 bytes, then what merges make.
std::string byte_vocabulary(const std::vector<std::string>& more) {
  json out = json::object();
  int64_t id = 0;
  char32_t next = 256;
  for (char32_t b = 0; b < 256; ++b) {
    const bool visible = (b >= '!' && b <= '~') || (b >= 0xa1 && b <= 0xac) || b >= 0xae;
    std::string token;
    append_utf8(visible ? b : next++, token);
    out[token] = id++;
  }
  for (const std::string& token : more) out[token] = id++;
  return out.dump();
}

TEST(Bpe, MergesByRankAndKeepsAnyBytes) {
  TempFolder folder;
  folder.write("vocab.json", byte_vocabulary({"ab", "bc", "abab", "<|endoftext|>"}));
  folder.write("merges.txt", "#version: 0.2\nb c\na b\nab ab\n");
  const json step{{"step", "bpe"}, {"vocab", "vocab.json"}, {"merges", "merges.txt"}, {"eos", "<|endoftext|>"}};
  const auto ids = [&](const std::string& s) { return list(run(step, {{"text", text(s)}}, folder), "input_ids"); };
  EXPECT_THAT(ids("abc"), ElementsAre('a', 257, 259)) << "b c comes before a b";
  EXPECT_THAT(ids("ababab"), ElementsAre(258, 256, 259));
  EXPECT_THAT(ids("\xff\x80"), ElementsAre(0xff, 0x80, 259));
  EXPECT_THAT(ids("a<|endoftext|>b"), ElementsAre('a', 259, 'b', 259));
  EXPECT_THAT(ids("a  b"), ElementsAre('a', ' ', ' ', 'b', 259));
}

TEST(Bpe, LongWordsTakeLittleTime) {
  TempFolder folder;
  folder.write("vocab.json", byte_vocabulary({"aa", "aaaa", "aaaaaaaa"}));
  folder.write("merges.txt", "a a\naa aa\naaaa aaaa\n");
  const auto tokenizer = make_bpe(folder.path / "vocab.json", folder.path / "merges.txt", {});
  ASSERT_TRUE(tokenizer.ok()) << tokenizer.status().to_string();
  EXPECT_EQ((*tokenizer)->encode(std::string(1 << 20, 'a')).size(), size_t{1} << 17);
}

TEST(Bpe, NamesWhatIsWrong) {
  TempFolder folder;
  const auto make = [&](const std::string& vocab, const std::string& merges) {
    return make_bpe(folder.write("v.json", vocab), folder.write("m.txt", merges), {}).status().to_string();
  };
  EXPECT_THAT(make("{\"a\": 1}", ""), HasSubstr("no token for the byte 0"));
  EXPECT_THAT(make("[1]", ""), HasSubstr("no JSON object"));
  EXPECT_THAT(make("{\"a\": -1}", ""), HasSubstr("the id of 'a' is no id"));
  EXPECT_THAT(make(byte_vocabulary({}), "a b\n"), HasSubstr("a token of merge 1 is not in the vocabulary"));
  EXPECT_THAT(make(byte_vocabulary({"ab"}), "#version\na b c\n"), HasSubstr("no pair of tokens"));
  EXPECT_THAT(make(byte_vocabulary({"ab"}), "#version\na b c\n"), HasSubstr("m.txt:2"));
}

TEST(TokenizerFile, IsItsVocabularyAndFrame) {
  const std::filesystem::path folder = shared_data() / "tokenizers";
  if (!std::filesystem::exists(folder)) GTEST_SKIP() << folder << " is not there";
  const auto file = read_tokenizer(folder / "bert-base-uncased-tokenizer.json");
  ASSERT_TRUE(file.ok()) << file.status().to_string();
  expect_ids(*file->tokenizer, folder / "ggml-vocab-bert-bge.gguf");
  EXPECT_THAT(file->before, ElementsAre(101));
  EXPECT_THAT(file->between, ElementsAre(102));
  EXPECT_THAT(file->after, ElementsAre(102));
  EXPECT_EQ(file->pad_id, 0);
  EXPECT_THAT(file->tokenizer->encode("[MASK]"), ElementsAre(103));
}

TEST(TokenizerFile, ReadsByteLevelBpe) {
  TempFolder folder;
  json root{{"model", {{"type", "BPE"}, {"vocab", json::parse(byte_vocabulary({"ab", "<s>", "</s>"}))}, {"merges", json::array({"a b"})}}},
            {"pre_tokenizer", {{"type", "ByteLevel"}, {"add_prefix_space", false}}},
            {"post_processor", {{"type", "RobertaProcessing"}, {"sep", {"</s>", 258}}, {"cls", {"<s>", 257}}}},
            {"added_tokens", {{{"id", 259}, {"content", "<mask>"}}}}};
  folder.write("tokenizer.json", root.dump());
  const json step{{"step", "tokenizer"}, {"file", "tokenizer.json"}};
  const Fields out = run(step, {{"text", text("aba<mask>")}, {"text_pair", text("b")}}, folder);
  EXPECT_EQ(list(out, "input_ids"), (std::vector<int64_t>{257, 256, 'a', 259, 258, 258, 'b', 258}));
  root["model"]["merges"] = json::array({json::array({"a", "b"})});
  folder.write("tokenizer.json", root.dump());
  EXPECT_EQ(list(run(step, {{"text", text("ab")}}, folder), "input_ids"), (std::vector<int64_t>{257, 256, 258}));
  root["post_processor"]["cls"] = {{"a", 1}, {"b", 2}};
  folder.write("tokenizer.json", root.dump());
  EXPECT_THAT(parse_pipeline(json::array({step}), folder.path).status().to_string(), HasSubstr("no cls or sep"));
  root["pre_tokenizer"]["type"] = "Metaspace";
  folder.write("tokenizer.json", root.dump());
  EXPECT_THAT(parse_pipeline(json::array({step}), folder.path).status().to_string(), HasSubstr("a pre-tokenizer of type 'Metaspace'"));
}

TEST(TokenizerFile, DamagedFilesGiveErrors) {
  TempFolder folder;
  const std::string good = R"({"model":{"type":"WordPiece","vocab":{"[UNK]":0,"[CLS]":1,"a":2}},"normalizer":{"type":"BertNormalizer"},"pre_tokenizer":{"type":"BertPreTokenizer"},"post_processor":{"type":"TemplateProcessing","single":[{"SpecialToken":{"id":"[CLS]"}},{"Sequence":{"id":"A"}}],"pair":[{"SpecialToken":{"id":"[CLS]"}},{"Sequence":{"id":"A"}},{"Sequence":{"id":"B"}}],"special_tokens":{"[CLS]":{"ids":[1]}}},"added_tokens":[{"id":1,"content":"[CLS]"}]})";
  const auto read = [&](const std::string& bytes) { return read_tokenizer(folder.write("t.json", bytes)); };
  ASSERT_TRUE(read(good).ok()) << read(good).status().to_string();
  for (size_t i = 0; i < good.size(); ++i) {
    EXPECT_FALSE(read(good.substr(0, i)).ok());
    for (const char other : {'0', '"', '['}) {
      std::string changed = good;
      changed[i] = other;
      if (const auto made = read(changed); made.ok()) (void)made->tokenizer->encode("a [CLS] b");
    }
  }
}

TEST(TextSteps, BytesLowercaseAndTemplates) {
  TempFolder folder;
  EXPECT_EQ(list(run({{"step", "bytes"}, {"offset", 3}, {"eos_id", 1}}, {{"text", text("hé")}}, folder), "input_ids"),
            (std::vector<int64_t>{'h' + 3, 0xc3 + 3, 0xa9 + 3, 1}));
  const Fields lower = run({{"step", "lowercase"}}, {{"text", text("ÀB\xffΣ")}}, folder);
  EXPECT_EQ(std::get<Tensor>(lower.at("text")).string_values()[0], "àb\xffσ");
  const Fields filled = run({{"step", "template"}, {"text", "{{q}}: {question} ({n})"}}, {{"question", text("why")}, {"n", Tensor::scalar<int64_t>(3)}}, folder);
  EXPECT_EQ(std::get<Tensor>(filled.at("text")).string_values()[0], "{q}: why (3)");
  EXPECT_THAT(parse_pipeline(json::parse(R"([{"step": "template", "text": "{a"}])")).status().to_string(), HasSubstr("not closed"));
}

}  // namespace
}  // namespace tenon::eval
