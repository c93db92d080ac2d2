#include "recipe.h"

namespace tenon::differential {
namespace {

void windows(Maker& m) {
  Random& r = m.random;
  m.node(r.pick({"HannWindow", "HammingWindow", "BlackmanWindow"}),
         {r.chance(0.5) ? m.scalar(r.between(1, 40)) : m.input(Tensor::scalar<int64_t>(r.between(1, 40)))},
         {{"periodic", r.between(0, 1)}});
}

void mel(Maker& m) {
  Random& r = m.random;
  m.node("MelWeightMatrix", {m.scalar(r.between(1, 12)), m.scalar(r.pick<int64_t>({16, 32, 50})), m.scalar(8000),
                             m.constant(Tensor::scalar<float>(50)), m.constant(Tensor::scalar<float>(3500))});
}

void fourier(Maker& m) {
  Random& r = m.random;
  const int64_t n = r.pick<int64_t>({1, 2, 5, 8, 12, 17});
  if (r.chance(0.6)) {
    const bool complex = r.chance(0.5);
    m.node("DFT",
           {m.f32({r.between(1, 2), n, complex ? 2 : 1}), r.chance(0.3) ? m.scalar(r.between(1, 20)) : nullptr,
            r.chance(0.5) ? m.scalar(1) : nullptr},
           {{"inverse", complex ? r.between(0, 1) : 0}, {"onesided", complex ? 0 : r.between(0, 1)}});
  } else {
    const int64_t frame = r.pick<int64_t>({4, 8, 10});
    m.node("STFT",
           {m.f32({r.between(1, 2), frame + r.between(0, 20), 1}), m.scalar(r.between(1, 5)),
            r.chance(0.5) ? m.f32({frame}) : nullptr, m.scalar(frame)},
           {{"onesided", r.between(0, 1)}});
  }
}

void random_numbers(Maker& m) {
  Random& r = m.random;
  const double seed = static_cast<double>(r.between(0, 99));
  const Shape shape = r.shape(r.between(1, 3));
  switch (r.between(0, 6)) {
    case 0:
      m.node("RandomNormal", {}, {{"seed", seed}, {"shape", Ints(shape)}, {"mean", 2.0}}, 1);
      break;
    case 1:
      m.node("RandomUniform", {}, {{"seed", seed}, {"shape", Ints(shape)}, {"high", 3.0}}, 1);
      break;
    case 2:
      m.node("RandomNormalLike", {m.f32(shape)}, {{"seed", seed}});
      break;
    case 3:
      m.node("RandomUniformLike", {m.f32(shape)}, {{"seed", seed}});
      break;
    case 4: {
      Tensor p = random_tensor(r, DType::kF32, shape);
      for (int64_t i = 0; i < p.size(); ++i) p.set_double(i, r.real(0, 1));
      m.node("Bernoulli", {m.input(p)}, {{"seed", seed}});
      break;
    }
    case 5:
      m.node("Multinomial", {m.f32({r.between(1, 3), r.between(1, 5)})},
             {{"seed", seed}, {"sample_size", r.between(1, 20)}});
      break;
    default:
      m.node("Dropout",
             {m.f32(shape), m.constant(Tensor::scalar<float>(0.4F)), m.constant(Tensor::scalar<bool>(r.chance(0.7)))},
             {{"seed", static_cast<int64_t>(seed)}}, 2);
      break;
  }
}

void matrices(Maker& m) {
  Random& r = m.random;
  const int64_t n = r.between(1, 4);
  m.node(r.pick({"Det", "com.microsoft.Inverse"}), {m.f32({r.between(1, 3), n, n})});
}

}  // namespace

std::vector<Recipe> signal_recipes() {
  return {{"windows", windows, 9},
          {"MelWeightMatrix", mel, 3},
          {"Fourier transforms", fourier, 14},
          {"random numbers", random_numbers, 30},
          {"small matrices", matrices, 8}};
}

}  // namespace tenon::differential
