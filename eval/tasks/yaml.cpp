#include <charconv>
#include <cmath>

#include <yaml-cpp/yaml.h>

#include "eval/tasks/recipe.h"

namespace tenon::eval {
using nlohmann::json;

namespace {

constexpr int kDeepest = 32;
constexpr int64_t kMostNodes = 100'000;  // aliases may name a node many times

/// The value of a plain scalar by the core schema of YAML 1.2 (section 10.3.2); quoted ones are texts.
json scalar(const YAML::Node& node) {
  const std::string& text = node.Scalar();
  if (node.Tag() == "!") return text;
  if (text.empty() || text == "~" || text == "null" || text == "Null" || text == "NULL") return nullptr;
  if (text == "true" || text == "True" || text == "TRUE") return true;
  if (text == "false" || text == "False" || text == "FALSE") return false;
  const char* first = text.data() + (text[0] == '+' && text.size() > 1 ? 1 : 0);
  const char* last = text.data() + text.size();
  int64_t integer = 0;
  if (const auto [end, ec] = std::from_chars(first, last, integer); ec == std::errc() && end == last) return integer;
  const bool numeric = text.find_first_not_of("+-.0123456789eE") == std::string::npos && text.find_first_of("0123456789") != std::string::npos;
  double real = 0;
  if (numeric)
    if (const auto [end, ec] = std::from_chars(first, last, real); ec == std::errc() && end == last && std::isfinite(real)) return real;
  return text;
}

Result<json> convert(const YAML::Node& node, int depth, int64_t& nodes) {
  if (depth > kDeepest) return error(Code::kResourceExhausted, "nested more than {} deep", kDeepest);
  if (++nodes > kMostNodes) return error(Code::kResourceExhausted, "more than {} values", kMostNodes);
  switch (node.Type()) {
    case YAML::NodeType::Scalar: return scalar(node);
    case YAML::NodeType::Sequence: {
      json out = json::array();
      for (const YAML::Node& item : node) {
        TENON_ASSIGN_OR_RETURN(json value, convert(item, depth + 1, nodes));
        out.push_back(std::move(value));
      }
      return out;
    }
    case YAML::NodeType::Map: {
      json out = json::object();
      for (const auto& item : node) {
        if (!item.first.IsScalar()) return error(Code::kInvalidArgument, "a key in line {} is no text", item.first.Mark().line + 1);
        if (out.contains(item.first.Scalar()))
          return error(Code::kInvalidArgument, "key '{}' stands twice, the second time in line {}", item.first.Scalar(), item.first.Mark().line + 1);
        TENON_ASSIGN_OR_RETURN(json value, convert(item.second, depth + 1, nodes));
        out[item.first.Scalar()] = std::move(value);
      }
      return out;
    }
    default: return json(nullptr);
  }
}

}  // namespace

Result<json> parse_yaml_text(const std::string& text, const std::string& where) {
  try {
    int64_t nodes = 0;
    Result<json> out = convert(YAML::Load(text), 0, nodes);
    if (!out.ok()) return std::move(out).status().at(where);
    return out;
  } catch (const YAML::Exception& e) {
    return Status(Code::kInvalidArgument, fmt::format("no YAML: {} in line {}", e.msg, e.mark.line + 1), where);
  } catch (const std::exception& e) {
    return Status(Code::kInvalidArgument, fmt::format("no YAML: {}", e.what()), where);
  }
}

}  // namespace tenon::eval
