#include "eval/classification.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <numeric>

#include "eval/compare.h"
#include "eval/idx.h"

namespace tenon::eval {
namespace {

using Clock = std::chrono::steady_clock;

double milliseconds_since(Clock::time_point start) {
  return std::chrono::duration<double, std::milli>(Clock::now() - start).count();
}

double median(std::vector<double> values) {
  if (values.empty()) return 0;
  const auto middle = values.begin() + static_cast<std::ptrdiff_t>(values.size() / 2);
  std::nth_element(values.begin(), middle, values.end());
  if (values.size() % 2 == 1) return *middle;
  return (*middle + *std::max_element(values.begin(), middle)) / 2;
}

/// How pictures become the model's input, and which output says what is on them.
struct Plan {
  DType dtype = DType::kInvalid;
  Shape item;               // of one picture, as the input wants it
  int64_t fixed_batch = 0;  // 0: any
  size_t output = 0;
};

bool fits(std::span<const ir::Dim> dims, const Shape& item) {
  if (dims.size() != item.size()) return false;
  for (size_t i = 0; i < item.size(); ++i)
    if (dims[i].is_const() && dims[i].value() != item[i]) return false;
  return true;
}

/// A picture's dims in the forms that classifiers take: [C, H, W], [H, W], [H, W, 1], [C H W].
std::vector<Shape> item_forms(const Shape& images) {
  Shape planar(images.begin() + 1, images.end());
  std::vector<Shape> forms;
  if (planar.size() == 2) {
    forms = {{1, planar[0], planar[1]}, planar, {planar[0], planar[1], 1}};
  } else {
    forms = {planar};
  }
  forms.push_back({std::accumulate(planar.begin(), planar.end(), int64_t{1}, std::multiplies<>())});
  return forms;
}

Status plan_input(const ir::Graph& graph, const LabelledImages& data, Plan& plan) {
  if (graph.inputs().size() != 1)
    return error(Code::kInvalidArgument, "the model has {} inputs; a classifier of images has one", graph.inputs().size());
  const ir::Value& input = *graph.inputs()[0];
  const bool numeric = is_float(input.dtype()) || input.dtype() == DType::kU8;
  if (!input.type().is_ranked_tensor() || input.tensor().dims->empty() || !numeric)
    return error(Code::kInvalidArgument, "input {} is {}, not a batch of images", input.name(), ir::to_string(input.type()));
  const std::span<const ir::Dim> dims = *input.tensor().dims;
  plan.dtype = input.dtype();
  plan.fixed_batch = dims[0].is_const() ? dims[0].value() : 0;
  for (Shape& form : item_forms(data.images.shape()))
    if (fits(dims.subspan(1), form)) {
      plan.item = std::move(form);
      return {};
    }
  return error(Code::kInvalidArgument, "input {} is {}, which images of {} do not fit", input.name(), ir::to_string(input.type()),
               to_string(Shape(data.images.shape().begin() + 1, data.images.shape().end())));
}

Status plan_output(const ir::Graph& graph, const std::string& wanted, Plan& plan) {
  for (size_t i = 0; i < graph.outputs().size(); ++i) {
    const ir::Type& type = graph.outputs()[i]->type();
    const bool scores = is_float(type.dtype()) && (!type.is_ranked_tensor() || type.tensor().dims->size() == 2);
    if (wanted.empty() ? !scores : graph.output_name(static_cast<int>(i)) != wanted) continue;
    plan.output = i;
    return {};
  }
  if (wanted.empty())
    return Status(Code::kInvalidArgument, "no output has the form of scores, [batch, classes]", {}, "name one with --output");
  return error(Code::kInvalidArgument, "the model has no output '{}'", wanted);
}

/// Images first … first + used - 1; the rest of `size` is empty.
Result<Tensor> make_batch(const LabelledImages& data, const Plan& plan, const ClassificationOptions& options, int64_t first,
                          int64_t used, int64_t size) {
  Shape shape{size};
  shape.insert(shape.end(), plan.item.begin(), plan.item.end());
  TENON_ASSIGN_OR_RETURN(Tensor out, Tensor::zeros(plan.dtype, std::move(shape)));
  const int64_t pixels = data.images.size() / data.images.dim(0);
  for (int64_t i = 0; i < used * pixels; ++i)
    out.set_double(i, data.images.at_double(first * pixels + i) * options.scale + options.offset);
  return out;
}

Prediction predict(const Tensor& scores, int64_t row, int64_t classes, int64_t label) {
  std::vector<double> s(static_cast<size_t>(classes));
  for (int64_t c = 0; c < classes; ++c) s[static_cast<size_t>(c)] = scores.at_double(row * classes + c);
  const auto best = std::max_element(s.begin(), s.end());
  Prediction out;
  out.label = best - s.begin();
  const double sum = std::accumulate(s.begin(), s.end(), 0.0);
  const bool distribution = std::abs(sum - 1) < 1e-2 && *std::min_element(s.begin(), s.end()) >= 0;
  double total = 0;
  for (double v : s) total += std::exp(v - *best);
  out.confidence = distribution ? *best : 1 / total;
  const double own = s[static_cast<size_t>(label)];
  out.top5 = std::count_if(s.begin(), s.end(), [&](double v) { return v > own; }) < 5;
  return out;
}

/// One backend at work.
class Runner {
 public:
  Runner(const backends::Backend& backend, const Plan& plan, const LabelledImages& data) : backend_(backend), plan_(plan), data_(data) {
    result.backend = backend.name();
  }

  bool ok() const { return result.status.ok(); }

  void compile(const ir::Graph& graph, const ClassificationOptions& options) {
    const auto start = Clock::now();
    interrupt_ = options.compile.interrupt;
    result.status = [&]() -> Status {
      TENON_RETURN_IF_ERROR(backend_.available());
      TENON_ASSIGN_OR_RETURN(executable_, backend_.compile(graph, options.compile));
      TENON_ASSIGN_OR_RETURN(session_, executable_->create_session(options.session));
      return {};
    }();
    result.compile_ms = milliseconds_since(start);
  }

  /// Runs once; the time is appended to `times`. Empty on failure, which `result` then tells.
  std::vector<HostValue> run(const Tensor& batch, std::vector<double>& times) {
    const HostValue inputs[] = {batch};
    const auto start = Clock::now();
    Result<std::vector<HostValue>> outputs = session_->run(inputs, interrupt_);
    const double took = milliseconds_since(start);
    if (!outputs.ok()) {
      result.status = std::move(outputs).status();
      return {};
    }
    if (result.first_run_ms == 0) result.first_run_ms = took;
    else times.push_back(took);
    result.arena_bytes = std::max(result.arena_bytes, session_->arena_bytes());
    return std::move(*outputs);
  }

  void record(const std::vector<HostValue>& outputs, int64_t first, int64_t used, int64_t size) {
    const Tensor* scores = std::get_if<Tensor>(&outputs[plan_.output]);
    if (scores == nullptr || scores->rank() < 2 || scores->dim(0) != size || scores->size() == 0) {
      result.status = error(Code::kInvalidArgument, "output {} is not [{}, classes]", plan_.output, size);
      return;
    }
    const int64_t classes = scores->size() / size;
    for (int64_t i = 0; i < used; ++i) {
      const int64_t label = data_.labels[static_cast<size_t>(first + i)];
      if (label >= classes) {
        result.status = error(Code::kInvalidArgument, "image {} has label {}, but the model has {} classes", first + i, label, classes);
        return;
      }
      result.predictions.push_back(predict(*scores, i, classes, label));
      result.correct += result.predictions.back().label == label;
      result.correct_top5 += result.predictions.back().top5;
    }
  }

  ClassificationResult result;
  std::vector<double> batch_times, image_times;

 private:
  const backends::Backend& backend_;
  const Plan& plan_;
  const LabelledImages& data_;
  std::shared_ptr<const backends::Executable> executable_;
  std::unique_ptr<backends::Session> session_;
  Interrupt interrupt_;
};

void compare_outputs(const std::vector<HostValue>& expected, const std::vector<HostValue>& actual, ClassificationResult& result) {
  for (size_t i = 0; i < expected.size(); ++i) result.max_abs = std::max(result.max_abs, compare(expected[i], actual[i], {}).max_abs);
}

void finish(std::vector<Runner>& runners, ClassificationReport& report) {
  const Runner& first = runners.front();
  for (Runner& r : runners) {
    r.result.batch_ms = r.batch_times.empty() ? r.result.first_run_ms : median(r.batch_times);  // one batch is all there is
    r.result.image_ms = median(r.image_times);
    for (size_t i = 0; r.ok() && first.ok() && i < first.result.predictions.size(); ++i)
      r.result.disagreements += r.result.predictions[i].label != first.result.predictions[i].label;
  }
  for (Runner& r : runners) report.results.push_back(std::move(r.result));
}

}  // namespace

Result<LabelledImages> read_labelled_images(const std::filesystem::path& images, const std::filesystem::path& labels) {
  LabelledImages out;
  TENON_ASSIGN_OR_RETURN(out.images, read_idx(images));
  TENON_ASSIGN_OR_RETURN(const Tensor classes, read_idx(labels));
  if (out.images.rank() != 3 && out.images.rank() != 4)
    return Status(Code::kInvalidArgument, fmt::format("images have rank {}, not 3 or 4", out.images.rank()), images.string());
  if (classes.rank() != 1 || is_float(classes.dtype()))
    return Status(Code::kInvalidArgument, "labels must be a list of integers", labels.string());
  if (out.images.dim(0) != classes.dim(0) || out.images.size() == 0)
    return Status(Code::kInvalidArgument, fmt::format("{} images but {} labels", out.images.dim(0), classes.dim(0)), images.string());
  for (int64_t i = 0; i < classes.size(); ++i) {
    out.labels.push_back(classes.at_int(i));
    if (out.labels.back() < 0) return Status(Code::kInvalidArgument, fmt::format("label {} is negative", i), labels.string());
  }
  return out;
}

Result<ClassificationReport> classify(const ir::Graph& graph, const LabelledImages& data,
                                      std::span<const backends::Backend* const> backends, const ClassificationOptions& options,
                                      const std::function<void(const std::string&)>& progress) {
  const auto say = [&](const std::string& what) {
    if (progress) progress(what);
  };
  Plan plan;
  TENON_RETURN_IF_ERROR(plan_input(graph, data, plan));
  TENON_RETURN_IF_ERROR(plan_output(graph, options.output, plan));
  ClassificationReport report;
  report.output = graph.output_name(static_cast<int>(plan.output));
  report.images = options.limit > 0 ? std::min(options.limit, data.count()) : data.count();
  report.batch = plan.fixed_batch > 0 ? plan.fixed_batch : std::clamp<int64_t>(options.batch, 1, report.images);
  report.singles = plan.fixed_batch > 1 ? 0 : std::min(options.singles, report.images);

  std::vector<Runner> runners;
  runners.reserve(backends.size());
  for (const backends::Backend* backend : backends) {
    say(fmt::format("compiling for {}", backend->name()));
    runners.emplace_back(*backend, plan, data);
    runners.back().compile(graph, options);
  }
  /// All backends on the same images; returns whether the predictions are to be kept.
  const auto run_all = [&](int64_t first, int64_t used, int64_t size, bool keep) -> Status {
    TENON_ASSIGN_OR_RETURN(const Tensor batch, make_batch(data, plan, options, first, used, size));
    std::vector<HostValue> expected;
    for (Runner& r : runners) {
      if (!r.ok()) continue;
      // A shorter last batch is no sample of the time that a batch takes.
      std::vector<double> ignored, &times = !keep ? r.image_times : used == report.batch ? r.batch_times : ignored;
      std::vector<HostValue> outputs = r.run(batch, times);
      if (!r.ok() || !keep) continue;
      r.record(outputs, first, used, size);
      if (&r == &runners.front()) expected = std::move(outputs);
      else if (r.ok() && !expected.empty()) compare_outputs(expected, outputs, r.result);
    }
    return {};
  };
  for (int64_t first = 0; first < report.images; first += report.batch) {
    say(fmt::format("image {} of {}", first, report.images));
    const int64_t used = std::min(report.batch, report.images - first);
    TENON_RETURN_IF_ERROR(run_all(first, used, plan.fixed_batch > 0 ? plan.fixed_batch : used, true));
  }
  for (int64_t i = 0; i < report.singles; ++i) {
    say(fmt::format("single image {} of {}", i, report.singles));
    TENON_RETURN_IF_ERROR(run_all(i, 1, 1, false));
  }
  finish(runners, report);
  return report;
}

}  // namespace tenon::eval
