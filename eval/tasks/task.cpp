#include "eval/tasks/task.h"

#include <algorithm>

#include "eval/tasks/judge.h"
#include "eval/tasks/object_reader.h"

namespace tenon::eval {
using nlohmann::json;

namespace {

const std::vector<RoleInfo> kClassRoles = {
    {"scores", false, 2, {"logits", "scores", "probabilities", "output_probability", "output"}, "a score a class: a tensor, or a map of a classifier"},
    {"predicted", false, 0, {"predicted", "output_label", "label"}, "the class itself, of a model without scores"}};
const std::vector<TaskOption> kClassOptions = {
    {"activation", "\"auto\"", "scores → probabilities: auto (softmax unless they are some already), none, softmax, sigmoid"},
    {"threshold", "0.5", "of the probability of class 1, where there is one score"}};
const std::vector<TaskOption> kTextOptions = {
    {"vocabulary", "\"\"", "file of the tokens: .json of numbers by token, or .txt of one a line"},
    {"tokens", "\"wordpiece\"", "how tokens join: wordpiece, bpe, sentencepiece, words, characters"},
    {"skip", "[]", "numbers of tokens to leave out: padding, begin, end"},
    {"end", "-1", "number of the token that ends a text; -1: none"}};
const std::vector<RoleInfo> kSequenceRoles = {
    {"sequences", true, 0, {"sequences", "output_ids", "generated", "text"}, "tokens, scores of tokens, or strings"}};
const std::vector<RoleInfo> kEmbeddingRoles = {
    {"embedding", true, 0, {"sentence_embedding", "embedding", "embeddings", "pooler_output", "last_hidden_state"}, "a vector, or one a token"}};
const std::vector<TaskOption> kEmbeddingOptions = {
    {"pooling", "\"auto\"", "of tokens: auto (mean where there are tokens), mean, first, none"},
    {"mask", "\"attention_mask\"", "field that is 0 for tokens that do not count"}};

std::vector<TaskOption> with(std::vector<TaskOption> options, std::initializer_list<TaskOption> more) {
  options.insert(options.end(), more);
  return options;
}

const std::vector<TaskInfo>& table() {
  static const std::vector<TaskInfo> kTasks = {
      {"image-classification", "Image classification", "class", "image", "label", false, kClassRoles, kClassOptions,
       {"accuracy", "top_k_accuracy"}, make_class_judge},
      {"object-detection", "Object detection", "boxes", "image", "boxes", false,
       {{"boxes", false, 0, {"boxes", "pred_boxes", "dets"}, "[boxes, 4]"},
        {"scores", false, 0, {"scores", "logits", "confidences"}, "[boxes, classes] or [boxes]"},
        {"labels", false, 0, {"labels", "classes", "class_ids"}, "[boxes], where scores are one a box"},
        {"detections", false, 0, {"detections"}, "[boxes, columns]: all of them in one output"}},
       {{"boxes", "\"xyxy\"", "form of boxes: xyxy, yxyx, xywh, cxcywh"},
        {"columns", R"(["x0", "y0", "x1", "y1", "score", "label"])", "of detections: x0 y0 x1 y1 cx cy w h score label objectness skip; scores: all from there on"},
        {"transposed", "false", "columns come before boxes"},
        {"coordinates", "\"input\"", "of boxes: input (pixels of the model's image), unit (0 to 1 of it), image (pixels of the original), unit-image"},
        {"activation", "\"none\"", "scores → probabilities: none, sigmoid, softmax"},
        {"background", "-1", "class that is no object; -1: none"},
        {"least_score", "0.0", "detections below it do not count"},
        {"nms", "0.0", "overlap from which the lesser box of a class is dropped; 0: the model has done that"},
        {"most", "100", "detections an image"}},
       {"coco_map"}, make_box_judge},
      {"image-segmentation", "Semantic segmentation", "pixels", "image", "mask", false,
       {{"scores", true, 4, {"logits", "scores", "output", "mask"}, "[classes, height, width], of any size, or [height, width] of classes"}},
       {{"layout", "\"chw\"", "where the classes are: chw, hwc"},
        {"ignore", "255", "class of the mask that does not count"},
        {"classes", "0", "how many, where the model gives classes instead of scores"},
        {"threshold", "0.5", "above which a pixel is of class 1, where there is one score"}},
       {"mean_iou"}, make_pixel_judge},
      {"image-to-image", "Restored images", "image", "image", "target", false,
       {{"image", true, 4, {"output", "image", "reconstruction"}, "[channels, height, width]"}},
       {{"layout", "\"chw\"", "of the output: chw, hwc"},
        {"peak", "1.0", "largest value of the output's samples"},
        {"border", "0", "pixels at each side that do not count"}},
       {"psnr", "ssim"}, make_image_judge},
      {"text-classification", "Text classification", "class", "text", "label", false, kClassRoles, kClassOptions, {"accuracy", "f1"}, make_class_judge},
      {"token-classification", "Token classification", "tokens", "text", "labels", false,
       {{"scores", true, 3, {"logits", "scores"}, "[tokens, classes]"}},
       {{"words", "\"\"", "field with the number of each token's word: labels are the words'"},
        {"first", "0", "token of the first label, where there is no such field"},
        {"mask", "\"attention_mask\"", "field that is 0 for tokens that do not count"}},
       {"accuracy", "f1"}, make_token_judge},
      {"question-answering", "Extractive question answering", "text", "text", "answers", false,
       {{"start", true, 2, {"start_logits"}, "a score a token"}, {"end", true, 2, {"end_logits"}, "a score a token"}},
       with(kTextOptions, {{"longest", "30", "tokens of an answer"},
                           {"ids", "\"input_ids\"", "field of the tokens"},
                           {"mask", "\"attention_mask\"", "field that is 0 for tokens that are none"},
                           {"segments", "\"token_type_ids\"", "field that is 0 for the question's tokens"},
                           {"offsets", "\"offsets\"", "field [tokens, 2] of where each token is in the passage, in bytes"},
                           {"passage", "\"context\"", "field of the passage"}}),
       {"exact_match", "squad_f1"}, make_span_judge},
      {"translation", "Translation, from outputs", "text", "text", "reference", false, kSequenceRoles, kTextOptions, {"bleu", "chrf"}, make_generated_judge},
      {"summarization", "Summaries, from outputs", "text", "text", "reference", false, kSequenceRoles, kTextOptions, {"rouge1", "rouge2", "rougeL"},
       make_generated_judge},
      {"text-generation", "Language modelling", "likelihood", "text", "input_ids", false,
       {{"scores", true, 3, {"logits", "lm_logits"}, "[tokens, vocabulary]"}},
       {{"mask", "\"attention_mask\"", "field that is 0 for tokens that do not count"},
        {"shift", "true", "scores at a token are for the next one"}},
       {"perplexity"}, make_likelihood_judge},
      {"fill-mask", "Masked language modelling", "likelihood", "text", "labels", false,
       {{"scores", true, 3, {"logits", "prediction_logits"}, "[tokens, vocabulary]"}},
       {{"mask", "\"\"", "field that is 0 for tokens that do not count; labels of -100 do not either"},
        {"shift", "false", "scores at a token are for the next one"}},
       {"perplexity"}, make_likelihood_judge},
      {"automatic-speech-recognition", "Speech recognition (CTC)", "text", "audio", "text", false,
       {{"scores", true, 3, {"logits", "scores", "log_probs"}, "[time, tokens]"}},
       {{"vocabulary", "\"\"", "file of the tokens: .json of numbers by token, or .txt of one a line"},
        {"tokens", "\"characters\"", "how tokens join: wordpiece, bpe, sentencepiece, words, characters"},
        {"skip", "[]", "numbers of tokens to leave out"},
        {"blank", "0", "number of the token that is none"},
        {"space", "\"|\"", "token that stands for a space"},
        {"lower", "true", "compare in lower case"}},
       {"wer", "cer"}, make_ctc_judge},
      {"audio-classification", "Audio classification", "class", "audio", "label", false, kClassRoles, kClassOptions, {"accuracy"}, make_class_judge},
      {"tabular-classification", "Classes of rows", "class", "", "label", false, kClassRoles, kClassOptions, {"accuracy", "f1"}, make_class_judge},
      {"tabular-regression", "Regression", "values", "", "target", false,
       {{"values", true, 0, {"values", "prediction", "predictions", "variable", "output"}, "as many as there are targets"}},
       {{"targets", "[]", "fields of the targets, where they are several; else labels.field"},
        {"scale", "1.0", "a prediction is output × scale + offset"},
        {"offset", "0.0", "see scale"}},
       {"rmse", "mae", "r2"}, make_regression_judge},
      {"feature-extraction", "Embeddings against expected ones", "values", "text", "embedding", false, kEmbeddingRoles, kEmbeddingOptions,
       {"cosine_similarity"}, make_embedding_judge},
      {"sentence-similarity", "Similarity of pairs, by the cosine of embeddings", "values", "text", "score", true, kEmbeddingRoles, kEmbeddingOptions,
       {"spearmanr", "pearsonr"}, make_similarity_judge},
      {"outputs", "All outputs against expected ones", "values", "", "output_", false, {}, {}, {"rmse", "mae", "cosine_similarity"}, make_outputs_judge},
  };
  return kTasks;
}

bool same_kind(const json& a, const json& b) {
  if (a.is_number_float()) return b.is_number();
  if (a.is_number_integer()) return b.is_number_integer();
  return a.type() == b.type();
}

bool type_fits(const ir::Type& type, int rank) {
  if (!type.is_tensor()) return false;
  return is_float(type.dtype()) && (rank == 0 || !type.is_ranked_tensor() || static_cast<int>(type.tensor().dims->size()) == rank);
}

std::vector<std::string> output_names(const ir::Graph& graph) {
  std::vector<std::string> names;
  for (int i = 0; i < static_cast<int>(graph.outputs().size()); ++i) names.push_back(graph.output_name(i));
  return names;
}

std::optional<size_t> find_output(const RoleInfo& role, const ir::Graph& graph, const std::vector<std::string>& names) {
  for (const std::string_view alias : role.aliases)
    if (const auto found = std::find(names.begin(), names.end(), alias); found != names.end()) return static_cast<size_t>(found - names.begin());
  if (role.rank == 0 && !role.required) return std::nullopt;
  for (size_t i = 0; i < names.size(); ++i)
    if (type_fits(graph.outputs()[i]->type(), role.rank)) return i;
  if (role.required && names.size() == 1) return 0;
  return std::nullopt;
}

}  // namespace

std::span<const TaskInfo> tasks() { return table(); }

Result<const TaskInfo*> find_task(std::string_view name) {
  std::vector<std::string> names;
  for (const TaskInfo& task : tasks()) {
    if (task.name == name) return &task;
    names.emplace_back(task.name);
  }
  return Status(Code::kInvalidArgument, fmt::format("there is no task '{}'", name), "task", suggest(name, names));
}

Result<json> task_options(const TaskInfo& task, const json& given, const std::string& where) {
  json out = json::object();
  std::vector<std::string> names;
  for (const TaskOption& option : task.options) {
    out[std::string(option.name)] = json::parse(option.value);
    names.emplace_back(option.name);
  }
  if (given.is_null()) return out;
  if (!given.is_object()) return Status(Code::kInvalidArgument, fmt::format("{} is not an object", brief(given)), where);
  for (const auto& [name, value] : given.items()) {
    if (!out.contains(name))
      return Status(Code::kInvalidArgument, fmt::format("task {} has no option '{}'", task.name, name.substr(0, 100)), where, suggest(name, names));
    if (!same_kind(out[name], value))
      return Status(Code::kInvalidArgument, fmt::format("{} is not of the kind of {}", brief(value), brief(out[name])), where + "." + name);
    out[name] = value;
  }
  return out;
}

Result<std::map<std::string, size_t, std::less<>>> assign_roles(const TaskInfo& task, const ir::Graph& graph,
                                                                const std::map<std::string, std::string>& given) {
  const std::vector<std::string> names = output_names(graph);
  std::vector<std::string> roles;
  for (const RoleInfo& role : task.roles) roles.emplace_back(role.name);
  std::map<std::string, size_t, std::less<>> out;
  for (const auto& [role, name] : given) {
    if (std::find(roles.begin(), roles.end(), role) == roles.end())
      return Status(Code::kInvalidArgument, fmt::format("task {} has no use for an output as '{}'", task.name, role), "outputs", suggest(role, roles));
    const auto found = std::find(names.begin(), names.end(), name);
    if (found == names.end())
      return Status(Code::kInvalidArgument, fmt::format("the model has no output '{}'", name), fmt::format("outputs.{}", role), suggest(name, names));
    out[role] = static_cast<size_t>(found - names.begin());
  }
  for (const RoleInfo& role : task.roles) {
    if (given.contains(std::string(role.name))) continue;
    // What the recipe names is all that there is, but for what the task cannot do without.
    if (!given.empty() && !role.required) continue;
    if (const auto found = find_output(role, graph, names)) out[std::string(role.name)] = *found;
    else if (role.required)
      return Status(Code::kInvalidArgument, fmt::format("no output has the form of {}: {}", role.name, role.what), "outputs",
                    fmt::format("name one: {{\"{}\": OUTPUT}}; the model has {}", role.name, fmt::join(names, ", ")));
  }
  return out;
}

std::string tasks_markdown() {
  const auto joined = [](const auto& rows, auto text) {
    std::vector<std::string> parts;
    for (const auto& row : rows) {
      std::string part = text(row);
      for (size_t at = 0; (at = part.find('|', at)) != std::string::npos; at += 2) part.insert(at, 1, '\\');
      parts.push_back(std::move(part));
    }
    return fmt::format("{}", fmt::join(parts, "<br>"));
  };
  std::string out = "| task | truth | outputs | options | metrics |\n| --- | --- | --- | --- | --- |\n";
  for (const TaskInfo& task : tasks())
    out += fmt::format("| `{}`: {} | `{}` | {} | {} | {} |\n", task.name, task.title, task.label,
                       joined(task.roles, [](const RoleInfo& r) { return fmt::format("`{}`: {}", r.name, r.what); }),
                       joined(task.options, [](const TaskOption& o) { return fmt::format("`{}` = `{}`: {}", o.name, o.value, o.what); }),
                       fmt::join(task.metrics, ", "));
  return out;
}

}  // namespace tenon::eval
