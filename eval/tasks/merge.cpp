#include <algorithm>

#include "eval/tasks/manifest.h"

namespace tenon::eval {
namespace {

/// kInvalidArgument unless what shards hold is of the examples that there are.
Status check_range(const StateContents& contents, int64_t examples, int64_t batches) {
  const auto inside = [&](int64_t index) { return index >= 0 && index < examples; };
  if (!contents.batches.empty() && contents.batches.back() >= batches)
    return error(Code::kInvalidArgument, "batch {} is beyond the {} of the evaluation", contents.batches.back(), batches);
  for (const Problem& p : contents.problems)
    if (!inside(p.index)) return error(Code::kInvalidArgument, "a problem is of example {}, but there are {}", p.index, examples);
  for (const SubjectState& s : contents.subjects)
    for (size_t i = 0; i < s.records.size(); ++i) {
      if (!inside(s.records[i].index)) return error(Code::kInvalidArgument, "a record is of example {}, but there are {}", s.records[i].index, examples);
      if (i > 0 && s.records[i].index == s.records[i - 1].index) return error(Code::kInvalidArgument, "there are two records of example {}", s.records[i].index);
    }
  return {};
}

}  // namespace

Result<Evaluation> merge_evaluations(const std::vector<std::filesystem::path>& folders) {
  Evaluation out;
  Manifest first;
  std::vector<StateContents> states;
  std::vector<int64_t> shards_seen;
  for (const std::filesystem::path& folder : folders) {
    TENON_ASSIGN_OR_RETURN(nlohmann::json manifest, read_manifest(folder));
    Result<Manifest> parsed = parse_manifest(manifest);
    if (!parsed.ok()) {
      const Status& s = parsed.status();
      const std::string file = (folder / "manifest.json").string();
      return Status(s.code(), s.what(), s.where().empty() ? file : fmt::format("{}: {}", file, s.where()), "name folders that --state has made");
    }
    shards_seen.push_back(parsed->shard);
    manifest["shard"]["number"] = 0;
    if (manifest.contains("identity") && manifest["identity"].is_object()) manifest["identity"].erase("path");  // its hash says which model it is
    if (states.empty()) {
      first = std::move(*parsed);
      out.manifest = manifest;
    }
    if (const std::string where = manifest_difference(out.manifest, manifest); !where.empty())
      return Status(Code::kInvalidArgument, fmt::format("the folders hold different evaluations: {} differs", where), folder.string(), "merge shards of one");
    TENON_ASSIGN_OR_RETURN(StateContents contents, read_state(folder, first.names));
    states.push_back(std::move(contents));
  }
  if (states.empty()) return error(Code::kInvalidArgument, "there is no folder to merge");
  TENON_ASSIGN_OR_RETURN(out.recipe, parse_recipe(out.manifest["recipe"], {}, "manifest.json: recipe"));
  TENON_ASSIGN_OR_RETURN(out.task, find_task(out.recipe.task));
  TENON_ASSIGN_OR_RETURN(StateContents merged, merge_states(std::move(states)));
  out.model = first.model;
  out.examples = out.recipe.limit > 0 ? std::min(out.recipe.limit, first.examples) : first.examples;
  if (out.recipe.batch < 1) return Status(Code::kInvalidArgument, "the size of a batch is not there", "manifest.json: recipe.batch");
  out.batches = (out.examples - 1) / out.recipe.batch + 1;
  const int64_t of = first.shards;
  TENON_RETURN_IF_ERROR(check_range(merged, out.examples, out.batches));
  for (size_t i = 0; i < merged.batches.size(); ++i)
    if (merged.batches[i] != static_cast<int64_t>(i)) {
      const int64_t shard = static_cast<int64_t>(i) % of;
      const bool there = std::find(shards_seen.begin(), shards_seen.end(), shard) != shards_seen.end();
      return Status(Code::kInvalidArgument, fmt::format("batch {} is missing", i), {},
                    there ? fmt::format("finish shard {}/{} first", shard + 1, of) : fmt::format("name the folder of shard {}/{}, too", shard + 1, of));
    }
  if (static_cast<int64_t>(merged.batches.size()) != out.batches)
    return Status(Code::kInvalidArgument, fmt::format("batch {} is missing", merged.batches.size()), {},
                  fmt::format("finish shard {}/{}, or name its folder, too", static_cast<int64_t>(merged.batches.size()) % of + 1, of));
  out.batches_done = out.batches;
  out.done = out.examples;
  out.problems = std::move(merged.problems);
  for (size_t s = 0; s < first.names.size(); ++s) {
    CandidateResult result;
    result.name = first.names[s];
    result.threads = static_cast<int>(first.threads);
    result.state = std::move(merged.subjects[s]);
    result.status = result.state.failure;
    result.available = result.state.available;
    out.results.push_back(std::move(result));
  }
  return out;
}

}  // namespace tenon::eval
