// Registration: what a defective library says about its ops is a named error.

#include <fstream>

#include "tests/custom/plugin.h"

namespace tenon {
namespace {

using namespace tenon::testing;
using ::testing::HasSubstr;

tenon_status evaluate(const tenon_custom_api*, tenon_node*, tenon_eval*, void*) { return TENON_OK; }
tenon_status create(const tenon_custom_api*, tenon_node*, void**) { return TENON_OK; }
void destroy(void*, void*) {}
tenon_status body(const tenon_custom_api*, tenon_node*, tenon_body*, size_t) { return TENON_OK; }

Op good() {
  Op op;
  op.op.infer = infer_same;
  op.op.evaluate = evaluate;
  return op;
}

std::string said_of(Op op) {
  ir::OpRegistry registry;
  const Status status = add_ops(
      [&](const tenon_custom_api* api, tenon_op_registrar* r) -> tenon_status { return api->register_op(r, op.get()); },
      registry);
  EXPECT_EQ(registry.ops().empty(), !status.ok());
  return status.to_string();
}

template <class Change>
std::string said_after(Change&& change) {
  Op op = good();
  change(op);
  return said_of(std::move(op));
}

TEST(DefineCustomOp, TakesAGoodOp) {
  EXPECT_EQ(said_of(good()), "ok");
  EXPECT_EQ(said_after([](Op& o) { o.op.infer = nullptr, o.op.evaluate = nullptr, o.op.body = body; }), "ok");
  EXPECT_EQ(said_after([](Op& o) { o.op.create_state = create, o.op.destroy_state = destroy; }), "ok");
}

TEST(DefineCustomOp, RefusesOtherVersionsOfTheInterface) {
  EXPECT_THAT(said_after([](Op& o) { o.op.abi_version = 2; }),
              HasSubstr("built for version 2 of the interface (test.so)"));
  EXPECT_THAT(said_after([](Op& o) { o.op.struct_size = 8; }), HasSubstr("a tenon_op has the struct_size 8"));
  EXPECT_THAT(said_after([](Op& o) { o.op.struct_size = SIZE_MAX; }), HasSubstr("a tenon_op has the struct_size"));
  EXPECT_THAT(said_after([](Op& o) { o.inputs[0].struct_size = 0; }), HasSubstr("a tenon_param has the struct_size 0"));

  // A newer library: what this build does not know has to be zero.
  struct Newer {
    tenon_op op;
    int64_t more = 0;
  };
  for (const int64_t more : {0, 1}) {
    Op op = good();
    Newer newer{*op.get(), more};
    newer.op.struct_size = sizeof(newer);
    ir::OpRegistry registry;
    const Status status = add_ops([&](const tenon_custom_api* api,
                                      tenon_op_registrar* r) -> tenon_status { return api->register_op(r, &newer.op); },
                                  registry);
    EXPECT_THAT(status.to_string(), more == 0 ? HasSubstr("ok") : HasSubstr("uses what only a newer Tenon knows"));
  }
}

TEST(DefineCustomOp, WalksTablesOfLongerEntries) {
  struct Longer {
    tenon_param param;
    int64_t more = 0;
  };
  std::vector<Longer> inputs = {{Op::param("A")}, {Op::param("B")}};
  for (Longer& input : inputs) input.param.struct_size = sizeof(Longer);
  Op op = good();
  ir::OpRegistry registry;
  ASSERT_TRUE(add_ops(
                  [&](const tenon_custom_api* api, tenon_op_registrar* r) -> tenon_status {
                    tenon_op said = *op.get();
                    said.inputs = &inputs[0].param;
                    said.num_inputs = inputs.size();
                    return api->register_op(r, &said);
                  },
                  registry)
                  .ok());
  ASSERT_EQ(registry.find("acme.Op")->inputs.size(), 2u);
  EXPECT_EQ(registry.find("acme.Op")->inputs[1].name, "B");
}

TEST(DefineCustomOp, RefusesMissingParts) {
  EXPECT_THAT(said_after([](Op& o) { o.op.evaluate = nullptr; }),
              HasSubstr("neither evaluate nor body (test.so: op acme.Op)"));
  EXPECT_THAT(said_after([](Op& o) { o.op.infer = nullptr; }), HasSubstr("neither infer nor body"));
  EXPECT_THAT(said_after([](Op& o) { o.op.destroy_state = destroy; }), HasSubstr("destroy_state without create_state"));
  EXPECT_THAT(said_after([](Op& o) { o.op.create_state = create, o.op.evaluate = nullptr, o.op.body = body; }),
              HasSubstr("create_state without evaluate"));
  EXPECT_THAT(said_after([](Op& o) { o.op.flags = 6; }), HasSubstr("flags 0x6"));
  EXPECT_THAT(said_after([](Op& o) { o.op.domain = nullptr; }), HasSubstr("domain"));
  EXPECT_THAT(said_after([](Op& o) { o.op.domain = "ai.onnx"; }), HasSubstr("not open to custom ops"));
  EXPECT_THAT(said_after([](Op& o) { o.op.name = nullptr; }), HasSubstr("the name is not made of"));
  EXPECT_THAT(said_after([](Op& o) { o.op.since_version = 0; }), HasSubstr("version 0"));
  EXPECT_THAT(said_after([](Op& o) { o.outputs.clear(); }), HasSubstr("no outputs"));
}

TEST(DefineCustomOp, RefusesWrongTables) {
  EXPECT_THAT(said_after([](Op& o) { o.inputs[0].name = nullptr; }), HasSubstr("has no name"));
  EXPECT_THAT(said_after([](Op& o) { o.inputs.push_back(Op::param("X")); }),
              HasSubstr("the name is taken (test.so: op acme.Op: input 1 'X')"));
  EXPECT_THAT(said_after([](Op& o) { o.inputs[0].dtypes = TENON_DTYPE_BIT(60); }), HasSubstr("there is no dtype 60"));
  EXPECT_THAT(said_after([](Op& o) { o.inputs[0].flags = 4; }), HasSubstr("flags 0x4"));
  EXPECT_THAT(said_after([](Op& o) { o.inputs = {Op::param("X", "T", 0, TENON_VARIADIC), Op::param("Z")}; }),
              HasSubstr("follows a variadic"));
  EXPECT_THAT(said_after([](Op& o) { o.attrs = {Op::attr("a", 99)}; }), HasSubstr("no attribute kind 99"));
  EXPECT_THAT(said_after([](Op& o) { o.attrs = {Op::attr("a", 1), Op::attr("a", 1)}; }), HasSubstr("attribute 'a'"));
  EXPECT_THAT(said_after([](Op& o) { o.attrs = {Op::attr("a", 1, 3)}; }),
              HasSubstr("a required attribute has no default"));
  for (const tenon_attr_kind kind : {TENON_ATTR_STRING, TENON_ATTR_TENSOR})
    EXPECT_THAT(said_after([&](Op& o) { o.attrs = {Op::attr("a", kind, TENON_ATTR_HAS_DEFAULT)}; }),
                HasSubstr("default"))
        << kind;
  EXPECT_THAT(said_after([](Op& o) {
                o.attrs = {Op::attr("a", TENON_ATTR_INTS, TENON_ATTR_HAS_DEFAULT)};
                o.attrs[0].count = 3;
              }),
              HasSubstr("the default is null or too long"));
  Op null = good();
  ir::OpRegistry registry;
  EXPECT_THAT(add_ops(
                  [&](const tenon_custom_api* api, tenon_op_registrar* r) -> tenon_status {
                    tenon_op said = *null.get();
                    said.inputs = nullptr;
                    return api->register_op(r, &said);
                  },
                  registry)
                  .to_string(),
              HasSubstr("the table of tenon_param is null"));
}

TEST(DefineCustomOp, NeedsADtypeWithoutInfer) {
  const auto with = [](tenon_param input, tenon_param output) {
    Op op;
    op.op.body = body;
    op.inputs = {input};
    op.outputs = {output};
    return said_of(op);
  };
  EXPECT_EQ(with(Op::param("X", "T"), Op::param("Y", "T")), "ok");
  EXPECT_EQ(with(Op::param("X", "T"), Op::param("Y", nullptr, TENON_DTYPE_BIT(TENON_BOOL))), "ok");
  EXPECT_THAT(with(Op::param("X", "T"), Op::param("Y", "U")), HasSubstr("nothing gives the dtype of the output 'Y'"));
  EXPECT_THAT(with(Op::param("X", "T", 0, TENON_OPTIONAL), Op::param("Y", "T")), HasSubstr("nothing gives the dtype"));
}

TEST(AddCustomOps, IsAllOrNothing) {
  Op first = good(), second = good();
  second.op.name = "Bad Name";
  ir::OpRegistry registry;
  const Register both = [&](const tenon_custom_api* api, tenon_op_registrar* r) -> tenon_status {
    const tenon_status status = api->register_op(r, first.get());
    return status != TENON_OK ? status : api->register_op(r, second.get());
  };
  EXPECT_FALSE(add_ops(both, registry).ok());
  EXPECT_TRUE(registry.ops().empty());
  // A refusal that the library ignores counts all the same.
  EXPECT_THAT(add_ops(
                  [&](const tenon_custom_api* api, tenon_op_registrar* r) -> tenon_status {
                    (void)api->register_op(r, nullptr);
                    return api->register_op(r, first.get());
                  },
                  registry)
                  .to_string(),
              HasSubstr("a tenon_op is null"));
  EXPECT_TRUE(registry.ops().empty());
}

TEST(AddCustomOps, NamesWhatRegistrationDoesWrong) {
  ir::OpRegistry registry;
  const auto said = [&](const Register& f) { return add_ops(f, registry).to_string(); };
  EXPECT_THAT(said([](auto*, auto*) { return TENON_OK; }), HasSubstr("registers no op (test.so)"));
  EXPECT_THAT(said([](auto*, auto*) { return 42; }), HasSubstr("fails with status 42"));
  EXPECT_THAT(said([](auto*, auto*) -> tenon_status { throw std::runtime_error("boom"); }),
              HasSubstr("throws an exception: boom"));
  EXPECT_THAT(said([](auto* api, auto*) { return api->register_op(nullptr, nullptr); }),
              HasSubstr("fails with status"));
  Op op = good();
  const Register one = [&](const tenon_custom_api* api, tenon_op_registrar* r) -> tenon_status {
    return api->register_op(r, op.get());
  };
  EXPECT_TRUE(add_ops(one, registry, "a.so").ok());
  EXPECT_THAT(add_ops(one, registry, "b.so").to_string(), HasSubstr("registered already, by a.so (b.so: op acme.Op)"));
}

TEST(LoadCustomOps, NamesFilesThatAreNoLibraries) {
  ir::OpRegistry registry;
  EXPECT_THAT(frontend::load_custom_ops("/nowhere/x.so", registry).to_string(),
              HasSubstr("no such library (/nowhere/x.so)"));
  EXPECT_THAT(frontend::load_custom_ops("/tmp", registry).to_string(), HasSubstr("no such library"));
  EXPECT_THAT(frontend::load_custom_ops(TENON_SOURCE_DIR "/README.md", registry).to_string(),
              HasSubstr("cannot be loaded"));
  EXPECT_THAT(frontend::load_custom_ops(TENON_BINARY_DIR "/lib/tests_custom_no_entry.so", registry).to_string(),
              HasSubstr("does not export tenon_register_ops"));
}

TEST(LoadCustomOps, LoadsTheExample) {
  ir::OpRegistry registry;
  const Status status = frontend::load_custom_ops(TENON_BINARY_DIR "/lib/example_ops.so", registry);
  ASSERT_TRUE(status.ok()) << status.to_string();
  EXPECT_EQ(registry.ops().size(), 3u);
  const ir::OpDef& shrink = *registry.find("com.example.SoftShrink");
  EXPECT_EQ(shrink.attrs[0].fallback, "0.5");
  EXPECT_NE(shrink.compute.body, nullptr);
  EXPECT_EQ(shrink.compute.eval, nullptr);
  EXPECT_THAT(frontend::load_custom_ops(TENON_BINARY_DIR "/lib/example_ops.so", registry).to_string(),
              HasSubstr("registered already"));
}

}  // namespace
}  // namespace tenon
