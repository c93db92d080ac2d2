#include "eval/match_rows.h"

#include <algorithm>
#include <charconv>
#include <cmath>

namespace tenon::eval {

Result<RowRule> parse_row_rule(const std::string& text) {
  const size_t at = text.find(">=");
  RowRule rule{text.substr(0, at), std::nullopt};
  if (rule.key.empty()) return error(Code::kInvalidArgument, "'{}' names no output", text);
  if (at == std::string::npos) return rule;
  double value = 0;
  const char* end = text.data() + text.size();
  const auto [stop, ec] = std::from_chars(text.data() + at + 2, end, value);
  if (ec != std::errc() || stop != end) return error(Code::kInvalidArgument, "'{}' is not of the form OUTPUT>=NUMBER", text);
  rule.threshold = value;
  return rule;
}

namespace {

/// One column of the table: an output with `width` elements a row.
struct Column {
  const Tensor* expected;
  const Tensor* actual;
  int64_t width;
  double atol;  // absolute, with the scale of the output
};

bool starts_with(const Shape& shape, const Shape& prefix) {
  return shape.size() >= prefix.size() && std::equal(prefix.begin(), prefix.end(), shape.begin());
}

double scale_of(const Tensor& t) {
  double out = 0;
  for (int64_t i = 0; i < t.size(); ++i)
    if (const double v = std::abs(t.at_double(i)); std::isfinite(v)) out = std::max(out, v);
  return out;
}

bool row_agrees(const std::vector<Column>& columns, int64_t e, int64_t a, double rtol) {
  for (const Column& c : columns)
    for (int64_t k = 0; k < c.width; ++k) {
      const double want = c.expected->at_double(e * c.width + k), have = c.actual->at_double(a * c.width + k);
      if (want == have || (std::isnan(want) && std::isnan(have))) continue;
      if (!is_float(c.expected->dtype())) return false;
      if (!(std::abs(have - want) <= c.atol + rtol * std::abs(want))) return false;
    }
  return true;
}

bool never_increases(const Tensor& t) {
  const int64_t rows = t.dim(t.rank() - 1);
  for (int64_t i = 0; i + 1 < t.size(); ++i)
    if ((i + 1) % rows != 0 && !(t.at_double(i) >= t.at_double(i + 1))) return false;
  return true;
}

const Tensor* numeric_tensor(const HostValue& value) {
  const auto* t = std::get_if<Tensor>(&value);
  return t != nullptr && t->dtype() != DType::kString ? t : nullptr;
}

}  // namespace

std::optional<RowRule> ranking_rule(const std::vector<std::string>& names, const std::map<size_t, HostValue>& expected) {
  for (const auto& [index, value] : expected) {
    const Tensor* key = numeric_tensor(value);
    if (key == nullptr || !is_float(key->dtype()) || key->rank() == 0 || key->dim(key->rank() - 1) < 2) continue;
    const bool leads = std::all_of(expected.begin(), expected.end(), [&](const auto& other) {
      const Tensor* t = numeric_tensor(other.second);
      return t != nullptr && starts_with(t->shape(), key->shape());
    });
    if (leads && expected.size() > 1 && expected.size() == names.size() && never_increases(*key)) return RowRule{names[index], std::nullopt};
  }
  return std::nullopt;
}

Difference match_rows(const RowRule& rule, const std::vector<std::string>& names, const std::map<size_t, HostValue>& expected,
                      const std::vector<HostValue>& actual, const Tolerance& tolerance, std::vector<size_t>& columns) {
  Difference out;
  const auto fail = [&](std::string message) {
    out.ok = false;
    out.message = std::move(message);
    return out;
  };
  const size_t key_index = static_cast<size_t>(std::find(names.begin(), names.end(), rule.key) - names.begin());
  const auto found = expected.find(key_index);
  const Tensor* key = found == expected.end() ? nullptr : numeric_tensor(found->second);
  if (key == nullptr || key->rank() == 0 || key_index >= actual.size()) return out;

  std::vector<Column> table;
  for (const auto& [index, value] : expected) {
    const Tensor* e = numeric_tensor(value);
    if (e == nullptr || !starts_with(e->shape(), key->shape()) || index >= actual.size()) continue;
    const Tensor* a = numeric_tensor(actual[index]);
    if (a == nullptr || a->shape() != e->shape() || a->dtype() != e->dtype())
      return fail(fmt::format("output {} has another type or shape than expected", names[index]));
    columns.push_back(index);
    table.push_back({e, a, key->size() == 0 ? 0 : e->size() / key->size(), tolerance.atol + tolerance.scaled_atol * scale_of(*e)});
  }
  const Tensor& actual_key = std::get<Tensor>(actual[key_index]);
  const double slack = tolerance.atol + tolerance.scaled_atol * scale_of(*key);
  const int64_t rows = key->dim(key->rank() - 1);
  const double least = rule.threshold.value_or(-INFINITY);
  for (int64_t start = 0; rows > 0 && start < key->size(); start += rows) {
    std::vector<bool> used(static_cast<size_t>(rows), false);
    for (int64_t e = start; e < start + rows; ++e) {
      if (rule.threshold && !(key->at_double(e) >= least)) continue;
      int64_t a = start;
      while (a < start + rows && (used[static_cast<size_t>(a - start)] || !row_agrees(table, e, a, tolerance.rtol))) ++a;
      if (a == start + rows) return fail(fmt::format("no row agrees with expected row {} ({} {:.6g})", e, rule.key, key->at_double(e)));
      used[static_cast<size_t>(a - start)] = true;
    }
    for (int64_t a = start; a < start + rows; ++a) {
      const double value = actual_key.at_double(a);
      if (!used[static_cast<size_t>(a - start)] && !(value <= least + slack + tolerance.rtol * std::abs(least)))
        return fail(fmt::format("row {} ({} {:.6g}) agrees with no expected row", a, rule.key, value));
    }
  }
  return out;
}

}  // namespace tenon::eval
