#include "recipe.h"

namespace tenon::differential {
namespace {

using Values = std::vector<ir::Value*>;

ir::Value* some_sequence(Maker& m, int64_t count) {
  Values items;
  for (int64_t i = 0; i < count; ++i) items.push_back(m.f32({m.random.between(1, 4), 3}));
  return m.step("SequenceConstruct", items)[0];
}

void sequences(Maker& m) {
  Random& r = m.random;
  const int64_t n = r.between(1, 4);
  ir::Value* s = some_sequence(m, n);
  switch (r.between(0, 6)) {
    case 0:
      m.node("SequenceAt", {s, m.scalar(r.between(-n, n - 1))});
      break;
    case 1:
      m.node("SequenceLength", {s});
      break;
    case 2:
      m.node("ConcatFromSequence", {s}, {{"axis", int64_t{0}}});
      break;
    case 3: {
      ir::Value* longer =
          m.step("SequenceInsert", {s, m.f32({2, 3}), m.input(Tensor::scalar<int64_t>(r.between(-n, n)))})[0];
      m.node("ConcatFromSequence", {longer}, {{"axis", int64_t{-2}}});
      break;
    }
    case 4: {
      ir::Value* shorter = m.step("SequenceErase", {s, m.input(Tensor::scalar<int64_t>(r.between(-n, n - 1)))})[0];
      m.node("SequenceLength", {shorter});
      break;
    }
    case 5:
      m.output(
          m.step("SequenceInsert", {m.step("SequenceEmpty", {}, {{"dtype", int64_t{1}}})[0], m.f32(r.shape(2))})[0]);
      break;
    default: {
      const int64_t rows = r.between(1, 9), at = r.between(0, rows);
      ir::Value* parts =
          m.step("SplitToSequence", {m.f32({rows, 3}), r.chance(0.5) ? m.ints({at, rows - at}) : nullptr},
                 {{"axis", int64_t{0}}, {"keepdims", r.between(0, 1)}})[0];
      m.output(parts);
      break;
    }
  }
}

void optionals(Maker& m) {
  Random& r = m.random;
  if (r.chance(0.7)) {
    ir::Value* full = m.step("Optional", {m.f32(r.shape(2))})[0];
    m.node(r.pick({"OptionalGetElement", "OptionalHasElement"}), {full});
    m.node("Identity", {full});
  } else {
    m.node("OptionalHasElement", {m.f32(r.shape(1))});
  }
}

// A region that adds and multiplies its first two inputs.
void add_and_mul(ir::Graph& region, ir::Value* a, ir::Value* b) {
  ir::Builder build(region);
  region.add_output(build.make("Add", {a, b}), "sum");
  region.add_output(build.make("Mul", {a, b}), "product");
}

void conditions(Maker& m) {
  Random& r = m.random;
  const Shape shape = r.shape(2);
  ir::Value* a = m.f32(shape);
  ir::Value* b = m.f32(shape);
  ir::Value* c = m.input(Tensor::scalar<bool>(r.chance(0.5)));
  for (ir::Value* v : m.step("If", {c}, {}, 2, [&](ir::Node& node) {
         add_and_mul(node.add_region(), a, b);
         ir::Graph& other = node.add_region();
         ir::Builder build(other);
         other.add_output(build.make("Sub", {a, b}), "difference");
         other.add_output(build.make("Neg", {a}), "negated");
       }))
    m.output(v);
}

void loops(Maker& m) {
  Random& r = m.random;
  const Shape shape{r.between(1, 5), r.size()};
  ir::Value* start = m.f32(shape);
  ir::Value* by = m.f32(shape);
  ir::Value* trips = m.input(Tensor::scalar<int64_t>(r.between(0, 5)));
  for (ir::Value* v : m.step("Loop", {trips, nullptr, start}, {}, 2, [&](ir::Node& node) {
         ir::Graph& body = node.add_region();
         body.add_input("i", ir::TensorType(DType::kI64, {}));
         ir::Value* go_on = body.add_input("go_on", ir::TensorType(DType::kBool, {}));
         ir::Value* state = body.add_input("state", start->type());
         ir::Builder build(body);
         body.add_output(build.make("Identity", {go_on}), "again");
         ir::Value* next = build.make("Tanh", {build.make("Add", {state, by})});
         body.add_output(next, "next");
         body.add_output(build.make("Mul", {next, next}), "trace");
       }))
    m.output(v);
}

void scans(Maker& m) {
  Random& r = m.random;
  const int64_t steps = r.between(1, 6), size = r.size();
  ir::Value* state = m.f32({size});
  ir::Value* rows = m.f32({steps, size});
  for (ir::Value* v : m.step("Scan", {state, rows},
                             {{"num_scan_inputs", int64_t{1}}, {"scan_input_directions", Ints{r.between(0, 1)}}}, 2,
                             [&](ir::Node& node) {
                               ir::Graph& body = node.add_region();
                               ir::Value* s = body.add_input("s", state->type());
                               ir::Value* x = body.add_input("x", state->type());
                               add_and_mul(body, s, x);
                             }))
    m.output(v);
}

void sequence_map(Maker& m) {
  ir::Value* s = some_sequence(m, m.random.between(1, 4));
  ir::Value* by = m.f32({3});
  for (ir::Value* v : m.step("SequenceMap", {s, by}, {}, 1, [&](ir::Node& node) {
         ir::Graph& body = node.add_region();
         ir::Value* x = body.add_input("x", ir::TensorType::unranked(DType::kF32));
         ir::Value* b = body.add_input("b", by->type());
         ir::Builder build(body);
         body.add_output(build.make("Mul", {x, b}), "y");
       }))
    m.output(v);
}

std::string word(Random& r) {
  std::string out;
  for (int64_t i = r.between(0, 5); i > 0; --i) out += r.pick({'a', 'b', 'C', ' ', '1', ','});
  return out;
}

void strings(Maker& m) {
  Random& r = m.random;
  const int64_t n = r.between(1, 5);
  const auto words = [&] {
    std::vector<std::string> out;
    for (int64_t i = 0; i < n; ++i) out.push_back(word(r));
    return out;
  };
  ir::Value* x = m.strings({n}, words());
  switch (r.between(0, 4)) {
    case 0:
      m.node("StringConcat", {x, m.strings({n}, words())});
      break;
    case 1:
      m.node("StringSplit", {x}, {{"delimiter", std::string(r.pick({"", ",", "a"}))}, {"maxsplit", r.between(1, 3)}},
             2);
      break;
    case 2:
      m.node("RegexFullMatch", {x}, {{"pattern", std::string("[a-z ]*[0-9]?")}});
      break;
    case 3:
      m.node("StringNormalizer", {x},
             {{"case_change_action", std::string(r.pick({"LOWER", "UPPER", "NONE"}))},
              {"stopwords", std::vector<std::string>{"ab"}},
              {"is_case_sensitive", r.between(0, 1)}});
      break;
    default:
      m.node("TfIdfVectorizer", {m.input(random_tensor(r, DType::kI64, {r.between(1, 12)}, Fill::kPositive))},
             {{"min_gram_length", int64_t{1}},
              {"max_gram_length", int64_t{2}},
              {"max_skip_count", r.between(0, 2)},
              {"mode", std::string(r.pick({"TF", "IDF", "TFIDF"}))},
              {"ngram_counts", Ints{0, 3}},
              {"ngram_indexes", Ints{0, 1, 2, 3, 4}},
              {"pool_int64s", Ints{2, 3, 5, 2, 3, 5, 1}},
              {"weights", Floats{1, 2, 3, 0.5, 4}}});
      break;
  }
}

}  // namespace

std::vector<Recipe> sequence_recipes() {
  return {{"sequences", sequences, 36},
          {"optionals", optionals, 14},
          {"If", conditions},
          {"Loop", loops},
          {"Scan", scans},
          {"SequenceMap", sequence_map, 3},
          {"strings", strings, 24}};
}

}  // namespace tenon::differential
