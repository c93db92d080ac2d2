#include "eval/compare.h"

#include <algorithm>
#include <cmath>
#include <limits>

namespace tenon::eval {
namespace {

constexpr double kInfinite = std::numeric_limits<double>::infinity();

double epsilon(DType dtype) {
  switch (dtype) {
    case DType::kF16: return 0x1p-10;
    case DType::kBF16: return 0x1p-7;
    case DType::kF8E4M3FN: case DType::kF8E4M3FNUZ: return 0x1p-3;
    case DType::kF8E5M2: case DType::kF8E5M2FNUZ: return 0x1p-2;
    case DType::kF4E2M1: return 0x1p-1;
    case DType::kF8E8M0: return 1;
    default: return 0;
  }
}

std::string place(const Shape& shape, int64_t flat) {
  std::vector<int64_t> index(shape.size());
  for (size_t d = shape.size(); d-- > 0;) {
    index[d] = flat % shape[d];
    flat /= shape[d];
  }
  return fmt::format("[{}]", fmt::join(index, ", "));
}

Difference failure(std::string message) {
  Difference d;
  d.ok = false;
  d.share = kInfinite;
  d.message = std::move(message);
  return d;
}

class Elements {
 public:
  Elements(const Tensor& expected, const Tensor& actual, const Tolerance& tolerance)
      : e_(expected), a_(actual), tolerance_(tolerance) {}

  Difference run() {
    const DTypeClass cls = info(e_.dtype()).cls;
    if (cls == DTypeClass::kString) return strings();
    if (cls == DTypeClass::kFloat) return floats(e_.size(), [](const Tensor& t, int64_t i) { return t.at_double(i); });
    if (e_.dtype() == DType::kC64)
      return floats(e_.size() * 2, [](const Tensor& t, int64_t i) {
        return static_cast<double>(reinterpret_cast<const float*>(t.data())[i]);
      });
    if (e_.dtype() == DType::kC128)
      return floats(e_.size() * 2, [](const Tensor& t, int64_t i) { return reinterpret_cast<const double*>(t.data())[i]; });
    return integers();
  }

 private:
  template <class Read>
  Difference floats(int64_t count, Read read) {
    double scale = 0;
    for (int64_t i = 0; i < count; ++i)
      if (const double e = std::abs(read(e_, i)); std::isfinite(e)) scale = std::max(scale, e);
    const double eps = epsilon(e_.dtype());
    const double rtol = std::max(tolerance_.rtol, 2 * eps);
    const double atol = tolerance_.atol + std::max(tolerance_.scaled_atol, eps) * scale;
    Difference out;
    int64_t bad = 0, first = -1;
    for (int64_t i = 0; i < count; ++i) {
      const double e = read(e_, i), a = read(a_, i);
      if (e == a || (std::isnan(e) && std::isnan(a))) continue;
      const double abs = std::abs(a - e);
      const double allowed = atol + rtol * std::abs(e);
      const bool agrees = std::isfinite(abs) && abs <= allowed;
      out.share = std::max(out.share, std::isfinite(abs) && allowed > 0 ? abs / allowed : kInfinite);
      if (std::isfinite(abs)) {
        out.max_abs = std::max(out.max_abs, abs);
        if (std::abs(e) > 1e-6 * scale) out.max_rel = std::max(out.max_rel, abs / std::abs(e));
      }
      if (!agrees && bad++ == 0) first = i;
    }
    out.differing = bad;
    if (bad > 0) {
      const int64_t element = count == e_.size() ? first : first / 2;
      out.ok = false;
      out.message = fmt::format("{} of {} elements differ, first at {}: {:.9g}, expected {:.9g}; max_abs {:.3g}, max_rel {:.3g}", bad,
                                count, place(e_.shape(), element), read(a_, first), read(e_, first), out.max_abs, out.max_rel);
    }
    return out;
  }

  Difference integers() {
    Difference out;
    int64_t bad = 0, first = -1;
    for (int64_t i = 0; i < e_.size(); ++i) {
      const int64_t e = e_.at_int(i), a = a_.at_int(i);
      if (e == a) continue;
      const double abs = std::abs(static_cast<double>(a) - static_cast<double>(e));
      out.max_abs = std::max(out.max_abs, abs);
      if (e != 0) out.max_rel = std::max(out.max_rel, abs / std::abs(static_cast<double>(e)));
      const double allowed = e_.dtype() == DType::kBool ? 0 : tolerance_.atol;
      out.share = std::max(out.share, allowed > 0 ? abs / allowed : kInfinite);
      if (abs > allowed && bad++ == 0) first = i;
    }
    out.differing = bad;
    if (bad > 0) {
      out.ok = false;
      out.message = fmt::format("{} of {} elements differ, first at {}: {}, expected {}", bad, e_.size(), place(e_.shape(), first),
                                a_.at_int(first), e_.at_int(first));
    }
    return out;
  }

  Difference strings() {
    for (int64_t i = 0; i < e_.size(); ++i) {
      const std::string& e = e_.string_values()[static_cast<size_t>(i)];
      const std::string& a = a_.string_values()[static_cast<size_t>(i)];
      if (e != a) return failure(fmt::format("element {} is '{}', expected '{}'", place(e_.shape(), i), a, e));
    }
    return {};
  }

  const Tensor& e_;
  const Tensor& a_;
  const Tolerance& tolerance_;
};

Difference compare_tensors(const Tensor& e, const Tensor& a, const Tolerance& tolerance) {
  if (e.dtype() != a.dtype()) return failure(fmt::format("dtype {}, expected {}", name(a.dtype()), name(e.dtype())));
  if (e.shape() != a.shape()) return failure(fmt::format("shape {}, expected {}", to_string(a.shape()), to_string(e.shape())));
  return Elements(e, a, tolerance).run();
}

/// Folds the comparison of a part into that of the whole.
bool merge(Difference& out, Difference part, const std::string& where) {
  out.max_abs = std::max(out.max_abs, part.max_abs);
  out.max_rel = std::max(out.max_rel, part.max_rel);
  out.share = std::max(out.share, part.share);
  if (!part.ok && out.ok) {
    out.ok = false;
    out.message = fmt::format("{}: {}", where, part.message);
  }
  return out.ok;
}

Difference compare_sequences(const Sequence& e, const Sequence& a, const Tolerance& tolerance) {
  if (e.items.size() != a.items.size())
    return failure(fmt::format("a sequence of {} items, expected {}", a.items.size(), e.items.size()));
  Difference out;
  for (size_t i = 0; i < e.items.size(); ++i) merge(out, compare(e.items[i], a.items[i], tolerance), fmt::format("item {}", i));
  return out;
}

Difference compare_maps(const MapValue& e, const MapValue& a, const Tolerance& tolerance) {
  if (e.entries.index() != a.entries.index()) return failure("a map with keys of another type");
  return std::visit(
      [&](const auto& expected) {
        const auto& actual = std::get<std::decay_t<decltype(expected)>>(a.entries);
        if (expected.size() != actual.size())
          return failure(fmt::format("a map of {} entries, expected {}", actual.size(), expected.size()));
        Difference out;
        for (const auto& [key, tensor] : expected) {
          auto found = actual.find(key);
          if (found == actual.end()) return failure(fmt::format("a map without key {}", key));
          merge(out, compare_tensors(tensor, found->second, tolerance), fmt::format("key {}", key));
        }
        return out;
      },
      e.entries);
}

std::string_view kind(const HostValue& value) {
  constexpr std::string_view kKinds[] = {"nothing", "a tensor", "a sequence", "a map"};
  return kKinds[value.index()];
}

}  // namespace

Difference compare(const HostValue& expected, const HostValue& actual, const Tolerance& tolerance) {
  if (expected.index() != actual.index()) return failure(fmt::format("{}, expected {}", kind(actual), kind(expected)));
  if (const auto* e = std::get_if<Tensor>(&expected)) return compare_tensors(*e, std::get<Tensor>(actual), tolerance);
  if (const auto* e = std::get_if<std::shared_ptr<Sequence>>(&expected))
    return compare_sequences(**e, *std::get<std::shared_ptr<Sequence>>(actual), tolerance);
  if (const auto* e = std::get_if<std::shared_ptr<MapValue>>(&expected))
    return compare_maps(**e, *std::get<std::shared_ptr<MapValue>>(actual), tolerance);
  return {};
}

}  // namespace tenon::eval
