#include "eval/report/report.h"

#include <gmock/gmock.h>

#include <cmath>
#include <limits>
#include <set>

#include "eval/report/format.h"
#include "eval/report/html.h"
#include "eval/report/scale.h"
#include "eval/report/template.h"

namespace tenon::eval {
namespace {

using nlohmann::json;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;

/// The first tag that is not closed, or not opened; quotes and the raw text of style and script are followed as the HTML standard
/// says (13.1.2). Empty when all is balanced.
std::string unbalanced(std::string_view html) {
  static const std::set<std::string, std::less<>> kVoid = {"meta", "link", "br", "hr", "img", "input"};
  std::vector<std::string> open;
  for (size_t at = html.find('<'); at != html.npos; at = html.find('<', at)) {
    if (html.substr(at, 2) == "<!") {
      at = html.find('>', at);
      continue;
    }
    const bool closing = html.substr(at + 1, 1) == "/";
    size_t end = at + 1 + (closing ? 1 : 0);
    const size_t name_at = end;
    while (end < html.size() && (std::isalnum(static_cast<unsigned char>(html[end])) != 0)) ++end;
    const std::string tag(html.substr(name_at, end - name_at));
    if (tag.empty()) return "a < that begins no tag";
    char quote = 0;
    for (; end < html.size() && (quote != 0 || html[end] != '>'); ++end) {
      if (quote == 0 && html[end] == '<') return "a < inside " + tag;
      if (quote == 0 && html[end] == '"') quote = '"';
      else if (html[end] == quote) quote = 0;
    }
    if (end >= html.size()) return "unended " + tag;
    const bool self_closing = html[end - 1] == '/';
    at = end + 1;
    if (closing) {
      if (open.empty() || open.back() != tag) return "closes " + tag + " in " + (open.empty() ? "nothing" : open.back());
      open.pop_back();
    } else if (!self_closing && !kVoid.contains(tag)) {
      open.push_back(tag);
      if (tag == "style" || tag == "script") at = std::min(html.find("</" + tag, at), html.size());
    }
  }
  return open.empty() ? "" : "unclosed " + open.back();
}

/// What a person sees: no tags, no style, no script.
std::string visible(std::string_view html) {
  std::string out;
  for (size_t at = std::min(html.find("<body>"), html.size()); at < html.size();) {
    if (html.substr(at, 7) == "<script") break;
    if (html[at] == '<') at = html.find('>', at) + 1;
    else out += html[at++];
  }
  return out;
}

json quantiles(double median) {
  json out = json::array();
  for (int i = 0; i <= 100; ++i) out.push_back(median * (0.9 + 0.002 * i));
  return out;
}

json bench_result(const std::string& model, const std::string& backend, double ms) {
  return {{"model", model},
          {"backend", backend},
          {"threads", 1},
          {"dims", {{"batch", 8}}},
          {"latency_ms", {{"p10", ms * 0.92}, {"p50", ms}, {"p90", ms * 1.08}, {"p99", ms * 1.1}, {"mean", ms}, {"min", ms * 0.9}}},
          {"quantiles_ms", quantiles(ms)},
          {"round_p50_ms", {ms, ms * 1.01, ms * 0.99}},
          {"throughput", 1000 / ms},
          {"load_ms", 2.5},
          {"compile_ms", 321.0},
          {"first_run_ms", 7.75},
          {"peak_rss_mb", 64},
          {"arena_mb", 3.5}};
}

json whole_document() {
  json second = bench_result("zoo/net/model.onnx", "cpu", 1.25);
  second["ratio"] = {{"vs", "reference"}, {"median", 3.52}, {"ci95", {3.41, 3.77}}};
  const json accuracy = {{"name", "accuracy"}, {"value", 0.9623}, {"ci95", {0.9511, 0.9744}}, {"details", nullptr}};
  const json matrix = {{"name", "confusion_matrix"}, {"value", 0.9623}, {"ci95", {0.9511, 0.9744}},
                       {"details", {{"classes", {"cat", "dog"}}, {"matrix", {{41, 3}, {2, 54}}}}}};
  const auto evaluated = [&](const char* backend, double ms, double value) {
    json metric = accuracy;
    metric["value"] = value;
    return json{{"backend", backend}, {"threads", 1}, {"status", "ok"}, {"message", "OK"}, {"metrics", {metric, matrix}}, {"latency_ms", {{"p50", ms}}},
                {"throughput", 80.0}, {"compile_ms", 5.5}, {"first_run_ms", 6.5}, {"arena_bytes", 2097152}, {"model_bytes", 153600}, {"max_abs", 1.9e-6},
                {"other_predictions", 7}};
  };
  return {
      {"title", "Two nets"},
      {"context", {{"cpu", "A Processor"}, {"cores", 2}, {"features", {"avx2", "fma"}}}},
      {"bench", {{{"kind", "bench"}, {"warnings", {"the machine was busy"}}, {"results", {bench_result("zoo/net/model.onnx", "reference", 4.4), second,
                                       {{"model", "zoo/net/model.onnx"}, {"backend", "vulkan"}, {"threads", 1}, {"error", "no device (vulkan): install a driver"}}}}}}},
      {"eval", {{{"kind", "eval"}, {"task", "image-classification"}, {"dataset", "photos"}, {"examples", 100},
                 {"problems", {{{"source", "cat/31.jpg"}, {"message", "the file ends early"}}}},
                 {"results", {evaluated("reference", 4.5, 0.9623), evaluated("cpu", 1.3, 0.9601)}},
                 {"comparisons", {{{"first", "reference"}, {"second", "cpu"}, {"metric", "accuracy"}, {"difference", -0.0022}, {"ci95", {-0.0061, 0.0013}}, {"p", 0.27}}}}}}},
      {"profile", {{{"kind", "profile"}, {"model", "zoo/net/model.onnx"}, {"backend", "cpu"}, {"threads", 1}, {"total_ms", 12.25},
                    {"peak", {{"gflops", 77.7}, {"gbps_ram", 11.1}, {"gbps_l2", 44.4}}},
                    {"kernels", {{{"name", "gemm 14x16"}, {"implementation", "contraction"}, {"ops", {"MatMul"}}, {"calls", 12}, {"ms", 8.25}, {"share", 0.67},
                                  {"flops", 5e8}, {"bytes", 1e7}, {"gflops", 60.6}, {"gbps", 1.23}, {"intensity", 49.3}, {"fraction", 0.78}, {"bound", "arithmetic"}}}},
                    {"nodes", {{{"node", "/head/MatMul"}, {"op", "MatMul"}, {"ms", 3.75}, {"share", 0.31}}}},
                    {"ops", {{{"op", "MatMul"}, {"ms", 8.25}, {"share", 0.67}, {"calls", 12}}}},
                    {"memory", {{"arena_bytes", 4194304}, {"weight_bytes", 1048576}, {"peak_step", 1},
                                {"timeline", {{{"step", 0}, {"node", "a"}, {"bytes", 1024}}, {{"step", 1}, {"node", "b"}, {"bytes", 3145728}}}},
                                {"tensors", {{{"name", "hidden"}, {"bytes", 3145728}, {"first", 0}, {"last", 1}, {"offset", 64}}}}}}}}},
      {"compare", {{{"kind", "compare"}, {"model", "zoo/net/model.onnx"}, {"variants", {"reference", "cpu -O3"}},
                    {"values", {{{"name", "h0"}, {"op", "Conv"}, {"node", "/c"}, {"max_abs", 1e-6}, {"max_rel", 2e-6}, {"own_abs", 3.3e-7}, {"own_rel", 4e-7}, {"ok", true}},
                                {{"name", "h1"}, {"op", "Exp"}, {"node", "/e"}, {"max_abs", 0.5}, {"max_rel", 0.25}, {"own_abs", 0.125}, {"own_rel", 0.0625}, {"ok", false}}}},
                    {"first", {{"name", "h1"}}}, {"worst", {{"name", "h1"}}}, {"uncompared", 3}}}},
  };
}

std::string rendered(const json& document) {
  const Result<std::string> html = render_report(document);
  EXPECT_TRUE(html.ok()) << html.status().to_string();
  return html.ok() ? *html : "";
}

/// Holds for every report.
void expect_sound(const std::string& html) {
  EXPECT_EQ(unbalanced(html), "");
  const std::string body = html.substr(html.find("<body>"), html.rfind("<script>") - html.find("<body>"));
  for (const char* word : {"NaN", "nan%", "inf%", ">inf", ">nan", "undefined", "null", "http://", "https://", "url(", "@import"})
    EXPECT_THAT(body, Not(HasSubstr(word)));
  for (const char* word : {"http:", "https:", "url(", "@import", "src=\""}) EXPECT_THAT(html, Not(HasSubstr(word)));
  EXPECT_THAT(html, HasSubstr("Content-Security-Policy\" content=\"default-src 'none'"));
}

TEST(Report, HasEveryFigure) {
  const std::string html = rendered(whole_document());
  expect_sound(html);
  const std::string text = visible(html);
  for (const char* figure :
       {"Two nets", "A Processor", "avx2, fma", "the machine was busy", "4.40 ms", "1.25 ms", "3.52×", "[3.41, 3.77]", "3.50 MiB", "64.0 MiB", "321 ms", "7.75 ms",
        "no device (vulkan): install a driver", "0.9623", "0.9601", "[0.9511, 0.9744]", "photos", "100 examples", "cat/31.jpg", "the file ends early", "41", "54", "150 KiB",
        "1.9e-06", "0.27", "12.2 ms", "77.7", "11.1", "44.4", "gemm 14x16", "8.25 ms", "67.0 %", "60.6", "49.3", "78.0 %", "/head/MatMul", "4.00 MiB", "1.00 MiB",
        "hidden", "h1", "0.062", "first and worst", "1 of 2 values differ", "3 values could not be compared"})
    EXPECT_THAT(text, HasSubstr(figure));
}

TEST(Report, HeadlinesAreGeometricMeansAndFailures) {
  json document = whole_document();
  json other = bench_result("b.onnx", "cpu", 1);
  other["ratio"] = {{"vs", "reference"}, {"median", 2.0}};
  document["bench"][0]["results"].push_back(other);
  // sqrt(3.52 · 2) = 2.653.
  EXPECT_THAT(report_headlines(document), ElementsAre("cpu is 2.65 times as fast as reference in the geometric mean of 2 models, from 2.00× to 3.52×.",
                                                      "A comparison found a value that differs.", "1 result failed."));
}

TEST(Report, HeadlinesCountModelsNotRowsAndSayWhereNothingIsShown) {
  json document = {{"bench", {{{"kind", "bench"}, {"results", json::array()}}}}};
  json& results = document["bench"][0]["results"];
  const auto add = [&](const char* model, const char* backend, double median, json ci) {
    json row = bench_result(model, backend, 1);
    row["ratio"] = {{"vs", "reference"}, {"median", median}, {"ci95", std::move(ci)}};
    results.push_back(std::move(row));
  };
  for (const double median : {2.0, 8.0}) add("a.onnx", "cpu", median, {1.9, 8.1});
  // sqrt(2 · 8) = 4.
  EXPECT_THAT(report_headlines(document), ElementsAre("cpu is 4.00 times as fast as reference in the geometric mean of 2 results of one model."));
  add("b.onnx", "cpu", 1.0, {0.9, 1.1});
  // sqrt(4 · 1) = 2, where three rows alike would give 2.52.
  EXPECT_THAT(report_headlines(document), ElementsAre("cpu is 2.00 times as fast as reference in the geometric mean of 2 models, from 1.00× to 4.00×."));
  results = json::array();
  for (const char* model : {"a.onnx", "b.onnx"}) add(model, "cpu", 1.03, {0.97, 1.1});
  EXPECT_THAT(report_headlines(document), ElementsAre("cpu and reference: no difference shown, every interval includes 1."));
}

TEST(Report, ComparisonsThatDoNotHoldDoNotAgree) {
  json document = {{"compare", {{{"kind", "compare"}, {"values", {{{"value", "h"}, {"ok", true}}}}, {"first", nullptr}, {"ok", true}}}}};
  EXPECT_THAT(report_headlines(document), ElementsAre("All 1 compared values agree."));
  document["compare"][0]["ok"] = false;
  const char* differs = "A comparison found outputs that differ, though no node is wrong by itself.";
  EXPECT_THAT(report_headlines(document), ElementsAre(differs));
  document["compare"][0].erase("ok");
  document["compare"][0]["outputs"] = {{{"output", "y"}, {"ok", false}}};
  EXPECT_THAT(report_headlines(document), ElementsAre(differs));
}

TEST(Report, EscapesWhatIsUntrusted) {
  const std::string evil = "</script><img src=x onerror=alert(1)>\"'&\x01\x7f\xff \xE2\x80\xAEgpj.exe";
  json document = json::parse(whole_document().dump());
  const std::function<void(json&)> poison = [&](json& value) {
    if (value.is_string()) value = evil + value.get<std::string>();
    else if (value.is_structured()) for (json& one : value) poison(one);
  };
  poison(document);
  const std::string html = rendered(document);
  expect_sound(html.substr(0));
  EXPECT_THAT(html, Not(HasSubstr("<img")));
  EXPECT_THAT(html, Not(HasSubstr("\x01")));
  EXPECT_THAT(html, Not(HasSubstr("\xE2\x80\xAE")));
  EXPECT_THAT(html, HasSubstr("&lt;/script&gt;"));
  // One script, the page's own.
  EXPECT_EQ(html.find("</script"), html.rfind("</script"));
}

TEST(Report, EscapeFollowsTheCharacter) {
  EXPECT_EQ(report::escape("a<b>&\"'"), "a&lt;b&gt;&amp;&quot;&#39;");
  EXPECT_EQ(report::escape(std::string("\0\n", 2)), "␀␊");
  EXPECT_EQ(report::escape("\xC0\xAF\xED\xA0\x80 é 漢 🙂"), "\uFFFD\uFFFD\uFFFD\uFFFD\uFFFD é 漢 🙂");
  EXPECT_EQ(report::shortened("0123456789", 5), "01…89");
  EXPECT_EQ(report::shortened("漢漢漢漢漢漢", 5), "漢漢…漢漢");
  std::string many;
  for (int i = 0; i < 1000; ++i) many += i < 500 ? "漢" : "字";
  EXPECT_EQ(report::shortened(many, 5), "漢漢…字字");
}

TEST(Report, LongNamesAreShortened) {
  json document = whole_document();
  const std::string name(10000, 'x');
  for (json& result : document["bench"][0]["results"]) result["model"] = name;
  const std::string html = rendered(document);
  EXPECT_THAT(html, Not(HasSubstr(std::string(500, 'x'))));
}

TEST(Report, AnyMemberMayBeMissingOrOfAnotherType) {
  const json whole = whole_document();
  std::vector<json::json_pointer> places;
  const json flat = whole.flatten();
  for (const auto& [pointer, value] : flat.items()) {
    json::json_pointer at(pointer);
    while (!at.empty()) {
      if (std::find(places.begin(), places.end(), at) == places.end()) places.push_back(at);
      at = at.parent_pointer();
    }
  }
  ASSERT_GT(places.size(), 150u);
  const json wrongs[] = {nullptr, -1e308, "text", json::array(), {{"a", {1, nullptr}}}, {nullptr, "x", 1e308, -1}};
  for (const auto& place : places)
    for (const json& wrong : wrongs) {
      json document = whole;
      document[place] = wrong;
      const Result<std::string> html = render_report(document);
      if (!html.ok()) {
        EXPECT_EQ(html.status().code(), Code::kInvalidArgument);
        continue;
      }
      ASSERT_EQ(unbalanced(*html), "") << place.to_string() << " = " << wrong;
      ASSERT_EQ(html->find("nan%"), std::string::npos) << place.to_string() << " = " << wrong;
    }
}

TEST(Report, NumbersThatAreNoneAreLeftOut) {
  json document = whole_document();
  document["bench"][0]["results"][0]["latency_ms"]["p50"] = std::numeric_limits<double>::quiet_NaN();
  document["bench"][0]["results"][1]["ratio"]["ci95"] = {-std::numeric_limits<double>::infinity(), std::numeric_limits<double>::infinity()};
  document["compare"][0]["values"][0]["own_rel"] = std::numeric_limits<double>::infinity();
  expect_sound(rendered(document));
}

TEST(Report, ExtremesShareAChart) {
  json document = {{"bench", {{{"results", {bench_result("a", "x", 1e-5), bench_result("b", "x", 1e4)}}}}},
                   {"eval", {{{"results", {{{"backend", "x"}, {"metrics", {{{"name", "accuracy"}, {"value", 1.0}, {"ci95", {1.0, 1.0}}}}}}}}}}}};
  const std::string text = visible(rendered(document));
  EXPECT_THAT(text, HasSubstr("10.0 ns"));
  EXPECT_THAT(text, HasSubstr("10.0 s"));
  EXPECT_THAT(text, HasSubstr("1.0000 [1.0000, 1.0000]"));
}

TEST(Report, HugeDocumentsAreBounded) {
  json document = whole_document();
  json& profile = document["profile"][0];
  const json kernel = profile["kernels"][0], moment = profile["memory"]["timeline"][0], tensor = profile["memory"]["tensors"][0], value = document["compare"][0]["values"][0];
  for (int i = 0; i < 30000; ++i) {
    profile["kernels"].push_back(kernel);
    profile["memory"]["timeline"].push_back({{"step", i + 2}, {"node", "n"}, {"bytes", i}});
    profile["memory"]["tensors"].push_back(tensor);
    document["compare"][0]["values"].push_back(value);
  }
  for (int i = 0; i < 3000; ++i) document["bench"][0]["results"].push_back(bench_result("m" + std::to_string(i), "cpu", 1));
  const std::string html = rendered(document);
  EXPECT_LT(html.size(), 3u << 20);
  expect_sound(html);
  const std::string text = visible(html);
  EXPECT_THAT(text, HasSubstr("40 of 30001 kernels are shown."));
  EXPECT_THAT(text, HasSubstr("40 of 30002 values are shown."));
  EXPECT_THAT(text, HasSubstr("30002 steps in 239 columns"));
  EXPECT_THAT(text, HasSubstr("200 of 3005 results are shown."));
}

TEST(Report, NothingToReportIsAnError) {
  for (const json& document : {json(nullptr), json::object(), json{{"title", "x"}}, json{{"bench", json::array()}}, json("bench")}) {
    const Result<std::string> html = render_report(document);
    ASSERT_FALSE(html.ok());
    EXPECT_EQ(html.status().code(), Code::kInvalidArgument);
  }
}

TEST(Report, DocumentsAreJoinedByKind) {
  json report;
  ASSERT_TRUE(add_to_report(report, {{"kind", "bench"}, {"results", json::array()}}, "a.json").ok());
  ASSERT_TRUE(add_to_report(report, whole_document(), "b.json").ok());
  EXPECT_EQ(report["bench"].size(), 2u);
  EXPECT_EQ(report["bench"][0]["source"], "a.json");
  EXPECT_EQ(report["profile"].size(), 1u);
  EXPECT_EQ(report["title"], "Two nets");
  EXPECT_THAT(add_to_report(report, {{"kind", "tune"}}, "c.json").to_string(), HasSubstr("c.json"));
  EXPECT_FALSE(add_to_report(report, {{"passed", 3}}, "d.json").ok());
  EXPECT_FALSE(add_to_report(report, json::array(), "e.json").ok());
}

TEST(Report, FiguresHaveUnitsAndThreeDigits) {
  using namespace report;
  EXPECT_EQ(duration(0.0123), "12.3 µs");
  EXPECT_EQ(duration(0.99999), "1.00 ms");
  EXPECT_EQ(duration(12345), "12.3 s");
  EXPECT_EQ(duration(90000), "1.50 min");
  EXPECT_EQ(bytes(512), "512 B");
  EXPECT_EQ(bytes(1258291), "1.20 MiB");
  EXPECT_EQ(count(38100), "38.1 k");
  EXPECT_EQ(figure(0.000012345), "1.23e-05");
  EXPECT_EQ(figure(1234), "1234");
  EXPECT_EQ(bracket(Interval{1.5, 2.5}, duration), "[1.50, 2.50 ms]");
  EXPECT_EQ(bracket(Interval{0.5, 2.5}, ratio), "[0.500, 2.50]");
  EXPECT_EQ(trimmed("1.00 ms"), "1 ms");
  EXPECT_EQ(trimmed("100 ms"), "100 ms");
}

TEST(Report, ScalesHaveFewRoundTicksInside) {
  using report::Scale;
  const double decades[] = {0.01, 10000};
  EXPECT_THAT(Scale::logarithmic(decades).ticks(7), ElementsAre(0.01, 0.1, 1, 10, 100, 1000, 10000));
  const double one[] = {1.0};
  EXPECT_NEAR(Scale::linear(one).at(1), 0.5, 1e-9);
  for (const std::vector<double>& values : std::vector<std::vector<double>>{{}, {0}, {-1e308, 1e308}, {1e-308, 1e308}, {NAN, INFINITY}, {3, 3.0000001}, {0.93, 0.98}, {1, 1.1}})
    for (const Scale& scale : {Scale::linear(values), Scale::linear(values, true), Scale::logarithmic(values)}) {
      const std::vector<double> ticks = scale.ticks();
      EXPECT_GE(ticks.size(), 1u);
      EXPECT_LE(ticks.size(), 7u);
      for (double tick : ticks) EXPECT_TRUE(scale.at(tick) >= 0 && scale.at(tick) <= 1 && std::isfinite(tick));
    }
}

}  // namespace
}  // namespace tenon::eval
