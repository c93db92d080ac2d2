#include <algorithm>
#include <map>
#include <optional>
#include <tuple>

#include "eval/metrics/makers.h"
#include "eval/metrics/scorers.h"

namespace tenon::eval {
namespace {

/// The name of a class: "B-PER" is tag B of type PER; O is outside.
struct Tag {
  char mark = 'O';
  std::string type;
};

Result<std::vector<Tag>> tags_of(const std::vector<std::string>& names) {
  if (names.empty()) return Status(Code::kInvalidArgument, "no names of classes", "seqeval", "give them, as in O, B-PER, I-PER");
  std::vector<Tag> out;
  for (const std::string& name : names) {
    if (name == "O") {
      out.push_back({});
      continue;
    }
    if (name.size() < 2 || name[1] != '-' || std::string_view("BIES").find(name[0]) == std::string_view::npos)
      return Status(Code::kInvalidArgument, fmt::format("'{}' is no tag", name), "seqeval, names of classes",
                    "they are O, or B-, I-, E- or S- and a type");
    out.push_back({name[0], name.substr(2)});
  }
  return out;
}

/// conlleval's rules: whether an entity ends before `next`, and whether one begins there.
bool ends(const Tag& tag, const Tag& next) {
  if (tag.mark == 'O') return false;
  return tag.mark == 'E' || tag.mark == 'S' || next.mark == 'B' || next.mark == 'S' || next.mark == 'O' || tag.type != next.type;
}
bool begins(const Tag& previous, const Tag& tag) {
  if (tag.mark == 'O') return false;
  return tag.mark == 'B' || tag.mark == 'S' || previous.mark == 'E' || previous.mark == 'S' || previous.mark == 'O' ||
         previous.type != tag.type;
}

using Entity = std::tuple<std::string, size_t, size_t>;  // type, first and last token

std::vector<Entity> entities_of(const std::vector<const Tag*>& tags) {
  const Tag outside;
  std::vector<Entity> out;
  const Tag* previous = &outside;
  size_t first = 0;
  for (size_t i = 0; i <= tags.size(); ++i) {
    const Tag* tag = i < tags.size() ? tags[i] : &outside;
    if (ends(*previous, *tag)) out.emplace_back(previous->type, first, i - 1);
    if (begins(*previous, *tag)) first = i;
    previous = tag;
  }
  std::sort(out.begin(), out.end());
  return out;
}

}  // namespace

Result<std::unique_ptr<Scorer>> make_seqeval(std::span<const Record> records, const MetricOptions& options) {
  TENON_ASSIGN_OR_RETURN(const std::vector<Tag> tags, tags_of(options.names));
  TENON_ASSIGN_OR_RETURN(const auto outcomes, outcomes_of<TokenOutcome>("seqeval", records));
  std::vector<std::string> types;
  for (const Tag& tag : tags)
    if (tag.mark != 'O') types.push_back(tag.type);
  std::sort(types.begin(), types.end());
  types.erase(std::unique(types.begin(), types.end()), types.end());
  const auto slot = [&](const Entity& entity) {
    return 3 * static_cast<size_t>(std::lower_bound(types.begin(), types.end(), std::get<0>(entity)) - types.begin());
  };

  Sums sums(3 * types.size());  // of each type: entities right, predicted, labelled
  for (size_t r = 0; r < outcomes.size(); ++r) {
    const TokenOutcome& tokens = *outcomes[r];
    if (tokens.labels.size() != tokens.predicted.size())
      return Status(Code::kInvalidArgument, fmt::format("{} labels for {} predictions", tokens.labels.size(), tokens.predicted.size()),
                    place_of(records[r]), "give each token one of both");
    std::vector<const Tag*> labels, predicted;
    for (size_t i = 0; i < tokens.labels.size(); ++i) {
      if (tokens.labels[i] == -100) continue;
      for (int64_t c : {tokens.labels[i], tokens.predicted[i]})
        if (c < 0 || c >= static_cast<int64_t>(tags.size()))
          return Status(Code::kInvalidArgument, fmt::format("class {} where {} have names", c, tags.size()), place_of(records[r]),
                        "give all names");
      labels.push_back(&tags[static_cast<size_t>(tokens.labels[i])]);
      predicted.push_back(&tags[static_cast<size_t>(tokens.predicted[i])]);
    }
    const std::vector<Entity> there = entities_of(labels), found = entities_of(predicted);
    std::vector<Entity> right;
    std::set_intersection(there.begin(), there.end(), found.begin(), found.end(), std::back_inserter(right));
    for (const Entity& entity : right) sums.add(slot(entity), 1);
    for (const Entity& entity : found) sums.add(slot(entity) + 1, 1);
    for (const Entity& entity : there) sums.add(slot(entity) + 2, 1);
    sums.end_record();
  }

  const auto total = [](std::span<const double> s) {
    std::array<double, 3> t{};
    for (size_t i = 0; i < s.size(); ++i) t[i % 3] += s[i];
    return t;
  };
  const auto finish = [total](std::span<const double> s) {
    const auto [right, predicted, labelled] = total(s);
    return divided(2 * right, predicted + labelled);
  };
  const auto details = [total, types](std::span<const double> s) {
    const auto [right, predicted, labelled] = total(s);
    nlohmann::json out{
        {"precision", divided_or_zero(right, predicted)}, {"recall", divided_or_zero(right, labelled)}, {"types", nlohmann::json::array()}};
    for (size_t t = 0; t < types.size(); ++t)
      out["types"].push_back({{"type", types[t]},
                              {"precision", divided_or_zero(s[3 * t], s[3 * t + 1])},
                              {"recall", divided_or_zero(s[3 * t], s[3 * t + 2])},
                              {"f1", divided_or_zero(2 * s[3 * t], s[3 * t + 1] + s[3 * t + 2])},
                              {"support", s[3 * t + 2]}});
    return out;
  };
  return std::make_unique<SumScorer>(std::move(sums), finish, details);
}

}  // namespace tenon::eval
