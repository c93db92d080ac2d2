#include "frontend/onnx/proto.h"

#include <google/protobuf/io/coded_stream.h>

namespace tenon::frontend {

using google::protobuf::UnknownField;

namespace {

const UnknownField* last_unknown(const google::protobuf::Message& message, int field, UnknownField::Type type) {
  const auto& fields = message.GetReflection()->GetUnknownFields(message);
  for (int i = fields.field_count() - 1; i >= 0; --i)
    if (fields.field(i).number() == field && fields.field(i).type() == type) return &fields.field(i);
  return nullptr;
}

}  // namespace

std::optional<uint64_t> unknown_varint(const google::protobuf::Message& message, int field) {
  const UnknownField* found = last_unknown(message, field, UnknownField::TYPE_VARINT);
  return found == nullptr ? std::nullopt : std::optional<uint64_t>(found->varint());
}

const std::string* unknown_bytes(const google::protobuf::Message& message, int field) {
  const UnknownField* found = last_unknown(message, field, UnknownField::TYPE_LENGTH_DELIMITED);
  return found == nullptr ? nullptr : &found->length_delimited();
}

std::string overload_of(const onnx::NodeProto& node) {
  const std::string* text = unknown_bytes(node, 8);
  return text == nullptr ? std::string() : *text;
}

std::string overload_of(const onnx::FunctionProto& function) {
  const std::string* text = unknown_bytes(function, 13);
  return text == nullptr ? std::string() : *text;
}

bool parse_message(const std::string& bytes, google::protobuf::Message& message) {
  google::protobuf::io::CodedInputStream stream(reinterpret_cast<const uint8_t*>(bytes.data()),
                                                static_cast<int>(bytes.size()));
  stream.SetRecursionLimit(1000);  // wire_skeleton has checked the depth of what can nest
  return message.ParsePartialFromCodedStream(&stream) && stream.ConsumedEntireMessage();
}

}  // namespace tenon::frontend
