#include "backends/cpu/openblas.h"

#include <dlfcn.h>

#include <algorithm>
#include <cstdlib>
#include <limits>

#include "ir/compute.h"
#include "ir/op.h"

namespace tenon::backends {
namespace {

using ir::Body;
using ir::ExprKind;
using ir::ExprNode;

// cblas.h: enum values and the 32-bit integer interface.
constexpr int kRowMajor = 101, kNoTrans = 111, kTrans = 112;
using Sgemm = void (*)(int order, int trans_a, int trans_b, int m, int n, int k, float alpha, const float* a, int lda,
                       const float* b, int ldb, float beta, float* c, int ldc);

const char* core_type() {
#if defined(__x86_64__)
  __builtin_cpu_init();
  if (__builtin_cpu_supports("avx512bf16")) return "COOPERLAKE";
  if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl"))
    return "SKYLAKEX";
  if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) return "HASWELL";
#endif
  return nullptr;
}

// Null when the library is not there. The variables matter only while it initialises.
Sgemm load_sgemm() {
  static const Sgemm sgemm = [] {
    if (const char* type = core_type()) setenv("OPENBLAS_CORETYPE", type, 0);
    setenv("OPENBLAS_NUM_THREADS", "1", 0);
    void* library = dlopen("libopenblas.so.0", RTLD_NOW | RTLD_LOCAL);
    if (library == nullptr) return static_cast<Sgemm>(nullptr);
    if (auto* set_threads = reinterpret_cast<void (*)(int)>(dlsym(library, "openblas_set_num_threads"))) set_threads(1);
    return reinterpret_cast<Sgemm>(dlsym(library, "cblas_sgemm"));
  }();
  return sgemm;
}

/// Which output axis each batch dim of an operand follows (-1: it has one element), and whether its last two are swapped.
struct Operand {
  int input = 0;
  std::vector<int> batch;
  bool transposed = false;
};
struct Product {
  Operand a, b;
  size_t rank = 0;  // of the output
};

Status no(const char* why) { return Status(Code::kUnsupported, why); }

// The load's last two indices must be (row, column) or (column, row) and those before it output axes or 0.
Result<Operand> operand_of(const Body& body, const ExprNode& load, int row, int column) {
  if (load.kind != ExprKind::kLoad || load.guarded || load.dtype != DType::kF32 || load.args.size() < 2)
    return no("an operand is not a plain f32 matrix");
  Operand out;
  out.input = load.operand;
  std::vector<int> axes;
  for (int arg : load.args) {
    const ExprNode& index = body.pool->node(arg);
    const bool zero = index.kind == ExprKind::kConst && index.scalar.i == 0;
    if (index.kind != ExprKind::kIndex && !zero) return no("an operand is indexed by an expression");
    axes.push_back(zero ? -1 : index.axis);
  }
  const int last = axes.back(), before = axes[axes.size() - 2];
  out.transposed = before == column && last == row;
  if (!out.transposed && (before != row || last != column)) return no("an operand is not indexed as a matrix");
  axes.resize(axes.size() - 2);
  const int batch_axes = static_cast<int>(body.axes.size()) - 2;
  if (std::any_of(axes.begin(), axes.end(), [&](int a) { return a >= batch_axes; })) return no("a batch axis is reused");
  out.batch = std::move(axes);
  return out;
}

Result<Product> match(const Body& body) {
  if (body.kind != ir::ComputeKind::kContraction || body.combiner != ir::Combiner::kAdd || body.reduce_axes.size() != 1 ||
      body.axes.size() < 2 || body.dtype != DType::kF32 || body.acc_dtype != DType::kF32)
    return no("not an f32 matrix product");
  if (body.post.valid() && body.post.node().kind != ExprKind::kAcc) return no("has an epilogue");
  const ExprNode& mul = body.value.node();
  if (mul.kind != ExprKind::kOp || mul.op != ir::ScalarOp::kMul) return no("not a product of two tensors");
  const int m = static_cast<int>(body.axes.size()) - 2, n = m + 1, k = m + 2;
  const ExprNode* left = &body.pool->node(mul.args[0]);
  const ExprNode* right = &body.pool->node(mul.args[1]);
  if (!operand_of(body, *left, m, k).ok()) std::swap(left, right);
  Product out;
  out.rank = body.axes.size();
  TENON_ASSIGN_OR_RETURN(out.a, operand_of(body, *left, m, k));
  TENON_ASSIGN_OR_RETURN(out.b, operand_of(body, *right, k, n));
  return out;
}

class SgemmCall final : public runtime::HostFunction {
 public:
  SgemmCall(Product product, Sgemm sgemm) : product_(std::move(product)), sgemm_(sgemm) {}

  Status call(runtime::HostCallContext& context) const override {
    const Tensor& a = std::get<Tensor>(context.inputs[static_cast<size_t>(product_.a.input)]);
    const Tensor& b = std::get<Tensor>(context.inputs[static_cast<size_t>(product_.b.input)]);
    Tensor& c = std::get<Tensor>(context.outputs[0]);
    const auto rank = static_cast<int64_t>(product_.rank);
    const int64_t m = c.dim(rank - 2), n = c.dim(rank - 1);
    const int64_t k = a.dim(a.rank() - (product_.a.transposed ? 2 : 1));
    constexpr int64_t kMax = std::numeric_limits<int>::max();
    if (m > kMax || n > kMax || k > kMax) return error(Code::kUnsupported, "a matrix of {}x{}x{}", m, n, k);
    if (c.size() == 0) return {};
    if (k == 0) {
      std::ranges::fill(c.mutable_span<float>(), 0.0f);
      return {};
    }
    // Blocks of rows do not depend on the number of threads, so neither do the results.
    const int64_t blocks = (m + kRows - 1) / kRows, batches = c.size() / (m * n);
    const auto run = [&](int64_t begin, int64_t end, int) {
      for (int64_t i = begin; i < end; ++i) multiply(a, b, c, i / blocks, i % blocks * kRows, m, n, k);
    };
    if (context.executor == nullptr || context.max_threads <= 1 || m * n * k < (int64_t{1} << 18)) run(0, batches * blocks, 0);
    else context.executor->parallel_for(batches * blocks, run, context.max_threads);
    return {};
  }

 private:
  static constexpr int64_t kRows = 96;

  static int64_t offset(const Tensor& t, const Operand& operand, const Shape& index) {
    int64_t out = 0, stride = t.dim(t.rank() - 1) * t.dim(t.rank() - 2);
    for (size_t i = operand.batch.size(); i-- > 0;) {
      if (operand.batch[i] >= 0) out += index[static_cast<size_t>(operand.batch[i])] * stride;
      stride *= t.dim(static_cast<int64_t>(i));
    }
    return out;
  }

  void multiply(const Tensor& a, const Tensor& b, Tensor& c, int64_t batch, int64_t row, int64_t m, int64_t n, int64_t k) const {
    Shape index(product_.rank - 2);
    int64_t rest = batch;
    for (size_t i = index.size(); i-- > 0;) {
      index[i] = rest % c.dim(static_cast<int64_t>(i));
      rest /= c.dim(static_cast<int64_t>(i));
    }
    const bool ta = product_.a.transposed, tb = product_.b.transposed;
    const float* pa = a.span<float>().data() + offset(a, product_.a, index) + (ta ? row : row * k);
    const float* pb = b.span<float>().data() + offset(b, product_.b, index);
    float* pc = c.mutable_span<float>().data() + batch * m * n + row * n;
    const auto as_int = [](int64_t v) { return static_cast<int>(v); };
    sgemm_(kRowMajor, ta ? kTrans : kNoTrans, tb ? kTrans : kNoTrans, as_int(std::min(kRows, m - row)), as_int(n), as_int(k),
           1.0f, pa, as_int(ta ? m : k), pb, as_int(tb ? k : n), 0.0f, pc, as_int(n));
  }

  Product product_;
  Sgemm sgemm_;
};

}  // namespace

Result<codegen::LibraryCall> openblas_matmul(const ir::Node& node) {
  if (node.op().compute.body == nullptr || node.num_outputs() != 1) return no("not an f32 matrix product");
  for (const ir::Value* v : node.inputs())
    if (v != nullptr && !v->type().is_ranked_tensor()) return no("an operand's rank is not known");
  if (!node.output()->type().is_ranked_tensor()) return no("the result's rank is not known");
  TENON_ASSIGN_OR_RETURN(const std::vector<Body> bodies, node.op().compute.body(node));
  if (bodies.size() != 1) return no("not an f32 matrix product");
  TENON_ASSIGN_OR_RETURN(Product product, match(bodies[0]));
  const Sgemm sgemm = load_sgemm();
  if (sgemm == nullptr) return no("libopenblas.so.0 is not installed");
  return codegen::LibraryCall{std::make_shared<SgemmCall>(std::move(product), sgemm), "OpenBLAS sgemm"};
}

}  // namespace tenon::backends
