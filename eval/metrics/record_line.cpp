#include <cmath>
#include <limits>

#include "eval/metrics/scorers.h"

namespace tenon::eval {
namespace {

using nlohmann::json;

constexpr size_t kMaxLine = size_t{64} << 20;
constexpr int kMaxDepth = 6;

// ---- Writing

json number(double value) {
  if (std::isfinite(value)) return value;
  return std::isnan(value) ? "nan" : value > 0 ? "inf" : "-inf";
}

json numbers(const std::vector<double>& values) {
  json out = json::array();
  for (double value : values) out.push_back(number(value));
  return out;
}

/// As few digits as give the float back.
json number(float value) {
  if (!std::isfinite(value)) return number(static_cast<double>(value));
  const double brief = std::strtod(fmt::format("{}", value).c_str(), nullptr);
  return static_cast<float>(brief) == value ? brief : static_cast<double>(value);
}

template <size_t N>
json box_json(const std::array<double, N>& box) {
  json out = json::array();
  for (double value : box) out.push_back(number(value));
  return out;
}

json write(const ClassOutcome& o) {
  json out{{"label", o.label},
           {"predicted", o.predicted},
           {"rank", o.rank},
           {"probability", number(o.probability)},
           {"confidence", number(o.confidence)}};
  if (!o.probabilities.empty()) {
    json& list = out["probabilities"] = json::array();
    for (float p : o.probabilities) list.push_back(number(p));
  }
  return out;
}
json write(const TokenOutcome& o) { return {{"labels", o.labels}, {"predicted", o.predicted}}; }
json write(const TextOutcome& o) { return {{"predicted", o.predicted}, {"references", o.references}}; }
json write(const LikelihoodOutcome& o) { return {{"nll", number(o.nll)}, {"tokens", o.tokens}}; }
json write(const ValueOutcome& o) { return {{"predicted", numbers(o.predicted)}, {"target", numbers(o.target)}}; }
json write(const PixelOutcome& o) {
  json out{{"classes", o.classes}, {"counts", json::array()}};
  for (const auto& c : o.counts) out["counts"].push_back({c.label, c.predicted, c.pixels});
  return out;
}
json write(const ImageOutcome& o) { return {{"mse", number(o.mse)}, {"ssim", number(o.ssim)}, {"peak", number(o.peak)}}; }
json write(const BoxOutcome& o) {
  json out{{"detections", json::array()}, {"truths", json::array()}};
  for (const auto& d : o.detections)
    out["detections"].push_back({{"box", box_json(d.box)}, {"label", d.label}, {"score", number(d.score)}});
  for (const auto& t : o.truths) {
    json one{{"box", box_json(t.box)}, {"label", t.label}};
    if (t.crowd) one["crowd"] = true;
    if (t.area != 0) one["area"] = number(t.area);
    out["truths"].push_back(std::move(one));
  }
  return out;
}

// ---- Reading

Status broken(std::string what) { return Status(Code::kInvalidArgument, std::move(what), "record", "docs/metrics.md has the form of records"); }

/// Reads the members of an object: each one that is asked for must be there and of its type, and there may be no others. The first
/// problem stays.
class Reader {
 public:
  Reader(const json& object, std::string_view name) : object_(object), name_(name) {
    if (!object.is_object()) fail("is no object");
  }

  template <class T>
  T read(const char* key) {
    T out{};
    if (const json* member = take(key, true)) convert(*member, key, out);
    return out;
  }
  /// A member that may be missing.
  template <class T>
  void read_optional(const char* key, T& out) {
    if (const json* member = take(key, false)) convert(*member, key, out);
  }
  const json* take(const char* key, bool required) {
    if (!status_.ok()) return nullptr;
    const auto found = object_.find(key);
    if (found == object_.end()) {
      if (required) fail(fmt::format("has no '{}'", key));
      return nullptr;
    }
    ++taken_;
    return &*found;
  }
  void fail(const std::string& what) {
    if (status_.ok()) status_ = broken(fmt::format("'{}' {}", name_, what));
  }
  Status finish() {
    if (status_.ok() && taken_ != object_.size()) fail("has members that are not known");
    return status_;
  }

 private:
  void wrong(const char* key, const char* type) { fail(fmt::format("has a '{}' that is no {}", key, type)); }

  void convert(const json& value, const char* key, int64_t& out) {
    if (value.is_number_unsigned() ? value.get<uint64_t>() > INT64_MAX : !value.is_number_integer())
      return wrong(key, "integer of 64 bits");
    out = value.get<int64_t>();
  }
  void convert(const json& value, const char* key, double& out) {
    if (value.is_number())
      out = value.get<double>();
    else if (value == "nan")
      out = kUndefined;
    else if (value == "inf")
      out = std::numeric_limits<double>::infinity();
    else if (value == "-inf")
      out = -std::numeric_limits<double>::infinity();
    else
      wrong(key, "number");
  }
  void convert(const json& value, const char* key, float& out) {
    double wide = 0;
    convert(value, key, wide);
    out = static_cast<float>(wide);
  }
  void convert(const json& value, const char* key, bool& out) {
    if (!value.is_boolean()) return wrong(key, "boolean");
    out = value.get<bool>();
  }
  void convert(const json& value, const char* key, std::string& out) {
    if (!value.is_string()) return wrong(key, "text");
    out = value.get<std::string>();
  }
  template <class T>
  void convert(const json& value, const char* key, std::vector<T>& out) {
    if (!value.is_array()) return wrong(key, "list");
    out.resize(value.size());
    for (size_t i = 0; i < out.size() && status_.ok(); ++i) convert(value[i], key, out[i]);
  }
  void convert(const json& value, const char* key, std::array<double, 4>& out) {
    if (!value.is_array() || value.size() != out.size()) return wrong(key, "list of 4 numbers");
    for (size_t i = 0; i < out.size(); ++i) convert(value[i], key, out[i]);
  }

  const json& object_;
  std::string_view name_;
  size_t taken_ = 0;
  Status status_;
};

Result<Outcome> read_class(Reader r) {
  ClassOutcome o;
  o.label = r.read<int64_t>("label");
  o.predicted = r.read<int64_t>("predicted");
  o.rank = r.read<int64_t>("rank");
  o.probability = r.read<double>("probability");
  o.confidence = r.read<double>("confidence");
  r.read_optional("probabilities", o.probabilities);
  if (o.rank < 0) r.fail("has a rank below 0");
  TENON_RETURN_IF_ERROR(r.finish());
  return Outcome(std::move(o));
}

Result<Outcome> read_tokens(Reader r) {
  TokenOutcome o;
  o.labels = r.read<std::vector<int64_t>>("labels");
  o.predicted = r.read<std::vector<int64_t>>("predicted");
  if (o.labels.size() != o.predicted.size()) r.fail("has not as many labels as predictions");
  TENON_RETURN_IF_ERROR(r.finish());
  return Outcome(std::move(o));
}

Result<Outcome> read_text(Reader r) {
  TextOutcome o;
  o.predicted = r.read<std::string>("predicted");
  o.references = r.read<std::vector<std::string>>("references");
  TENON_RETURN_IF_ERROR(r.finish());
  return Outcome(std::move(o));
}

Result<Outcome> read_likelihood(Reader r) {
  LikelihoodOutcome o;
  o.nll = r.read<double>("nll");
  o.tokens = r.read<int64_t>("tokens");
  if (o.tokens < 0) r.fail("has fewer than 0 tokens");
  TENON_RETURN_IF_ERROR(r.finish());
  return Outcome(o);
}

Result<Outcome> read_values(Reader r) {
  ValueOutcome o;
  o.predicted = r.read<std::vector<double>>("predicted");
  o.target = r.read<std::vector<double>>("target");
  if (o.predicted.size() != o.target.size()) r.fail("has not as many predictions as targets");
  TENON_RETURN_IF_ERROR(r.finish());
  return Outcome(std::move(o));
}

Result<Outcome> read_pixels(Reader r) {
  PixelOutcome o;
  o.classes = r.read<int64_t>("classes");
  std::vector<std::vector<int64_t>> counts;
  std::vector<int64_t> confusion;
  r.read_optional("counts", counts);
  r.read_optional("confusion", confusion);
  constexpr int64_t kMaxClasses = 1 << 14;
  const auto square = static_cast<uint64_t>(o.classes) * static_cast<uint64_t>(o.classes);
  if (o.classes < 0 || o.classes > kMaxClasses || (!confusion.empty() && confusion.size() != square))
    r.fail("has a confusion that is not classes x classes");
  TENON_RETURN_IF_ERROR(r.finish());
  if (!counts.empty() && !confusion.empty()) return broken("'pixels' has counts and a confusion");
  if (!confusion.empty()) return Outcome(PixelOutcome::of(o.classes, confusion));
  for (const std::vector<int64_t>& one : counts) {
    if (one.size() != 3) return broken("'pixels' has counts that are no lists of label, predicted class, pixels");
    o.counts.push_back({one[0], one[1], one[2]});
  }
  return Outcome(std::move(o));
}

Result<Outcome> read_image(Reader r) {
  ImageOutcome o;
  o.mse = r.read<double>("mse");
  o.ssim = r.read<double>("ssim");
  o.peak = r.read<double>("peak");
  TENON_RETURN_IF_ERROR(r.finish());
  return Outcome(o);
}

Result<Outcome> read_boxes(Reader r) {
  BoxOutcome o;
  const json* detections = r.take("detections", true);
  const json* truths = r.take("truths", true);
  if ((detections != nullptr && !detections->is_array()) || (truths != nullptr && !truths->is_array()))
    r.fail("has detections or truths that are no list");
  TENON_RETURN_IF_ERROR(r.finish());
  for (const json& one : *detections) {
    Reader member(one, "detection");
    BoxOutcome::Detection d{member.read<std::array<double, 4>>("box"), member.read<int64_t>("label"), member.read<double>("score")};
    TENON_RETURN_IF_ERROR(member.finish());
    o.detections.push_back(d);
  }
  for (const json& one : *truths) {
    Reader member(one, "truth");
    BoxOutcome::Truth t{member.read<std::array<double, 4>>("box"), member.read<int64_t>("label")};
    member.read_optional("crowd", t.crowd);
    member.read_optional("area", t.area);
    TENON_RETURN_IF_ERROR(member.finish());
    o.truths.push_back(t);
  }
  return Outcome(std::move(o));
}

/// By outcome, in the order of the variant.
struct Form {
  const char* name;
  Result<Outcome> (*read)(Reader);
};
constexpr Form kForms[] = {{"class", read_class},   {"tokens", read_tokens}, {"text", read_text},   {"likelihood", read_likelihood},
                           {"values", read_values}, {"pixels", read_pixels}, {"image", read_image}, {"boxes", read_boxes}};
static_assert(std::size(kForms) == std::variant_size_v<Outcome>);

/// Whether brackets are nested more deeply than records are; a parsed list may take twenty times its text.
bool too_deep(std::string_view line) {
  int depth = 0;
  bool quoted = false;
  for (size_t i = 0; i < line.size(); ++i) {
    const char c = line[i];
    if (quoted) {
      if (c == '\\')
        ++i;
      else if (c == '"')
        quoted = false;
    } else if (c == '"') {
      quoted = true;
    } else if (c == '[' || c == '{') {
      if (++depth > kMaxDepth) return true;
    } else if (c == ']' || c == '}') {
      --depth;
    }
  }
  return false;
}

}  // namespace

std::string_view outcome_name(const Outcome& outcome) { return kForms[outcome.index()].name; }

std::string to_line(const Record& record) {
  json out{{"index", record.index}, {"source", record.source}};
  out[kForms[record.outcome.index()].name] = std::visit([](const auto& outcome) { return write(outcome); }, record.outcome);
  return out.dump(-1, ' ', false, json::error_handler_t::replace);
}

Result<Record> record_from_line(std::string_view line) {
  if (line.size() > kMaxLine)
    return Status(Code::kResourceExhausted, fmt::format("a line of {} bytes", line.size()), "record",
                  fmt::format("lines have at most {}", kMaxLine));
  if (too_deep(line)) return broken("brackets nested too deeply");
  const json object = json::parse(line, nullptr, false);
  if (object.is_discarded()) return broken("a line that is no JSON");
  Reader r(object, "record");
  Record out;
  out.index = r.read<int64_t>("index");
  out.source = r.read<std::string>("source");
  for (const Form& form : kForms)
    if (const json* outcome = r.take(form.name, false)) {
      TENON_RETURN_IF_ERROR(r.finish());  // one outcome, and nothing else
      TENON_ASSIGN_OR_RETURN(out.outcome, form.read(Reader(*outcome, form.name)));
      return out;
    }
  TENON_RETURN_IF_ERROR(r.finish());
  return broken("'record' has no outcome");
}

}  // namespace tenon::eval
