#include "eval/tasks/manifest.h"

#include <algorithm>

#include "eval/tasks/object_reader.h"

namespace tenon::eval {

using nlohmann::json;

namespace {

constexpr int kStateVersion = 1;

}  // namespace

json manifest_of(const Dataset& dataset, const Recipe& recipe, const EvaluateOptions& options) {
  json names = json::array();
  for (const Candidate& c : options.candidates) names.push_back(c.name);
  return {{"version", kStateVersion},
          {"recipe", to_json(recipe)},
          {"dataset", {{"fingerprint", fmt::format("{:016x}", dataset.fingerprint())}, {"examples", dataset.size()}}},
          {"identity", options.identity},
          {"backends", names},
          {"threads", options.session.num_threads},
          {"shard", {{"number", options.shard}, {"of", options.shards}}}};
}

Result<Manifest> parse_manifest(const json& manifest) {
  constexpr int64_t kMost = INT64_MAX / 2, kMostShards = int64_t{1} << 20, kMostThreads = int64_t{1} << 20;
  static const json kNothing = json::object();
  const auto object = [](const json* value) -> const json& { return value != nullptr ? *value : kNothing; };
  Manifest out;
  int64_t version = 0;
  ObjectReader reader(manifest, {});
  reader.integer("version", version, 0, kMost);
  reader.integer("threads", out.threads, 0, kMostThreads);
  reader.strings("backends", out.names);
  const json *recipe = reader.any("recipe"), *dataset = reader.any("dataset"), *shard = reader.any("shard"), *identity = reader.any("identity");
  TENON_RETURN_IF_ERROR(reader.finish());
  if (version != kStateVersion) return error(Code::kInvalidArgument, "the folder is of another version of this program");
  if (recipe == nullptr) return Status(Code::kInvalidArgument, "there is no recipe", "recipe");
  std::string fingerprint;
  ObjectReader of_dataset(object(dataset), "dataset");
  of_dataset.text("fingerprint", fingerprint);
  of_dataset.integer("examples", out.examples, 1, kMost);
  TENON_RETURN_IF_ERROR(of_dataset.finish());
  ObjectReader of_shard(object(shard), "shard");
  of_shard.integer("of", out.shards, 1, kMostShards);
  of_shard.integer("number", out.shard, 0, kMostShards - 1);
  TENON_RETURN_IF_ERROR(of_shard.finish());
  if (out.examples < 1) return Status(Code::kInvalidArgument, "there are no examples", "dataset.examples");
  if (out.shard < 0 || out.shard >= out.shards) return Status(Code::kInvalidArgument, fmt::format("shard {} of {} does not exist", out.shard + 1, out.shards), "shard");
  if (identity != nullptr && identity->is_object() && identity->contains("path") && (*identity)["path"].is_string()) out.model = (*identity)["path"].get<std::string>();
  if (out.names.empty()) return Status(Code::kInvalidArgument, "there is no backend", "backends");
  std::vector<std::string> sorted;
  for (const std::string& name : out.names) sorted.push_back(state_file_name(name));
  std::sort(sorted.begin(), sorted.end());
  if (std::find(out.names.begin(), out.names.end(), "") != out.names.end() || std::adjacent_find(sorted.begin(), sorted.end()) != sorted.end())
    return Status(Code::kInvalidArgument, "backends have no names, or share one", "backends");
  return out;
}

}  // namespace tenon::eval
