#include <algorithm>
#include <cctype>
#include <charconv>

#include "ir/dim.h"

namespace tenon::ir {

// ---- Printing. The order of interning does not show: terms and factors are sorted by their text.

namespace {

bool plain_name(std::string_view name) {
  if (name.empty() || (!std::isalpha(static_cast<unsigned char>(name[0])) && name[0] != '_')) return false;
  return std::ranges::all_of(name, [](unsigned char c) { return std::isalnum(c) || c == '_' || c == '.'; });
}

std::string quoted(std::string_view name) {
  std::string out = "\"";
  for (char c : name) {
    auto byte = static_cast<unsigned char>(c);
    if (c == '"' || c == '\\') {
      out += {'\\', c};
    } else if (byte < 0x20 || byte == 0x7f) {
      out += fmt::format("\\x{:02x}", byte);
    } else {
      out += c;
    }
  }
  return out + '"';
}

std::string node_text(const DimNode& n);

std::string call(std::string_view name, const DimNode& n, bool commutative) {
  std::string a = to_string(n.a), b = to_string(n.b);
  if (commutative && (n.b.is_const() ? false : n.a.is_const() || b < a)) std::swap(a, b);
  return fmt::format("{}({}, {})", name, a, b);
}

struct TermText {
  size_t degree;
  std::string factors;
  int64_t coefficient;
};

std::string sum_text(const DimNode& n) {
  std::vector<TermText> terms;
  for (const DimNode::Term& term : n.terms) {
    std::vector<std::string> factors;
    for (const DimNode* factor : term.factors) factors.push_back(node_text(*factor));
    std::ranges::sort(factors);
    terms.push_back({factors.size(), fmt::format("{}", fmt::join(factors, "*")), term.coefficient});
  }
  std::ranges::sort(terms, [](const TermText& x, const TermText& y) {
    return x.degree != y.degree ? x.degree > y.degree : x.factors < y.factors;
  });
  std::string out;
  auto magnitude = [](int64_t v) { return v < 0 ? 0 - static_cast<uint64_t>(v) : static_cast<uint64_t>(v); };
  for (const TermText& term : terms) {
    bool negative = term.coefficient < 0;
    out += out.empty() ? (negative ? "-" : "") : (negative ? " - " : " + ");
    out += term.factors;
    if (magnitude(term.coefficient) != 1) out += fmt::format("*{}", magnitude(term.coefficient));
  }
  if (n.constant != 0) out += fmt::format(" {} {}", n.constant < 0 ? '-' : '+', magnitude(n.constant));
  return out;
}

std::string node_text(const DimNode& n) {
  switch (n.kind) {
    case DimKind::kSymbol: {
      const std::string& name = n.context->symbol_name(n.symbol);
      return plain_name(name) ? name : quoted(name);
    }
    case DimKind::kFloorDiv: return call("floor_div", n, false);
    case DimKind::kMod: return call("mod", n, false);
    case DimKind::kMin: return call("min", n, true);
    case DimKind::kMax: return call("max", n, true);
    case DimKind::kSum: return sum_text(n);
  }
  return {};
}

}  // namespace

std::string to_string(Dim d) {
  if (!d.is_valid()) return "invalid";
  return d.node() ? node_text(*d.node()) : std::to_string(d.value());
}

// ---- Parsing: sum := product {('+'|'-') product}; product := factor {('*'|'/'|'%') factor};
// factor := '-' factor | number | name | "quoted name" | '(' sum ')' | function '(' sum ',' sum ')'

namespace {

class DimParser {
 public:
  DimParser(std::string_view text, DimContext& context) : text_(text), context_(context) {}

  Result<Dim> parse() {
    TENON_ASSIGN_OR_RETURN(Dim dim, sum());
    skip_space();
    if (at_ != text_.size()) return fail("unexpected text");
    if (!dim.is_valid()) return fail("the value overflows or divides by zero");
    return dim;
  }

 private:
  static constexpr int kMaxDepth = 200;

  Status fail(std::string_view what) const {
    return error(Code::kInvalidModel, "{} at column {} of the dimension '{}'", what, at_ + 1, text_.substr(0, 200));
  }
  void skip_space() {
    while (at_ < text_.size() && std::isspace(static_cast<unsigned char>(text_[at_]))) ++at_;
  }
  char peek() {
    skip_space();
    return at_ < text_.size() ? text_[at_] : '\0';
  }
  bool take(char c) {
    if (peek() != c || at_ >= text_.size()) return false;
    ++at_;
    return true;
  }

  Result<Dim> sum() {
    if (++depth_ > kMaxDepth) return fail("parentheses nest too deeply");
    TENON_ASSIGN_OR_RETURN(Dim out, product());
    for (;;) {
      bool plus = take('+');
      if (!plus && !take('-')) break;
      TENON_ASSIGN_OR_RETURN(Dim next, product());
      out = plus ? out + next : out - next;
    }
    --depth_;
    return out;
  }

  Result<Dim> product() {
    TENON_ASSIGN_OR_RETURN(Dim out, factor());
    for (;;) {
      char c = peek();
      if (c != '*' && c != '/' && c != '%') return out;
      ++at_;
      take('/');  // Python's floor division
      TENON_ASSIGN_OR_RETURN(Dim next, factor());
      out = c == '*' ? out * next : c == '/' ? floor_div(out, next) : mod(out, next);
    }
  }

  Result<Dim> factor() {
    bool negative = false;
    while (peek() == '-' && !(at_ + 1 < text_.size() && std::isdigit(static_cast<unsigned char>(text_[at_ + 1])))) {
      ++at_;
      negative = !negative;
    }
    TENON_ASSIGN_OR_RETURN(Dim out, positive_factor());
    return negative ? Dim(0) - out : out;
  }

  Result<Dim> positive_factor() {
    char c = peek();
    if (std::isdigit(static_cast<unsigned char>(c)) || c == '-') return number();
    if (c == '"') return quoted_name();
    if (take('(')) {
      TENON_ASSIGN_OR_RETURN(Dim out, sum());
      if (!take(')')) return fail("')' expected");
      return out;
    }
    if (!std::isalpha(static_cast<unsigned char>(c)) && c != '_') return fail("a number or a name expected");
    size_t start = at_;
    while (at_ < text_.size() && plain_name(text_.substr(start, at_ + 1 - start))) ++at_;
    std::string_view name = text_.substr(start, at_ - start);
    if (peek() == '(') return function(name);
    return context_.symbol(name);
  }

  Result<Dim> number() {
    int64_t value = 0;
    auto [end, ec] = std::from_chars(text_.data() + at_, text_.data() + text_.size(), value);
    if (ec != std::errc()) return fail("a number that does not fit 64 bits");
    at_ = static_cast<size_t>(end - text_.data());
    return Dim(value);
  }

  Result<Dim> quoted_name() {
    std::string name;
    for (++at_; at_ < text_.size() && text_[at_] != '"'; ++at_) {
      if (text_[at_] != '\\') {
        name += text_[at_];
        continue;
      }
      if (++at_ >= text_.size()) return fail("an unfinished name");
      if (text_[at_] != 'x') {
        name += text_[at_];
        continue;
      }
      unsigned byte = 0;
      const char* first = text_.data() + at_ + 1;
      if (at_ + 2 >= text_.size() || std::from_chars(first, first + 2, byte, 16).ptr != first + 2)
        return fail("two hexadecimal digits expected");
      name += static_cast<char>(byte);
      at_ += 2;
    }
    if (at_ >= text_.size()) return fail("an unfinished name");
    ++at_;
    return context_.symbol(name);
  }

  Result<Dim> function(std::string_view name) {
    if (!take('(')) return fail("'(' expected");
    TENON_ASSIGN_OR_RETURN(Dim a, sum());
    if (!take(',')) return fail("',' expected");
    TENON_ASSIGN_OR_RETURN(Dim b, sum());
    if (!take(')')) return fail("')' expected");
    if (name == "floor_div") return floor_div(a, b);
    if (name == "ceil_div") return ceil_div(a, b);
    if (name == "mod") return mod(a, b);
    if (name == "min") return min(a, b);
    if (name == "max") return max(a, b);
    return fail(fmt::format("there is no function '{}'", name));
  }

  std::string_view text_;
  DimContext& context_;
  size_t at_ = 0;
  int depth_ = 0;
};

}  // namespace

Result<Dim> parse_dim(std::string_view text, DimContext& context) { return DimParser(text, context).parse(); }

}  // namespace tenon::ir
