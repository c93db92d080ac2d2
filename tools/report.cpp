#include "eval/report/report.h"

#include "tools/common.h"

namespace tenon::tools {
namespace {

constexpr const char* kNotes =
    "Takes what bench, eval, profile and compare write with --json, in any number and order, also whole reports of such documents, and\n"
    "writes one HTML file that needs nothing else: it opens without a network, prints, and follows the light or dark theme.\n\n"
    "Examples:\n"
    "  tenon bench model.onnx --backend reference,cpu --json bench.json\n"
    "  tenon report bench.json -o report.html\n"
    "  tenon report bench.json eval.json profile.json -o report.html --title 'Digits on a laptop'";

struct Options {
  std::vector<std::string> inputs;
  std::string output, title, json;
  LimitOptions limits;
};

Status write_report(const Options& o) {
  TENON_RETURN_IF_ERROR(apply_memory_limit(o.limits).status());
  nlohmann::json document = nlohmann::json::object();
  for (const std::string& input : o.inputs) {
    TENON_ASSIGN_OR_RETURN(nlohmann::json one, eval::read_report_document(input));
    TENON_RETURN_IF_ERROR(eval::add_to_report(document, std::move(one), input));
  }
  if (!o.title.empty()) document["title"] = o.title;
  TENON_ASSIGN_OR_RETURN(const std::string html, eval::render_report(document));
  if (!o.json.empty()) TENON_RETURN_IF_ERROR(write_json(document, o.json));
  if (o.output == "-") {
    std::fwrite(html.data(), 1, html.size(), stdout);
    return {};
  }
  TENON_RETURN_IF_ERROR(write_file(o.output, html));
  if (o.json == "-") return {};
  for (const std::string& line : eval::report_headlines(document)) fmt::print("{}\n", line);
  fmt::print("{}: {}\n", o.output, human_bytes(static_cast<double>(html.size())));
  return {};
}

}  // namespace

void add_report(CLI::App& app, int& status) {
  auto o = std::make_shared<Options>();
  CLI::App* sub = app.add_subcommand("report", "Join measurements into one HTML file with tables and charts");
  sub->add_option("JSON", o->inputs, "What bench, eval, profile and compare wrote with --json")->required()->type_name("")->default_str("");
  sub->add_option("-o,--output", o->output, "HTML file to write, or - for stdout")->required()->type_name("PATH");
  sub->add_option("--title", o->title, "Title of the report")->type_name("TEXT");
  sub->add_option("--json", o->json, "Write the joined documents to a file, or - for stdout")->type_name("PATH");
  sub->add_option("--memory-limit", o->limits.memory, "Memory that the command may have, as 512M, 8G or 50%")->type_name("SIZE");
  sub->footer(kNotes);
  sub->callback([o, &status] {
    const Status written = write_report(*o);
    status = written.ok() ? kSuccess : report(written);
  });
}

}  // namespace tenon::tools
