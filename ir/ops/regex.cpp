#include "ir/ops/regex.h"

#include <algorithm>
#include <cctype>

#include "ir/ops/budget.h"

namespace tenon::ir {

namespace {
constexpr int kMaxSteps = 100000;
constexpr int kMaxDepth = 200;
constexpr int kMaxRepeat = 1000;
}  // namespace

/// Recursive descent into a syntax tree, then emission from the end to the start. Bytes are matched; a multi-byte UTF-8
/// character counts as one for `.` and negated classes by taking its continuation bytes along.
class RegexParser {
 public:
  explicit RegexParser(std::string_view pattern) : text_(pattern) {}

  Result<Regex> run() {
    TENON_ASSIGN_OR_RETURN(int root, alternation(0));
    if (at_ != text_.size()) return error(Code::kInvalidModel, "unmatched ')' in the pattern \"{}\"", text_);
    int match = step({Regex::Step::kMatch});
    TENON_ASSIGN_OR_RETURN(out_.start_, emit(root, match));
    return std::move(out_);
  }

 private:
  struct Item {
    enum Kind { kSet, kCharacter, kCat, kAlt, kRepeat, kBegin, kEnd, kWord, kNotWord, kEmpty } kind = kEmpty;
    int set = 0, low = 0, high = 0;  // high < 0: no bound
    std::vector<int> parts;
  };

  bool more() const { return at_ < text_.size(); }
  char peek() const { return text_[at_]; }
  int item(Item i) {
    items_.push_back(std::move(i));
    return static_cast<int>(items_.size()) - 1;
  }
  int step(Regex::Step s) {
    out_.steps_.push_back(s);
    return static_cast<int>(out_.steps_.size()) - 1;
  }
  int add_set(Regex::Set set) {
    out_.sets_.push_back(std::move(set));
    return static_cast<int>(out_.sets_.size()) - 1;
  }
  Status malformed(std::string_view what) const { return error(Code::kInvalidModel, "{} in the pattern \"{}\"", what, text_); }

  Result<int> alternation(int depth) {
    if (depth > kMaxDepth) return error(Code::kResourceExhausted, "the pattern is nested too deep");
    Item alt{Item::kAlt};
    for (;;) {
      TENON_ASSIGN_OR_RETURN(int part, sequence(depth));
      alt.parts.push_back(part);
      if (!more() || peek() != '|') break;
      ++at_;
    }
    return alt.parts.size() == 1 ? alt.parts[0] : item(std::move(alt));
  }

  Result<int> sequence(int depth) {
    Item cat{Item::kCat};
    while (more() && peek() != '|' && peek() != ')') {
      TENON_ASSIGN_OR_RETURN(int part, atom(depth));
      TENON_ASSIGN_OR_RETURN(part, repeated(part));
      cat.parts.push_back(part);
    }
    return item(std::move(cat));
  }

  Result<int> repeated(int part) {
    while (more()) {
      Item r{Item::kRepeat};
      char ch = peek();
      if (ch == '*') r.low = 0, r.high = -1;
      else if (ch == '+') r.low = 1, r.high = -1;
      else if (ch == '?') r.low = 0, r.high = 1;
      else if (ch != '{' || !counts(r)) break;
      if (ch != '{') ++at_;
      if (more() && peek() == '?') ++at_;  // lazy: the same for full matches
      if (r.low > kMaxRepeat || r.high > kMaxRepeat) return error(Code::kResourceExhausted, "a repetition of more than {}", kMaxRepeat);
      r.parts = {part};
      part = item(std::move(r));
    }
    return part;
  }

  /// {m}, {m,} or {m,n}; anything else is a literal brace.
  bool counts(Item& r) {
    size_t i = at_ + 1;
    auto number = [&](int& value) {
      size_t first = i;
      for (value = 0; i < text_.size() && std::isdigit(static_cast<unsigned char>(text_[i])) && i - first < 6; ++i) value = value * 10 + (text_[i] - '0');
      return i > first;
    };
    if (!number(r.low)) return false;
    r.high = r.low;
    if (i < text_.size() && text_[i] == ',') {
      ++i;
      if (!number(r.high)) r.high = -1;
    }
    if (i >= text_.size() || text_[i] != '}') return false;
    at_ = i + 1;
    return true;
  }

  static void add_class(Regex::Set& set, char kind) {
    bool negate = std::isupper(static_cast<unsigned char>(kind)) != 0;
    for (int b = 0; b < 256; ++b) {
      bool in = false;
      switch (std::tolower(static_cast<unsigned char>(kind))) {
        case 'd': in = b >= '0' && b <= '9'; break;
        case 'w': in = b < 128 && (std::isalnum(b) != 0 || b == '_'); break;
        case 's': in = b == ' ' || (b >= 9 && b <= 13 && b != 11); break;
        default: break;
      }
      if (in != negate && (!negate || b < 128)) set.bytes[static_cast<size_t>(b)] = true;
    }
  }

  Result<unsigned char> escaped() {
    char ch = text_[at_++];
    switch (ch) {
      case 'n': return static_cast<unsigned char>('\n');
      case 't': return static_cast<unsigned char>('\t');
      case 'r': return static_cast<unsigned char>('\r');
      case 'f': return static_cast<unsigned char>('\f');
      case 'v': return static_cast<unsigned char>('\v');
      default: break;
    }
    if (std::isalnum(static_cast<unsigned char>(ch)) != 0) return error(Code::kUnsupported, "\\{} in the pattern \"{}\"", ch, text_);
    return static_cast<unsigned char>(ch);
  }

  Result<int> atom(int depth) {
    char ch = text_[at_++];
    if (ch == '(') return group(depth);
    if (ch == '[') return bracket();
    if (ch == '^') return item({Item::kBegin});
    if (ch == '$') return item({Item::kEnd});
    Regex::Set set;
    Item::Kind kind = Item::kSet;
    if (ch == '.') {
      set.bytes.assign(256, true);
      set.bytes['\n'] = false;
      kind = Item::kCharacter;
    } else if (ch == '\\') {
      if (!more()) return malformed("a trailing backslash");
      if (std::string_view("dDwWsS").find(peek()) != std::string_view::npos) {
        if (std::isupper(static_cast<unsigned char>(peek())) != 0) kind = Item::kCharacter, std::fill(set.bytes.begin() + 0xC0, set.bytes.end(), true);
        add_class(set, text_[at_++]);
      } else if (peek() == 'b' || peek() == 'B') {
        return item({text_[at_++] == 'b' ? Item::kWord : Item::kNotWord});
      } else {
        TENON_ASSIGN_OR_RETURN(unsigned char byte, escaped());
        set.bytes[byte] = true;
      }
    } else if (ch == '*' || ch == '+' || ch == '?') {
      return malformed("nothing to repeat");
    } else {
      set.bytes[static_cast<unsigned char>(ch)] = true;
    }
    return item({kind, add_set(std::move(set))});
  }

  Result<int> group(int depth) {
    if (text_.substr(at_, 2) == "?:") at_ += 2;
    else if (text_.substr(at_, 3) == "?P<") {
      size_t close = text_.find('>', at_);
      if (close == std::string_view::npos) return malformed("an unfinished group name");
      at_ = close + 1;
    } else if (more() && peek() == '?') {
      return error(Code::kUnsupported, "the group (?{} in the pattern", text_.substr(at_ + 1, 1));
    }
    TENON_ASSIGN_OR_RETURN(int inner, alternation(depth + 1));
    if (!more() || peek() != ')') return malformed("a missing ')'");
    ++at_;
    return inner;
  }

  Result<int> bracket() {
    Regex::Set set;
    bool negate = more() && peek() == '^';
    if (negate) ++at_;
    for (bool first = true;; first = false) {
      if (!more()) return malformed("a missing ']'");
      if (peek() == ']' && !first) break;
      unsigned char low = static_cast<unsigned char>(text_[at_++]);
      if (low == '\\') {
        if (!more()) return malformed("a trailing backslash");
        if (std::string_view("dDwWsS").find(peek()) != std::string_view::npos) {
          add_class(set, text_[at_++]);
          continue;
        }
        TENON_ASSIGN_OR_RETURN(low, escaped());
      }
      unsigned char high = low;
      if (at_ + 1 < text_.size() && peek() == '-' && text_[at_ + 1] != ']') {
        ++at_;
        high = static_cast<unsigned char>(text_[at_++]);
        if (high == '\\') {
          if (!more()) return malformed("a trailing backslash");
          TENON_ASSIGN_OR_RETURN(high, escaped());
        }
        if (high < low) return malformed("a reversed range");
      }
      for (int b = low; b <= high; ++b) set.bytes[static_cast<size_t>(b)] = true;
    }
    ++at_;
    if (!negate) return item({Item::kSet, add_set(std::move(set))});
    set.bytes.flip();
    for (size_t b = 0x80; b < 0xC0; ++b) set.bytes[b] = false;
    return item({Item::kCharacter, add_set(std::move(set))});
  }

  /// Continuation bytes that may follow the leading byte of a UTF-8 character.
  int continuation_set() {
    if (continuation_ < 0) {
      Regex::Set set;
      for (size_t b = 0x80; b < 0xC0; ++b) set.bytes[b] = true;
      continuation_ = add_set(std::move(set));
    }
    return continuation_;
  }

  Result<int> emit(int index, int next) {
    if (out_.steps_.size() > kMaxSteps) return error(Code::kResourceExhausted, "the pattern is too large");
    const Item i = items_[static_cast<size_t>(index)];
    switch (i.kind) {
      case Item::kEmpty: return next;
      case Item::kBegin: return step({Regex::Step::kBegin, 0, next});
      case Item::kEnd: return step({Regex::Step::kEnd, 0, next});
      case Item::kWord: return step({Regex::Step::kWord, 0, next});
      case Item::kNotWord: return step({Regex::Step::kNotWord, 0, next});
      case Item::kSet: return step({Regex::Step::kSet, i.set, next});
      case Item::kCharacter: {
        int loop = step({Regex::Step::kSplit, 0, -1, next});
        int more = step({Regex::Step::kSet, continuation_set(), loop});
        out_.steps_[static_cast<size_t>(loop)].next = more;
        return step({Regex::Step::kSet, i.set, loop});
      }
      case Item::kCat: {
        for (size_t k = i.parts.size(); k-- > 0;) {
          TENON_ASSIGN_OR_RETURN(next, emit(i.parts[k], next));
        }
        return next;
      }
      case Item::kAlt: {
        TENON_ASSIGN_OR_RETURN(int entry, emit(i.parts.back(), next));
        for (size_t k = i.parts.size() - 1; k-- > 0;) {
          TENON_ASSIGN_OR_RETURN(int branch, emit(i.parts[k], next));
          entry = step({Regex::Step::kSplit, 0, branch, entry});
        }
        return entry;
      }
      case Item::kRepeat: return emit_repeat(i, next);
    }
    return next;
  }

  Result<int> emit_repeat(const Item& i, int next) {
    if (i.high < 0) {
      int loop = step({Regex::Step::kSplit, 0, -1, next});
      TENON_ASSIGN_OR_RETURN(int body, emit(i.parts[0], loop));
      out_.steps_[static_cast<size_t>(loop)].next = body;
      next = loop;
    }
    for (int k = i.low; k < i.high; ++k) {
      TENON_ASSIGN_OR_RETURN(int body, emit(i.parts[0], next));
      next = step({Regex::Step::kSplit, 0, body, next});
    }
    for (int k = 0; k < i.low; ++k) {
      TENON_ASSIGN_OR_RETURN(next, emit(i.parts[0], next));
    }
    return next;
  }

  std::string_view text_;
  size_t at_ = 0;
  std::vector<Item> items_;
  int continuation_ = -1;
  Regex out_;
};

Result<Regex> Regex::compile(std::string_view pattern) { return RegexParser(pattern).run(); }

Result<bool> Regex::full_match(std::string_view text, const Interrupt& interrupt) const {
  std::vector<int> now, then, stack;
  std::vector<size_t> seen(steps_.size(), SIZE_MAX);
  auto is_word = [&](size_t i) {
    if (i >= text.size()) return false;
    unsigned char ch = static_cast<unsigned char>(text[i]);
    return ch < 128 && (std::isalnum(ch) != 0 || ch == '_');
  };
  auto reach = [&](std::vector<int>& states, int from, size_t at) {
    stack.push_back(from);
    while (!stack.empty()) {
      int s = stack.back();
      stack.pop_back();
      if (seen[static_cast<size_t>(s)] == at) continue;
      seen[static_cast<size_t>(s)] = at;
      const Step& step = steps_[static_cast<size_t>(s)];
      if (step.kind == Step::kSplit) stack.push_back(step.other), stack.push_back(step.next);
      else if (step.kind == Step::kBegin && at == 0) stack.push_back(step.next);
      else if (step.kind == Step::kEnd && at == text.size()) stack.push_back(step.next);
      else if (step.kind == Step::kWord || step.kind == Step::kNotWord) {
        bool boundary = (at > 0 && is_word(at - 1)) != is_word(at);
        if (boundary == (step.kind == Step::kWord)) stack.push_back(step.next);
      } else if (step.kind == Step::kSet || step.kind == Step::kMatch) states.push_back(s);
    }
  };
  reach(now, start_, 0);
  StepCounter steps(interrupt);
  for (size_t i = 0; i < text.size(); ++i) {
    TENON_RETURN_IF_ERROR(steps.add(8 * (1 + std::ssize(now))));
    then.clear();
    for (int s : now) {
      const Step& step = steps_[static_cast<size_t>(s)];
      if (step.kind == Step::kSet && sets_[static_cast<size_t>(step.set)].bytes[static_cast<unsigned char>(text[i])]) reach(then, step.next, i + 1);
    }
    std::swap(now, then);
  }
  return std::any_of(now.begin(), now.end(), [&](int s) { return steps_[static_cast<size_t>(s)].kind == Step::kMatch; });
}

}  // namespace tenon::ir
