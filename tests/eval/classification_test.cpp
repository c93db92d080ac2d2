#include "eval/classification.h"

#include <algorithm>
#include <cmath>

#include <gtest/gtest.h>

#include "eval/picture.h"
#include "ir/op.h"

namespace tenon::eval {
namespace {

/// Scores of three classes from the first pixel p of each image: -|p - 0|, -|p - 1|, -|p - 2|, plus `error`.
class FakeBackend final : public backends::Backend {
 public:
  FakeBackend(std::string name, double error, Status available = {}) : name_(std::move(name)), error_(error), available_(std::move(available)) {}
  std::string_view name() const override { return name_; }
  Status available() const override { return available_; }
  Result<std::shared_ptr<const backends::Executable>> compile(const ir::Graph&, const backends::CompileOptions&) const override {
    return std::shared_ptr<const backends::Executable>(std::make_shared<FakeExecutable>(*this));
  }

  mutable std::vector<Shape> runs;

 private:
  struct FakeExecutable final : backends::Executable {
    explicit FakeExecutable(const FakeBackend& b) : backend(b) {}
    Result<std::unique_ptr<backends::Session>> create_session(const backends::SessionOptions&) const override {
      return std::unique_ptr<backends::Session>(std::make_unique<FakeSession>(backend));
    }
    const std::vector<backends::Placement>& placement() const override { return places; }
    const backends::CompileStats& stats() const override { return numbers; }
    const FakeBackend& backend;
    std::vector<backends::Placement> places;
    backends::CompileStats numbers;
  };
  struct FakeSession final : backends::Session {
    explicit FakeSession(const FakeBackend& b) : backend(b) {}
    Result<std::vector<HostValue>> run(std::span<const HostValue> inputs, const Interrupt&) override {
      const Tensor& images = std::get<Tensor>(inputs[0]);
      backend.runs.push_back(images.shape());
      const int64_t batch = images.dim(0), pixels = images.size() / batch;
      TENON_ASSIGN_OR_RETURN(Tensor scores, Tensor::zeros(DType::kF32, {batch, 3}));
      for (int64_t i = 0; i < batch; ++i)
        for (int64_t c = 0; c < 3; ++c)
          scores.set_double(i * 3 + c, -std::abs(images.at_double(i * pixels) - static_cast<double>(c)) + (c == 0 ? backend.error_ : 0));
      return std::vector<HostValue>{scores};
    }
    size_t arena_bytes() const override { return 4096; }
    const FakeBackend& backend;
  };

  std::string name_;
  double error_;
  Status available_;
};

/// Input [batch, 1, 1, 2], output [batch, 3]; nobody evaluates the node between them. `batch` 0: symbolic.
std::unique_ptr<ir::Graph> classifier(int64_t batch) {
  auto graph = std::make_unique<ir::Graph>();
  const ir::Dim n = batch > 0 ? ir::Dim(batch) : graph->dims().symbol("N");
  ir::Value* image = graph->add_input("image", ir::TensorType(DType::kF32, {n, 1, 1, 2}));
  ir::Node* node = graph->create(*ir::find_op("Softmax"), std::vector<ir::Value*>{image}, 1);
  node->output()->set_type(ir::TensorType(DType::kF32, {n, 3}));
  graph->add_output(node->output(), "scores");
  return graph;
}

/// Five images whose first pixels are 0, 1, 2, 2, 1, labelled 0, 1, 2, 0, 1.
LabelledImages five() { return {Tensor::from<uint8_t>({5, 1, 2}, {0, 9, 1, 9, 2, 9, 2, 9, 1, 9}), {0, 1, 2, 0, 1}}; }

ClassificationOptions plain(int64_t batch) {
  ClassificationOptions options;
  options.scale = 1;
  options.batch = batch;
  options.singles = 3;
  return options;
}

TEST(Classification, CountsWhatIsRightAndHowBackendsDiffer) {
  const FakeBackend exact("exact", 0), off("off", 1.5);
  const backends::Backend* both[] = {&exact, &off};
  const auto report = classify(*classifier(0), five(), both, plain(2));
  ASSERT_TRUE(report.ok()) << report.status().to_string();
  EXPECT_EQ(report->output, "scores");
  const ClassificationResult &a = report->results[0], &b = report->results[1];
  EXPECT_EQ(a.correct, 4);
  EXPECT_EQ(a.correct_top5, 5) << "there are but three classes";
  EXPECT_EQ(a.arena_bytes, 4096u);
  EXPECT_EQ(a.predictions[3].label, 2);
  EXPECT_NEAR(a.predictions[0].confidence, 1 / (1 + std::exp(-1) + std::exp(-2)), 1e-6) << "a softmax of 0, -1, -2";
  // Class 0 gains 1.5: first pixels of 1 now give 0.5 against 0; of 2, -0.5 against 0.
  EXPECT_EQ(b.correct, 2);
  EXPECT_EQ(b.disagreements, 2);
  EXPECT_NEAR(b.max_abs, 1.5, 1e-6);
  EXPECT_EQ(exact.runs, (std::vector<Shape>{{2, 1, 1, 2}, {2, 1, 1, 2}, {1, 1, 1, 2}, {1, 1, 1, 2}, {1, 1, 1, 2}, {1, 1, 1, 2}}))
      << "two batches, the rest, three single images";
}

TEST(Classification, FillsUpBatchesThatTheModelFixes) {
  const FakeBackend backend("fixed", 0);
  const backends::Backend* one[] = {&backend};
  const auto report = classify(*classifier(4), five(), one, plain(100));
  ASSERT_TRUE(report.ok());
  EXPECT_EQ(report->results[0].predictions.size(), 5u);
  EXPECT_EQ(report->results[0].correct, 4);
  EXPECT_EQ(backend.runs, (std::vector<Shape>{{4, 1, 1, 2}, {4, 1, 1, 2}}));
}

TEST(Classification, ABackendThatIsNotThereDoesNotStopTheOthers) {
  const FakeBackend here("here", 0), missing("missing", 0, Status(Code::kNotFound, "no device"));
  const backends::Backend* both[] = {&missing, &here};
  const auto report = classify(*classifier(0), five(), both, plain(5));
  ASSERT_TRUE(report.ok());
  EXPECT_EQ(report->results[0].status.code(), Code::kNotFound);
  EXPECT_EQ(report->results[1].correct, 4);
  EXPECT_EQ(report->results[1].disagreements, 0) << "nothing to compare with";
}

TEST(Classification, NamesWhatDoesNotFit) {
  const FakeBackend backend("fake", 0);
  const backends::Backend* one[] = {&backend};
  LabelledImages wide{Tensor::from<uint8_t>({1, 1, 3}, {0, 0, 0}), {0}};
  EXPECT_EQ(classify(*classifier(0), wide, one, plain(1)).status().code(), Code::kInvalidArgument);
  ClassificationOptions options = plain(1);
  options.output = "nothing";
  EXPECT_EQ(classify(*classifier(0), five(), one, options).status().code(), Code::kInvalidArgument);
  LabelledImages beyond = five();
  beyond.labels[2] = 3;
  const auto report = classify(*classifier(0), beyond, one, plain(5));
  ASSERT_TRUE(report.ok());
  EXPECT_EQ(report->results[0].status.code(), Code::kInvalidArgument) << "a label that the model does not have";
}

TEST(LabelledImages, ReadsTheSampleDataAndRefusesMismatches) {
  const std::filesystem::path data = std::filesystem::path(TENON_SOURCE_DIR) / "models/digits/data";
  const auto images = read_labelled_images(data / "test-images.idx3-ubyte", data / "test-labels.idx1-ubyte");
  ASSERT_TRUE(images.ok()) << images.status().to_string();
  EXPECT_EQ(images->images.shape(), (Shape{1000, 28, 28}));
  EXPECT_EQ(std::count(images->labels.begin(), images->labels.end(), 7), 100);
  EXPECT_FALSE(read_labelled_images(data / "test-labels.idx1-ubyte", data / "test-labels.idx1-ubyte").ok());
  EXPECT_FALSE(read_labelled_images(data / "test-images.idx3-ubyte", data / "test-images.idx3-ubyte").ok());
}

TEST(Picture, ShadesFromDarkestToLightest) {
  EXPECT_EQ(picture(Tensor::from<uint8_t>({1, 2, 4}, {0, 60, 130, 255, 0, 60, 130, 255}), 0, 9), (std::vector<std::string>{" ░▒█"}));
  EXPECT_EQ(picture(Tensor::from<uint8_t>({2, 2, 2}, {0, 0, 0, 0, 0, 9, 0, 9}), 1, 2), (std::vector<std::string>{" █"}));
  EXPECT_EQ(picture(Tensor::from<uint8_t>({1, 1, 8}, {5, 5, 5, 5, 5, 5, 5, 5}), 0, 2).size(), 1u) << "flat and low";
  EXPECT_TRUE(picture(Tensor::from<uint8_t>({1, 1, 1}, {1}), 1, 8).empty()) << "no such image";
}

}  // namespace
}  // namespace tenon::eval
