#include "mutations.h"

#include <cstring>
#include <limits>

namespace tenon::differential {
namespace {

using frontend::testing::OpModel;
using onnx::AttributeProto;

constexpr int64_t kInts[] = {-1, 0, 1, 5, 1000, INT32_MAX, int64_t{1} << 40, INT64_MAX, INT64_MIN};
const float kFloats[] = {std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity(), -1, 0, 1e30F};

onnx::NodeProto& node_of(OpModel& m) { return *m.model.graph().mutable_node(m.model.graph().node_size() - 1); }
AttributeProto& attribute_of(OpModel& m, int i) { return *node_of(m).mutable_attribute(i); }

class Collector {
 public:
  explicit Collector(const OpModel& base) : base_(base), graph_(base.model.proto.graph()), node_(graph_.node(graph_.node_size() - 1)) {}

  std::vector<Mutation> run() {
    for (int i = 0; i < node_.attribute_size(); ++i) attribute(i, node_.attribute(i));
    operands();
    for (size_t i = 0; i < base_.inputs.size(); ++i) graph_input(static_cast<int>(i));
    for (int i = 0; i < graph_.initializer_size(); ++i) initializer(i);
    return std::move(out_);
  }

 private:
  void add(std::string text, std::function<void(OpModel&)> apply) {
    const bool overflows = text.find("nan") != std::string::npos || text.find("inf") != std::string::npos || text.find("1e+30") != std::string::npos;
    out_.push_back({std::move(text), std::move(apply), overflows});
  }

  void attribute(int i, const AttributeProto& a) {
    const auto change = [&](std::string how, std::function<void(AttributeProto&)> apply) {
      add(fmt::format("{} {}", a.name(), how), [i, apply](OpModel& m) { apply(attribute_of(m, i)); });
    };
    add(a.name() + " absent", [i](OpModel& m) { node_of(m).mutable_attribute()->DeleteSubrange(i, 1); });
    change("of another type", [](AttributeProto& x) { x.set_type(x.type() == AttributeProto::INT ? AttributeProto::FLOATS : AttributeProto::INT); });
    switch (a.type()) {
      case AttributeProto::INT:
        for (int64_t v : kInts) change(fmt::format("= {}", v), [v](AttributeProto& x) { x.set_i(v); });
        break;
      case AttributeProto::FLOAT:
        for (float v : kFloats) change(fmt::format("= {}", v), [v](AttributeProto& x) { x.set_f(v); });
        break;
      case AttributeProto::STRING:
        for (const char* v : {"", "?"}) change(fmt::format("= '{}'", v), [v](AttributeProto& x) { x.set_s(v); });
        break;
      case AttributeProto::INTS:
        for (int k : {0, a.ints_size() - 1})
          for (int64_t v : kInts)
            if (a.ints_size() > k && k >= 0) change(fmt::format("[{}] = {}", k, v), [k, v](AttributeProto& x) { x.set_ints(k, v); });
        change("empty", [](AttributeProto& x) { x.clear_ints(); });
        change("longer", [](AttributeProto& x) { x.add_ints(1); });
        if (a.ints_size() > 0) change("shorter", [](AttributeProto& x) { x.mutable_ints()->RemoveLast(); });
        break;
      case AttributeProto::FLOATS:
        for (float v : kFloats)
          if (a.floats_size() > 0) change(fmt::format("[0] = {}", v), [v](AttributeProto& x) { x.set_floats(0, v); });
        change("empty", [](AttributeProto& x) { x.clear_floats(); });
        change("longer", [](AttributeProto& x) { x.add_floats(1); });
        if (a.floats_size() > 0) change("shorter", [](AttributeProto& x) { x.mutable_floats()->RemoveLast(); });
        break;
      case AttributeProto::STRINGS:
        change("empty", [](AttributeProto& x) { x.clear_strings(); });
        change("longer", [](AttributeProto& x) { x.add_strings("?"); });
        if (a.strings_size() > 0) change("shorter", [](AttributeProto& x) { x.mutable_strings()->RemoveLast(); });
        break;
      case AttributeProto::TENSOR:
        change("of another shape", [](AttributeProto& x) { x.mutable_t()->add_dims(3); });
        change("without dims", [](AttributeProto& x) { x.mutable_t()->clear_dims(); });
        change("without data", [](AttributeProto& x) { x.mutable_t()->clear_raw_data(); });
        break;
      default:
        break;
    }
  }

  void operands() {
    for (int i = 0; i < node_.input_size(); ++i) {
      add(fmt::format("input {} absent", i), [i](OpModel& m) { node_of(m).set_input(i, ""); });
      for (int other = 0; other < node_.input_size(); ++other)
        if (other != i) add(fmt::format("input {} is input {}", i, other), [i, other](OpModel& m) { node_of(m).set_input(i, node_of(m).input(other)); });
    }
    if (node_.input_size() > 0) {
      add("one input fewer", [](OpModel& m) { node_of(m).mutable_input()->RemoveLast(); });
      add("one input more", [](OpModel& m) { node_of(m).add_input(node_of(m).input(0)); });
    }
    add("one output more", [](OpModel& m) { node_of(m).add_output("more"); m.model.output("more"); });
  }

  /// Graph input `i` has this value; its type says so, or only the rank, or nothing.
  static void give(OpModel& m, int i, Tensor value, int known) {
    auto* type = m.model.graph().mutable_input(i)->mutable_type()->mutable_tensor_type();
    type->clear_shape();
    if (known > 0) type->mutable_shape();
    for (int64_t axis = 0; axis < value.rank() && known > 0; ++axis) {
      auto* dim = type->mutable_shape()->add_dim();
      if (known > 1) dim->set_dim_value(value.dim(axis));
      else dim->set_dim_param(fmt::format("d{}_{}", i, axis));
    }
    m.inputs[static_cast<size_t>(i)] = std::move(value);
  }

  static std::vector<std::pair<std::string, Tensor>> other_shapes(const Tensor& t) {
    std::vector<Shape> shapes{{}, {0}};
    for (int64_t axis = 0; axis < t.rank(); ++axis) {
      for (int64_t size : {int64_t{0}, int64_t{1}, t.dim(axis) - 1, t.dim(axis) + 1}) {
        Shape s = t.shape();
        s[static_cast<size_t>(axis)] = std::max<int64_t>(size, 0);
        if (s != t.shape()) shapes.push_back(s);
      }
      Shape s = t.shape();
      s.erase(s.begin() + axis);
      shapes.push_back(s);
    }
    Shape longer = t.shape();
    longer.push_back(2);
    shapes.push_back(longer);
    std::vector<std::pair<std::string, Tensor>> out;
    for (const Shape& shape : shapes) {
      Tensor made = *Tensor::zeros(t.dtype(), shape);
      for (int64_t k = 0; k < made.size() && t.size() > 0; ++k) copy(t, k % t.size(), made, k);
      out.emplace_back(to_string(shape), std::move(made));
    }
    return out;
  }

  static void copy(const Tensor& from, int64_t a, Tensor& to, int64_t b) {
    if (from.dtype() == DType::kString) to.mutable_strings()[static_cast<size_t>(b)] = from.string_values()[static_cast<size_t>(a)];
    else if (is_float(from.dtype())) to.set_double(b, from.at_double(a));
    else if (is_int(from.dtype()) || from.dtype() == DType::kBool) to.set_int(b, from.at_int(a));
  }

  static std::vector<std::pair<std::string, Tensor>> other_contents(const Tensor& t) {
    std::vector<std::pair<std::string, Tensor>> out;
    if (t.size() == 0) return out;
    const auto put = [&](std::string text, const std::function<void(Tensor&, int64_t)>& set) {
      for (int64_t at : {int64_t{0}, t.size() - 1}) {
        Tensor made = *Tensor::zeros(t.dtype(), t.shape());
        for (int64_t k = 0; k < t.size(); ++k) copy(t, k, made, k);
        set(made, at);
        out.emplace_back(fmt::format("[{}] = {}", at, text), std::move(made));
        if (t.size() == 1) break;
      }
    };
    if (t.dtype() == DType::kI64 || t.dtype() == DType::kI32) {
      for (int64_t v : kInts)
        if (t.dtype() == DType::kI64 || v == static_cast<int32_t>(v)) put(fmt::format("{}", v), [v](Tensor& x, int64_t at) { x.set_int(at, v); });
      if (t.dtype() == DType::kI32) put("INT32_MIN", [](Tensor& x, int64_t at) { x.set_int(at, INT32_MIN); });
    } else if (is_float(t.dtype()) && bits(t.dtype()) >= 16) {
      for (float v : kFloats) put(fmt::format("{}", v), [v](Tensor& x, int64_t at) { x.set_double(at, v); });
    }
    return out;
  }

  void graph_input(int i) {
    const Tensor* t = std::get_if<Tensor>(&base_.inputs[static_cast<size_t>(i)]);
    if (t == nullptr) return;
    const std::string name = fmt::format("input '{}'", graph_.input(i).name());
    for (int known : {2, 1, 0}) {
      const char* seen = known == 2 ? "" : known == 1 ? ", dims unknown" : ", rank unknown";
      if (known < 2) add(name + seen, [i, v = *t, known](OpModel& m) { give(m, i, v, known); });
      for (auto& [text, value] : other_shapes(*t))
        add(fmt::format("{} of shape {}{}", name, text, seen), [i, value = std::move(value), known](OpModel& m) { give(m, i, value, known); });
      if (known == 0) continue;
      for (auto& [text, value] : other_contents(*t))
        add(fmt::format("{}{}{}", name, text, seen), [i, value = std::move(value), known](OpModel& m) { give(m, i, value, known); });
    }
  }

  /// The initializer with other contents, and as a graph input that has them.
  void initializer(int i) {
    const onnx::TensorProto& proto = graph_.initializer(i);
    if (proto.data_type() == onnx::TensorProto::STRING) return;
    const auto dtype = dtype_from_onnx(proto.data_type());
    if (!dtype || !proto.has_raw_data() || is_packed(*dtype)) return;
    Tensor t = *Tensor::zeros(*dtype, Shape(proto.dims().begin(), proto.dims().end()));
    if (proto.raw_data().size() != t.bytes()) return;
    std::memcpy(t.mutable_data(), proto.raw_data().data(), t.bytes());
    const auto both = [&](const std::string& text, const Tensor& value) {
      const std::string what = fmt::format("initializer '{}'{}", proto.name(), text);
      add(what, [i, value](OpModel& m) {
        onnx::TensorProto& p = *m.model.graph().mutable_initializer(i);
        p.clear_dims();
        for (int64_t d : value.shape()) p.add_dims(d);
        p.set_raw_data(value.data(), value.bytes());
      });
      for (int known : {2, 1})
        add(what + (known == 2 ? ", as input" : ", as input, dims unknown"), [i, value, known](OpModel& m) {
          onnx::GraphProto& g = m.model.graph();
          auto* input = g.add_input();
          input->set_name(g.initializer(i).name());
          input->mutable_type()->mutable_tensor_type()->set_elem_type(g.initializer(i).data_type());
          g.mutable_initializer()->DeleteSubrange(i, 1);
          m.inputs.emplace_back(value);
          give(m, static_cast<int>(m.inputs.size()) - 1, value, known);
        });
    };
    both("", t);
    for (const auto& [text, value] : other_shapes(t)) both(" of shape " + text, value);
    for (const auto& [text, value] : other_contents(t)) both(text, value);
  }

  const OpModel& base_;
  const onnx::GraphProto& graph_;
  const onnx::NodeProto& node_;
  std::vector<Mutation> out_;
};

}  // namespace

std::vector<Mutation> mutations_of(const OpModel& base) { return Collector(base).run(); }

}  // namespace tenon::differential
