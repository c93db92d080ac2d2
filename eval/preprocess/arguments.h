#pragma once

#include <span>
#include <string_view>
#include <vector>

#include "eval/preprocess/pipeline.h"
#include "support/tensor.h"

/// What steps share: reading their parameters, finding their field, making tensors.
namespace tenon::eval {

inline constexpr int64_t kMaxSide = 1 << 15;             // pixels of an image's side that a step may make
inline constexpr int64_t kMaxElements = int64_t{1} << 29;  // that one step may make

/// One table of steps a group, in files of their own.
std::span<const StepInfo> image_steps();
std::span<const StepInfo> audio_steps();
std::span<const StepInfo> text_steps();
std::span<const StepInfo> table_steps();
std::span<const StepInfo> tensor_steps();

// Parameters have been checked against their table entry: these do not fail for those that have a default or are known to be there.
int64_t integer(const StepArguments& a, std::string_view name);
double number(const StepArguments& a, std::string_view name);
bool boolean(const StepArguments& a, std::string_view name);
std::string text(const StepArguments& a, std::string_view name);
std::vector<double> numbers(const StepArguments& a, std::string_view name);
std::vector<std::string> texts(const StepArguments& a, std::string_view name);
/// N is N x N.
std::pair<int64_t, int64_t> size_of(const StepArguments& a, std::string_view name);
/// "parameter 'std' must not be 0"
Status wrong_parameter(std::string_view name, std::string_view what);

/// The field as a tensor; an error lists the fields that are there.
Result<Tensor> tensor_in(const Fields& fields, const std::string& name);
/// The field's one string.
Result<std::string> text_in(const Fields& fields, const std::string& name);
/// u8 or f32 [height, width, channels], not empty; [height, width] gets one channel.
Result<Tensor> image_in(const Fields& fields, const std::string& name);
/// f32 [samples], from any float.
Result<Tensor> samples_in(const Fields& fields, const std::string& name);

/// Numbers as f32, whatever they were (not strings, complex or packed types).
Result<Tensor> to_f32(const Tensor& tensor);
/// Tensor::empty after kMaxElements.
Result<Tensor> make_tensor(DType dtype, Shape shape);

/// A step that maps the input field's tensor to the output field's.
template <class Function>
StepFunction mapped(const StepArguments& a, Function function) {
  return [input = a.input, output = a.output, function = std::move(function)](Fields& fields) -> Status {
    TENON_ASSIGN_OR_RETURN(const Tensor in, tensor_in(fields, input));
    TENON_ASSIGN_OR_RETURN(fields[output], function(in));
    return {};
  };
}

}  // namespace tenon::eval
