#include "ir/printer.h"

#include <algorithm>
#include <cctype>
#include <cmath>

#include "ir/op.h"
#include "ir/text.h"
#include "support/hash.h"

namespace tenon::ir {

std::string quote_text(std::string_view text) {
  std::string out = "\"";
  for (char c : text) {
    auto byte = static_cast<unsigned char>(c);
    if (c == '"' || c == '\\') {
      out += {'\\', c};
    } else if (c == '\n') {
      out += "\\n";
    } else if (byte < 0x20 || byte == 0x7f) {
      out += fmt::format("\\x{:02x}", byte);
    } else {
      out += c;
    }
  }
  return out + '"';
}

namespace {

std::string float_text(double value) {
  std::string text = fmt::format("{}", value);
  bool plain = std::ranges::all_of(text, [](unsigned char c) { return std::isdigit(c) || c == '-'; });
  return plain ? text + ".0" : text;
}

std::string value_name(const Value& value) {
  return "%" + (is_plain_name(value.name()) ? value.name() : quote_text(value.name()));
}

template <class List, class Fn>
std::string list(std::string_view open, const List& items, Fn&& text) {
  std::string out(open);
  for (size_t i = 0; i < items.size(); ++i) {
    if (i > 0) out += ", ";
    out += text(items[i]);
  }
  return out;
}

class Printer {
 public:
  explicit Printer(const PrintOptions& options) : options_(options) {}
  std::string take() { return std::move(out_); }

  void module(const Graph& graph) {
    out_ += "graph";
    if (!graph.name.empty()) out_ += " " + quote_text(graph.name);
    out_ += " {\n";
    ++depth_;
    for (const auto& [key, value] : graph.metadata) line("meta {} = {}", quote_text(key), quote_text(value));
    symbols(graph.dims());
    body(graph);
    --depth_;
    out_ += "}\n";
  }

  void node(const Node& node) {
    const Value* const* outputs = node.outputs().data();
    for (int i = 0; i < node.num_outputs(); ++i) out_ += (i > 0 ? ", " : "") + declaration(*outputs[i]);
    if (node.num_outputs() > 0) out_ += " = ";
    out_ += node.op_name();
    if (node.num_inputs() > 0)
      out_ += list("(", node.inputs(), [](const Value* v) { return v ? value_name(*v) : std::string("_"); }) + ")";
    attributes(node);
    if (node.name() != (node.num_outputs() > 0 ? node.output(0)->name() : "")) out_ += " " + quote_text(node.name());
    for (const auto& region : node.regions()) {
      out_ += " region";
      if (!region->name.empty()) out_ += " " + quote_text(region->name);
      out_ += " {\n";
      ++depth_;
      body(*region);
      --depth_;
      indent();
      out_ += "}";
    }
  }

 private:
  void indent() { out_.append(static_cast<size_t>(depth_) * 2, ' '); }
  template <class... Args>
  void line(fmt::format_string<Args...> format, Args&&... args) {
    indent();
    out_ += fmt::format(format, std::forward<Args>(args)...) + "\n";
  }

  void symbols(const DimContext& dims) {
    std::vector<std::pair<std::string, DimBounds>> rows;
    for (int id = 0; id < dims.num_symbols(); ++id) rows.emplace_back(dims.symbol_name(id), dims.symbol_bounds(id));
    std::ranges::sort(rows, {}, &std::pair<std::string, DimBounds>::first);
    for (const auto& [name, bounds] : rows)
      if (bounds.lo != 0 || bounds.hi != INT32_MAX) line("symbol {} [{}, {}]", quote_text(name), bounds.lo, bounds.hi);
  }

  void body(const Graph& graph) {
    for (const Value* input : graph.inputs()) line("input {}", declaration(*input));
    for (const auto& n : graph.nodes()) {
      indent();
      node(*n);
      out_ += "\n";
    }
    for (size_t i = 0; i < graph.outputs().size(); ++i) {
      const Value& value = *graph.outputs()[i];
      const std::string& name = graph.output_name(static_cast<int>(i));
      bool named = !graph.parent() && name != value.name();
      line("output {}{}", value_name(value), named ? " as " + quote_text(name) : "");
    }
  }

  static std::string declaration(const Value& value) {
    std::string out = value_name(value) + ": " + to_string(value.type());
    if (value.dim_values()) out += list(" @[", *value.dim_values(), [](Dim d) { return to_string(d); }) + "]";
    return out;
  }

  void attributes(const Node& node) {
    if (node.attrs().size() == 0) return;
    std::string_view before = " {";
    for (const auto& [name, attr] : node.attrs()) {
      out_ += before;
      out_ += fmt::format("{} = {}", is_plain_name(name) ? name : quote_text(name), attribute(attr));
      before = ", ";
    }
    out_ += "}";
  }

  std::string attribute(const Attr& attr) {
    struct Text {
      Printer& p;
      std::string operator()(int64_t v) { return std::to_string(v); }
      std::string operator()(double v) { return float_text(v); }
      std::string operator()(const std::string& v) { return quote_text(v); }
      std::string operator()(const Tensor& v) { return p.tensor(v); }
      std::string operator()(const std::vector<int64_t>& v) {
        return list("[", v, [](int64_t x) { return std::to_string(x); }) + "]";
      }
      std::string operator()(const std::vector<double>& v) { return list("floats[", v, float_text) + "]"; }
      std::string operator()(const std::vector<std::string>& v) { return list("strings[", v, quote_text) + "]"; }
      std::string operator()(const std::vector<Dim>& v) {
        return list("dims[", v, [](Dim d) { return to_string(d); }) + "]";
      }
      std::string operator()(const Type& v) { return fmt::format("type<{}>", to_string(v)); }
      std::string operator()(const std::vector<Tensor>& v) {
        return list("tensors[", v, [this](const Tensor& t) { return p.tensor(t); }) + "]";
      }
    };
    return std::visit(Text{*this}, attr);
  }

  /// Whether the values print so that they read back as the same bits.
  static bool prints_exactly(const Tensor& t) {
    if (info(t.dtype()).cls == DTypeClass::kComplex) return false;
    if (!is_float(t.dtype())) return true;
    for (int64_t i = 0; i < t.size(); ++i)
      if (std::isnan(t.at_double(i)) || (std::isinf(t.at_double(i)) && bits(t.dtype()) <= 8)) return false;
    return true;
  }

  std::string tensor(const Tensor& t) {
    if (!t.defined()) return "none";
    std::string type = to_string(TensorType(t.dtype(), std::vector<Dim>(t.shape().begin(), t.shape().end())));
    if (t.dtype() == DType::kString) {
      if (t.size() <= options_.max_elements || options_.full)
        return list("dense<" + type + (t.size() ? ", " : ""), t.string_values(), quote_text) + ">";
      Hasher hasher;
      for (const std::string& value : t.string_values()) hasher.add(value);
      return fmt::format("blob<{}, {}, {}>", type, hasher.digest128().hex(), t.size());
    }
    std::span<const std::byte> bytes(t.data(), t.bytes());
    bool small = t.size() <= options_.max_elements;
    if (!small && !options_.full) return fmt::format("blob<{}, {}, {}>", type, hash128(bytes).hex(), bytes.size());
    if (!small || !prints_exactly(t)) {
      std::string hex = fmt::format("hex<{}, ", type);
      for (std::byte b : bytes) hex += {kHexDigits[static_cast<int>(b) >> 4], kHexDigits[static_cast<int>(b) & 15]};
      return hex + ">";
    }
    std::string out = "dense<" + type;
    for (int64_t i = 0; i < t.size(); ++i)
      out += ", " + (is_float(t.dtype()) ? float_text(t.at_double(i)) : std::to_string(t.at_int(i)));
    return out + ">";
  }

  static constexpr char kHexDigits[] = "0123456789abcdef";
  const PrintOptions& options_;
  std::string out_;
  int depth_ = 0;
};

}  // namespace

std::string to_text(const Graph& graph, const PrintOptions& options) {
  Printer printer(options);
  printer.module(graph);
  return printer.take();
}

std::string to_text(const Node& node, const PrintOptions& options) {
  Printer printer(options);
  printer.node(node);
  return printer.take();
}

}  // namespace tenon::ir
