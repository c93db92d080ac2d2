#include <algorithm>
#include <cmath>
#include <limits>

#include "ir/ops/body_helpers.h"
#include "ir/ops/budget.h"
#include "ir/ops/families.h"
#include "ir/ops/nn_helpers.h"

namespace tenon::ir {
namespace {

constexpr DTypeSet kReal = kFloat16To64;

// ---- NonMaxSuppression

Status infer_nms(InferContext& c) {
  TENON_RETURN_IF_ERROR(require_rank(c, 0, 3));
  TENON_RETURN_IF_ERROR(require_rank(c, 1, 3));
  if (c.ranked(0)) TENON_RETURN_IF_ERROR(require_equal(c, c.shape(0)[2], 4, "the boxes' last axis"));
  if (c.ranked(0) && c.ranked(1)) {
    TENON_RETURN_IF_ERROR(require_equal(c, c.shape(0)[0], c.shape(1)[0], "batches of boxes and scores"));
    TENON_RETURN_IF_ERROR(require_equal(c, c.shape(0)[1], c.shape(1)[2], "boxes and scores"));
  }
  c.set(0, tensor_of(DType::kI64, {c.fresh_dim(0, 0), 3}));
  return {};
}

struct Box {
  float y1, x1, y2, x2;
  float area() const { return (y2 - y1) * (x2 - x1); }
};

/// Corners in order; centre boxes are x, y, width, height (ONNX NonMaxSuppression, center_point_box).
Box box_at(const float* v, bool centre) {
  if (centre) return {v[1] - v[3] / 2, v[0] - v[2] / 2, v[1] + v[3] / 2, v[0] + v[2] / 2};
  return {std::min(v[0], v[2]), std::min(v[1], v[3]), std::max(v[0], v[2]), std::max(v[1], v[3])};
}

bool overlaps(const Box& a, const Box& b, float threshold) {
  float h = std::min(a.y2, b.y2) - std::max(a.y1, b.y1), w = std::min(a.x2, b.x2) - std::max(a.x1, b.x1);
  if (h <= 0 || w <= 0) return false;
  float both = h * w, together = a.area() + b.area() - both;
  if (a.area() <= 0 || b.area() <= 0 || together <= 0) return false;
  return both / together > threshold;
}

double optional_number(const EvalContext& c, int input, double fallback) {
  return c.has(input) && c.tensor(input).size() > 0 ? c.tensor(input).at_double(0) : fallback;
}

/// Greedy choice among one class's boxes, best score first; ties keep the lower index.
Result<std::vector<int64_t>> choose_boxes(const float* boxes, const float* scores, int64_t count, int64_t most, float iou, bool has_floor,
                                          float floor, bool centre, const Interrupt& interrupt) {
  std::vector<int64_t> order, kept;
  for (int64_t i = 0; i < count; ++i)
    if (!has_floor || scores[i] > floor) order.push_back(i);
  std::stable_sort(order.begin(), order.end(), [&](int64_t a, int64_t b) {
    return scores[a] > scores[b] || (std::isnan(scores[b]) && !std::isnan(scores[a]));  // NaN comes last
  });
  std::vector<Box> chosen;
  for (int64_t i : order) {
    TENON_RETURN_IF_ERROR(interrupt.check());
    if (static_cast<int64_t>(kept.size()) >= most) break;
    Box box = box_at(boxes + i * 4, centre);
    if (std::any_of(chosen.begin(), chosen.end(), [&](const Box& b) { return overlaps(b, box, iou); })) continue;
    chosen.push_back(box);
    kept.push_back(i);
  }
  return kept;
}

Status eval_nms(EvalContext& c) {
  const Tensor &boxes = c.tensor(0), &scores = c.tensor(1);
  if (boxes.rank() != 3 || scores.rank() != 3 || boxes.dim(2) != 4 || boxes.dim(0) != scores.dim(0) || boxes.dim(1) != scores.dim(2))
    return eval_error(c, Code::kInvalidArgument, "boxes {} and scores {} do not fit", tenon::to_string(boxes.shape()), tenon::to_string(scores.shape()));
  double most_given = optional_number(c, 2, 0);
  int64_t count = boxes.dim(1), classes = scores.dim(1);
  int64_t most = most_given <= 0 ? 0 : static_cast<int64_t>(std::min(most_given, static_cast<double>(count)));
  float iou = static_cast<float>(optional_number(c, 3, 0)), floor = static_cast<float>(optional_number(c, 4, 0));
  if (!(iou >= 0 && iou <= 1)) return eval_error(c, Code::kInvalidArgument, "iou_threshold {} is outside [0, 1]", iou);
  bool centre = c.node.attr_int("center_point_box", 0) != 0, has_floor = c.has(4) && c.tensor(4).size() > 0;
  std::vector<float> b = floats_of(boxes), s = floats_of(scores);
  std::vector<int64_t> rows;
  if (count > 0 && most > 0)
    for (int64_t batch = 0; batch < boxes.dim(0); ++batch)
      for (int64_t cls = 0; cls < classes; ++cls) {
        const float *first = b.data() + batch * count * 4, *own = s.data() + (batch * classes + cls) * count;
        TENON_ASSIGN_OR_RETURN(const std::vector<int64_t> chosen,
                               choose_boxes(first, own, count, most, iou, has_floor, floor, centre, c.interrupt));
        for (int64_t i : chosen) rows.insert(rows.end(), {batch, cls, i});
      }
  TENON_ASSIGN_OR_RETURN(Tensor* out, c.allocate(0, DType::kI64, {static_cast<int64_t>(rows.size()) / 3, 3}));
  std::copy(rows.begin(), rows.end(), out->mutable_span<int64_t>().begin());
  return {};
}

// ---- RoiAlign, MaxRoiPool

Status infer_rois(InferContext& c, int64_t height, int64_t width, int64_t roi_columns) {
  TENON_RETURN_IF_ERROR(require_rank(c, 0, 4));
  TENON_RETURN_IF_ERROR(require_rank(c, 1, 2));
  if (height < 1 || width < 1 || height > INT32_MAX || width > INT32_MAX) return c.fail("the output size {} x {} is not possible", height, width);
  if (!c.ranked(0) || !c.ranked(1)) {
    c.set(0, unranked(c.dtype(0)));
    return {};
  }
  TENON_RETURN_IF_ERROR(require_equal(c, c.shape(1)[1], roi_columns, "columns of the regions"));
  if (exceeds(c.node(), 1, c.shape(0)[2]) || exceeds(c.node(), 1, c.shape(0)[3])) return c.fail("the image is empty");
  c.set(0, tensor_of(c.dtype(0), {c.shape(1)[0], c.shape(0)[1], height, width}));
  return {};
}

Status infer_roi_align(InferContext& c) {
  std::string mode = c.node().attr_string("mode", "avg"), transform = c.node().attr_string("coordinate_transformation_mode", "half_pixel");
  if (mode != "avg" && mode != "max") return c.fail("attribute mode is \"{}\"", mode);
  if (transform != "half_pixel" && transform != "output_half_pixel") return c.fail("attribute coordinate_transformation_mode is \"{}\"", transform);
  TENON_RETURN_IF_ERROR(require_rank(c, 2, 1));
  return infer_rois(c, c.node().attr_int("output_height", 1), c.node().attr_int("output_width", 1), 4);
}

/// NaN when either is.
double larger(double a, double b) { return std::isnan(a) || a > b ? a : b; }

struct Plane {
  const double* data;
  int64_t height, width;
};

/// The four bilinear terms at (y, x); none outside by more than one pixel.
struct Bilinear {
  double terms[4] = {};
  double sum() const { return terms[0] + terms[1] + terms[2] + terms[3]; }
  double most() const { return larger(larger(terms[0], terms[1]), larger(terms[2], terms[3])); }
};

Bilinear sample(const Plane& p, double y, double x) {
  Bilinear out;
  if (!(y >= -1 && y <= static_cast<double>(p.height) && x >= -1 && x <= static_cast<double>(p.width))) return out;
  auto split = [](double v, int64_t size, int64_t& low, int64_t& high) {
    v = std::max(v, 0.0);
    low = static_cast<int64_t>(v);
    if (low >= size - 1) {
      low = high = size - 1;
      return 0.0;
    }
    high = low + 1;
    return v - static_cast<double>(low);
  };
  int64_t y0, y1, x0, x1;
  double fy = split(y, p.height, y0, y1), fx = split(x, p.width, x0, x1);
  out.terms[0] = (1 - fy) * (1 - fx) * p.data[y0 * p.width + x0];
  out.terms[1] = (1 - fy) * fx * p.data[y0 * p.width + x1];
  out.terms[2] = fy * (1 - fx) * p.data[y1 * p.width + x0];
  out.terms[3] = fy * fx * p.data[y1 * p.width + x1];
  return out;
}

struct RoiGrid {
  double y, x, bin_h, bin_w;
  int64_t steps_h, steps_w;
};

double pool_bin(const Plane& plane, const RoiGrid& g, int64_t i, int64_t j, bool average) {
  double total = 0, most = -std::numeric_limits<double>::infinity();
  for (int64_t a = 0; a < g.steps_h; ++a)
    for (int64_t b = 0; b < g.steps_w; ++b) {
      double y = g.y + static_cast<double>(i) * g.bin_h + (static_cast<double>(a) + 0.5) * g.bin_h / static_cast<double>(g.steps_h);
      double x = g.x + static_cast<double>(j) * g.bin_w + (static_cast<double>(b) + 0.5) * g.bin_w / static_cast<double>(g.steps_w);
      Bilinear s = sample(plane, y, x);
      total += s.sum();
      most = larger(most, s.most());
    }
  if (g.steps_h * g.steps_w == 0) return 0;
  return average ? total / static_cast<double>(g.steps_h * g.steps_w) : most;
}

Status eval_roi_align(EvalContext& c) {
  const Tensor &x = c.tensor(0), &rois = c.tensor(1), &batches = c.tensor(2);
  if (x.rank() != 4 || rois.rank() != 2 || rois.dim(1) != 4 || batches.size() != rois.dim(0))
    return eval_error(c, Code::kInvalidArgument, "the regions or their batch indices have the wrong shape");
  int64_t out_h = c.node.attr_int("output_height", 1), out_w = c.node.attr_int("output_width", 1), ratio = c.node.attr_int("sampling_ratio", 0);
  if (ratio < 0 || ratio > 65536) return eval_error(c, Code::kInvalidModel, "attribute sampling_ratio is {}", ratio);
  double scale = c.node.attr_float("spatial_scale", 1);
  bool half = c.node.attr_string("coordinate_transformation_mode", "half_pixel") == "half_pixel";
  bool average = c.node.attr_string("mode", "avg") == "avg";
  TENON_ASSIGN_OR_RETURN(Tensor* out, c.allocate(0, x.dtype(), {rois.dim(0), x.dim(1), out_h, out_w}));
  if (out->size() == 0) return {};
  if (x.dim(2) == 0 || x.dim(3) == 0) return eval_error(c, Code::kInvalidArgument, "the image is empty");
  TENON_RETURN_IF_ERROR(check_scratch(c, Dim(x.size()) * 8));
  std::vector<double> data = doubles_of(x);
  int64_t at = 0;
  for (int64_t r = 0; r < rois.dim(0); ++r) {
    int64_t batch = batches.at_int(r);
    if (batch < 0 || batch >= x.dim(0)) return eval_error(c, Code::kOutOfRange, "batch index {} is outside [0, {})", batch, x.dim(0));
    double shift = half ? 0.5 : 0, edge[4];
    for (int64_t k = 0; k < 4; ++k) edge[k] = rois.at_double(r * 4 + k) * scale - shift;
    double w = edge[2] - edge[0], h = edge[3] - edge[1];
    if (!half) w = std::max(w, 1.0), h = std::max(h, 1.0);
    if (!(std::abs(w) < 1e7 && std::abs(h) < 1e7)) return eval_error(c, Code::kOutOfRange, "region {} is not possible", r);
    RoiGrid g{edge[1], edge[0], h / static_cast<double>(out_h), w / static_cast<double>(out_w), ratio, ratio};
    if (ratio == 0) {
      g.steps_h = std::max<int64_t>(0, static_cast<int64_t>(std::ceil(g.bin_h)));
      g.steps_w = std::max<int64_t>(0, static_cast<int64_t>(std::ceil(g.bin_w)));
    }
    if (g.steps_h > 65536 || g.steps_w > 65536 || g.steps_h * g.steps_w > (1 << 24)) return eval_error(c, Code::kResourceExhausted, "region {} needs too many samples", r);
    for (int64_t ch = 0; ch < x.dim(1); ++ch) {
      Plane plane{data.data() + (batch * x.dim(1) + ch) * x.dim(2) * x.dim(3), x.dim(2), x.dim(3)};
      for (int64_t i = 0; i < out_h; ++i)
        for (int64_t j = 0; j < out_w; ++j) {
          TENON_RETURN_IF_ERROR(c.interrupt.check());
          out->set_double(at++, pool_bin(plane, g, i, j, average));
        }
    }
  }
  return {};
}

/// A sample's neighbours along an axis of `size`, and how far it is from the lower one.
struct Neighbours {
  Expr low, high, fraction, inside;
};

Neighbours neighbours(Expr at, Dim size) {
  ExprPool& p = *at.pool;
  const Expr last = p.dim(size) - 1.0, zero = p.constant(at.dtype(), 0);
  // Beyond the last element there is no fraction; the limit keeps the conversion in range.
  const Expr v = min(max(at, zero), p.cast(p.dim(size), at.dtype())), whole = floor(v);
  const Expr low = p.cast(whole, DType::kI64);
  const Expr ends = low >= last;
  return {select(ends, last, low), select(ends, last, low + 1.0), select(ends, zero, v - whole),
          at >= -1.0 && at <= p.cast(p.dim(size), at.dtype())};
}

/// A fixed number of samples a bin, over which the body reduces.
Result<std::vector<Body>> roi_align_body(const Node& node) {
  const int64_t ratio = node.attr_int("sampling_ratio", 0);
  if (ratio == 0) return error(Code::kUnsupported, "with sampling_ratio 0, how many samples a bin takes depends on data");
  if (ratio < 0 || ratio > 4096) return error(Code::kUnsupported, "attribute sampling_ratio is {}", ratio);
  const bool half = node.attr_string("coordinate_transformation_mode", "half_pixel") == "half_pixel";
  const bool average = node.attr_string("mode", "avg") == "avg";
  Body body = start_body(node, ComputeKind::kReduce);
  ExprPool& p = *body.pool;
  const Dims& x = input_dims(node, 0);
  const DType real = body.acc_dtype = accumulator_of(body.dtype);
  body.reduce_axes = {ratio, ratio};
  body.combiner = average ? Combiner::kAdd : Combiner::kMax;
  const Expr roi = p.index(0);
  const double scale = node.attr_float("spatial_scale", 1), shift = half ? 0.5 : 0;
  const auto edge = [&](int64_t k) { return load_as(p, node, 1, std::vector<Expr>{roi, i64(p, k)}, real) * scale - shift; };
  Expr possible = p.dim(x[2]) > 0.0 && p.dim(x[3]) > 0.0;
  Neighbours at[2];
  for (int axis = 0; axis < 2; ++axis) {
    const Expr from = edge(1 - axis), extent = edge(3 - axis) - from;
    possible = possible && abs(extent) < 1e7;
    const Expr bin = (half ? extent : max(extent, p.constant(real, 1))) / static_cast<double>(axis == 0 ? node.attr_int("output_height", 1) : node.attr_int("output_width", 1));
    const Expr step = (p.cast(p.index(4 + axis), real) + 0.5) * bin / static_cast<double>(ratio);
    at[axis] = neighbours(from + p.cast(p.index(2 + axis), real) * bin + step, x[static_cast<size_t>(2 + axis)]);
  }
  const Expr image = p.checked_index(load_at(body, node, 2, std::vector<Expr>{roi}), p.dim(x[0])) + required(possible);
  const Expr inside = at[0].inside && at[1].inside && possible;
  Expr result;
  for (int corner = 0; corner < 4; ++corner) {
    const bool lower = corner < 2, right = corner % 2 == 1;
    const std::vector<Expr> where = {image, p.index(1), lower ? at[0].low : at[0].high, right ? at[1].high : at[1].low};
    const Expr pixel = p.cast(p.load_guarded(0, body.dtype, where, inside, p.constant(body.dtype, 0)), real);
    const Expr term = (lower ? 1.0 - at[0].fraction : at[0].fraction) * (right ? at[1].fraction : 1.0 - at[1].fraction) * pixel;
    result = !result.valid() ? term : average ? result + term : max(result, term);
  }
  body.value = select(inside, result, p.constant(real, 0));
  if (average) body.post = p.cast(p.acc(0, real) / static_cast<double>(ratio * ratio), body.dtype);
  return one_body(std::move(body));
}

Status infer_max_roi_pool(InferContext& c) {
  std::vector<int64_t> shape = c.node().attr_ints("pooled_shape");
  if (shape.size() != 2) return c.fail("attribute pooled_shape must hold two sizes");
  return infer_rois(c, shape[0], shape[1], 5);
}

Status eval_max_roi_pool(EvalContext& c) {
  const Tensor &x = c.tensor(0), &rois = c.tensor(1);
  std::vector<int64_t> size = c.node.attr_ints("pooled_shape");
  if (x.rank() != 4 || rois.rank() != 2 || rois.dim(1) != 5) return eval_error(c, Code::kInvalidArgument, "X or rois has the wrong shape");
  double scale = c.node.attr_float("spatial_scale", 1);
  TENON_ASSIGN_OR_RETURN(Tensor* out, c.allocate(0, x.dtype(), {rois.dim(0), x.dim(1), size[0], size[1]}));
  int64_t height = x.dim(2), width = x.dim(3), at = 0;
  for (int64_t r = 0; r < rois.dim(0); ++r) {
    double batch_given = rois.at_double(r * 5), edge[4];
    if (!(batch_given >= 0 && batch_given < static_cast<double>(x.dim(0)))) return eval_error(c, Code::kOutOfRange, "batch index {} is out of range", batch_given);
    int64_t batch = static_cast<int64_t>(batch_given);
    for (int64_t k = 0; k < 4; ++k) {
      edge[k] = std::round(rois.at_double(r * 5 + 1 + k) * scale);
      if (!(std::abs(edge[k]) < 1e9)) return eval_error(c, Code::kOutOfRange, "region {} is not possible", r);
    }
    double bin_h = std::max(edge[3] - edge[1] + 1, 1.0) / static_cast<double>(size[0]);
    double bin_w = std::max(edge[2] - edge[0] + 1, 1.0) / static_cast<double>(size[1]);
    auto clamp = [](double v, int64_t limit) { return static_cast<int64_t>(std::clamp(v, 0.0, static_cast<double>(limit))); };
    for (int64_t ch = 0; ch < x.dim(1); ++ch)
      for (int64_t i = 0; i < size[0]; ++i)
        for (int64_t j = 0; j < size[1]; ++j) {
          TENON_RETURN_IF_ERROR(c.interrupt.check());
          int64_t y0 = clamp(std::floor(static_cast<double>(i) * bin_h) + edge[1], height), y1 = clamp(std::ceil(static_cast<double>(i + 1) * bin_h) + edge[1], height);
          int64_t x0 = clamp(std::floor(static_cast<double>(j) * bin_w) + edge[0], width), x1 = clamp(std::ceil(static_cast<double>(j + 1) * bin_w) + edge[0], width);
          double most = y1 <= y0 || x1 <= x0 ? 0 : -std::numeric_limits<double>::infinity();
          for (int64_t a = y0; a < y1; ++a)
            for (int64_t b = x0; b < x1; ++b) most = std::max(most, x.at_double(((batch * x.dim(1) + ch) * height + a) * width + b));
          out->set_double(at++, most);
        }
  }
  return {};
}

// ---- DeformConv: a convolution whose taps move by learnt offsets (2-D)

struct Deform {
  Dims x, w;
  int64_t groups, offset_groups;
  std::vector<int64_t> stride, dilation, pads;
  Dims out;
};

Result<std::vector<int64_t>> int_list(const Node& node, std::string_view name, size_t count, int64_t lo, int64_t fallback) {
  std::vector<int64_t> v = node.attr_ints(name);
  if (v.empty()) v.assign(count, fallback);
  if (v.size() != count) return error(Code::kInvalidModel, "attribute {} has {} entries where {} are needed", name, v.size(), count);
  for (int64_t e : v)
    if (e < lo || e > INT32_MAX) return error(Code::kInvalidModel, "attribute {} holds {}", name, e);
  return v;
}

Result<Deform> make_deform(const Node& node) {
  Deform d{.x = dims_of(node, 0), .w = dims_of(node, 1), .groups = node.attr_int("group", 1), .offset_groups = node.attr_int("offset_group", 1)};
  if (d.x.size() != 4 || d.w.size() != 4) return error(Code::kUnsupported, "DeformConv of rank {}; 4 is known", d.x.size());
  if (d.groups < 1 || d.offset_groups < 1) return error(Code::kInvalidModel, "attributes group and offset_group must be positive");
  if (differ(node, d.x[1], d.w[1] * d.groups)) return error(Code::kInvalidModel, "input channels and weights do not fit");
  TENON_ASSIGN_OR_RETURN(d.stride, int_list(node, "strides", 2, 1, 1));
  TENON_ASSIGN_OR_RETURN(d.dilation, int_list(node, "dilations", 2, 1, 1));
  TENON_ASSIGN_OR_RETURN(d.pads, int_list(node, "pads", 4, 0, 0));
  d.out = {d.x[0], d.w[0]};
  for (size_t i = 0; i < 2; ++i) {
    Dim span = d.x[2 + i] + d.pads[i] + d.pads[2 + i] - ((d.w[2 + i] - 1) * d.dilation[i] + 1);
    if (!span.is_valid() || bounds(span).hi < 0) return error(Code::kInvalidModel, "the kernel does not fit spatial axis {}", i);
    d.out.push_back(floor_div(span, d.stride[i]) + 1);
  }
  const Dims& offset = dims_of(node, 2);
  if (offset.size() != 4 || differ(node, offset[1], d.w[2] * d.w[3] * 2 * d.offset_groups)) return error(Code::kInvalidModel, "offset has the wrong shape");
  for (size_t i : {0u, 2u, 3u})
    if (differ(node, offset[i], d.out[i])) return error(Code::kInvalidModel, "offset and output differ on axis {}", i);
  if (differ(node, mod(d.x[1], d.offset_groups), 0)) return error(Code::kInvalidModel, "channels do not divide into {} offset groups", d.offset_groups);
  if (differ(node, mod(d.w[0], d.groups), 0)) return error(Code::kInvalidModel, "weights do not divide into {} groups", d.groups);
  if (node.has_input(3) && node.input(3)->type().is_ranked_tensor()) {
    const Dims& bias = dims_of(node, 3);
    if (bias.size() != 1 || differ(node, bias[0], d.w[0])) return error(Code::kInvalidModel, "bias and weights do not fit");
  }
  if (node.has_input(4) && node.input(4)->type().is_ranked_tensor()) {
    const Dims& mask = dims_of(node, 4);
    bool fits = mask.size() == 4 && !differ(node, mask[1] * 2, offset[1]);
    for (size_t i : {0u, 2u, 3u}) fits = fits && !differ(node, mask[i], offset[i]);
    if (!fits) return error(Code::kInvalidModel, "mask and offset do not fit");
  }
  return d;
}

Status infer_deform_conv(InferContext& c) {
  if (!c.ranked(0) || !c.ranked(1) || !c.ranked(2)) {
    c.set(0, unranked(c.dtype(0)));
    return {};
  }
  Result<Deform> d = make_deform(c.node());
  if (!d.ok()) return std::move(d).status().at(c.node().name());
  TENON_RETURN_IF_ERROR(require_rank(c, 3, 1));
  TENON_RETURN_IF_ERROR(require_rank(c, 4, 4));
  c.set(0, tensor_of(c.dtype(0), d->out));
  return {};
}

Result<std::vector<Body>> deform_conv_body(const Node& node) {
  TENON_ASSIGN_OR_RETURN(Deform d, make_deform(node));
  Body body;
  ExprPool& p = *body.pool;
  body.kind = ComputeKind::kReduce;
  body.dtype = node.output(0)->dtype();
  body.acc_dtype = accumulator_of(body.dtype);
  body.axes = out_dims(node);
  body.reduce_axes = {d.w[1], d.w[2], d.w[3]};
  DType real = body.acc_dtype;
  Expr n = p.index(0), oc = p.index(1), ic = p.index(4), kh = p.index(5), kw = p.index(6);
  Expr group = floor_div(oc, p.dim(floor_div(d.w[0], d.groups)));
  Expr channel = d.groups == 1 ? ic : group * p.dim(d.w[1]) + ic;
  Expr offset_group = floor_div(channel, p.dim(floor_div(d.x[1], d.offset_groups)));
  Expr tap = (offset_group * p.dim(d.w[2]) + kh) * p.dim(d.w[3]) + kw;
  Expr base[2], fraction[2];
  for (size_t i = 0; i < 2; ++i) {
    std::vector<Expr> at = {n, tap * 2.0 + static_cast<double>(i), p.index(2), p.index(3)};
    Expr regular = p.index(static_cast<int>(2 + i)) * static_cast<double>(d.stride[i]) + p.index(static_cast<int>(5 + i)) * static_cast<double>(d.dilation[i]) -
                   static_cast<double>(d.pads[i]);
    Expr position = p.cast(regular, real) + load_as(p, node, 2, at, real);
    Expr low = floor(position);
    fraction[i] = position - low;
    base[i] = p.cast(low, DType::kI64);
  }
  Expr sum;
  for (int corner = 0; corner < 4; ++corner) {
    Expr y = base[0] + static_cast<double>(corner / 2), x = base[1] + static_cast<double>(corner % 2);
    Expr weight = (corner / 2 ? fraction[0] : 1.0 - fraction[0]) * (corner % 2 ? fraction[1] : 1.0 - fraction[1]);
    Expr inside = y >= 0.0 && y < p.dim(d.x[2]) && x >= 0.0 && x < p.dim(d.x[3]);
    std::vector<Expr> at = {n, channel, y, x};
    Expr v = p.cast(p.load_guarded(0, body.dtype, at, inside, p.constant(body.dtype, 0)), real) * weight;
    sum = sum.valid() ? sum + v : v;
  }
  if (node.has_input(4)) sum = sum * load_as(p, node, 4, std::vector<Expr>{n, tap, p.index(2), p.index(3)}, real);
  body.value = sum * load_as(p, node, 1, std::vector<Expr>{oc, ic, kh, kw}, real);
  if (node.has_input(3)) body.post = p.cast(p.acc(0, real) + load_as(p, node, 3, std::vector<Expr>{oc}, real), body.dtype);
  return std::vector<Body>{std::move(body)};
}

}  // namespace

std::vector<OpDef> box_ops() {
  constexpr DTypeSet kFloat = dtypes(DType::kF32), kInt64 = dtypes(DType::kI64);
  return {
      {.domain = "", .name = "NonMaxSuppression",
       .inputs = {{"boxes", "T", kFloat}, {"scores", "T", kFloat}, {"max_output_boxes_per_class", "I", kInt64, true},
                  {"iou_threshold", "T", kFloat, true}, {"score_threshold", "T", kFloat, true}},
       .outputs = {{"selected_indices", "I", kInt64}},
       .attrs = {{"center_point_box", AttrKind::kInt, false, "0"}},
       .infer = infer_nms, .compute = {.eval = eval_nms}, .doc = "Greedy choice of boxes that overlap little (ONNX NonMaxSuppression).",
       .host = "each choice depends on those before it; output size depends on data"},
      {.domain = "", .name = "RoiAlign",
       .inputs = {{"X", "T1", kReal}, {"rois", "T1", kReal}, {"batch_indices", "T2", kInt64}},
       .outputs = {{"Y", "T1", kReal}},
       .attrs = {{"coordinate_transformation_mode", AttrKind::kString, false, "half_pixel"}, {"mode", AttrKind::kString, false, "avg"},
                 {"output_height", AttrKind::kInt, false, "1"}, {"output_width", AttrKind::kInt, false, "1"},
                 {"sampling_ratio", AttrKind::kInt, false, "0"}, {"spatial_scale", AttrKind::kFloat, false, "1"}},
       .infer = infer_roi_align, .compute = {.body = roi_align_body, .eval = eval_roi_align}, .doc = "Pools regions by bilinear samples (ONNX RoiAlign)."},
      {.domain = "", .name = "MaxRoiPool",
       .inputs = {{"X", "T", kReal}, {"rois", "T", kReal}},
       .outputs = {{"Y", "T", kReal}},
       .attrs = {{"pooled_shape", AttrKind::kInts, true}, {"spatial_scale", AttrKind::kFloat, false, "1"}},
       .infer = infer_max_roi_pool, .compute = {.eval = eval_max_roi_pool}, .doc = "Maximum over the cells of regions (ONNX MaxRoiPool).",
       .host = "how many cells a maximum is over depends on data"},
      {.domain = "", .name = "DeformConv",
       .inputs = {{"X", "T", kReal}, {"W", "T", kReal}, {"offset", "T", kReal}, {"B", "T", kReal, true}, {"mask", "T", kReal, true}},
       .outputs = {{"Y", "T", kReal}},
       .attrs = {{"dilations", AttrKind::kInts}, {"group", AttrKind::kInt, false, "1"}, {"kernel_shape", AttrKind::kInts},
                 {"offset_group", AttrKind::kInt, false, "1"}, {"pads", AttrKind::kInts}, {"strides", AttrKind::kInts}},
       .infer = infer_deform_conv, .compute = {.body = deform_conv_body}, .doc = "Deformable 2-D convolution (ONNX DeformConv)."},
  };
}

}  // namespace tenon::ir
