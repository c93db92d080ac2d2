#include "eval/profile/origins.h"

#include <fmt/format.h>

namespace tenon::eval {
namespace {

constexpr int kMaxExtensions = 8;  // ".Sub.ReduceMax…": of passes that rewrite what others made

/// "y_12" -> "y": what Graph::unique_name appends.
std::string_view without_number(std::string_view name) {
  const size_t at = name.find_last_not_of("0123456789");
  return at != name.npos && at > 0 && at + 1 < name.size() && name[at] == '_' ? name.substr(0, at) : name;
}

}  // namespace

std::string display_name(const ir::Node& node) {
  if (!node.name().empty()) return node.name();
  return fmt::format("{} {}", node.op_name(), node.num_outputs() > 0 ? node.output()->name() : "");
}

Origins::Origins(const ir::Graph& model) {
  ir::walk(const_cast<ir::Graph&>(model), [&](ir::Node& node) {
    if (node.is("Constant")) return;
    const auto [found, added] = by_name_.try_emplace(display_name(node), nodes_.size());
    if (added) nodes_.push_back({found->first, std::string(node.op_name()), {}});
    for (const ir::Value* output : node.outputs()) by_value_.try_emplace(output->name(), found->second);
  });
  ir::walk(const_cast<ir::Graph&>(model), [&](ir::Node& node) {
    if (node.is("Constant")) return;
    const size_t reader = by_name_.at(display_name(node));
    for (const ir::Value* input : node.inputs()) {
      const auto writer = input == nullptr ? by_value_.end() : by_value_.find(input->name());
      if (writer == by_value_.end() || writer->second == reader) continue;
      std::vector<size_t>& readers = nodes_[writer->second].readers;
      if (readers.empty() || readers.back() != reader) readers.push_back(reader);
    }
  });
}

std::optional<size_t> Origins::find_name(std::string_view name) const {
  std::string_view part = name;
  for (int i = 0; i < kMaxExtensions && !part.empty(); ++i) {
    for (std::string_view candidate : {part, without_number(part)}) {
      if (const auto node = by_name_.find(std::string(candidate)); node != by_name_.end()) return node->second;
      if (const auto value = by_value_.find(std::string(candidate)); value != by_value_.end()) return value->second;
    }
    const size_t dot = part.rfind('.');
    part = dot == part.npos ? std::string_view() : part.substr(0, dot);
  }
  return std::nullopt;
}

std::optional<size_t> Origins::find(const ir::Node& compiled) const {
  if (!compiled.name().empty())
    if (const auto found = find_name(compiled.name())) return found;
  return compiled.num_outputs() > 0 ? find_name(compiled.output()->name()) : std::nullopt;
}

}  // namespace tenon::eval
