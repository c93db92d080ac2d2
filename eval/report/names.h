#pragma once

#include <map>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include <nlohmann/json.hpp>

#include "eval/report/html.h"

namespace tenon::eval::report {

/// What models and backends are called in a report, and which series a backend is: the same in every chart.
class Names {
 public:
  /// Of all documents in a report.
  explicit Names(const nlohmann::json& document);

  size_t series(const std::string& backend) const;
  const std::vector<std::string>& backends() const { return backends_; }
  bool several_threads() const { return threads_.size() > 1; }
  /// Dashes of a line for a number of threads that bench measured: none for the least.
  std::string dashes(const nlohmann::json& result) const;
  /// "solid: 1 thread, dashed: 2 threads."; empty when there is one number, or more than there are dashes.
  std::string dashes_in_words() const;

  /// The end of a model's path that tells it from all others. Text.
  std::string model(const std::string& path) const;
  /// The same as HTML, with the whole path as its title.
  std::string model_html(const std::string& path) const;
  /// "cpu, 2 threads" of a result. Text; the threads only when they vary in the report.
  std::string run(const nlohmann::json& result) const;
  std::string run_html(const nlohmann::json& result) const;

  /// The model that an evaluation is of; empty when it does not say.
  static std::string model_of(const nlohmann::json& document);

 private:
  void add_backend(const std::string& backend);
  void add_model(const std::string& path);
  std::vector<std::string> backends_;
  std::map<std::string, size_t> series_;
  std::set<std::string> threads_, measured_threads_;
  std::map<std::string, std::string> models_;
};

/// "1 thread", "2 threads", and for 0 "all cores".
std::string threads_in_words(const std::string& threads);

Cell threads_cell(const nlohmann::json& result);

/// All results of documents that are told apart by model, dims and document.
struct Group {
  const nlohmann::json* document = nullptr;
  std::string model, dims;
  std::vector<const nlohmann::json*> results;
};
std::vector<Group> groups_of(const nlohmann::json& bench);
/// Its model, dims and, with several documents, its source. HTML.
std::string group_label(const Group& group, const Names& names, bool several_documents);
bool failed(const nlohmann::json& result);
/// Why, in one line; empty when it did not fail.
std::string failure(const nlohmann::json& result);

}  // namespace tenon::eval::report
