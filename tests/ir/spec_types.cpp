#include "tests/ir/spec_types.h"

#include <map>
#include <sstream>

namespace tenon::ir::testing {
namespace {

/// `types`: the type variables, "<0 <1 >0: float i32; >1: bool". `<` counts inputs, `>` outputs; the last parameter may
/// be variadic. Words are dtypes, the groups below, or wrappers of them.
struct Row {
  const char *ops, *types;
  int64_t version = 0;
};

// clang-format off
constexpr Row kRows[] = {
    {"Abs Max Min Sign", "<0 >0: int uint float"},
    {"Acos Acosh Asin Asinh Atan Atanh AveragePool Ceil Celu Cos Cosh Det Elu Erf Exp Floor Gelu GlobalAveragePool GlobalLpPool GlobalMaxPool HardSigmoid HardSwish Hardmax LRN LeakyRelu Log LogSoftmax LpNormalization LpPool Mean MeanVarianceNormalization Mish Reciprocal Round Selu Sigmoid Sin Sinh Softmax Softplus Softsign Sqrt Sum Swish Tan Tanh ThresholdedRelu", "<0 >0: float"},
    {"Add Div Mod Mul Sub", "<0 <1 >0: int uint float"},
    {"AffineGrid", "<0 >0: float; <1: i64"},
    {"And Or Xor", "<0 <1: bool; >0: bool"},
    {"ArgMax ArgMin", "<0: int uint float; >0: i64"},
    {"Attention", "<0 <1 <4 >0 >1 >3: float; <2 <5 >2: float; <3: int uint float bool; <6: i64"},
    {"BatchNormalization", "<0 >0: float; <1 <2: float; <3 <4 >1 >2: float"},
    {"Bernoulli", "<0: float; >0: int uint float bool"},
    {"BitCast", "<0: int uint float f8 complex x4 x2 f8e8m0 f4e2m1 bool; >0: int uint float f8 complex x4 x2 f8e8m0 f4e2m1 bool"},
    {"BitShift", "<0 <1 >0: uint"},
    {"BitwiseAnd BitwiseOr BitwiseXor", "<0 <1 >0: int uint"},
    {"BitwiseNot", "<0 >0: int uint"},
    {"BlackmanWindow HammingWindow HannWindow", "<0: i32 i64; >0: int uint float"},
    {"Cast", "<0: int uint float f8 x4 x2 f8e8m0 f4e2m1 bool string; >0: int uint float f8 x4 x2 f8e8m0 f4e2m1 bool string"},
    {"CastLike", "<0: int uint float f8 x4 x2 f8e8m0 f4e2m1 bool string; <1 >0: int uint float f8 x4 x2 f8e8m0 f4e2m1 bool string"},
    {"CausalConvWithState", "<0 <1 <2 <3 >0 >1: f32 f16 bf16"},
    {"CenterCropPad Gather GatherElements", "<0 >0: int uint float complex bool string; <1: i32 i64"},
    {"Clip", "<0 <1 <2 >0: int uint float"},
    {"Col2Im", "<0 >0: int uint float complex bool string; <1 <2: i64"},
    {"Compress", "<0 >0: int uint complex f32 f64 f16 bool string; <1: bool"},
    {"Concat DepthToSpace SpaceToDepth", "<0 >0: int uint float complex bool string"},
    {"ConcatFromSequence", "<0: seq; >0: int uint complex f32 f64 f16 bool string"},
    {"Constant", ">0: any"},
    {"ConstantOfShape", "<0: i64; >0: int uint float f8 x4 x2 f8e8m0 f4e2m1 bool"},
    {"Conv ConvTranspose GroupNormalization InstanceNormalization ai.onnx.preview.FlexAttention", "<0 <1 <2 >0: float"},
    {"ConvInteger MatMulInteger", "<0 <2: i8 u8; <1 <3: i8 u8; >0: i32"},
    {"CumProd CumSum", "<0 >0: float i32 i64 u32 u64; <1: i32 i64"},
    {"DFT", "<0 >0: float; <1: i32 i64; <2: i64"},
    {"DeformConv", "<0 <1 <2 <3 <4 >0: float"},
    {"DequantizeLinear", "<0 <2: f8 x4 x2 f4e2m1 i8 i16 i32 u8 u16; <1: f32 f16 bf16 f8e8m0; >0: f32 f16 bf16"},
    {"Dropout", "<0 >0: float f8; <1: float f8; <2 >1: bool"},
    {"DynamicQuantizeLinear", "<0: f32; >0 >2: u8; >1: f32"},
    {"Einsum Shrink", "<0 >0: int uint f32 f64 f16"},
    {"Equal", "<0 <1: int uint float bool string; >0: bool"},
    {"Expand GatherND Split Tile Trilu", "<0 >0: int uint float complex bool string; <1: i64"},
    {"EyeLike", "<0: int uint float bool; >0: int uint float bool"},
    {"Flatten Scan Transpose", "<0 >0: any"},
    {"GRU RNN", "<0 <1 <2 <3 <5 >0 >1: float; <4: i32"},
    {"Gemm", "<0 <1 <2 >0: float i32 i64 u32 u64"},
    {"Greater GreaterOrEqual Less LessOrEqual", "<0 <1: int uint float; >0: bool"},
    {"GridSample", "<0 >0: int uint float complex bool string; <1: float"},
    {"Identity", "<0 >0: any seq opt optseq"},
    {"If", "<0: bool; >0: any seq* opt* optseq+"},
    {"ImageDecoder", "<0: u8; >0: u8"},
    {"IsInf IsNaN", "<0: float f8; >0: bool"},
    {"LSTM", "<0 <1 <2 <3 <5 <6 <7 >0 >1 >2: float; <4: i32"},
    {"LayerNormalization", "<0 <1 <2 >0: float; >1 >2: f32 bf16"},
    {"LinearAttention", "<0 <1 <2 <4 <5 >0: f32 f16 bf16; <3 >1: f32 f16 bf16"},
    {"Loop", "<0: i64; <1: bool; <2 >0: any seq* opt* optseq+"},
    {"MatMul PRelu", "<0 <1 >0: float i32 i64 u32 u64"},
    {"MaxPool", "<0 >0: float i8 u8; >1: i64"},
    {"MaxRoiPool SwiGLU", "<0 <1 >0: float"},
    {"MaxUnpool", "<0 >0: float; <1 <2: i64"},
    {"MelWeightMatrix", "<0 <1 <2: i32 i64; <3 <4: float; >0: int uint float"},
    {"Multinomial", "<0: float; >0: i32 i64"},
    {"Neg Relu", "<0 >0: int float"},
    {"NegativeLogLikelihoodLoss", "<0 <2 >0: float; <1: i32 i64"},
    {"NonMaxSuppression", "<0 <1 <3 <4: f32; <2 >0: i64"},
    {"NonZero", "<0: int uint float complex bool string; >0: i64"},
    {"Not", "<0 >0: bool"},
    {"OneHot", "<0: int uint f32 f64 f16; <1: int uint f32 f64 f16; <2 >0: int uint complex f32 f64 f16 bool string"},
    {"Optional", "<0: int uint complex f32 f64 f16 bool string seq; >0: opt optseq"},
    {"OptionalGetElement", "<0: int uint complex f32 f64 f16 bool string seq opt optseq; >0: int uint complex f32 f64 f16 bool string seq"},
    {"OptionalHasElement", "<0: int uint complex f32 f64 f16 bool string seq opt optseq; >0: bool"},
    {"Pad", "<0 <2 >0: any; <1: i64; <3: i32 i64"},
    {"Pow", "<0 >0: float i32 i64; <1: int uint float"},
    {"QLinearConv", "<0 <2: i8 u8; <1 <4 <6: f32; <3 <5: i8 u8; <7 >0: i8 u8; <8: i32"},
    {"QLinearMatMul", "<0 <2: f8 i8 u8; <1 <4 <6: f32 f16 bf16; <3 <5: f8 i8 u8; <7 >0: f8 i8 u8"},
    {"QuantizeLinear", "<0: f32 f16 bf16 i32; <1: f32 f16 bf16 f8e8m0 i32; <2 >0: f8 x4 x2 f4e2m1 i8 i16 u8 u16"},
    {"RMSNormalization", "<0: float; <1 >0: float"},
    {"RandomNormal RandomUniform", ">0: float"},
    {"RandomNormalLike RandomUniformLike", "<0: int uint float complex bool string; >0: float"},
    {"Range", "<0 <1 <2 >0: float i16 i32 i64"},
    {"ReduceL1 ReduceL2 ReduceLogSum ReduceLogSumExp ReduceMean ReduceProd ReduceSum ReduceSumSquare", "<0 >0: float i32 i64 u32 u64; <1: i64"},
    {"ReduceMax ReduceMin", "<0 >0: float i8 i32 i64 u8 u32 u64 bool; <1: i64"},
    {"RegexFullMatch", "<0: string; >0: bool"},
    {"Reshape Squeeze Unsqueeze", "<0 >0: any; <1: i64"},
    {"Resize", "<0 >0: int uint float complex bool string; <1: f32 f64 f16; <2: f32; <3: i64"},
    {"ReverseSequence", "<0 >0: int uint complex f32 f64 f16 bool string; <1: i64"},
    {"RoiAlign", "<0 <1 >0: float; <2: i64"},
    {"RotaryEmbedding", "<0 <1 <2 >0: f32 f16 bf16; <3: i64"},
    {"STFT", "<0 <2 >0: float; <1 <3: i32 i64"},
    {"ScatterElements", "<0 <2 >0: int uint float complex bool string; <1: i32 i64"},
    {"ScatterND", "<0 <2 >0: int uint float complex bool string; <1: i64"},
    {"SequenceAt", "<0: seq; <1: i32 i64; >0: int uint complex f32 f64 f16 bool string"},
    {"SequenceConstruct", "<0: int uint complex f32 f64 f16 bool string; >0: seq"},
    {"SequenceEmpty", ">0: seq"},
    {"SequenceErase", "<0 >0: seq; <1: i32 i64"},
    {"SequenceInsert", "<0 >0: seq; <1: int uint complex f32 f64 f16 bool string; <2: i32 i64"},
    {"SequenceLength", "<0: seq; >0: i64"},
    {"SequenceMap", "<0 >0: seq; <1: int uint complex f32 f64 f16 bool string seq"},
    {"Shape Size", "<0: any; >0: i64"},
    {"Slice", "<0 >0: int uint float complex bool string; <1 <2 <3 <4: i32 i64"},
    {"SoftmaxCrossEntropyLoss", "<0 <2 >0 >1: float; <1: i32 i64"},
    {"SplitToSequence", "<0: int uint float complex bool string; <1: i32 i64; >0: seq+"},
    {"StringConcat", "<0 <1 >0: string"},
    {"StringNormalizer", "<0 >0: string"},
    {"StringSplit", "<0: string; >0: string; >1: i64"},
    {"TensorScatter", "<0 <1 >0: int uint float f8 complex x4 f8e8m0 f4e2m1 bool string; <2: i64"},
    {"TfIdfVectorizer", "<0: i32 i64 string; >0: f32"},
    {"TopK", "<0 >0: int uint float; <1: i64; >1: i64"},
    {"Unique", "<0 >0: int uint complex f32 f64 f16 bool string; >1 >2 >3: i64"},
    {"Where", "<0: bool; <1 <2 >0: int uint float complex bool string"},
    {"ai.onnx.ml.ArrayFeatureExtractor", "<0 >0: f32 f64 i32 i64 string; <1: i64"},
    {"ai.onnx.ml.Binarizer ai.onnx.ml.Imputer", "<0 >0: f32 f64 i32 i64"},
    {"ai.onnx.ml.CastMap", "<0: map(i64,string) map(i64,f32); >0: f32 i64 string"},
    {"ai.onnx.ml.CategoryMapper", "<0: i64 string; >0: i64 string"},
    {"ai.onnx.ml.DictVectorizer", "<0: map(string,i64) map(i64,string) map(i64,f32) map(i64,f64) map(string,f32) map(string,f64); >0: f32 f64 i64 string"},
    {"ai.onnx.ml.FeatureVectorizer ai.onnx.ml.LinearRegressor ai.onnx.ml.Normalizer ai.onnx.ml.SVMRegressor ai.onnx.ml.Scaler", "<0: f32 f64 i32 i64; >0: f32"},
    {"ai.onnx.ml.LabelEncoder", "<0: f32 f64 i16 i32 i64 string; >0: f32 f64 i16 i32 i64 string"},
    {"ai.onnx.ml.LinearClassifier ai.onnx.ml.SVMClassifier", "<0: f32 f64 i32 i64; >0: i64 string; >1: f32"},
    {"ai.onnx.ml.OneHotEncoder", "<0: f32 f64 i32 i64 string; >0: f32"},
    {"ai.onnx.ml.TreeEnsemble", "<0 >0: f32 f64 f16"},
    {"ai.onnx.ml.ZipMap", "<0: f32; >0: seq(map)"},
    {"ai.onnx.preview.training.Adagrad ai.onnx.preview.training.Adam ai.onnx.preview.training.Momentum", "<0: f32 f64; <1: i64; <2 >0: f32 f64"},
    {"ai.onnx.preview.training.Gradient", "<0: int uint complex f32 f64 f16 bool string; >0: f32 f64 f16"},
    // Deprecated.
    {"Scatter", "<0 <2 >0: int uint complex f16 f32 f64 bool string; <1: i32 i64", 9},
    {"Upsample", "<0 >0: int uint complex f16 f32 f64 bool string; <1: f32", 9},
    {"ai.onnx.ml.TreeEnsembleClassifier", "<0: f32 f64 i32 i64; >0: i64 string; >1: f32", 3},
    {"ai.onnx.ml.TreeEnsembleRegressor", "<0: f32 f64 i32 i64; >0: f32", 3},
};
// clang-format on

const std::string kClassic = "int uint complex f16 f32 f64 bool string";  // every tensor before bfloat16

/// What a word stands for, as words.
const std::map<std::string, std::string>& groups() {
  static const std::map<std::string, std::string> all = {
      {"any", "int uint float f8 f8e8m0 f4e2m1 x4 x2 complex bool string"},
      {"int", "i8 i16 i32 i64"},
      {"uint", "u8 u16 u32 u64"},
      {"float", "f16 bf16 f32 f64"},
      {"f8", "f8e4m3fn f8e4m3fnuz f8e5m2 f8e5m2fnuz"},
      {"complex", "c64 c128"},
      {"x4", "i4 u4"},
      {"x2", "i2 u2"},
  };
  return all;
}

struct Wrapper {
  const char* word;
  std::string before, elements, after;
};
const std::vector<Wrapper>& wrappers() {
  static const std::vector<Wrapper> all = {
      {"seq", "seq(", kClassic, ")"},
      {"seq*", "seq(", "any", ")"},
      {"seq+", "seq(", kClassic + " bf16", ")"},
      {"opt", "opt(", kClassic, ")"},
      {"opt*", "opt(", "any", ")"},
      {"optseq", "opt(seq(", kClassic, "))"},
      {"optseq+", "opt(seq(", kClassic + " bf16", "))"},
  };
  return all;
}

void add_types(const std::string& words, const std::string& before, const std::string& after,
               std::vector<std::string>& out) {
  std::istringstream list(words);
  for (std::string word; list >> word;) {
    if (const auto group = groups().find(word); group != groups().end()) {
      add_types(group->second, before, after, out);
      continue;
    }
    bool wraps = false;
    for (const Wrapper& w : wrappers())
      if (word == w.word) {
        add_types(w.elements, w.before, w.after, out);
        wraps = true;
      }
    if (!wraps) out.push_back(before + word + after);
  }
}

}  // namespace

std::vector<SpecOp> spec_ops() {
  std::vector<SpecOp> out;
  for (const Row& row : kRows) {
    std::vector<SpecVariable> variables;
    std::istringstream clauses(row.types);
    for (std::string clause; std::getline(clauses, clause, ';');) {
      const size_t colon = clause.find(':');
      TENON_CHECK(colon != std::string::npos);
      SpecVariable& v = variables.emplace_back();
      std::istringstream params(clause.substr(0, colon));
      for (std::string param; params >> param;) v.params.push_back(param);
      add_types(clause.substr(colon + 1), "", "", v.types);
    }
    std::istringstream names(row.ops);
    for (std::string name; names >> name;) out.push_back({name, variables, row.version});
  }
  return out;
}

std::vector<std::string> types_of(const std::string& words) {
  std::vector<std::string> out;
  add_types(words, "", "", out);
  return out;
}

DTypeSet tensor_dtype(const std::string& type) {
  const std::optional<DType> dtype = dtype_from_name(type);
  return dtype ? dtype_bit(*dtype) : 0;
}

std::string_view meaningless(std::string_view op, const std::string& type) {
  if (op == "Col2Im" && type == "string") return "it adds elements";
  return {};
}

}  // namespace tenon::ir::testing
