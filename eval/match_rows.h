#pragma once

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "eval/compare.h"

namespace tenon::eval {

/// For outputs whose rows have no stable order, such as detections sorted by scores that tie. `key` is an output of shape
/// [..., rows]; every output whose shape starts with key's shape is a column of the same table. Within each batch entry, every
/// expected row whose key is at least `threshold` must agree in all columns with an actual row of its own (rows are paired
/// greedily, in order of position), and every actual row whose key exceeds the threshold by more than the tolerance must be paired.
struct RowRule {
  std::string key;
  std::optional<double> threshold;
};

/// "scores" or "scores>=0.3".
Result<RowRule> parse_row_rule(const std::string& text);

/// The rule for outputs that are a ranking: a float output of at least two rows that never increases along its last axis in
/// every batch entry of `expected`, and whose shape begins the shape of every other output. nullopt when they are none.
std::optional<RowRule> ranking_rule(const std::vector<std::string>& names, const std::map<size_t, HostValue>& expected);

/// Compares the columns of the table and names them in `columns`; the other outputs are the caller's. OK with no columns
/// when the model has no tensor output of the key's name.
Difference match_rows(const RowRule& rule, const std::vector<std::string>& names, const std::map<size_t, HostValue>& expected,
                      const std::vector<HostValue>& actual, const Tolerance& tolerance, std::vector<size_t>& columns);

}  // namespace tenon::eval
