#include <cmath>

#include "recipe.h"

namespace tenon::differential {
namespace {

int64_t code(DType d) { return info(d).onnx; }

void windows(Maker& m) {
  Random& r = m.random;
  m.node(r.pick({"HannWindow", "HammingWindow", "BlackmanWindow"}),
         {r.chance(0.3) ? m.scalar(r.between(1, 40)) : m.input(Tensor::scalar<int64_t>(r.between(1, 40)))},
         {{"periodic", r.between(0, 1)}, {"output_datatype", code(r.pick({DType::kF32, DType::kF64, DType::kF16, DType::kI32}))}});
}

void mel(Maker& m) {
  Random& r = m.random;
  const auto size = [&](int64_t n) { return r.chance(0.5) ? m.scalar(n) : m.input(Tensor::scalar<int64_t>(n)); };
  m.node("MelWeightMatrix", {size(r.between(0, 12)), size(r.pick<int64_t>({16, 32, 50})), m.input(Tensor::scalar<int64_t>(r.chance(0.9) ? 8000 : 0)),
                             m.input(Tensor::scalar<float>(r.pick<float>({0, 50, 200}))), m.input(Tensor::scalar<float>(r.chance(0.9) ? 3500.0F : NAN))},
         {{"output_datatype", code(r.pick({DType::kF32, DType::kF64, DType::kI32}))}});
}

void dft(Maker& m) {
  Random& r = m.random;
  const DType dtype = r.pick({DType::kF32, DType::kF32, DType::kF64, DType::kF16});
  const int64_t n = r.pick<int64_t>({1, 2, 5, 8, 12, 17, 33}), axis = r.between(0, 2), inverse = r.between(0, 1);
  Shape shape = {r.between(1, 3), r.between(1, 3), r.between(1, 3), r.between(1, 2)};
  shape[static_cast<size_t>(axis)] = n;
  const int64_t onesided = r.between(0, 1);
  if (inverse != 0 && onesided != 0) shape.back() = 2;  // a half spectrum
  ir::Value* at = r.chance(0.8) ? m.scalar(axis - 4 * r.between(0, 1)) : m.input(Tensor::scalar<int64_t>(axis));
  m.node("DFT", {m.input(dtype, shape), r.chance(0.4) ? m.scalar(r.between(1, 40)) : nullptr, at},
         {{"inverse", inverse}, {"onesided", onesided}});
}

void long_dft(Maker& m) {
  Random& r = m.random;
  const int64_t n = r.pick<int64_t>({1025, 1536, 2048, 2310, 4096, 1031});
  const int64_t points = n - 200 * r.between(0, 1);
  const int64_t inverse = r.between(0, 1);
  m.node("DFT", {m.f32({r.between(1, 2), points, r.between(1, 2)}), points == n ? nullptr : m.scalar(n), m.scalar(1)},
         {{"inverse", inverse}, {"onesided", inverse != 0 ? 0 : r.between(0, 1)}});
}

void stft(Maker& m) {
  Random& r = m.random;
  const DType dtype = r.pick({DType::kF32, DType::kF32, DType::kF64, DType::kBF16});
  const int64_t frame = r.pick<int64_t>({1, 4, 8, 10, 25}), onesided = r.between(0, 1);
  const Shape window = {frame};
  Shape signal = {r.between(1, 2), frame + r.between(0, 40), onesided != 0 ? 1 : r.between(1, 2)};
  if (r.chance(0.1)) signal[1] = frame - 1;
  if (r.chance(0.3) && signal[2] == 1) signal.pop_back();
  ir::Value* weights = r.chance(0.3) ? nullptr : r.chance(0.5) ? m.input(dtype, window) : m.constant(random_tensor(r, dtype, window));
  m.node("STFT", {m.input(dtype, signal), m.scalar(r.between(1, 5)), weights, weights != nullptr && r.chance(0.5) ? nullptr : m.scalar(frame)},
         {{"onesided", onesided}});
}

void random_numbers(Maker& m) {
  Random& r = m.random;
  const double seed = static_cast<double>(r.between(0, 99));
  const Shape shape = r.shape(r.between(1, 3));
  const int64_t real = code(r.pick({DType::kF32, DType::kF16, DType::kF64}));
  switch (r.between(0, 6)) {
    case 0:
      m.node("RandomNormal", {}, {{"seed", seed}, {"shape", Ints(shape)}, {"mean", 2.0}, {"scale", 0.5}, {"dtype", real}}, 1);
      break;
    case 1:
      m.node("RandomUniform", {}, {{"seed", seed}, {"shape", Ints(shape)}, {"low", -1.0}, {"high", 3.0}, {"dtype", real}}, 1);
      break;
    case 2:
      m.node("RandomNormalLike", {m.input(r.pick({DType::kF32, DType::kI64}), shape)}, {{"seed", seed}, {"dtype", real}});
      break;
    case 3:
      m.node("RandomUniformLike", {m.f32(shape)}, {{"seed", seed}, {"dtype", real}});
      break;
    case 4: {
      Tensor p = random_tensor(r, r.pick({DType::kF32, DType::kF64}), shape, r.chance(0.2) ? Fill::kSpecial : Fill::kPlain);
      for (int64_t i = 0; i < p.size(); ++i)
        if (r.chance(0.8)) p.set_double(i, r.real(0, 1));
      m.node("Bernoulli", {m.input(p)}, {{"seed", seed}, {"dtype", code(r.pick({DType::kBool, DType::kF32, DType::kI64}))}});
      break;
    }
    case 5:
      m.node("Multinomial", {m.f32({r.between(1, 3), r.between(1, 5)})},
             {{"seed", seed}, {"sample_size", r.between(1, 20)}});
      break;
    default: {
      const Tensor ratio = Tensor::scalar<float>(r.chance(0.1) ? 1.0F : 0.4F), training = Tensor::scalar<bool>(r.chance(0.7));
      m.node("Dropout",
             {m.input(r.pick({DType::kF32, DType::kF16, DType::kF64}), shape),
              r.chance(0.2) ? nullptr : r.chance(0.5) ? m.constant(ratio) : m.input(ratio),
              r.chance(0.2) ? nullptr : r.chance(0.5) ? m.constant(training) : m.input(training)},
             {{"seed", static_cast<int64_t>(seed)}}, static_cast<int>(r.between(1, 2)));
      break;
    }
  }
}

void matrices(Maker& m) {
  Random& r = m.random;
  const int64_t n = r.between(0, 5);
  Tensor x = random_tensor(r, r.pick({DType::kF32, DType::kF32, DType::kF16, DType::kF64}), {r.between(0, 3), n, n});
  const bool singular = r.chance(0.15);
  for (int64_t i = 0; singular && i < x.size(); ++i) x.set_double(i, static_cast<double>(i % n));  // equal rows
  m.node(r.pick({"Det", "com.microsoft.Inverse"}), {m.input(x)});
}

}  // namespace

std::vector<Recipe> signal_recipes() {
  return {{"windows", windows, 16},
          {"MelWeightMatrix", mel, 14},
          {"DFT", dft, 24},
          {"long DFT", long_dft, 6},
          {"STFT", stft, 20},
          {"random numbers", random_numbers, 50},
          {"small matrices", matrices, 40}};
}

}  // namespace tenon::differential
