#include "runtime/plan_format.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>
#include <random>

#include "plan_maker.h"
#include "runtime/print.h"
#include "runtime/session.h"

namespace tenon::runtime {
namespace {

using Bytes = std::vector<std::byte>;

/// A plan with a bit of everything: constants of each kind, an alias, a storage order, checks, a loop, an if and a scan.
class Example {
 public:
  Example() : big_(*Tensor::zeros(DType::kF32, {100, 100})), large_indices_(*Tensor::zeros(DType::kI64, {10000})) {
    for (int64_t i = 0; i < big_.size(); ++i) big_.set_double(i, static_cast<double>(i));
    const DimId n = main_.d("N"), t = main_.d("T"), hundred = main_.d(100);
    const DimId twice = main_.op(DimProgram::Op::kMul, n, main_.d(2));
    const ValueIdx trips = main_.input("trips", {}, DType::kI64), x = main_.input("x", {n});
    const ValueIdx bias = main_.constant("bias", Tensor::from<float>({2}, {1, 10}));
    const ValueIdx big = main_.constant("big", big_), again = main_.constant("again", big_);
    main_.constant("indices", large_indices_);
    main_.constant("flags", Tensor::from<bool>({3}, {true, false, true}));
    main_.constant("words", *Tensor::strings({2}, {"a", "bc"}));
    main_.opaque("absent", Storage::kConstant);
    const ValueIdx sum = main_.value("sum", Storage::kArena, {n}), first = main_.value("first", Storage::kArena, {main_.d(10), main_.d(1000)});
    main_.plan->values[static_cast<size_t>(first)].order = {1, 0};
    const ValueIdx flat = main_.alias("flat", sum, {n, main_.d(1)});
    main_.dispatch("add bias", add_two_tensors, {x, bias, sum}, {n, twice}, n, twice);
    main_.dispatch("read big", add_two_tensors, {big, again, first}, {}, hundred);
    const ValueIdx last = main_.value("last", Storage::kHost, {n}), rows = main_.value("rows", Storage::kHost, {t, n});
    Step& step = main_.step(Step::Kind::kLoop, "loop", {trips, -1, sum}, {last, rows});
    step.plans = {body()};
    step.captures = {{bias}};
    main_.plan->checks.push_back({DimCheck::Kind::kLessEqual, n, hundred, "add bias"});
    main_.output("last", last);
    main_.output("rows", rows);
    main_.output("flat", flat);
    main_.output("first", first);
    main_.plan->outputs.pop_back();  // not row-major
  }

  std::shared_ptr<const Plan> plan() { return main_.done(); }

 private:
  std::shared_ptr<const Plan> body() {
    PlanMaker m(main_.symbols());
    m.kernels = main_.kernels;
    m.plan->kernels = main_.kernels;
    const DimId n = m.d("N");
    m.input("i", {}, DType::kI64);
    const ValueIdx going = m.input("going", {}, DType::kBool);
    const ValueIdx carried = m.input("carried", {n}), captured = m.input("captured", {n});
    const ValueIdx next = m.value("next", Storage::kArena, {n});
    m.dispatch("add", add_two_tensors, {carried, captured, next}, {}, n);
    m.output("go", going);
    m.output("next", next);
    m.output("row", next);
    return m.done();
  }

  Tensor big_, large_indices_;
  PlanMaker main_;
};

std::shared_ptr<Buffer> block_of(const WeightBlock& weights) {
  auto out = *Buffer::allocate(weights.bytes);
  for (const auto& piece : weights.pieces) std::memcpy(out->data() + piece.offset, piece.bytes.data(), piece.bytes.size());
  return out;
}

struct Written {
  Bytes bytes;
  WeightBlock weights;
};

Written write(const Plan& plan) {
  Written out;
  auto bytes = write_plan(plan, out.weights);
  EXPECT_TRUE(bytes.ok()) << bytes.status().to_string();
  if (bytes.ok()) out.bytes = std::move(*bytes);
  return out;
}

std::vector<HostValue> run(const std::shared_ptr<const Plan>& plan) {
  const auto prepared = prepare(plan);
  EXPECT_TRUE(prepared.ok()) << prepared.status().to_string();
  auto out = (*Session::create(*prepared, {}))->run(std::vector<HostValue>{Tensor::scalar<int64_t>(3), Tensor::from<float>({2}, {5, 6})});
  EXPECT_TRUE(out.ok()) << out.status().to_string();
  return std::move(*out);
}

TEST(PlanFormat, WhatIsReadIsWhatWasWritten) {
  Example example;
  const auto plan = example.plan();
  const Written written = write(*plan);
  auto read = read_plan(written.bytes, block_of(written.weights));
  ASSERT_TRUE(read.ok()) << read.status().to_string();
  EXPECT_EQ(print(*read->plan), print(*plan));
  const Written again = write(*read->plan);
  EXPECT_EQ(again.bytes, written.bytes);
  ASSERT_EQ(read->kernels->size(), plan->kernels->size());
  for (size_t i = 0; i < read->kernels->size(); ++i) (*read->kernels)[i].fn = (*plan->kernels)[i].fn;
  const std::vector<HostValue> expected = run(plan), got = run(read->plan);
  for (size_t i = 0; i < expected.size(); ++i) EXPECT_EQ(floats(got[i]), floats(expected[i]));
}

TEST(PlanFormat, LargeConstantsLieOnceInTheBlockAndIndicesAmongTheBytes) {
  Example example;
  const Written written = write(*example.plan());
  ASSERT_EQ(written.weights.pieces.size(), 1U);
  EXPECT_EQ(written.weights.bytes, 100U * 100 * 4);
  EXPECT_GT(written.bytes.size(), 10000U * 8);
}

TEST(PlanFormat, HostCallsAreNotWritten) {
  PlanMaker m;
  const ValueIdx x = m.input("x", {m.d(2)}), y = m.value("y", Storage::kHost, {m.d(2)});
  m.host("call", [](HostCallContext&) { return Status(); }, {x}, {y});
  m.output("y", y);
  WeightBlock weights;
  EXPECT_EQ(write_plan(*m.done(), weights).status().code(), Code::kUnsupported);
}

/// Neither reading nor what comes after may crash, whatever the bytes.
void read_and_prepare(const Bytes& bytes, const std::shared_ptr<Buffer>& weights) {
  const auto read = read_plan(bytes, weights);
  if (!read.ok()) {
    EXPECT_EQ(read.status().code(), Code::kInvalidArgument);
    return;
  }
  if (prepare(read->plan).ok()) print(*read->plan);
}

TEST(PlanFormat, AnyPartOfItIsAnError) {
  Example example;
  const Written written = write(*example.plan());
  const auto weights = block_of(written.weights);
  for (size_t size = 0; size < written.bytes.size(); size += size < 3000 || size + 3000 > written.bytes.size() ? 1 : 997)
    EXPECT_FALSE(read_plan(std::span(written.bytes).first(size), weights).ok()) << size;
  Bytes longer = written.bytes;
  longer.push_back(std::byte{0});
  EXPECT_FALSE(read_plan(longer, weights).ok());
  EXPECT_FALSE(read_plan(written.bytes, *Buffer::allocate(written.weights.bytes / 2)).ok()) << "constants must lie in the block";
}

TEST(PlanFormat, DamagedBytesDoNoHarm) {
  Example example;
  const Written written = write(*example.plan());
  const auto weights = block_of(written.weights);
  std::mt19937_64 random(7);
  for (int i = 0; i < 20000; ++i) {
    Bytes damaged = written.bytes;
    for (uint64_t changes = 1 + random() % 3; changes > 0; --changes) {
      std::byte& at = damaged[random() % 3 == 0 ? random() % damaged.size() : random() % std::min<size_t>(damaged.size(), 3000)];
      at = random() % 2 == 0 ? at ^ static_cast<std::byte>(1U << (random() % 8)) : static_cast<std::byte>(random());
    }
    read_and_prepare(damaged, weights);
  }
}

}  // namespace
}  // namespace tenon::runtime
