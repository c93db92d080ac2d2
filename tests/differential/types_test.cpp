#include <gtest/gtest.h>

#include <cmath>
#include <complex>
#include <cstdlib>
#include <set>

#include "backends/backend.h"
#include "eval/compare.h"
#include "type_cases.h"

namespace tenon::ir::testing {
/// For messages of gtest, which would print the bytes.
void PrintTo(const SpecOp& op, std::ostream* out) { *out << op.name; }
}  // namespace tenon::ir::testing

/// Every op with every type that ONNX or the op table allows it runs on the reference and on cpu, and gives the same
/// there; and where the op takes f64 as well, it gives what f64 gives, as far as the type can hold that.
namespace tenon::differential {
namespace {

using ir::testing::SpecOp;

double epsilon(DType dtype) {
  switch (dtype) {
    case DType::kF64:
      return 0x1p-52;
    case DType::kF32:
      return 0x1p-23;
    case DType::kF16:
      return 0x1p-10;
    case DType::kBF16:
      return 0x1p-7;
    default:
      return 0;
  }
}

DType dtype_of(const HostValue& value) {
  const Tensor* t = std::get_if<Tensor>(&value);
  return t == nullptr ? DType::kInvalid : t->dtype();
}

/// Roundings that a result of these small models is away from the exact one.
constexpr double kRoundings = 4;

/// How values of a kernel differ from the reference's: not at all where no rounding is between them.
std::string difference(const HostValue& expected, const HostValue& actual) {
  const double eps = kRoundings * epsilon(dtype_of(expected));
  const eval::Difference d = eval::compare(expected, actual, {.rtol = eps, .atol = 0, .scaled_atol = eps});
  return d.ok ? "" : d.message;
}

// ---- Against f64

double imaginary(const Tensor& t, int64_t i) {
  const auto at = static_cast<size_t>(i);
  return t.dtype() == DType::kC64 ? t.span<std::complex<float>>()[at].imag()
                                  : t.span<std::complex<double>>()[at].imag();
}

/// Inputs are x + (x + 10)i, so a sum of n of them has 10 n more there; what an op fills in is 0.
bool agrees_complex(const Tensor& t, int64_t i, double wide) {
  const double tens = (imaginary(t, i) - wide) / 10;
  return t.at_double(i) == wide && tens == std::floor(tens) && (tens > 0 || wide == 0);
}

/// "3", "3.0", "True", and nothing for 0 as a number.
bool agrees_text(const std::string& s, double wide) {
  if (s == "True" || s == "False") return wide == (s == "True" ? 1 : 0);
  char* end = nullptr;
  const double value = std::strtod(s.c_str(), &end);
  return *end == '\0' && value == wide;
}

/// Whether element i is what f64 gives. Where the type rounds, by its epsilon; `scale` is the largest value.
bool agrees(const Tensor& t, int64_t i, double wide, double scale, double eps) {
  const DType dtype = t.dtype();
  if (dtype == DType::kString) return agrees_text(t.string_values()[static_cast<size_t>(i)], wide);
  if (dtype == DType::kC64 || dtype == DType::kC128) return agrees_complex(t, i, wide);
  Tensor held = *Tensor::zeros(dtype, {});
  held.set_double(0, wide);
  if (epsilon(dtype) == 0) return held.at_double(0) != wide || t.at_double(i) == wide;
  const double a = t.at_double(i), e = held.at_double(0);
  if (a == e || (std::isnan(a) && std::isnan(e))) return true;
  return std::isfinite(e) && std::abs(a - e) <= eps * (std::abs(e) + scale);
}

std::string difference_of_text(const Tensor& wide, const Tensor& narrow) {
  for (size_t i = 0; i < wide.string_values().size(); ++i) {
    const std::string &w = wide.string_values()[i], &n = narrow.string_values()[i];
    if (w != n && !agrees_text(n, std::strtod(w.c_str(), nullptr)))
      return fmt::format("element {} is '{}', '{}' in f64", i, n, w);
  }
  return {};
}

std::string difference_from_wide(const HostValue& wide, const HostValue& narrow, double input_epsilon) {
  if (wide.index() != narrow.index()) return "another kind of value than in f64";
  if (const auto* s = std::get_if<std::shared_ptr<Sequence>>(&wide)) {
    const auto& n = *std::get<std::shared_ptr<Sequence>>(narrow);
    if ((*s)->items.size() != n.items.size()) return "a sequence of another length than in f64";
    std::string out;
    for (size_t i = 0; i < n.items.size() && out.empty(); ++i)
      out = difference_from_wide((*s)->items[i], n.items[i], input_epsilon);
    return out;
  }
  const Tensor *w = std::get_if<Tensor>(&wide), *n = std::get_if<Tensor>(&narrow);
  if (w == nullptr) return {};
  if (w->shape() != n->shape()) return fmt::format("shape {}, {} in f64", to_string(n->shape()), to_string(w->shape()));
  if (w->dtype() == DType::kString) return difference_of_text(*w, *n);
  double scale = 0;
  for (int64_t i = 0; i < w->size(); ++i)
    if (std::isfinite(w->at_double(i))) scale = std::max(scale, std::abs(w->at_double(i)));
  const double eps = kRoundings * std::max(epsilon(n->dtype()), input_epsilon);
  for (int64_t i = 0; i < w->size(); ++i)
    if (!agrees(*n, i, w->at_double(i), scale, eps))
      return fmt::format("element {} is {}, {} in f64", i,
                         n->dtype() == DType::kString ? n->string_values()[static_cast<size_t>(i)]
                                                      : fmt::format("{:.9g}", n->at_double(i)),
                         w->at_double(i));
  return {};
}

/// Why f64 says nothing about other types.
std::string_view not_comparable(const SpecOp& op, const std::string& type) {
  if (op.name.starts_with("Random") || op.name == "Bernoulli" || op.name == "Multinomial")
    return "other random numbers";
  if (op.name == "BitCast") return "other bits";
  if (op.name == "Attention" && type == "bool") return "a mask of bools selects, others are added";
  if (op.name == "NonZero" && (type == "string" || type == "c64" || type == "c128"))
    return "\"0\" and 0 + 10i are not zero";
  if (op.name == "ai.onnx.ml.Imputer") return "integers have attributes of their own";
  return {};
}

/// Why kernels may give other values than the reference at the ends of types.
std::string_view may_leave_the_type(const SpecOp& op, const TypeCase& c) {
  if (op.name == "ReduceL2") return "squares overflow in f32 before their root is taken";
  if (op.name == "Det") return "products leave the range of f32 before they cancel";
  if (op.name == "DFT") return "infinities meet the zeros of a matrix of twiddles";
  if (op.name == "Resize" && c.text.find("mode=cubic") != std::string::npos)
    return "cubic interpolation of integers leaves their range";
  return {};
}

// ---- Running

std::string type_name(const ir::Type& type) {
  if (const auto* s = type.as_sequence()) return fmt::format("seq({})", type_name(*s->elem));
  if (const auto* o = type.as_optional()) return fmt::format("opt({})", type_name(*o->elem));
  if (type.as_map() != nullptr) return "map";  // ZipMap's keys depend on an attribute
  return std::string(name(type.dtype()));
}

/// The model on the reference and, compiled, on cpu.
class Runner {
 public:
  static Result<Runner> make(const ir::Graph& graph) {
    Runner out;
    TENON_ASSIGN_OR_RETURN(out.reference_, compile("reference", 0, graph));
    for (int level : {0, 3}) {
      auto compiled = compile("cpu", level, graph);
      if (!compiled.ok()) return std::move(compiled).status().at(fmt::format("cpu at O{}", level));
      out.compiled_.emplace_back(level, std::move(*compiled));
    }
    return out;
  }

  Result<std::vector<HostValue>> reference(const std::vector<HostValue>& inputs) const {
    return run(*reference_, inputs);
  }

  /// How cpu differs from `expected`; with an error there, it must only not crash.
  std::string difference_on_cpu(const std::vector<HostValue>& inputs,
                                const Result<std::vector<HostValue>>& expected) const {
    for (const auto& [level, executable] : compiled_) {
      const auto actual = run(*executable, inputs);
      if (!expected.ok()) continue;
      if (!actual.ok()) return fmt::format("cpu at O{}: {}", level, actual.status().to_string());
      for (size_t i = 0; i < expected->size(); ++i) {
        const std::string wrong = difference((*expected)[i], (*actual)[i]);
        if (!wrong.empty()) return fmt::format("cpu at O{}, output {}: {}", level, i, wrong);
      }
    }
    return {};
  }

 private:
  using Executable = std::shared_ptr<const backends::Executable>;

  static Result<Executable> compile(std::string_view on, int level, const ir::Graph& graph) {
    backends::CompileOptions options;
    options.opt_level = level;
    options.compile_threads = 1;
    return backends::find_backend(on)->compile(graph, options);
  }
  static Result<std::vector<HostValue>> run(const backends::Executable& executable,
                                            const std::vector<HostValue>& inputs) {
    TENON_ASSIGN_OR_RETURN(const auto session, executable.create_session());
    return session->run(inputs);
  }

  Executable reference_;
  std::vector<std::pair<int, Executable>> compiled_;
};

std::string difference_from_wide(const TypeCase& c, const std::vector<HostValue>& narrow) {
  const auto graph = c.wide->model.import();
  if (!graph.ok()) return "in f64: " + graph.status().to_string();
  const auto wide = ir::evaluate_graph(**graph, c.wide->inputs);
  if (!wide.ok()) return "in f64: " + wide.status().to_string();
  double input_epsilon = 0;
  for (const auto& [v, type] : c.varied)
    if (const auto dtype = dtype_from_name(type)) input_epsilon = std::max(input_epsilon, epsilon(*dtype));
  for (size_t i = 0; i < narrow.size(); ++i) {
    const std::string wrong = difference_from_wide((*wide)[i], narrow[i], input_epsilon);
    if (!wrong.empty()) return fmt::format("output {}: {}", i, wrong);
  }
  return {};
}

/// What is wrong with the case, empty when nothing is. `output_types` takes the types of its outputs.
std::string failure(const SpecOp& op, const TypeCase& c, std::vector<std::string>& output_types) {
  const auto graph = c.model.model.import();
  if (!graph.ok()) return "refused: " + graph.status().to_string();
  for (const ir::Value* v : (*graph)->outputs()) output_types.push_back(type_name(v->type()));
  const auto runner = Runner::make(**graph);
  if (!runner.ok()) return runner.status().to_string();
  const auto expected = runner->reference(c.model.inputs);
  if (!expected.ok()) return "reference: " + expected.status().to_string();
  std::string wrong = runner->difference_on_cpu(c.model.inputs, expected);
  if (wrong.empty() && c.wide && not_comparable(op, c.varied.begin()->second).empty())
    wrong = difference_from_wide(c, *expected);
  if (wrong.empty() && !c.extreme.empty() && may_leave_the_type(op, c).empty()) {
    wrong = runner->difference_on_cpu(c.extreme, runner->reference(c.extreme));
    if (!wrong.empty()) wrong = "ends of the type, " + wrong;
  }
  return wrong;
}

class Types : public testing::TestWithParam<SpecOp> {
 protected:
  static void TearDownTestSuite() {
    fmt::print("{} combinations of op and types, {} of them compared with a wider float\n", totals.cases, totals.wide);
  }
  struct Totals {
    int64_t cases, wide;
  };
  inline static Totals totals = {0, 0};
};

TEST_P(Types, RunAndAgree) {
  const SpecOp& op = GetParam();
  std::vector<std::set<std::string>> seen(op.variables.size());
  const auto see = [&](char side, size_t i, const std::string& type) {
    if (const auto v = variable_of(op, side, i)) seen[*v].insert(type);
  };
  int wrong = 0;
  const std::vector<TypeCase> cases = type_cases(op);
  for (const TypeCase& c : cases) {
    std::vector<std::string> output_types;
    const std::string why = failure(op, c, output_types);
    for (size_t i = 0; i < c.input_types.size(); ++i) see('<', i, c.input_types[i]);
    for (size_t i = 0; i < output_types.size(); ++i) see('>', i, output_types[i]);
    if (why.empty()) continue;
    ++wrong;
    ADD_FAILURE() << c.text << ": " << why;
  }
  for (size_t v = 0; v < op.variables.size(); ++v)
    for (const std::string& type : op.variables[v].types)
      EXPECT_TRUE(seen[v].contains(type) || !ir::testing::meaningless(op.name, type).empty())
          << "no case of " << op.name << " has " << type << " as " << op.variables[v].params[0];
  const auto wide = std::count_if(cases.begin(), cases.end(), [](const TypeCase& c) { return c.wide.has_value(); });
  totals.cases += std::ssize(cases);
  totals.wide += wide;
  fmt::print("{}: {} combinations of types, {} of them compared with a wider float, {} wrong\n", op.name, cases.size(),
             wide, wrong);
}

TEST(OldForms, RunWithEveryFloatAndAgree) {
  int cases = 0;
  for (const SpecOp& op : ir::testing::spec_ops())
    for (const TypeCase& c : old_cases(op)) {
      std::vector<std::string> output_types;
      const std::string why = failure(op, c, output_types);
      EXPECT_TRUE(why.empty()) << c.text << ": " << why;
      ++cases;
    }
  fmt::print("{} cases\n", cases);
  EXPECT_GT(cases, 300);
}

INSTANTIATE_TEST_SUITE_P(Ops, Types, testing::ValuesIn(ir::testing::spec_ops()), [](const auto& param) {
  std::string name = param.param.name;
  std::replace(name.begin(), name.end(), '.', '_');
  return name;
});

}  // namespace

}  // namespace tenon::differential
