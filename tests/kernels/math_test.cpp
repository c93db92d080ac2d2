#include "codegen/math.h"

#include <cmath>
#include <limits>
#include <random>

#include <fmt/format.h>

#include "tests/kernels/run_kernel.h"

namespace tenon::kir {
namespace {

Kernel map_kernel(ScalarOp op, DType dtype) {
  Kernel k;
  k.name = std::string(info(op).name);
  KernelBuilder b(k);
  const int x = b.add_binding("x", dtype, false), z = b.add_binding("z", dtype, false);
  const int y = b.add_binding("y", dtype, true);
  b.loop(LoopKind::kVector, b.i64(0), b.dim(0), 1, [&](ValueId i) {
    std::vector<ValueId> args = {b.load(x, i)};
    if (info(op).arity == 2) args.push_back(b.load(z, i));
    b.store(y, i, b.op(op, args));
  });
  return k;
}

using Exact = long double;
using Function = Exact (*)(Exact, Exact);

Function exact(ScalarOp op) {
  switch (op) {
    case ScalarOp::kExp:
      return [](Exact x, Exact) { return std::exp(x); };
    case ScalarOp::kExpm1:
      return [](Exact x, Exact) { return std::expm1(x); };
    case ScalarOp::kLog:
      return [](Exact x, Exact) { return std::log(x); };
    case ScalarOp::kLog1p:
      return [](Exact x, Exact) { return std::log1p(x); };
    case ScalarOp::kSin:
      return [](Exact x, Exact) { return std::sin(x); };
    case ScalarOp::kCos:
      return [](Exact x, Exact) { return std::cos(x); };
    case ScalarOp::kTan:
      return [](Exact x, Exact) { return std::tan(x); };
    case ScalarOp::kAsin:
      return [](Exact x, Exact) { return std::asin(x); };
    case ScalarOp::kAcos:
      return [](Exact x, Exact) { return std::acos(x); };
    case ScalarOp::kAtan:
      return [](Exact x, Exact) { return std::atan(x); };
    case ScalarOp::kSinh:
      return [](Exact x, Exact) { return std::sinh(x); };
    case ScalarOp::kCosh:
      return [](Exact x, Exact) { return std::cosh(x); };
    case ScalarOp::kTanh:
      return [](Exact x, Exact) { return std::tanh(x); };
    case ScalarOp::kAsinh:
      return [](Exact x, Exact) { return std::asinh(x); };
    case ScalarOp::kAcosh:
      return [](Exact x, Exact) { return std::acosh(x); };
    case ScalarOp::kAtanh:
      return [](Exact x, Exact) { return std::atanh(x); };
    case ScalarOp::kErf:
      return [](Exact x, Exact) { return std::erf(x); };
    case ScalarOp::kSigmoid:
      return [](Exact x, Exact) { return 1 / (1 + std::exp(-x)); };
    case ScalarOp::kPow:
      return [](Exact x, Exact y) { return std::pow(x, y); };
    case ScalarOp::kRsqrt:
      return [](Exact x, Exact) { return 1 / std::sqrt(x); };
    default:
      return [](Exact x, Exact) { return 1 / x; };
  }
}

/// |got - want| in ulps of T at `want`; infinite when one is special and the other is not.
template <class T>
double ulps(T got, Exact want) {
  if (std::isnan(want)) return std::isnan(got) ? 0 : INFINITY;
  if (std::isnan(got)) return INFINITY;
  const T rounded = static_cast<T>(want);
  if (std::isinf(rounded) || std::isinf(got)) {
    if (got == rounded) return 0;
    // Just below the overflow threshold the neighbour is the largest number.
    const T largest = std::numeric_limits<T>::max();
    return std::fabs(got) >= largest && std::fabs(rounded) >= largest && std::signbit(got) == std::signbit(rounded)
               ? 1
               : INFINITY;
  }
  if (want == 0) return got == 0 ? (std::signbit(got) == std::signbit(want) ? 0 : INFINITY) : INFINITY;
  int exponent = 0;
  std::frexp(want, &exponent);
  const int lowest = std::numeric_limits<T>::min_exponent;
  const Exact ulp = std::ldexp(Exact{1}, std::max(exponent, lowest) - std::numeric_limits<T>::digits);
  return static_cast<double>(std::fabs((Exact{got} - want) / ulp));
}

template <class T>
std::vector<T> arguments(size_t count) {
  std::vector<T> out = {0,
                        1,
                        2,
                        0.5,
                        10,
                        88,
                        100,
                        700,
                        0.75,
                        T(M_PI),
                        T(M_PI / 2),
                        T(1e10),
                        T(1e30),
                        T(1e22),
                        std::numeric_limits<T>::min(),
                        std::numeric_limits<T>::denorm_min(),
                        std::numeric_limits<T>::max(),
                        std::numeric_limits<T>::infinity(),
                        std::numeric_limits<T>::quiet_NaN()};
  const size_t specials = out.size();
  for (size_t i = 0; i < specials; ++i) {
    out.push_back(-out[i]);
    out.push_back(std::nextafter(out[i], T(0)));
  }
  std::mt19937_64 random(7);
  using Bits = std::conditional_t<sizeof(T) == 4, uint32_t, uint64_t>;
  std::uniform_real_distribution<double> narrow(-2, 2), wide(-100, 100), huge(-800, 800);
  while (out.size() < count) {
    const Bits any = static_cast<Bits>(random());
    T value;
    std::memcpy(&value, &any, sizeof(T));
    out.push_back(value);
    out.push_back(T(narrow(random)));
    out.push_back(T(wide(random)));
    out.push_back(T(huge(random)));
    out.push_back(T(1 + narrow(random) * 0x1p-12));
  }
  return out;
}

template <class T>
void measure(const std::string& target, DType dtype, size_t count) {
  const std::vector<T> x = arguments<T>(count);
  std::vector<T> z(x.size()), y(x.size());
  std::mt19937_64 random(9);
  for (size_t i = 0; i < x.size(); ++i)
    z[i] = i % 3 == 0 ? x[random() % x.size()] : T(static_cast<int>(random() % 41) - 20) / (i % 2 ? 1 : 3);
  for (const MathAccuracy& entry : math_accuracy()) {
    const auto fn = compile(map_kernel(entry.op, dtype), target);
    ASSERT_TRUE(fn);
    const Binding bindings[] = {bound(x), bound(z), bound(y)};
    const int64_t dims[] = {static_cast<int64_t>(x.size())};
    ASSERT_EQ(fn(bindings, dims, 0, 1), 0);
    double worst = 0;
    size_t at = 0;
    for (size_t i = 0; i < x.size(); ++i) {
      const double distance = ulps<T>(y[i], exact(entry.op)(x[i], z[i]));
      if (distance > worst) worst = distance, at = i;
    }
    const double bound = sizeof(T) == 4 ? entry.f32_ulp : entry.f64_ulp;
    testing::Test::RecordProperty(fmt::format("{}_{}", info(entry.op).name, name(dtype)), fmt::format("{:.3f}", worst));
    if (std::getenv("TENON_PRINT_ULP"))
      fmt::print("{:8} {} {} {:.3f}\n", info(entry.op).name, name(dtype), target, worst);
    EXPECT_LE(worst, bound) << info(entry.op).name << " of " << name(dtype) << " for " << target << " at "
                            << fmt::format("{:a} ({}), {}: {:a} not {:a}", x[at], x[at], z[at], y[at],
                                           static_cast<double>(exact(entry.op)(x[at], z[at])));
  }
}

TEST(Math, AccuracyF32) {
  for (const std::string& target : runnable_targets())
    measure<float>(target, DType::kF32, target == "host" ? 300000 : 50000);
}

TEST(Math, AccuracyF64) {
  for (const std::string& target : runnable_targets())
    measure<double>(target, DType::kF64, target == "host" ? 200000 : 30000);
}

TEST(Math, ConstantPowers) {
  const std::vector<float> x = arguments<float>(5000);
  std::vector<float> y(x.size());
  for (double exponent : {0.5, 1.0, 2.0, 3.0, -1.0, 2.5}) {
    Kernel k;
    KernelBuilder b(k);
    const int in = b.add_binding("x", DType::kF32, false), out = b.add_binding("y", DType::kF32, true);
    b.loop(LoopKind::kVector, b.i64(0), b.dim(0), 1, [&](ValueId i) {
      b.store(out, i, b.op(ScalarOp::kPow, {b.load(in, i), b.constant(DType::kF32, exponent)}));
    });
    const auto fn = compile(k, "host");
    ASSERT_TRUE(fn);
    const Binding bindings[] = {bound(x), bound(y)};
    const int64_t n = static_cast<int64_t>(x.size());
    ASSERT_EQ(fn(bindings, &n, 0, 1), 0);
    for (size_t i = 0; i < x.size(); ++i) {
      // Intermediate underflow of a cube may cost more than its last bit.
      if (exponent == 3 && std::fabs(x[i]) < 0x1p-40f) continue;
      ASSERT_LE(ulps<float>(y[i], std::pow(static_cast<Exact>(x[i]), static_cast<Exact>(exponent))), 2)
          << x[i] << " " << exponent;
    }
  }
}

// Of what is known not to be above 0, as scores less their maximum.
TEST(Math, ExponentialsOfNegatives) {
  const std::vector<float> x = arguments<float>(60000);
  std::vector<float> y(x.size());
  Kernel k;
  KernelBuilder b(k);
  const int in = b.add_binding("x", DType::kF32, false), out = b.add_binding("y", DType::kF32, true);
  b.loop(LoopKind::kVector, b.i64(0), b.dim(0), 1, [&](ValueId i) {
    b.store(out, i, b.op(ScalarOp::kExp, {b.op(ScalarOp::kMin, {b.constant(DType::kF32, 0), b.load(in, i)})}));
  });
  for (const std::string& target : runnable_targets()) {
    const auto fn = compile(k, target);
    ASSERT_TRUE(fn);
    const Binding bindings[] = {bound(x), bound(y)};
    const int64_t n = static_cast<int64_t>(x.size());
    ASSERT_EQ(fn(bindings, &n, 0, 1), 0);
    for (size_t i = 0; i < x.size(); ++i) {
      const Exact want = std::isnan(x[i]) ? Exact{NAN} : std::exp(std::min(static_cast<Exact>(x[i]), Exact{0}));
      ASSERT_LE(ulps<float>(y[i], want), 2) << target << ": " << x[i];
    }
  }
}

template <class T>
void check_remainders(DType dtype) {
  const std::vector<T> x = arguments<T>(3000);
  std::vector<T> z(x.size()), y(x.size());
  std::mt19937_64 random(3);
  for (T& v : z) v = random() % 4 ? x[random() % x.size()] : T(static_cast<int>(random() % 9) - 4);
  for (ScalarOp op : {ScalarOp::kRem, ScalarOp::kMod, ScalarOp::kFloorDiv}) {
    for (const std::string& target : runnable_targets()) {
      const auto fn = compile(map_kernel(op, dtype), target);
      ASSERT_TRUE(fn);
      const Binding bindings[] = {bound(x), bound(z), bound(y)};
      const int64_t dims[] = {static_cast<int64_t>(x.size())};
      ASSERT_EQ(fn(bindings, dims, 0, 1), 0);
      for (size_t i = 0; i < x.size(); ++i) {
        const Scalar args[] = {{x[i], 0}, {z[i], 0}};
        const T want = static_cast<T>(ir::eval_scalar(op, dtype, args).f);
        ASSERT_TRUE((std::isnan(want) && std::isnan(y[i])) ||
                    (want == y[i] && std::signbit(want) == std::signbit(y[i])))
            << info(op).name << " " << target << fmt::format(" {:a} {:a}: {:a} not {:a}", x[i], z[i], y[i], want);
      }
    }
  }
}

TEST(Math, RemaindersAreExact) {
  check_remainders<float>(DType::kF32);
  check_remainders<double>(DType::kF64);
}

}  // namespace
}  // namespace tenon::kir
