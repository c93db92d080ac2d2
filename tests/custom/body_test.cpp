// body callbacks: values on every backend against closed forms, fusion, and defects.

#include <cmath>

#include "tests/custom/plugin.h"

namespace tenon {
namespace {

using namespace tenon::testing;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

Op with_body(tenon_body_fn body) {
  Op op;
  op.op.body = body;
  return op;
}

/// Runs a text on every backend and checks that generated code computes it wherever there is any.
void expect_values(std::string_view text, Op op, const std::vector<HostValue>& inputs,
                   const std::vector<double>& expected, double tolerance = 0) {
  const auto graph = ir::parse_text(text, op.registry());
  ASSERT_TRUE(graph.ok()) << graph.status().to_string();
  for (const auto* backend : available_backends()) {
    const auto executable = backend->compile(**graph, {});
    ASSERT_TRUE(executable.ok()) << executable.status().to_string();
    for (const auto& row : (*executable)->placement()) {
      if (backend->name() == "reference") break;
      EXPECT_EQ(row.kind, backends::Placement::Kind::kGenerated)
          << backend->name() << " " << row.node << ": " << row.reason;
    }
    const auto out = (*(*executable)->create_session())->run(inputs);
    ASSERT_TRUE(out.ok()) << backend->name() << ": " << out.status().to_string();
    const std::vector<double> values = numbers((*out)[0]);
    ASSERT_EQ(values.size(), expected.size()) << backend->name();
    for (size_t i = 0; i < values.size(); ++i)
      EXPECT_NEAR(values[i], expected[i], tolerance * std::abs(expected[i])) << backend->name() << " " << i;
  }
}

constexpr std::string_view kUnary = R"(graph "g" {
  input %x: f32[N, M]
  %y: ? = acme.Op(%x)
  output %y
})";

constexpr std::string_view kVector = R"(graph "g" {
  input %x: f32[N]
  %y: ? = acme.Op(%x)
  output %y
})";

const HostValue kMatrix = Tensor::from<float>({2, 3}, {1, -2, 3, -4, 5, -6});

/// x * x + z, of operands that broadcast.
tenon_status square_add(const tenon_custom_api* api, tenon_node*, tenon_body* b, size_t) {
  const tenon_expr x = api->operand(b, 0);
  return api->set_value(b, tenon_op3(api, b, "fma", x, x, api->operand(b, 1)));
}

TEST(CustomBody, BroadcastsOverSymbolicDims) {
  Op op = with_body(square_add);
  op.inputs.push_back(Op::param("Z"));
  constexpr std::string_view text = R"(graph "g" {
    input %x: f32[N, M]
    input %z: f32[N, 1]
    %y: ? = acme.Op(%x, %z)
    output %y
  })";
  expect_values(text, op, {kMatrix, Tensor::from<float>({2, 1}, {10, 20})}, {11, 14, 19, 36, 45, 56});
  EXPECT_NE(outcome(text, op.registry(), {kMatrix, Tensor::from<float>({3, 1}, {1, 2, 3})}, "cpu"), "ok");
}

TEST(CustomBody, RoundsSmallFloatsOnce) {
  // (x + 2048) - 2048 in f32 keeps what f16 would lose: 2048 + 1 is not an f16.
  Op op = with_body([](const tenon_custom_api* api, tenon_node*, tenon_body* b, size_t) -> tenon_status {
    const tenon_expr x = api->operand(b, 0), big = api->constant(b, TENON_F32, 2048);
    if (api->expr_dtype(b, x) != TENON_F32) return TENON_INTERNAL;
    return api->set_value(b, tenon_op2(api, b, "sub", tenon_op2(api, b, "add", x, big), big));
  });
  auto x = Tensor::zeros(DType::kF16, {2});
  x->set_double(0, 1);
  x->set_double(1, 0.5);
  constexpr std::string_view text = R"(graph "g" {
    input %x: f16[2]
    %y: ? = acme.Op(%x)
    output %y
  })";
  expect_values(text, op, {*x}, {1, 0.5});
}

TEST(CustomBody, ComputesIntegersAndConditions) {
  Op op = with_body([](const tenon_custom_api* api, tenon_node*, tenon_body* b, size_t) -> tenon_status {
    const tenon_expr x = api->operand(b, 0), three = api->constant_int(b, TENON_I32, 3);
    const tenon_expr odd = tenon_op2(api, b, "eq", tenon_op2(api, b, "and", x, api->constant_int(b, TENON_I32, 1)),
                                     api->constant_int(b, TENON_I32, 1));
    return api->set_value(b, tenon_op3(api, b, "select", odd, tenon_op2(api, b, "mul", x, three),
                                       tenon_op2(api, b, "floor_div", x, three)));
  });
  op.inputs = {Op::param("X", "T", TENON_DTYPE_BIT(TENON_I32))};
  expect_values(R"(graph "g" {
    input %x: i32[N]
    %y: ? = acme.Op(%x)
    output %y
  })",
                op, {Tensor::from<int32_t>({4}, {5, 8, -7, -8})}, {15, 2, -21, -3});
}

/// The root of the mean of squares along the last axis, kept.
tenon_status root_mean_square(const tenon_custom_api* api, tenon_node*, tenon_body* b, size_t) {
  const tenon_expr width = api->extent(b, 0, 1), k = api->reduce_axis(b, width), at[] = {api->index(b, 0), k};
  const tenon_expr x = api->element(b, 0, at, 2), sum = api->reduce(b, "add", tenon_op2(api, b, "mul", x, x));
  return api->set_value(b, tenon_op1(api, b, "sqrt", tenon_op2(api, b, "div", sum, api->cast(b, width, TENON_F32))));
}

TEST(CustomBody, Reduces) {
  Op op = with_body(root_mean_square);
  op.op.infer = [](const tenon_custom_api* api, tenon_node*, tenon_infer* c) -> tenon_status {
    const tenon_dim dims[] = {api->input_dim(c, 0, 0), api->dim_constant(c, 1)};
    return api->set_output(c, 0, TENON_F32, dims, 2);
  };
  expect_values(kUnary, op, {kMatrix}, {std::sqrt(14.0 / 3), std::sqrt(77.0 / 3)}, 1e-6);
}

TEST(CustomBody, MovesElements) {
  // Backwards.
  expect_values(kVector, with_body([](const tenon_custom_api* api, tenon_node*, tenon_body* b, size_t) -> tenon_status {
                  const tenon_expr last =
                      tenon_op2(api, b, "sub", api->extent(b, 0, 0), api->constant_int(b, TENON_I64, 1));
                  const tenon_expr at = tenon_op2(api, b, "sub", last, api->index(b, 0));
                  return api->set_value(b, api->element(b, 0, &at, 1));
                }),
                {Tensor::from<float>({3}, {1, 2, 3})}, {3, 2, 1});
  // x[i] + x[i + 1], with -1 beyond the end.
  expect_values(kVector, with_body([](const tenon_custom_api* api, tenon_node*, tenon_body* b, size_t) -> tenon_status {
                  const tenon_expr next =
                      tenon_op2(api, b, "add", api->index(b, 0), api->constant_int(b, TENON_I64, 1));
                  const tenon_expr x = api->element_or(b, 0, &next, 1, api->constant(b, TENON_F32, -1));
                  return api->set_value(b, tenon_op2(api, b, "add", api->operand(b, 0), x));
                }),
                {Tensor::from<float>({3}, {1, 2, 3})}, {3, 5, 2});
}

TEST(CustomBody, ChecksIndicesAtRunTime) {
  for (const int64_t step : {int64_t{-1}, int64_t{1}, int64_t{1} << 62}) {
    Op op = with_body([](const tenon_custom_api* api, tenon_node* node, tenon_body* b, size_t) -> tenon_status {
      const int64_t by = *static_cast<int64_t*>(api->user_data(node));
      const tenon_expr at = tenon_op2(api, b, "add", api->index(b, 0), api->constant_int(b, TENON_I64, by));
      return api->set_value(b, api->element(b, 0, &at, 1));
    });
    int64_t by = step;
    op.op.user_data = &by;
    for (const auto* backend : available_backends()) {
      const std::string said = outcome(kVector, op.registry(), {Tensor::from<float>({3}, {1, 2, 3})}, backend->name());
      EXPECT_THAT(said, HasSubstr("outside")) << backend->name() << " " << step;
    }
  }
}

TEST(CustomBody, FusesWithItsNeighbours) {
  Op op = with_body([](const tenon_custom_api* api, tenon_node*, tenon_body* b, size_t) -> tenon_status {
    return api->set_value(b, tenon_op2(api, b, "mul", api->operand(b, 0), api->constant(b, TENON_F32, 3)));
  });
  constexpr std::string_view text = R"(graph "g" {
    input %x: f32[N, M]
    %a: ? = Relu(%x)
    %b: ? = acme.Op(%a)
    %y: ? = Neg(%b)
    output %y
  })";
  expect_values(text, op, {kMatrix}, {-3, 0, -9, 0, -15, 0});
  const auto graph = ir::parse_text(text, op.registry());
  const auto executable = backends::find_backend("cpu")->compile(**graph, {});
  ASSERT_TRUE(executable.ok());
  ASSERT_EQ((*executable)->placement().size(), 1u);
  EXPECT_THAT((*executable)->placement()[0].covers, ElementsAre("a", "b", "y"));
}

TEST(CustomBody, GivesWayToEvaluateWhereItIsNotGiven) {
  Op op = with_body([](const tenon_custom_api* api, tenon_node* node, tenon_body*, size_t) -> tenon_status {
    return api->fail(node, TENON_UNSUPPORTED, "only evaluate knows");
  });
  EXPECT_THAT(outcome(kVector, op.registry(), {Tensor::from<float>({1}, {1})}), HasSubstr("only evaluate knows"));
  op.op.evaluate = [](const tenon_custom_api* api, tenon_node*, tenon_eval* eval, void*) -> tenon_status {
    void* data = nullptr;
    TENON_TRY(api->allocate_output(eval, 0, TENON_F32, api->tensor_dims(api->input(eval, 0)), 1, &data));
    *static_cast<float*>(data) = 7;
    return TENON_OK;
  };
  const auto graph = ir::parse_text(kVector, op.registry());
  const auto executable = backends::find_backend("cpu")->compile(**graph, {});
  ASSERT_TRUE(executable.ok());
  EXPECT_THAT((*executable)->placement()[0].reason, HasSubstr("only evaluate knows"));
  const HostValue x = Tensor::from<float>({1}, {1});
  EXPECT_THAT(numbers((*(*(*executable)->create_session())->run(std::span(&x, 1)))[0]), ElementsAre(7));
}

TEST(CustomBody, WorksOnUnknownRanks) {
  Op op = with_body([](const tenon_custom_api* api, tenon_node*, tenon_body* b, size_t) -> tenon_status {
    return api->set_value(b, tenon_op1(api, b, "neg", api->operand(b, 0)));
  });
  const auto graph = ir::parse_text(R"(graph "g" {
    input %x: f32[*]
    %y: ? = acme.Op(%x)
    output %y
  })",
                                    op.registry());
  for (const auto* backend : available_backends()) {
    const auto out = run_on(*backend, **graph, {kMatrix});
    ASSERT_TRUE(out.ok()) << out.status().to_string();
    EXPECT_THAT(numbers((*out)[0]), ElementsAre(-1, 2, -3, 4, -5, 6));
  }
}

TEST(CustomBody, BlamesTheLibraryForItsDefects) {
  const auto expect = [](const char* what, tenon_body_fn body) {
    for (const char* backend : {"reference", "cpu"}) {
      const std::string said = outcome(kUnary, with_body(body).registry(), {kMatrix}, backend);
      EXPECT_THAT(said, HasSubstr(what)) << backend;
      EXPECT_THAT(said, HasSubstr("acme.Op node 'y'")) << backend;
    }
  };
  expect("acme.Op node 'y'): this is a defect of test.so",
         [](const tenon_custom_api*, tenon_node*, tenon_body*, size_t) -> tenon_status { return TENON_OK; });
  expect("body does not set the value of output 0",
         [](const tenon_custom_api*, tenon_node*, tenon_body*, size_t) -> tenon_status { return TENON_OK; });
  expect("throws an exception",
         [](const tenon_custom_api*, tenon_node*, tenon_body*, size_t) -> tenon_status { throw 1; });
  expect("there is no operation 'frobnicate'",
         [](const tenon_custom_api* api, tenon_node*, tenon_body* b, size_t) -> tenon_status {
           (void)tenon_op1(api, b, "frobnicate", api->operand(b, 0));
           return api->set_value(b, api->operand(b, 0));
         });
  expect("there is no operation ''",
         [](const tenon_custom_api* api, tenon_node*, tenon_body* b, size_t) -> tenon_status {
           (void)api->op(b, nullptr, nullptr, 0);
           return api->set_value(b, api->operand(b, 0));
         });
  expect("add takes 2 operands, not 1",
         [](const tenon_custom_api* api, tenon_node*, tenon_body* b, size_t) -> tenon_status {
           (void)tenon_op1(api, b, "add", api->operand(b, 0));
           return api->set_value(b, api->operand(b, 0));
         });
  expect("add of f32 and i64: cast one of them",
         [](const tenon_custom_api* api, tenon_node*, tenon_body* b, size_t) -> tenon_status {
           (void)tenon_op2(api, b, "add", api->operand(b, 0), api->index(b, 0));
           return api->set_value(b, api->operand(b, 0));
         });
  expect("tanh does not take i64", [](const tenon_custom_api* api, tenon_node*, tenon_body* b, size_t) -> tenon_status {
    (void)tenon_op1(api, b, "tanh", api->index(b, 0));
    return api->set_value(b, api->operand(b, 0));
  });
  expect("xor does not take f32", [](const tenon_custom_api* api, tenon_node*, tenon_body* b, size_t) -> tenon_status {
    (void)tenon_op2(api, b, "xor", api->operand(b, 0), api->operand(b, 0));
    return api->set_value(b, api->operand(b, 0));
  });
  expect("select decides by f32", [](const tenon_custom_api* api, tenon_node*, tenon_body* b, size_t) -> tenon_status {
    const tenon_expr x = api->operand(b, 0);
    return api->set_value(b, tenon_op3(api, b, "select", x, x, x));
  });
  expect("an expression is used that does not exist",
         [](const tenon_custom_api* api, tenon_node*, tenon_body* b, size_t) -> tenon_status {
           (void)tenon_op1(api, b, "neg", tenon_expr{999});
           return api->set_value(b, api->operand(b, 0));
         });
  expect("body: an expression is used that does not exist",
         [](const tenon_custom_api* api, tenon_node*, tenon_body* b, size_t) -> tenon_status {
           return api->set_value(b, tenon_expr{0});
         });
  expect("set_value of i64 for an output of f32: cast it",
         [](const tenon_custom_api* api, tenon_node*, tenon_body* b, size_t) -> tenon_status {
           return api->set_value(b, api->index(b, 0));
         });
  expect("set_value is called twice",
         [](const tenon_custom_api* api, tenon_node*, tenon_body* b, size_t) -> tenon_status {
           TENON_TRY(api->set_value(b, api->operand(b, 0)));
           return api->set_value(b, api->operand(b, 0));
         });
  expect("the input 3 is absent", [](const tenon_custom_api* api, tenon_node*, tenon_body* b, size_t) -> tenon_status {
    return (void)api->operand(b, 3), api->set_value(b, api->operand(b, 0));
  });
  expect("index of axis 2 of an output of rank 2",
         [](const tenon_custom_api* api, tenon_node*, tenon_body* b, size_t) -> tenon_status {
           return (void)api->index(b, 2), api->set_value(b, api->operand(b, 0));
         });
  expect("extent of axis 2", [](const tenon_custom_api* api, tenon_node*, tenon_body* b, size_t) -> tenon_status {
    return (void)api->extent(b, 0, 2), api->set_value(b, api->operand(b, 0));
  });
  expect("1 indices are given", [](const tenon_custom_api* api, tenon_node*, tenon_body* b, size_t) -> tenon_status {
    const tenon_expr at = api->index(b, 0);
    return (void)api->element(b, 0, &at, 1), api->set_value(b, api->operand(b, 0));
  });
  expect("an index is f32, not i64",
         [](const tenon_custom_api* api, tenon_node*, tenon_body* b, size_t) -> tenon_status {
           const tenon_expr at[] = {api->operand(b, 0), api->operand(b, 0)};
           return (void)api->element(b, 0, at, 2), api->set_value(b, api->operand(b, 0));
         });
  expect("what element_or gives outside is i64, an element f32",
         [](const tenon_custom_api* api, tenon_node*, tenon_body* b, size_t) -> tenon_status {
           const tenon_expr at[] = {api->index(b, 0), api->index(b, 1)};
           return (void)api->element_or(b, 0, at, 2, at[0]), api->set_value(b, api->operand(b, 0));
         });
  expect("there is no constant of dtype 8",
         [](const tenon_custom_api* api, tenon_node*, tenon_body* b, size_t) -> tenon_status {
           return (void)api->constant(b, TENON_STRING, 0), api->set_value(b, api->operand(b, 0));
         });
  expect("there is no cast to dtype 77",
         [](const tenon_custom_api* api, tenon_node*, tenon_body* b, size_t) -> tenon_status {
           return (void)api->cast(b, api->operand(b, 0), 77), api->set_value(b, api->operand(b, 0));
         });
  expect("reduce without reduce_axis",
         [](const tenon_custom_api* api, tenon_node*, tenon_body* b, size_t) -> tenon_status {
           return (void)api->reduce(b, "add", api->operand(b, 0)), TENON_OK;
         });
  expect("there is no reduction 'median'",
         [](const tenon_custom_api* api, tenon_node*, tenon_body* b, size_t) -> tenon_status {
           (void)api->reduce_axis(b, api->extent(b, 0, 1));
           return (void)api->reduce(b, "median", api->operand(b, 0)), TENON_OK;
         });
  expect("and does not reduce f32",
         [](const tenon_custom_api* api, tenon_node*, tenon_body* b, size_t) -> tenon_status {
           (void)api->reduce_axis(b, api->extent(b, 0, 1));
           return (void)api->reduce(b, "and", api->operand(b, 0)), TENON_OK;
         });
  expect("the extent of a reduce_axis is not a size",
         [](const tenon_custom_api* api, tenon_node*, tenon_body* b, size_t) -> tenon_status {
           return (void)api->reduce_axis(b, api->constant_int(b, TENON_I64, -1)), TENON_OK;
         });
  expect("reads a reduce axis outside reduce",
         [](const tenon_custom_api* api, tenon_node*, tenon_body* b, size_t) -> tenon_status {
           const tenon_expr k = api->reduce_axis(b, api->extent(b, 0, 1));
           return api->set_value(b, api->cast(b, k, TENON_F32));
         });
  expect("does not use the result of reduce",
         [](const tenon_custom_api* api, tenon_node*, tenon_body* b, size_t) -> tenon_status {
           (void)api->reduce_axis(b, api->extent(b, 0, 1));
           (void)api->reduce(b, "add", api->operand(b, 0));
           return api->set_value(b, api->operand(b, 0));
         });
  expect("more than 4096 expressions",
         [](const tenon_custom_api* api, tenon_node*, tenon_body* b, size_t) -> tenon_status {
           tenon_expr x = api->operand(b, 0);
           for (int i = 0; i < 5000; ++i) x = tenon_op2(api, b, "add", x, api->constant(b, TENON_F32, i));
           return TENON_OK;
         });
}

/// infer promises less than the operand has: a read at the output's index would not be the operand's broadcast.
TEST(CustomBody, RefusesOperandsThatDoNotBroadcast) {
  Op op = with_body([](const tenon_custom_api* api, tenon_node*, tenon_body* b, size_t) -> tenon_status {
    return api->set_value(b, api->operand(b, 0));
  });
  op.op.infer = [](const tenon_custom_api* api, tenon_node*, tenon_infer* c) -> tenon_status {
    const tenon_dim dims[] = {api->dim_constant(c, 5), api->dim_constant(c, 5)};
    return api->set_output(c, 0, TENON_F32, dims, 2);
  };
  for (const auto* backend : available_backends())
    EXPECT_NE(outcome(kUnary, op.registry(), {kMatrix}, backend->name()), "ok") << backend->name();
}

}  // namespace
}  // namespace tenon
