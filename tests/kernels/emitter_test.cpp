#include <cmath>
#include <cstring>
#include <map>
#include <random>

#include "support/float_types.h"
#include "support/tensor.h"
#include "tests/kernels/run_kernel.h"

namespace tenon::kir {
namespace {

constexpr DType kDtypes[] = {DType::kF32, DType::kF32, DType::kF64, DType::kF16, DType::kBF16,
                             DType::kI8,  DType::kI16, DType::kI32, DType::kI64, DType::kU8,
                             DType::kU16, DType::kU32, DType::kU64, DType::kBool};
constexpr int64_t kSize = 256;  // elements of every input
constexpr int64_t kGrid = 3, kTrips = 96;
constexpr int kSlots = 12;  // regions of an output, one each store

/// Builds random kernels in which every store of a vector loop has elements of its own, so that any order of lanes
/// gives the same result. Only operations that eval_scalar rounds as hardware does take part.
class Generator {
 public:
  Generator(Kernel& kernel, uint64_t seed) : b_(kernel), random_(seed) {
    for (DType d : kDtypes)
      if (!inputs_.count(d)) inputs_[d] = b_.add_binding("x_" + std::string(name(d)), d, false);
    order_ = b_.add_binding("order", DType::kI64, false);
    for (DType d : kDtypes)
      if (!outputs_.count(d)) outputs_[d] = b_.add_binding("y_" + std::string(name(d)), d, true);
    local_ = b_.add_local("local", DType::kF32, 16);
    for (int64_t i = 0; i < 16; ++i)
      b_.store(local_, b_.i64(i), b_.constant(DType::kF32, static_cast<double>(i) - 3.5));
    trips_ = b_.dim(0);
    add(trips_);
    add(b_.grid_index());
  }

  void body() {
    for (int n = 1 + pick(2); n > 0; --n) vector_loop();
  }

 private:
  int pick(int n) { return static_cast<int>(random_() % static_cast<uint64_t>(n)); }
  DType any_dtype() { return kDtypes[pick(std::size(kDtypes))]; }
  DType dtype(ValueId v) { return b_.kernel().dtype(v); }
  void add(ValueId v) { pool_.push_back(v); }

  ValueId value(DType d) {
    std::vector<ValueId> fits;
    for (ValueId v : pool_)
      if (dtype(v) == d) fits.push_back(v);
    if (!fits.empty() && pick(5))
      return fits[fits.size() - 1 - static_cast<size_t>(pick(static_cast<int>(std::min<size_t>(fits.size(), 4))))];
    if (d == DType::kBool) return b_.op(ScalarOp::kLt, {value(DType::kI64), b_.i64(pick(40))});
    if (pick(2) && !pool_.empty()) return b_.cast(pool_[static_cast<size_t>(pick(static_cast<int>(pool_.size())))], d);
    return is_float(d) ? b_.constant(d, pick(2) ? pick(9) - 4 : 0.37)
                       : b_.constant_int(d, is_unsigned_int(d) ? pick(9) : pick(9) - 4);
  }

  ValueId offset() {
    switch (pick(8)) {
      case 0:
        return b_.add(iv_, b_.i64(pick(50)));
      case 1:
        return b_.add(b_.mul(iv_, b_.i64(2)), b_.i64(pick(30)));
      case 2:
        return b_.sub(b_.i64(kTrips + pick(100)), iv_);
      case 3:
        return b_.i64(pick(kSize));
      case 4:
        return b_.op(ScalarOp::kMod, {b_.cast(b_.load(order_, iv_), DType::kI64), b_.i64(kSize)});
      case 5:
        return b_.op(ScalarOp::kFloorDiv, {b_.mul(iv_, b_.i64(3)), b_.i64(2)});
      case 6:
        return b_.op(ScalarOp::kMod, {value(DType::kI64), b_.i64(kSize)});
      default:
        return iv_;
    }
  }

  void load() {
    if (pick(6) == 0) return add(b_.load(local_, b_.op(ScalarOp::kMod, {offset(), b_.i64(16)})));
    const DType d = any_dtype();
    const ValueId at = offset();
    if (pick(3)) return add(b_.load(inputs_[d], at));
    const ValueId mask = value(DType::kBool);
    // Where the mask is off the address is far outside.
    const ValueId far = pick(2) ? b_.op(ScalarOp::kSelect, {mask, at, b_.i64(int64_t{1} << 40)}) : at;
    add(b_.load_masked(inputs_[d], far, mask, value(d)));
  }

  void store() {
    if (slot_ == kSlots) return;
    const DType d = any_dtype();
    const ValueId base = b_.i64((slot_++ * kGrid) * 2 * kTrips);
    const ValueId row = b_.add(base, b_.mul(b_.grid_index(), b_.i64(2 * kTrips)));
    ValueId at = iv_;
    switch (pick(4)) {
      case 0:
        at = b_.sub(b_.i64(kTrips), iv_);
        break;
      case 1:
        at = b_.mul(iv_, b_.i64(2));
        break;
      case 2:
        at = b_.load(order_, iv_);
        break;
      default:
        break;
    }
    at = b_.add(row, at);
    if (pick(3)) return b_.store(outputs_[d], at, value(d));
    const ValueId mask = value(DType::kBool);
    b_.store_masked(outputs_[d], b_.op(ScalarOp::kSelect, {mask, at, b_.i64(int64_t{1} << 40)}), value(d), mask);
  }

  void op() {
    using enum ScalarOp;
    static constexpr ScalarOp kFloat[] = {kNeg, kAbs, kSqrt, kFloor,  kCeil,  kRound, kTrunc, kAdd,
                                          kSub, kMul, kDiv,  kMin,    kMax,   kEq,    kNe,    kLt,
                                          kLe,  kGt,  kGe,   kSelect, kIsNan, kIsInf, kSign,  kRecip};
    static constexpr ScalarOp kInt[] = {kNeg, kAbs,      kSign, kNot, kPopcount, kAdd,    kSub, kMul, kDiv, kRem,
                                        kMod, kFloorDiv, kMin,  kMax, kAnd,      kOr,     kXor, kShl, kShr, kEq,
                                        kNe,  kLt,       kLe,   kGt,  kGe,       kSelect, kFma, kPow, kDot4, kDot4Signed};
    static constexpr ScalarOp kLogic[] = {kNot, kAnd, kOr, kXor, kEq, kNe, kSelect};
    const DType d = any_dtype();
    ScalarOp o = is_float(d)         ? kFloat[pick(std::size(kFloat))]
                       : d == DType::kBool ? kLogic[pick(std::size(kLogic))]
                                           : kInt[pick(std::size(kInt))];
    if (!ir::takes(o, d)) o = kFma;
    std::vector<ValueId> args;
    for (int i = 0; i < info(o).arity; ++i) args.push_back(value(o == kSelect && i == 0 ? DType::kBool : d));
    add(b_.op(o, args));
  }

  void statements(int depth) {
    for (int n = 2 + pick(8); n > 0; --n) {
      switch (pick(10)) {
        case 0:
        case 1:
          load();
          break;
        case 2:
        case 3:
          store();
          break;
        case 4:
          if (depth < 2) serial_loop(depth);
          break;
        case 5:
          if (depth < 2) branch(depth);
          break;
        default:
          op();
      }
    }
  }

  void serial_loop(int depth) {
    const DType d = any_dtype();
    const ValueId init = value(d);
    const size_t mark = pool_.size();
    // Bounds: constant, uniform, moving with the lanes, or different in each.
    const ValueId seven = b_.i64(7);
    ValueId lo = b_.i64(pick(3)), hi = b_.i64(pick(6));
    switch (pick(5)) {
      case 0:
        hi = b_.op(ScalarOp::kMod, {trips_, seven});
        break;
      case 1:
        lo = iv_, hi = b_.add(iv_, b_.i64(pick(5)));
        break;
      case 2:
        hi = b_.op(ScalarOp::kMod, {value(DType::kI64), seven});
        break;
      case 3:
        lo = b_.op(ScalarOp::kMod, {value(DType::kI64), seven});
        break;
      default:
        break;
    }
    const LoopKind kind = b_.as_constant(lo) && b_.as_constant(hi) && pick(2) ? LoopKind::kUnroll : LoopKind::kSerial;
    const auto results =
        b_.loop(kind, lo, hi, 1 + pick(2), std::span(&init, 1), [&](ValueId iv, std::span<const ValueId> carried) {
          add(iv);
          add(carried[0]);
          statements(depth + 1);
          return std::vector<ValueId>{value(d)};
        });
    pool_.resize(mark);
    add(results[0]);
  }

  void branch(int depth) {
    const DType d = any_dtype();
    const size_t mark = pool_.size();
    const auto side = [&] {
      statements(depth + 1);
      std::vector<ValueId> yields = {value(d)};
      pool_.resize(mark);
      return yields;
    };
    const ValueId condition = value(DType::kBool);
    const auto results = b_.if_else(condition, side, side);
    pool_.resize(mark);
    add(results[0]);
  }

  void vector_loop() {
    const size_t mark = pool_.size();
    std::vector<ValueId> inits;
    std::vector<Combiner> combiners;
    for (int n = pick(3); n > 0; --n) {
      const bool exact_int = pick(2);
      const DType d = exact_int ? DType::kI32 : DType::kF32;
      inits.push_back(exact_int ? b_.constant_int(d, pick(5)) : b_.constant(d, pick(5)));
      static constexpr Combiner kAny[] = {Combiner::kAdd, Combiner::kMul, Combiner::kMin,
                                          Combiner::kMax, Combiner::kAnd, Combiner::kOr};
      combiners.push_back(exact_int ? kAny[pick(6)] : pick(2) ? Combiner::kMin : Combiner::kMax);
    }
    const ValueId hi = pick(4) ? trips_ : b_.i64(pick(kTrips));
    const int width = pick(3) ? 0 : 1 << pick(6);
    const auto results = b_.loop(
        LoopKind::kVector, b_.i64(pick(3)), hi, 1 + (pick(4) == 0), inits,
        [&](ValueId iv, std::span<const ValueId> carried) {
          iv_ = iv;
          add(iv);
          statements(0);
          store();
          std::vector<ValueId> yields;
          for (size_t c = 0; c < carried.size(); ++c)
            yields.push_back(combined(combiners[c], carried[c], value(dtype(carried[c]))));
          return yields;
        },
        combiners, width);
    pool_.resize(mark);
    for (ValueId v : results) {
      const DType d = dtype(v);
      if (slot_ < kSlots)
        b_.store(outputs_[d],
                 b_.add(b_.i64((slot_++ * kGrid) * 2 * kTrips), b_.mul(b_.grid_index(), b_.i64(2 * kTrips))), v);
    }
  }

  ValueId combined(Combiner c, ValueId a, ValueId x) {
    static const std::map<Combiner, ScalarOp> ops = {{Combiner::kAdd, ScalarOp::kAdd}, {Combiner::kMul, ScalarOp::kMul},
                                                     {Combiner::kMin, ScalarOp::kMin}, {Combiner::kMax, ScalarOp::kMax},
                                                     {Combiner::kAnd, ScalarOp::kAnd}, {Combiner::kOr, ScalarOp::kOr}};
    return b_.op(ops.at(c), {a, x});
  }

  KernelBuilder b_;
  std::mt19937_64 random_;
  std::map<DType, int> inputs_, outputs_;
  int order_ = 0, local_ = 0, slot_ = 0;
  ValueId trips_ = 0, iv_ = 0;
  std::vector<ValueId> pool_;
};

struct Data {
  std::vector<std::vector<std::byte>> buffers;
  std::vector<int64_t> sizes;
};

Data make_data(const Kernel& k, uint64_t seed) {
  std::mt19937_64 random(seed);
  Data data;
  for (const BufferInfo& info : k.buffers) {
    if (info.space != BufferSpace::kBinding) continue;
    const int64_t size = info.written ? kSlots * kGrid * 2 * kTrips : kSize;
    data.sizes.push_back(size);
    data.buffers.emplace_back(static_cast<size_t>(size * bits(info.dtype) / 8));
    void* bytes = data.buffers.back().data();
    for (int64_t i = 0; i < size && !info.written; ++i) {
      ir::Scalar v;
      v.i = static_cast<int64_t>(random() % 3 ? random() % 200 : random()) - (random() % 2 ? 100 : 0);
      v.f = static_cast<double>(static_cast<int64_t>(random() % 4000) - 2000) / 64;
      if (random() % 16 == 0) v.f = random() % 2 ? INFINITY : NAN;
      if (random() % 16 == 0) v.f = static_cast<double>(random()) * (random() % 2 ? 1e-40 : 1e-10);
      if (info.name == "order") v.i = (i * 35) % kTrips;
      if (info.dtype == DType::kBool) v.i &= 1;
      ir::store_scalar(bytes, info.dtype, i, v);
    }
  }
  return data;
}

bool same(DType d, const void* a, const void* b, int64_t i) {
  const ir::Scalar x = ir::load_scalar(a, d, i), y = ir::load_scalar(b, d, i);
  if (!is_float(d)) return x.i == y.i;
  return x.f == y.f || (std::isnan(x.f) && std::isnan(y.f));
}

void compare_with_interpreter(uint64_t seed) {
  Kernel k;
  k.name = "random";
  Generator(k, seed).body();
  ASSERT_TRUE(verify(k).ok()) << verify(k).to_string() << print(k);
  const auto parsed = parse(print(k));
  ASSERT_TRUE(parsed.ok()) << parsed.status().to_string();
  ASSERT_EQ(structural_hash(*parsed), structural_hash(k));
  const int64_t trips[] = {static_cast<int64_t>(seed * 7 % kTrips)};
  Data want = make_data(k, seed);
  std::vector<BufferView> views;
  for (size_t i = 0; i < want.buffers.size(); ++i) views.push_back({want.buffers[i].data(), want.sizes[i]});
  ASSERT_TRUE(interpret(k, views, trips, 0, kGrid).ok())
      << interpret(k, views, trips, 0, kGrid).to_string() << print(k);
  for (const std::string& target : runnable_targets()) {
    const auto fn = compile(k, target);
    ASSERT_TRUE(fn);
    Data got = make_data(k, seed);
    std::vector<Binding> bindings;
    for (const auto& buffer : got.buffers) bindings.push_back(bound(buffer));
    ASSERT_EQ(fn(bindings, trips, 0, kGrid), 0);
    for (size_t i = 0; i < got.buffers.size(); ++i)
      for (int64_t e = 0; e < got.sizes[i]; ++e)
        ASSERT_TRUE(same(k.buffers[i].dtype, want.buffers[i].data(), got.buffers[i].data(), e))
            << "seed " << seed << ", " << target << ", " << k.buffers[i].name << "[" << e
            << "]: " << ir::load_scalar(got.buffers[i].data(), k.buffers[i].dtype, e).f << "/"
            << ir::load_scalar(got.buffers[i].data(), k.buffers[i].dtype, e).i << " not "
            << ir::load_scalar(want.buffers[i].data(), k.buffers[i].dtype, e).f << "/"
            << ir::load_scalar(want.buffers[i].data(), k.buffers[i].dtype, e).i << "\n"
            << print(k);
  }
}

TEST(Emitter, RandomKernelsMatchTheInterpreter) {
  const char* wanted = std::getenv("TENON_SEEDS");
  const uint64_t count = wanted ? std::strtoull(wanted, nullptr, 10) : 60;
  for (uint64_t seed = 1; seed <= count && !testing::Test::HasFatalFailure(); ++seed) compare_with_interpreter(seed);
}

TEST(Emitter, SumsOfFloatsAreCloseAndRepeatable) {
  Kernel k;
  KernelBuilder b(k);
  const int x = b.add_binding("x", DType::kF32, false), y = b.add_binding("y", DType::kF32, true);
  const ValueId zero = b.constant(DType::kF32, 0);
  const auto sum =
      b.loop(LoopKind::kVector, b.i64(0), b.dim(0), 1, std::span(&zero, 1),
             [&](ValueId iv, std::span<const ValueId> c) { return std::vector<ValueId>{b.add(c[0], b.load(x, iv))}; },
             {Combiner::kAdd});
  b.store(y, b.grid_index(), sum[0]);
  std::mt19937 random(1);
  std::vector<float> values(1003);
  for (float& v : values) v = std::uniform_real_distribution<float>(-1, 1)(random);
  for (const std::string& target : runnable_targets()) {
    const auto fn = compile(k, target);
    ASSERT_TRUE(fn);
    for (int64_t n : {0, 1, 15, 16, 17, 63, 64, 65, 128, 1003}) {
      double want = 0;
      for (int64_t i = 0; i < n; ++i) want += values[static_cast<size_t>(i)];
      float got[2];
      const Binding bindings[] = {bound(values), bound(got)};
      ASSERT_EQ(fn(bindings, &n, 0, 1), 0);
      EXPECT_NEAR(got[0], want, 1e-4) << target << " " << n;
    }
  }
}

/// Lanes that each walk as many consecutive elements as there are lanes: read along these and transposed.
TEST(Emitter, TransposesWhatLanesWalk) {
  for (const DType d : {DType::kF32, DType::kF64, DType::kI16}) {
    for (const int64_t width : {4, 8, 16}) {
      for (const int64_t stride : {width, int64_t{37}}) {
        Kernel k;
        KernelBuilder b(k);
        const int x = b.add_binding("x", d, false), y = b.add_binding("y", d, true);
        b.loop(LoopKind::kVector, b.i64(0), b.dim(0), 1, [&](ValueId lane) {
          const ValueId base = b.add(b.mul(lane, b.i64(stride)), b.i64(1));
          b.loop(LoopKind::kUnroll, b.i64(0), b.i64(width), 1, [&](ValueId i) {
            b.store(y, b.add(b.mul(i, b.i64(64)), lane), b.load(x, b.add(base, i)));
          });
        }, static_cast<int>(width));
        Tensor from = *Tensor::zeros(d, {64 * 37 + 64});
        for (int64_t i = 0; i < from.size(); ++i) from.set_double(i, static_cast<double>(i));
        for (const std::string& target : runnable_targets()) {
          const auto fn = compile(k, target);
          ASSERT_TRUE(fn);
          for (const int64_t n : {width, 2 * width + 3, int64_t{1}}) {
            Tensor to = *Tensor::zeros(d, {16 * 64});
            const Binding bindings[] = {bound(from), bound(to)};
            ASSERT_EQ(fn(bindings, &n, 0, 1), 0);
            for (int64_t lane = 0; lane < n; ++lane)
              for (int64_t i = 0; i < width; ++i)
                ASSERT_EQ(to.at_double(i * 64 + lane), static_cast<double>(lane * stride + 1 + i)) << name(d) << " " << target << " " << width;
          }
        }
      }
    }
  }
}

TEST(Emitter, FusedMultiplyAddRoundsOnce) {
  for (const DType d : {DType::kF32, DType::kF64}) {
    Kernel k;
    KernelBuilder b(k);
    const int x = b.add_binding("x", d, false), y = b.add_binding("y", d, true);
    b.loop(LoopKind::kVector, b.i64(0), b.dim(0), 1, [&](ValueId i) {
      b.store(y, i, b.op(ScalarOp::kFma, {b.load(x, i), b.load(x, b.add(i, b.i64(1))), b.load(x, b.add(i, b.i64(2)))}));
    });
    std::mt19937_64 random(5);
    const int64_t n = 5000;
    const auto run = [&]<class T>(T) {
      std::vector<T> values(n + 2), got(n);
      for (T& v : values)
        v = static_cast<T>(
            std::ldexp(static_cast<double>(random() % (1 << 24)) - (1 << 23), static_cast<int>(random() % 80) - 40));
      for (const std::string& target : runnable_targets()) {
        const auto fn = compile(k, target);
        ASSERT_TRUE(fn);
        const Binding bindings[] = {bound(values), bound(got)};
        ASSERT_EQ(fn(bindings, &n, 0, 1), 0);
        for (size_t i = 0; i < got.size(); ++i)
          ASSERT_EQ(got[i], std::fma(values[i], values[i + 1], values[i + 2])) << target << " " << i;
      }
    };
    if (d == DType::kF32)
      run(float{});
    else
      run(double{});
  }
}

template <class T>
void check_casts(DType from, DType to) {
  Kernel k;
  KernelBuilder b(k);
  const int x = b.add_binding("x", from, false), y = b.add_binding("y", to, true);
  b.loop(LoopKind::kVector, b.i64(0), b.dim(0), 1, [&](ValueId i) { b.store(y, i, b.cast(b.load(x, i), to)); });
  std::vector<T> values;
  std::mt19937_64 random(11);
  for (int i = 0; i < 3000; ++i) {
    const uint64_t any = random();
    T v;
    std::memcpy(&v, &any, sizeof(T));
    values.push_back(v);
    if constexpr (std::is_floating_point_v<T>) {
      values.push_back(static_cast<T>(
          std::ldexp(static_cast<double>(any % 4096) + (any & 1 ? 0.5 : 0), static_cast<int>(any >> 58) - 40)));
      values.push_back(-values.back());
    }
  }
  const int64_t n = static_cast<int64_t>(values.size());
  std::vector<uint64_t> got(values.size());
  for (const std::string& target : runnable_targets()) {
    const auto fn = compile(k, target);
    ASSERT_TRUE(fn);
    const Binding bindings[] = {bound(values), bound(got)};
    ASSERT_EQ(fn(bindings, &n, 0, 1), 0);
    for (int64_t i = 0; i < n; ++i) {
      const ir::Scalar in = ir::load_scalar(values.data(), from, i);
      const ir::Scalar want = ir::cast_scalar(in, from, to), have = ir::load_scalar(got.data(), to, i);
      ASSERT_TRUE(is_float(to) ? want.f == have.f || (std::isnan(want.f) && std::isnan(have.f)) : want.i == have.i)
          << name(from) << " to " << name(to) << " " << target << ": "
          << fmt::format("{:a} {}: {:a} {} not {:a} {}", in.f, in.i, have.f, have.i, want.f, want.i);
    }
  }
}

TEST(Emitter, CastsOfEveryPair) {
  for (DType to : {DType::kF32, DType::kF64, DType::kF16, DType::kBF16, DType::kI8, DType::kI16, DType::kI32,
                   DType::kI64, DType::kU8, DType::kU16, DType::kU32, DType::kU64, DType::kBool}) {
    check_casts<float>(DType::kF32, to);
    check_casts<double>(DType::kF64, to);
    check_casts<uint16_t>(DType::kF16, to);
    check_casts<uint16_t>(DType::kBF16, to);
    check_casts<int64_t>(DType::kI64, to);
    check_casts<uint64_t>(DType::kU64, to);
    check_casts<int8_t>(DType::kI8, to);
    check_casts<uint32_t>(DType::kU32, to);
  }
}

TEST(Emitter, DividesLanesExactly) {
  std::vector<int64_t> a, d;
  const int64_t edges[] = {
      0, 1, 2, 3, 7, 96, (int64_t{1} << 51) - 1, int64_t{1} << 51, (int64_t{1} << 52) + 1, INT64_MAX, INT64_MIN};
  std::mt19937_64 random(2);
  for (int64_t x : edges)
    for (int64_t y : edges)
      for (int64_t sx : {1, -1})
        for (int64_t sy : {1, -1})
          for (int repeat = 0; repeat < 8; ++repeat) {  // whole vectors of equal magnitude take the fast path
            a.push_back(static_cast<int64_t>(static_cast<uint64_t>(x) * static_cast<uint64_t>(sx) + static_cast<uint64_t>(repeat % 2)));
            d.push_back(static_cast<int64_t>(static_cast<uint64_t>(y) * static_cast<uint64_t>(sy)));
          }
  for (int i = 0; i < 20000; ++i) {
    d.push_back(1 + static_cast<int64_t>(random() >> (14 + random() % 45)));
    const int64_t near = d.back() < (1 << 20) ? d.back() * static_cast<int64_t>(random() % (1 << 30))
                                              : static_cast<int64_t>(random() >> 13);
    a.push_back(near + static_cast<int64_t>(random() % 3) - 1);
  }
  const int64_t n = static_cast<int64_t>(a.size());
  std::vector<int64_t> got(a.size());
  for (ScalarOp op : {ScalarOp::kDiv, ScalarOp::kRem, ScalarOp::kMod, ScalarOp::kFloorDiv}) {
    Kernel k;
    KernelBuilder b(k);
    const int x = b.add_binding("x", DType::kI64, false), z = b.add_binding("z", DType::kI64, false);
    const int y = b.add_binding("y", DType::kI64, true);
    b.loop(LoopKind::kVector, b.i64(0), b.dim(0), 1,
           [&](ValueId i) { b.store(y, i, b.op(op, {b.load(x, i), b.load(z, i)})); });
    for (const std::string& target : runnable_targets()) {
      const auto fn = compile(k, target);
      const Binding bindings[] = {bound(a), bound(d), bound(got)};
      ASSERT_EQ(fn(bindings, &n, 0, 1), 0);
      for (size_t i = 0; i < a.size(); ++i) {
        const Scalar args[] = {{0, a[i]}, {0, d[i]}};
        ASSERT_EQ(got[i], ir::eval_scalar(op, DType::kI64, args).i)
            << info(op).name << " " << a[i] << " " << d[i] << " " << target;
      }
    }
  }
}

TEST(Emitter, WritesTextForTargetsThatAreNotTheHost) {
  Kernel k;
  k.name = "twice";
  KernelBuilder b(k);
  const int x = b.add_binding("x", DType::kF32, false), y = b.add_binding("y", DType::kF32, true);
  b.loop(LoopKind::kVector, b.i64(0), b.dim(0), 1, [&](ValueId i) {
    const ValueId v = b.load(x, i);
    b.store(y, i, b.add(v, v));
  });
  const Kernel* const one[] = {&k};
  const auto text = [&](const char* target, codegen::EmitKind kind) {
    const auto made = codegen::emit(one, *codegen::cpu_target(target, false), kind);
    EXPECT_TRUE(made.ok()) << made.status().to_string();
    return made.ok() ? *made : std::string();
  };
  EXPECT_NE(text("x86-64-v4", codegen::EmitKind::kAssembly).find("zmm"), std::string::npos);
  EXPECT_NE(text("x86-64-v3", codegen::EmitKind::kAssembly).find("ymm"), std::string::npos);
  EXPECT_EQ(text("x86-64-v2", codegen::EmitKind::kAssembly).find("ymm"), std::string::npos);
  EXPECT_NE(text("aarch64", codegen::EmitKind::kAssembly).find(".4s"), std::string::npos);
  EXPECT_NE(text("host", codegen::EmitKind::kLlvm).find("define i32 @twice"), std::string::npos);
  EXPECT_EQ(text("aarch64", codegen::EmitKind::kObject).substr(1, 3), "ELF");
  EXPECT_FALSE(codegen::cpu_target("z80").ok());
}

TEST(Emitter, ChecksReturnTheirCode) {
  Kernel k;
  KernelBuilder b(k);
  const int x = b.add_binding("x", DType::kI64, false), y = b.add_binding("y", DType::kI64, true);
  b.loop(LoopKind::kVector, b.i64(0), b.dim(0), 1, [&](ValueId i) {
    const ValueId v = b.load(x, i);
    b.check(b.op(ScalarOp::kLt, {v, b.i64(100)}), kCheckIndexOutOfRange);
    b.store(y, i, v);
  });
  std::vector<int64_t> values(37, 5), got(37);
  const int64_t n = 37;
  for (const std::string& target : runnable_targets()) {
    const auto fn = compile(k, target);
    const Binding bindings[] = {bound(values), bound(got)};
    values[36] = 99;
    EXPECT_EQ(fn(bindings, &n, 0, 1), 0);
    values[36] = 100;
    EXPECT_EQ(fn(bindings, &n, 0, 1), kCheckIndexOutOfRange);
    EXPECT_EQ(got, values);
  }
}

TEST(Emitter, CompilesManyKernelsOnThreads) {
  std::vector<Kernel> kernels(9);
  std::vector<const Kernel*> pointers;
  for (size_t i = 0; i < kernels.size(); ++i) {
    KernelBuilder b(kernels[i]);
    const int y = b.add_binding("y", DType::kI64, true);
    b.store(y, b.grid_index(), b.add(b.grid_index(), b.i64(static_cast<int64_t>(i * 100))));
    pointers.push_back(&kernels[i]);
  }
  const auto compiled = jit_for("host").compile(pointers, 3);
  ASSERT_TRUE(compiled.ok()) << compiled.status().to_string();
  for (size_t i = 0; i < kernels.size(); ++i) {
    int64_t got[5] = {};
    void* const bindings[] = {got};
    EXPECT_EQ((*compiled)[i](bindings, nullptr, 0, 5), 0);
    EXPECT_EQ(got[4], static_cast<int64_t>(i * 100 + 4));
  }
}

}  // namespace
}  // namespace tenon::kir
