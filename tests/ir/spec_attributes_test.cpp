// The attributes that ONNX gives each op (docs/Operators.md and Operators-ml.md at opset 28 and 5, defaults in full
// from onnx/defs): facts that the op table must hold.

#include <gtest/gtest.h>

#include <algorithm>
#include <charconv>
#include <set>
#include <sstream>

#include "ir/op.h"

namespace tenon::ir {
namespace {

/// `attributes`: "name:kind", with ! when required, =default when there is one; | separates the parts of a list.
struct Row {
  const char *op, *attributes;
};

// clang-format off
constexpr Row kRows[] = {
    {"AffineGrid", "align_corners:int=0"},
    {"ArgMax", "axis:int=0 keepdims:int=1 select_last_index:int=0"},
    {"ArgMin", "axis:int=0 keepdims:int=1 select_last_index:int=0"},
    {"Attention", "is_causal:int=0 kv_num_heads:int left_window_size:int=-1 q_num_heads:int qk_matmul_output_mode:int=0 right_window_size:int=-1 scale:float softcap:float=0.0 softmax_precision:int"},
    {"AveragePool", "auto_pad:string=NOTSET ceil_mode:int=0 count_include_pad:int=0 dilations:ints kernel_shape:ints! pads:ints strides:ints"},
    {"BatchNormalization", "epsilon:float=1e-05 momentum:float=0.9 training_mode:int=0"},
    {"Bernoulli", "dtype:int seed:float"},
    {"BitCast", "to:int!"},
    {"BitShift", "direction:string!"},
    {"BlackmanWindow", "output_datatype:int=1 periodic:int=1"},
    {"Cast", "round_mode:string=up saturate:int=1 to:int!"},
    {"CastLike", "round_mode:string=up saturate:int=1"},
    {"CausalConvWithState", "activation:string=none"},
    {"Celu", "alpha:float=1.0"},
    {"CenterCropPad", "axes:ints"},
    {"Col2Im", "dilations:ints pads:ints strides:ints"},
    {"Compress", "axis:int"},
    {"Concat", "axis:int!"},
    {"ConcatFromSequence", "axis:int! new_axis:int=0"},
    {"Constant", "sparse_value:sparse_tensor value:tensor value_float:float value_floats:floats value_int:int value_ints:ints value_string:string value_strings:strings"},
    {"ConstantOfShape", "value:tensor"},
    {"Conv", "auto_pad:string=NOTSET dilations:ints group:int=1 kernel_shape:ints pads:ints strides:ints"},
    {"ConvInteger", "auto_pad:string=NOTSET dilations:ints group:int=1 kernel_shape:ints pads:ints strides:ints"},
    {"ConvTranspose", "auto_pad:string=NOTSET dilations:ints group:int=1 kernel_shape:ints output_padding:ints output_shape:ints pads:ints strides:ints"},
    {"CumProd", "exclusive:int=0 reverse:int=0"},
    {"CumSum", "exclusive:int=0 reverse:int=0"},
    {"DFT", "inverse:int=0 onesided:int=0"},
    {"DeformConv", "dilations:ints group:int=1 kernel_shape:ints offset_group:int=1 pads:ints strides:ints"},
    {"DepthToSpace", "blocksize:int! mode:string=DCR"},
    {"DequantizeLinear", "axis:int=1 block_size:int=0 output_dtype:int=0"},
    {"Dropout", "seed:int"},
    {"Einsum", "equation:string!"},
    {"Elu", "alpha:float=1.0"},
    {"EyeLike", "dtype:int k:int=0"},
    {"Flatten", "axis:int=1"},
    {"GRU", "activation_alpha:floats activation_beta:floats activations:strings clip:float direction:string=forward hidden_size:int layout:int=0 linear_before_reset:int=0"},
    {"Gather", "axis:int=0"},
    {"GatherElements", "axis:int=0"},
    {"GatherND", "batch_dims:int=0"},
    {"Gelu", "approximate:string=none"},
    {"Gemm", "alpha:float=1.0 beta:float=1.0 transA:int=0 transB:int=0"},
    {"GlobalLpPool", "p:int=2"},
    {"GridSample", "align_corners:int=0 mode:string=linear padding_mode:string=zeros"},
    {"GroupNormalization", "epsilon:float=1e-05 num_groups:int! stash_type:int=1"},
    {"HammingWindow", "output_datatype:int=1 periodic:int=1"},
    {"HannWindow", "output_datatype:int=1 periodic:int=1"},
    {"HardSigmoid", "alpha:float=0.2 beta:float=0.5"},
    {"Hardmax", "axis:int=-1"},
    {"If", "else_branch:graph! then_branch:graph!"},
    {"ImageDecoder", "pixel_format:string=RGB"},
    {"InstanceNormalization", "epsilon:float=1e-05"},
    {"IsInf", "detect_negative:int=1 detect_positive:int=1"},
    {"LRN", "alpha:float=0.0001 beta:float=0.75 bias:float=1.0 size:int!"},
    {"LSTM", "activation_alpha:floats activation_beta:floats activations:strings clip:float direction:string=forward hidden_size:int input_forget:int=0 layout:int=0"},
    {"LayerNormalization", "axis:int=-1 epsilon:float=1e-05 stash_type:int=1"},
    {"LeakyRelu", "alpha:float=0.01"},
    {"LinearAttention", "chunk_size:int=64 kv_num_heads:int! q_num_heads:int! scale:float=0.0 update_rule:string=gated_delta"},
    {"LogSoftmax", "axis:int=-1"},
    {"Loop", "body:graph!"},
    {"LpNormalization", "axis:int=-1 p:int=2"},
    {"LpPool", "auto_pad:string=NOTSET ceil_mode:int=0 dilations:ints kernel_shape:ints! p:int=2 pads:ints strides:ints"},
    {"MaxPool", "auto_pad:string=NOTSET ceil_mode:int=0 dilations:ints kernel_shape:ints! pads:ints storage_order:int=0 strides:ints"},
    {"MaxRoiPool", "pooled_shape:ints! spatial_scale:float=1.0"},
    {"MaxUnpool", "kernel_shape:ints! pads:ints strides:ints"},
    {"MeanVarianceNormalization", "axes:ints=0|2|3"},
    {"MelWeightMatrix", "output_datatype:int=1"},
    {"Mod", "fmod:int=0"},
    {"Multinomial", "dtype:int=6 sample_size:int=1 seed:float"},
    {"NegativeLogLikelihoodLoss", "ignore_index:int reduction:string=mean"},
    {"NonMaxSuppression", "center_point_box:int=0"},
    {"OneHot", "axis:int=-1"},
    {"Optional", "type:type"},
    {"Pad", "mode:string=constant"},
    {"QLinearConv", "auto_pad:string=NOTSET dilations:ints group:int=1 kernel_shape:ints pads:ints strides:ints"},
    {"QuantizeLinear", "axis:int=1 block_size:int=0 output_dtype:int=0 precision:int=0 saturate:int=1"},
    {"RMSNormalization", "axis:int=-1 epsilon:float=1e-05 stash_type:int=1"},
    {"RNN", "activation_alpha:floats activation_beta:floats activations:strings=Tanh|Tanh clip:float direction:string=forward hidden_size:int layout:int=0"},
    {"RandomNormal", "dtype:int=1 mean:float=0.0 scale:float=1.0 seed:float shape:ints!"},
    {"RandomNormalLike", "dtype:int mean:float=0.0 scale:float=1.0 seed:float"},
    {"RandomUniform", "dtype:int=1 high:float=1.0 low:float=0.0 seed:float shape:ints!"},
    {"RandomUniformLike", "dtype:int high:float=1.0 low:float=0.0 seed:float"},
    {"Range", "stash_type:int=1"},
    {"ReduceL1", "keepdims:int=1 noop_with_empty_axes:int=0"},
    {"ReduceL2", "keepdims:int=1 noop_with_empty_axes:int=0"},
    {"ReduceLogSum", "keepdims:int=1 noop_with_empty_axes:int=0"},
    {"ReduceLogSumExp", "keepdims:int=1 noop_with_empty_axes:int=0"},
    {"ReduceMax", "keepdims:int=1 noop_with_empty_axes:int=0"},
    {"ReduceMean", "keepdims:int=1 noop_with_empty_axes:int=0"},
    {"ReduceMin", "keepdims:int=1 noop_with_empty_axes:int=0"},
    {"ReduceProd", "keepdims:int=1 noop_with_empty_axes:int=0"},
    {"ReduceSum", "keepdims:int=1 noop_with_empty_axes:int=0"},
    {"ReduceSumSquare", "keepdims:int=1 noop_with_empty_axes:int=0"},
    {"RegexFullMatch", "pattern:string"},
    {"Reshape", "allowzero:int=0"},
    {"Resize", "antialias:int=0 axes:ints coordinate_transformation_mode:string=half_pixel cubic_coeff_a:float=-0.75 exclude_outside:int=0 extrapolation_value:float=0.0 keep_aspect_ratio_policy:string=stretch mode:string=nearest nearest_mode:string=round_prefer_floor"},
    {"ReverseSequence", "batch_axis:int=1 time_axis:int=0"},
    {"RoiAlign", "coordinate_transformation_mode:string=half_pixel mode:string=avg output_height:int=1 output_width:int=1 sampling_ratio:int=0 spatial_scale:float=1.0"},
    {"RotaryEmbedding", "interleaved:int=0 num_heads:int rotary_embedding_dim:int=0"},
    {"STFT", "onesided:int=1"},
    {"Scan", "body:graph! num_scan_inputs:int! scan_input_axes:ints scan_input_directions:ints scan_output_axes:ints scan_output_directions:ints"},
    {"ScatterElements", "axis:int=0 reduction:string=none"},
    {"ScatterND", "reduction:string=none"},
    {"Selu", "alpha:float=1.67326319217681884765625 gamma:float=1.05070102214813232421875"},
    {"SequenceEmpty", "dtype:int"},
    {"SequenceMap", "body:graph!"},
    {"Shape", "end:int start:int=0"},
    {"Shrink", "bias:float=0.0 lambd:float=0.5"},
    {"Softmax", "axis:int=-1"},
    {"SoftmaxCrossEntropyLoss", "ignore_index:int reduction:string=mean"},
    {"SpaceToDepth", "blocksize:int!"},
    {"Split", "axis:int=0 num_outputs:int"},
    {"SplitToSequence", "axis:int=0 keepdims:int=1"},
    {"StringNormalizer", "case_change_action:string=NONE is_case_sensitive:int=0 locale:string stopwords:strings"},
    {"StringSplit", "delimiter:string maxsplit:int"},
    {"SwiGLU", "alpha:float=1.0"},
    {"Swish", "alpha:float=1.0"},
    {"TensorScatter", "axis:int=-2 mode:string=linear"},
    {"TfIdfVectorizer", "max_gram_length:int! max_skip_count:int! min_gram_length:int! mode:string! ngram_counts:ints! ngram_indexes:ints! pool_int64s:ints pool_strings:strings weights:floats"},
    {"ThresholdedRelu", "alpha:float=1.0"},
    {"TopK", "axis:int=-1 largest:int=1 sorted:int=1"},
    {"Transpose", "perm:ints"},
    {"Trilu", "upper:int=1"},
    {"Unique", "axis:int sorted:int=1"},
    {"ai.onnx.ml.Binarizer", "threshold:float=0.0"},
    {"ai.onnx.ml.CastMap", "cast_to:string=TO_FLOAT map_form:string=DENSE max_map:int=1"},
    {"ai.onnx.ml.CategoryMapper", "cats_int64s:ints cats_strings:strings default_int64:int=-1 default_string:string=_Unused"},
    {"ai.onnx.ml.DictVectorizer", "int64_vocabulary:ints string_vocabulary:strings"},
    {"ai.onnx.ml.FeatureVectorizer", "inputdimensions:ints"},
    {"ai.onnx.ml.Imputer", "imputed_value_floats:floats imputed_value_int64s:ints replaced_value_float:float=0.0 replaced_value_int64:int=0"},
    {"ai.onnx.ml.LabelEncoder", "default_float:float=-0.0 default_int64:int=-1 default_string:string=_Unused default_tensor:tensor keys_floats:floats keys_int64s:ints keys_strings:strings keys_tensor:tensor values_floats:floats values_int64s:ints values_strings:strings values_tensor:tensor"},
    {"ai.onnx.ml.LinearClassifier", "classlabels_ints:ints classlabels_strings:strings coefficients:floats! intercepts:floats multi_class:int=0 post_transform:string=NONE"},
    {"ai.onnx.ml.LinearRegressor", "coefficients:floats intercepts:floats post_transform:string=NONE targets:int=1"},
    {"ai.onnx.ml.Normalizer", "norm:string=MAX"},
    {"ai.onnx.ml.OneHotEncoder", "cats_int64s:ints cats_strings:strings zeros:int=1"},
    {"ai.onnx.ml.SVMClassifier", "classlabels_ints:ints classlabels_strings:strings coefficients:floats kernel_params:floats kernel_type:string=LINEAR post_transform:string=NONE prob_a:floats prob_b:floats rho:floats support_vectors:floats vectors_per_class:ints"},
    {"ai.onnx.ml.SVMRegressor", "coefficients:floats kernel_params:floats kernel_type:string=LINEAR n_supports:int=0 one_class:int=0 post_transform:string=NONE rho:floats support_vectors:floats"},
    {"ai.onnx.ml.Scaler", "offset:floats scale:floats"},
    {"ai.onnx.ml.TreeEnsemble", "aggregate_function:int=1 leaf_targetids:ints! leaf_weights:tensor! membership_values:tensor n_targets:int nodes_falseleafs:ints! nodes_falsenodeids:ints! nodes_featureids:ints! nodes_hitrates:tensor nodes_missing_value_tracks_true:ints nodes_modes:tensor! nodes_splits:tensor! nodes_trueleafs:ints! nodes_truenodeids:ints! post_transform:int=0 tree_roots:ints!"},
    {"ai.onnx.ml.ZipMap", "classlabels_int64s:ints classlabels_strings:strings"},
    {"ai.onnx.preview.FlexAttention", "prob_mod:graph scale:float score_mod:graph softmax_precision:int"},
    {"ai.onnx.preview.training.Adagrad", "decay_factor:float=0.0 epsilon:float=1e-6 norm_coefficient:float=0.0"},
    {"ai.onnx.preview.training.Adam", "alpha:float=0.9 beta:float=0.999 epsilon:float=1e-6 norm_coefficient:float=0.0 norm_coefficient_post:float=0.0"},
    {"ai.onnx.preview.training.Gradient", "xs:strings! y:string! zs:strings"},
    {"ai.onnx.preview.training.Momentum", "alpha:float! beta:float! mode:string! norm_coefficient:float!"},
};
// clang-format on

struct Attribute {
  std::string name, kind, fallback;
  bool required = false;

  explicit Attribute(const std::string& text) {
    const size_t colon = text.find(':'), end = std::min(text.find_first_of("!=", colon), text.size());
    name = text.substr(0, colon);
    kind = text.substr(colon + 1, end - colon - 1);
    required = end < text.size() && text[end] == '!';
    if (const size_t is = text.find('=', end); is != std::string::npos) fallback = text.substr(is + 1);
    std::replace(fallback.begin(), fallback.end(), '|', ' ');
  }
};

std::string_view kind_of(AttrKind kind) {
  constexpr std::string_view kNames[] = {"int",    "float",   "string", "tensor", "ints",
                                         "floats", "strings", "dims",   "type",   "tensors"};
  return kNames[static_cast<size_t>(kind)];
}

bool same_default(const std::string& spec, std::string_view own) {
  if (spec == own) return true;
  const auto number = [](std::string_view text) -> std::optional<double> {
    double value = 0;
    const char* end = text.data() + text.size();
    return std::from_chars(text.data(), end, value).ptr == end && !text.empty() ? std::optional(value) : std::nullopt;
  };
  const auto a = number(spec), b = number(own);
  return a && b && *a == *b;
}

/// Attributes of one op whose table entry differs, and why it may.
std::string_view excuse(std::string_view op, std::string_view attribute) {
  if (op == "Constant") return "the importer makes a tensor of every value_*";
  if (op == "SequenceEmpty" && attribute == "dtype") return "the default is said in words";
  if (op == "DFT" && attribute == "axis") return "of opset 17";
  return {};
}

void expect_same(const OpDef& op, const Attribute& spec) {
  const auto own = std::ranges::find(op.attrs, std::string_view(spec.name), &AttrDef::name);
  ASSERT_NE(own, op.attrs.end()) << spec.name << " is not in the table";
  EXPECT_EQ(kind_of(own->kind), spec.kind) << spec.name;
  EXPECT_EQ(own->required, spec.required) << spec.name;
  EXPECT_TRUE(same_default(spec.fallback, own->fallback))
      << spec.name << " is " << own->fallback << " by default, not " << spec.fallback;
}

TEST(SpecAttributes, AreThoseOfTheOpTable) {
  std::set<const OpDef*> listed;
  for (const Row& row : kRows) {
    SCOPED_TRACE(row.op);
    const OpDef* op = find_op(row.op);
    if (op == nullptr) continue;  // the importer builds it
    listed.insert(op);
    std::set<std::string> names;
    int graphs = 0;
    std::istringstream list(row.attributes);
    for (std::string text; list >> text;) {
      const Attribute spec(text);
      names.insert(spec.name);
      graphs += spec.kind == "graph";
      if (spec.kind != "graph" && excuse(row.op, spec.name).empty()) expect_same(*op, spec);
    }
    EXPECT_EQ(op->num_regions, graphs);
    for (const AttrDef& own : op->attrs)
      EXPECT_TRUE(names.contains(std::string(own.name)) || !excuse(row.op, own.name).empty())
          << own.name << " is not in the specification";
  }
  EXPECT_GT(listed.size(), 135u);
  for (const OpDef* op : all_ops()) {
    const bool ended = op->name.starts_with("TreeEnsemble") || op->name == "SimplifiedLayerNormalization";
    const bool standard = op->domain.empty() || op->domain.starts_with("ai.onnx");
    EXPECT_TRUE(!standard || listed.contains(op) || ended || op->attrs.empty()) << qualified_name(*op);
  }
}

}  // namespace
}  // namespace tenon::ir
