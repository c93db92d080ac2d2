#pragma once

#include <map>
#include <set>
#include <string>
#include <string_view>

#include "frontend/onnx/proto.h"
#include "ir/type.h"

namespace tenon::frontend {

/// Names of symbolic dims: ONNX's dim_param strings to symbols of the module, with the user's overrides.
class DimNames {
 public:
  explicit DimNames(ir::DimContext& context) : context_(context) {}

  /// A dim_param of the inputs. Only such names may occur in expressions.
  void declare(std::string_view param);
  /// Binds a declared name to a number. kInvalidArgument lists the names when it is unknown, or says that it is bound to another.
  bool declared(std::string_view param) const { return declared_.count(param) != 0; }
  Status bind(std::string_view param, int64_t value);

  /// An expression over declared names ("past + sequence") when the text reads as one, else the symbol of that name. Empty
  /// and "?" give a new symbol each time.
  ir::Dim dim(std::string_view param, std::string_view hint);
  /// Unknown sizes (negative dim_value, nothing set) are new symbols.
  ir::Dim dim(const onnx::TensorShapeProto::Dimension& dim, std::string_view hint);

  /// The symbols of the names that were not bound, by dim_param.
  const std::map<std::string, std::string, std::less<>>& names() const { return names_; }

 private:
  const std::string& symbol_name(std::string_view param);
  bool is_expression(std::string_view param);

  ir::DimContext& context_;
  std::map<std::string, std::string, std::less<>> names_;  // dim_param → an identifier
  std::set<std::string, std::less<>> taken_, declared_;
  std::map<std::string, int64_t, std::less<>> bound_;      // by dim_param
};

bool is_bare_name(std::string_view dim_param);

/// kInvalidModel or kUnsupported for unknown element types, sparse types and types nested beyond 16. `hint` names new symbols.
Result<ir::Type> read_type(const onnx::TypeProto& proto, DimNames& dims, std::string_view hint);

}  // namespace tenon::frontend
