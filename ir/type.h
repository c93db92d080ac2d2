#pragma once

#include <memory>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "ir/dim.h"
#include "support/dtype.h"

namespace tenon::ir {

/// dtype + shape. `dims` is nullopt when not even the rank is known.
struct TensorType {
  DType dtype = DType::kInvalid;
  std::optional<std::vector<Dim>> dims;

  TensorType() = default;
  TensorType(DType dtype, std::vector<Dim> dims) : dtype(dtype), dims(std::move(dims)) {}
  static TensorType unranked(DType dtype) {
    TensorType t;
    t.dtype = dtype;
    return t;
  }
  bool ranked() const { return dims.has_value(); }
  int64_t rank() const { return static_cast<int64_t>(dims->size()); }
  const Dim& dim(int64_t i) const { return (*dims)[static_cast<size_t>(i)]; }
  bool is_static() const;  // ranked, every dim constant
  Dim count() const { return product(*dims); }
  bool operator==(const TensorType&) const = default;
};

class Type;
struct SequenceType {
  std::shared_ptr<const Type> elem;
};
struct OptionalType {
  std::shared_ptr<const Type> elem;
};
struct MapType {
  DType key = DType::kInvalid;  // i64 or string
  std::shared_ptr<const Type> value;
};

/// What a Value is. A default Type is unknown: only inference may leave one, the verifier refuses it afterwards.
class Type {
 public:
  Type() = default;
  Type(TensorType t) : v_(std::move(t)) {}    // NOLINT
  Type(SequenceType t) : v_(std::move(t)) {}  // NOLINT
  Type(OptionalType t) : v_(std::move(t)) {}  // NOLINT
  Type(MapType t) : v_(std::move(t)) {}       // NOLINT

  bool known() const { return !std::holds_alternative<std::monostate>(v_); }
  bool is_tensor() const { return std::holds_alternative<TensorType>(v_); }
  bool is_ranked_tensor() const { return is_tensor() && tensor().ranked(); }
  const TensorType& tensor() const { return std::get<TensorType>(v_); }
  const SequenceType* as_sequence() const { return std::get_if<SequenceType>(&v_); }
  const OptionalType* as_optional() const { return std::get_if<OptionalType>(&v_); }
  const MapType* as_map() const { return std::get_if<MapType>(&v_); }
  /// Tensor dtype, or kInvalid when this is not a tensor.
  DType dtype() const { return is_tensor() ? tensor().dtype : DType::kInvalid; }
  bool operator==(const Type& other) const;

 private:
  std::variant<std::monostate, TensorType, SequenceType, OptionalType, MapType> v_;
};

/// .tir syntax: `f32[N, 3, 224]`, `f32[*]` (unranked), `f32[]` (scalar), `seq<T>`, `opt<T>`, `map<i64, T>`, `?` (unknown).
std::string to_string(const TensorType& type);
std::string to_string(const Type& type);

}  // namespace tenon::ir
