#include "eval/inputs.h"

#include <algorithm>
#include <charconv>
#include <cstring>
#include <random>

#include "frontend/onnx/import.h"

namespace tenon::eval {
namespace fs = std::filesystem;
namespace {

using Sizes = std::vector<std::optional<int64_t>>;  // by symbol

/// Sizes of the symbols that are dims of inputs that there are; the others kDefaultDim.
Sizes sizes_of(const ir::Graph& graph, const std::vector<HostValue>& given) {
  Sizes sizes(static_cast<size_t>(graph.dims().num_symbols()), kDefaultDim);
  for (size_t i = 0; i < given.size(); ++i) {
    const auto* tensor = std::get_if<Tensor>(&given[i]);
    const ir::Type& type = graph.inputs()[i]->type();
    if (tensor == nullptr || !type.is_ranked_tensor() || type.tensor().rank() != tensor->rank()) continue;
    for (int axis = 0; axis < tensor->rank(); ++axis)
      if (const ir::Dim dim = type.tensor().dim(axis); dim.is_symbol()) sizes[static_cast<size_t>(dim.symbol_id())] = tensor->dim(axis);
  }
  return sizes;
}

Result<Tensor> random_tensor(const ir::TensorType& type, std::mt19937_64& random, const Sizes& sizes) {
  if (!type.ranked()) return Status(Code::kInvalidArgument, "has no known rank", {}, "give it with --input or --shape");
  Shape shape;
  for (const ir::Dim& dim : *type.dims) {
    TENON_ASSIGN_OR_RETURN(const int64_t size, ir::evaluate(dim, sizes));
    shape.push_back(size);
  }
  TENON_ASSIGN_OR_RETURN(Tensor out, Tensor::zeros(type.dtype, std::move(shape)));
  // 24 bits a value, so that every platform's generator gives the same floats.
  for (int64_t i = 0; i < out.size(); ++i) {
    const uint64_t bits = random() >> 40;
    if (type.dtype == DType::kString)
      out.mutable_strings()[static_cast<size_t>(i)] = (bits & 1) != 0 ? "a" : "b";
    else if (is_float(type.dtype))
      out.set_double(i, static_cast<double>(bits) * 0x1p-23 - 1);
    else if (info(type.dtype).cls == DTypeClass::kComplex)
      out.set_double(i, static_cast<double>(bits) * 0x1p-23 - 1);
    else
      out.set_int(i, static_cast<int64_t>(bits >> 23));
  }
  return out;
}

Result<HostValue> random_value(const ir::Type& type, std::mt19937_64& random, const Sizes& sizes) {
  if (type.is_tensor()) {
    TENON_ASSIGN_OR_RETURN(Tensor t, random_tensor(type.tensor(), random, sizes));
    return HostValue(std::move(t));
  }
  if (const ir::SequenceType* sequence = type.as_sequence()) {
    auto value = std::make_shared<Sequence>();
    value->elem = sequence->elem ? sequence->elem->dtype() : DType::kInvalid;
    return HostValue(std::move(value));
  }
  if (type.as_optional() != nullptr) return HostValue();
  return Status(Code::kUnsupported, "random maps", {}, "give the input with --input");
}

/// ONNX's test data before 1.13 stores bfloat16 as the uint16 of its bits.
HostValue with_dtype_of(const ir::Type& type, HostValue value) {
  const auto* t = std::get_if<Tensor>(&value);
  if (t == nullptr || t->dtype() != DType::kU16 || type.dtype() != DType::kBF16) return value;
  Result<Tensor> out = Tensor::empty(DType::kBF16, t->shape());
  if (!out.ok()) return value;
  if (t->bytes() > 0) std::memcpy(out->mutable_data(), t->data(), t->bytes());
  return std::move(out).value();
}

std::optional<fs::path> numbered(const fs::path& folder, const char* stem, size_t index) {
  std::error_code ec;
  for (const char* extension : {"pb", "npy"})
    if (fs::path file = folder / fmt::format("{}_{}.{}", stem, index, extension); fs::exists(file, ec)) return file;
  return std::nullopt;
}

}  // namespace

Result<std::vector<HostValue>> random_inputs(const ir::Graph& graph, uint64_t seed, std::vector<HostValue> given) {
  std::mt19937_64 random(seed);
  given.resize(graph.inputs().size());
  const Sizes sizes = sizes_of(graph, given);
  for (size_t i = 0; i < given.size(); ++i) {
    if (!std::holds_alternative<std::monostate>(given[i])) continue;
    const ir::Value& input = *graph.inputs()[i];
    Result<HostValue> value = random_value(input.type(), random, sizes);
    if (!value.ok()) return std::move(value).status().at(fmt::format("input {}", input.name()));
    given[i] = std::move(value).value();
  }
  return given;
}

Result<std::vector<HostValue>> read_inputs(const ir::Graph& graph, const fs::path& folder) {
  std::vector<HostValue> out;
  for (size_t i = 0; i < graph.inputs().size(); ++i) {
    const auto file = numbered(folder, "input", i);
    if (!file)
      return Status(Code::kNotFound, fmt::format("no input_{}.pb for input {}", i, graph.inputs()[i]->name()), folder.string());
    TENON_ASSIGN_OR_RETURN(HostValue value, frontend::read_value(*file, graph.inputs()[i]->type()));
    out.push_back(with_dtype_of(graph.inputs()[i]->type(), std::move(value)));
  }
  return out;
}

Result<std::map<size_t, HostValue>> read_outputs(const ir::Graph& graph, const fs::path& folder) {
  std::map<size_t, HostValue> out;
  for (size_t i = 0; i < graph.outputs().size(); ++i) {
    const auto file = numbered(folder, "output", i);
    if (!file) continue;
    TENON_ASSIGN_OR_RETURN(HostValue value, frontend::read_value(*file, graph.outputs()[i]->type()));
    out.emplace(i, with_dtype_of(graph.outputs()[i]->type(), std::move(value)));
  }
  return out;
}

std::vector<fs::path> data_sets(const fs::path& folder) {
  constexpr std::string_view kPrefix = "test_data_set_";
  std::vector<std::pair<int64_t, fs::path>> found;
  std::error_code ec;
  for (const auto& entry : fs::directory_iterator(folder, ec)) {
    const std::string name = entry.path().filename().string();
    if (!name.starts_with(kPrefix) || !entry.is_directory(ec)) continue;
    int64_t number = 0;
    const auto [end, code] = std::from_chars(name.data() + kPrefix.size(), name.data() + name.size(), number);
    if (code == std::errc() && end == name.data() + name.size()) found.emplace_back(number, entry.path());
  }
  std::sort(found.begin(), found.end());
  std::vector<fs::path> out;
  for (auto& [number, path] : found) out.push_back(std::move(path));
  return out;
}

std::string describe(const HostValue& value) {
  if (const auto* t = std::get_if<Tensor>(&value)) return fmt::format("{}[{}]", name(t->dtype()), fmt::join(t->shape(), ", "));
  if (const auto* s = std::get_if<std::shared_ptr<Sequence>>(&value)) return fmt::format("sequence of {}", (*s)->items.size());
  if (std::holds_alternative<std::shared_ptr<MapValue>>(value)) return "map";
  return "nothing";
}

}  // namespace tenon::eval
