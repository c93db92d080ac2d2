// evaluate callbacks: values, strings, state, threads, and defects.

#include <atomic>
#include <thread>

#include "tests/custom/plugin.h"

namespace tenon {
namespace {

using namespace tenon::testing;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

constexpr std::string_view kUnary = R"(graph "g" {
  input %x: f32[N]
  %y: ? = acme.Op(%x)
  output %y
})";

HostValue floats(std::initializer_list<float> values) {
  return Tensor::from<float>({static_cast<int64_t>(values.size())}, values);
}

Op evaluated_by(tenon_evaluate_fn evaluate) {
  Op op;
  op.op.infer = infer_same;
  op.op.evaluate = evaluate;
  return op;
}

/// Y = X + *state, or + 1 where there is none.
tenon_status add_state(const tenon_custom_api* api, tenon_node*, tenon_eval* eval, void* state) {
  const tenon_tensor* x = api->input(eval, 0);
  void* data = nullptr;
  TENON_TRY(api->allocate_output(eval, 0, TENON_F32, api->tensor_dims(x), api->tensor_rank(x), &data));
  for (int64_t i = 0; i < api->tensor_count(x); ++i)
    static_cast<float*>(data)[i] =
        static_cast<const float*>(api->tensor_data(x))[i] + (state == nullptr ? 1 : *static_cast<float*>(state));
  return TENON_OK;
}

TEST(EvaluateCustomOp, RunsOnEveryBackend) {
  const auto graph = ir::parse_text(kUnary, evaluated_by(add_state).registry());
  ASSERT_TRUE(graph.ok());
  for (const auto* backend : available_backends()) {
    const auto executable = backend->compile(**graph, {});
    ASSERT_TRUE(executable.ok()) << executable.status().to_string();
    const auto session = (*executable)->create_session();
    for (const HostValue& x : {floats({1, 2, 3}), floats({}), floats({-1})}) {
      const auto out = (*session)->run(std::span(&x, 1));
      ASSERT_TRUE(out.ok()) << out.status().to_string();
      EXPECT_EQ(std::get<Tensor>((*out)[0]).shape(), std::get<Tensor>(x).shape());
      const std::vector<double> in = numbers(x), y = numbers((*out)[0]);
      for (size_t i = 0; i < in.size(); ++i) EXPECT_EQ(y[i], in[i] + 1) << backend->name();
    }
  }
}

TEST(EvaluateCustomOp, HandlesStrings) {
  Op op = evaluated_by([](const tenon_custom_api* api, tenon_node*, tenon_eval* eval, void*) -> tenon_status {
    const tenon_tensor* x = api->input(eval, 0);
    TENON_TRY(api->allocate_output(eval, 0, TENON_STRING, api->tensor_dims(x), api->tensor_rank(x), nullptr));
    for (int64_t i = 0; i < api->tensor_count(x); ++i) {
      size_t length = 0;
      const char* text = api->tensor_string(x, i, &length);
      TENON_TRY(api->set_output_string(eval, 0, i, text + 1, length - 1));
    }
    return api->tensor_string(x, api->tensor_count(x), nullptr) == nullptr && api->tensor_data(x) == nullptr
               ? TENON_OK
               : TENON_INTERNAL;
  });
  const auto graph = ir::parse_text(R"(graph "g" {
    input %x: string[2]
    %y: ? = acme.Op(%x)
    output %y
  })",
                                    op.registry());
  ASSERT_TRUE(graph.ok());
  for (const auto* backend : available_backends()) {
    const auto out = run_on(*backend, **graph, {*Tensor::strings({2}, {"abc", std::string("x\0y", 3)})});
    ASSERT_TRUE(out.ok()) << out.status().to_string();
    EXPECT_THAT(std::get<Tensor>((*out)[0]).string_values(), ElementsAre("bc", std::string("\0y", 2)));
  }
}

TEST(EvaluateCustomOp, GivesAbsentAndVariadicOperands) {
  Op op = evaluated_by([](const tenon_custom_api* api, tenon_node* node, tenon_eval* eval, void*) -> tenon_status {
    float sum =
        api->input(eval, 0) == nullptr && !api->has_input(node, 0) && api->input_dtype(node, 0) == TENON_NO_DTYPE ? 100
                                                                                                                  : 0;
    for (size_t i = 1; i < api->num_inputs(node); ++i)
      sum += *static_cast<const float*>(api->tensor_data(api->input(eval, i)));
    void* data = nullptr;
    TENON_TRY(api->allocate_output(eval, 0, TENON_F32, nullptr, 0, &data));
    *static_cast<float*>(data) = sum;
    return api->input(eval, 99) == nullptr ? TENON_OK : TENON_INTERNAL;
  });
  op.inputs = {Op::param("X", "T", TENON_DTYPE_BIT(TENON_F32), TENON_OPTIONAL),
               Op::param("Z", "T", TENON_DTYPE_BIT(TENON_F32), TENON_VARIADIC)};
  op.op.infer = [](const tenon_custom_api* api, tenon_node*, tenon_infer* c) -> tenon_status {
    return api->set_output(c, 0, TENON_F32, nullptr, 0);
  };
  const auto graph = ir::parse_text(R"(graph "g" {
    input %a: f32[]
    input %b: f32[]
    %y: ? = acme.Op(_, %a, %b)
    output %y
  })",
                                    op.registry());
  ASSERT_TRUE(graph.ok()) << graph.status().to_string();
  const auto out =
      run_on(*backends::find_backend("cpu"), **graph, {Tensor::scalar<float>(2), Tensor::scalar<float>(3)});
  ASSERT_TRUE(out.ok()) << out.status().to_string();
  EXPECT_THAT(numbers((*out)[0]), ElementsAre(105));
}

TEST(EvaluateCustomOp, LetsShapesDependOnData) {
  Op op = evaluated_by([](const tenon_custom_api* api, tenon_node*, tenon_eval* eval, void*) -> tenon_status {
    const auto* x = static_cast<const float*>(api->tensor_data(api->input(eval, 0)));
    const int64_t count = static_cast<int64_t>(x[0]);
    void* data = nullptr;
    TENON_TRY(api->allocate_output(eval, 0, TENON_F32, &count, 1, &data));
    for (int64_t i = 0; i < count; ++i) static_cast<float*>(data)[i] = static_cast<float>(i);
    return TENON_OK;
  });
  op.op.infer = [](const tenon_custom_api* api, tenon_node*, tenon_infer* c) -> tenon_status {
    const tenon_dim n = api->run_time_dim(c, 0, 0);
    return api->set_output(c, 0, TENON_F32, &n, 1);
  };
  const auto graph = ir::parse_text(R"(graph "g" {
    input %x: f32[1]
    %t: ? = acme.Op(%x)
    %y: ? = Add(%t, %x)
    output %y
  })",
                                    op.registry());
  ASSERT_TRUE(graph.ok());
  for (const auto* backend : available_backends()) {
    for (float n : {0.F, 3.F}) {
      const auto out = run_on(*backend, **graph, {floats({n})});
      ASSERT_TRUE(out.ok()) << out.status().to_string();
      if (n == 0)
        EXPECT_TRUE(numbers((*out)[0]).empty());
      else
        EXPECT_THAT(numbers((*out)[0]), ElementsAre(3, 4, 5)) << backend->name();
    }
  }
}

TEST(EvaluateCustomOp, HoldsRunTimeDimsToOneSize) {
  Op op = evaluated_by([](const tenon_custom_api* api, tenon_node*, tenon_eval* eval, void*) -> tenon_status {
    const int64_t dims[] = {2, 3};
    return api->allocate_output(eval, 0, TENON_F32, dims, 2, nullptr);
  });
  op.op.infer = [](const tenon_custom_api* api, tenon_node*, tenon_infer* c) -> tenon_status {
    const tenon_dim n = api->run_time_dim(c, 0, 0), dims[] = {n, n};
    return api->set_output(c, 0, TENON_F32, dims, 2);
  };
  for (const auto* backend : available_backends())
    EXPECT_THAT(outcome(kUnary, op.registry(), {floats({1})}, backend->name()),
                HasSubstr("evaluate gives output 0 as f32 2x3, infer as f32[Op.d0, Op.d0]"));
}

struct Counts {
  std::atomic<int> made = 0, destroyed = 0;
};

Op with_state(Counts& counts) {
  Op op = evaluated_by(add_state);
  op.op.user_data = &counts;
  op.attrs = {Op::attr("by", TENON_ATTR_FLOAT, TENON_ATTR_REQUIRED)};
  op.op.create_state = [](const tenon_custom_api* api, tenon_node* node, void** state) -> tenon_status {
    double by = 0;
    TENON_TRY(api->attr_float(node, "by", &by));
    if (by < 0) return api->fail(node, TENON_INVALID_MODEL, "by is negative");
    ++static_cast<Counts*>(api->user_data(node))->made;
    *state = new float(static_cast<float>(by));
    return TENON_OK;
  };
  op.op.destroy_state = [](void* state, void* user_data) {
    ++static_cast<Counts*>(user_data)->destroyed;
    delete static_cast<float*>(state);
  };
  return op;
}

constexpr std::string_view kTwoStates = R"(graph "g" {
  input %x: f32[N]
  %t: ? = acme.Op(%x) {by = 10.0}
  %y: ? = acme.Op(%t) {by = 0.5}
  output %y
})";

TEST(EvaluateCustomOp, MakesStateOnceANodeForAllSessions) {
  for (const auto* backend : available_backends()) {
    Counts counts;
    {
      auto graph = std::move(ir::parse_text(kTwoStates, with_state(counts).registry())).value();
      auto executable = std::move(backend->compile(*graph, {})).value();
      graph.reset();
      std::vector<std::thread> threads;
      std::atomic<int> right = 0;
      for (int t = 0; t < 4; ++t)
        threads.emplace_back([&] {
          const auto session = executable->create_session();
          const HostValue x = floats({1, 2});
          for (int i = 0; i < 25; ++i) {
            const auto out = (*session)->run(std::span(&x, 1));
            right += out.ok() && numbers((*out)[0]) == std::vector<double>{11.5, 12.5};
          }
        });
      for (std::thread& t : threads) t.join();
      EXPECT_EQ(right, 100) << backend->name();
      EXPECT_EQ(counts.made, 2) << backend->name();
      EXPECT_EQ(counts.destroyed, 0) << backend->name();
    }
    EXPECT_EQ(counts.destroyed, 2) << backend->name();
  }
}

TEST(EvaluateCustomOp, ReportsAStateThatCannotBeMade) {
  Counts counts;
  EXPECT_THAT(outcome(R"(graph "g" {
    input %x: f32[N]
    %y: ? = acme.Op(%x) {by = -1.0}
    output %y
  })",
                      with_state(counts).registry(), {floats({1})}),
              HasSubstr("by is negative (acme.Op node 'y')"));
  EXPECT_EQ(counts.destroyed, 0);
}

TEST(EvaluateCustomOp, FoldsConstantsUnlessNondeterministic) {
  for (const bool random : {false, true}) {
    Op op = evaluated_by(add_state);
    op.op.flags = random ? TENON_OP_NONDETERMINISTIC : 0;
    const auto graph = ir::parse_text(R"(graph "g" {
      %x: f32[2] = Constant {value = dense<f32[2], 1.0, 2.0>}
      %y: ? = acme.Op(%x)
      output %y
    })",
                                      op.registry());
    ASSERT_TRUE(graph.ok());
    const auto executable = backends::find_backend("cpu")->compile(**graph, {});
    ASSERT_TRUE(executable.ok()) << executable.status().to_string();
    int host_calls = 0;
    for (const auto& row : (*executable)->placement()) host_calls += row.kind == backends::Placement::Kind::kHost;
    EXPECT_EQ(host_calls, random ? 1 : 0);
    const auto out = (*(*executable)->create_session())->run({});
    ASSERT_TRUE(out.ok()) << out.status().to_string();
    EXPECT_THAT(numbers((*out)[0]), ElementsAre(2, 3));
  }
}

TEST(EvaluateCustomOp, BlamesTheLibraryForItsDefects) {
  const auto expect = [](const char* what, tenon_evaluate_fn evaluate) {
    for (const char* backend : {"reference", "cpu"}) {
      const std::string said = outcome(kUnary, evaluated_by(evaluate).registry(), {floats({1, 2})}, backend);
      EXPECT_THAT(said, HasSubstr(what)) << backend;
      EXPECT_THAT(said, HasSubstr("acme.Op node 'y'")) << backend;
    }
  };
  expect("acme.Op node 'y'): this is a defect of test.so",
         [](const tenon_custom_api*, tenon_node*, tenon_eval*, void*) -> tenon_status { return TENON_OK; });
  expect("evaluate does not allocate output 0",
         [](const tenon_custom_api*, tenon_node*, tenon_eval*, void*) -> tenon_status { return TENON_OK; });
  expect("no memory, says the library",
         [](const tenon_custom_api* api, tenon_node* node, tenon_eval*, void*) -> tenon_status {
           return api->fail(node, TENON_RESOURCE_EXHAUSTED, "no memory, says the library");
         });
  expect("evaluate gives -5, which is no status",
         [](const tenon_custom_api*, tenon_node*, tenon_eval*, void*) -> tenon_status { return -5; });
  expect("evaluate throws an exception: boom",
         [](const tenon_custom_api*, tenon_node*, tenon_eval*, void*) -> tenon_status {
           throw std::runtime_error("boom");
         });
  expect("evaluate gives output 0 as f32 3, infer as f32[2]",
         [](const tenon_custom_api* api, tenon_node*, tenon_eval* c, void*) -> tenon_status {
           const int64_t three = 3;
           return api->allocate_output(c, 0, TENON_F32, &three, 1, nullptr);
         });
  expect("evaluate gives output 0 as i64 2, infer as f32[2]",
         [](const tenon_custom_api* api, tenon_node*, tenon_eval* c, void*) -> tenon_status {
           const int64_t two = 2;
           return api->allocate_output(c, 0, TENON_I64, &two, 1, nullptr);
         });
  expect("evaluate gives output 0 as f32 scalar",
         [](const tenon_custom_api* api, tenon_node*, tenon_eval* c, void*) -> tenon_status {
           return api->allocate_output(c, 0, TENON_F32, nullptr, 0, nullptr);
         });
  expect("output 0 is allocated twice",
         [](const tenon_custom_api* api, tenon_node*, tenon_eval* c, void*) -> tenon_status {
           const int64_t two = 2;
           TENON_TRY(api->allocate_output(c, 0, TENON_F32, &two, 1, nullptr));
           return api->allocate_output(c, 0, TENON_F32, &two, 1, nullptr);
         });
  expect("negative", [](const tenon_custom_api* api, tenon_node*, tenon_eval* c, void*) -> tenon_status {
    const int64_t dims = -2;
    return api->allocate_output(c, 0, TENON_F32, &dims, 1, nullptr);
  });
  expect("limit", [](const tenon_custom_api* api, tenon_node*, tenon_eval* c, void*) -> tenon_status {
    const int64_t dims = int64_t{1} << 50;
    return api->allocate_output(c, 0, TENON_F32, &dims, 1, nullptr);
  });
  expect("the node has no output 4",
         [](const tenon_custom_api* api, tenon_node*, tenon_eval* c, void*) -> tenon_status {
           return api->allocate_output(c, 4, TENON_F32, nullptr, 0, nullptr);
         });
  expect("there is no dtype -1", [](const tenon_custom_api* api, tenon_node*, tenon_eval* c, void*) -> tenon_status {
    return api->allocate_output(c, 0, -1, nullptr, 0, nullptr);
  });
  expect("is not allocated as strings",
         [](const tenon_custom_api* api, tenon_node*, tenon_eval* c, void*) -> tenon_status {
           return api->set_output_string(c, 0, 0, "x", 1);
         });
}

/// infer says other sizes for symbols than for numbers: the run must not go on with memory of the wrong size.
TEST(EvaluateCustomOp, RefusesSizesThatInferContradicts) {
  Op op = evaluated_by([](const tenon_custom_api* api, tenon_node*, tenon_eval* eval, void*) -> tenon_status {
    const int64_t count = api->tensor_count(api->input(eval, 0)) + 2;
    return api->allocate_output(eval, 0, TENON_F32, &count, 1, nullptr);
  });
  op.op.infer = [](const tenon_custom_api* api, tenon_node*, tenon_infer* c) -> tenon_status {
    int64_t value = 0;
    const tenon_dim n = api->input_dim(c, 0, 0);
    const tenon_dim m = api->dim_add(c, n, api->dim_constant(c, api->dim_value(c, n, &value) ? 2 : 1));
    return api->set_output(c, 0, TENON_F32, &m, 1);
  };
  constexpr std::string_view text = R"(graph "g" {
    input %x: f32[N]
    %t: ? = acme.Op(%x)
    %y: ? = Relu(%t)
    output %y
  })";
  for (const auto* backend : available_backends()) {
    if (backend->name() == "reference") continue;  // plans no memory: it sees concrete shapes alone
    EXPECT_THAT(outcome(text, op.registry(), {floats({1, 2})}, backend->name()), HasSubstr("N + 1")) << backend->name();
  }
}

/// … and another rank.
TEST(EvaluateCustomOp, RefusesRanksThatInferContradicts) {
  Op op = evaluated_by([](const tenon_custom_api* api, tenon_node*, tenon_eval* eval, void*) -> tenon_status {
    return api->allocate_output(eval, 0, TENON_F32, nullptr, 0, nullptr);
  });
  op.op.infer = [](const tenon_custom_api* api, tenon_node*, tenon_infer* c) -> tenon_status {
    int64_t value = 0;
    const tenon_dim n = api->input_dim(c, 0, 0), dims[] = {n, n};
    return api->set_output(c, 0, TENON_F32, dims, api->dim_value(c, n, &value) ? 0 : 2);
  };
  for (const auto* backend : available_backends()) {
    if (backend->name() == "reference") continue;
    EXPECT_NE(outcome(kUnary, op.registry(), {floats({1, 2})}, backend->name()), "ok") << backend->name();
  }
}

}  // namespace
}  // namespace tenon
