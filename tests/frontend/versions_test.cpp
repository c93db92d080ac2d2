// Every op in every version of it: its models import and run.

#include <gmock/gmock.h>

#include <cmath>
#include <limits>

#include "frontend/onnx/importer.h"
#include "frontend/onnx/op_versions.h"
#include "tests/frontend/op_forms.h"

namespace tenon::frontend {
namespace {

using namespace testing;

/// Experimental ops of version 1 whose definition names no computation.
bool undefined(const OpVersions& op) { return op.name == "ATen" || op.name == "GRUUnit"; }

TEST(Versions, OfEveryOpImportAndRun) {
  int pairs = 0, missing = 0;
  for (const OpVersions& op : all_op_versions()) {
    if (op.domain == "com.microsoft" || undefined(op)) continue;
    for (int64_t version : op.versions()) {
      const std::string name = op.domain.empty() ? std::string(op.name) : fmt::format("{}.{}", op.domain, op.name);
      SCOPED_TRACE(fmt::format("{}-{}", name, version));
      if (ir::find_op(op.domain, op.name) == nullptr && !has_replacement(op.domain, op.name, version) &&
          !is_form(op.domain, op.name, version)) {
        ++missing;
        fmt::print("{}-{} is not there\n", name, version);
        continue;
      }
      const OpForm* form = find_form(name, version);
      if (form == nullptr) {
        ADD_FAILURE() << "there is no model of it";
        continue;
      }
      ++pairs;
      const OpModel made = op_model(op.domain, op.name, version, *form);
      run(made.model, made.inputs);
    }
  }
  fmt::print("{} pairs of op and version, {} of ops that are not there\n", pairs, missing);
}

/// An old definition on numbers, and what it gives by that definition.
struct OldMeaning {
  const char* op;
  int64_t version;
  const char *inputs, *attrs;
  std::vector<double> expected;  // of the first output
  int outputs = 1;
};

const double kE = std::exp(1.0);
constexpr double kFloatMax = std::numeric_limits<float>::max();

const OldMeaning kOldMeanings[] = {
    // Broadcasting by attribute: B's shape begins at `axis`, or is a suffix of A's.
    {"Sub", 6, "f32{1,2,3,4}[2,2] f32{1,2}", "axis=0 broadcast=1", {0, 1, 1, 2}},
    {"Sub", 6, "f32{1,2,3,4}[2,2] f32{1,2}", "broadcast=1", {0, 0, 2, 2}},
    {"Pow", 1, "f32{1,2,3,4}[2,2] f32{1,2}", "axis=0 broadcast=1", {1, 2, 9, 16}},
    {"Less", 1, "f32{1,2,3,4}[2,2] f32{2,4}", "axis=0 broadcast=1", {1, 0, 1, 0}},
    {"Equal", 1, "i32{1,2,3,4}[2,2] i32{1,4}", "axis=0 broadcast=1", {1, 0, 0, 1}},
    {"Xor", 1, "bool{1,0,1,0}[2,2] bool{1,0}", "axis=0 broadcast=1", {0, 1, 1, 0}},
    {"Gemm", 6, "f32{1,2}[1,2] f32{3,4,5,6}[2,2] f32{1,2}", "broadcast=1 alpha=1.0", {14, 18}},
    {"PRelu", 6, "f32{-1,-2,-3,-4}[1,2,2] f32{1,10}", "", {-1, -2, -30, -40}},
    // Attributes that are inputs now, and defaults that changed.
    {"Concat", 1, "f32{1,2}[1,2] f32{3}[1,1]", "", {1, 2, 3}},
    {"Clip", 6, "f32{-inf,0,inf}", "min=-1.0", {-1, 0, kFloatMax}},
    {"Clip", 1, "f32{-5,0,inf}", "min=-1.0", {-1, 0, HUGE_VAL}},
    {"Selu", 1, "f32{1,-1}", "", {1.0507, 1.0507 * 1.6732 * (1 / kE - 1)}},
    {"Selu", 6, "f32{1}", "", {1.05070102214813232421875}},
    {"Reshape", 1, "f32{1,2,3,4}", "shape=[2,-1]", {1, 2, 3, 4}},
    {"Pad", 1, "f32{1,2}", "mode=constant paddings=[1,1] value=9.0", {9, 1, 2, 9}},
    {"Slice", 1, "f32{1,2,3,4}[2,2]", "axes=[1] starts=[1] ends=[9]", {2, 4}},
    {"Split", 1, "f32{1,2,3} f32{1,2}", "axis=0", {1}, 2},
    {"Tile", 1, "f32{1,2,3,4}[2,2] f32:2 f32:1", "", {1, 2, 1, 2, 3, 4, 3, 4}},
    {"TopK", 1, "f32{1,9,3}", "k=2 axis=0", {9, 3}, 2},
    {"ReduceLogSumExp", 11, "f32{0,0,0,0}[2,2]", "axes=[-1] keepdims=0", {std::log(2.0), std::log(2.0)}},
    {"Unsqueeze", 1, "f32{1,2}", "axes=[0]", {1, 2}},
    {"Cast", 1, "f32{1.5,-1.5}", "to=BOOL", {1, 1}},
    // Other meanings of the same arguments.
    {"Softmax", 11, "f32{0,0,0,0}[1,2,2]", "axis=1", {0.25, 0.25, 0.25, 0.25}},
    {"LogSoftmax", 1, "f32{0,0,0,0}[1,2,2]", "", {-std::log(4.0), -std::log(4.0), -std::log(4.0), -std::log(4.0)}},
    {"Hardmax", 11, "f32{1,2,4,3}[1,2,2]", "axis=1", {0, 0, 1, 0}},
    {"OneHot", 9, "i64{0,-1} i64:2 f32{5,7}", "", {7, 5, 5, 5}},
    {"OneHot", 11, "i64{0,-1} i64:2 f32{5,7}", "", {7, 5, 5, 7}},
    {"LpPool", 1, "f32{3,4}[1,1,2]", "kernel_shape=[2] p=2.0", {5}},
    {"GlobalLpPool", 1, "f32{1,2}[1,1,2]", "p=1.0", {3}},
    {"BatchNormalization", 7, "f32{3,5}[1,2] f32{2,1} f32{1,0} f32{1,1} f32{4,16}", "spatial=0 epsilon=0.0", {3, 1}},
    {"GroupNormalization",
     18,
     "f32{1,3,5,9}[1,4,1] f32{1,10} f32{0,100}",
     "num_groups=2 epsilon=0.0",
     {-1, 1, 90, 110}},
    {"Upsample", 1, "f32{1,2}[1,1,1,2]", "height_scale=1.0 width_scale=2.0", {1, 1, 2, 2}},
    {"Upsample", 7, "f32{1,2}[1,1,1,2]", "mode=linear scales=[1.0,1.0,1.0,2.0]", {1, 1.5, 2, 2}},
    {"Resize", 10, "f32{1,2,3,4}[1,1,1,4] f32{1,1,1,0.5}", "", {1, 3}},
    {"Resize",
     11,
     "f32{1,2,3,4}[1,1,1,4] f32{} f32{1,1,1,0.5}",
     "coordinate_transformation_mode=tf_half_pixel_for_nn nearest_mode=floor",
     {2, 4}},
    {"RoiAlign", 10, "f32{1,2,3,4}[1,1,2,2] f32{0,0,1,1}[1,4] i64{0}", "sampling_ratio=1", {2.5}},
    {"RoiAlign", 16, "f32{1,2,3,4}[1,1,2,2] f32{0,0,1,1}[1,4] i64{0}", "sampling_ratio=1", {1}},
    {"GridSample", 16, "f32{1,2,3,4}[1,1,2,2] f32{0,0}[1,1,1,2]", "mode=bilinear", {2.5}},
    {"DFT", 17, "f32{1,2,3}[1,3,1]", "axis=1", {6, 0, -1.5, std::sqrt(0.75), -1.5, -std::sqrt(0.75)}},
    // Experimental ops of opset 1.
    {"Affine", 1, "f32{1,2}", "alpha=3.0 beta=1.0", {4, 7}},
    {"ConstantFill", 1, "", "shape=[2] value=4.5", {4.5, 4.5}},
    {"ConstantFill", 1, "i64{2}", "input_as_shape=1 extra_shape=[2] value=3.0 dtype=6", {3, 3, 3, 3}},
    {"Crop", 1, "f32{1,2,3,4,5,6,7,8,9}[1,1,3,3]", "border=[1,0,0,2]", {2, 3}},
    {"Crop", 1, "f32{1,2,3,4,5,6,7,8,9}[1,1,3,3]", "border=[1,1,0,0] scale=[2,1]", {5, 8}},
    {"DynamicSlice", 1, "f32{1,2,3,4} i64{1} i64{3} i64{0}", "", {2, 3}},
    {"GivenTensorFill", 1, "", "shape=[2] values=[4.5,5.5]", {4.5, 5.5}},
    {"ImageScaler", 1, "f32{1,2}[1,2,1,1]", "bias=[1.0,2.0] scale=0.5", {1.5, 3}},
    {"MeanVarianceNormalization", 1, "f32{1,3,5,7}[1,2,1,2]", "", {-1, 1, -1, 1}},
    {"MeanVarianceNormalization", 1, "f32{1,3,5,7}[1,2,1,2]", "across_channels=1 normalize_variance=0", {-3, -1, 1, 3}},
    {"ParametricSoftplus", 1, "f32{0}", "alpha=2.0 beta=3.0", {2 * std::log(2.0)}},
    {"Scale", 1, "f32{1,2}", "scale=3.0", {3, 6}},
    {"ScaledTanh", 1, "f32{0.5}", "alpha=2.0 beta=2.0", {2 * std::tanh(1.0)}},
    // Newer attributes.
    {"Range",
     27,
     "f16:2048 f16:2052 f16:1",
     "stash_type=1",
     {2048, 2048, 2050, 2052}},  // 2049 and 2051 lie between two halves
    {"Attention",
     25,
     "f32{0,0,0}[1,1,3,1] f32{0,0,0}[1,1,3,1] f32{1,2,4}[1,1,3,1]",
     "left_window_size=1 right_window_size=0",
     {1, 1.5, 3}},
    {"Attention",
     25,
     "f32{0,0,0}[1,1,3,1] f32{0,0,0}[1,1,3,1] f32{1,2,4}[1,1,3,1]",
     "left_window_size=0",
     {7 / 3.0, 3, 4}},
};

TEST(Versions, KeepTheirMeaning) {
  for (const OldMeaning& c : kOldMeanings) {
    SCOPED_TRACE(fmt::format("{}-{} {}", c.op, c.version, c.attrs));
    const OpModel made = op_model("", c.op, c.version, {c.op, c.version, c.inputs, c.attrs, c.outputs});
    const auto out = run(made.model, made.inputs);
    if (out.empty()) continue;
    EXPECT_THAT(numbers(out[0]), ::testing::Pointwise(::testing::DoubleNear(2e-6), c.expected));
  }
}

/// Running sums of two sequences of up to three steps, each with an initial state of its own.
OpModel batched_scan(const char* inputs, const char* attrs) {
  return op_model("", "Scan", 8, {"Scan", 8, inputs, attrs, 2});
}

TEST(Versions, ScanRunsEachExampleOfABatch) {
  const char* states_and_steps = "f32{0,0,100,100}[2,2] f32{1,2,3,4,5,6,10,20,30,40,50,60}[2,3,2]";
  OpModel whole = batched_scan(fmt::format("- {}", states_and_steps).c_str(), "body=@scan num_scan_inputs=1");
  auto out = run(whole.model, whole.inputs);
  ASSERT_EQ(out.size(), 2u);
  EXPECT_THAT(numbers(out[0]), ::testing::ElementsAre(9, 12, 190, 220));
  EXPECT_THAT(numbers(out[1]), ::testing::ElementsAre(1, 2, 4, 6, 9, 12, 110, 120, 140, 160, 190, 220));
  // The first sequence has one step; what lies behind it is zero here, undefined by the specification. Backward.
  OpModel ragged = batched_scan(fmt::format("i64{{1,2}} {}", states_and_steps).c_str(),
                                "body=@scan num_scan_inputs=1 directions=[1]");
  out = run(ragged.model, ragged.inputs);
  ASSERT_EQ(out.size(), 2u);
  EXPECT_THAT(numbers(out[0]), ::testing::ElementsAre(1, 2, 140, 160));
  EXPECT_THAT(numbers(out[1]), ::testing::ElementsAre(1, 2, 0, 0, 0, 0, 130, 140, 140, 160, 0, 0));
}

}  // namespace
}  // namespace tenon::frontend
