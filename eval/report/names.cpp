#include "eval/report/names.h"

#include <algorithm>

#include <fmt/format.h>

#include "eval/report/reader.h"

namespace tenon::eval::report {
namespace {

using nlohmann::json;

/// Folders and name of a path, without the file name that every model folder has.
std::vector<std::string_view> parts_of(std::string_view path) {
  std::vector<std::string_view> parts;
  for (size_t start = 0; start <= path.size();) {
    const size_t end = std::min(path.find('/', start), path.size());
    if (end > start && path.substr(start, end - start) != ".") parts.push_back(path.substr(start, end - start));
    start = end + 1;
  }
  if (parts.size() > 1 && parts.back() == "model.onnx") parts.pop_back();
  return parts;
}

std::string tail(const std::vector<std::string_view>& parts, size_t count) {
  std::string out;
  for (size_t i = parts.size() - std::min(count, parts.size()); i < parts.size(); ++i) out += (out.empty() ? "" : "/") + std::string(parts[i]);
  return out;
}

constexpr size_t kMostParts = 6;

}  // namespace

Names::Names(const json& document) {
  for (const char* kind : {"bench", "eval"})
    for (const json& one : list(document, kind)) {
      add_model(model_of(one));
      for (const json& result : list(one, "results")) {
        add_backend(text(result, "backend"));
        add_model(text(result, "model"));
        threads_.insert(text(result, "threads"));
        if (std::string_view(kind) == "bench") measured_threads_.insert(text(result, "threads"));
      }
    }
  for (const json& one : list(document, "profile")) {
    add_backend(text(one, "backend"));
    add_model(text(one, "model"));
    threads_.insert(text(one, "threads"));
  }
  for (const json& one : list(document, "compare")) add_model(text(one, "model"));
  threads_.erase("");
  measured_threads_.erase("");

  // Names that several models share grow by a folder until none does.
  for (size_t count = 1; count <= kMostParts; ++count) {
    std::map<std::string, int> uses;
    for (const auto& [path, shown] : models_) ++uses[shown];
    bool unique = true;
    for (auto& [path, shown] : models_)
      if (uses[shown] > 1) {
        unique = false;
        shown = count == kMostParts ? path : tail(parts_of(path), count + 1);
      }
    if (unique) break;
  }
}

void Names::add_backend(const std::string& backend) {
  if (series_.try_emplace(backend, backends_.size()).second) backends_.push_back(backend);
}

void Names::add_model(const std::string& path) {
  if (path.empty() || models_.contains(path)) return;
  std::string shown = tail(parts_of(path), 1);
  models_.emplace(path, shown.empty() ? path : std::move(shown));
}

size_t Names::series(const std::string& backend) const {
  const auto found = series_.find(backend);
  return found == series_.end() ? 0 : found->second;
}

namespace {

struct Dashes {
  const char* pattern;
  const char* name;
};
constexpr Dashes kDashes[] = {{"", "solid"}, {"5 3", "dashed"}, {"2 2", "dotted"}, {"8 3 2 3", "dash-dotted"}};

}  // namespace

std::string Names::dashes(const json& result) const {
  const auto index = static_cast<size_t>(std::distance(measured_threads_.begin(), measured_threads_.find(text(result, "threads"))));
  return kDashes[index % std::size(kDashes)].pattern;
}

std::string Names::dashes_in_words() const {
  std::string out;
  if (measured_threads_.size() < 2 || measured_threads_.size() > std::size(kDashes)) return out;
  size_t i = 0;
  for (const std::string& threads : measured_threads_) out += fmt::format("{}{}: {}", i == 0 ? "" : ", ", kDashes[i].name, threads_in_words(threads)), ++i;
  return out + ".";
}

std::string threads_in_words(const std::string& threads) {
  return threads == "0" ? "all cores" : fmt::format("{} thread{}", threads, threads == "1" ? "" : "s");
}

Cell threads_cell(const json& result) {
  const std::string threads = text(result, "threads");
  return Cell::figure(threads == "0" ? "all" : escape(threads), number(result, "threads"));
}

std::string Names::model(const std::string& path) const {
  const auto found = models_.find(path);
  return found == models_.end() ? path : found->second;
}

std::string Names::model_html(const std::string& path) const {
  const std::string shown = model(path);
  if (shown == path) return name(path);
  return fmt::format("<bdi title=\"{}\">{}</bdi>", escape(shortened(path, 400)), escape(shortened(shown, 48)));
}

std::string Names::run(const json& result) const {
  const std::string backend = text(result, "backend"), threads = text(result, "threads");
  if (!several_threads() || threads.empty()) return backend;
  return fmt::format("{}, {}", backend, threads_in_words(threads));
}

std::string Names::run_html(const json& result) const { return name(run(result), 40); }

std::string Names::model_of(const json& document) {
  std::string model = text(document, "model");
  if (model.empty()) model = text(member(document, "context"), "model");
  if (model.empty()) model = text(member(member(document, "context"), "recipe"), "model");
  return model;
}

std::vector<Group> groups_of(const json& bench) {
  std::vector<Group> out;
  for (const json& document : bench) {
    std::map<std::pair<std::string, std::string>, size_t> index;
    for (const json& result : list(document, "results")) {
      std::string model = text(result, "model"), dims;
      const json& bound = member(result, "dims");
      for (auto it = bound.begin(); bound.is_object() && it != bound.end(); ++it) dims += fmt::format("{}{} = {}", dims.empty() ? "" : ", ", it.key(), text(*it));
      const auto [at, fresh] = index.try_emplace({model, dims}, out.size());
      if (fresh) out.push_back({&document, std::move(model), std::move(dims), {}});
      out[at->second].results.push_back(&result);
    }
  }
  return out;
}

std::string group_label(const Group& group, const Names& names, bool several_documents) {
  std::string out = group.model.empty() ? "unnamed model" : names.model_html(group.model);
  if (!group.dims.empty()) out += fmt::format(" <small>{}</small>", name(group.dims));
  if (const std::string source = text(*group.document, "source"); several_documents && !source.empty()) out += fmt::format(" <small>{}</small>", name(source));
  return out;
}

bool failed(const json& result) {
  const std::string status = text(result, "status");
  return !text(result, "error").empty() || !(status.empty() || status == "ok");
}

std::string failure(const json& result) {
  if (!failed(result)) return {};
  for (const char* key : {"error", "message", "status"})
    if (std::string why = text(result, key); !why.empty()) return why;
  return {};
}

}  // namespace tenon::eval::report
