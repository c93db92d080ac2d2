#pragma once

// The one place that includes ONNX's generated messages, and reads of fields newer than those messages.

#include <cstdint>
#include <optional>
#include <string>

#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wunused-parameter"
#include <onnx/onnx-data_pb.h>
#include <onnx/onnx_pb.h>
#pragma GCC diagnostic pop

#include <google/protobuf/unknown_field_set.h>

namespace tenon::frontend {

/// The last value of a varint / bytes field that the generated class does not know.
std::optional<uint64_t> unknown_varint(const google::protobuf::Message& message, int field);
const std::string* unknown_bytes(const google::protobuf::Message& message, int field);

/// NodeProto.overload (8) and FunctionProto.overload (13), since IR version 10; empty when absent.
std::string overload_of(const onnx::NodeProto& node);
std::string overload_of(const onnx::FunctionProto& function);

/// Parses a skeleton; false when protobuf refuses it.
bool parse_message(const std::string& bytes, google::protobuf::Message& message);

}  // namespace tenon::frontend
