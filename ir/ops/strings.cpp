#include <algorithm>
#include <map>

#include "ir/ops/budget.h"
#include "ir/ops/families.h"
#include "ir/ops/nn_helpers.h"
#include "ir/ops/regex.h"

namespace tenon::ir {
namespace {

constexpr DTypeSet kString = dtypes(DType::kString);

// ---- StringNormalizer

Status infer_normalizer(InferContext& c) {
  std::string action = c.node().attr_string("case_change_action", "NONE");
  if (action != "NONE" && action != "LOWER" && action != "UPPER") return c.fail("attribute case_change_action is \"{}\"", action);
  if (c.ranked(0)) {
    const Dims& d = c.shape(0);
    if (d.size() != 1 && !(d.size() == 2 && !known_ne(d[0], 1))) return c.fail("the strings must have shape [C] or [1, C]");
    Dims out = d;
    if (!c.node().attr_strings("stopwords").empty()) out.back() = c.fresh_dim(0, static_cast<int>(d.size()) - 1);
    c.set(0, tensor_of(DType::kString, std::move(out)));
  } else {
    c.set(0, unranked(DType::kString));
  }
  return {};
}

/// Case of ASCII, Latin-1, Greek and Cyrillic letters, as UTF-8. Other bytes stay.
std::string changed_case(std::string_view text, bool upper) {
  std::string out;
  for (size_t i = 0; i < text.size(); ++i) {
    unsigned char a = static_cast<unsigned char>(text[i]);
    if (a < 0x80) {
      out += static_cast<char>(upper ? std::toupper(a) : std::tolower(a));
      continue;
    }
    if (a < 0xC2 || a > 0xDF || i + 1 >= text.size()) {
      out += text[i];
      continue;
    }
    uint32_t ch = (a & 0x1Fu) << 6 | (static_cast<unsigned char>(text[++i]) & 0x3Fu);
    auto in = [&](uint32_t lo, uint32_t hi) { return ch >= lo && ch <= hi; };
    if (upper) {
      if ((in(0xE0, 0xFE) && ch != 0xF7) || in(0x3B1, 0x3C1) || in(0x3C3, 0x3CB) || in(0x430, 0x44F)) ch -= 0x20;
      else if (ch == 0xFF) ch = 0x178;
      else if (in(0x450, 0x45F)) ch -= 0x50;
      else if (in(0x100, 0x137) && ch % 2 == 1 && ch != 0x131) ch -= 1;
    } else {
      if ((in(0xC0, 0xDE) && ch != 0xD7) || in(0x391, 0x3A1) || in(0x3A3, 0x3AB) || in(0x410, 0x42F)) ch += 0x20;
      else if (in(0x400, 0x40F)) ch += 0x50;
      else if (in(0x100, 0x137) && ch % 2 == 0 && ch != 0x130) ch += 1;
    }
    out += static_cast<char>(0xC0 | ch >> 6);
    out += static_cast<char>(0x80 | (ch & 0x3F));
  }
  return out;
}

Status eval_normalizer(EvalContext& c) {
  const Tensor& x = c.tensor(0);
  std::string action = c.node.attr_string("case_change_action", "NONE");
  std::vector<std::string> stop = c.node.attr_strings("stopwords"), kept;
  bool exact = c.node.attr_int("is_case_sensitive", 0) != 0;
  auto key = [&](std::string_view s) { return exact ? std::string(s) : changed_case(s, false); };
  for (std::string& s : stop) s = key(s);
  StepCounter steps(c.interrupt);
  for (const std::string& s : x.string_values()) {
    TENON_RETURN_IF_ERROR(steps.add(std::ssize(stop) + std::ssize(s)));
    if (!stop.empty() && std::find(stop.begin(), stop.end(), key(s)) != stop.end()) continue;
    kept.push_back(action == "NONE" ? s : changed_case(s, action == "UPPER"));
  }
  if (kept.empty()) kept.emplace_back();  // ONNX: an empty result is one empty string
  Shape shape = {static_cast<int64_t>(kept.size())};
  if (x.rank() == 2) shape.insert(shape.begin(), 1);
  TENON_ASSIGN_OR_RETURN(Tensor out, Tensor::strings(shape, std::move(kept)));
  c.outputs[0] = std::move(out);
  return {};
}

// ---- StringConcat, StringSplit, RegexFullMatch

Status infer_concat(InferContext& c) {
  if (!c.ranked(0) || !c.ranked(1)) {
    c.set(0, unranked(DType::kString));
    return {};
  }
  std::vector<Dims> shapes = {c.shape(0), c.shape(1)};
  Result<Dims> out = broadcast(shapes);
  if (!out.ok()) return std::move(out).status().at(c.node().name());
  c.set(0, tensor_of(DType::kString, *out));
  return {};
}

/// Position in a tensor of `shape` of flat position `at` in the broadcast shape `out`.
int64_t broadcast_position(const Shape& shape, const Shape& out, int64_t at) {
  int64_t position = 0, stride = 1;
  for (size_t i = 0; i < shape.size(); ++i) {
    size_t axis = shape.size() - 1 - i, out_axis = out.size() - 1 - i;
    int64_t coordinate = at % out[out_axis];
    at /= out[out_axis];
    if (shape[axis] != 1) position += coordinate * stride;
    stride *= shape[axis];
  }
  return position;
}

Status eval_concat(EvalContext& c) {
  const Tensor &a = c.tensor(0), &b = c.tensor(1);
  std::vector<Dims> shapes = {Dims(a.shape().begin(), a.shape().end()), Dims(b.shape().begin(), b.shape().end())};
  Result<Dims> dims = broadcast(shapes);
  if (!dims.ok()) return std::move(dims).status().at(c.node.name());
  Shape shape;
  for (const Dim& d : *dims) shape.push_back(d.value());
  TENON_ASSIGN_OR_RETURN(Tensor* out, c.allocate(0, DType::kString, shape));
  StepCounter steps(c.interrupt);
  for (int64_t i = 0; i < out->size(); ++i) {
    std::string& joined = out->mutable_strings()[static_cast<size_t>(i)];
    joined = a.string_values()[static_cast<size_t>(broadcast_position(a.shape(), shape, i))] +
             b.string_values()[static_cast<size_t>(broadcast_position(b.shape(), shape, i))];
    TENON_RETURN_IF_ERROR(steps.add(std::ssize(joined) + 16));
  }
  return {};
}

Status infer_split(InferContext& c) {
  if (!c.ranked(0)) {
    c.set(0, unranked(DType::kString));
    if (c.node().num_outputs() > 1) c.set(1, unranked(DType::kI64));
    return {};
  }
  Dims out = c.shape(0);
  if (c.node().num_outputs() > 1) c.set(1, tensor_of(DType::kI64, out));
  out.push_back(c.fresh_dim(0, static_cast<int>(out.size())));
  c.set(0, tensor_of(DType::kString, std::move(out)));
  return {};
}

/// Without a delimiter, runs of white space separate and none leads or trails (Python's str.split).
std::vector<std::string> split(const std::string& text, const std::string& delimiter, int64_t most) {
  std::vector<std::string> out;
  bool white = delimiter.empty();
  const char* spaces = " \t\n\v\f\r";
  size_t at = 0;
  auto skip = [&] { at = white ? std::min(text.find_first_not_of(spaces, at), text.size()) : at; };
  skip();
  while (white ? at < text.size() : true) {
    size_t end = white ? text.find_first_of(spaces, at) : text.find(delimiter, at);
    if (end == std::string::npos || static_cast<int64_t>(out.size()) >= most) {
      std::string rest = text.substr(at);
      if (white) rest.erase(rest.find_last_not_of(spaces) + 1);
      out.push_back(std::move(rest));
      break;
    }
    out.push_back(text.substr(at, end - at));
    at = end + (white ? 0 : delimiter.size());
    skip();
  }
  return out;
}

Status eval_split(EvalContext& c) {
  const Tensor& x = c.tensor(0);
  int64_t most = c.node.attr_int("maxsplit", INT64_MAX);
  if (most < 0) most = INT64_MAX;
  std::string delimiter = c.node.attr_string("delimiter", "");
  std::vector<std::vector<std::string>> parts;
  size_t widest = 0;
  StepCounter steps(c.interrupt);
  for (const std::string& s : x.string_values()) {
    TENON_RETURN_IF_ERROR(steps.add(std::ssize(s) + 16));
    parts.push_back(s.empty() ? std::vector<std::string>() : split(s, delimiter, most));
    widest = std::max(widest, parts.back().size());
  }
  Shape shape = x.shape();
  shape.push_back(static_cast<int64_t>(widest));
  if (static_cast<int64_t>(parts.size() * widest) > (int64_t{1} << 28)) return eval_error(c, Code::kResourceExhausted, "too many substrings");
  TENON_ASSIGN_OR_RETURN(Tensor* out, c.allocate(0, DType::kString, shape));
  Tensor* count = nullptr;
  if (c.node.num_outputs() > 1) {
    TENON_ASSIGN_OR_RETURN(count, c.allocate(1, DType::kI64, x.shape()));
  }
  for (size_t i = 0; i < parts.size(); ++i) {
    if (count != nullptr) count->set_int(static_cast<int64_t>(i), static_cast<int64_t>(parts[i].size()));
    std::move(parts[i].begin(), parts[i].end(), out->mutable_strings().begin() + static_cast<ptrdiff_t>(i * widest));
  }
  return {};
}

Status infer_regex(InferContext& c) {
  c.set(0, c.ranked(0) ? tensor_of(DType::kBool, c.shape(0)) : unranked(DType::kBool));
  return {};
}

Status eval_regex(EvalContext& c) {
  const Tensor& x = c.tensor(0);
  Result<Regex> regex = Regex::compile(c.node.attr_string("pattern", ""));
  if (!regex.ok()) return std::move(regex).status().at(c.node.name());
  TENON_ASSIGN_OR_RETURN(Tensor* out, c.allocate(0, DType::kBool, x.shape()));
  for (int64_t i = 0; i < x.size(); ++i) {
    TENON_ASSIGN_OR_RETURN(const bool matches, regex->full_match(x.string_values()[static_cast<size_t>(i)], c.interrupt));
    out->set_int(i, matches);
  }
  return {};
}

// ---- TfIdfVectorizer

struct Ngrams {
  int64_t shortest, longest, skips, columns = 0;
  std::map<std::vector<std::string>, size_t> of_text;  // n-gram to its place in the pool
  std::map<std::vector<int64_t>, size_t> of_ints;
  std::vector<int64_t> column;
  std::vector<double> weight;
  std::string mode;
};

template <class T>
Status read_pool(const std::vector<T>& pool, const std::vector<int64_t>& starts, std::map<std::vector<T>, size_t>& out) {
  size_t next = 0;
  for (size_t n = 0; n < starts.size() && !pool.empty(); ++n) {
    int64_t first = starts[n], last = n + 1 < starts.size() ? starts[n + 1] : static_cast<int64_t>(pool.size());
    int64_t length = static_cast<int64_t>(n) + 1;
    if (first < 0 || last < first || last > static_cast<int64_t>(pool.size()) || (last - first) % length != 0)
      return error(Code::kInvalidModel, "attribute ngram_counts does not fit the pool");
    for (int64_t at = first; at < last; at += length) out.emplace(std::vector<T>(pool.begin() + at, pool.begin() + at + length), next++);
  }
  return {};
}

Result<Ngrams> read_ngrams(const Node& node) {
  Ngrams g;
  g.shortest = node.attr_int("min_gram_length", 1);
  g.longest = node.attr_int("max_gram_length", 1);
  g.skips = node.attr_int("max_skip_count", 0);
  g.mode = node.attr_string("mode", "TF");
  if (g.shortest < 1 || g.longest < g.shortest || g.longest > 1024 || g.skips < 0 || g.skips > 1 << 20)
    return error(Code::kInvalidModel, "attributes min_gram_length, max_gram_length and max_skip_count are not possible");
  if (g.mode != "TF" && g.mode != "IDF" && g.mode != "TFIDF") return error(Code::kInvalidModel, "attribute mode is \"{}\"", g.mode);
  std::vector<int64_t> starts = node.attr_ints("ngram_counts");
  TENON_RETURN_IF_ERROR(read_pool(node.attr_strings("pool_strings"), starts, g.of_text));
  TENON_RETURN_IF_ERROR(read_pool(node.attr_ints("pool_int64s"), starts, g.of_ints));
  g.column = node.attr_ints("ngram_indexes");
  g.weight = node.attr_floats("weights");
  for (int64_t col : g.column) {
    if (col < 0 || col > INT32_MAX) return error(Code::kInvalidModel, "attribute ngram_indexes holds {}", col);
    g.columns = std::max(g.columns, col + 1);
  }
  if (g.column.size() < std::max(g.of_text.size(), g.of_ints.size())) return error(Code::kInvalidModel, "attribute ngram_indexes is too short");
  if (!g.weight.empty() && g.weight.size() != g.column.size()) return error(Code::kInvalidModel, "attribute weights has the wrong length");
  return g;
}

Status infer_tfidf(InferContext& c) {
  Result<Ngrams> g = read_ngrams(c.node());
  if (!g.ok()) return std::move(g).status().at(c.node().name());
  if (!c.ranked(0)) {
    c.set(0, unranked(DType::kF32));
    return {};
  }
  if (c.shape(0).size() > 2) return c.fail("the input has rank {}; it must be 1 or 2", c.shape(0).size());
  c.set(0, tensor_of(DType::kF32, c.shape(0).size() == 2 ? Dims{c.shape(0)[0], g->columns} : Dims{g->columns}));
  return {};
}

/// Counts the pool's n-grams in one row, with up to `skips` elements left out between neighbours. 1-grams do not skip.
template <class T>
Status count_ngrams(const Ngrams& g, const std::map<std::vector<T>, size_t>& pool, std::span<const T> row, std::vector<double>& counts, StepCounter& steps) {
  int64_t n = static_cast<int64_t>(row.size());
  for (int64_t length = g.shortest; length <= g.longest; ++length)
    for (int64_t skip = 0; skip <= (length == 1 ? 0 : std::min(g.skips, n)); ++skip) {
      TENON_RETURN_IF_ERROR(steps.add(1));
      for (int64_t at = 0; at + (length - 1) * (skip + 1) < n; ++at) {
        TENON_RETURN_IF_ERROR(steps.add(16 * length));
        std::vector<T> gram;
        for (int64_t k = 0; k < length; ++k) gram.push_back(row[static_cast<size_t>(at + k * (skip + 1))]);
        auto found = pool.find(gram);
        if (found != pool.end()) ++counts[found->second];
      }
    }
  return {};
}

Status eval_tfidf(EvalContext& c) {
  Result<Ngrams> made = read_ngrams(c.node);
  if (!made.ok()) return std::move(made).status().at(c.node.name());
  const Ngrams& g = *made;
  const Tensor& x = c.tensor(0);
  if (x.rank() > 2) return eval_error(c, Code::kInvalidArgument, "the input has rank {}", x.rank());
  int64_t rows = x.rank() == 2 ? x.dim(0) : 1, width = x.rank() == 0 ? 1 : x.shape().back();
  TENON_ASSIGN_OR_RETURN(Tensor* out, c.allocate(0, DType::kF32, x.rank() == 2 ? Shape{rows, g.columns} : Shape{g.columns}));
  std::vector<int64_t> numbers;
  TENON_RETURN_IF_ERROR(check_scratch(c, (Dim(x.size()) + std::ssize(g.column)) * 8));
  if (x.dtype() != DType::kString) numbers = ints_of(x);
  StepCounter steps(c.interrupt);
  for (int64_t r = 0; r < rows && width > 0; ++r) {
    TENON_RETURN_IF_ERROR(steps.add(std::ssize(g.column)));
    std::vector<double> counts(g.column.size());
    size_t from = static_cast<size_t>(r * width);
    const size_t length = static_cast<size_t>(width);
    TENON_RETURN_IF_ERROR(x.dtype() == DType::kString ? count_ngrams<std::string>(g, g.of_text, std::span(x.string_values()).subspan(from, length), counts, steps)
                                                      : count_ngrams<int64_t>(g, g.of_ints, std::span<const int64_t>(numbers).subspan(from, length), counts, steps));
    for (size_t i = 0; i < counts.size(); ++i) {
      double weight = g.weight.empty() ? 1 : g.weight[i];
      double v = g.mode == "TF" ? counts[i] : g.mode == "IDF" ? (counts[i] > 0 ? weight : 0) : counts[i] * weight;
      if (v != 0) out->set_double(r * g.columns + g.column[i], v);
    }
  }
  return {};
}

}  // namespace

std::vector<OpDef> string_ops() {
  return {
      {.domain = "", .name = "StringNormalizer", .inputs = {{"X", "T", kString}}, .outputs = {{"Y", "T", kString}},
       .attrs = {{"case_change_action", AttrKind::kString, false, "NONE"}, {"is_case_sensitive", AttrKind::kInt, false, "0"},
                 {"locale", AttrKind::kString}, {"stopwords", AttrKind::kStrings}},
       .infer = infer_normalizer, .compute = {.eval = eval_normalizer}, .doc = "Removes stop words and changes case (ONNX StringNormalizer).",
       .host = "variable-length strings"},
      {.domain = "", .name = "StringConcat", .inputs = {{"X", "T", kString}, {"Y", "T", kString}}, .outputs = {{"Z", "T", kString}},
       .infer = infer_concat, .compute = {.eval = eval_concat}, .doc = "Joins strings, with broadcasting (ONNX StringConcat).",
       .host = "variable-length strings"},
      {.domain = "", .name = "StringSplit", .inputs = {{"X", "T", kString}},
       .outputs = {{"Y", "T", kString}, {"Z", "I", dtypes(DType::kI64), true}},
       .attrs = {{"delimiter", AttrKind::kString}, {"maxsplit", AttrKind::kInt}},
       .infer = infer_split, .compute = {.eval = eval_split}, .doc = "Splits strings at a delimiter (ONNX StringSplit).",
       .host = "variable-length strings"},
      {.domain = "", .name = "RegexFullMatch", .inputs = {{"X", "T", kString}}, .outputs = {{"Y", "B", dtypes(DType::kBool)}},
       .attrs = {{"pattern", AttrKind::kString}},
       .infer = infer_regex, .compute = {.eval = eval_regex}, .doc = "Whether a string matches a pattern as a whole (ONNX RegexFullMatch).",
       .host = "variable-length strings"},
      {.domain = "", .name = "TfIdfVectorizer", .inputs = {{"X", "T", dtypes(DType::kString, DType::kI32, DType::kI64)}},
       .outputs = {{"Y", "F", dtypes(DType::kF32)}},
       .attrs = {{"max_gram_length", AttrKind::kInt, true}, {"max_skip_count", AttrKind::kInt, true}, {"min_gram_length", AttrKind::kInt, true},
                 {"mode", AttrKind::kString, true}, {"ngram_counts", AttrKind::kInts, true}, {"ngram_indexes", AttrKind::kInts, true},
                 {"pool_int64s", AttrKind::kInts}, {"pool_strings", AttrKind::kStrings}, {"weights", AttrKind::kFloats}},
       .infer = infer_tfidf, .compute = {.eval = eval_tfidf}, .doc = "Counts of n-grams (ONNX TfIdfVectorizer).",
       .host = "hash look-ups of n-grams, also of strings"},
  };
}

}  // namespace tenon::ir
