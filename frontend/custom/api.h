#pragma once

#include <exception>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "ir/graph.h"
#include "ir/op.h"
#include "support/status.h"
#include "tenon/custom_op.h"

/// How the functions of the C interface are made of Tenon's. The interface's handles are defined here.
namespace tenon::frontend::custom {

/// What a library said about one op: the closure of its OpDef, whose text it owns.
struct CustomOp {
  std::string origin;  // the library
  tenon_op calls{};    // callbacks and user_data; pointers to tables are null
  std::vector<std::unique_ptr<std::string>> texts;
  std::map<std::string, ir::Attr, std::less<>> defaults;
  std::vector<DType> fixed_dtypes;  // by output: the only dtype that it may have, else kInvalid
  std::shared_ptr<void> owner;      // the loaded library

  static const CustomOp& of(const ir::Node& node) { return *static_cast<const CustomOp*>(node.op().closure.get()); }
};

const tenon_custom_api& api();

tenon_status to_c(Code code);
/// kInvalidArgument for a number that is no status.
Code from_c(tenon_status status);
/// kInvalid for a number that is no dtype.
DType dtype_from_c(tenon_dtype dtype);
tenon_dtype to_c(DType dtype);

inline const Tensor* from_c(const tenon_tensor* t) { return reinterpret_cast<const Tensor*>(t); }
inline const tenon_tensor* to_c(const Tensor* t) { return reinterpret_cast<const tenon_tensor*>(t); }

/// Runs code of a library; an exception that it lets out is an error.
template <class F>
Status contain(std::string_view callback, F&& call) {
  try {
    call();
    return {};
  } catch (const std::exception& e) {
    return error(Code::kInvalidArgument, "{} throws an exception: {}", callback, e.what());
  } catch (...) {
    return error(Code::kInvalidArgument, "{} throws an exception", callback);
  }
}

}  // namespace tenon::frontend::custom

/// A node during one callback, and what went wrong in it.
struct tenon_node {
  const tenon::ir::Node& node;
  const tenon::frontend::custom::CustomOp& op = tenon::frontend::custom::CustomOp::of(node);
  tenon::Status failure = {};  // the last status that a function gave
  std::string misuse = {};     // the first wrong use of a function that gives no status

  /// Keeps the message of a failure and gives its status.
  tenon_status keep(tenon::Status status);
  void misused(std::string what) {
    if (misuse.empty()) misuse = std::move(what);
  }
  /// An error that the library is to blame for.
  tenon::Status defect(std::string what) const;
  std::string place() const;

  /// What a callback comes to: its status with the message left behind, or the misuse in it.
  template <class F>
  tenon::Status run(std::string_view callback, F&& call) {
    tenon_status code = TENON_OK;
    tenon::Status contained = tenon::frontend::custom::contain(callback, [&] { code = call(); });
    if (!contained.ok()) return defect(contained.what());
    return finish(callback, code);
  }

 private:
  tenon::Status finish(std::string_view callback, tenon_status code);
};

namespace tenon::frontend::custom {

/// What an OpDef of a custom op is made of: each finds its CustomOp through the node.
Status infer(ir::InferContext& context);
Status evaluate(ir::EvalContext& context);
Result<std::vector<ir::Body>> build_bodies(const ir::Node& node);

/// The functions of the interface, by what they are for.
tenon_status register_op(tenon_op_registrar* registrar, const tenon_op* op);
void add_node_functions(tenon_custom_api& api);
void add_infer_functions(tenon_custom_api& api);
void add_eval_functions(tenon_custom_api& api);
void add_body_functions(tenon_custom_api& api);

}  // namespace tenon::frontend::custom
