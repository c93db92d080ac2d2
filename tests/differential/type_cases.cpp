#include "type_cases.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <set>

#include "frontend/onnx/op_versions.h"
#include "type_forms.h"

namespace tenon::differential {
namespace {

using frontend::testing::OpForm;
using frontend::testing::OpModel;
using ir::testing::SpecOp;

/// Ops whose variables take all their types together.
constexpr std::string_view kTogether[] = {
    "BitCast",         "Cast", "CastLike",       "DequantizeLinear",       "HannWindow",
    "MelWeightMatrix", "Pow",  "QuantizeLinear", "ai.onnx.ml.LabelEncoder"};

std::vector<std::string> words(const std::string& text) {
  std::vector<std::string> out;
  for (size_t at = 0; at < text.size();) {
    const size_t end = std::min(text.find(' ', at), text.size());
    if (end > at) out.push_back(text.substr(at, end - at));
    at = end + 1;
  }
  return out;
}

/// Domain and name.
std::pair<std::string, std::string> split(const std::string& qualified) {
  const size_t dot = qualified.rfind('.');
  if (dot == std::string::npos) return {"", qualified};
  return {qualified.substr(0, dot), qualified.substr(dot + 1)};
}

/// The dtype inside of a type, and what is around it: "opt(seq(", "f32", "))".
struct TypeText {
  std::string before, dtype, after;
  explicit TypeText(const std::string& type) {
    const size_t open = type.rfind('('), close = std::min(type.find(')'), type.size());
    const size_t from = open == std::string::npos ? 0 : open + 1;
    before = type.substr(0, from);
    dtype = type.substr(from, close - from);
    after = type.substr(close);
  }
};

bool is_map(const std::string& type) { return type.starts_with("map("); }

/// `f32{1,2.5}` with values that dtype can hold.
std::string rounded(const std::string& token, const std::string& type) {
  const std::optional<DType> dtype = dtype_from_name(type);
  const size_t at = token.find_first_of("{:");
  if (!dtype || *dtype == DType::kString || at == std::string::npos) return token;
  const size_t from = at + 1, end = token[at] == ':' ? token.size() : token.find('}');
  Tensor one = *Tensor::zeros(*dtype, {});
  std::string out = token.substr(0, from);
  for (size_t i = from; i < end;) {
    const size_t comma = std::min(token.find(',', i), end);
    one.set_double(0, std::stod(token.substr(i, comma - i)));
    out += fmt::format("{}{}", i == from ? "" : ",", one.at_double(0));
    i = comma + 1;
  }
  return out + token.substr(end);
}

/// The token of an input with another type: `f32[2]` as `seq(i8)` is `seq(i8[2])`.
std::string retyped(const std::string& token, const std::string& type) {
  if (is_map(type)) return type;
  const size_t open = token.rfind('('), close = std::min(token.find(')'), token.size());
  const size_t from = open == std::string::npos ? 0 : open + 1;
  const std::string inner = token.substr(from, close - from);
  const TypeText text(type);
  return text.before + text.dtype + inner.substr(inner.find_first_of("[{:")) + text.after;
}

std::string type_of(const std::string& token) {
  if (token == "-" || is_map(token)) return token == "-" ? "" : token;
  std::string out;
  for (size_t i = 0; i < token.size(); ++i) {
    if (token[i] == '[' || token[i] == '{' || token[i] == ':') i = std::min(token.find(')', i), token.size());
    if (i < token.size()) out += token[i];
  }
  return out;
}

class Cases {
 public:
  Cases(const SpecOp& op, const OpForm& form, const std::string& only, bool constants_as_inputs, int64_t version)
      : op_(op), form_(form), constants_as_inputs_(constants_as_inputs), version_(version) {
    inputs_ = words(std::string(form.inputs));
    for (size_t v = 0; v < op.variables.size(); ++v) {
      if (!matters(v)) continue;
      std::vector<std::string> types = op.variables[v].types;
      if (!only.empty() && types.size() > 1 && !limited_) {
        const std::vector<std::string> some = ir::testing::types_of(only);
        std::erase_if(types,
                      [&](const std::string& t) { return std::find(some.begin(), some.end(), t) == some.end(); });
        limited_ = true;
      }
      std::erase_if(types, [&](const std::string& t) { return !ir::testing::meaningless(op.name, t).empty(); });
      types_[v] = std::move(types);
    }
  }

  /// All variables have the same type.
  void make_uniform(std::vector<TypeCase>& out) {
    for (const char* type : {"f16", "f32", "f64"}) {
      std::map<size_t, std::string> varied;
      for (const auto& [v, types] : types_)
        if (std::find(types.begin(), types.end(), type) != types.end()) varied[v] = type;
      if (!varied.empty()) add(varied, out);
    }
  }
  void make(std::vector<TypeCase>& out) {
    if (std::find(std::begin(kTogether), std::end(kTogether), op_.name) != std::end(kTogether)) {
      std::map<size_t, std::string> chosen;
      all(types_.begin(), chosen, out);
      return;
    }
    for (const auto& [v, types] : types_)
      for (const std::string& type : types) add({{v, type}}, out);
  }

 private:
  using Types = std::map<size_t, std::vector<std::string>>;

  void all(Types::const_iterator next, std::map<size_t, std::string>& chosen, std::vector<TypeCase>& out) {
    if (next == types_.end()) return add(chosen, out);
    for (const std::string& type : next->second) {
      chosen[next->first] = type;
      all(std::next(next), chosen, out);
    }
  }

  /// Combinations that the specification rules out in words.
  bool senseless(const std::map<size_t, std::string>& types) const {
    if (op_.name == "BitCast")  // of equal widths
      return bits(*dtype_from_name(types.at(0))) != bits(*dtype_from_name(types.at(1)));
    if (op_.name == "DequantizeLinear")  // without output_dtype, y has the type of the scale
      return !types.contains(2) && types.at(1) == "f8e8m0";
    return false;
  }

  std::optional<size_t> variable_of(size_t input) const { return differential::variable_of(op_, '<', input); }
  static bool open(const std::string& token) { return token.find_first_of("$%#") != std::string::npos; }

  bool named(size_t v) const {
    const std::string text = fmt::format("{} {}", form_.inputs, form_.attrs);
    for (const char* sigil : {"$", "%", "#"})
      if (text.find(sigil + std::to_string(v)) != std::string::npos) return true;
    return false;
  }
  bool matters(size_t v) const {
    for (size_t i = 0; i < inputs_.size(); ++i)
      if (inputs_[i] != "-" && !open(inputs_[i]) && variable_of(i) == v) return true;
    return named(v);
  }

  /// Placeholders replaced. `types`: of the variables that vary, the others have their plainest one.
  std::string filled(const std::string& text, const std::map<size_t, std::string>& types) const {
    std::string out;
    for (size_t i = 0; i < text.size(); ++i) {
      if (text[i] != '$' && text[i] != '%' && text[i] != '#') {
        out += text[i];
        continue;
      }
      const char sigil = text[i];
      const auto v = static_cast<size_t>(text[++i] - '0');
      const auto chosen = types.find(v);
      const TypeText type(chosen != types.end() ? chosen->second : plain(v));
      if (sigil == '#') {
        out += std::to_string(info(*dtype_from_name(type.dtype)).onnx);
      } else if (sigil == '$') {
        out += type.dtype;
      } else {
        const size_t end = text.find(']', i);
        out += type.before + type.dtype + text.substr(i + 1, end - i) + type.after;
        i = end;
      }
    }
    return out;
  }
  std::string plain(size_t v) const {
    const auto& types = op_.variables[v].types;
    for (const char* t : {"f32", "i64"})
      if (std::find(types.begin(), types.end(), t) != types.end()) return t;
    return types[0];
  }

  void add(const std::map<size_t, std::string>& varied, std::vector<TypeCase>& out) const {
    if (senseless(varied)) return;
    TypeCase c;
    c.varied = varied;
    c.model = model(varied, nullptr, c);
    for (const size_t i : varying_inputs(varied, c.model)) fill(c.model.inputs[i]);
    add_extremes(varied, c);
    if (const auto wide = widened(varied)) {
      TypeCase unused;
      c.wide = model(*wide, &varied, unused);
      for (size_t i = 0; i < c.model.inputs.size(); ++i)
        if (c.model.operands[i] >= 0) c.wide->inputs[i] = converted(c.model.inputs[i], c.wide->inputs[i]);
    }
    out.push_back(std::move(c));
  }

  /// With `values_of`, constants hold the values that they have with those types.
  OpModel model(const std::map<size_t, std::string>& types, const std::map<size_t, std::string>* values_of,
                TypeCase& c) const {
    std::string inputs;
    for (size_t i = 0; i < inputs_.size(); ++i) {
      std::string token = inputs_[i];
      const auto v = variable_of(i);
      const bool follows = token != "-" && !open(token) && v && types.contains(*v);
      if (follows) {
        const std::string& type = values_of != nullptr ? values_of->at(*v) : types.at(*v);
        token = retyped(rounded(token, type), types.at(*v));
      } else {
        token = filled(token, types);
      }
      inputs += (inputs.empty() ? "" : " ") + token;
      c.input_types.push_back(type_of(token));
    }
    const std::string attrs = filled(std::string(form_.attrs), types);
    c.text = fmt::format("{}-{}({}) {}{}", op_.name, version_, inputs, attrs,
                         constants_as_inputs_ ? ", constants as inputs" : "");
    const auto [domain, name] = split(op_.name);
    return frontend::testing::op_model(domain, name, version_, {form_.ops, form_.since, inputs, attrs, form_.outputs},
                                       constants_as_inputs_);
  }

  /// Inputs whose values may be any: what indexes or counts keeps its samples.
  std::vector<size_t> varying_inputs(const std::map<size_t, std::string>& varied, const OpModel& m) const {
    std::vector<size_t> out;
    for (size_t i = 0; i < m.inputs.size(); ++i) {
      if (m.operands[i] < 0) continue;
      const auto v = variable_of(static_cast<size_t>(m.operands[i]));
      const bool follows = v && varied.contains(*v) && !is_index(*v);
      if (follows || open(inputs_[static_cast<size_t>(m.operands[i])])) out.push_back(i);
    }
    return out;
  }
  bool is_index(size_t v) const {
    const auto& types = op_.variables[v].types;
    return std::all_of(types.begin(), types.end(), [](const std::string& t) { return t == "i32" || t == "i64"; });
  }

  void add_extremes(const std::map<size_t, std::string>& varied, TypeCase& c) const {
    std::vector<HostValue> inputs = c.model.inputs;
    bool any = false;
    for (const size_t i : varying_inputs(varied, c.model))
      if (Tensor* t = std::get_if<Tensor>(&inputs[i]); t != nullptr && (is_int(t->dtype()) || is_float(t->dtype()))) {
        *t = *Tensor::zeros(t->dtype(), t->shape());
        fill_extreme(*t);
        any = true;
      }
    if (any) c.extreme = std::move(inputs);
  }
  static void fill_extreme(Tensor& t) {
    const double inf = std::numeric_limits<double>::infinity();
    const double reals[] = {std::nan(""), inf, 1,   -inf,  0.0,   -0.0,  0.5,    448, 1e-40,
                            -1,           2.5, 6e4, -3e38, 1e300, -1e-7, 5e-324, 1e10};
    const int width = bits(t.dtype());
    const int64_t top = width == 64 ? INT64_MAX : (int64_t{1} << (width - 1)) - 1;
    const int64_t integers[] = {top, -top - 1, -1, 1, top - 1, 0, top / 2 + 1, -2, 2, -top, 3};
    for (int64_t k = 0; k < t.size(); ++k)
      if (is_float(t.dtype()))
        t.set_double(k, reals[k % std::ssize(reals)]);
      else
        t.set_int(k, integers[k % std::ssize(integers)]);
  }

  /// Small values that most types hold exactly, of both signs where there are.
  static void fill(HostValue& value) {
    if (auto* t = std::get_if<Tensor>(&value)) return fill(*t);
    std::visit(
        [](auto& entries) {
          for (auto& [key, t] : entries) fill(t);
        },
        std::get<std::shared_ptr<MapValue>>(value)->entries);
  }
  static void fill(Tensor& t) {
    const int width = bits(t.dtype());
    for (int64_t i = 0; i < t.size(); ++i) {
      const int64_t step = (i * 7 + 3) % 16;
      if (t.dtype() == DType::kString)
        t.mutable_strings()[static_cast<size_t>(i)] = std::to_string(step % 4);
      else if (t.dtype() == DType::kF8E8M0)
        t.set_double(i, static_cast<double>(1 << (step % 4)));
      else if (is_signed_int(t.dtype()))
        t.set_int(i, width == 2 ? step % 4 - 2 : step % 7 - 3);
      else if (is_unsigned_int(t.dtype()))
        t.set_int(i, step % 4);
    }
  }
  /// The widest float for every varied variable that has inputs, or for all when none has.
  std::optional<std::map<size_t, std::string>> widened(const std::map<size_t, std::string>& varied) const {
    std::map<size_t, std::string> out = varied;
    const auto has_inputs = [&](size_t v) {
      const auto& params = op_.variables[v].params;
      return std::any_of(params.begin(), params.end(), [](const std::string& p) { return p[0] == '<'; });
    };
    const bool some = std::any_of(varied.begin(), varied.end(), [&](const auto& v) { return has_inputs(v.first); });
    bool changed = false;
    for (auto& [v, type] : out) {
      if (some && !has_inputs(v)) continue;
      if (is_map(type) || (type == "string" && has_text())) return std::nullopt;
      const auto& types = op_.variables[v].types;
      TypeText text(type);
      const std::string old = type;
      for (const char* wide : {"f64", "f32"}) {
        type = text.before + wide + text.after;
        if (std::find(types.begin(), types.end(), type) != types.end()) break;
        type.clear();
      }
      if (type.empty()) return std::nullopt;
      changed |= type != old;
    }
    if (!changed) return std::nullopt;
    return out;
  }

  bool has_text() const { return std::string_view(form_.inputs).find("string{") != std::string_view::npos; }

  static HostValue converted(const HostValue& from, const HostValue& like) {
    const Tensor *f = std::get_if<Tensor>(&from), *l = std::get_if<Tensor>(&like);
    if (f == nullptr || l == nullptr || l->dtype() == f->dtype()) return from;
    Tensor out = *Tensor::zeros(l->dtype(), l->shape());
    for (int64_t i = 0; i < out.size(); ++i)
      out.set_double(
          i, f->dtype() == DType::kString ? std::stod(f->string_values()[static_cast<size_t>(i)]) : f->at_double(i));
    return out;
  }

  const SpecOp& op_;
  const OpForm& form_;
  std::vector<std::string> inputs_;
  Types types_;
  bool limited_ = false;
  bool constants_as_inputs_;
  int64_t version_;
};

/// The cases of a form, also with its constants as inputs: then they are read when the node runs.
void add_cases(const SpecOp& op, const OpForm& form, const std::string& only, int64_t version,
               std::vector<TypeCase>& out) {
  Cases(op, form, only, false, version).make(out);
  if (form.inputs.find_first_of("{:") != std::string_view::npos) Cases(op, form, only, true, version).make(out);
}

/// The dtypes that the op table allows all parameters of a variable; 0 where one need not be a tensor.
ir::DTypeSet table_types(const ir::OpDef& op, const ir::testing::SpecVariable& variable) {
  ir::DTypeSet out = ir::kAnyTensor;
  for (const std::string& word : variable.params) {
    const auto& params = word[0] == '<' ? op.inputs : op.outputs;
    const ir::Param& param = params[std::min(params.size() - 1, static_cast<size_t>(std::stoi(word.substr(1))))];
    out &= param.any ? 0 : param.types;
  }
  return out;
}

/// The op table may allow more types than the specification: what it promises must run as well.
SpecOp with_types_of_the_table(const SpecOp& spec) {
  SpecOp out = spec;
  const ir::OpDef* op = ir::find_op(spec.name);
  for (ir::testing::SpecVariable& variable : out.variables) {
    const ir::DTypeSet set = op == nullptr ? 0 : table_types(*op, variable);
    for (const std::string& type : ir::testing::types_of("any"))
      if ((set & ir::testing::tensor_dtype(type)) != 0 &&
          std::find(variable.types.begin(), variable.types.end(), type) == variable.types.end())
        variable.types.push_back(type);
  }
  return out;
}

/// An opset of the op's domain in which the version in question is in force.
int64_t opset_of(const SpecOp& op) {
  if (op.version != 0) return op.version;
  const auto [domain, name] = split(op.name);
  return domain.empty() ? *frontend::newest_opset("") : frontend::op_versions(domain, name).back();
}

}  // namespace

std::optional<size_t> variable_of(const SpecOp& op, char side, size_t i) {
  std::optional<size_t> last;
  size_t last_index = 0;
  for (size_t v = 0; v < op.variables.size(); ++v)
    for (const std::string& p : op.variables[v].params) {
      if (p[0] != side) continue;
      const auto index = static_cast<size_t>(std::stoi(p.substr(1)));
      if (index == i) return v;
      if (index >= last_index) last = v, last_index = index;
    }
  return last;
}

std::vector<TypeCase> type_cases(const SpecOp& spec) {
  std::vector<TypeCase> out;
  const SpecOp op = with_types_of_the_table(spec);
  for (const OpenForm& open : open_forms()) {
    const std::vector<std::string> ops = words(open.ops);
    if (std::find(ops.begin(), ops.end(), op.name) == ops.end()) continue;
    add_cases(op, {open.ops, 1, open.inputs, open.attrs, open.outputs}, open.only, opset_of(op), out);
  }
  if (!out.empty()) return out;
  const OpForm* form = frontend::testing::find_form(op.name, opset_of(op));
  TENON_CHECK(form != nullptr);
  add_cases(op, *form, "", opset_of(op), out);
  return out;
}

std::vector<TypeCase> old_cases(const SpecOp& newest) {
  std::vector<TypeCase> out;
  SpecOp op = newest;
  if (op.name == "Resize")
    op.variables.erase(op.variables.begin() + 1);  // input 1 was the scales before it was the region
  const auto [domain, name] = split(op.name);
  const auto versions = frontend::op_versions(domain, name);
  std::map<const OpForm*, int64_t> last;  // version in which the form is in force
  for (const int64_t version : versions)
    if (const OpForm* form = frontend::testing::find_form(op.name, version)) last[form] = version;
  for (const auto& [form, version] : last)
    if (version < opset_of(op) && form != frontend::testing::find_form(op.name, opset_of(op)))
      Cases(op, *form, "", false, version).make_uniform(out);
  return out;
}

}  // namespace tenon::differential
