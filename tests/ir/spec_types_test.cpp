// The types that ONNX allows each op's inputs and outputs (docs/Operators.md and Operators-ml.md at opset 28 and 5): facts that
// the op table must cover.

#include <gtest/gtest.h>

#include <map>
#include <sstream>

#include "ir/op.h"

namespace tenon::ir {
namespace {

/// `types`: parameters and what they may be, "<0 <1: float i32; >0: bool". `<` counts inputs, `>` outputs. Words are dtypes, the
/// groups below, or kinds of value that are no tensors.
struct SpecTypes {
  const char *ops, *types;
};

// clang-format off
constexpr SpecTypes kSpec[] = {
    {"Abs Max Min Sign", "<0 >0: int uint float"},
    {"Acos Acosh Asin Asinh Atan Atanh AveragePool Ceil Celu Cos Cosh Det Elu Erf Exp Floor Gelu GlobalAveragePool GlobalLpPool GlobalMaxPool HardSigmoid HardSwish Hardmax LRN LeakyRelu Log LogSoftmax LpNormalization LpPool Mean MeanVarianceNormalization Mish Reciprocal Round Selu Sigmoid Sin Sinh Softmax Softplus Softsign Sqrt Sum Swish Tan Tanh ThresholdedRelu", "<0 >0: float"},
    {"Add Div Mod Mul Sub", "<0 <1 >0: int uint float"},
    {"AffineGrid", "<0 >0: float; <1: i64"},
    {"And Or Xor", "<0 <1 >0: bool"},
    {"ArgMax ArgMin", "<0: int uint float; >0: i64"},
    {"Attention", "<0 <1 <2 <4 <5 >0 >1 >2 >3: float; <3: int uint float bool; <6: i64"},
    {"BatchNormalization", "<0 <1 <2 <3 <4 >0 >1 >2: float"},
    {"Bernoulli", "<0: float; >0: int uint float bool"},
    {"BitCast", "<0 >0: int uint float f8 complex x4 x2 f8e8m0 f4e2m1 bool"},
    {"BitShift", "<0 <1 >0: uint"},
    {"BitwiseAnd BitwiseOr BitwiseXor", "<0 <1 >0: int uint"},
    {"BitwiseNot", "<0 >0: int uint"},
    {"BlackmanWindow HammingWindow HannWindow", "<0: i32 i64; >0: int uint float"},
    {"Cast", "<0 >0: int uint float f8 x4 x2 f8e8m0 f4e2m1 bool string"},
    {"CastLike", "<0 <1 >0: int uint float f8 x4 x2 f8e8m0 f4e2m1 bool string"},
    {"CausalConvWithState", "<0 <1 <2 <3 >0 >1: f16 bf16 f32"},
    {"CenterCropPad Gather GatherElements", "<0 >0: int uint float complex bool string; <1: i32 i64"},
    {"Clip", "<0 <1 <2 >0: int uint float"},
    {"Col2Im", "<0 >0: int uint float complex bool string; <1 <2: i64"},
    {"Compress", "<0 >0: int uint complex f16 f32 f64 bool string; <1: bool"},
    {"Concat DepthToSpace SpaceToDepth", "<0 >0: int uint float complex bool string"},
    {"ConcatFromSequence", "<0: seq; >0: int uint complex f16 f32 f64 bool string"},
    {"Constant", ">0: any"},
    {"ConstantOfShape", "<0: i64; >0: int uint float f8 x4 x2 f8e8m0 f4e2m1 bool"},
    {"Conv ConvTranspose GroupNormalization InstanceNormalization ai.onnx.preview.FlexAttention", "<0 <1 <2 >0: float"},
    {"ConvInteger MatMulInteger", "<0 <1 <2 <3: i8 u8; >0: i32"},
    {"CumProd CumSum", "<0 >0: float i32 i64 u32 u64; <1: i32 i64"},
    {"DFT", "<0 >0: float; <1: i32 i64; <2: i64"},
    {"DeformConv", "<0 <1 <2 <3 <4 >0: float"},
    {"DequantizeLinear", "<0 <2: f8 x4 x2 f4e2m1 i8 i16 i32 u8 u16; <1: f16 bf16 f32 f8e8m0; >0: f16 bf16 f32"},
    {"Dropout", "<0 <1 >0: float f8; <2 >1: bool"},
    {"DynamicQuantizeLinear", "<0 >1: f32; >0 >2: u8"},
    {"Einsum Shrink", "<0 >0: int uint f16 f32 f64"},
    {"Equal", "<0 <1: int uint float bool string; >0: bool"},
    {"Expand GatherND Split Tile Trilu", "<0 >0: int uint float complex bool string; <1: i64"},
    {"EyeLike", "<0 >0: int uint float bool"},
    {"Flatten Scan Transpose", "<0 >0: any"},
    {"GRU RNN", "<0 <1 <2 <3 <5 >0 >1: float; <4: i32"},
    {"Gemm", "<0 <1 <2 >0: float i32 i64 u32 u64"},
    {"Greater GreaterOrEqual Less LessOrEqual", "<0 <1: int uint float; >0: bool"},
    {"GridSample", "<0 >0: int uint float complex bool string; <1: float"},
    {"Identity", "<0 >0: any optional seq"},
    {"If", "<0: bool; >0: any optional seq"},
    {"ImageDecoder", "<0 >0: u8"},
    {"IsInf IsNaN", "<0: float f8; >0: bool"},
    {"LSTM", "<0 <1 <2 <3 <5 <6 <7 >0 >1 >2: float; <4: i32"},
    {"LayerNormalization", "<0 <1 <2 >0: float; >1 >2: bf16 f32"},
    {"LinearAttention", "<0 <1 <2 <3 <4 <5 >0 >1: f16 bf16 f32"},
    {"Loop", "<0: i64; <1: bool; <2 >0: any optional seq"},
    {"MatMul PRelu", "<0 <1 >0: float i32 i64 u32 u64"},
    {"MaxPool", "<0 >0: float i8 u8; >1: i64"},
    {"MaxRoiPool RMSNormalization SwiGLU", "<0 <1 >0: float"},
    {"MaxUnpool", "<0 >0: float; <1 <2: i64"},
    {"MelWeightMatrix", "<0 <1 <2: i32 i64; <3 <4: float; >0: int uint float"},
    {"Multinomial", "<0: float; >0: i32 i64"},
    {"Neg Relu", "<0 >0: int float"},
    {"NegativeLogLikelihoodLoss", "<0 <2 >0: float; <1: i32 i64"},
    {"NonMaxSuppression", "<0 <1 <3 <4: f32; <2 >0: i64"},
    {"NonZero", "<0: int uint float complex bool string; >0: i64"},
    {"Not", "<0 >0: bool"},
    {"OneHot", "<0 <1: int uint f16 f32 f64; <2 >0: int uint complex f16 f32 f64 bool string"},
    {"Optional", "<0: int uint complex f16 f32 f64 bool string seq; >0: optional"},
    {"OptionalGetElement", "<0: int uint complex f16 f32 f64 bool string optional seq; >0: int uint complex f16 f32 f64 bool string seq"},
    {"OptionalHasElement", "<0: int uint complex f16 f32 f64 bool string optional seq; >0: bool"},
    {"Pad", "<0 <2 >0: any; <1: i64; <3: i32 i64"},
    {"Pow", "<0 >0: float i32 i64; <1: int uint float"},
    {"QLinearConv", "<0 <2 <3 <5 <7 >0: i8 u8; <1 <4 <6: f32; <8: i32"},
    {"QLinearMatMul", "<0 <2 <3 <5 <7 >0: f8 i8 u8; <1 <4 <6: f16 bf16 f32"},
    {"QuantizeLinear", "<0: f16 bf16 f32 i32; <1: f16 bf16 f32 f8e8m0 i32; <2 >0: f8 x4 x2 f4e2m1 i8 i16 u8 u16"},
    {"RandomNormal RandomUniform", ">0: float"},
    {"RandomNormalLike RandomUniformLike", "<0: int uint float complex bool string; >0: float"},
    {"Range", "<0 <1 <2 >0: float i16 i32 i64"},
    {"ReduceL1 ReduceL2 ReduceLogSum ReduceLogSumExp ReduceMean ReduceProd ReduceSum ReduceSumSquare", "<0 >0: float i32 i64 u32 u64; <1: i64"},
    {"ReduceMax ReduceMin", "<0 >0: float i8 i32 i64 u8 u32 u64 bool; <1: i64"},
    {"RegexFullMatch", "<0: string; >0: bool"},
    {"Reshape Squeeze Unsqueeze", "<0 >0: any; <1: i64"},
    {"Resize", "<0 >0: int uint float complex bool string; <1: f16 f32 f64; <2: f32; <3: i64"},
    {"ReverseSequence", "<0 >0: int uint complex f16 f32 f64 bool string; <1: i64"},
    {"RoiAlign", "<0 <1 >0: float; <2: i64"},
    {"RotaryEmbedding", "<0 <1 <2 >0: f16 bf16 f32; <3: i64"},
    {"STFT", "<0 <2 >0: float; <1 <3: i32 i64"},
    {"ScatterElements", "<0 <2 >0: int uint float complex bool string; <1: i32 i64"},
    {"ScatterND", "<0 <2 >0: int uint float complex bool string; <1: i64"},
    {"SequenceAt", "<0: seq; <1: i32 i64; >0: int uint complex f16 f32 f64 bool string"},
    {"SequenceConstruct", "<0: int uint complex f16 f32 f64 bool string; >0: seq"},
    {"SequenceEmpty", ">0: seq"},
    {"SequenceErase", "<0 >0: seq; <1: i32 i64"},
    {"SequenceInsert", "<0 >0: seq; <1: int uint complex f16 f32 f64 bool string; <2: i32 i64"},
    {"SequenceLength", "<0: seq; >0: i64"},
    {"SequenceMap", "<0 >0: seq; <1: int uint complex f16 f32 f64 bool string seq"},
    {"Shape Size", "<0: any; >0: i64"},
    {"Slice", "<0 >0: int uint float complex bool string; <1 <2 <3 <4: i32 i64"},
    {"SoftmaxCrossEntropyLoss", "<0 <2 >0 >1: float; <1: i32 i64"},
    {"SplitToSequence", "<0: int uint float complex bool string; <1: i32 i64; >0: seq"},
    {"StringConcat", "<0 <1 >0: string"},
    {"StringNormalizer", "<0 >0: string"},
    {"StringSplit", "<0 >0: string; >1: i64"},
    {"TensorScatter", "<0 <1 >0: int uint float f8 complex x4 f8e8m0 f4e2m1 bool string; <2: i64"},
    {"TfIdfVectorizer", "<0: i32 i64 string; >0: f32"},
    {"TopK", "<0 >0: int uint float; <1 >1: i64"},
    {"Unique", "<0 >0: int uint complex f16 f32 f64 bool string; >1 >2 >3: i64"},
    {"Where", "<0: bool; <1 <2 >0: int uint float complex bool string"},
    {"ai.onnx.ml.ArrayFeatureExtractor", "<0 >0: f32 f64 i32 i64 string; <1: i64"},
    {"ai.onnx.ml.Binarizer ai.onnx.ml.Imputer", "<0 >0: f32 f64 i32 i64"},
    {"ai.onnx.ml.CastMap", "<0: map; >0: f32 i64 string"},
    {"ai.onnx.ml.CategoryMapper", "<0 >0: i64 string"},
    {"ai.onnx.ml.DictVectorizer", "<0: map; >0: f32 f64 i64 string"},
    {"ai.onnx.ml.FeatureVectorizer ai.onnx.ml.LinearRegressor ai.onnx.ml.Normalizer ai.onnx.ml.SVMRegressor ai.onnx.ml.Scaler", "<0: f32 f64 i32 i64; >0: f32"},
    {"ai.onnx.ml.LabelEncoder", "<0 >0: f32 f64 i16 i32 i64 string"},
    {"ai.onnx.ml.LinearClassifier ai.onnx.ml.SVMClassifier", "<0: f32 f64 i32 i64; >0: i64 string; >1: f32"},
    {"ai.onnx.ml.OneHotEncoder", "<0: f32 f64 i32 i64 string; >0: f32"},
    {"ai.onnx.ml.TreeEnsemble", "<0 >0: f16 f32 f64"},
    {"ai.onnx.ml.ZipMap", "<0: f32; >0: seq"},
    {"ai.onnx.preview.training.Adagrad ai.onnx.preview.training.Adam ai.onnx.preview.training.Momentum", "<0 <2 >0: f32 f64; <1: i64"},
    {"ai.onnx.preview.training.Gradient", "<0: int uint complex f16 f32 f64 bool string; >0: f16 f32 f64"},
};
// clang-format on

DTypeSet set_of(const std::string& word) {
  static const std::map<std::string, DTypeSet> kGroups = {
      {"any", kAnyTensor & (dtype_bit(DType::kCount) - 1)},
      {"int", kSignedInts},
      {"uint", kUnsignedInts},
      {"float", kFloat16To64},
      {"f8", kFloat8},
      {"complex", dtypes(DType::kC64, DType::kC128)},
      {"x4", dtypes(DType::kI4, DType::kU4)},
      {"x2", dtypes(DType::kI2, DType::kU2)},
  };
  if (const auto group = kGroups.find(word); group != kGroups.end()) return group->second;
  const std::optional<DType> dtype = dtype_from_name(word);
  return dtype ? dtype_bit(*dtype) : 0;
}

std::string names(DTypeSet set) {
  std::string out;
  for (int d = 1; d < static_cast<int>(DType::kCount); ++d)
    if (set & dtype_bit(static_cast<DType>(d))) out += " " + std::string(name(static_cast<DType>(d)));
  return out;
}

const Param* param_of(const OpDef& op, const std::string& word) {
  const std::vector<Param>& params = word[0] == '<' ? op.inputs : op.outputs;
  const size_t i = static_cast<size_t>(std::stoi(word.substr(1)));
  if (i < params.size()) return &params[i];
  return !params.empty() && params.back().variadic ? &params.back() : nullptr;
}

/// Types that the specification lists where the op means nothing on them.
DTypeSet meaningless(std::string_view op) { return op == "Col2Im" ? dtypes(DType::kString) : 0; }  // it adds elements

void expect_covered(const OpDef& op, const std::string& clause) {
  std::istringstream words(clause);
  std::vector<std::string> params;
  DTypeSet set = 0;
  bool other = false, types = false;
  for (std::string word; words >> word;) {
    if (!types) {
      types = word.back() == ':';
      params.push_back(types ? word.substr(0, word.size() - 1) : word);
    } else if (const DTypeSet dtypes = set_of(word); dtypes != 0) {
      set |= dtypes;
    } else {
      EXPECT_TRUE(word == "seq" || word == "optional" || word == "map") << word;
      other = true;
    }
  }
  ASSERT_FALSE(params.empty()) << clause;
  set &= ~meaningless(qualified_name(op));
  for (const std::string& word : params) {
    const Param* param = param_of(op, word);
    ASSERT_NE(param, nullptr) << qualified_name(op) << " " << word;
    EXPECT_TRUE(!other || param->any) << qualified_name(op) << " " << word << " is not only a tensor";
    EXPECT_EQ(set & ~param->types, 0u) << qualified_name(op) << " " << word << " lacks" << names(set & ~param->types);
  }
}

TEST(SpecTypes, AreCoveredByTheOpTable) {
  int ops = 0;
  for (const SpecTypes& row : kSpec) {
    std::istringstream list(row.ops);
    for (std::string name; list >> name;) {
      const OpDef* op = find_op(name);
      if (op == nullptr) {
        fmt::print("{} is not in the op table\n", name);
        continue;
      }
      ++ops;
      std::istringstream clauses(row.types);
      for (std::string clause; std::getline(clauses, clause, ';');) expect_covered(*op, clause);
    }
  }
  EXPECT_GT(ops, 210);
}

}  // namespace
}  // namespace tenon::ir
