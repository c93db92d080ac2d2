#include <gtest/gtest.h>

#include "harness.h"
#include "ir/op.h"
#include "ir/storage_order.h"

// Schedules that only GPUs have, of whatever is known of sizes: which one comes out, and that it computes what bodies say.
namespace tenon::lower_test {
namespace {

using ir::Dim;
using ir::TensorType;
using ir::Value;
using Attrs = std::vector<std::pair<std::string, ir::Attr>>;
using Ints = std::vector<int64_t>;

struct Case {
  ir::Graph graph;
  Instance instance;

  Value* input(DType dtype, std::vector<Dim> dims) { return graph.add_input(graph.unique_name("x"), TensorType(dtype, std::move(dims))); }
  Dim symbol(const char* name, int64_t value) {
    instance.symbols[name] = value;
    return graph.dims().symbol(name);
  }
  Value* value(std::string_view op, std::vector<Value*> inputs, Attrs attrs = {}) {
    ir::Builder builder(graph);
    Value* made = builder.make_n(op, inputs, 1, std::move(attrs))[0];
    EXPECT_TRUE(builder.status().ok()) << builder.status().to_string();
    return made;
  }
  /// The implementation on `target`.
  std::string check(Value* v, const codegen::Target& target, double tolerance = 1e-5) {
    graph.add_output(v);
    uint64_t seed = 1;
    for (Value* given : graph.inputs()) instance.tensors[given] = random_tensor(*given, instance, seed++);
    return check_lowering(*v->def(), target, instance, tolerance);
  }
};

codegen::Target gpu_of(int64_t busy, int lane_sums = 16) {
  codegen::Target t = gpu();
  t.busy_workgroups = busy;
  t.lane_sums = lane_sums;
  return t;
}

/// The product a [rows, k] × b [k, n], or b [n, k] where `along_k`.
std::string product(Dim rows, int64_t k, int64_t n, bool along_k, const codegen::Target& target, DType dtype = DType::kF32,
                    double tolerance = 1e-5) {
  SCOPED_TRACE(fmt::format("{}x{}x{} {}", to_string(rows), k, n, along_k));
  Case c;
  Value* b = c.input(dtype, along_k ? std::vector<Dim>{n, k} : std::vector<Dim>{k, n});
  return c.check(c.value("Gemm", {c.input(dtype, {rows, k}), b, c.input(dtype, {n})}, {{"transB", int64_t{along_k}}, {"alpha", 0.5f}}),
                 target, tolerance);
}

TEST(LowerLanes, FewRows) {
  for (bool along_k : {false, true})
    for (int64_t rows : {1, 3, 8})
      for (int64_t k : {33, 96, 250})
        for (int64_t n : {2, 7, 40, 130}) EXPECT_TRUE(product(rows, k, n, along_k, gpu_of(2)).starts_with("contraction of few rows"));
}

TEST(LowerLanes, FewRowsOfOtherGpus) {
  for (int subgroup : {1, 8, 64})
    for (int most : {128, 1024}) {
      codegen::Target target = gpu_of(1000, most == 128 ? 1 : 64);
      target.subgroup_size = subgroup;
      target.max_workgroup = most;
      target.shared_bytes = 8 << 10;
      for (bool along_k : {false, true})
        for (int64_t n : {5, 70}) EXPECT_TRUE(product(4, 200, n, along_k, target).starts_with("contraction of few rows"));
    }
}

TEST(LowerLanes, FewRowsInSeveralBlocks) {
  for (bool along_k : {false, true})
    for (int64_t k : {2048, 2500}) EXPECT_TRUE(product(2, k, 9, along_k, gpu_of(1, 64)).starts_with("contraction of few rows"));
}

TEST(LowerLanes, FewRowsOfOtherTypes) {
  for (DType dtype : {DType::kF16, DType::kBF16, DType::kF64})
    EXPECT_TRUE(product(2, 70, 19, true, gpu_of(2), dtype, dtype == DType::kF64 ? 1e-12 : 1e-2).starts_with("contraction of few rows"));
  Case c;
  Value* y = c.value("MatMulInteger",
                     {c.input(DType::kU8, {3, 70}), c.input(DType::kI8, {70, 19}), c.input(DType::kU8, {}), c.input(DType::kI8, {19})});
  EXPECT_TRUE(c.check(y, gpu_of(2), 0).starts_with("contraction of few rows"));
}

/// A GPU with dot products of words.
codegen::Target gpu_with_dot(int64_t busy) {
  codegen::Target t = gpu_of(busy);
  t.has_dot4_signed = true;
  return t;
}

struct Bytes : Case {
  Value* constant(DType dtype, std::vector<Dim> dims) {
    return ir::Builder(graph).constant(random_tensor(*graph.add_input(graph.unique_name("w"), TensorType(dtype, std::move(dims))), instance, 99));
  }
};

TEST(LowerLanes, ProductsOfBytes) {
  for (DType x : {DType::kU8, DType::kI8})
    for (DType w : {DType::kU8, DType::kI8})
      for (int64_t rows : {1, 5, 19})
        for (int64_t k : {128, 150, 259})
          for (bool by_column : {false, true}) {
            SCOPED_TRACE(fmt::format("{} {}x{} by {}, {} zero points", name(x), rows, k, name(w), by_column ? 21 : 1));
            Bytes c;
            Value* zeros = c.constant(w, by_column ? std::vector<Dim>{21} : std::vector<Dim>{});
            Value* y = c.value("MatMulInteger", {c.input(x, {rows, k}), c.constant(w, {k, 21}), c.input(x, {}), zeros});
            const std::string how = c.check(y, gpu_with_dot(2), 0);
            EXPECT_NE(how.find(rows <= 8 ? "few rows of bytes" : " of bytes"), std::string::npos) << how;
          }
}

TEST(LowerLanes, ProductsOfBytesInParts) {
  for (int64_t rows : {1, 20})
    for (int64_t k : {4096, 4093}) {
      Bytes c;
      Value* y = c.value("MatMulInteger", {c.input(DType::kU8, {rows, k}), c.constant(DType::kU8, {k, 21}), c.input(DType::kU8, {}), c.constant(DType::kU8, {})});
      const std::string how = c.check(y, gpu_with_dot(64), 0);
      EXPECT_NE(how.find("of bytes"), std::string::npos) << how;
      EXPECT_NE(how.find("parts of K"), std::string::npos) << how;
    }
}

TEST(LowerLanes, ProductsOfBytesOfUnknownRows) {
  for (int64_t m : {0, 1, 17}) {
    Bytes c;
    Value* y = c.value("MatMulInteger", {c.input(DType::kU8, {c.symbol("M", m), 130}), c.constant(DType::kI8, {130, 37}), c.input(DType::kU8, {})});
    const std::string how = c.check(y, gpu_with_dot(2), 0);
    EXPECT_NE(how.find(" of bytes"), std::string::npos) << how;
    EXPECT_NE(how.find("; of 1 rows, contraction of few rows of bytes"), std::string::npos) << how;
  }
}

/// Weights are the first factor where channels lie before rows, the second where they are innermost.
TEST(LowerLanes, ConvolutionsOfBytes) {
  struct Kind {
    DType x, w;
    std::vector<Dim> image, weights;
    int64_t groups;
    Ints strides, dilations;
  };
  const Kind kinds[] = {{DType::kI8, DType::kI8, {1, 8, 9, 7}, {24, 8, 3, 3}, 1, {1, 1}, {1, 1}}, {DType::kU8, DType::kI8, {2, 6, 9, 7}, {12, 6, 3, 2}, 1, {2, 1}, {1, 2}},
                        {DType::kU8, DType::kU8, {1, 21, 6, 5}, {18, 21, 1, 1}, 1, {1, 1}, {1, 1}}, {DType::kI8, DType::kU8, {1, 16, 6, 5}, {20, 8, 3, 2}, 2, {1, 2}, {1, 1}}};
  for (const Kind& k : kinds)
    for (const bool channels_last : {false, true}) {
      SCOPED_TRACE(fmt::format("{} by {}, channels last: {}", name(k.x), name(k.w), channels_last));
      Bytes c;
      Value* y = c.value("ConvInteger", {c.input(k.x, k.image), c.constant(k.w, k.weights), c.input(k.x, {}), c.constant(k.w, {})},
                         {{"pads", Ints{1, 0, 1, 1}}, {"group", k.groups}, {"strides", k.strides}, {"dilations", k.dilations}});
      if (channels_last) ir::set_storage_order(*y, {0, 2, 3, 1});
      const std::string how = c.check(y, gpu_with_dot(2), 0);
      EXPECT_NE(how.find(" of bytes"), std::string::npos) << how;
    }
}

TEST(LowerLanes, FewRowsOfPackedWeights) {
  for (int64_t bits : {4, 8})
    for (int64_t k : {64, 96, 100}) {
      SCOPED_TRACE(fmt::format("{} bits, K {}", bits, k));
      Case c;
      const int64_t blocks = (k + 31) / 32;
      Value* y =
          c.value("com.microsoft.MatMulNBits",
                  {c.input(DType::kF32, {2, k}), c.input(DType::kU8, {19, blocks, 32 * bits / 8}), c.input(DType::kF32, {19 * blocks})},
                  {{"K", k}, {"N", int64_t{19}}, {"bits", bits}, {"block_size", int64_t{32}}});
      EXPECT_TRUE(c.check(y, gpu_of(2)).starts_with("contraction of few rows"));
    }
}

TEST(LowerLanes, FewRowsOfASymbolicBatch) {
  Case c;
  const Dim n = c.symbol("N", 3), k = c.symbol("K", 71);
  Value* y = c.value("MatMul", {c.input(DType::kF32, {n, 2, 5, k}), c.input(DType::kF32, {n, 2, k, 37})});
  EXPECT_TRUE(c.check(y, gpu_of(2)).starts_with("contraction of few rows"));
}

/// Kernels for few rows and for many, of which a run takes one.
TEST(LowerLanes, UnknownRows) {
  for (int64_t m : {0, 1, 2, 5}) {
    Case c;
    Value* y = c.value("MatMul", {c.input(DType::kF32, {c.symbol("M", m), 40}), c.input(DType::kF32, {40, 37})});
    const std::string how = c.check(y, gpu_of(2));
    EXPECT_NE(how.find("; of 1 rows, contraction of few rows"), std::string::npos) << how;
  }
}

TEST(LowerLanes, LongSumsOfFewTilesAreCut) {
  for (int64_t rows : {1, 20}) {
    EXPECT_TRUE(product(rows, 1024, 33, false, gpu_of(64)).ends_with("4 parts of K"));
    EXPECT_TRUE(product(rows, 1021, 17, false, gpu_of(64)).ends_with("3 parts of K"));  // a prime
    EXPECT_FALSE(product(rows, 1024, 33, false, gpu_of(2)).ends_with("of K"));
  }
}

TEST(LowerLanes, ConvolutionsOfFewPositionsAreCut) {
  Case c;
  Value* y = c.value("Conv", {c.input(DType::kF32, {1, 60, 5, 5}), c.input(DType::kF32, {20, 60, 3, 3}), c.input(DType::kF32, {20})},
                     {{"pads", Ints{1, 1, 1, 1}}});
  EXPECT_TRUE(c.check(y, gpu_of(64)).ends_with("2 parts of K"));
}

/// A GPU that a few elements keep busy, with registers for several columns.
codegen::Target small_gpu() {
  codegen::Target t = gpu();
  t.busy_workgroups = 0;
  t.lane_sums = 32;
  return t;
}

TEST(LowerLanes, DepthwiseConvolutionsShareWhatTheyLoad) {
  struct Kind {
    std::vector<Dim> image, weights;
    Ints pads, strides, dilations;
  };
  const Kind kinds[] = {{{2, 5, 12, 9}, {5, 1, 3, 3}, {1, 1, 1, 1}, {1, 1}, {1, 1}},   {{1, 3, 13, 11}, {3, 1, 5, 3}, {2, 0, 1, 1}, {2, 2}, {1, 1}},
                        {{1, 4, 17, 10}, {4, 1, 3, 3}, {2, 2, 2, 2}, {1, 1}, {2, 2}},  {{2, 3, 7, 19}, {3, 1, 3, 4}, {0, 1, 0, 2}, {1, 2}, {1, 1}},
                        {{1, 2, 3, 3}, {2, 1, 3, 3}, {1, 1, 1, 1}, {1, 1}, {1, 1}},    {{1, 3, 16, 16}, {3, 1, 3, 3}, {0, 0, 0, 0}, {1, 1}, {3, 1}}};
  for (const Kind& k : kinds)
    for (const DType dtype : {DType::kF32, DType::kF16})
      for (const bool channels_last : {false, true}) {
        SCOPED_TRACE(fmt::format("{} {} strides {}, channels last: {}", name(dtype), to_string(k.image[2]), k.strides[0], channels_last));
        Case c;
        Value* x = c.input(dtype, k.image);
        if (channels_last) {
          x = c.value("tenon.relayout", {x});
          ir::set_storage_order(*x, {0, 2, 3, 1});
        }
        Value* y = c.value("Conv", {x, c.input(dtype, k.weights), c.input(dtype, {k.weights[0]})},
                           {{"group", k.image[1].value()}, {"pads", k.pads}, {"strides", k.strides}, {"dilations", k.dilations}});
        if (channels_last) {
          ir::set_storage_order(*y, {0, 2, 3, 1});
          c.instance.tensors[x] = random_tensor(*x, c.instance, 5);
        }
        const std::string how = c.check(y, small_gpu(), dtype == DType::kF16 ? 1e-2 : 1e-5);
        EXPECT_TRUE(how.starts_with("window of ")) << how;
      }
}

TEST(LowerLanes, PoolsShareWhatTheyLoad) {
  for (const char* op : {"MaxPool", "AveragePool", "LpPool"})
    for (const Ints& strides : {Ints{1, 1}, Ints{2, 2}, Ints{1, 3}})
      for (const int64_t height : {5, 12, 19}) {
        SCOPED_TRACE(fmt::format("{} of {}, strides {}", op, height, strides[0]));
        Case c;
        Value* y = c.value(op, {c.input(DType::kF32, {2, c.symbol("C", 3), height, c.symbol("W", 10)})}, {{"kernel_shape", Ints{3, 3}}, {"pads", Ints{1, 1, 1, 1}}, {"strides", strides}});
        const std::string how = c.check(y, small_gpu());
        EXPECT_TRUE(how.starts_with("window of ")) << how;
      }
}

TEST(LowerLanes, WindowsOfNoElements) {
  Case c;
  c.check(c.value("MaxPool", {c.input(DType::kF32, {c.symbol("N", 0), 3, 9, 9})}, {{"kernel_shape", Ints{3, 3}}}), small_gpu());
}

TEST(LowerLanes, LongReductionsOfFewRowsAreCut) {
  for (const char* op : {"ReduceSum", "ReduceMax", "ReduceMean", "ReduceL2"})
    for (int64_t length : {4096, 4099}) {
      Case c;
      SCOPED_TRACE(fmt::format("{} of {}", op, length));
      Value* axes = ir::Builder(c.graph).constant(Tensor::scalar<int64_t>(1).reshaped({1}).value());
      const std::string how = c.check(c.value(op, {c.input(DType::kF32, {3, length}), axes}, {{"keepdims", int64_t{0}}}), gpu_of(64));
      EXPECT_EQ(how, "row reduction in 2 parts");
    }
}

TEST(LowerLanes, ReductionsOfUnknownLengthAreCut) {
  for (int64_t n : {1, 5, 700}) {
    Case c;
    Value* y = c.value("ReduceSum", {c.input(DType::kF32, {c.symbol("N", n)})});
    EXPECT_EQ(c.check(y, gpu_of(64)), "row reduction in 64 parts");
  }
}

TEST(LowerLanes, ReductionsAcrossRowsAreCut) {
  Case c;
  Value* axes = ir::Builder(c.graph).constant(Tensor::scalar<int64_t>(0).reshaped({1}).value());
  Value* y = c.value("ReduceSum", {c.input(DType::kF32, {640, 10}), axes}, {{"keepdims", int64_t{0}}});
  EXPECT_EQ(c.check(y, gpu_of(8)), "window in 8 parts");
}

TEST(LowerLanes, PositionsOfExtremesAreNotCut) {
  Case c;
  EXPECT_EQ(c.check(c.value("ArgMax", {c.input(DType::kF32, {2, 5000})}, {{"axis", int64_t{1}}}), gpu_of(64)), "row reduction");
}

TEST(LowerLanes, RunningSumsOfLongRows) {
  for (int64_t axis : {0, 1})
    for (int64_t exclusive : {0, 1})
      for (int64_t reverse : {0, 1})
        for (int64_t n : {65, 1024, 2500}) {
          Case c;
          const Dim length = c.symbol("N", n);
          Value* x = c.input(DType::kF32, axis == 1 ? std::vector<Dim>{2, length} : std::vector<Dim>{length, 2});
          Value* at = ir::Builder(c.graph).constant(Tensor::scalar<int64_t>(axis));
          EXPECT_EQ(c.check(c.value("CumSum", {x, at}, {{"exclusive", exclusive}, {"reverse", reverse}}), gpu()), "scan");
        }
}

TEST(LowerLanes, Transpositions) {
  for (const Ints& perm : {Ints{0, 2, 1}, Ints{2, 1, 0}, Ints{1, 2, 0}})
    for (DType dtype : {DType::kF32, DType::kU8, DType::kBool}) {
      Case c;
      Value* x = c.input(dtype, {33, c.symbol("N", 37), 40});
      Value* y = c.value("Transpose", {x}, {{"perm", perm}});
      EXPECT_EQ(c.check(y, gpu()), "map");
      const auto lowered = codegen::lower(*y->def(), gpu());
      ASSERT_TRUE(lowered.ok());
      EXPECT_GT(lowered->kernels[0].kernel.lanes, 1);
    }
}

}  // namespace
}  // namespace tenon::lower_test
