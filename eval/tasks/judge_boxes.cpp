#include <algorithm>
#include <cmath>

#include "eval/tasks/judge.h"

namespace tenon::eval {
namespace {

using Box = std::array<double, 4>;
using Detection = BoxOutcome::Detection;

constexpr int64_t kMostCandidates = int64_t{1} << 20;  // boxes × classes of one image

/// What a column of a table of detections holds.
constexpr std::string_view kColumns[] = {"x0", "y0", "x1", "y1", "cx", "cy", "w", "h", "score", "label", "objectness", "scores", "skip"};
constexpr std::pair<std::string_view, std::array<std::string_view, 4>> kForms[] = {
    {"xyxy", {"x0", "y0", "x1", "y1"}}, {"yxyx", {"y0", "x0", "y1", "x1"}}, {"xywh", {"x0", "y0", "w", "h"}}, {"cxcywh", {"cx", "cy", "w", "h"}}};

double area(const Box& b) { return std::max(0.0, b[2] - b[0]) * std::max(0.0, b[3] - b[1]); }

double overlap(const Box& a, const Box& b) {
  const double w = std::min(a[2], b[2]) - std::max(a[0], b[0]), h = std::min(a[3], b[3]) - std::max(a[1], b[1]);
  if (w <= 0 || h <= 0) return 0;
  return w * h / (area(a) + area(b) - w * h);
}

/// The best of each group of boxes of a class that overlap more than `iou`: greedy, best first. `found` is sorted so.
std::vector<Detection> suppress(const std::vector<Detection>& found, double iou, size_t most) {
  std::vector<Detection> kept;
  for (const Detection& d : found) {
    if (kept.size() >= most) break;
    const bool covered = std::any_of(kept.begin(), kept.end(), [&](const Detection& k) { return k.label == d.label && overlap(k.box, d.box) > iou; });
    if (!covered) kept.push_back(d);
  }
  return kept;
}

/// A tensor as a table of `rows` with columns, by value.
struct Table {
  int64_t rows = 0, columns = 0;
  std::vector<double> values;
  double at(int64_t r, int64_t c) const { return values[static_cast<size_t>(r * columns + c)]; }
};

/// From point q of the model's coordinates to the original image's: (q × unit - offset) / scale, x and y.
struct Frame {
  double unit[2] = {1, 1}, offset[2] = {0, 0}, scale[2] = {1, 1};
  double back(double q, int axis) const { return (q * unit[axis] - offset[axis]) / scale[axis]; }
};

class BoxJudge final : public Judge {
 public:
  BoxJudge(const TaskContext& context, std::vector<std::string> columns)
      : context_(context), columns_(std::move(columns)), coordinates_(context.options.value("coordinates", "input")),
        activation_(context.options.value("activation", "none")), least_(context.options.value("least_score", 0.0)),
        iou_(context.options.value("nms", 0.0)), most_(static_cast<size_t>(context.options.value("most", int64_t{100}))),
        background_(context.options.value("background", int64_t{-1})), transposed_(context.options.value("transposed", false)) {
    const std::string form = context.options.value("boxes", "xyxy");
    for (const auto& [name, names] : kForms)
      if (name == form) form_.assign(names.begin(), names.end());
  }

  Result<Outcome> judge(const Item& item) const override {
    BoxOutcome out;
    TENON_RETURN_IF_ERROR(read_truths(item, out));
    TENON_ASSIGN_OR_RETURN(const Frame frame, make_frame(item));
    std::vector<Detection> found;
    if (context_.roles.contains("detections")) {
      TENON_ASSIGN_OR_RETURN(const Table table, read_table(item, "detections", static_cast<int64_t>(columns_.size())));
      TENON_RETURN_IF_ERROR(detect(table, columns_, nullptr, nullptr, frame, found));
    } else {
      TENON_ASSIGN_OR_RETURN(const Table boxes, read_table(item, "boxes", 4));
      TENON_ASSIGN_OR_RETURN(const Table scores, read_columns(item, "scores", boxes.rows));
      Table labels;
      if (context_.roles.contains("labels")) {
        TENON_ASSIGN_OR_RETURN(labels, read_columns(item, "labels", boxes.rows));
        if (labels.columns != 1) return error(kUnusableOutput, "the output for labels has {} values a box, not one", labels.columns);
      }
      TENON_RETURN_IF_ERROR(detect(boxes, form_, &scores, labels.rows > 0 ? &labels : nullptr, frame, found));
    }
    std::stable_sort(found.begin(), found.end(), [](const Detection& a, const Detection& b) { return a.score > b.score; });
    if (iou_ > 0) found = suppress(found, iou_, most_);
    if (found.size() > most_) found.resize(most_);
    out.detections = std::move(found);
    return Outcome(std::move(out));
  }

 private:
  Status read_truths(const Item& item, BoxOutcome& out) const {
    TENON_ASSIGN_OR_RETURN(const Tensor boxes, item_tensor(item, context_.labels.field));
    TENON_ASSIGN_OR_RETURN(const Tensor labels, item_tensor(item, "box_labels"));
    const int64_t count = boxes.size() / 4;
    if (boxes.size() % 4 != 0 || labels.size() != count)
      return error(Code::kInvalidArgument, "field '{}' has {} values, box_labels {}: not 4 to 1", context_.labels.field, boxes.size(), labels.size());
    const auto* crowd = item_value(item, "crowd");
    const auto* areas = item_value(item, "area");
    const auto* crowds = crowd != nullptr ? std::get_if<Tensor>(crowd) : nullptr;
    const auto* sizes = areas != nullptr ? std::get_if<Tensor>(areas) : nullptr;
    for (int64_t i = 0; i < count; ++i) {
      BoxOutcome::Truth truth;
      for (int64_t k = 0; k < 4; ++k) truth.box[static_cast<size_t>(k)] = boxes.at_double(i * 4 + k);
      truth.label = labels.at_int(i) + context_.labels.offset;
      truth.crowd = crowds != nullptr && i < crowds->size() && crowds->at_int(i) != 0;
      truth.area = sizes != nullptr && i < sizes->size() ? sizes->at_double(i) : 0;
      out.truths.push_back(truth);
    }
    return {};
  }

  Result<Frame> make_frame(const Item& item) const {
    Frame frame;
    if (coordinates_ == "image") return frame;
    const HostValue* image = item_value(item, "image");
    const auto* pixels = image != nullptr ? std::get_if<Tensor>(image) : nullptr;
    if (coordinates_ == "unit" || coordinates_ == "unit-image") {
      double height = 0, width = 0;
      if (coordinates_ == "unit-image" && item_value(item, "image_size") != nullptr) {
        TENON_ASSIGN_OR_RETURN(const Tensor size, item_tensor(item, "image_size"));
        if (size.size() == 2) {
          height = size.at_double(0);
          width = size.at_double(1);
        }
      } else if (pixels != nullptr && pixels->rank() == 3) {
        const bool planar = pixels->dim(0) == 1 || pixels->dim(0) == 3;
        height = static_cast<double>(pixels->dim(planar ? 1 : 0));
        width = static_cast<double>(pixels->dim(planar ? 2 : 1));
      }
      if (!(height > 0 && width > 0)) return error(Code::kInvalidArgument, "the image's size is not known, so boxes cannot be scaled");
      frame.unit[0] = width;
      frame.unit[1] = height;
      if (coordinates_ == "unit-image") return frame;
    }
    for (const auto& [name, to] : {std::pair<const char*, double*>{"image_scale", frame.scale}, {"image_offset", frame.offset}}) {
      if (item_value(item, name) == nullptr) continue;
      TENON_ASSIGN_OR_RETURN(const Tensor yx, item_tensor(item, name));
      if (yx.size() != 2) return error(Code::kInvalidArgument, "field '{}' is not [y, x]", name);
      to[0] = yx.at_double(1);
      to[1] = yx.at_double(0);
    }
    if (!(frame.scale[0] > 0 && frame.scale[1] > 0)) return error(Code::kInvalidArgument, "the image's scale is not positive");
    return frame;
  }

  /// A role's tensor with at least `columns` columns; leading axes are rows.
  Result<Table> read_table(const Item& item, std::string_view role, int64_t columns) const {
    TENON_ASSIGN_OR_RETURN(const Tensor t, role_tensor(context_, item, role));
    if (!(is_float(t.dtype()) || is_int(t.dtype())) || t.rank() < 1)
      return error(kUnusableOutput, "the output for {} holds no rows of numbers", role);
    Shape shape = t.shape();
    while (shape.size() > 2 && shape[0] == 1) shape.erase(shape.begin());
    const bool swap = transposed_ && shape.size() == 2;
    Table out;
    out.columns = swap ? shape[0] : shape.back();
    if (out.columns < columns) return error(kUnusableOutput, "the output for {} has shape {} for an example: {} columns are wanted", role, to_string(t.shape()), columns);
    out.rows = t.size() / out.columns;
    if (t.size() > kMostCandidates * 4) return error(kUnusableOutput, "the output for {} has {} values an image", role, t.size());
    out.values.resize(static_cast<size_t>(t.size()));
    for (int64_t r = 0; r < out.rows; ++r)
      for (int64_t c = 0; c < out.columns; ++c)
        out.values[static_cast<size_t>(r * out.columns + c)] = t.at_double(swap ? c * out.rows + r : r * out.columns + c);
    return out;
  }

  /// A role's tensor with as many rows as there are boxes.
  Result<Table> read_columns(const Item& item, std::string_view role, int64_t rows) const {
    TENON_ASSIGN_OR_RETURN(const Tensor t, role_tensor(context_, item, role));
    if (!(is_float(t.dtype()) || is_int(t.dtype())) || (rows > 0 ? t.size() % rows != 0 : t.size() != 0))
      return error(kUnusableOutput, "the output for {} has {} values for {} boxes", role, t.size(), rows);
    if (t.size() > kMostCandidates) return error(kUnusableOutput, "the output for {} has {} values an image", role, t.size());
    Table out{rows, rows > 0 ? t.size() / rows : 1, {}};
    const bool swap = transposed_ && t.rank() >= 2 && t.dim(t.rank() - 1) == rows && out.columns > 1;
    for (int64_t r = 0; r < rows; ++r)
      for (int64_t c = 0; c < out.columns; ++c) out.values.push_back(t.at_double(swap ? c * rows + r : r * out.columns + c));
    return out;
  }

  Status detect(const Table& table, const std::vector<std::string>& columns, const Table* scores, const Table* labels, const Frame& frame,
                std::vector<Detection>& found) const {
    for (int64_t r = 0; r < table.rows; ++r) {
      Detection d;
      double cx = NAN, cy = NAN, w = NAN, h = NAN, objectness = 1, score = NAN;
      Box box{NAN, NAN, NAN, NAN};
      std::vector<double> classes;
      int64_t label = 0;
      for (size_t c = 0; c < columns.size(); ++c) {
        const double v = table.at(r, static_cast<int64_t>(c));
        const std::string& name = columns[c];
        if (name == "x0") box[0] = v;
        else if (name == "y0") box[1] = v;
        else if (name == "x1") box[2] = v;
        else if (name == "y1") box[3] = v;
        else if (name == "cx") cx = v;
        else if (name == "cy") cy = v;
        else if (name == "w") w = v;
        else if (name == "h") h = v;
        else if (name == "score") score = v;
        else if (name == "label") label = std::isfinite(v) && std::abs(v) < 1e9 ? static_cast<int64_t>(std::llround(v)) : -1;
        else if (name == "objectness") objectness = v;
        else if (name == "scores")
          for (int64_t k = static_cast<int64_t>(c); k < table.columns; ++k) classes.push_back(table.at(r, k));
      }
      if (scores != nullptr)
        for (int64_t k = 0; k < scores->columns; ++k) classes.push_back(scores->at(r, k));
      if (labels != nullptr) {
        const double v = labels->at(r, 0);
        label = std::isfinite(v) && std::abs(v) < 1e9 ? static_cast<int64_t>(std::llround(v)) : -1;
      }
      if (std::isnan(box[0])) box[0] = cx - w / 2;
      if (std::isnan(box[1])) box[1] = cy - h / 2;
      if (std::isnan(box[2])) box[2] = box[0] + w;
      if (std::isnan(box[3])) box[3] = box[1] + h;
      for (int k = 0; k < 4; ++k) d.box[static_cast<size_t>(k)] = frame.back(box[static_cast<size_t>(k)], k % 2);
      if (activation_ == "softmax") classes = softmax(classes);
      if (activation_ == "sigmoid") {
        for (double& v : classes) v = sigmoid(v);
        if (!std::isnan(score)) score = sigmoid(score);
        objectness = std::find(columns.begin(), columns.end(), "objectness") != columns.end() ? sigmoid(objectness) : 1;
      }
      const bool finite = std::all_of(d.box.begin(), d.box.end(), [](double v) { return std::isfinite(v); });
      if (!finite) continue;
      const auto add = [&](double value, int64_t of) {
        if (!(value > least_) || of < 0 || of == background_) return;
        d.score = value;
        d.label = of;
        found.push_back(d);
      };
      if (classes.empty()) add(score * objectness, label);
      else if (classes.size() == 1) add(classes[0] * objectness, label);
      else if (labels != nullptr) add(label >= 0 && label < static_cast<int64_t>(classes.size()) ? classes[static_cast<size_t>(label)] * objectness : 0, label);
      else for (size_t k = 0; k < classes.size(); ++k) add(classes[k] * objectness, static_cast<int64_t>(k));
      if (static_cast<int64_t>(found.size()) > kMostCandidates) return error(Code::kResourceExhausted, "more than {} boxes in an image", kMostCandidates);
    }
    return {};
  }

  TaskContext context_;
  std::vector<std::string> columns_, form_;
  std::string coordinates_, activation_;
  double least_, iou_;
  size_t most_;
  int64_t background_;
  bool transposed_;
};

template <size_t N>
Status check_choice(const TaskContext& context, const char* option, const std::string_view (&known)[N]) {
  const std::string value = context.options.value(option, "");
  if (std::find(std::begin(known), std::end(known), value) != std::end(known)) return {};
  return Status(Code::kInvalidArgument, fmt::format("'{}' is not known", value), fmt::format("options.{}", option), fmt::format("choose from {}", fmt::join(known, ", ")));
}

}  // namespace

Result<std::unique_ptr<Judge>> make_box_judge(const TaskContext& context) {
  constexpr std::string_view kCoordinates[] = {"input", "unit", "image", "unit-image"}, kActivations[] = {"none", "sigmoid", "softmax"},
                             kBoxes[] = {"xyxy", "yxyx", "xywh", "cxcywh"};
  TENON_RETURN_IF_ERROR(check_choice(context, "coordinates", kCoordinates));
  TENON_RETURN_IF_ERROR(check_choice(context, "activation", kActivations));
  TENON_RETURN_IF_ERROR(check_choice(context, "boxes", kBoxes));
  if (const int64_t most = context.options.value("most", int64_t{100}); most < 1 || most > 10000)
    return Status(Code::kInvalidArgument, fmt::format("{} boxes an image is not from 1 to 10000", most), "options.most");
  if (!context.roles.contains("detections") && !(context.roles.contains("boxes") && context.roles.contains("scores")))
    return Status(Code::kInvalidArgument, "no outputs are known as boxes and scores, or as detections", "outputs", "name them: {\"boxes\": OUTPUT, \"scores\": OUTPUT}");
  std::vector<std::string> columns;
  for (const auto& column : context.options.value("columns", nlohmann::json::array())) {
    const std::string name = column.is_string() ? column.get<std::string>() : column.dump();
    if (std::find(std::begin(kColumns), std::end(kColumns), name) == std::end(kColumns))
      return Status(Code::kInvalidArgument, fmt::format("'{}' is no column", name), "options.columns", fmt::format("choose from {}", fmt::join(kColumns, ", ")));
    columns.push_back(name);
  }
  if (const auto rest = std::find(columns.begin(), columns.end(), "scores"); rest != columns.end() && rest + 1 != columns.end())
    return Status(Code::kInvalidArgument, "scores are all columns from there on", "options.columns", "put them last");
  return std::unique_ptr<Judge>(std::make_unique<BoxJudge>(context, std::move(columns)));
}

}  // namespace tenon::eval
