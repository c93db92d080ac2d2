#include "eval/preprocess/pipeline.h"

#include <zlib.h>

#include <cmath>
#include <numbers>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "eval/preprocess/describe.h"
#include "eval/preprocess/resize.h"
#include "tests/eval/data_files.h"

namespace tenon::eval {
namespace {

using nlohmann::json;
using ::testing::ElementsAre;
using ::testing::FloatNear;
using ::testing::HasSubstr;
using ::testing::Pointwise;

Fields run(const char* steps, Fields fields, const std::filesystem::path& folder = {}) {
  const Result<Pipeline> pipeline = parse_pipeline(json::parse(steps), folder);
  EXPECT_TRUE(pipeline.ok()) << pipeline.status().to_string();
  if (!pipeline.ok()) return {};
  Result<Fields> out = pipeline->run(std::move(fields));
  EXPECT_TRUE(out.ok()) << out.status().to_string();
  return out.ok() ? std::move(out).value() : Fields();
}
std::string failure(const char* steps, const Fields& fields = {}) {
  const Result<Pipeline> pipeline = parse_pipeline(json::parse(steps));
  if (!pipeline.ok()) return pipeline.status().to_string();
  const Result<Fields> out = pipeline->run(fields);
  EXPECT_FALSE(out.ok()) << steps;
  return out.status().to_string();
}
const Tensor& tensor(const Fields& fields, const std::string& name) {
  static const Tensor kNone;
  const auto found = fields.find(name);
  EXPECT_NE(found, fields.end()) << name;
  return found == fields.end() ? kNone : std::get<Tensor>(found->second);
}
Tensor text(const std::string& value) { return *Tensor::strings({}, {value}); }

/// The image of preprocess_expected.py.
Tensor image(int64_t h, int64_t w, int64_t channels = 3) {
  Tensor out = *Tensor::zeros(DType::kU8, {h, w, channels});
  for (int64_t y = 0; y < h; ++y)
    for (int64_t x = 0; x < w; ++x)
      for (int64_t c = 0; c < channels; ++c) out.set_int((y * w + x) * channels + c, (x * 37 + y * 91 + c * 53 + (x * y) % 17 * 11) % 256);
  return out;
}
uint32_t crc(const Tensor& t) {
  return static_cast<uint32_t>(crc32(0, reinterpret_cast<const Bytef*>(t.data()), static_cast<uInt>(t.bytes())));
}

TEST(Resize, IsPillowsToTheBit) {
  struct Case {
    int64_t height, width, to_height, to_width;
    Filter filter;
    uint32_t crc;
  };
  // Pillow 9.4.0, printed by preprocess_expected.py.
  const Case cases[] = {
      {37, 53, 16, 24, Filter::kNearest, 0x4f6fb489},  {37, 53, 16, 24, Filter::kBilinear, 0xbb1c0cb9}, {37, 53, 16, 24, Filter::kBicubic, 0x80786d81},
      {37, 53, 16, 24, Filter::kLanczos, 0x2ff40b56},  {37, 53, 16, 24, Filter::kBox, 0xc39619e1},      {37, 53, 16, 24, Filter::kHamming, 0x3b3e986c},
      {16, 24, 37, 53, Filter::kNearest, 0x6bebe8c4},  {16, 24, 37, 53, Filter::kBilinear, 0xc9995fed}, {16, 24, 37, 53, Filter::kBicubic, 0x95266e8d},
      {16, 24, 37, 53, Filter::kLanczos, 0x747ee252},  {16, 24, 37, 53, Filter::kBox, 0x99a6789f},      {16, 24, 37, 53, Filter::kHamming, 0x7998a474},
      {40, 30, 40, 15, Filter::kNearest, 0xfc9b7461},  {40, 30, 40, 15, Filter::kBilinear, 0xcb3c9678}, {40, 30, 40, 15, Filter::kBicubic, 0xed303cd5},
      {40, 30, 40, 15, Filter::kLanczos, 0x9f77d7d4},  {40, 30, 40, 15, Filter::kBox, 0xda368eb0},      {40, 30, 40, 15, Filter::kHamming, 0x6d4db966},
      {31, 64, 7, 64, Filter::kNearest, 0x1bc422b7},   {31, 64, 7, 64, Filter::kBilinear, 0xd2673fa9},  {31, 64, 7, 64, Filter::kBicubic, 0x0231aaf4},
      {31, 64, 7, 64, Filter::kLanczos, 0xe92c7235},   {31, 64, 7, 64, Filter::kBox, 0x72fe56a2},       {31, 64, 7, 64, Filter::kHamming, 0x6f32feef},
  };
  for (const Case& c : cases) {
    const Result<Tensor> out = resize_image(image(c.height, c.width), c.to_height, c.to_width, c.filter, true);
    ASSERT_TRUE(out.ok()) << out.status().to_string();
    EXPECT_EQ(crc(*out), c.crc) << c.height << "x" << c.width << " to " << c.to_height << "x" << c.to_width << " by " << static_cast<int>(c.filter);
  }
}

TEST(Resize, FloatsFollowPillowsModeF) {
  const Tensor bytes = image(9, 11, 1);
  Tensor floats = *Tensor::zeros(DType::kF32, bytes.shape());
  for (int64_t i = 0; i < bytes.size(); ++i) floats.set_double(i, bytes.at_double(i));
  const Result<Tensor> out = resize_image(floats, 4, 5, Filter::kBicubic, true);
  const std::vector<float> expected = {98.9702, 134.784, 132.064, 111.612, 68.1914, 123.239, 128.481, 134.213, 132.033, 92.7424,
                                       116.4,   139.644, 112.521, 138.971, 161.291, 159.932, 115.755, 98.0174, 107.363, 124.93};
  EXPECT_THAT(out->span<float>(), Pointwise(FloatNear(6e-4f), expected));
}

TEST(Resize, WithoutAntialiasingInterpolatesBetweenNeighbours) {
  const Tensor line = Tensor::from<float>({1, 4, 1}, {0, 10, 20, 30});
  // Half-pixel centres: 0.5 and 2.5 of 4 to 2.
  EXPECT_THAT(resize_image(line, 1, 2, Filter::kBilinear, false)->span<float>(), ElementsAre(5, 25));
  EXPECT_THAT(resize_image(line, 1, 8, Filter::kBilinear, false)->span<float>(), ElementsAre(0, 2.5, 7.5, 12.5, 17.5, 22.5, 27.5, 30));
  // Keys' kernel with a = -0.75 half way: -0.09375, 0.59375, 0.59375, -0.09375.
  EXPECT_FLOAT_EQ(resize_image(line, 1, 2, Filter::kBicubic, false)->span<float>()[0],
                  0.59375f * 0 + 0.59375f * 10 - 0.09375f * 0 - 0.09375f * 20);
}

TEST(ImageSteps, ResizeBySides) {
  const auto shape = [](const char* steps, int64_t h, int64_t w) { return tensor(run(steps, {{"image", image(h, w)}}), "image").shape(); };
  EXPECT_EQ(shape(R"([{"step": "resize", "shortest": 256}])", 375, 500), (Shape{256, 341, 3})) << "as torchvision: int(256 * 500 / 375)";
  EXPECT_EQ(shape(R"([{"step": "resize", "shortest": 256}])", 500, 375), (Shape{341, 256, 3}));
  EXPECT_EQ(shape(R"([{"step": "resize", "longest": 100}])", 375, 500), (Shape{75, 100, 3}));
  EXPECT_EQ(shape(R"([{"step": "resize", "size": [5, 7]}])", 37, 50), (Shape{5, 7, 3}));
  EXPECT_EQ(shape(R"([{"step": "resize", "size": 6}])", 37, 50), (Shape{6, 6, 3}));
  EXPECT_THAT(failure(R"([{"step": "resize"}])"), HasSubstr("give one of 'size', 'shortest' and 'longest' (step 1 (resize))"));
}

TEST(ImageSteps, GeometryFollowsThePixels) {
  const Fields out = run(R"([{"step": "letterbox", "size": [64, 64]}])", {{"image", image(20, 40)}});
  const Tensor& pixels = tensor(out, "image");
  EXPECT_EQ(pixels.shape(), (Shape{64, 64, 3}));
  EXPECT_EQ(pixels.at_int(0), 114);
  EXPECT_EQ(pixels.at_int(15 * 64 * 3), 114);
  EXPECT_EQ(pixels.at_int(16 * 64 * 3), 0) << "the image begins at row 16";
  EXPECT_THAT(tensor(out, "image_size").span<float>(), ElementsAre(20, 40));
  EXPECT_THAT(tensor(out, "image_scale").span<float>(), ElementsAre(1.6f, 1.6f));
  EXPECT_THAT(tensor(out, "image_offset").span<float>(), ElementsAre(16, 0));
  const Fields both = run(R"([{"step": "resize", "size": [40, 40]}, {"step": "center_crop", "size": 20}, {"step": "resize", "size": 10}])", {{"image", image(20, 40)}});
  EXPECT_THAT(tensor(both, "image_size").span<float>(), ElementsAre(20, 40));
  EXPECT_THAT(tensor(both, "image_scale").span<float>(), ElementsAre(1, 0.5f));
  EXPECT_THAT(tensor(both, "image_offset").span<float>(), ElementsAre(-5, -5));
}

TEST(ImageSteps, CropAndPadAsTorchvision) {
  // torchvision: crop_top = int(round((h - ch) / 2.0)), halves to even: 5 - 2 = 3 → 2, 3 - 2 = 1 → 0.
  const Tensor cropped = tensor(run(R"([{"step": "center_crop", "size": 2}])", {{"image", image(5, 3, 1)}}), "image");
  const Tensor all = image(5, 3, 1);
  EXPECT_THAT(cropped.span<uint8_t>(), ElementsAre(all.at_int(6), all.at_int(7), all.at_int(9), all.at_int(10)));
  const Tensor padded = tensor(run(R"([{"step": "center_crop", "size": [1, 4], "value": 9}])", {{"image", Tensor::from<uint8_t>({1, 1, 1}, {5})}}), "image");
  EXPECT_THAT(padded.span<uint8_t>(), ElementsAre(9, 5, 9, 9));
  const Tensor part = tensor(run(R"([{"step": "center_crop", "fraction": 0.875}])", {{"image", image(16, 24)}}), "image");
  EXPECT_EQ(part.shape(), (Shape{14, 21, 3}));
  EXPECT_EQ(tensor(run(R"([{"step": "pad", "multiple": 32}])", {{"image", image(33, 64)}}), "image").shape(), (Shape{64, 64, 3}));
  EXPECT_EQ(tensor(run(R"([{"step": "pad", "size": [4, 4], "align": "center"}])", {{"image", Tensor::from<uint8_t>({1, 1, 1}, {5})}}), "image").at_int(5), 5);
}

TEST(ImageSteps, ChannelsLayoutAndNormalisation) {
  const Tensor two = Tensor::from<uint8_t>({1, 2, 3}, {255, 0, 51, 10, 20, 30});
  EXPECT_THAT(tensor(run(R"([{"step": "channels", "to": "bgr"}])", {{"image", two}}), "image").span<uint8_t>(), ElementsAre(51, 0, 255, 30, 20, 10));
  EXPECT_EQ(crc(tensor(run(R"([{"step": "channels", "to": "grey"}])", {{"image", image(5, 7)}}), "image")), 0x174e6660u) << "Pillow's convert(\"L\")";
  EXPECT_EQ(tensor(run(R"([{"step": "channels", "to": "rgb"}])", {{"image", image(5, 7, 1)}}), "image").shape(), (Shape{5, 7, 3}));
  const Fields out = run(R"([{"step": "scale"}, {"step": "normalize", "mean": [0, 0.5, 0.1], "std": [1, 0.5, 0.1]}, {"step": "layout"}])", {{"image", two}});
  EXPECT_EQ(tensor(out, "image").shape(), (Shape{3, 1, 2}));
  EXPECT_THAT(tensor(out, "image").span<float>(), Pointwise(FloatNear(1e-6f), {1.0f, 10 / 255.0f, -1.0f, (20 / 255.0f - 0.5f) / 0.5f, 1.0f, (30 / 255.0f - 0.1f) / 0.1f}));
  const Fields first = run(R"([{"step": "scale"}, {"step": "layout"}, {"step": "normalize", "mean": [0, 0.5, 0.1], "std": [1, 0.5, 0.1], "channels": "first"}])", {{"image", two}});
  EXPECT_EQ(crc(tensor(first, "image")), crc(tensor(out, "image")));
}

TEST(TensorSteps, ConvertReshapeAndMake) {
  const Tensor x = Tensor::from<float>({6}, {-1.5f, 0.5f, 1.5f, 300, NAN, 127.4f});
  EXPECT_THAT(tensor(run(R"([{"step": "dtype", "to": "u8", "input": "x"}])", {{"x", x}}), "x").span<uint8_t>(), ElementsAre(0, 0, 2, 255, 0, 127));
  EXPECT_THAT(tensor(run(R"([{"step": "dtype", "to": "i8", "input": "x"}])", {{"x", x}}), "x").span<int8_t>(), ElementsAre(-2, 0, 2, 127, 0, 127));
  const Fields out = run(R"([{"step": "copy", "input": "x", "output": "y"}, {"step": "reshape", "shape": [2, -1]}, {"step": "transpose", "order": [1, 0]}])", {{"x", x}});
  EXPECT_EQ(tensor(out, "y").shape(), (Shape{3, 2})) << "steps of tensors go on with the field before";
  EXPECT_EQ(tensor(out, "y").at_double(1), 300);
  EXPECT_EQ(tensor(out, "x").shape(), (Shape{6}));
  const Fields made = run(R"([{"step": "constant", "output": "sizes", "value": [3, 4], "dtype": "i64"}, {"step": "constant", "output": "one", "value": 1}])", {});
  EXPECT_THAT(tensor(made, "sizes").span<int64_t>(), ElementsAre(3, 4));
  EXPECT_EQ(tensor(made, "one").rank(), 0);
  EXPECT_THAT(failure(R"([{"step": "reshape", "shape": [4, -1], "input": "x"}])", {{"x", x}}), HasSubstr("6 elements of 6 do not fit the shape 4x-1"));
}

TEST(TableSteps, ColumnsBecomeAVector) {
  const Fields row{{"a", Tensor::scalar<int64_t>(2)}, {"b", Tensor::scalar<double>(NAN)}, {"c", Tensor::from<float>({2}, {5, 6})}, {"t", text("x")}};
  const Fields out = run(R"([{"step": "columns", "names": ["c", "a", "b"], "missing": -1}, {"step": "normalize", "mean": [1, 1, 1, 1], "std": 2}])", row);
  EXPECT_THAT(tensor(out, "features").span<float>(), ElementsAre(2, 2.5f, 0.5f, -1));
  EXPECT_THAT(failure(R"([{"step": "columns", "names": ["t"]}])", row), HasSubstr("the column 't' is text"));
  EXPECT_THAT(failure(R"([{"step": "columns", "names": ["z"]}])", row), HasSubstr("there is no field 'z'"));
}

TEST(Pipeline, NamesStepAndParameter) {
  EXPECT_THAT(failure(R"({})"), HasSubstr("no list of steps"));
  EXPECT_THAT(failure(R"([{"step": "scale"}, {"step": "blur"}])"), HasSubstr("there is no step 'blur' (step 2): give one of resize"));
  EXPECT_THAT(failure(R"([{"step": "scale", "by": 2}])"), HasSubstr("there is no parameter 'by' (step 1 (scale)): give some of step, input, output, divisor"));
  EXPECT_THAT(failure(R"([{"step": "resize", "size": "big"}])"), HasSubstr("parameter 'size' is neither a whole number nor [height, width] (step 1 (resize))"));
  EXPECT_THAT(failure(R"([{"step": "resize", "size": 0}])"), HasSubstr("outside [1, 32768]"));
  EXPECT_THAT(failure(R"([{"step": "resize", "size": 100000}])"), HasSubstr("outside [1, 32768]"));
  EXPECT_THAT(failure(R"([{"step": "resize", "size": 4, "filter": "sharp"}])"), HasSubstr("parameter 'filter' is \"sharp\", none of nearest|bilinear"));
  EXPECT_THAT(failure(R"([{"step": "normalize", "std": [1, 0]}])"), HasSubstr("parameter 'std' is 0"));
  EXPECT_THAT(failure(R"([{"step": "layout"}])", {{"picture", image(2, 2)}}), HasSubstr("there is no field 'image' (step 1 (layout)): give one of the example's as \"input\": picture"));
  EXPECT_THAT(failure(R"([{"step": "layout"}, {"step": "scale"}, {"step": "resize", "size": 4}])"), HasSubstr("has its channels first by now (step 3 (resize))"));
  EXPECT_THAT(failure(R"([{"step": "resize", "size": 4}])", {{"image", text("x")}}), HasSubstr("not an image"));
}

TEST(Pipeline, AnyJsonGivesAPipelineOrAnError) {
  const json values[] = {nullptr, true, -1, 0, 1, 3, 1e30, 1e-30, 0.5, "", "x", json::array(), json::object(), {1}, {0, 0}, {1, 2}, {-1, 3}, {"a"}, 32768, 18446744073709551615u};
  const Fields fields{{"image", image(7, 5)}, {"audio", Tensor::from<float>({5}, {1, 2, 3, 4, 5})}, {"rate", Tensor::scalar<int64_t>(8000)}, {"text", text("a b")}};
  for (const StepInfo& step : preprocess_steps()) {
    for (const Parameter& p : step.parameters)
      for (const json& value : values) {
        json one{{"step", step.name}, {std::string(p.name), value}};
        if (step.name == "resize" && p.name != "size" && p.name != "shortest" && p.name != "longest") one["size"] = 4;
        if (const auto pipeline = parse_pipeline(json::array({one})); pipeline.ok()) (void)pipeline->run(fields);
      }
    (void)parse_pipeline(json::array({{{"step", step.name}, {"input", 3}}}));
  }
}

// The end of the page is made from the table of steps; TENON_BLESS=1 rewrites it.
TEST(Pipeline, EveryStepIsDocumented) {
  const std::string file = TENON_SOURCE_DIR "/docs/preprocessing.md", made = steps_markdown();
  const std::string page = read_all(file);
  const size_t at = page.find("## Images\n");
  ASSERT_NE(at, page.npos);
  if (std::getenv("TENON_BLESS") != nullptr) std::ofstream(file, std::ios::binary) << page.substr(0, at) << made;
  EXPECT_EQ(read_all(file).substr(at), made) << "TENON_BLESS=1 rewrites " << file;
  for (const StepInfo& step : preprocess_steps()) {
    EXPECT_THAT(made, HasSubstr("### " + std::string(step.name) + "\n"));
    EXPECT_THAT(describe_step(step), HasSubstr(std::string(step.summary)));
  }
}

}  // namespace
}  // namespace tenon::eval
