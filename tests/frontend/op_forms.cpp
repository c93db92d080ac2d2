#include "tests/frontend/op_forms.h"

#include <algorithm>
#include <complex>

namespace tenon::frontend::testing {
namespace {

std::vector<std::string> words(std::string_view text, char separator = ' ') {
  std::vector<std::string> out;
  while (!text.empty()) {
    const size_t at = std::min(text.find(separator), text.size());
    if (at > 0) out.emplace_back(text.substr(0, at));
    text.remove_prefix(std::min(at + 1, text.size()));
  }
  return out;
}

/// Complex numbers get an imaginary part of 10 more.
void set_number(Tensor& t, int64_t i, double value) {
  const auto at = static_cast<size_t>(i);
  if (t.dtype() == DType::kC64)
    t.mutable_span<std::complex<float>>()[at] = {static_cast<float>(value), static_cast<float>(value + 10)};
  else if (t.dtype() == DType::kC128)
    t.mutable_span<std::complex<double>>()[at] = {value, value + 10};
  else
    t.set_double(i, value);
}

/// `f32[2,3]`, `i64{1,2}`, `i64:3` taken apart.
struct TensorText {
  DType dtype;
  Shape shape;
  std::vector<std::string> values;
  bool constant;

  explicit TensorText(const std::string& text) {
    const size_t at = text.find_first_of("[{:");
    TENON_CHECK(at != std::string::npos);
    dtype = *dtype_from_name(text.substr(0, at));
    constant = text[at] != '[';
    const size_t open = text.find('[');
    if (text[at] == ':') values = {text.substr(at + 1)};
    if (text[at] == '{') values = words(text.substr(at + 1, text.find('}') - at - 1), ',');
    if (open != std::string::npos)
      for (const std::string& d : words(text.substr(open + 1, text.size() - open - 2), ','))
        shape.push_back(std::stoll(d));
    else if (text[at] == '{')
      shape = {static_cast<int64_t>(values.size())};
  }
  onnx::TypeProto type() const {
    onnx::TypeProto out;
    std::vector<std::string> dims;
    for (int64_t d : shape) dims.push_back(std::to_string(d));
    set_shape(out, dtype, dims);
    return out;
  }
  onnx::TensorProto proto(const std::string& name) const {
    onnx::TensorProto t;
    t.set_name(name);
    t.set_data_type(info(dtype).onnx);
    for (int64_t d : shape) t.add_dims(d);
    if (dtype == DType::kString) {
      for (const std::string& v : values) t.add_string_data(v);
      return t;
    }
    const Tensor data = value();
    t.set_raw_data(data.data(), data.bytes());
    return t;
  }
  Tensor value() const {
    Tensor data = *Tensor::zeros(dtype, shape);
    TENON_CHECK(std::ssize(values) == data.size());
    if (dtype == DType::kString) data.mutable_strings() = values;
    for (size_t i = 0; i < values.size() && dtype != DType::kString; ++i)
      set_number(data, static_cast<int64_t>(i), std::stod(values[i]));
    return data;
  }
  Tensor sample() const {
    Tensor t = *Tensor::zeros(dtype, shape);
    for (int64_t i = 0; i < t.size(); ++i) {
      const int64_t step = (i * 7 + 3) % 16;
      if (dtype == DType::kString)
        t.mutable_strings()[static_cast<size_t>(i)] = std::string(1, static_cast<char>('a' + step % 4));
      else if (dtype == DType::kBool)
        t.set_int(i, step % 2);
      else if (is_int(dtype))
        t.set_int(i, step % 4);
      else
        set_number(t, i, static_cast<double>(step) / 4 - 2);
    }
    return t;
  }
};

class OpModelMaker {
 public:
  OpModelMaker(int64_t opset, bool constants_as_inputs)
      : made{Model(opset), {}, {}}, constants_as_inputs_(constants_as_inputs) {}

  std::string input(const std::string& text) {
    if (text == "-") return {};
    const std::string name = "in" + std::to_string(count_++);
    const auto inner = [&](size_t head) { return text.substr(head, text.size() - head - 1); };
    if (text.starts_with("seq(")) {
      const std::string a = input(inner(4)), b = input(inner(4));
      made.model.node("SequenceConstruct", {a, b}, {name});
    } else if (text.starts_with("opt(")) {
      made.model.node("Optional", {input(inner(4))}, {name});
    } else if (text.starts_with("map(")) {
      map(name, words(inner(4), ','));
    } else if (const TensorText tensor(text); tensor.constant && !constants_as_inputs_) {
      *made.model.graph().add_initializer() = tensor.proto(name);
    } else {
      auto* info = made.model.graph().add_input();
      info->set_name(name);
      *info->mutable_type() = tensor.type();
      if (tensor.constant) operand_ = -1;
      add_input(tensor.constant ? tensor.value() : tensor.sample());
    }
    return name;
  }
  /// The next input() makes this input of the node.
  void set_operand(int i) { operand_ = i; }

  void attribute(onnx::NodeProto& node, const std::string& text) {
    const size_t at = text.find('=');
    const std::string name = text.substr(0, at), value = text.substr(at + 1);
    if (value[0] == '@') {
      *add_attr(node, name, onnx::AttributeProto::GRAPH).mutable_g() = graph(value.substr(1));
    } else if (value[0] == '<') {
      *add_attr(node, name, onnx::AttributeProto::TYPE_PROTO).mutable_tp() =
          TensorText(value.substr(1, value.size() - 2)).type();
    } else if (value == "sparse") {
      auto& sparse = *add_attr(node, name, onnx::AttributeProto::SPARSE_TENSOR).mutable_sparse_tensor();
      *sparse.mutable_values() = floats("", {1}, {5});
      *sparse.mutable_indices() = ints("", {1}, {2});
      sparse.add_dims(4);
    } else if (value[0] == '[') {
      list(node, name, words(value.substr(1, value.size() - 2), ','));
    } else if (value.find('{') != std::string::npos) {
      *add_attr(node, name, onnx::AttributeProto::TENSOR).mutable_t() = TensorText(value).proto({});
    } else if (!is_number(value)) {
      attr(node, name, value.c_str());
    } else if (value.find('.') != std::string::npos) {
      attr(node, name, std::stof(value));
    } else {
      attr(node, name, static_cast<int64_t>(std::stoll(value)));
    }
  }

  OpModel made;

 private:
  static bool is_number(const std::string& s) { return s.find_first_not_of("-.0123456789") == std::string::npos; }

  void list(onnx::NodeProto& node, const std::string& name, const std::vector<std::string>& values) {
    const bool number = values.empty() || is_number(values[0]);
    const bool real = number && !values.empty() && values[0].find('.') != std::string::npos;
    auto& a = add_attr(node, name,
                       !number ? onnx::AttributeProto::STRINGS
                       : real  ? onnx::AttributeProto::FLOATS
                               : onnx::AttributeProto::INTS);
    for (const std::string& v : values) {
      if (!number)
        a.add_strings(v);
      else if (real)
        a.add_floats(std::stof(v));
      else
        a.add_ints(std::stoll(v));
    }
  }

  void map(const std::string& name, const std::vector<std::string>& types) {
    auto* info = made.model.graph().add_input();
    info->set_name(name);
    const DType key = *dtype_from_name(types[0]), value = *dtype_from_name(types[1]);
    auto* type = info->mutable_type()->mutable_map_type();
    type->set_key_type(tenon::info(key).onnx);
    set_shape(*type->mutable_value_type(), value, {});
    add_input(sample_map(key, value));
  }

  void add_input(HostValue value) {
    made.inputs.push_back(std::move(value));
    made.operands.push_back(operand_);
  }

  static HostValue sample_map(DType key, DType value) {
    const auto fill = [&](auto first, auto second) {
      std::map<decltype(first), Tensor> entries;
      for (const auto& k : {first, second}) entries.emplace(k, TensorText(std::string(name_of(value)) + "[]").sample());
      return entries;
    };
    auto out = std::make_shared<MapValue>();
    if (key == DType::kString)
      out->entries = fill(std::string("a"), std::string("b"));
    else
      out->entries = fill(int64_t{1}, int64_t{3});
    return out;
  }
  static std::string_view name_of(DType dtype) { return tenon::name(dtype); }

  static onnx::GraphProto graph(const std::string& text);

  bool constants_as_inputs_;
  int count_ = 0, operand_ = 0;
};

void graph_input(onnx::GraphProto& g, const std::string& name, DType dtype, const std::vector<std::string>& dims) {
  auto* info = g.add_input();
  info->set_name(name);
  set_shape(*info->mutable_type(), dtype, dims);
}

/// `f32[2]`, `seq(f32[2])`, `opt(f32[2])` as the type of a value.
onnx::TypeProto value_type(const std::string& text) {
  onnx::TypeProto out;
  const std::string inner = text.size() > 5 ? text.substr(4, text.size() - 5) : "";
  if (text.starts_with("seq("))
    *out.mutable_sequence_type()->mutable_elem_type() = value_type(inner);
  else if (text.starts_with("opt("))
    *out.mutable_optional_type()->mutable_elem_type() = value_type(inner);
  else
    out = TensorText(text).type();
  return out;
}

/// Makes a constant of that type, of small values.
void add_constant(onnx::GraphProto& g, const std::string& text, const std::string& name) {
  if (text.starts_with("seq(") || text.starts_with("opt(")) {
    add_constant(g, text.substr(4, text.size() - 5), name + "_item");
    add_node(g, text.starts_with("seq(") ? "SequenceConstruct" : "Optional", {name + "_item"}, {name});
    return;
  }
  TensorText tensor(text);
  for (int i = 0; i < 2; ++i) tensor.values.push_back(std::to_string(i + 1));
  auto& node = add_node(g, "Constant", {}, {name});
  *add_attr(node, "value", onnx::AttributeProto::TENSOR).mutable_t() = tensor.proto({});
}

/// Bodies that hand values of any type on: `const` gives a constant of 2 elements, `state` keeps the state of a Loop and scans
/// it, `carry` only keeps it, `steps` is a Scan whose state is the last element, `copy` gives its last input.
void fill_graph(onnx::GraphProto& g, const std::string& name, const std::vector<std::string>& types) {
  const auto input = [&](const std::string& input_name, const onnx::TypeProto& type) {
    auto* info = g.add_input();
    info->set_name(input_name);
    *info->mutable_type() = type;
  };
  const auto output = [&](const std::string& from, const std::string& to) {
    add_node(g, "Identity", {from}, {to});
    g.add_output()->set_name(to);
  };
  if (name == "const") {
    add_constant(g, types[0], "constant");
    g.add_output()->set_name("constant");
  } else if (name == "state" || name == "carry") {
    input("i", value_type("i64[]"));
    input("go", value_type("bool[]"));
    input("s", value_type(types[0]));
    output("go", "on");
    output("s", "t");
    if (name == "state") output("s", "scanned");
  } else if (name == "steps") {
    input("s", value_type(types[0]));
    input("x", value_type(types[0]));
    output("x", "t");
    output("s", "scanned");
  } else {
    TENON_CHECK(name == "copy");
    for (size_t i = 0; i < types.size(); ++i) input("x" + std::to_string(i), value_type(types[i]));
    output("x" + std::to_string(types.size() - 1), "y");
  }
}

/// Bodies of f32: `then` and `else` give a constant, `loop` adds 1 to a state f32[2] and scans it, `scan` adds the element to
/// the state and scans the sum, `map` negates.
onnx::GraphProto OpModelMaker::graph(const std::string& text) {
  const size_t colon = text.find(':');
  const std::string name = text.substr(0, colon);
  onnx::GraphProto g;
  g.set_name(name);
  if (colon != std::string::npos)
    fill_graph(g, name, words(text.substr(colon + 1), '|'));
  else if (name == "then" || name == "else") {
    auto& node = add_node(g, "Constant", {}, {name});
    *add_attr(node, "value", onnx::AttributeProto::TENSOR).mutable_t() =
        floats("", {2}, {1, name == "then" ? 2.F : 3.F});
    g.add_output()->set_name(name);
  } else if (name == "loop") {
    graph_input(g, "i", DType::kI64, {});
    graph_input(g, "go", DType::kBool, {});
    graph_input(g, "s", DType::kF32, {"2"});
    add_node(g, "Identity", {"go"}, {"on"});
    add_node(g, "Exp", {"s"}, {"t"});
    add_node(g, "Identity", {"t"}, {"scanned"});
    for (const char* o : {"on", "t", "scanned"}) g.add_output()->set_name(o);
  } else if (name == "scan") {
    graph_input(g, "s", DType::kF32, {"2"});
    graph_input(g, "x", DType::kF32, {"2"});
    add_node(g, "Add", {"s", "x"}, {"t"});
    add_node(g, "Identity", {"t"}, {"scanned"});
    for (const char* o : {"t", "scanned"}) g.add_output()->set_name(o);
  } else {
    TENON_CHECK(name == "map");
    graph_input(g, "x", DType::kF32, {"2"});
    add_node(g, "Neg", {"x"}, {"y"});
    g.add_output()->set_name("y");
  }
  return g;
}

// clang-format off
constexpr OpForm kForms[] = {
    // Elementwise: attributes about memory below 6, broadcasting by attribute below 7.
    {"Abs Ceil Exp Floor Log Neg Reciprocal Relu Sigmoid Sqrt Tanh", 1, "f32[2,3]", "consumed_inputs=[0]"},
    {"Abs Ceil Exp Floor Log Neg Reciprocal Relu Sigmoid Sqrt Tanh", 6, "f32[2,3]"},
    {"Acos Acosh Asin Asinh Atan Atanh Cos Cosh Erf Sin Sinh Tan Sign HardSwish Mish IsNaN IsInf Round Softplus Softsign", 1, "f32[2,3]"},
    {"Add Sub Mul Div", 1, "f32[2,3,4] f32[3]", "axis=1 broadcast=1 consumed_inputs=[0,0]"},
    {"Add Sub Mul Div", 6, "f32[2,3,4] f32[3,4]", "broadcast=1"},
    {"Add Sub Mul Div", 7, "f32[2,3,4] f32[3,1]"},
    {"Pow Greater Less", 1, "f32[2,3,4] f32[3]", "axis=1 broadcast=1"},
    {"Pow Greater Less", 7, "f32[2,3,4] f32[3,1]"},
    {"Pow", 12, "f32[2,3] i32[3]"},
    {"GreaterOrEqual LessOrEqual", 12, "f32[2,3] f32[3]"},
    {"Equal", 1, "i32[2,3,4] i32[3]", "axis=1 broadcast=1"},
    {"Equal", 7, "i32[2,3] i32[3]"},
    {"Equal", 11, "f32[2,3] f32[3]"},
    {"Equal", 19, "string[2,3] string[3]"},
    {"And Or Xor", 1, "bool[2,3,4] bool[3]", "axis=1 broadcast=1"},
    {"And Or Xor", 7, "bool[2,3] bool[3]"},
    {"Not", 1, "bool[2,3]"},
    {"BitShift", 11, "u8[2,3] u8[3]", "direction=LEFT"},
    {"BitwiseAnd BitwiseOr BitwiseXor", 18, "i16[2,3] i16[3]"},
    {"BitwiseNot", 18, "i16[2,3]"},
    {"Mod", 10, "f32[2,3] f32[3]", "fmod=1"},
    {"Max Min Mean Sum", 1, "f32[2,3] f32[2,3] f32[2,3]", "consumed_inputs=[0,0,0]"},
    {"Max Min Mean Sum", 6, "f32[2,3] f32[2,3]"},
    {"Max Min Mean Sum", 8, "f32[2,3] f32[3]"},
    {"Where", 9, "bool[2,3] f32[3] f32[2,1]"},
    {"Clip", 1, "f32[2,3]", "consumed_inputs=[0] max=1.0 min=-1.0"},
    {"Clip", 6, "f32[2,3]", "min=-1.0"},
    {"Clip", 11, "f32[2,3] - f32[]"},
    {"Elu LeakyRelu", 1, "f32[2,3]", "alpha=0.5 consumed_inputs=[0]"},
    {"Elu LeakyRelu", 6, "f32[2,3]", "alpha=0.5"},
    {"Celu Swish ThresholdedRelu", 1, "f32[2,3]", "alpha=0.5"},
    {"SwiGLU", 28, "f32[2,3] f32[2,3]", "alpha=0.5"},
    {"Gelu", 20, "f32[2,3]", "approximate=tanh"},
    {"HardSigmoid", 1, "f32[2,3]", "alpha=0.5 beta=0.25 consumed_inputs=[0]"},
    {"HardSigmoid", 6, "f32[2,3]", "alpha=0.5 beta=0.25"},
    {"Selu", 1, "f32[2,3]", "consumed_inputs=[0]"},
    {"Selu", 6, "f32[2,3]", "alpha=1.5 gamma=1.25"},
    {"PRelu", 1, "f32[2,3,2] f32[3]", "consumed_inputs=[0]"},
    {"PRelu", 6, "f32[2,3,2] f32[3]"},
    {"PRelu", 7, "f32[2,3,2] f32[3,1]"},
    {"Shrink", 9, "f32[2,3]", "bias=0.5 lambd=1.0"},
    {"Affine ParametricSoftplus ScaledTanh", 1, "f32[2,3]", "alpha=0.5 beta=2.0"},
    {"Scale", 1, "f32[2,3]", "scale=3.0"},
    {"ImageScaler", 1, "f32[1,2,2,2]", "bias=[1.0,2.0] scale=0.5"},
    // Casts and constants.
    {"Cast", 1, "f32[2,3]", "to=INT64"},
    {"Cast", 6, "f32[2,3]", "to=7"},
    {"Cast", 9, "string{1,2.5}", "to=1"},
    {"Cast", 19, "f32[2,3]", "to=17 saturate=0"},
    {"Cast", 24, "f32[2,3]", "to=24 round_mode=down"},
    {"CastLike", 15, "f32[2,3] i64[1]"},
    {"CastLike", 19, "f32[2,3] f8e5m2[1]", "saturate=0"},
    {"CastLike", 24, "f32[2,3] f8e8m0[1]", "round_mode=nearest"},
    {"BitCast", 26, "f32[2,3]", "to=6"},
    {"Constant", 1, "", "value=f32{1,2}"},
    {"Constant", 11, "", "sparse_value=sparse"},
    {"Constant", 12, "", "value_floats=[1.5,2.5]"},
    {"ConstantFill", 1, "", "shape=[2,3] value=4.5 dtype=1"},
    {"GivenTensorFill", 1, "", "shape=[2] values=[4.5,5.5]"},
    {"ConstantOfShape", 9, "i64{2,3}", "value=i32{7}"},
    {"EyeLike", 9, "i32[2,3]", "dtype=1 k=1"},
    {"Identity Shape Size NonZero", 1, "f32[2,3]"},
    {"Shape", 15, "f32[2,3,4]", "start=1 end=-1"},
    {"Range", 11, "i64:1 i64:9 i64:3"},
    {"Range", 27, "f32:1 f32:9 f32:3", "stash_type=1"},
    {"RandomNormal", 1, "", "shape=[2,3] mean=1.0 scale=2.0 seed=1.0 dtype=1"},
    {"RandomUniform", 1, "", "shape=[2,3] low=1.0 high=2.0 seed=1.0 dtype=1"},
    {"RandomNormalLike", 1, "f32[2,3]", "mean=1.0 scale=2.0 seed=1.0"},
    {"RandomUniformLike", 1, "f32[2,3]", "low=1.0 high=2.0 seed=1.0"},
    {"Bernoulli", 15, "f32{0.5,0.25}", "dtype=1 seed=1.0"},
    {"Multinomial", 7, "f32[2,3]", "sample_size=4 dtype=7 seed=1.0"},
    {"HannWindow HammingWindow BlackmanWindow", 17, "i64:8", "periodic=0 output_datatype=1"},
    {"MelWeightMatrix", 17, "i64:4 i64:16 i64:8000 f32:0 f32:4000"},
    // Shapes and movement.
    {"Concat", 1, "f32[2,3] f32[2,1]"},
    {"Concat", 4, "f32[2,3] f32[1,3]", "axis=0"},
    {"Flatten", 1, "f32[2,3,4]", "axis=2"},
    {"Reshape", 1, "f32[2,3]", "shape=[0,-1] consumed_inputs=[0]"},
    {"Reshape", 5, "f32[2,3] i64{3,-1}"},
    {"Reshape", 14, "f32[0,3] i64{0,3}", "allowzero=1"},
    {"Squeeze", 1, "f32[2,1,3]", "axes=[1]"},
    {"Squeeze", 13, "f32[2,1,3] i64{1}"},
    {"Unsqueeze", 1, "f32[2,3]", "axes=[0,2]"},
    {"Unsqueeze", 13, "f32[2,3] i64{0,-1}"},
    {"Expand", 8, "f32[2,1] i64{1,2,3}"},
    {"Tile", 1, "f32[2,3] f32:2 f32:1"},
    {"Tile", 6, "f32[2,3] i64{2,1}"},
    {"Transpose", 1, "f32[2,3,4]", "perm=[2,0,1]"},
    {"Slice", 1, "f32[4,5]", "axes=[1] ends=[-1] starts=[1]"},
    {"Slice", 10, "f32[4,5] i64{3} i64{0} i64{0} i64{-1}"},
    {"DynamicSlice", 1, "f32[4,5] i64{1} i64{3} i64{1}"},
    {"Crop", 1, "f32[1,2,5,6]", "border=[1,0,2,1]"},
    {"Split", 1, "f32[4,3] f32{1,3}", "axis=0", 2},
    {"Split", 2, "f32[4,3]", "split=[1,3]", 2},
    {"Split", 13, "f32[4,3] i64{1,3}", "axis=0", 2},
    {"Split", 18, "f32[5,3]", "num_outputs=2", 2},
    {"Pad", 1, "f32[2,3]", "mode=reflect paddings=[0,1,0,2]"},
    {"Pad", 2, "f32[2,3]", "pads=[0,1,1,0] value=2.0"},
    {"Pad", 11, "f32[2,3] i64{0,1,1,0} f32:7", "mode=constant"},
    {"Pad", 18, "f32[2,3] i64{1,1} - i32{1}", "mode=edge"},
    {"Pad", 19, "f32[2,3] i64{1,1} - i64{-1}", "mode=wrap"},
    {"CenterCropPad", 18, "f32[4,5] i64{2}", "axes=[1]"},
    {"DepthToSpace", 1, "f32[1,4,2,2]", "blocksize=2"},
    {"DepthToSpace", 11, "f32[1,4,2,2]", "blocksize=2 mode=CRD"},
    {"SpaceToDepth", 1, "f32[1,1,4,4]", "blocksize=2"},
    {"Gather", 1, "f32[4,3] i64{1,0}", "axis=0"},
    {"GatherElements", 11, "f32[4,3] i64[2,3]", "axis=0"},
    {"GatherND", 11, "f32[4,3] i64[2,1]"},
    {"GatherND", 12, "f32[2,3] i64{1,2}[2,1]", "batch_dims=1"},
    {"Scatter ScatterElements", 1, "f32[4] i64{1,0} f32[2]", "axis=0"},
    {"ScatterElements", 16, "f32[4] i64{1,1} f32[2]", "axis=0 reduction=add"},
    {"ScatterElements", 18, "f32[4] i64{1,1} f32[2]", "axis=0 reduction=max"},
    {"ScatterND", 11, "f32[4,3] i64[1,1] f32[1,3]"},
    {"ScatterND", 16, "f32[4,3] i64[1,1] f32[1,3]", "reduction=mul"},
    {"ScatterND", 18, "f32[4,3] i64[1,1] f32[1,3]", "reduction=min"},
    {"TensorScatter", 24, "f32[1,4,3] f32[1,2,3] i64{1}", "axis=1"},
    {"Compress", 9, "f32[2,3] bool[3]", "axis=1"},
    {"OneHot", 9, "i64[2] i64:4 f32{0,1}", "axis=0"},
    {"ReverseSequence", 10, "f32[4,2] i64{2,3}", "time_axis=0 batch_axis=1"},
    {"Trilu", 14, "f32[3,3] i64:1", "upper=0"},
    {"Unique", 11, "f32[4,2]", "axis=0 sorted=1", 4},
    {"TopK", 1, "f32[2,3]", "axis=1 k=2", 2},
    {"TopK", 10, "f32[2,3] i64{2}", "axis=-1", 2},
    {"TopK", 11, "f32[2,3] i64{2}", "largest=0 sorted=1", 2},
    {"Col2Im", 18, "f32[1,4,4] i64{3,3} i64{2,2}"},
    // Reductions.
    {"ArgMax ArgMin", 1, "f32[2,3]", "axis=1 keepdims=0"},
    {"ArgMax ArgMin", 12, "f32[2,3]", "axis=-1 select_last_index=1"},
    {"ReduceL1 ReduceL2 ReduceLogSum ReduceLogSumExp ReduceMax ReduceMean ReduceMin ReduceProd ReduceSum ReduceSumSquare", 1,
     "f32[2,3,4]", "axes=[0,2] keepdims=0"},
    {"ReduceSum", 13, "f32[2,3] i64{-1}", "noop_with_empty_axes=1"},
    {"ReduceL1 ReduceL2 ReduceLogSum ReduceLogSumExp ReduceMax ReduceMean ReduceMin ReduceProd ReduceSumSquare", 18,
     "f32[2,3] i64{-1}", "keepdims=0 noop_with_empty_axes=1"},
    {"CumSum CumProd", 11, "f32[2,3] i64:1", "exclusive=1 reverse=1"},
    {"Softmax LogSoftmax Hardmax", 1, "f32[2,3,4]", "axis=1"},
    {"Softmax LogSoftmax Hardmax", 13, "f32[2,3,4]", "axis=-2"},
    // Products.
    {"MatMul", 1, "f32[2,3,4] f32[4,2]"},
    {"MatMulInteger", 10, "u8[2,3] u8[3,4] u8:1 u8:2"},
    {"QLinearMatMul", 10, "u8[2,3] f32:0.5 u8:1 u8[3,4] f32:0.25 u8:2 f32:1 u8:3"},
    {"Gemm", 1, "f32[2,3] f32[4,3] f32[4]", "alpha=0.5 beta=2.0 broadcast=1 transA=0 transB=1"},
    {"Gemm", 7, "f32[2,3] f32[4,3] f32[4]", "alpha=0.5 beta=2.0 transB=1"},
    {"Gemm", 11, "f32[3,2] f32[3,4]", "transA=1"},
    {"Einsum", 12, "f32[2,3] f32[3,4]", "equation=ij,jk->ik"},
    {"Det", 11, "f32[2,3,3]"},
    {"Conv", 1, "f32[1,2,5,5] f32[4,1,3,3] f32[4]", "group=2 auto_pad=SAME_UPPER strides=[2,2] kernel_shape=[3,3]"},
    {"ConvInteger", 10, "u8[1,1,4,4] u8[1,1,2,2] u8:1 u8:2"},
    {"QLinearConv", 10, "u8[1,1,4,4] f32:0.5 u8:1 u8[1,1,2,2] f32:0.5 u8:1 f32:0.5 u8:1 i32[1]"},
    {"ConvTranspose", 1, "f32[1,2,3,3] f32[2,1,2,2]", "strides=[2,2] output_padding=[1,1]"},
    {"DeformConv", 19, "f32[1,1,3,3] f32[1,1,2,2] f32[1,8,2,2]"},
    {"CausalConvWithState", 27, "f32[1,2,5] f32[2,1,3]", "activation=silu", 2},
    // Pooling.
    {"AveragePool", 1, "f32[1,1,5,5]", "auto_pad=SAME_LOWER kernel_shape=[2,2] strides=[2,2]"},
    {"AveragePool", 7, "f32[1,1,5,5]", "count_include_pad=1 kernel_shape=[3,3] pads=[1,1,1,1]"},
    {"AveragePool", 10, "f32[1,1,5,5]", "ceil_mode=1 kernel_shape=[2,2] strides=[2,2]"},
    {"AveragePool", 19, "f32[1,1,5,5]", "dilations=[2,2] kernel_shape=[2,2]"},
    {"MaxPool", 1, "f32[1,1,5,5]", "auto_pad=VALID kernel_shape=[2,2] strides=[2,2]"},
    {"MaxPool", 8, "f32[1,1,4,5]", "kernel_shape=[2,2] storage_order=1", 2},
    {"MaxPool", 10, "f32[1,1,5,5]", "ceil_mode=1 dilations=[2,2] kernel_shape=[2,2]"},
    {"MaxPool", 12, "i8[1,1,5,5]", "kernel_shape=[2,2]"},
    {"LpPool", 1, "f32[1,1,5,5]", "kernel_shape=[2,2] p=3.0"},
    {"LpPool", 2, "f32[1,1,5,5]", "kernel_shape=[2,2] p=3 pads=[0,1,0,1]"},
    {"LpPool", 18, "f32[1,1,5,5]", "kernel_shape=[2,2] p=1 ceil_mode=1 dilations=[1,1] strides=[2,2]"},
    {"GlobalAveragePool GlobalMaxPool", 1, "f32[1,2,3,4]"},
    {"GlobalLpPool", 1, "f32[1,2,3,4]", "p=3.0"},
    {"GlobalLpPool", 2, "f32[1,2,3,4]", "p=3"},
    {"MaxUnpool", 9, "f32[1,1,2,2] i64[1,1,2,2] i64{1,1,5,5}", "kernel_shape=[2,2] strides=[2,2]"},
    {"MaxRoiPool", 1, "f32[1,1,4,4] f32{0,0,0,3,3}[1,5]", "pooled_shape=[2,2] spatial_scale=1.0"},
    {"RoiAlign", 10, "f32[1,1,4,4] f32[1,4] i64{0}", "output_height=2 output_width=2 sampling_ratio=2 mode=max"},
    {"RoiAlign", 16, "f32[1,1,4,4] f32[1,4] i64{0}", "coordinate_transformation_mode=half_pixel"},
    // Normalisation.
    {"BatchNormalization", 1, "f32[2,3,2] f32[3] f32[3] f32[3] f32{1,2,4}", "consumed_inputs=[0,0,0,1,1] is_test=1 spatial=1"},
    {"BatchNormalization", 6, "f32[2,3,2] f32[3] f32[3] f32[3] f32{1,2,4}", "is_test=1 momentum=0.5"},
    {"BatchNormalization", 7, "f32[2,3,2] f32[3,2] f32[3,2] f32[3,2] f32{1,2,3,4,5,6}[3,2]", "spatial=0"},
    {"BatchNormalization", 9, "f32[2,3,2] f32[3] f32[3] f32[3] f32{1,2,4}", "epsilon=0.25"},
    {"BatchNormalization", 14, "f32[2,3,2] f32[3] f32[3] f32[3] f32{1,2,4}", "training_mode=1", 3},
    {"InstanceNormalization", 1, "f32[2,3,2] f32[3] f32[3]", "consumed_inputs=[0,0,0] epsilon=0.25"},
    {"InstanceNormalization", 6, "f32[2,3,2] f32[3] f32[3]", "epsilon=0.25"},
    {"GroupNormalization", 18, "f32[2,4,2] f32[2] f32[2]", "num_groups=2"},
    {"GroupNormalization", 21, "f32[2,4,2] f32[4] f32[4]", "num_groups=2 stash_type=1"},
    {"LayerNormalization", 1, "f32[2,4] f32[4] f32[4]", "axis=-1 epsilon=0.25 stash_type=1", 3},
    {"SimplifiedLayerNormalization", 1, "f32[2,4] f32[4]", "axis=-1 epsilon=0.25 stash_type=1"},
    {"RMSNormalization", 23, "f32[2,4] f32[4]", "axis=-1 epsilon=0.25 stash_type=1"},
    {"LpNormalization", 1, "f32[2,4]", "axis=1 p=1"},
    {"MeanVarianceNormalization", 1, "f32[2,3,2,2]", "across_channels=1 normalize_variance=1"},
    {"MeanVarianceNormalization", 9, "f32[2,3,2,2]", "axes=[0,2,3]"},
    {"LRN", 1, "f32[1,5,2,2]", "alpha=0.5 beta=0.75 bias=2.0 size=3"},
    {"Dropout", 1, "f32[2,3]", "consumed_inputs=[0] is_test=1 ratio=0.25", 2},
    {"Dropout", 6, "f32[2,3]", "is_test=1 ratio=0.25", 2},
    {"Dropout", 7, "f32[2,3]", "ratio=0.25", 2},
    {"Dropout", 12, "f32[2,3] f32:0.25 bool:0", "seed=3", 2},
    {"NegativeLogLikelihoodLoss", 12, "f32[2,4] i64[2] f32[4]", "ignore_index=1 reduction=sum"},
    {"SoftmaxCrossEntropyLoss", 12, "f32[2,4] i64[2]", "reduction=none", 2},
    // Resizing and sampling.
    {"Upsample", 1, "f32[1,1,2,3]", "height_scale=2.0 width_scale=3.0 mode=nearest"},
    {"Upsample", 7, "f32[1,1,2,3]", "mode=linear scales=[1.0,1.0,2.0,2.0]"},
    {"Upsample", 9, "f32[1,1,2,3] f32{1,1,2,2}", "mode=nearest"},
    {"Resize", 10, "f32[1,1,2,3] f32{1,1,2,2}", "mode=linear"},
    {"Resize", 11, "f32[1,1,2,3] f32{} f32{1,1,2,2}", "mode=nearest coordinate_transformation_mode=tf_half_pixel_for_nn"},
    {"Resize", 13, "f32[1,1,2,3] - - i64{1,1,3,5}", "mode=cubic exclude_outside=1"},
    {"Resize", 18, "f32[1,1,4,6] - - i64{2,3}", "mode=linear antialias=1 axes=[2,3] keep_aspect_ratio_policy=not_larger"},
    {"Resize", 19, "f32[1,1,4,6] - f32{1,1,0.7,0.7}", "mode=linear coordinate_transformation_mode=half_pixel_symmetric"},
    {"ImageDecoder", 20, "u8{80,53,32,51,32,50,32,50,53,53,32,1,2,3,4,5,6}"},
    {"GridSample", 16, "f32[1,1,3,3] f32[1,2,2,2]", "mode=bicubic padding_mode=border align_corners=1"},
    {"GridSample", 20, "f32[1,1,3,3] f32[1,2,2,2]", "mode=cubic padding_mode=reflection"},
    {"AffineGrid", 20, "f32[1,2,3] i64{1,1,2,2}", "align_corners=1"},
    {"NonMaxSuppression", 10, "f32[1,3,4] f32[1,2,3] i64:2 f32:0.5 f32:0", "center_point_box=1"},
    // Sequences of steps.
    {"RNN", 1, "f32[2,1,3] f32[1,2,3] f32[1,2,2] f32[1,4]", "hidden_size=2 output_sequence=1 activations=[Tanh] clip=3.0 direction=forward", 2},
    {"RNN", 7, "f32[2,1,3] f32[2,2,3] f32[2,2,2]", "hidden_size=2 direction=bidirectional activations=[Relu,Tanh]", 2},
    {"RNN", 14, "f32[1,2,3] f32[1,2,3] f32[1,2,2]", "hidden_size=2 layout=1", 2},
    {"GRU", 1, "f32[2,1,3] f32[1,6,3] f32[1,6,2]", "hidden_size=2 output_sequence=0", 2},
    {"GRU", 3, "f32[2,1,3] f32[1,6,3] f32[1,6,2] f32[1,12]", "hidden_size=2 linear_before_reset=1 output_sequence=1", 2},
    {"GRU", 7, "f32[2,1,3] f32[1,6,3] f32[1,6,2] f32[1,12] i32{2} f32[1,1,2]", "hidden_size=2 linear_before_reset=1", 2},
    {"GRU", 14, "f32[1,2,3] f32[1,6,3] f32[1,6,2]", "hidden_size=2 layout=1 direction=reverse", 2},
    {"LSTM", 1, "f32[2,1,3] f32[1,8,3] f32[1,8,2]", "hidden_size=2 input_forget=0 output_sequence=1", 3},
    {"LSTM", 7, "f32[2,1,3] f32[1,8,3] f32[1,8,2] f32[1,16] i32{2} f32[1,1,2] f32[1,1,2] f32[1,6]", "hidden_size=2 input_forget=1", 3},
    {"LSTM", 14, "f32[1,2,3] f32[1,8,3] f32[1,8,2]", "hidden_size=2 layout=1", 3},
    {"LinearAttention", 27, "f32[1,2,4] f32[1,2,4] f32[1,2,4] - f32[1,2,2] f32[1,2,2]", "q_num_heads=2 kv_num_heads=2", 2},
    {"Attention", 23, "f32[1,2,3,4] f32[1,2,3,4] f32[1,2,3,4]", "is_causal=1 softcap=2.0 scale=0.5", 1},
    {"Attention", 24, "f32[1,2,3,4] f32[1,2,3,4] f32[1,2,3,4] - - - i64{2}", "qk_matmul_output_mode=1"},
    {"Attention", 25, "f32[1,2,3,4] f32[1,2,3,4] f32[1,2,3,4]", "is_causal=1 left_window_size=1 right_window_size=0"},
    {"RotaryEmbedding", 23, "f32[1,2,3,4] f32[1,3,2] f32[1,3,2]", "interleaved=1"},
    // Signals.
    {"DFT", 17, "f32[1,4,2] i64:4", "axis=1 inverse=0 onesided=0"},
    {"DFT", 20, "f32[1,4,1] - i64:1", "onesided=1"},
    {"STFT", 17, "f32[1,8,1] i64:2 f32[4] i64:4", "onesided=1"},
    // Quantisation.
    {"QuantizeLinear", 10, "f32[2,3] f32:0.5 u8:1"},
    {"QuantizeLinear", 13, "f32[2,3] f32{0.5,0.25} i8{1,2}", "axis=0"},
    {"QuantizeLinear", 19, "f32[2,3] f32:0.5 f8e4m3fn:0", "saturate=1"},
    {"QuantizeLinear", 21, "f32[2,4] f32[2,2]", "axis=1 block_size=2 output_dtype=3"},
    {"QuantizeLinear", 23, "f32[2,4] f32:0.5", "output_dtype=2 precision=1"},
    {"DequantizeLinear", 10, "u8[2,3] f32:0.5 u8:1"},
    {"DequantizeLinear", 13, "i8[2,3] f32{0.5,0.25} i8{1,2}", "axis=0"},
    {"DequantizeLinear", 21, "i8[2,4] f32[2,2]", "axis=1 block_size=2"},
    {"DequantizeLinear", 23, "i8[2,4] f32:0.5", "output_dtype=10"},
    {"DynamicQuantizeLinear", 11, "f32[2,3]", "", 3},
    // Control flow, sequences, optionals.
    {"If", 1, "bool[]", "else_branch=@else then_branch=@then"},
    {"Loop", 1, "i64:3 bool:1 f32[2]", "body=@loop", 2},
    {"Loop", 11, "i64:3 - f32[2]", "body=@loop", 2},
    {"Scan", 8, "- f32[3,2] f32[3,4,2]", "body=@scan directions=[1] num_scan_inputs=1", 2},
    {"Scan", 9, "f32[2] f32[2,4]", "body=@scan num_scan_inputs=1 scan_input_axes=[1] scan_input_directions=[1] scan_output_axes=[1] scan_output_directions=[1]", 2},
    {"SequenceConstruct", 11, "f32[2] f32[2]"},
    {"SequenceEmpty", 11, "", "dtype=7"},
    {"SequenceInsert", 11, "seq(f32[2]) f32[2] i64:1"},
    {"SequenceErase", 11, "seq(f32[2]) i64:0"},
    {"SequenceAt", 11, "seq(f32[2]) i64:1"},
    {"SequenceLength", 11, "seq(f32[2])"},
    {"SequenceMap", 17, "seq(f32[2])", "body=@map"},
    {"SplitToSequence", 11, "f32[4,2] i64:2", "axis=0 keepdims=1"},
    {"ConcatFromSequence", 11, "seq(f32[2])", "axis=0 new_axis=1"},
    {"Optional", 15, "", "type=<f32[2]>"},
    {"OptionalGetElement OptionalHasElement", 15, "opt(f32[2])"},
    {"OptionalHasElement", 18, "f32[2]"},
    // Strings.
    {"StringNormalizer", 10, "string[4]", "case_change_action=UPPER is_case_sensitive=1 stopwords=[a]"},
    {"StringConcat", 20, "string[4] string[1]"},
    {"StringSplit", 20, "string[4]", "delimiter=x maxsplit=1", 2},
    {"RegexFullMatch", 20, "string[4]", "pattern=a|b"},
    {"TfIdfVectorizer", 9, "i32[4]", "max_gram_length=2 max_skip_count=1 min_gram_length=1 mode=IDF ngram_counts=[0,2] ngram_indexes=[0,1,2] "
                                     "pool_int64s=[1,2,1,3] weights=[1.0,2.0,3.0]"},
    // Previews.
    {"ai.onnx.preview.training.Adagrad", 1, "f32:0.1 i64:3 f32[2] f32[2] f32[2]", "decay_factor=0.1 epsilon=0.00001 norm_coefficient=0.001", 2},
    {"ai.onnx.preview.training.Adam", 1, "f32:0.1 i64:3 f32[2] f32[2] f32[2] f32[2]", "alpha=0.9 beta=0.99 epsilon=0.00001 norm_coefficient=0.001", 3},
    {"ai.onnx.preview.training.Momentum", 1, "f32:0.1 i64:3 f32[2] f32[2] f32[2]", "alpha=0.9 beta=0.1 mode=nesterov norm_coefficient=0.001", 2},
    {"ai.onnx.preview.FlexAttention", 1, "f32[1,2,3,4] f32[1,2,3,4] f32[1,2,3,4]", "scale=0.5"},
    {"ai.onnx.preview.training.Gradient", 1, "f32[2]", "xs=[in0] y=in0"},
    // ai.onnx.ml.
    {"ai.onnx.ml.ArrayFeatureExtractor", 1, "f32[2,4] i64{1,3}"},
    {"ai.onnx.ml.Binarizer", 1, "f32[2,4]", "threshold=0.5"},
    {"ai.onnx.ml.CastMap", 1, "map(i64,f32)", "cast_to=TO_INT64 map_form=SPARSE max_map=5"},
    {"ai.onnx.ml.CategoryMapper", 1, "string[4]", "cats_int64s=[1,2] cats_strings=[a,b] default_int64=-7"},
    {"ai.onnx.ml.DictVectorizer", 1, "map(string,i64)", "string_vocabulary=[b,c,a]"},
    {"ai.onnx.ml.FeatureVectorizer", 1, "f32[2,1] f32[2,3]", "inputdimensions=[1,3]"},
    {"ai.onnx.ml.Imputer", 1, "f32[2,2]", "imputed_value_floats=[1.0,2.0] replaced_value_float=-2.0"},
    {"ai.onnx.ml.LabelEncoder", 1, "string[4]", "classes_strings=[a,b] default_int64=-7"},
    {"ai.onnx.ml.LabelEncoder", 2, "string[4]", "keys_strings=[a,b] values_floats=[1.0,2.0] default_float=-7.0"},
    {"ai.onnx.ml.LabelEncoder", 4, "i64[4]", "keys_tensor=i64{1,2} values_tensor=i16{5,6} default_tensor=i16{7}"},
    {"ai.onnx.ml.LinearClassifier", 1, "f32[2,2]", "classlabels_ints=[4,5] coefficients=[1.0,2.0,-1.0,-2.0] intercepts=[0.5,-0.5] multi_class=1 post_transform=SOFTMAX", 2},
    {"ai.onnx.ml.LinearRegressor", 1, "f32[2,2]", "coefficients=[1.0,2.0] intercepts=[0.5] post_transform=NONE targets=1"},
    {"ai.onnx.ml.Normalizer", 1, "f32[2,3]", "norm=L2"},
    {"ai.onnx.ml.OneHotEncoder", 1, "i64[4]", "cats_int64s=[1,2] zeros=1"},
    {"ai.onnx.ml.SVMClassifier", 1, "f32[2,2]", "classlabels_ints=[0,1] coefficients=[1.0,-1.0] kernel_params=[0.5,0.0,3.0] kernel_type=RBF rho=[0.25] "
                                               "support_vectors=[1.0,2.0,-1.0,0.5] vectors_per_class=[1,1]", 2},
    {"ai.onnx.ml.SVMRegressor", 1, "f32[2,2]", "coefficients=[1.0,-1.0] kernel_params=[0.5,0.0,3.0] kernel_type=LINEAR n_supports=2 rho=[0.25] support_vectors=[1.0,2.0,-1.0,0.5]"},
    {"ai.onnx.ml.Scaler", 1, "f32[2,2]", "offset=[1.0,2.0] scale=[3.0,4.0]"},
    {"ai.onnx.ml.TreeEnsemble", 5, "f32[2,2]", "aggregate_function=1 leaf_targetids=[0,0] leaf_weights=f32{1,2} n_targets=1 nodes_falseleafs=[1] nodes_falsenodeids=[1] "
                                              "nodes_featureids=[0] nodes_modes=u8{0} nodes_splits=f32{0.5} nodes_trueleafs=[1] nodes_truenodeids=[0] tree_roots=[0]"},
    {"ai.onnx.ml.TreeEnsembleClassifier", 1, "f32[2,2]", "class_ids=[0,1] class_nodeids=[1,2] class_treeids=[0,0] class_weights=[1.0,1.0] classlabels_int64s=[3,4] nodes_falsenodeids=[2,0,0] "
        "nodes_featureids=[0,0,0] nodes_modes=[BRANCH_LEQ,LEAF,LEAF] nodes_nodeids=[0,1,2] nodes_treeids=[0,0,0] nodes_truenodeids=[1,0,0] nodes_values=[0.5,0.0,0.0]", 2},
    {"ai.onnx.ml.TreeEnsembleClassifier", 3, "f64[2,2]", "class_ids=[0,1] class_nodeids=[1,2] class_treeids=[0,0] class_weights_as_tensor=f64{1,1} classlabels_strings=[x,y] nodes_falsenodeids=[2,0,0] "
        "nodes_featureids=[0,0,0] nodes_modes=[BRANCH_LEQ,LEAF,LEAF] nodes_nodeids=[0,1,2] nodes_treeids=[0,0,0] nodes_truenodeids=[1,0,0] nodes_values_as_tensor=f64{0.5,0,0}", 2},
    {"ai.onnx.ml.TreeEnsembleRegressor", 1, "f32[2,2]", "target_ids=[0,0] target_nodeids=[1,2] target_treeids=[0,0] target_weights=[1.0,2.0] n_targets=1 nodes_falsenodeids=[2,0,0] "
        "nodes_featureids=[0,0,0] nodes_modes=[BRANCH_LT,LEAF,LEAF] nodes_nodeids=[0,1,2] nodes_treeids=[0,0,0] nodes_truenodeids=[1,0,0] nodes_values=[0.5,0.0,0.0]"},
    {"ai.onnx.ml.TreeEnsembleRegressor", 3, "f64[2,2]", "target_ids=[0,0] target_nodeids=[1,2] target_treeids=[0,0] target_weights_as_tensor=f64{1,2} n_targets=1 nodes_falsenodeids=[2,0,0] "
        "nodes_featureids=[0,0,0] nodes_modes=[BRANCH_LT,LEAF,LEAF] nodes_nodeids=[0,1,2] nodes_treeids=[0,0,0] nodes_truenodeids=[1,0,0] nodes_values_as_tensor=f64{0.5,0,0} base_values_as_tensor=f64{0.5}"},
    {"ai.onnx.ml.ZipMap", 1, "f32[2,2]", "classlabels_strings=[x,y]"},
};
// clang-format on

}  // namespace

std::span<const OpForm> op_forms() { return kForms; }

const OpForm* find_form(std::string_view qualified, int64_t version) {
  const OpForm* found = nullptr;
  for (const OpForm& form : kForms) {
    const std::vector<std::string> names = words(form.ops);
    if (form.since <= version && std::find(names.begin(), names.end(), qualified) != names.end() &&
        (found == nullptr || found->since <= form.since))
      found = &form;
  }
  return found;
}

OpModel op_model(std::string_view domain, std::string_view op, int64_t version, const OpForm& form,
                 bool constants_as_inputs) {
  OpModelMaker maker(domain.empty() ? version : 17, constants_as_inputs);
  if (!domain.empty()) Model::import_opset(maker.made.model.proto, std::string(domain), version);
  std::vector<std::string> inputs, outputs;
  for (const std::string& text : words(form.inputs)) {
    maker.set_operand(static_cast<int>(inputs.size()));
    inputs.push_back(maker.input(text));
  }
  for (int i = 0; i < form.outputs; ++i) outputs.push_back("out" + std::to_string(i));
  auto& node = maker.made.model.node(std::string(op), inputs, outputs, std::string(domain));
  for (const std::string& text : words(form.attrs)) maker.attribute(node, text);
  for (const std::string& output : outputs) maker.made.model.output(output);
  return std::move(maker.made);
}

}  // namespace tenon::frontend::testing
