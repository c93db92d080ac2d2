#include "eval/preprocess/pipeline.h"

#include <algorithm>
#include <cmath>
#include <set>

#include "eval/preprocess/arguments.h"

namespace tenon::eval {
namespace {

using nlohmann::json;

constexpr size_t kMaxSteps = 256, kMaxListed = 65536;

std::string quoted_names(std::span<const Parameter> parameters) {
  std::string out = "step, input, output";
  for (const Parameter& p : parameters) out += fmt::format(", {}", p.name);
  return out;
}

Status check_number(const Parameter& p, const json& value) {
  if (!value.is_number()) return wrong_parameter(p.name, "is no number");
  const double v = value.get<double>();
  if (!std::isfinite(v)) return wrong_parameter(p.name, "is not finite");
  if (p.low < p.high && (v < p.low || v > p.high)) return wrong_parameter(p.name, fmt::format("is {}, outside [{}, {}]", v, p.low, p.high));
  return {};
}

Status check_integer(const Parameter& p, const json& value) {
  if (!value.is_number_integer()) return wrong_parameter(p.name, "is no whole number");
  if (value.is_number_unsigned() && value.get<uint64_t>() > uint64_t{1} << 53) return wrong_parameter(p.name, "is above 2^53");
  return check_number(p, value);
}

Status check_list(const Parameter& p, const json& value, bool (json::*is)() const noexcept, std::string_view what) {
  if (!value.is_array() || value.size() > kMaxListed || !std::all_of(value.begin(), value.end(), [&](const json& v) { return (v.*is)(); }))
    return wrong_parameter(p.name, what);
  return {};
}

Status check_choice(const Parameter& p, const json& value) {
  const std::string_view choices = p.help.substr(0, p.help.find(' '));
  if (value.is_string()) {
    const std::string given = "|" + value.get<std::string>() + "|";
    if (given.find('|', 1) == given.size() - 1 && ("|" + std::string(choices) + "|").find(given) != std::string::npos) return {};
  }
  return wrong_parameter(p.name, fmt::format("is {}, none of {}", value.dump(-1, ' ', false, json::error_handler_t::replace), choices));
}

Status check_size(const Parameter& p, const json& value) {
  if (value.is_number_integer()) return check_integer(p, value);
  if (!value.is_array() || value.size() != 2) return wrong_parameter(p.name, "is neither a whole number nor [height, width]");
  for (const json& side : value) TENON_RETURN_IF_ERROR(check_integer(p, side));
  return {};
}

Status check(const Parameter& p, const json& value) {
  switch (p.kind) {
    case Parameter::Kind::kInteger: return check_integer(p, value);
    case Parameter::Kind::kNumber: return check_number(p, value);
    case Parameter::Kind::kBoolean: return value.is_boolean() ? Status() : wrong_parameter(p.name, "is neither true nor false");
    case Parameter::Kind::kText: return value.is_string() ? Status() : wrong_parameter(p.name, "is no text");
    case Parameter::Kind::kChoice: return check_choice(p, value);
    case Parameter::Kind::kNumbers: {
      if (value.is_number()) return check_number(p, value);
      TENON_RETURN_IF_ERROR(check_list(p, value, &json::is_number, "is neither a number nor a list of numbers"));
      for (const json& v : value) TENON_RETURN_IF_ERROR(check_number(p, v));
      return {};
    }
    case Parameter::Kind::kTexts: return check_list(p, value, &json::is_string, "is no list of texts");
    case Parameter::Kind::kSize: return check_size(p, value);
  }
  return {};
}

Result<StepArguments> complete(const StepInfo& info, const json& step, const std::filesystem::path& folder, const std::string& previous) {
  StepArguments out{json::object(), folder, info.input == kPrevious ? previous : std::string(info.input), {}};
  for (const auto& [name, value] : step.items()) {
    if (name == "step") continue;
    if (name == "input" || name == "output") {
      if (!value.is_string() || value.get<std::string>().empty()) return wrong_parameter(name, "is no name of a field");
      (name == "input" ? out.input : out.output) = value.get<std::string>();
      continue;
    }
    const auto p = std::find_if(info.parameters.begin(), info.parameters.end(), [&, n = std::string_view(name)](const Parameter& q) { return q.name == n; });
    if (p == info.parameters.end())
      return Status(Code::kInvalidArgument, fmt::format("there is no parameter '{}'", name), {}, "give some of " + quoted_names(info.parameters));
    TENON_RETURN_IF_ERROR(check(*p, value));
    out.values[name] = value;
  }
  if (out.output.empty()) out.output = info.output.empty() ? out.input : std::string(info.output);
  for (const Parameter& p : info.parameters)
    if (!p.fallback.empty() && !out.values.contains(p.name)) out.values[std::string(p.name)] = json::parse(p.fallback);
  return out;
}

/// Which fields have their channels first, so that a step which wants them last is not given a wrong image without a word.
class Layouts {
 public:
  Status follow(const StepInfo& info, const StepArguments& a) {
    const bool lays_out = info.name == "layout";
    if (info.group == "image" && first_.contains(a.input))
      return error(Code::kInvalidArgument, "the field '{}' has its channels first by now", a.input).with_hint("put layout after the other steps of images");
    const bool first = lays_out ? a.values["to"] == "chw" : first_.contains(a.input) && info.group == "tensor" && info.name != "transpose" && info.name != "reshape";
    if (first) first_.insert(a.output);
    else first_.erase(a.output);
    return {};
  }

 private:
  std::set<std::string> first_;
};

}  // namespace

std::span<const StepInfo> preprocess_steps() {
  static const std::vector<StepInfo> all = [] {
    std::vector<StepInfo> out;
    for (const std::span<const StepInfo> group : {image_steps(), audio_steps(), text_steps(), table_steps(), tensor_steps()})
      out.insert(out.end(), group.begin(), group.end());
    return out;
  }();
  return all;
}

const StepInfo* find_step(std::string_view name) {
  for (const StepInfo& step : preprocess_steps())
    if (step.name == name) return &step;
  return nullptr;
}

Result<Pipeline> parse_pipeline(const json& steps, const std::filesystem::path& folder) {
  Pipeline out;
  if (!steps.is_array()) return error(Code::kInvalidArgument, "preprocessing is no list of steps").with_hint("write [{\"step\": …}, …]");
  if (steps.size() > kMaxSteps) return error(Code::kResourceExhausted, "more than {} preprocessing steps", kMaxSteps);
  std::string previous = "image";
  Layouts layouts;
  for (size_t i = 0; i < steps.size(); ++i) {
    const json& step = steps[i];
    std::string place = fmt::format("step {}", i + 1);
    if (!step.is_object() || !step.contains("step") || !step["step"].is_string())
      return Status(Code::kInvalidArgument, "it is no object with a \"step\"", place, "write {\"step\": \"resize\", …}");
    const std::string name = step["step"].get<std::string>();
    const StepInfo* info = find_step(name);
    if (info == nullptr) {
      std::string names;
      for (const StepInfo& known : preprocess_steps()) names += fmt::format("{}{}", names.empty() ? "" : ", ", known.name);
      return Status(Code::kInvalidArgument, fmt::format("there is no step '{}'", name), place, "give one of " + names);
    }
    place += fmt::format(" ({})", name);
    Result<StepArguments> arguments = complete(*info, step, folder, previous);
    if (!arguments.ok()) return std::move(arguments).status().at(place);
    Result<StepFunction> made = info->make(*arguments);
    if (!made.ok()) return std::move(made).status().at(place);
    if (Status s = layouts.follow(*info, *arguments); !s.ok()) return std::move(s).at(place);
    previous = arguments->output;
    out.steps_.push_back({std::move(place), std::move(made).value()});
  }
  return out;
}

Result<Fields> Pipeline::run(Fields fields) const {
  for (const Step& step : steps_)
    if (Status s = step.run(fields); !s.ok()) return std::move(s).at(step.place);
  return fields;
}

}  // namespace tenon::eval
