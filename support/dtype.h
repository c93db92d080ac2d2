#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string_view>

namespace tenon {

/// Element types of ONNX (onnx.proto, TensorProto.DataType). `kInvalid` is no type.
enum class DType : uint8_t {
  kInvalid,
  kF32, kF64, kF16, kBF16,
  kF8E4M3FN, kF8E4M3FNUZ, kF8E5M2, kF8E5M2FNUZ, kF8E8M0, kF4E2M1,
  kI8, kI16, kI32, kI64, kU8, kU16, kU32, kU64,
  kI4, kU4, kI2, kU2,
  kBool, kString, kC64, kC128,
  kCount,
};

enum class DTypeClass : uint8_t { kNone, kFloat, kSigned, kUnsigned, kBool, kString, kComplex };

/// One row a dtype. `bits` is the storage width of one element: types below 8 bits are packed, low bits first
/// (onnx.proto, "raw_data"). `onnx` is the value of TensorProto.DataType. Strings have 0 bits.
struct DTypeInfo {
  DType dtype;
  std::string_view name;  // as printed in .tir: "f32", "i64", "bool" …
  std::string_view onnx_name;  // as in ONNX type strings: "float", "int64" …
  int bits;
  DTypeClass cls;
  int onnx;
};

const DTypeInfo& info(DType dtype);
inline std::string_view name(DType dtype) { return info(dtype).name; }
inline int bits(DType dtype) { return info(dtype).bits; }
std::optional<DType> dtype_from_name(std::string_view name);
std::optional<DType> dtype_from_onnx(int onnx);

inline bool is_float(DType d) { return info(d).cls == DTypeClass::kFloat; }
inline bool is_signed_int(DType d) { return info(d).cls == DTypeClass::kSigned; }
inline bool is_unsigned_int(DType d) { return info(d).cls == DTypeClass::kUnsigned; }
inline bool is_int(DType d) { return is_signed_int(d) || is_unsigned_int(d); }
inline bool is_packed(DType d) { return bits(d) != 0 && bits(d) < 8; }

/// Bytes that `count` elements take when stored; nullopt when that overflows. Strings take 0.
std::optional<size_t> storage_bytes(DType dtype, int64_t count);

}  // namespace tenon
