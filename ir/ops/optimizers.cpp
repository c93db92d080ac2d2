#include "ir/ops/decompose.h"
#include "ir/ops/families.h"

/// The optimisers of ai.onnx.preview.training: one update of any number of tensors, as elementwise ops that fuse.
namespace tenon::ir {
namespace {

using Values = Result<std::vector<Value*>>;

constexpr int kFirst = 2;  // after the learning rate R and the update count T

/// Inputs are R, T, then `arrays` lists of one length: tensors X, their gradients, one list for each kind of state.
/// Outputs are the new X and the new states: every list but the gradients.
Status infer_optimizer(InferContext& c, int arrays) {
  const Node& node = c.node();
  for (int i : {0, 1})
    if (c.ranked(i))
      for (Dim d : c.shape(i))
        if (c.differ(d, 1)) return c.fail("the {} must be a scalar", i == 0 ? "learning rate R" : "update count T");
  const int given = node.num_inputs() - kFirst, count = given / arrays;
  if (given == 0 || given % arrays != 0)
    return c.fail("{} tensors are given, which is no positive multiple of {}", given, arrays);
  if (node.num_outputs() != count * (arrays - 1))
    return c.fail("{} outputs are named for {} optimised tensors; there are {}", node.num_outputs(), count,
                  count * (arrays - 1));
  for (int i = 0; i < given; ++i) {
    const int x = kFirst + i % count, at = kFirst + i;
    if (!c.has(at)) return c.fail("input {} is missing", at);
    if (c.dtype(at) != c.dtype(x))
      return c.fail("input {} is {} where the optimised tensor is {}", at, name(c.dtype(at)), name(c.dtype(x)));
    if (c.ranked(at) && c.ranked(x)) {
      if (c.shape(at).size() != c.shape(x).size())
        return c.fail("input {} has another rank than the optimised tensor", at);
      for (size_t d = 0; d < c.shape(x).size(); ++d)
        TENON_RETURN_IF_ERROR(require_equal(c, c.shape(at)[d], c.shape(x)[d],
                                            fmt::format("dim {} of input {} and of the optimised tensor", d, at)));
    }
  }
  for (int o = 0; o < node.num_outputs(); ++o) {
    const Type& x = c.in(kFirst + o % count);
    const int state = o < count ? kFirst + o : kFirst + o + count;
    c.set(o, x.is_ranked_tensor() ? x : c.in(state));
  }
  return {};
}

/// What one optimised tensor's update is built from; scalars are rank 0.
struct Update {
  Steps& s;
  const Node& node;
  Value *rate, *count;     // f64
  std::vector<Value*> in;  // X, G, states

  double attr(std::string_view name, double fallback) const { return node.attr_float(name, fallback); }
  Value* x() const { return in[0]; }
  /// The gradient of the loss and of norm_coefficient / 2 · ‖X‖².
  Value* regularized() const {
    const double norm = attr("norm_coefficient", 0);
    return norm == 0 ? in[1] : s.add(s.mul(in[0], norm), in[1]);
  }
  /// a scalar in X's dtype
  Value* as_x(Value* scalar) const { return s.cast(scalar, in[0]->dtype()); }
  Value* started(Value* then, Value* otherwise) const {
    return s.builder().make("Where", {s.builder().make("Greater", {count, s.like(count, 0)}), then, otherwise});
  }
};

/// Builds the update of each tensor; scalars are computed once, in f64: 1 - beta^T cancels.
template <class Fn>
Values decompose_optimizer(Node& node, Builder& b, int arrays, Fn update) {
  TENON_RETURN_IF_ERROR(require_ranked_inputs(node));
  Steps s(node, b);
  const int count = (node.num_inputs() - kFirst) / arrays;
  Value* rate = s.cast(s.reshape(s.in(0), {}), DType::kF64);
  Value* steps = s.cast(s.reshape(s.in(1), {}), DType::kF64);
  std::vector<Value*> out(static_cast<size_t>(count * (arrays - 1)));
  for (int i = 0; i < count; ++i) {
    Update u{s, node, rate, steps, {}};
    for (int a = 0; a < arrays; ++a) u.in.push_back(s.in(kFirst + a * count + i));
    const std::vector<Value*> results = update(u);
    TENON_RETURN_IF_ERROR(b.status());
    for (size_t a = 0; a < results.size(); ++a)
      out[a * static_cast<size_t>(count) + static_cast<size_t>(i)] = results[a];
  }
  return s.done(std::move(out));
}

// X, G, H. Duchi, Hazan and Singer, "Adaptive Subgradient Methods", 2011.
Values decompose_adagrad(Node& node, Builder& b) {
  return decompose_optimizer(node, b, 3, [](const Update& u) -> std::vector<Value*> {
    Steps& s = u.s;
    Value* rate = s.div(u.rate, s.add(s.mul(u.count, u.attr("decay_factor", 0)), 1));
    Value* g = u.regularized();
    Value* h = s.add(u.in[2], s.mul(g, g));
    Value* scale = s.add(s.unary("Sqrt", h), u.attr("epsilon", 1e-6F));
    return {s.sub(u.x(), s.div(s.mul(u.as_x(rate), g), scale)), h};
  });
}

// X, G, V, H. Kingma and Ba, "Adam", 2015.
Values decompose_adam(Node& node, Builder& b) {
  return decompose_optimizer(node, b, 4, [](const Update& u) -> std::vector<Value*> {
    Steps& s = u.s;
    const double alpha = u.attr("alpha", 0.9F), beta = u.attr("beta", 0.999F),
                 post = u.attr("norm_coefficient_post", 0);
    Value* g = u.regularized();
    Value* v = s.add(s.mul(u.in[2], alpha), s.mul(g, 1 - alpha));
    Value* h = s.add(s.mul(u.in[3], beta), s.mul(s.mul(g, g), 1 - beta));
    const auto bias = [&](double decay) {
      return s.sub(s.like(u.count, 1), s.builder().make("Pow", {s.like(u.count, decay), u.count}));
    };
    Value* corrected = s.div(s.mul(u.rate, s.unary("Sqrt", bias(beta))), bias(alpha));
    Value* rate = u.as_x(u.started(corrected, u.rate));
    Value* x = s.sub(u.x(), s.div(s.mul(rate, v), s.add(s.unary("Sqrt", h), u.attr("epsilon", 1e-6F))));
    return {post == 0 ? x : s.mul(x, 1 - post), v, h};
  });
}

// X, G, V.
Values decompose_momentum(Node& node, Builder& b) {
  return decompose_optimizer(node, b, 3, [](const Update& u) -> std::vector<Value*> {
    Steps& s = u.s;
    const double alpha = u.attr("alpha", 0);
    Value* g = u.regularized();
    Value* beta = u.as_x(u.started(s.like(u.count, u.attr("beta", 0)), s.like(u.count, 1)));
    Value* v = s.add(s.mul(u.in[2], alpha), s.mul(beta, g));
    const bool nesterov = u.node.attr_string("mode", "") == "nesterov";
    Value* direction = nesterov ? s.add(g, s.mul(v, alpha)) : v;
    return {s.sub(u.x(), s.mul(u.as_x(u.rate), direction)), v};
  });
}

Status infer_momentum(InferContext& c) {
  const std::string mode = c.node().attr_string("mode", "");
  if (mode != "standard" && mode != "nesterov")
    return c.fail("attribute mode is '{}', neither standard nor nesterov", mode);
  return infer_optimizer(c, 3);
}

OpDef optimizer(std::string_view name, std::vector<AttrDef> attrs, InferFn infer, DecomposeFn decompose,
                std::string_view doc) {
  constexpr DTypeSet kFloats = dtypes(DType::kF32, DType::kF64);
  return {.domain = "ai.onnx.preview.training",
          .name = name,
          .inputs = {{"R", "T1", kFloats},
                     {"T", "T2", dtypes(DType::kI64)},
                     {.name = "inputs", .types = kFloats, .variadic = true}},
          .outputs = {{.name = "outputs", .types = kFloats, .variadic = true}},
          .attrs = std::move(attrs),
          .infer = infer,
          .compute = {.decompose = decompose},
          .doc = doc};
}

}  // namespace

std::vector<OpDef> optimizer_ops() {
  return {
      optimizer(
          "Adagrad",
          {{"decay_factor", AttrKind::kFloat, false, "0"},
           {"epsilon", AttrKind::kFloat, false, "1e-6"},
           {"norm_coefficient", AttrKind::kFloat, false, "0"}},
          [](InferContext& c) { return infer_optimizer(c, 3); }, decompose_adagrad,
          "One AdaGrad update of each tensor (ai.onnx.preview.training Adagrad)."),
      optimizer(
          "Adam",
          {{"alpha", AttrKind::kFloat, false, "0.9"},
           {"beta", AttrKind::kFloat, false, "0.999"},
           {"epsilon", AttrKind::kFloat, false, "1e-6"},
           {"norm_coefficient", AttrKind::kFloat, false, "0"},
           {"norm_coefficient_post", AttrKind::kFloat, false, "0"}},
          [](InferContext& c) { return infer_optimizer(c, 4); }, decompose_adam,
          "One Adam update of each tensor (ai.onnx.preview.training Adam)."),
      optimizer("Momentum",
                {{"alpha", AttrKind::kFloat, true},
                 {"beta", AttrKind::kFloat, true},
                 {"mode", AttrKind::kString, true},
                 {"norm_coefficient", AttrKind::kFloat, true}},
                infer_momentum, decompose_momentum,
                "One update with standard or Nesterov's momentum of each tensor (ai.onnx.preview.training Momentum)."),
  };
}

}  // namespace tenon::ir
