#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>

#include "eval/classification.h"
#include "eval/picture.h"
#include "tools/common.h"

namespace tenon::tools {
namespace {

constexpr const char* kHelp =
    "Accuracy counts the images whose best class is the labelled one. Latencies are medians; the backends take turns on the same\n"
    "images. The ratio is the first backend's latency over this one's. The difference is the largest between this backend's outputs\n"
    "and the first one's. `arena` is the memory that a session holds for intermediate results.\n\n"
    "Examples:\n"
    "  tenon eval models/digits/model.onnx \\\n"
    "    --dataset models/digits/data/test-images.idx3-ubyte,models/digits/data/test-labels.idx1-ubyte --show 6\n"
    "  tenon eval mnist-8.onnx --dataset images.idx3-ubyte,labels.idx1-ubyte --scale 1 --backend reference,cpu --json -";

struct Options {
  ModelOptions model;
  std::string task = "image-classification", dataset, backend = "all", json, target;
  eval::ClassificationOptions run;
  int64_t show = 0;
};

Result<eval::LabelledImages> read_dataset(const std::string& dataset) {
  const std::vector<std::string> files = split(dataset, ',');
  if (files.size() != 2)
    return Status(Code::kInvalidArgument, fmt::format("'{}' is not two files", dataset), "--dataset", "write IMAGES,LABELS, two IDX files");
  return eval::read_labelled_images(files[0], files[1]);
}

/// Backends by name; "all" also has those that cannot run here, whose result then says why.
Result<std::vector<const backends::Backend*>> choose(const std::string& names) {
  if (names != "all") return backends_of(names);
  const auto all = backends::all_backends();
  return std::vector<const backends::Backend*>(all.begin(), all.end());
}

std::string percent(int64_t part, int64_t whole) { return fmt::format("{:.2f} %", 100.0 * static_cast<double>(part) / static_cast<double>(whole)); }
std::string ratio(double first, double own) { return own > 0 && first > 0 ? fmt::format("{:.2f}", first / own) : "-"; }
std::string latency(double ms) { return ms > 0 ? fmt::format("{:.3f}", ms) : "-"; }

void print_table(const eval::ClassificationReport& report) {
  fmt::print("{} images, batches of {}; scores: output {}\n\n", report.images, report.batch, report.output);
  Table table({"backend", "top-1", "top-5", "compile ms", "image ms", "ratio", fmt::format("batch of {} ms", report.batch), "ratio", "arena",
               "largest difference", "other predictions"});
  const eval::ClassificationResult& first = report.results.front();
  for (const eval::ClassificationResult& r : report.results) {
    if (!r.status.ok()) continue;
    const bool compared = &r != &first && first.status.ok();
    table.add({r.backend, percent(r.correct, report.images), percent(r.correct_top5, report.images), fmt::format("{:.1f}", r.compile_ms),
               latency(r.image_ms), ratio(first.image_ms, r.image_ms), latency(r.batch_ms), ratio(first.batch_ms, r.batch_ms),
               r.arena_bytes > 0 ? human_bytes(static_cast<double>(r.arena_bytes)) : "-", compared ? fmt::format("{:.2g}", r.max_abs) : "-",
               compared ? fmt::format("{}", r.disagreements) : "-"});
  }
  table.print();
  for (const eval::ClassificationResult& r : report.results)
    if (!r.status.ok()) fmt::print("\n{} did not run: {}\n", r.backend, r.status.to_string());
}

int64_t terminal_width() {
  winsize size{};
  return ::ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 0 ? size.ws_col : 100;
}

/// Images to show: two thirds spread over the data set, the rest taken from those that the first backend gets wrong.
std::vector<int64_t> choose_images(const eval::LabelledImages& data, const std::vector<eval::Prediction>& predictions, int64_t show) {
  const int64_t count = static_cast<int64_t>(predictions.size());
  show = std::min(show, count);
  std::vector<int64_t> wrong;
  for (int64_t i = 0; i < count && static_cast<int64_t>(wrong.size()) < show / 3; ++i)
    if (predictions[static_cast<size_t>(i)].label != data.labels[static_cast<size_t>(i)]) wrong.push_back(i);
  const int64_t spread = show - static_cast<int64_t>(wrong.size());
  std::vector<int64_t> out;
  for (int64_t i = 0; i < spread; ++i) out.push_back(i * count / spread);
  out.insert(out.end(), wrong.begin(), wrong.end());
  return out;
}

std::string padded(const std::string& text, int64_t columns, int64_t width) {
  return text + std::string(static_cast<size_t>(std::max<int64_t>(0, width - columns)), ' ');
}

void print_pictures(const eval::LabelledImages& data, const std::vector<eval::Prediction>& predictions, int64_t show) {
  constexpr int64_t kGap = 3, kWidest = 32;
  const int64_t width = std::min(kWidest, data.images.dim(data.images.rank() - 1));
  const int64_t caption_width = std::max<int64_t>(width, 24);
  const int64_t a_row = std::max<int64_t>(1, (terminal_width() + kGap) / (caption_width + kGap));
  const std::vector<int64_t> chosen = choose_images(data, predictions, show);
  for (size_t start = 0; start < chosen.size(); start += static_cast<size_t>(a_row)) {
    const std::span<const int64_t> row(chosen.begin() + static_cast<std::ptrdiff_t>(start),
                                       std::min(static_cast<size_t>(a_row), chosen.size() - start));
    std::vector<std::string> lines;
    std::string captions;
    for (int64_t image : row) {
      const std::vector<std::string> art = eval::picture(data.images, image, width);
      lines.resize(art.size());
      for (size_t i = 0; i < art.size(); ++i) lines[i] += padded(art[i], width, caption_width + kGap);
      const eval::Prediction& p = predictions[static_cast<size_t>(image)];
      const int64_t label = data.labels[static_cast<size_t>(image)];
      std::string caption = fmt::format("{} ({:.1f} %)", p.label, 100 * p.confidence);
      if (p.label != label) caption += fmt::format(" wrong: is {}", label);
      captions += padded(caption, static_cast<int64_t>(caption.size()), caption_width + kGap);
    }
    fmt::print("\n");
    for (const std::string& line : lines) fmt::print("{}\n", line);
    fmt::print("{}\n", captions);
  }
}

nlohmann::json to_json(const eval::ClassificationReport& report) {
  nlohmann::json results = nlohmann::json::array();
  for (const eval::ClassificationResult& r : report.results) {
    nlohmann::json one = {{"backend", r.backend}, {"status", r.status.ok() ? "ok" : "failed"}, {"message", r.status.ok() ? "" : r.status.to_string()}};
    if (r.status.ok())
      one.update({{"correct", r.correct}, {"correct_top5", r.correct_top5}, {"compile_ms", r.compile_ms}, {"first_run_ms", r.first_run_ms},
                  {"image_ms", r.image_ms}, {"batch_ms", r.batch_ms}, {"arena_bytes", r.arena_bytes}, {"max_abs", r.max_abs},
                  {"disagreements", r.disagreements}});
    results.push_back(std::move(one));
  }
  return {{"images", report.images}, {"batch", report.batch}, {"output", report.output}, {"results", std::move(results)}};
}

Result<int> evaluate(Options& o) {
  TENON_ASSIGN_OR_RETURN(const auto backends, choose(o.backend));
  TENON_ASSIGN_OR_RETURN(const eval::LabelledImages data, read_dataset(o.dataset));
  TENON_ASSIGN_OR_RETURN(const std::unique_ptr<ir::Graph> graph, load(o.model));
  o.run.compile.interrupt = o.model.interrupt;
  name_source(o.model, o.run.compile);
  o.run.session.max_bytes = o.model.max_bytes;
  Progress progress;
  TENON_ASSIGN_OR_RETURN(const eval::ClassificationReport report,
                         eval::classify(*graph, data, backends, o.run, [&](const std::string& what) { progress.show(what); }));
  progress.clear();
  bool failed = false, any = false;
  for (size_t i = 0; i < backends.size(); ++i) {
    any = any || report.results[i].status.ok();
    failed = failed || (!report.results[i].status.ok() && backends[i]->available().ok());
  }
  if (!any) return report.results.front().status;
  if (o.json != "-") {
    print_table(report);
    for (const eval::ClassificationResult& r : report.results)
      if (o.show > 0 && r.status.ok()) {
        print_pictures(data, r.predictions, o.show);
        break;
      }
  }
  if (!o.json.empty()) TENON_RETURN_IF_ERROR(write_json(to_json(report), o.json));
  return failed ? kDoesNotHold : kSuccess;
}

}  // namespace

void add_eval(CLI::App& app, int& status) {
  auto o = std::make_shared<Options>();
  CLI::App* sub = app.add_subcommand("eval", "Accuracy and latency of a model on a data set, on several backends");
  add_model_options(*sub, o->model);
  sub->add_option("--task", o->task, "What the model does")->check(CLI::IsMember({"image-classification"}));
  sub->add_option("--dataset", o->dataset, "IMAGES,LABELS: two IDX files")->required();
  sub->add_option("--backend", o->backend, "Backends, separated by commas, or all; the first is what others are compared with");
  sub->add_option("--output", o->run.output, "The output that holds the scores; else the first [batch, classes]");
  sub->add_option("--scale", o->run.scale, "An input element is pixel x scale + offset");
  sub->add_option("--offset", o->run.offset, "See --scale");
  sub->add_option("--batch", o->run.batch, "Images a run, unless the model fixes it")->check(CLI::Range(1, 1 << 20).description(""))->type_name("N");
  sub->add_option("--limit", o->run.limit, "Images used, from the start; 0: all")->check(CLI::NonNegativeNumber);
  sub->add_option("--singles", o->run.singles, "Images timed one by one")->check(CLI::NonNegativeNumber);
  sub->add_option("--threads", o->run.session.num_threads, "Threads of a session; 0: all cores")->type_name("N")->check(thread_count());
  sub->add_option("-O", o->run.compile.opt_level, "Optimisation level")->check(CLI::Range(0, 3).description(""))->type_name("0..3");
  add_target(*sub, o->run.compile.target);
  sub->add_option("--show", o->show, "Images to print as characters, with predictions")->check(CLI::NonNegativeNumber);
  sub->add_option("--json", o->json, "Write results to a file, or - for stdout")->type_name("PATH");
  sub->footer(kHelp);
  sub->callback([o, &status] {
    const Result<int> result = evaluate(*o);
    status = result.ok() ? *result : report(result.status());
  });
}

}  // namespace tenon::tools
