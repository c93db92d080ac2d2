#include "support/dtype.h"

#include <array>

namespace tenon {
namespace {

using C = DTypeClass;
constexpr std::array<DTypeInfo, static_cast<size_t>(DType::kCount)> kTable = {{
    {DType::kInvalid, "invalid", "undefined", 0, C::kNone, 0},
    {DType::kF32, "f32", "float", 32, C::kFloat, 1},
    {DType::kF64, "f64", "double", 64, C::kFloat, 11},
    {DType::kF16, "f16", "float16", 16, C::kFloat, 10},
    {DType::kBF16, "bf16", "bfloat16", 16, C::kFloat, 16},
    {DType::kF8E4M3FN, "f8e4m3fn", "float8e4m3fn", 8, C::kFloat, 17},
    {DType::kF8E4M3FNUZ, "f8e4m3fnuz", "float8e4m3fnuz", 8, C::kFloat, 18},
    {DType::kF8E5M2, "f8e5m2", "float8e5m2", 8, C::kFloat, 19},
    {DType::kF8E5M2FNUZ, "f8e5m2fnuz", "float8e5m2fnuz", 8, C::kFloat, 20},
    {DType::kF8E8M0, "f8e8m0", "float8e8m0", 8, C::kFloat, 24},
    {DType::kF4E2M1, "f4e2m1", "float4e2m1", 4, C::kFloat, 23},
    {DType::kI8, "i8", "int8", 8, C::kSigned, 3},
    {DType::kI16, "i16", "int16", 16, C::kSigned, 5},
    {DType::kI32, "i32", "int32", 32, C::kSigned, 6},
    {DType::kI64, "i64", "int64", 64, C::kSigned, 7},
    {DType::kU8, "u8", "uint8", 8, C::kUnsigned, 2},
    {DType::kU16, "u16", "uint16", 16, C::kUnsigned, 4},
    {DType::kU32, "u32", "uint32", 32, C::kUnsigned, 12},
    {DType::kU64, "u64", "uint64", 64, C::kUnsigned, 13},
    {DType::kI4, "i4", "int4", 4, C::kSigned, 22},
    {DType::kU4, "u4", "uint4", 4, C::kUnsigned, 21},
    {DType::kI2, "i2", "int2", 2, C::kSigned, 26},
    {DType::kU2, "u2", "uint2", 2, C::kUnsigned, 25},
    {DType::kBool, "bool", "bool", 8, C::kBool, 9},
    {DType::kString, "string", "string", 0, C::kString, 8},
    {DType::kC64, "c64", "complex64", 64, C::kComplex, 14},
    {DType::kC128, "c128", "complex128", 128, C::kComplex, 15},
}};

}  // namespace

const DTypeInfo& info(DType dtype) { return kTable[static_cast<size_t>(dtype)]; }

std::optional<DType> dtype_from_name(std::string_view name) {
  for (const DTypeInfo& row : kTable)
    if (row.name == name && row.dtype != DType::kInvalid) return row.dtype;
  return std::nullopt;
}

std::optional<DType> dtype_from_onnx(int onnx) {
  for (const DTypeInfo& row : kTable)
    if (row.onnx == onnx && row.dtype != DType::kInvalid) return row.dtype;
  return std::nullopt;
}

std::optional<size_t> storage_bytes(DType dtype, int64_t count) {
  int64_t total_bits;
  if (count < 0 || __builtin_mul_overflow(count, static_cast<int64_t>(bits(dtype)), &total_bits)) return std::nullopt;
  if (total_bits > INT64_MAX - 7) return std::nullopt;
  return static_cast<size_t>((total_bits + 7) / 8);
}

}  // namespace tenon
