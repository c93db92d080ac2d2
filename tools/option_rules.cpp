#include "tools/option_rules.h"

#include <algorithm>
#include <string>
#include <string_view>
#include <vector>

#include "eval/verify.h"
#include "tools/common.h"

namespace tenon::tools {
namespace {

constexpr std::string_view kRun = "run verify bench eval compare debug profile inspect";

/// When options have an effect. Lists are separated by spaces. A condition is an option that is given ("--verbose"), or one of whose values,
/// separated by commas for backends and targets, one matches a pattern ("--backend=vulkan", "--output=*.onnx") or does not ("--backend!=reference"); an option that
/// is not given has its default.
struct Rule {
  std::string_view commands, options;
  std::string_view why;               // what they are for; after the option's name
  std::string_view needs;             // one of these conditions must hold; empty: none
  std::string_view without;           // and none of these
};

constexpr Rule kRules[] = {
    {kRun, "--device", "chooses a Vulkan device", "--backend=vulkan", ""},
    {kRun, "--require-placement", "is about the Vulkan device", "--backend=vulkan", ""},
    {kRun, "--checked", "is about kernels on the Vulkan device", "--backend=vulkan", ""},
    {kRun, "--target", "is what code is generated for", "--backend=cpu --backend=vulkan", ""},
    {kRun, "--no-winograd", "is about convolutions on the CPU", "--backend=cpu", ""},
    {"run verify bench eval compare profile inspect", "--precision", "is of generated code", "--backend=cpu --backend=vulkan", ""},
    {"run verify bench eval compare profile inspect", "-O", "is about what the passes make, and the interpreter runs the model as it is", "--backend!=reference", ""},
    {kRun, "--threads", "is not about the interpreter, which has one thread", "--backend!=reference", ""},
    {"run bench compare debug profile", "--seed", "is of random inputs", "", "--test-data"},
    {"run", "--format", "is of files", "--output-dir", ""},
    {"verify", "--jobs", "is a number of processes", "", "--no-isolate"},
    {"bench", "--rounds", "is how long to measure", "", "--duration"},
    {"bench", "--format", "is of text", "", "--json=-"},
    {"bench", "--tolerance", "is of a comparison", "--baseline", ""},
    {"bench", "--profile", "shows compiled kernels", "--backend=cpu --backend=vulkan", ""},
    {"inspect", "--backend -O --target --no-winograd --precision --device --require-placement --checked", "is about compiled models", "--placement --explain --state", ""},
    {"inspect", "--threads --no-roofline", "is of times", "--explain", ""},
    {"compile", "--threads --input --test-data --seed", "is of the runs that tuning measures", "--tune", ""},
    {"compile", "--device --require-placement --checked --verbose", "is not about tuning, which measures the CPU", "", "--tune"},
    {"compile", "--device --require-placement --checked", "is about compiling as for a run", "--verbose", ""},
    {"compile", "--device --require-placement --checked", "is about the Vulkan device", "--target=vulkan --emit=spirv", ""},
    {"compile", "--state", "is not about tuning, whose runs keep nothing", "", "--tune"},
    {"compile", "--tune", "measures, for this processor with all that it has, and writes no code", "", "--output --emit --verbose --target!=host*"},
    {"optimize", "--opset --external-data", "is of ONNX files", "--output=*.onnx", ""},
    {"optimize", "--precision --target", "is for the graph that is compiled, which is not what an ONNX file holds", "", "--output=*.onnx"},
    {"optimize", "--output --print-after --disable --max-rewrites --verify-each --times --opset --external-data --precision --target", "is about a model", "", "--list-passes"},
    {"eval", "--recipe --task --dataset --format --metric --option --input --output --label --scale --offset --backend -O --threads --target --precision --device "
             "--require-placement --checked --no-winograd --batch --limit --singles --state --shard --show --print-recipe --dim --shape --custom-ops",
     "is of what runs", "", "--merge"},
    {"devices", "--device --checked --group", "is of the self-test", "--self-test", ""},
    {"data", "--index --limit", "chooses examples to show", "", "--check"},
    {"data", "--preprocess --index --limit --check --json", "is about a data set", "", "--formats --steps --step --markdown"},
    {"metrics", "--against", "is what records are compared with", "--records", ""},
    {"metrics", "--average --k --bins --classes --class-names --stemmer --resamples --seed", "is of metrics that are computed", "--records", ""},
    {"metrics ops", "--markdown", "is text", "", "--json=-"},
};

bool lists(std::string_view list, std::string_view word) {
  return std::ranges::any_of(split(std::string(list), ' '), [&](const std::string& one) { return one == word; });
}

bool given(const CLI::App& command, std::string_view option) {
  const CLI::Option* found = command.get_option_no_throw(std::string(option));
  return found != nullptr && found->count() > 0;
}

/// What was given, else the default; the parts between commas.
std::vector<std::string> values_of(const CLI::App& command, const std::string& option) {
  const CLI::Option* found = command.get_option_no_throw(option);
  if (found == nullptr) return {};
  const std::string fallback = found->get_default_str();  // what stands behind a semicolon explains it
  std::vector<std::string> out;
  const std::vector<std::string> texts = found->count() > 0 ? found->results() : std::vector<std::string>{fallback.substr(0, fallback.find(';'))};
  const bool list = option == "--backend" || option == "--target";
  for (const std::string& text : texts)
    for (std::string& part : list ? split(text, ',') : std::vector<std::string>{text}) out.push_back(std::move(part));
  std::erase(out, "");
  return out;
}

bool holds(const CLI::App& command, const std::string& condition) {
  const size_t equals = condition.find('=');
  if (equals == std::string::npos) return given(command, condition);
  const bool other = condition[equals - 1] == '!';
  const std::string option = condition.substr(0, equals - (other ? 1 : 0)), pattern = condition.substr(equals + 1);
  return std::ranges::any_of(values_of(command, option), [&](const std::string& value) {
    return (option == "--backend" && value == "all") || eval::glob_match(pattern, value) != other;
  });
}

std::string text_of(const std::string& condition) {
  const size_t equals = condition.find('=');
  if (equals == std::string::npos) return condition;
  if (condition[equals - 1] != '!') return condition.substr(0, equals) + " " + condition.substr(equals + 1);
  return fmt::format("a {} other than {}", condition.substr(0, equals - 1), condition.substr(equals + 1));
}

std::string text_of(const std::vector<std::string>& conditions) {
  std::vector<std::string> texts;
  for (const std::string& one : conditions) texts.push_back(text_of(one));
  return alternatives(texts);
}

/// Whether the rule lets the option have an effect.
Status check(const CLI::App& command, const Rule& rule, const std::string& option) {
  const auto is_true = [&](const std::string& condition) { return holds(command, condition); };
  if (!rule.needs.empty()) {
    const std::vector<std::string> needs = split(std::string(rule.needs), ' ');
    if (std::ranges::none_of(needs, is_true))
      return Status(Code::kInvalidArgument, fmt::format("{} {}, and has no effect without {}", option, rule.why, text_of(needs)), option, "add that, or leave it out");
  }
  if (rule.without.empty()) return {};
  const std::vector<std::string> without = split(std::string(rule.without), ' ');
  const auto found = std::ranges::find_if(without, is_true);
  if (found == without.end()) return {};
  return Status(Code::kInvalidArgument, fmt::format("{} {}, and has no effect beside {}", option, rule.why, text_of(*found)), option, "leave one of them out");
}

}  // namespace

Status check_options(const CLI::App& command) {
  for (const Rule& rule : kRules) {
    if (!lists(rule.commands, command.get_name())) continue;
    for (const std::string& option : split(std::string(rule.options), ' '))
      if (given(command, option)) TENON_RETURN_IF_ERROR(check(command, rule, option));
  }
  for (const std::string& target : values_of(command, "--target"))
    if (const auto known = target_of(target); !known.ok()) return Status(known.status()).at("--target");
  return {};
}

}  // namespace tenon::tools
