#include "ir/parser.h"

#include <charconv>

#include "ir/lexer.h"
#include "ir/op.h"
#include "ir/op_registry.h"
#include "ir/verifier.h"

namespace tenon::ir {
namespace {

constexpr int kMaxTypeDepth = 32;

class Parser {
 public:
  Parser(std::string_view text, std::shared_ptr<const OpRegistry> ops) : lex_(text), ops_(std::move(ops)) {}

  Result<std::unique_ptr<Graph>> run() {
    auto graph = std::make_unique<Graph>();
    graph->set_op_registry(ops_);
    dims_ = &graph->dims();
    TENON_RETURN_IF_ERROR(lex_.expect("graph"));
    if (lex_.peek() == '"') {
      TENON_ASSIGN_OR_RETURN(graph->name, lex_.quoted());
    }
    TENON_RETURN_IF_ERROR(lex_.expect("{"));
    TENON_RETURN_IF_ERROR(body(*graph, 0));
    if (!lex_.at_end()) return lex_.fail("text after the graph");
    TENON_RETURN_IF_ERROR(verify(*graph, {.types = false}));
    return graph;
  }

 private:
  // ---- Graphs and nodes

  Status body(Graph& graph, int depth) {
    if (depth > kMaxRegionDepth) return lex_.fail("regions nest more than {} deep", kMaxRegionDepth);
    std::vector<std::string> defined;
    while (!lex_.take("}")) TENON_RETURN_IF_ERROR(statement(graph, depth, defined));
    for (const std::string& name : defined) visible_[name] = nullptr;
    return {};
  }

  Status statement(Graph& graph, int depth, std::vector<std::string>& defined) {
    if (depth == 0 && lex_.take("meta")) return meta(graph);
    if (depth == 0 && lex_.take("symbol")) return symbol();
    if (lex_.take("input")) {
      TENON_ASSIGN_OR_RETURN(Declaration d, declaration());
      Value* value = graph.add_input(d.name, std::move(d.type));
      value->set_dim_values(std::move(d.dim_values));
      return define(d.name, value, defined);
    }
    if (lex_.take("output")) {
      TENON_ASSIGN_OR_RETURN(Value * value, use());
      std::string name;
      if (lex_.take("as")) {
        TENON_ASSIGN_OR_RETURN(name, lex_.quoted());
      }
      graph.add_output(value, std::move(name));
      return {};
    }
    return node(graph, depth, defined);
  }

  Status meta(Graph& graph) {
    TENON_ASSIGN_OR_RETURN(std::string key, lex_.quoted());
    TENON_RETURN_IF_ERROR(lex_.expect("="));
    TENON_ASSIGN_OR_RETURN(graph.metadata[key], lex_.quoted());
    return {};
  }

  Status symbol() {
    TENON_ASSIGN_OR_RETURN(std::string name, lex_.quoted());
    TENON_RETURN_IF_ERROR(lex_.expect("["));
    TENON_ASSIGN_OR_RETURN(int64_t lo, lex_.integer());
    TENON_RETURN_IF_ERROR(lex_.expect(","));
    TENON_ASSIGN_OR_RETURN(int64_t hi, lex_.integer());
    if (lo > hi) return lex_.fail("the bounds of '{}' are empty", name);
    dims_->set_bounds(dims_->symbol(name), {lo, hi});
    return lex_.expect("]");
  }

  struct Declaration {
    std::string name;
    Type type;
    std::optional<std::vector<Dim>> dim_values;
  };

  Result<std::string> value_name() {
    TENON_RETURN_IF_ERROR(lex_.expect("%"));
    return lex_.name();
  }

  Result<Declaration> declaration() {
    Declaration d;
    TENON_ASSIGN_OR_RETURN(d.name, value_name());
    TENON_RETURN_IF_ERROR(lex_.expect(":"));
    TENON_ASSIGN_OR_RETURN(d.type, type(0));
    if (lex_.take("@")) {
      TENON_RETURN_IF_ERROR(lex_.expect("["));
      TENON_ASSIGN_OR_RETURN(d.dim_values, dims());
    }
    return d;
  }

  Status define(const std::string& name, Value* value, std::vector<std::string>& defined) {
    if (!visible_.try_emplace(name, value).second) return lex_.fail("a second value named '{}'", name);
    defined.push_back(name);
    return {};
  }

  Result<Value*> use() {
    TENON_ASSIGN_OR_RETURN(std::string name, value_name());
    auto it = visible_.find(name);
    if (it == visible_.end() || !it->second) return lex_.fail("the value '{}' is not defined here", name);
    return it->second;
  }

  Result<std::vector<Value*>> operands() {
    std::vector<Value*> out;
    if (!lex_.take("(")) return out;
    if (lex_.take(")")) return out;
    do {
      if (lex_.peek() == '%') {
        TENON_ASSIGN_OR_RETURN(Value * value, use());
        out.push_back(value);
      } else {
        TENON_RETURN_IF_ERROR(lex_.expect("_"));
        out.push_back(nullptr);
      }
    } while (lex_.take(","));
    TENON_RETURN_IF_ERROR(lex_.expect(")"));
    return out;
  }

  Status node(Graph& graph, int depth, std::vector<std::string>& defined) {
    std::vector<Declaration> results;
    if (lex_.peek() == '%') {
      do {
        TENON_ASSIGN_OR_RETURN(Declaration d, declaration());
        results.push_back(std::move(d));
      } while (lex_.take(","));
      TENON_RETURN_IF_ERROR(lex_.expect("="));
    }
    std::string op(lex_.word());
    if (op.empty()) return lex_.fail("an op expected");
    const OpDef* def = find_op(op);
    if (!def && ops_) def = ops_->find(op);
    if (!def) return lex_.fail("there is no op '{}'", op).with_hint(op.find('.') == op.npos ? "" : kMissingOpHint);
    TENON_ASSIGN_OR_RETURN(std::vector<Value*> inputs, operands());
    Node* made = graph.create(*def, inputs, 0);
    for (Declaration& d : results) {
      Value* value = made->add_output(d.name);
      value->set_type(std::move(d.type));
      value->set_dim_values(std::move(d.dim_values));
    }
    if (lex_.take("{")) TENON_RETURN_IF_ERROR(attributes(*made));
    made->set_name(results.empty() ? "" : results[0].name);
    if (lex_.peek() == '"') {
      TENON_ASSIGN_OR_RETURN(std::string name, lex_.quoted());
      made->set_name(std::move(name));
    }
    while (lex_.take("region")) {
      Graph& region = made->add_region();
      if (lex_.peek() == '"') {
        TENON_ASSIGN_OR_RETURN(region.name, lex_.quoted());
      }
      TENON_RETURN_IF_ERROR(lex_.expect("{"));
      TENON_RETURN_IF_ERROR(body(region, depth + 1));
    }
    for (int i = 0; i < made->num_outputs(); ++i)
      TENON_RETURN_IF_ERROR(define(results[static_cast<size_t>(i)].name, made->output(i), defined));
    return {};
  }

  // ---- Types and dims

  /// The rest of a list of dims after its '['.
  Result<std::vector<Dim>> dims() {
    std::vector<Dim> out;
    if (lex_.take("]")) return out;
    do {
      TENON_ASSIGN_OR_RETURN(std::string_view text, lex_.until(",]"));
      auto dim = parse_dim(text, *dims_);
      if (!dim.ok()) return std::move(dim).status().at(lex_.position());
      out.push_back(*dim);
    } while (lex_.take(","));
    TENON_RETURN_IF_ERROR(lex_.expect("]"));
    return out;
  }

  Result<std::shared_ptr<const Type>> element_type(int depth) {
    TENON_ASSIGN_OR_RETURN(Type elem, type(depth + 1));
    TENON_RETURN_IF_ERROR(lex_.expect(">"));
    if (!elem.known()) return std::shared_ptr<const Type>();
    return std::make_shared<const Type>(std::move(elem));
  }

  Result<DType> dtype() {
    std::string word(lex_.word());
    auto found = dtype_from_name(word);
    if (!found || *found == DType::kInvalid) return lex_.fail("'{}' is no element type", word);
    return *found;
  }

  Result<Type> type(int depth) {
    if (depth > kMaxTypeDepth) return lex_.fail("types nest more than {} deep", kMaxTypeDepth);
    if (lex_.take("?")) return Type();
    if (lex_.take("seq<")) {
      TENON_ASSIGN_OR_RETURN(auto elem, element_type(depth));
      return Type(SequenceType{std::move(elem)});
    }
    if (lex_.take("opt<")) {
      TENON_ASSIGN_OR_RETURN(auto elem, element_type(depth));
      return Type(OptionalType{std::move(elem)});
    }
    if (lex_.take("map<")) {
      TENON_ASSIGN_OR_RETURN(DType key, dtype());
      TENON_RETURN_IF_ERROR(lex_.expect(","));
      TENON_ASSIGN_OR_RETURN(auto value, element_type(depth));
      return Type(MapType{key, std::move(value)});
    }
    TENON_ASSIGN_OR_RETURN(TensorType tensor, tensor_type());
    return Type(std::move(tensor));
  }

  Result<TensorType> tensor_type() {
    TENON_ASSIGN_OR_RETURN(DType elem, dtype());
    TENON_RETURN_IF_ERROR(lex_.expect("["));
    if (lex_.take("*")) {
      TENON_RETURN_IF_ERROR(lex_.expect("]"));
      return TensorType::unranked(elem);
    }
    TENON_ASSIGN_OR_RETURN(std::vector<Dim> shape, dims());
    return TensorType(elem, std::move(shape));
  }

  // ---- Attributes

  Status attributes(Node& node) {
    if (lex_.take("}")) return {};
    do {
      TENON_ASSIGN_OR_RETURN(std::string name, lex_.name());
      if (node.attrs().has(name)) return lex_.fail("a second attribute '{}'", name);
      TENON_RETURN_IF_ERROR(lex_.expect("="));
      TENON_ASSIGN_OR_RETURN(Attr attr, attribute());
      node.attrs().set(name, std::move(attr));
    } while (lex_.take(","));
    return lex_.expect("}");
  }

  template <class T, class Fn>
  Result<Attr> list(Fn&& item) {
    std::vector<T> out;
    if (lex_.take("]")) return Attr(std::move(out));
    do {
      TENON_ASSIGN_OR_RETURN(T value, item());
      out.push_back(std::move(value));
    } while (lex_.take(","));
    TENON_RETURN_IF_ERROR(lex_.expect("]"));
    return Attr(std::move(out));
  }

  Result<Attr> attribute() {
    if (lex_.take("[")) return list<int64_t>([&] { return lex_.integer(); });
    if (lex_.take("floats[")) return list<double>([&] { return lex_.number(); });
    if (lex_.take("strings[")) return list<std::string>([&] { return lex_.quoted(); });
    if (lex_.take("tensors[")) return list<Tensor>([&] { return tensor(); });
    if (lex_.take("dims[")) {
      TENON_ASSIGN_OR_RETURN(std::vector<Dim> out, dims());
      return Attr(std::move(out));
    }
    if (lex_.take("type<")) {
      TENON_ASSIGN_OR_RETURN(Type out, type(0));
      TENON_RETURN_IF_ERROR(lex_.expect(">"));
      return Attr(std::move(out));
    }
    char c = lex_.peek();
    if (c == '"') {
      TENON_ASSIGN_OR_RETURN(std::string text, lex_.quoted());
      return Attr(std::move(text));
    }
    if (c == 'd' || c == 'h' || c == 'b' || lex_.take("none")) {
      if (c == 'n') return Attr(Tensor());
      TENON_ASSIGN_OR_RETURN(Tensor out, tensor());
      return Attr(std::move(out));
    }
    return scalar();
  }

  /// An integer, or a float by its point, exponent, inf or nan.
  Result<Attr> scalar() {
    Lexer ahead = lex_;
    TENON_ASSIGN_OR_RETURN(std::string_view text, ahead.until(",}"));
    if (text.find_first_of(".einf") == std::string_view::npos) {
      TENON_ASSIGN_OR_RETURN(int64_t value, lex_.integer());
      return Attr(value);
    }
    TENON_ASSIGN_OR_RETURN(double value, lex_.number());
    return Attr(value);
  }

  // ---- Tensors

  Result<Tensor> tensor() {
    if (lex_.take("none")) return Tensor();
    if (lex_.take("blob<"))
      return lex_.fail("the tensor's values are left out of this text: print the graph in the full form");
    bool hex = lex_.take("hex<");
    if (!hex) TENON_RETURN_IF_ERROR(lex_.expect("dense<"));
    TENON_ASSIGN_OR_RETURN(TensorType type, tensor_type());
    if (!type.is_static()) return lex_.fail("a constant's shape is not constant");
    Shape shape;
    for (const Dim& dim : *type.dims) shape.push_back(dim.value());
    auto count = element_count(shape);
    if (!count.ok()) return std::move(count).status().at(lex_.position());
    // Before anything is allocated: the text must be long enough to hold the values.
    auto bytes = storage_bytes(type.dtype, *count);
    size_t needed = hex ? bytes.value_or(SIZE_MAX / 2) : static_cast<size_t>(*count);
    if (!bytes || needed > lex_.remaining()) return lex_.fail("{} values are missing", to_string(type));
    TENON_ASSIGN_OR_RETURN(Tensor out, Tensor::zeros(type.dtype, std::move(shape)));
    TENON_RETURN_IF_ERROR(hex ? read_hex(out) : read_dense(out));
    TENON_RETURN_IF_ERROR(lex_.expect(">"));
    return out;
  }

  Status read_dense(Tensor& out) {
    for (int64_t i = 0; i < out.size(); ++i) {
      TENON_RETURN_IF_ERROR(lex_.expect(","));
      if (out.dtype() == DType::kString) {
        TENON_ASSIGN_OR_RETURN(out.mutable_strings()[static_cast<size_t>(i)], lex_.quoted());
      } else if (is_float(out.dtype())) {
        TENON_ASSIGN_OR_RETURN(double value, lex_.number());
        out.set_double(i, value);
      } else if (is_int(out.dtype()) || out.dtype() == DType::kBool) {
        TENON_ASSIGN_OR_RETURN(int64_t value, lex_.integer());
        out.set_int(i, value);
      } else {
        return lex_.fail("{} values are written as hex<…>", name(out.dtype()));
      }
    }
    return {};
  }

  Status read_hex(Tensor& out) {
    if (out.dtype() == DType::kString) return lex_.fail("strings are written as dense<…>");
    TENON_RETURN_IF_ERROR(lex_.expect(","));
    std::string_view digits = lex_.word();
    if (digits.size() != out.bytes() * 2) return lex_.fail("{} bytes expected", out.bytes());
    for (size_t i = 0; i < out.bytes(); ++i) {
      unsigned byte = 0;
      const char* first = digits.data() + 2 * i;
      if (std::from_chars(first, first + 2, byte, 16).ptr != first + 2) return lex_.fail("hexadecimal digits expected");
      out.mutable_data()[i] = static_cast<std::byte>(byte);
    }
    return {};
  }

  Lexer lex_;
  std::shared_ptr<const OpRegistry> ops_;
  DimContext* dims_ = nullptr;
  std::unordered_map<std::string, Value*> visible_;  // null: defined in a region that has ended
};

}  // namespace

Result<std::unique_ptr<Graph>> parse_text(std::string_view text, std::shared_ptr<const OpRegistry> ops) {
  return Parser(text, std::move(ops)).run();
}

}  // namespace tenon::ir
