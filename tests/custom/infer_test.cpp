// infer callbacks: symbolic dims, and defects.

#include "tests/custom/plugin.h"

namespace tenon {
namespace {

using namespace tenon::testing;
using ::testing::HasSubstr;

tenon_status no_evaluate(const tenon_custom_api*, tenon_node*, tenon_eval*, void*) { return TENON_OK; }

/// Type of %y as inference leaves it, or the error.
std::string inferred(Op op, std::string_view text) {
  op.op.evaluate = no_evaluate;
  auto graph = ir::parse_text(text, op.registry());
  if (!graph.ok()) return graph.status().to_string();
  const Status status = ir::infer_graph(**graph);
  if (!status.ok()) return status.to_string();
  const ir::Value& y = *(*graph)->outputs()[0];
  std::string out = to_string(y.type());
  if (y.dim_values())
    for (const ir::Dim& d : *y.dim_values()) out += " " + to_string(d);
  return out;
}

constexpr std::string_view kUnary = R"(graph "g" {
  input %x: f32[N, 6]
  %y: ? = acme.Op(%x)
  output %y
})";

std::string inferred_by(tenon_infer_fn infer, std::string_view text = kUnary) {
  Op op;
  op.op.infer = infer;
  return inferred(std::move(op), text);
}

TEST(InferCustomOp, ComputesWithSymbolicDims) {
  EXPECT_EQ(inferred_by([](const tenon_custom_api* api, tenon_node* node, tenon_infer* c) -> tenon_status {
              const tenon_dim n = api->input_dim(c, 0, 0), six = api->input_dim(c, 0, 1), two = api->dim_constant(c, 2);
              int64_t value = 0;
              if (api->dim_value(c, six, &value) != 1 || value != 6 || api->dim_value(c, n, &value) != 0)
                return TENON_INTERNAL;
              const tenon_dim dims[] = {api->dim_add(c, api->dim_mul(c, n, two), api->dim_constant(c, 1)),
                                        api->dim_floor_div(c, n, two),
                                        api->dim_sub(c, six, two),
                                        api->dim_mod(c, n, two),
                                        api->dim_min(c, n, six),
                                        api->dim_max(c, six, two),
                                        api->run_time_dim(c, 0, 6)};
              return api->set_output(c, 0, api->input_dtype(node, 0), dims, 7);
            }),
            "f32[N*2 + 1, floor_div(N, 2), 4, mod(N, 2), min(N, 6), 6, y.d6]");
}

TEST(InferCustomOp, KnowsWhatIntegersHold) {
  constexpr std::string_view text = R"(graph "g" {
    input %x: f32[N, 6]
    %s: i64[2] = Shape(%x)
    %y: ? = acme.Op(%s)
    output %y
  })";
  Op op;
  op.op.infer = [](const tenon_custom_api* api, tenon_node*, tenon_infer* c) -> tenon_status {
    if (api->num_input_values(c, 0) != 2 || api->constant_input(c, 0) != nullptr) return TENON_INTERNAL;
    const tenon_dim swapped[] = {api->input_value(c, 0, 1), api->input_value(c, 0, 0)}, two = api->dim_constant(c, 2);
    TENON_TRY(api->set_output(c, 0, TENON_I64, &two, 1));
    return api->set_output_values(c, 0, swapped, 2);
  };
  EXPECT_EQ(inferred(op, text), "i64[2] 6 N");
}

TEST(InferCustomOp, SeesConstantsAndUnknownRanks) {
  constexpr std::string_view text = R"(graph "g" {
    %k: i64[1] = Constant {value = dense<i64[1], 3>}
    %y: ? = acme.Op(%k)
    output %y
  })";
  EXPECT_EQ(inferred_by(
                [](const tenon_custom_api* api, tenon_node*, tenon_infer* c) -> tenon_status {
                  const tenon_tensor* k = api->constant_input(c, 0);
                  if (k == nullptr) return TENON_INTERNAL;
                  const tenon_dim n = api->dim_constant(c, *static_cast<const int64_t*>(api->tensor_data(k)));
                  return api->set_output(c, 0, TENON_I64, &n, 1);
                },
                text),
            "i64[3]");
  constexpr std::string_view unranked = R"(graph "g" {
    input %x: f32[*]
    %y: ? = acme.Op(%x)
    output %y
  })";
  EXPECT_EQ(inferred_by(infer_same, unranked), "f32[*]");
  EXPECT_EQ(inferred_by(
                [](const tenon_custom_api* api, tenon_node*, tenon_infer* c) -> tenon_status {
                  return api->input_rank(c, 0) == -1 ? api->set_output(c, 0, TENON_F32, nullptr, -1) : TENON_INTERNAL;
                },
                unranked),
            "f32[*]");
}

TEST(InferCustomOp, BroadcastsWithoutACallback) {
  Op op;
  op.op.body = [](const tenon_custom_api*, tenon_node*, tenon_body*, size_t) -> tenon_status { return TENON_OK; };
  op.inputs.push_back(Op::param("Z"));
  op.outputs.push_back(Op::param("B", nullptr, TENON_DTYPE_BIT(TENON_BOOL)));
  const auto graph = ir::parse_text(R"(graph "g" {
    input %x: f32[N, 1]
    input %z: f32[4]
    %y: ?, %b: ? = acme.Op(%x, %z)
    output %y
    output %b
  })",
                                    op.registry());
  ASSERT_TRUE(graph.ok()) << graph.status().to_string();
  ASSERT_TRUE(ir::infer_graph(**graph).ok());
  EXPECT_EQ(to_string((*graph)->outputs()[0]->type()), "f32[N, 4]");
  EXPECT_EQ(to_string((*graph)->outputs()[1]->type()), "bool[N, 4]");
}

TEST(InferCustomOp, ReadsAttributesOfEveryKind) {
  Op op;
  const int64_t ints[] = {7, 8};
  const double floats[] = {0.1};
  const char* const strings[] = {"p", "q"};
  const uint32_t has = TENON_ATTR_HAS_DEFAULT;
  op.attrs = {Op::attr("i", TENON_ATTR_INT, has),     Op::attr("f", TENON_ATTR_FLOAT, has),
              Op::attr("s", TENON_ATTR_STRING, has),  Op::attr("t", TENON_ATTR_TENSOR),
              Op::attr("is", TENON_ATTR_INTS, has),   Op::attr("fs", TENON_ATTR_FLOATS, has),
              Op::attr("ss", TENON_ATTR_STRINGS, has)};
  op.attrs[0].int_value = 5;
  op.attrs[1].float_value = 0.1;
  op.attrs[2].string_value = "text";
  op.attrs[4].int_values = ints, op.attrs[4].count = 2;
  op.attrs[5].float_values = floats, op.attrs[5].count = 1;
  op.attrs[6].string_values = strings, op.attrs[6].count = 2;
  op.op.infer = [](const tenon_custom_api* api, tenon_node* node, tenon_infer* c) -> tenon_status {
    int64_t i = 0;
    double f = 0;
    const char* s = nullptr;
    size_t length = 0, count = 0;
    const tenon_tensor* t = nullptr;
    const int64_t* is = nullptr;
    const double* fs = nullptr;
    TENON_TRY(api->attr_int(node, "i", &i));
    TENON_TRY(api->attr_float(node, "f", &f));
    TENON_TRY(api->attr_string(node, "s", &s, &length));
    std::string said = fmt::format("{} {} {}:{}", i, f, std::string(s), length);
    TENON_TRY(api->attr_ints(node, "is", &is, &count));
    said += fmt::format(" {}:{}", is[count - 1], count);
    TENON_TRY(api->attr_floats(node, "fs", &fs, &count));
    said += fmt::format(" {}:{}", fs[count - 1], count);
    TENON_TRY(api->attr_strings(node, "ss", 1, &s, &length, &count));
    said += fmt::format(" {}:{}", s, count);
    TENON_TRY(api->attr_strings(node, "ss", 2, &s, &length, &count));
    said += s == nullptr ? " none" : s;
    if (api->has_attr(node, "t")) {
      TENON_TRY(api->attr_tensor(node, "t", &t));
      said += fmt::format(" {}", static_cast<const float*>(api->tensor_data(t))[1]);
    }
    *static_cast<std::string*>(api->user_data(node)) = said;
    return infer_same(api, node, c);
  };
  std::string said;
  op.op.user_data = &said;
  EXPECT_EQ(inferred(op, kUnary), "f32[N, 6]");
  EXPECT_EQ(said, "5 0.10000000149011612 text:4 8:2 0.10000000149011612:1 q:2 none");
  EXPECT_EQ(inferred(op, R"(graph "g" {
    input %x: f32[2]
    %y: ? = acme.Op(%x) {f = 0.25, fs = floats[1.0, 2.0], i = -1, is = [3], s = "", ss = strings["a", "b", "c"], t = dense<f32[2], 1.0, 4.0>}
    output %y
  })"),
            "f32[2]");
  EXPECT_EQ(said, "-1 0.25 :0 3:1 2:2 b:3c 4");
}

TEST(InferCustomOp, NamesWrongAttributeReads) {
  const auto said = [](tenon_infer_fn infer) {
    Op op;
    op.attrs = {Op::attr("i", TENON_ATTR_INT)};
    op.op.infer = infer;
    return inferred(op, kUnary);
  };
  EXPECT_THAT(said([](const tenon_custom_api* api, tenon_node* node, tenon_infer*) -> tenon_status {
                int64_t i = 0;
                return api->attr_int(node, "i", &i);
              }),
              HasSubstr("there is no attribute 'i' (acme.Op node 'y')"));
  EXPECT_THAT(said([](const tenon_custom_api* api, tenon_node* node, tenon_infer*) -> tenon_status {
                return api->attr_int(node, nullptr, nullptr);
              }),
              HasSubstr("null pointer"));
  Op op;
  op.attrs = {Op::attr("i", TENON_ATTR_INT, TENON_ATTR_HAS_DEFAULT)};
  op.op.infer = [](const tenon_custom_api* api, tenon_node* node, tenon_infer*) -> tenon_status {
    double f = 0;
    return api->attr_float(node, "i", &f);
  };
  EXPECT_THAT(inferred(op, kUnary), HasSubstr("'i' is read as one of another kind"));
}

TEST(InferCustomOp, ReportsWhatTheLibraryReports) {
  EXPECT_EQ(inferred_by([](const tenon_custom_api* api, tenon_node* node, tenon_infer*) -> tenon_status {
              return api->fail(node, TENON_INVALID_MODEL, "X is too small");
            }),
            "X is too small (acme.Op node 'y')");
  EXPECT_THAT(inferred_by([](const tenon_custom_api*, tenon_node*, tenon_infer*) -> tenon_status {
                return TENON_OUT_OF_RANGE;
              }),
              HasSubstr("infer fails without a message"));
}

TEST(InferCustomOp, BlamesTheLibraryForItsDefects) {
  const auto expect = [](const char* what, tenon_infer_fn infer) {
    const std::string said = inferred_by(infer);
    EXPECT_THAT(said, HasSubstr(what));
    EXPECT_THAT(said, HasSubstr("acme.Op node 'y'"));
  };
  expect("infer does not set the output 'y' (acme.Op node 'y'): this is a defect of test.so",
         [](const tenon_custom_api*, tenon_node*, tenon_infer*) -> tenon_status { return TENON_OK; });
  expect("infer gives 1234, which is no status",
         [](const tenon_custom_api*, tenon_node*, tenon_infer*) -> tenon_status { return 1234; });
  expect("infer throws an exception",
         [](const tenon_custom_api*, tenon_node*, tenon_infer*) -> tenon_status { throw 1; });
  expect("shape f32[-3]", [](const tenon_custom_api* api, tenon_node*, tenon_infer* c) -> tenon_status {
    const tenon_dim d = api->dim_constant(c, -3);
    return api->set_output(c, 0, TENON_F32, &d, 1);
  });
  expect("dim 0 does not exist", [](const tenon_custom_api* api, tenon_node*, tenon_infer* c) -> tenon_status {
    const tenon_dim d = {77};
    return api->set_output(c, 0, TENON_F32, &d, 1);
  });
  expect("dim 0 overflows, or divides by zero",
         [](const tenon_custom_api* api, tenon_node*, tenon_infer* c) -> tenon_status {
           const tenon_dim d = api->dim_floor_div(c, api->input_dim(c, 0, 0), api->dim_constant(c, 0));
           return api->set_output(c, 0, TENON_F32, &d, 1);
         });
  expect("input_dim of an axis that is not known to exist",
         [](const tenon_custom_api* api, tenon_node* node, tenon_infer* c) -> tenon_status {
           (void)api->input_dim(c, 0, 2);
           return infer_same(api, node, c);
         });
  expect("arithmetic on a dim that does not exist",
         [](const tenon_custom_api* api, tenon_node* node, tenon_infer* c) -> tenon_status {
           (void)api->dim_add(c, tenon_dim{0}, api->dim_constant(c, 1));
           return infer_same(api, node, c);
         });
  expect("input_value of an element that is not known",
         [](const tenon_custom_api* api, tenon_node* node, tenon_infer* c) -> tenon_status {
           (void)api->input_value(c, 0, 0);
           return infer_same(api, node, c);
         });
  expect("run_time_dim of an output or axis",
         [](const tenon_custom_api* api, tenon_node* node, tenon_infer* c) -> tenon_status {
           (void)api->run_time_dim(c, 1, 0);
           return infer_same(api, node, c);
         });
  expect("the node has no output 1", [](const tenon_custom_api* api, tenon_node*, tenon_infer* c) -> tenon_status {
    return api->set_output(c, 1, TENON_F32, nullptr, 0);
  });
  expect("there is no dtype 99", [](const tenon_custom_api* api, tenon_node*, tenon_infer* c) -> tenon_status {
    return api->set_output(c, 0, 99, nullptr, 0);
  });
  expect("has the rank 65", [](const tenon_custom_api* api, tenon_node*, tenon_infer* c) -> tenon_status {
    return api->set_output(c, 0, TENON_F32, nullptr, 65);
  });
  expect("the dims are null", [](const tenon_custom_api* api, tenon_node*, tenon_infer* c) -> tenon_status {
    return api->set_output(c, 0, TENON_F32, nullptr, 2);
  });
  expect("is string where T must be f32", [](const tenon_custom_api* api, tenon_node*, tenon_infer* c) -> tenon_status {
    return api->set_output(c, 0, TENON_STRING, nullptr, 0);
  });
  expect("is not set to integers of this number",
         [](const tenon_custom_api* api, tenon_node* node, tenon_infer* c) -> tenon_status {
           TENON_TRY(infer_same(api, node, c));
           const tenon_dim d = api->dim_constant(c, 1);
           return api->set_output_values(c, 0, &d, 1);
         });
}

TEST(InferCustomOp, TakesNullHandles) {
  EXPECT_EQ(inferred_by([](const tenon_custom_api* api, tenon_node* node, tenon_infer* c) -> tenon_status {
              (void)api->input_dim(nullptr, 0, 0);
              (void)api->dim_add(nullptr, tenon_dim{1}, tenon_dim{1});
              (void)api->run_time_dim(nullptr, 0, 0);
              (void)api->constant_input(nullptr, 0);
              (void)api->input_value(nullptr, 0, 0);
              (void)api->dim_constant(nullptr, 1);
              int64_t i = api->input_rank(nullptr, 0) + api->num_input_values(nullptr, 0);
              size_t n = api->num_inputs(nullptr) + api->num_outputs(nullptr) + api->tensor_rank(nullptr) +
                         api->tensor_bytes(nullptr);
              const bool refused =
                  api->set_output(nullptr, 0, 1, nullptr, 0) != TENON_OK && api->fail(nullptr, 1, "x") != TENON_OK &&
                  api->attr_int(nullptr, "i", &i) != TENON_OK && api->broadcast_inputs(nullptr, 0, 1) != TENON_OK &&
                  api->set_output_values(nullptr, 0, nullptr, 0) != TENON_OK;
              const bool none = api->tensor_data(nullptr) == nullptr && api->tensor_dims(nullptr) == nullptr &&
                                api->tensor_string(nullptr, 0, &n) == nullptr && api->user_data(nullptr) == nullptr &&
                                api->has_attr(nullptr, "i") == 0 && api->has_attr(node, nullptr) == 0 &&
                                api->dim_value(nullptr, {1}, &i) == 0;
              (void)api->fail(node, TENON_INTERNAL, nullptr);
              return refused && none && i == -2 && n == 0 ? infer_same(api, node, c) : TENON_INTERNAL;
            }),
            "f32[N, 6]");
}

}  // namespace
}  // namespace tenon
