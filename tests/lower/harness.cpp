#include "harness.h"

#include <gtest/gtest.h>

#include <cmath>
#include <random>

#include "ir/storage_order.h"
#include "runtime/storage_order.h"
#include "tests/kernels/run_kernel.h"

namespace tenon::lower_test {

using ir::Dim;
using ir::Expr;
using ir::ExprKind;
using ir::ExprNode;

namespace {

std::vector<std::optional<int64_t>> symbols_of(const ir::Graph& graph, const Instance& instance) {
  std::vector<std::optional<int64_t>> ids(static_cast<size_t>(graph.dims().num_symbols()));
  for (const auto& [name, value] : instance.symbols) {
    if (const auto d = graph.dims().find_symbol(name)) ids[static_cast<size_t>(d->symbol_id())] = value;
  }
  return ids;
}

int64_t eval_dim(Dim d, const std::vector<std::optional<int64_t>>& symbols) {
  const Result<int64_t> v = ir::evaluate(d, symbols);
  if (!v.ok()) ADD_FAILURE() << to_string(d) << ": " << v.status().to_string();
  return v.ok() ? *v : 0;
}

Shape shape_of(const ir::Value& v, const std::vector<std::optional<int64_t>>& symbols) {
  Shape s;
  for (Dim d : *v.tensor().dims) s.push_back(eval_dim(d, symbols));
  return s;
}

/// One evaluation of an expression for given axes.
class Evaluator {
 public:
  Evaluator(const ir::Node& node, const Instance& instance, const std::vector<std::optional<int64_t>>& symbols)
      : node_(node), instance_(instance), symbols_(symbols) {}

  ir::Scalar eval(Expr e, const std::vector<int64_t>& axes, ir::Scalar acc = {}) {
    const ExprNode& n = e.node();
    const auto arg = [&](size_t i) { return eval({e.pool, n.args[i]}, axes, acc); };
    switch (n.kind) {
      case ExprKind::kConst: return n.scalar;
      case ExprKind::kDim: return {0, eval_dim(n.dim, symbols_)};
      case ExprKind::kIndex: return {0, axes.at(static_cast<size_t>(n.axis))};
      case ExprKind::kAcc: return acc;
      case ExprKind::kCast: return ir::cast_scalar(arg(0), e.pool->node(n.args[0]).dtype, n.dtype);
      case ExprKind::kCheckedIndex: {
        const int64_t i = arg(0).i;
        return {0, i >= 0 && i < arg(1).i ? i : 0};
      }
      case ExprKind::kOp: {
        ir::Scalar args[3];
        for (size_t i = 0; i < n.args.size(); ++i) args[i] = arg(i);
        const size_t typed = n.op == ir::ScalarOp::kSelect ? 1 : 0;
        return ir::eval_scalar(n.op, e.pool->node(n.args[typed]).dtype, args);
      }
      case ExprKind::kLoad: {
        const size_t rank = n.args.size() - (n.guarded ? 2 : 0);
        if (n.guarded && arg(rank).i == 0) return arg(rank + 1);
        const Tensor& t = tensor(node_.input(n.operand));
        int64_t flat = 0;
        for (size_t i = 0; i < rank; ++i) flat = flat * t.shape()[i] + arg(i).i;
        if (flat < 0 || flat >= t.size()) {
          ADD_FAILURE() << "reference reads outside of " << node_.input(n.operand)->name();
          return {};
        }
        return ir::load_scalar(t.data(), t.dtype(), flat);
      }
    }
    return {};
  }

 private:
  const Tensor& tensor(const ir::Value* v) {
    if (const Tensor* t = ir::constant_of(v)) return *t;
    return instance_.tensors.at(v);
  }
  const ir::Node& node_;
  const Instance& instance_;
  const std::vector<std::optional<int64_t>>& symbols_;
};

double number(ir::Scalar s, DType d) { return is_float(d) ? s.f : static_cast<double>(s.i); }

/// Accumulates in double (floats) or int64.
struct Accumulator {
  const ir::Body& body;
  ir::Scalar best;
  int64_t position = 0, at = 0;

  explicit Accumulator(const ir::Body& b) : body(b), best(ir::identity(b.combiner, b.acc_dtype)) {}
  void add(ir::Scalar v) {
    const DType d = is_float(body.acc_dtype) ? DType::kF64 : body.acc_dtype;
    const auto combine = [&](ir::ScalarOp op) {
      const ir::Scalar args[] = {best, v};
      best = ir::eval_scalar(op, d, args);
    };
    const double x = number(v, body.acc_dtype), y = number(best, body.acc_dtype);
    bool take = false;
    switch (body.combiner) {
      case ir::Combiner::kAdd: combine(ir::ScalarOp::kAdd); break;
      case ir::Combiner::kMul: combine(ir::ScalarOp::kMul); break;
      case ir::Combiner::kMin: combine(ir::ScalarOp::kMin); break;
      case ir::Combiner::kMax: combine(ir::ScalarOp::kMax); break;
      case ir::Combiner::kAnd: combine(ir::ScalarOp::kAnd); break;
      case ir::Combiner::kOr: combine(ir::ScalarOp::kOr); break;
      case ir::Combiner::kArgMin: take = x < y || (std::isnan(x) && !std::isnan(y)); break;
      case ir::Combiner::kArgMax: take = x > y || (std::isnan(x) && !std::isnan(y)); break;
      case ir::Combiner::kArgMinLast: take = x <= y || std::isnan(x); break;
      case ir::Combiner::kArgMaxLast: take = x >= y || std::isnan(x); break;
    }
    if (take) best = v, position = at;
    ++at;
  }
  /// What was added so far, for one that starts anew from it.
  void restart(ir::Scalar from) { best = from; }
  ir::Scalar result() const { return body.combiner >= ir::Combiner::kArgMin ? ir::Scalar{0, position} : best; }
};

void for_each_index(const std::vector<int64_t>& extents, const std::function<void(const std::vector<int64_t>&)>& fn) {
  for (int64_t e : extents) {
    if (e == 0) return;
  }
  std::vector<int64_t> index(extents.size(), 0);
  for (;;) {
    fn(index);
    size_t i = extents.size();
    while (i > 0 && ++index[i - 1] == extents[i - 1]) index[--i] = 0;
    if (i == 0) return;
  }
}

/// Row by row along the axis.
void evaluate_scan(const ir::Body& body, const std::vector<int64_t>& extents, Evaluator& evaluator, Tensor& out) {
  const auto axis = static_cast<size_t>(body.scan->axis);
  std::vector<int64_t> rows = extents;
  rows[axis] = 1;
  for_each_index(rows, [&](std::vector<int64_t> at) {
    Accumulator acc(body);
    for (int64_t i = 0; i < extents[axis]; ++i) {
      at[axis] = body.scan->reverse ? extents[axis] - 1 - i : i;
      int64_t flat = 0;
      for (size_t k = 0; k < at.size(); ++k) flat = flat * extents[k] + at[k];
      const ir::Scalar before = acc.result();
      acc.add(evaluator.eval(body.value, at));
      const ir::Scalar value = body.scan->exclusive ? before : acc.result();
      ir::store_scalar(out.mutable_data(), out.dtype(), flat, ir::cast_scalar(value, body.acc_dtype, body.dtype));
    }
  });
}

/// `out` holds what there is before. One update after the other.
void evaluate_updates(const ir::Body& body, const std::vector<int64_t>& extents, const std::vector<int64_t>& updates,
                      Evaluator& evaluator, Tensor& out) {
  for_each_index(updates, [&](const std::vector<int64_t>& at) {
    std::vector<int64_t> all(extents.size(), 0);
    all.insert(all.end(), at.begin(), at.end());
    int64_t flat = 0;
    for (size_t k = 0; k < extents.size(); ++k) flat = flat * extents[k] + evaluator.eval(body.scatter->target[k], all).i;
    ir::Scalar value = evaluator.eval(body.value, all);
    if (!body.scatter->replaces) {
      Accumulator acc(body);
      acc.restart(ir::cast_scalar(ir::load_scalar(out.data(), out.dtype(), flat), out.dtype(), body.acc_dtype));
      acc.add(value);
      value = ir::cast_scalar(acc.result(), body.acc_dtype, body.dtype);
    }
    ir::store_scalar(out.mutable_data(), out.dtype(), flat, value);
  });
}

Status evaluate_plain(const ir::Node& node, Instance& instance) {
  const auto symbols = symbols_of(*node.graph(), instance);
  TENON_ASSIGN_OR_RETURN(const std::vector<ir::Body> bodies, node.op().compute.body(node));
  for (size_t o = 0; o < bodies.size(); ++o) {
    const ir::Body& body = bodies[o];
    std::vector<int64_t> outer, reduce;
    for (Dim d : body.axes) outer.push_back(eval_dim(d, symbols));
    for (Dim d : body.reduce_axes) reduce.push_back(eval_dim(d, symbols));
    TENON_ASSIGN_OR_RETURN(Tensor out, Tensor::empty(body.dtype, shape_of(*node.output(static_cast<int>(o)), symbols)));
    Evaluator evaluator(node, instance, symbols);
    int64_t flat = 0;
    if (body.scan) evaluate_scan(body, outer, evaluator, out);
    else for_each_index(outer, [&](const std::vector<int64_t>& at) {
      ir::Scalar value;
      if (body.scatter) {
        value = evaluator.eval(body.scatter->init, at);
      } else if (reduce.empty()) {
        value = evaluator.eval(body.value, at);
      } else {
        Accumulator acc(body);
        for_each_index(reduce, [&](const std::vector<int64_t>& r) {
          std::vector<int64_t> all = at;
          all.insert(all.end(), r.begin(), r.end());
          acc.add(evaluator.eval(body.value, all));
        });
        const DType from = body.combiner >= ir::Combiner::kArgMin ? DType::kI64 : body.acc_dtype;
        value = body.post.valid() ? evaluator.eval(body.post, at, acc.result()) : ir::cast_scalar(acc.result(), from, body.dtype);
      }
      ir::store_scalar(out.mutable_data(), out.dtype(), flat++, value);
    });
    if (body.scatter) evaluate_updates(body, outer, reduce, evaluator, out);
    instance.tensors[node.output(static_cast<int>(o))] = out;
  }
  return {};
}

}  // namespace

codegen::Target cpu(int vector_bits, bool fma) {
  codegen::Target t;
  t.vector_bits = vector_bits;
  t.vector_registers = vector_bits == 512 ? 32 : 16;
  t.has_fma = fma;
  return t;
}

codegen::Target gpu() {
  codegen::Target t;
  t.kind = codegen::Target::Kind::kGpu;
  t.has_fma = true;
  t.lane_sums = 4;  // small tiles, since the interpreter is slow
  return t;
}

Tensor random_tensor(const ir::Value& value, const Instance& instance, uint64_t seed) {
  Result<Tensor> t = Tensor::empty(value.dtype(), shape_of(value, symbols_of(*value.graph(), instance)));
  EXPECT_TRUE(t.ok());
  std::mt19937_64 random(seed);
  for (int64_t i = 0; i < t->size(); ++i) {
    const int64_t r = static_cast<int64_t>(random() % 2001) - 1000;
    if (is_float(value.dtype())) t->set_double(i, static_cast<double>(r) / 1000);
    else if (value.dtype() == DType::kBool) t->set_int(i, r & 1);
    else t->set_int(i, is_unsigned_int(value.dtype()) ? std::abs(r) % 100 : r % 50);
  }
  return *t;
}

Status evaluate_node(const ir::Node& node, Instance& instance) {
  if (node.num_regions() == 0) return evaluate_plain(node, instance);
  const ir::Graph& region = node.region(0);
  const auto look = [&](const ir::Value* v) {
    const Tensor* t = ir::constant_of(v);
    return t != nullptr ? *t : instance.tensors.at(v);
  };
  for (size_t i = 0; i < region.inputs().size(); ++i) instance.tensors[region.inputs()[i]] = look(node.input(static_cast<int>(i)));
  for (const auto& n : region.nodes()) {
    if (ir::constant_of(n->output(0)) == nullptr) TENON_RETURN_IF_ERROR(evaluate_plain(*n, instance));
  }
  for (size_t i = 0; i < region.outputs().size(); ++i) instance.tensors[node.output(static_cast<int>(i))] = look(region.outputs()[i]);
  return {};
}

std::vector<codegen::Target> emulated() {
  std::vector<codegen::Target> out;
  if (!emulator::Emulator::available().ok()) return out;
  for (std::string_view name : emulator::targets()) out.push_back(*codegen::cpu_target(name, false));
  return out;
}

std::vector<codegen::Target> every_target() {
  std::vector<codegen::Target> out = {cpu(512, true), cpu(256, true), cpu(128, false), gpu()};
  if (const auto all = emulated(); !all.empty()) out.push_back(all.back());
  return out;
}

namespace {

/// The emulated target's name; empty: another.
std::string emulated_name(const codegen::Target& target) {
  if (!target.triple.starts_with("aarch64")) return "";
  std::string features = target.features;
  std::erase(features, ',');
  return "aarch64" + features;
}

Status emulate(const kir::Kernel& kernel, const std::string& target, std::span<const kir::Binding> bindings, const std::vector<int64_t>& dims, int64_t grid) {
  const kir::CompiledKernel compiled = kir::compile(kernel, target);
  if (!compiled) return error(Code::kInternal, "no code for {}", target);
  const int32_t code = compiled(bindings, dims.data(), 0, grid);
  return code == 0 ? Status() : error(Code::kOutOfRange, "{} returned {}", target, code);
}

}  // namespace

Result<std::vector<Tensor>> run_lowered(const codegen::LoweredOp& lowered, const ir::Node& node, const Instance& given, const codegen::Target& target) {
  const std::string emulated = emulated_name(target);
  const auto symbols = symbols_of(*node.graph(), given);
  std::map<const ir::Value*, Tensor> memory;
  std::vector<Tensor> temporaries;
  for (const codegen::Temporary& t : lowered.temporaries) temporaries.push_back(*Tensor::empty(t.dtype, {eval_dim(t.count, symbols)}));
  const auto tensor_of = [&](const ir::Value* v) -> Tensor& {
    if (const auto found = memory.find(v); found != memory.end()) return found->second;
    Tensor t;
    if (const Tensor* c = ir::constant_of(v)) t = *c;
    else if (v->def() == &node) t = *Tensor::empty(v->dtype(), shape_of(*v, symbols));
    else t = given.tensors.at(v);
    const std::vector<int> order = ir::storage_order(*v);
    return memory[v] = order.empty() ? *t.clone() : *runtime::to_storage_order(t, order);
  };
  if (lowered.view_of != nullptr) memory[node.output()] = *tensor_of(lowered.view_of).reshaped(shape_of(*node.output(), symbols));
  for (const codegen::LoweredKernel& k : lowered.kernels) {
    std::vector<kir::BufferView> views;
    std::vector<kir::Binding> bindings;
    for (const codegen::BindingRef& ref : k.bindings) {
      Tensor& t = std::holds_alternative<int>(ref) ? temporaries[static_cast<size_t>(std::get<int>(ref))]
                                                   : tensor_of(std::get<const ir::Value*>(ref));
      views.push_back({t.mutable_data(), t.size()});
      bindings.push_back(kir::bound(t));
    }
    std::vector<int64_t> dims;
    for (Dim d : k.dims) dims.push_back(eval_dim(d, symbols));
    const int64_t grid = eval_dim(k.grid, symbols);
    const Status ran = emulated.empty() ? kir::interpret(k.kernel, views, dims, 0, grid) : emulate(k.kernel, emulated, bindings, dims, grid);
    if (!ran.ok()) return Status(ran).with_hint(kir::print(k.kernel));
  }
  std::vector<Tensor> outputs;
  for (const ir::Value* v : node.outputs()) {
    const std::vector<int> order = ir::storage_order(*v);
    outputs.push_back(order.empty() ? tensor_of(v) : *runtime::to_row_major(tensor_of(v), order));
  }
  return outputs;
}

void expect_close(const Tensor& got, const Tensor& want, double tolerance, const std::string& what) {
  ASSERT_EQ(got.size(), want.size()) << what;
  double scale = 1;
  for (int64_t i = 0; i < want.size(); ++i) {
    if (std::isfinite(want.at_double(i))) scale = std::max(scale, std::abs(want.at_double(i)));
  }
  for (int64_t i = 0; i < want.size(); ++i) {
    const double a = got.at_double(i), b = want.at_double(i);
    if (a == b || (std::isnan(a) && std::isnan(b)) || std::abs(a - b) <= tolerance * scale) continue;
    ADD_FAILURE() << "element " << i << " is " << a << ", not " << b << ": " << what;
    return;
  }
}

namespace {

/// Every output of the node, lowered for the target, beside what evaluate_node() made of it.
std::string compare(const ir::Node& node, const codegen::Target& target, const Instance& given,
                    const Instance& expected, double tolerance) {
  const Result<codegen::LoweredOp> lowered = codegen::lower(node, target);
  EXPECT_TRUE(lowered.ok()) << lowered.status().to_string();
  if (!lowered.ok()) return "";
  const Result<std::vector<Tensor>> outputs = run_lowered(*lowered, node, given, target);
  EXPECT_TRUE(outputs.ok()) << outputs.status().to_string();
  if (!outputs.ok()) return lowered->implementation;
  for (size_t i = 0; i < outputs->size(); ++i) {
    const ir::Value* v = node.outputs()[i];
    if (v->unused() && node.num_regions() == 0) continue;
    const int width = target.kind == codegen::Target::Kind::kGpu ? 0 : target.vector_bits;
    expect_close((*outputs)[i], expected.tensors.at(v), tolerance,
                 fmt::format("{} ({}, {} {} bits)\n{}", v->name(), lowered->implementation, emulated_name(target), width, lowered->kernels.empty() ? "" : kir::print(lowered->kernels.front().kernel)));
  }
  return lowered->implementation;
}

/// On each of the targets; of the first, the implementation.
std::string compare_on(std::span<const codegen::Target> targets, const ir::Node& node, const Instance& given,
                       double tolerance) {
  Instance expected = given;
  const Status evaluated = evaluate_node(node, expected);
  EXPECT_TRUE(evaluated.ok()) << evaluated.to_string();
  if (!evaluated.ok()) return "";
  std::string first;
  for (const codegen::Target& target : targets) {
    const std::string implementation = compare(node, target, given, expected, tolerance);
    if (first.empty()) first = implementation;
  }
  return first;
}

}  // namespace

std::string check_lowering(const ir::Node& node, const codegen::Target& target, const Instance& instance,
                           double tolerance) {
  return compare_on({&target, 1}, node, instance, tolerance);
}

std::string check_everywhere(const ir::Node& node, const Instance& instance, double tolerance) {
  return compare_on(every_target(), node, instance, tolerance);
}

}  // namespace tenon::lower_test
