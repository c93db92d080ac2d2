#include <gmock/gmock.h>

#include "frontend/onnx/npy.h"
#include "frontend/onnx/tensor_proto.h"
#include "tests/frontend/model_builder.h"

namespace tenon::frontend {
namespace {

using namespace testing;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

Result<Tensor> read(const onnx::TensorProto& proto) {
  TensorReader reader({}, std::nullopt);
  return reader.read(proto);
}

onnx::TensorProto proto_of(DType dtype, std::vector<int64_t> dims) {
  onnx::TensorProto t;
  t.set_name("t");
  t.set_data_type(info(dtype).onnx);
  for (int64_t d : dims) t.add_dims(d);
  return t;
}

std::vector<double> values(const Result<Tensor>& t) {
  if (!t.ok()) {
    ADD_FAILURE() << t.status().to_string();
    return {};
  }
  return numbers(HostValue(*t));
}

TEST(TensorProto, ReadsEveryTypedField) {
  auto i8 = proto_of(DType::kI8, {2});
  i8.add_int32_data(-128);
  i8.add_int32_data(127);
  EXPECT_THAT(values(read(i8)), ElementsAre(-128, 127));
  auto half = proto_of(DType::kF16, {2});
  half.add_int32_data(0x3c00);  // 1
  half.add_int32_data(0xc000);  // -2
  EXPECT_THAT(values(read(half)), ElementsAre(1, -2));
  auto u32 = proto_of(DType::kU32, {1});
  u32.add_uint64_data(4294967295u);
  EXPECT_THAT(values(read(u32)), ElementsAre(4294967295.0));
  auto f64 = proto_of(DType::kF64, {1});
  f64.add_double_data(0.1);
  EXPECT_THAT(values(read(f64)), ElementsAre(0.1));
  auto boolean = proto_of(DType::kBool, {2});
  boolean.set_raw_data(std::string("\x00\x07", 2));
  EXPECT_THAT(values(read(boolean)), ElementsAre(0, 1));
  auto strings = proto_of(DType::kString, {2});
  strings.add_string_data("a");
  strings.add_string_data(std::string("b\0c", 3));
  const auto read_strings = read(strings);
  ASSERT_TRUE(read_strings.ok());
  EXPECT_EQ(read_strings->string_values()[1].size(), 3u);
}

TEST(TensorProto, ReadsPackedElements) {
  auto i4 = proto_of(DType::kI4, {3});
  i4.set_raw_data(std::string("\xf1\x08", 2));  // 1, -1, -8: low bits first
  EXPECT_THAT(values(read(i4)), ElementsAre(1, -1, -8));
  auto u4 = proto_of(DType::kU4, {3});
  u4.add_int32_data(0xf1);
  u4.add_int32_data(0x08);
  EXPECT_THAT(values(read(u4)), ElementsAre(1, 15, 8));
  auto u2 = proto_of(DType::kU2, {5});
  u2.set_raw_data(std::string("\xe4\x02", 2));
  EXPECT_THAT(values(read(u2)), ElementsAre(0, 1, 2, 3, 2));
  u2.set_raw_data(std::string("\xe4", 1));
  EXPECT_FALSE(read(u2).ok());
}

TEST(TensorProto, RefusesWhatDoesNotAgree) {
  const auto message = [](const onnx::TensorProto& t) {
    const auto r = read(t);
    return r.ok() ? std::string("ok") : r.status().to_string();
  };
  auto few = floats("t", {3}, {1, 2});
  EXPECT_THAT(message(few), HasSubstr("8 bytes of raw_data, its dims need 12"));
  auto two = floats("t", {2}, {1, 2});
  two.add_float_data(1);
  EXPECT_THAT(message(two), HasSubstr("float_data is set"));
  auto wrong = proto_of(DType::kF32, {1});
  wrong.add_int64_data(1);
  EXPECT_THAT(message(wrong), HasSubstr("int64_data is set"));
  EXPECT_THAT(message(proto_of(DType::kF32, {2})), HasSubstr("holds 0 values"));
  EXPECT_THAT(message(proto_of(DType::kF32, {-2})), HasSubstr("negative"));
  EXPECT_THAT(message(proto_of(DType::kF32, {int64_t{1} << 40, int64_t{1} << 40})), HasSubstr("too large"));
  EXPECT_EQ(message(proto_of(DType::kF32, {0, int64_t{1} << 40})), "ok");
  auto range = proto_of(DType::kU8, {1});
  range.add_int32_data(256);
  EXPECT_THAT(message(range), HasSubstr("does not fit u8"));
  auto raw_strings = proto_of(DType::kString, {1});
  raw_strings.set_raw_data("a");
  EXPECT_THAT(message(raw_strings), HasSubstr("strings"));
  onnx::TensorProto unknown;
  unknown.set_data_type(99);
  EXPECT_THAT(message(unknown), HasSubstr("element type 99"));
}

TEST(TensorProto, RefusesSparseTensorsThatAreWrongOrHuge) {
  onnx::SparseTensorProto s;
  *s.mutable_values() = floats("v", {1}, {5});
  *s.mutable_indices() = ints("i", {1}, {3});
  s.add_dims(4);
  TensorReader reader({}, std::nullopt);
  EXPECT_THAT(values(reader.read(s)), ElementsAre(0, 0, 0, 5));
  s.set_dims(0, 3);
  EXPECT_FALSE(reader.read(s).ok());
  s.set_dims(0, int64_t{1} << 40);
  EXPECT_EQ(reader.read(s).status().code(), Code::kResourceExhausted);
}

TEST(Values, RoundTripThroughFiles) {
  TemporaryFolder folder;
  const Tensor t = Tensor::from<float>({2, 2}, {1, 2, 3, 4});
  const auto file = folder.path() / "t.pb";
  ASSERT_TRUE(write_tensor(t, "t", file).ok());
  const auto back = read_value(file, ir::TensorType::unranked(DType::kF32));
  ASSERT_TRUE(back.ok()) << back.status().to_string();
  EXPECT_THAT(numbers(*back), ElementsAre(1, 2, 3, 4));
  const auto npy = format_npy(t);
  ASSERT_TRUE(npy.ok());
  EXPECT_EQ(npy->size() % 64, 16u);  // the header ends at a multiple of 64
  const auto from_npy = read_value(folder.write("t.npy", *npy), ir::TensorType::unranked(DType::kF32));
  ASSERT_TRUE(from_npy.ok()) << from_npy.status().to_string();
  EXPECT_EQ(std::get<Tensor>(*from_npy).shape(), (Shape{2, 2}));
}

TEST(Values, ReadFortranOrderAndRefuseDamage) {
  const Tensor t = Tensor::from<int32_t>({2, 3}, {1, 4, 2, 5, 3, 6});
  std::string bytes = *format_npy(t);
  bytes.replace(bytes.find("False"), 5, "True ");
  const auto view = [](const std::string& s) { return std::as_bytes(std::span(s.data(), s.size())); };
  const auto read = parse_npy(view(bytes));
  ASSERT_TRUE(read.ok()) << read.status().to_string();
  EXPECT_THAT(numbers(HostValue(*read)), ElementsAre(1, 2, 3, 4, 5, 6));
  for (size_t n = 0; n < bytes.size(); ++n) EXPECT_FALSE(parse_npy(view(bytes.substr(0, n))).ok()) << n;
}

TEST(Values, ReadSequencesAndOptionals) {
  TemporaryFolder folder;
  onnx::SequenceProto sequence;
  sequence.set_elem_type(onnx::SequenceProto::TENSOR);
  *sequence.add_tensor_values() = floats("a", {1}, {7});
  const ir::Type tensor = ir::TensorType::unranked(DType::kF32);
  const ir::Type type = ir::SequenceType{std::make_shared<const ir::Type>(tensor)};
  const auto read = read_value(folder.write("s.pb", sequence.SerializeAsString()), type);
  ASSERT_TRUE(read.ok()) << read.status().to_string();
  EXPECT_EQ(std::get<std::shared_ptr<Sequence>>(*read)->items.size(), 1u);
  const ir::Type optional = ir::OptionalType{std::make_shared<const ir::Type>(tensor)};
  const auto empty = read_value(folder.write("o.pb", ""), optional);
  ASSERT_TRUE(empty.ok()) << empty.status().to_string();
  EXPECT_TRUE(std::holds_alternative<std::monostate>(*empty));
}

}  // namespace
}  // namespace tenon::frontend
