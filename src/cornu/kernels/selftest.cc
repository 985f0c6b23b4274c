// Every kernel beside plain loops, over windows drawn at random, and the speed of each.
//
//   selftest [windows [seed]]    compare; the exit status is 1 if anything differs
//   selftest speed               GFLOP/s of a few layers
//
// Arrays are allocated to the exact byte, so that a sanitizer or valgrind sees every overrun.

#include "selftest.h"

#include <cmath>
#include <cstdlib>
#include <memory>

#include "checks.h"
#include "reduced.h"
#include "shared_sums.h"

using namespace cornu;

namespace {

// Unpools a gradient: each number goes to its argmax.
Array unpool(const Window& w, const float* gradient, const uint8_t* argmax) {
  Array full = array_of(w.outputs());
  std::fill_n(full.get(), w.outputs(), 0.0f);
  int64_t pooled[3], o[3];
  for (int a = 0; a < 3; ++a) pooled[a] = w.output[a] / w.pool[a];
  int64_t at = 0;
  for (int64_t n = 0; n < w.batch; ++n)
    for (o[0] = 0; o[0] < pooled[0]; ++o[0])
      for (o[1] = 0; o[1] < pooled[1]; ++o[1])
        for (o[2] = 0; o[2] < pooled[2]; ++o[2])
          for (int64_t c = 0; c < w.channels_out; ++c, ++at) {
            if (argmax[at] == DEAD) continue;
            const int64_t in_pool[3] = {argmax[at] / (w.pool[1] * w.pool[2]), argmax[at] / w.pool[2] % w.pool[1],
                                        argmax[at] % w.pool[2]};
            int64_t index = n;
            for (int a = 0; a < 3; ++a) index = index * w.output[a] + o[a] * w.pool[a] + in_pool[a];
            full[index * w.channels_out + c] = gradient[at];
          }
  return full;
}

// Runs `kernel(pool, result)` with each pool: the first result is compared with what is expected, the others
// must have the same bits.
template <class Run>
void check(const char* what, const Window& w, const Pools& pools, const std::vector<double>& expected, double scale,
           const Run& run) {
  const int64_t count = expected.size();
  Array first;
  for (const auto& threads : pools) {
    Array result = garbage(count);
    run(threads->pool, result.get());
    if (!first) {
      compare(what, w, result.get(), expected, scale);
      first = std::move(result);
    } else {
      equal(what, w, first.get(), result.get(), count * 4);
    }
  }
}

void draw_pool(Window& w) {
  for (int a = 0; a < 3; ++a) w.pool[a] = std::min(between(1, 3), w.output[a]);
}

void test_forward(const Pools& pools, const Window& w) {
  Array image = noise(w.image()), weights = noise(w.weights());
  spoil(image.get(), w.image());
  std::vector<double> expected(w.outputs());
  for_each_product(w, [&](int64_t i, int64_t k, int64_t r) { expected[r] += double(image[i]) * weights[k]; });
  check("convolution", w, pools, expected, 10 + std::sqrt(product(w.window) * double(w.channels_in / w.groups)),
        [&](const Pool& pool, float* result) {
          kernels()->convolution(pool, w, image.get(), weights.get(), result);
        });
}

// A convolution whose weights are brought into their order once; its second run must have the bits of the first.
void test_prepared(const Pools& pools, const Window& w) {
  Array image = noise(w.image()), weights = noise(w.weights()), bias = noise(w.channels_out);
  const After after = After(between(0, product(w.pool) == 1 ? 1 : 2));
  Window plain = w;
  if (after != After::POOL) for (int64_t& side : plain.pool) side = 1;
  if (after != After::POOL) spoil(image.get(), w.image());
  const float low = between(0, 1) ? -0.5f : -INFINITY, high = between(0, 1) ? 0.75f : INFINITY;
  std::vector<double> sums(w.outputs()), expected;
  for_each_product(w, [&](int64_t i, int64_t k, int64_t r) { sums[r] += double(image[i]) * weights[k]; });
  if (after != After::NOTHING)
    for (int64_t r = 0; r < w.outputs(); ++r) sums[r] += bias[r % w.channels_out];
  if (after == After::CLAMP)
    for (double& sum : sums) sum = sum < low ? low : sum > high ? high : sum;
  expected = sums;
  if (after == After::POOL) {
    expected.assign(w.pooled(), 0);
    int64_t o[3], pooled[3];
    for (int a = 0; a < 3; ++a) pooled[a] = w.output[a] / w.pool[a];
    for (int64_t r = 0; r < w.outputs(); ++r) {
      int64_t at = r / w.channels_out;
      for (int a = 2; a >= 0; --a) o[a] = at % w.output[a] / w.pool[a], at /= w.output[a];
      if (o[0] >= pooled[0] || o[1] >= pooled[1] || o[2] >= pooled[2]) continue;
      double& best = expected[(((at * pooled[0] + o[0]) * pooled[1] + o[1]) * pooled[2] + o[2]) * w.channels_out +
                              r % w.channels_out];
      best = std::max(best, sums[r]);
    }
  }
  const double scale = 10 + std::sqrt(product(w.window) * double(w.channels_in / w.groups));
  std::vector<uint8_t> argmax(w.outputs());
  for (const auto& threads : pools) {
    const std::unique_ptr<PreparedConvolution> prepared(kernels()->prepare_convolution(
        threads->pool, plain, weights.get(), after == After::NOTHING ? nullptr : bias.get(), after, low, high));
    Array first = garbage(expected.size()), second = garbage(expected.size());
    for (float* result : {first.get(), second.get()})
      prepared->run(threads->pool, image.get(), after == After::POOL ? argmax.data() : nullptr, result);
    compare("prepared_convolution", plain, first.get(), expected, scale);
    equal("prepared_convolution", plain, first.get(), second.get(), expected.size() * 4);
  }
}

// Where a result goes after pooling: -1 where it is left out.
int64_t pooled_at(const Window& w, int64_t result) {
  int64_t at = result / w.channels_out, o[3], pooled[3];
  for (int a = 2; a >= 0; --a) pooled[a] = w.output[a] / w.pool[a], o[a] = at % w.output[a] / w.pool[a], at /= w.output[a];
  for (int a = 0; a < 3; ++a) {
    if (o[a] >= pooled[a]) return -1;
    at = at * pooled[a] + o[a];
  }
  return at * w.channels_out + result % w.channels_out;
}
float to_bfloat16(float x) {
  uint32_t bits;
  memcpy(&bits, &x, 4);
  bits = x == x ? (bits + 0x7fff + (bits >> 16 & 1)) & 0xffff0000 : bits | 0x400000;
  memcpy(&x, &bits, 4);
  return x;
}
// With the instructions for it, and without.
template <class Run>
void with_and_without_dot_products(const Run& run) {
  run();
  setenv("CORNU_DOT_PRODUCTS", "0", 1);
  run();
  unsetenv("CORNU_DOT_PRODUCTS");
}

// Of bytes, each bit is known: integers are exact, and all else is a single operation.
void test_bytes(const Pools& pools, const Window& w) {
  Reduced reduced{};
  reduced.window = w;
  reduced.of_bytes = true;
  reduced.per_step = 40, reduced.zero = between(0, 255), reduced.takes_bytes = between(0, 2) == 0;
  reduced.low = between(0, 1) ? -3.0f : -INFINITY, reduced.high = between(0, 1) ? 40.0f : INFINITY;
  reduced.gives_bytes = between(0, 2) == 0, reduced.zero_of_results = between(0, 255);
  const int64_t each = w.image() / w.batch, each_result = w.pooled() / w.batch;
  Array numbers = noise(w.image()), weights = array_of((w.weights() + 3) / 4), bias = array_of(w.channels_out);
  Array scale = noise(w.channels_out);
  int8_t* of_weights = reinterpret_cast<int8_t*>(weights.get());
  for (int64_t i = 0; i < w.weights(); ++i) of_weights[i] = between(-127, 127);
  for (int64_t c = 0; c < w.channels_out; ++c) {
    const int32_t sum = between(-100000, 100000);
    memcpy(&bias[c], &sum, 4);
    scale[c] = std::abs(scale[c]) * 1e-3f;
  }
  reduced.weights = of_weights, reduced.bias = bias.get(), reduced.scale = scale.get();
  std::vector<uint8_t> bytes(reduced.bytes_of_image());
  std::vector<bool> is_nan(w.image());
  if (reduced.takes_bytes) {
    for (int64_t i = 0; i < w.image(); ++i) bytes[i] = between(0, 255);
    if (between(0, 1)) bytes[w.image() + between(0, w.batch - 1)] = 1;
  } else {
    spoil(numbers.get(), w.image());
    for (int64_t i = 0; i < w.image(); ++i) {
      const float x = numbers[i] * reduced.per_step;
      is_nan[i] = x != x;
      bytes[i] = is_nan[i] ? 0 : std::nearbyint(std::clamp<float>(x, -reduced.zero, 255 - reduced.zero)) + reduced.zero;
    }
  }
  // A zero of the padding is the byte for zero.
  std::vector<int64_t> sums(w.outputs()), met(w.outputs() / w.channels_out);
  std::vector<bool> sees_nan(w.outputs());
  std::vector<int64_t> of_zeros(w.channels_out);
  for (int64_t i = 0; i < w.weights(); ++i) of_zeros[i % w.channels_out] += of_weights[i] * reduced.zero;
  for (int64_t r = 0; r < w.outputs(); ++r) sums[r] = of_zeros[r % w.channels_out];
  for_each_product(w, [&](int64_t i, int64_t k, int64_t r) {
    sums[r] += (bytes[i] - reduced.zero) * of_weights[k];
    if (is_nan[i]) sees_nan[r] = true;
  });
  std::vector<float> expected(w.pooled(), -INFINITY);
  std::vector<bool> spoilt(w.pooled());
  const float zero = reduced.zero_of_results;
  for (int64_t r = 0; r < w.outputs(); ++r) {
    const int64_t at = pooled_at(w, r), channel = r % w.channels_out;
    if (at < 0) continue;
    int32_t sum;
    memcpy(&sum, &bias[channel], 4);
    const float x = float(int32_t(sums[r] + sum)) * scale[channel];
    expected[at] = std::max(expected[at], std::clamp(x, reduced.low, reduced.high));
    if (sees_nan[r]) spoilt[at] = true;
  }
  const void* image = reduced.takes_bytes ? static_cast<const void*>(bytes.data()) : numbers.get();
  with_and_without_dot_products([&] {
    for (const auto& threads : pools) {
      const std::unique_ptr<ReducedConvolution> made(kernels()->prepare_reduced(threads->pool, reduced));
      Array result = garbage((reduced.bytes_of_results() + 3) / 4);
      made->run(threads->pool, image, result.get());
      const uint8_t* came = reinterpret_cast<uint8_t*>(result.get());
      for (int64_t r = 0; r < w.pooled(); ++r) {
        const int64_t example = r / each_result;
        const bool marked = reduced.takes_bytes && bytes[w.image() + example];
        const bool any = marked || std::any_of(is_nan.begin() + example * each, is_nan.begin() + (example + 1) * each,
                                               [](bool nan) { return nan; });
        bool right;
        if (reduced.gives_bytes) {
          right = any || came[r] == std::nearbyint(std::clamp(expected[r], -zero, 255 - zero)) + zero;
          if (came[w.pooled() + example] != 0 && !any) right = false;
          if (came[w.pooled() + example] != 1 && (marked || spoilt[r])) right = false;
        } else {
          // What sees no NaN may have become NaN, too.
          right = result[r] != result[r] ? any : !marked && !spoilt[r] && result[r] == expected[r];
        }
        if (right || failures++ >= 10) continue;
        printf("bytes: element %ld is %g or %d, expected %g\n  %s\n", long(r), reduced.gives_bytes ? 0 : result[r],
               reduced.gives_bytes ? came[r] : 0, expected[r], describe(w).c_str());
      }
    }
  });
}

void test_bfloat16(const Pools& pools, const Window& w) {
  Reduced reduced{};
  reduced.window = w;
  reduced.low = between(0, 1) ? -0.5f : -INFINITY, reduced.high = between(0, 1) ? 0.75f : INFINITY;
  Array image = noise(w.image()), weights = noise(w.weights()), bias = noise(w.channels_out);
  std::vector<uint16_t> halves(w.weights());
  for (int64_t i = 0; i < w.weights(); ++i) {
    weights[i] = to_bfloat16(weights[i]);
    uint32_t bits;
    memcpy(&bits, &weights[i], 4);
    halves[i] = bits >> 16;
  }
  spoil(image.get(), w.image());
  std::vector<double> sums(w.outputs()), expected(w.pooled(), -INFINITY);
  for_each_product(w, [&](int64_t i, int64_t k, int64_t r) { sums[r] += double(to_bfloat16(image[i])) * weights[k]; });
  for (int64_t r = 0; r < w.outputs(); ++r) {
    const double sum = sums[r] + bias[r % w.channels_out];
    const double x = sum < reduced.low ? reduced.low : sum > reduced.high ? reduced.high : sum;
    if (const int64_t at = pooled_at(w, r); at >= 0 && !(expected[at] >= x) && expected[at] == expected[at])
      expected[at] = x;
  }
  reduced.weights = halves.data(), reduced.bias = bias.get();
  with_and_without_dot_products([&] {
    check("bfloat16", w, pools, expected, 10 + std::sqrt(product(w.window) * double(w.channels_in / w.groups)),
          [&](const Pool& pool, float* result) {
            const std::unique_ptr<ReducedConvolution> made(kernels()->prepare_reduced(pool, reduced));
            made->run(pool, image.get(), result);
          });
  });
}

// The fused form beside the kernels that it replaces, bit by bit.
void test_fusion(const Pools& pools, const Window& w) {
  Array image = noise(w.image()), weights = noise(w.weights()), bias = noise(w.channels_out);
  Array rectified = garbage(w.outputs());
  Window pool = w;
  for (int a = 0; a < 3; ++a) {
    pool.size[a] = w.output[a];
    pool.window[a] = pool.strides[a] = w.pool[a];
    pool.output[a] = w.output[a] / w.pool[a];
    pool.before[a] = 0;
  }
  pool.channels_in = w.channels_out;
  // Where a NaN or an infinity is left out, the two may go different ways to nearly the same bits.
  if (product(pool.output) * product(w.pool) == product(w.output)) spoil(image.get(), w.image());
  Window unpooled = w;
  for (int64_t& side : unpooled.pool) side = 1;
  kernels()->convolution(pools[0]->pool, unpooled, image.get(), weights.get(), rectified.get());
  for (int64_t r = 0; r < w.outputs(); ++r) {
    rectified[r] += bias[r % w.channels_out];
    if (rectified[r] < 0) rectified[r] = 0;
  }
  Array best = garbage(w.pooled());
  std::vector<uint8_t> expected(w.pooled()), argmax(w.pooled());
  kernels()->max_pool(pools[0]->pool, pool, rectified.get(), best.get(), expected.data());
  for (int64_t r = 0; r < w.pooled(); ++r)
    if (!(best[r] > 0)) expected[r] = DEAD;
  for (const auto& threads : pools) {
    Array result = garbage(w.pooled());
    kernels()->convolution_relu_pool(threads->pool, w, image.get(), weights.get(), bias.get(), result.get(),
                                     argmax.data());
    for (int64_t r = 0; r < w.pooled(); ++r) {
      const bool same = result[r] == best[r] || (result[r] != result[r] && best[r] != best[r]);
      if ((!same || argmax[r] != expected[r]) && failures++ < 10)
        printf("convolution_relu_pool: %g from %d, expected %g from %d, %ld %ld %ld\n  %s\n", result[r], argmax[r],
               best[r], expected[r], long(w.pool[0]), long(w.pool[1]), long(w.pool[2]), describe(w).c_str());
    }
  }
}

void test_gradients(const Pools& pools, const Window& w, bool pooled) {
  Array image = noise(w.image()), weights = noise(w.weights()), full;
  std::vector<uint8_t> argmax(w.pooled());
  for (uint8_t& byte : argmax) byte = between(0, 2) ? between(0, product(w.pool) - 1) : DEAD;

  Array gradient = noise(w.pooled());
  spoil(gradient.get(), w.pooled());
  if (pooled) full = unpool(w, gradient.get(), argmax.data());
  const float* g = pooled ? full.get() : gradient.get();
  std::vector<double> expected(w.image());
  for_each_product(w, [&](int64_t i, int64_t k, int64_t r) { expected[i] += double(g[r]) * weights[k]; });
  check(pooled ? "relu_pool_input_gradient" : "input_gradient", w, pools, expected,
        10 + std::sqrt(product(w.window) * double(w.channels_out)), [&](const Pool& pool, float* result) {
          if (!pooled) kernels()->input_gradient(pool, w, gradient.get(), weights.get(), result);
          else kernels()->relu_pool_input_gradient(pool, w, gradient.get(), weights.get(), argmax.data(), result);
        });

  gradient = noise(w.pooled());
  if (pooled) full = unpool(w, gradient.get(), argmax.data());
  g = pooled ? full.get() : gradient.get();
  spoil(image.get(), w.image());
  expected.assign(w.weights(), 0);
  for_each_product(w, [&](int64_t i, int64_t k, int64_t r) { expected[k] += double(g[r]) * image[i]; });
  check(pooled ? "relu_pool_weight_gradient" : "weight_gradient", w, pools, expected,
        10 + std::sqrt(double(w.positions())), [&](const Pool& pool, float* result) {
          if (!pooled) kernels()->weight_gradient(pool, w, image.get(), gradient.get(), result);
          else kernels()->relu_pool_weight_gradient(pool, w, image.get(), gradient.get(), argmax.data(), result);
        });
}

// Windows that draws would find too seldom, with NaN or infinity and without.
void test_rare_windows(const Pools& pools) {
  const auto window = [](int64_t batch, int64_t side, int64_t in, int64_t out, int64_t kernel, int64_t before,
                         int64_t pool) {
    Window w{batch, {1, side, side}, {1, 1, 1}, {1, kernel, kernel}, {1, 1, 1}, {1, 1, 1}, {0, before, before},
             in, out, 1, {1, pool, pool}};
    for (int a = 1; a < 3; ++a) w.output[a] = side + 2 * before - kernel + 1;
    return w;
  };
  const Window rare[] = {
      window(1, 1, 40, 70, 1, 0, 1),    // a dense layer of one example
      window(1, 1, 300, 200, 1, 0, 1),
      window(12, 6, 16, 16, 3, 1, 2),   // Winograd's method, several images at once
      window(6, 5, 16, 20, 3, 1, 1),
      window(3, 16, 16, 16, 3, 1, 2),   // with pools that a tile holds, and others
      window(3, 16, 16, 16, 3, 1, 1),
      window(3, 17, 20, 16, 5, 2, 3),
      window(3, 9, 2, 10, 3, 1, 2),     // few taps, and a pool that leaves outputs out
      window(3, 8, 16, 10, 3, 1, 2),    // rows of whole vectors
  };
  for (const Spoiling how : {Spoiling::NEVER, Spoiling::ALWAYS}) {
    spoiling = how;
    for (const Window& w : rare) {
      Window plain = w;
      plain.pool[1] = plain.pool[2] = 1;
      test_plans(w);
      test_forward(pools, plain);
      test_fusion(pools, w);
      test_prepared(pools, plain);
      test_prepared(pools, w);
      test_gradients(pools, plain, false);
      test_gradients(pools, w, true);
    }
  }
  spoiling = Spoiling::SOMETIMES;
}

// The upper half of a float: what bfloat16 is. The float becomes what is kept of it.
std::vector<uint16_t> halves_of(float* array, int64_t count) {
  std::vector<uint16_t> halves(count);
  for (int64_t i = 0; i < count; ++i) {
    uint32_t bits;
    memcpy(&bits, array + i, 4);
    halves[i] = bits >> 16;
    bits &= 0xffff0000u;
    memcpy(array + i, &bits, 4);
  }
  return halves;
}

float single_of(uint16_t half) {
  const uint32_t bits = uint32_t(half) << 16;
  float number;
  memcpy(&number, &bits, 4);
  return number;
}
// What was rounded to bfloat16 is at most half of its last place away.
void compare_halves(const char* what, const Window& w, const std::vector<uint16_t>& came,
                    const std::vector<double>& expected, double scale) {
  for (size_t i = 0; i < expected.size(); ++i) {
    const float number = single_of(came[i]);
    const double most = 1e-5 * scale + std::abs(expected[i]) / 256;
    if (std::abs(number - expected[i]) <= most || number == expected[i]) continue;
    if (std::isnan(number) && std::isnan(expected[i])) continue;
    if (failures++ < 10)
      printf("%s: element %zu is %g, expected %g\n  %s\n", what, i, number, expected[i],
             describe(w).c_str());
    return;
  }
}

void test_pairs(const Pools& pools) {
  if (!multiplies_pairs()) return;
  Window w = draw_window(false);
  w.channels_in *= 2;
  w.channels_out *= 2;
  const double seen = product(w.window) * double(w.channels_in / w.groups);
  Array image = noise(w.image()), weights = noise(w.weights()), bias = noise(w.channels_out);
  spoil(image.get(), w.image());
  const auto half_image = halves_of(image.get(), w.image());
  const auto half_weights = halves_of(weights.get(), w.weights());
  std::vector<double> expected(w.outputs());
  for_each_product(w, [&](int64_t i, int64_t k, int64_t r) { expected[r] += double(image[i]) * weights[k]; });
  std::vector<uint16_t> first;
  for (const auto& threads : pools) {
    std::vector<uint16_t> result(w.outputs(), 0xffff);
    kernels()->convolution_of_pairs(threads->pool, w, half_image.data(), half_weights.data(), result.data());
    if (first.empty()) compare_halves("convolution_of_pairs", w, first = result, expected, 10 + std::sqrt(seen));
    else equal("convolution_of_pairs", w, first.data(), result.data(), w.outputs() * 2);
  }

  for (int64_t r = 0; r < w.outputs(); ++r) {
    expected[r] += bias[r % w.channels_out];
    if (expected[r] < 0) expected[r] = 0;
  }
  for (const auto& threads : pools) {
    Array result = garbage(w.outputs());
    std::vector<uint8_t> argmax(w.outputs());
    kernels()->convolution_relu_pool_of_pairs(threads->pool, w, half_image.data(), half_weights.data(), bias.get(),
                                              result.get(), argmax.data());
    compare("convolution_relu_pool_of_pairs", w, result.get(), expected, 10 + std::sqrt(seen));
    for (int64_t r = 0; r < w.outputs(); ++r)
      if (argmax[r] != (result[r] > 0 ? 0 : DEAD) && failures++ < 10)
        printf("convolution_relu_pool_of_pairs: %g has argmax %d\n", result[r], argmax[r]);
  }

  Array gradient = noise(w.outputs());
  spoil(gradient.get(), w.outputs());
  const auto half_gradient = halves_of(gradient.get(), w.outputs());
  expected.assign(w.image(), 0);
  for_each_product(w, [&](int64_t i, int64_t k, int64_t r) { expected[i] += double(gradient[r]) * weights[k]; });
  first.clear();
  for (const auto& threads : pools) {
    std::vector<uint16_t> result(w.image(), 0xffff);
    kernels()->input_gradient_of_pairs(threads->pool, w, half_gradient.data(), half_weights.data(), result.data());
    if (first.empty())
      compare_halves("input_gradient_of_pairs", w, first = result, expected,
                     10 + std::sqrt(product(w.window) * double(w.channels_out)));
    else equal("input_gradient_of_pairs", w, first.data(), result.data(), w.image() * 2);
  }
}

void test_reductions(const Pools& pools) {
  const bool wide = between(0, 1);
  const int64_t outer = between(0, 1) ? 1 : between(2, 40), inner = wide ? between(16, 90) : between(1, 20);
  const int64_t reduced = between(1, outer == 1 ? 9000 : 500), count = outer * reduced * inner;
  Array x = noise(count);
  std::vector<double> sums(outer * inner), most(outer * inner, -INFINITY);
  for (int64_t i = 0; i < count; ++i) {
    const int64_t at = i / (reduced * inner) * inner + i % inner;
    sums[at] += x[i];
    most[at] = std::max(most[at], double(x[i]));
  }
  const Reduction shape{outer, reduced, inner};
  check("sum", {}, pools, sums, 10 + std::sqrt(double(reduced)),
        [&](const Pool& pool, float* result) { kernels()->sum(pool, shape, x.get(), result); });
  check("largest", {}, pools, most, 0,
        [&](const Pool& pool, float* result) { kernels()->largest(pool, shape, x.get(), result); });
}

void test_bias_gradient(const Pools& pools) {
  const Rows rows{between(1, 3000), between(1, 70)};
  Array gradient = noise(rows.numbers());
  std::vector<uint8_t> argmax(rows.numbers());
  std::vector<double> expected(rows.channels);
  for (int64_t i = 0; i < rows.numbers(); ++i) {
    argmax[i] = between(0, 1) ? between(0, 8) : DEAD;
    if (argmax[i] != DEAD) expected[i % rows.channels] += gradient[i];
  }
  check("bias_gradient", {}, pools, expected, 10 + std::sqrt(double(rows.rows)),
        [&](const Pool& pool, float* result) {
          kernels()->bias_gradient(pool, rows, gradient.get(), argmax.data(), result);
        });
}

// With errors that are relative, but for what is not a normal number.
void compare_each(const char* what, const float* came, const std::vector<double>& expected, double most) {
  for (size_t i = 0; i < expected.size(); ++i) {
    if (std::abs(came[i] - expected[i]) <= most * std::abs(expected[i]) + 1e-37) continue;
    if (came[i] == expected[i] || (std::isnan(came[i]) && std::isnan(expected[i]))) continue;
    if (failures++ < 10) printf("%s: element %zu is %.9g, expected %.9g\n", what, i, came[i], expected[i]);
    return;
  }
}

// What `value` computes of a row with its bias, and `slope` of a gradient by the results of the row.
template <class Value, class Slope>
void test_curve(const char* what, const Pools& pools, decltype(Kernels::biased_tanh) curve,
                decltype(Kernels::tanh_gradient) curve_gradient, double most, const Value& value, const Slope& slope) {
  const Rows rows{between(1, between(0, 1) ? 20 : 3000), between(1, between(0, 3) ? 20 : 300)};
  const int64_t channels = rows.channels, count = rows.numbers();
  Array image = noise(count), bias = noise(channels), gradient = noise(count), first[3];
  const float scale = std::pow(10.0f, between(-6, 2));
  for (int64_t i = 0; i < count; ++i) image[i] *= scale;
  for (int64_t c = 0; c < channels; ++c) bias[c] *= scale;
  spoil(image.get(), count);
  std::vector<double> expected(count), back(count), total(channels);
  for (int64_t i = 0; i < count; ++i) expected[i] = double(image[i] + bias[i % channels]);
  for (int64_t p = 0; p < rows.rows; ++p) value(expected.data() + p * channels, channels);
  const Window none{};
  for (const auto& threads : pools) {
    Array results[3] = {garbage(count), garbage(count), garbage(channels)};
    curve(threads->pool, rows, image.get(), bias.get(), results[0].get());
    curve_gradient(threads->pool, rows, gradient.get(), results[0].get(), results[1].get(), results[2].get());
    if (!first[0]) {
      for (int64_t p = 0; p < rows.rows; ++p)
        slope(gradient.get() + p * channels, results[0].get() + p * channels, channels, back.data() + p * channels);
      for (int64_t i = 0; i < count; ++i) total[i % channels] += back[i];
      compare_each(what, results[0].get(), expected, most);
      compare(what, none, results[1].get(), back, 1);
      compare(what, none, results[2].get(), total, 10 + std::sqrt(double(rows.rows)));
    }
    const int64_t sizes[3] = {count, count, channels};
    for (int k = 0; k < 3; ++k) {
      if (!first[k]) first[k] = std::move(results[k]);
      else equal(what, none, first[k].get(), results[k].get(), sizes[k] * 4);
    }
  }
}

void test_curves(const Pools& pools) {
  test_curve(
      "tanh", pools, kernels()->biased_tanh, kernels()->tanh_gradient, 4e-7,
      [](double* row, int64_t channels) {
        for (int64_t c = 0; c < channels; ++c) row[c] = std::tanh(row[c]);
      },
      [](const float* gradient, const float* result, int64_t channels, double* back) {
        for (int64_t c = 0; c < channels; ++c) back[c] = gradient[c] * (1 - double(result[c]) * result[c]);
      });
  test_curve(
      "softmax", pools, kernels()->biased_softmax, kernels()->softmax_gradient, 1e-6,
      [](double* row, int64_t channels) {
        double most = -INFINITY, sum = 0;
        for (int64_t c = 0; c < channels; ++c) most = std::max(most, row[c]);
        for (int64_t c = 0; c < channels; ++c) sum += row[c] = std::exp(float(row[c]) - float(most));
        for (int64_t c = 0; c < channels; ++c) row[c] /= sum;
      },
      [](const float* gradient, const float* result, int64_t channels, double* back) {
        double dot = 0;
        for (int64_t c = 0; c < channels; ++c) dot += double(gradient[c]) * result[c];
        for (int64_t c = 0; c < channels; ++c) back[c] = result[c] * (gradient[c] - dot);
      });
}

double sigmoid(double x) { return 1 / (1 + std::exp(-x)); }

// The gates lie where the sums were, and the gradients of the sums where the gates were, as XLA may have it.
void test_lstm(const Pools& pools) {
  const Recurrence r{between(1, 5), between(1, between(0, 1) ? 5 : 40), between(1, between(0, 1) ? 9 : 150)};
  const int64_t units = r.units, wide = 4 * units;
  Array projected = noise(r.gates()), weights = noise(r.weights()), first_output = noise(r.state()),
        first_carry = noise(r.state()), kept = noise(r.kept()), of_outputs = noise(r.states()),
        of_carries = noise(r.states());
  for (int64_t i = 0; i < r.weights(); ++i) weights[i] /= std::sqrt(float(units));
  const bool all = between(0, 1);
  for (int64_t i = 0; i < r.kept(); ++i) kept[i] = all || kept[i] > -0.5f;
  std::vector<double> gates(r.gates()), outputs(r.states()), carries(r.states()), back(r.gates());
  std::vector<double> output(first_output.get(), first_output.get() + r.state()), output_back(r.state());
  std::vector<double> carry(first_carry.get(), first_carry.get() + r.state()), carry_back(r.state());
  std::vector<double> before;  // carries
  for (int64_t step = 0; step < r.steps; ++step) {
    const std::vector<double> last = output;
    before.insert(before.end(), carry.begin(), carry.end());
    for (int64_t n = 0; n < r.batch; ++n) {
      double* gate = gates.data() + (step * r.batch + n) * wide;
      for (int64_t c = 0; c < wide; ++c) {
        double sum = projected[gate - gates.data() + c];
        for (int64_t k = 0; k < units; ++k) sum += last[n * units + k] * weights[k * wide + c];
        gate[c] = c / units == 2 ? std::tanh(sum) : sigmoid(sum);
      }
      for (int64_t u = 0; u < units; ++u)
        if (kept[step * r.batch + n]) {
          double& now = carry[n * units + u];
          now = gate[units + u] * now + gate[u] * gate[2 * units + u];
          output[n * units + u] = gate[3 * units + u] * std::tanh(now);
        }
    }
    std::copy(output.begin(), output.end(), outputs.begin() + step * r.state());
    std::copy(carry.begin(), carry.end(), carries.begin() + step * r.state());
  }
  for (int64_t step = r.steps - 1; step >= 0; --step) {
    std::vector<double> passed(r.state());
    for (int64_t i = 0; i < r.state(); ++i) {
      const int64_t n = i / units, u = i % units, at = step * r.state() + i;
      const double of_output = output_back[i] + of_outputs[at], of_carry = carry_back[i] + of_carries[at];
      carry_back[i] = of_carry;
      passed[i] = of_output;
      if (!kept[step * r.batch + n]) continue;
      const double* gate = gates.data() + (step * r.batch + n) * wide + u;
      double* of_gate = back.data() + (gate - gates.data());
      const double curve = std::tanh(carries[at]);
      const double sum = of_carry + of_output * gate[3 * units] * (1 - curve * curve);
      of_gate[0] = sum * gate[2 * units] * gate[0] * (1 - gate[0]);
      of_gate[units] = sum * before[at] * gate[units] * (1 - gate[units]);
      of_gate[2 * units] = sum * gate[0] * (1 - gate[2 * units] * gate[2 * units]);
      of_gate[3 * units] = of_output * curve * gate[3 * units] * (1 - gate[3 * units]);
      carry_back[i] = sum * gate[units];
      passed[i] = 0;
    }
    for (int64_t i = 0; i < r.state(); ++i) {
      const double* of_gate = back.data() + (step * r.batch + i / units) * wide;
      for (int64_t c = 0; c < wide; ++c) passed[i] += of_gate[c] * weights[i % units * wide + c];
    }
    output_back = passed;
  }
  Array first[6];
  const int64_t sizes[] = {r.gates(), r.states(), r.states(), r.gates(), r.state(), r.state()};
  const std::vector<double>* expected[] = {&gates, &outputs, &carries, &back, &output_back, &carry_back};
  for (const auto& threads : pools) {
    Array results[6];
    for (int k = 0; k < 6; ++k) results[k] = garbage(sizes[k]);
    std::copy_n(projected.get(), r.gates(), results[0].get());
    kernels()->lstm(threads->pool, r, results[0].get(), weights.get(), first_output.get(), first_carry.get(),
                    kept.get(), results[0].get(), results[1].get(), results[2].get());
    // Of steps that are not kept, the gates mean nothing.
    std::copy_n(results[0].get(), r.gates(), results[3].get());
    kernels()->lstm_gradient(threads->pool, r, results[3].get(), of_outputs.get(), of_carries.get(),
                             results[2].get(), weights.get(), first_carry.get(), kept.get(), results[3].get(),
                             results[4].get(), results[5].get());
    for (int k = 0; k < 6; ++k) {
      if (!first[k]) compare("lstm", Window{}, results[k].get(), *expected[k], 10);
      if (!first[k]) first[k] = std::move(results[k]);
      else equal("lstm", Window{}, first[k].get(), results[k].get(), sizes[k] * 4);
    }
  }
}

void test_attention(const Pools& pools) {
  const bool many = between(0, 3) == 0;
  Attention a{};
  a.examples = between(1, 3);
  a.queries = between(1, many ? 70 : 9);
  a.keys = between(1, many ? 90 : 40);
  a.key_heads = between(1, 3);
  a.heads = a.key_heads * between(1, 2);
  a.features = between(1, 40);
  a.mask_examples = between(0, 1) ? a.examples : 1;
  a.mask_heads = between(0, 1) ? a.heads : 1;
  a.mask_queries = between(0, 1) ? a.queries : 1;
  a.scale = 1 / std::sqrt(float(a.features));
  Array query = noise(a.query()), key = noise(a.key()), value = noise(a.key()), gradient = noise(a.query());
  std::vector<uint8_t> mask(a.mask());
  const int64_t masked = between(0, 3);
  for (uint8_t& m : mask) m = masked == 0 || between(0, masked) != 0;
  std::vector<double> output(a.query()), query_back(a.query()), key_back(a.key()), value_back(a.key());
  for (int64_t e = 0; e < a.examples; ++e)
    for (int64_t h = 0; h < a.heads; ++h)
      for (int64_t t = 0; t < a.queries; ++t) {
        const int64_t q = ((e * a.queries + t) * a.heads + h) * a.features;
        const auto k = [&](int64_t s) {
          return ((e * a.keys + s) * a.key_heads + h / (a.heads / a.key_heads)) * a.features;
        };
        const uint8_t* m = mask.data() + (((a.mask_examples > 1 ? e : 0) * a.mask_heads + (a.mask_heads > 1 ? h : 0)) *
                                              a.mask_queries + (a.mask_queries > 1 ? t : 0)) * a.keys;
        std::vector<double> weight(a.keys), slope(a.keys);
        double most = -INFINITY, sum = 0, mean = 0;
        for (int64_t s = 0; s < a.keys; ++s) {
          for (int64_t f = 0; f < a.features; ++f) weight[s] += double(query[q + f]) * key[k(s) + f] * a.scale;
          if (!m[s]) weight[s] = -0.7 * 3.4e38;
          most = std::max(most, weight[s]);
        }
        for (double& w : weight) sum += w = std::exp(w - most);
        for (int64_t s = 0; s < a.keys; ++s) {
          weight[s] /= sum;
          for (int64_t f = 0; f < a.features; ++f) {
            output[q + f] += weight[s] * value[k(s) + f];
            slope[s] += double(gradient[q + f]) * value[k(s) + f];
            value_back[k(s) + f] += weight[s] * gradient[q + f];
          }
          mean += weight[s] * slope[s];
        }
        for (int64_t s = 0; s < a.keys; ++s) {
          const double back = m[s] ? weight[s] * (slope[s] - mean) * a.scale : 0;
          for (int64_t f = 0; f < a.features; ++f) {
            query_back[q + f] += back * key[k(s) + f];
            key_back[k(s) + f] += back * query[q + f];
          }
        }
      }
  const std::vector<double>* expected[] = {&output, &query_back, &key_back, &value_back};
  Array first[4];
  for (const auto& threads : pools) {
    Array results[4], statistics = garbage(a.statistics());
    for (int n = 0; n < 4; ++n) results[n] = garbage(expected[n]->size());
    kernels()->attention(threads->pool, a, query.get(), key.get(), value.get(), mask.data(), results[0].get(),
                         statistics.get());
    kernels()->attention_gradient(threads->pool, a, query.get(), key.get(), value.get(), mask.data(),
                                  statistics.get(), gradient.get(), results[1].get(), results[2].get(),
                                  results[3].get());
    for (int n = 0; n < 4; ++n) {
      if (!first[n]) compare("attention", Window{}, results[n].get(), *expected[n], 10);
      if (!first[n]) first[n] = std::move(results[n]);
      else equal("attention", Window{}, first[n].get(), results[n].get(), expected[n]->size() * 4);
    }
  }
}

void test_adam(const Pools& pools) {
  const int64_t count = between(1, between(0, 1) ? 40 : 20000);
  const AdamStep step{0.1f, 0.001f, 1e-7f, count};
  const float rate = 0.01f;
  Array gradient = noise(count), value = noise(count), momentum = noise(count), velocity = noise(count);
  for (int64_t i = 0; i < count; ++i) velocity[i] = velocity[i] * velocity[i] + 1e-3f;
  spoil(gradient.get(), count);
  std::vector<double> expected[3];
  for (int64_t i = 0; i < count; ++i) {
    const double g = gradient[i], m = momentum[i] + (g - momentum[i]) * step.first;
    const double v = velocity[i] + (g * g - velocity[i]) * step.second;
    expected[0].push_back(value[i] - m * rate / (std::sqrt(v) + step.epsilon));
    expected[1].push_back(m);
    expected[2].push_back(v);
  }
  for (const auto& threads : pools) {
    // Where they were, as in training.
    Array results[3] = {array_of(count), array_of(count), array_of(count)};
    const float* given[3] = {value.get(), momentum.get(), velocity.get()};
    for (int k = 0; k < 3; ++k) memcpy(results[k].get(), given[k], count * 4);
    float *v = results[0].get(), *m = results[1].get(), *s = results[2].get();
    kernels()->adam(threads->pool, step, v, m, s, gradient.get(), &rate, v, m, s);
    for (int k = 0; k < 3; ++k) compare("adam", Window{}, results[k].get(), expected[k], 1);
  }
}

void test_rows(const Pools& pools) {
  const int64_t all = between(1, 50), length = between(1, 100), count = between(1, 200);
  const RowChoice choice{all, length, count};
  Array source = noise(all * length);
  std::vector<int32_t> rows(count);
  for (int32_t& row : rows) row = between(0, all - 1);
  for (const auto& threads : pools) {
    Array result = garbage(count * length);
    kernels()->take_rows(threads->pool, choice, source.get(), rows.data(), result.get());
    for (int64_t i = 0; i < count; ++i)
      equal("take_rows", Window{}, result.get() + i * length, source.get() + rows[i] * length, length * 4);
  }
}

void test_pooling(const Pool& pool) {
  const Window w = draw_window(true);
  Array image = noise(w.image()), gradient = noise(w.outputs());
  if (between(0, 3) == 0) image[between(0, w.image() - 1)] = NAN;
  if (between(0, 3) == 0) image[between(0, w.image() - 1)] = -INFINITY;
  const int64_t channels = w.channels_in;

  std::vector<float> best(w.outputs(), 0);
  std::vector<int64_t> tap_of(w.outputs(), -1), index_of(w.outputs(), -1);
  std::vector<double> sum(w.outputs(), 0), spread(w.image(), 0), routed(w.image(), 0);
  for_each_meeting(w, [&](int64_t i, int64_t tap, int64_t r) {
    for (int64_t c = 0; c < channels; ++c) {
      const int64_t to = r * channels + c, from = i * channels + c;
      const float value = image[from];
      sum[to] += value;
      spread[from] += gradient[to];
      if (tap_of[to] < 0 || value > best[to] || (value != value && best[to] == best[to])) {
        best[to] = value;
        tap_of[to] = tap;
        index_of[to] = from;
      }
    }
  });
  for (int64_t r = 0; r < w.outputs(); ++r) routed[index_of[r]] += gradient[r];

  Array result = garbage(w.outputs()), back = garbage(w.image());
  std::vector<uint8_t> argmax(w.outputs());
  kernels()->max_pool(pool, w, image.get(), result.get(), argmax.data());
  equal("max_pool", w, result.get(), best.data(), w.outputs() * 4);
  for (int64_t r = 0; r < w.outputs(); ++r)
    if (argmax[r] != tap_of[r] && failures++ < 10)
      printf("max_pool: argmax %d, expected %ld\n  %s\n", argmax[r], long(tap_of[r]), describe(w).c_str());
  kernels()->max_pool_gradient(pool, w, gradient.get(), argmax.data(), back.get());
  compare("max_pool_gradient", w, back.get(), routed, 10);
  kernels()->sum_pool_gradient(pool, w, gradient.get(), back.get());
  compare("sum_pool_gradient", w, back.get(), spread, 10);
  for (int64_t i = 0; i < w.image(); ++i)
    if (!std::isfinite(image[i])) return;
  kernels()->sum_pool(pool, w, image.get(), result.get());
  compare("sum_pool", w, result.get(), sum, 10);
}

#ifdef CORNU_CHECKED
void test_paths() {
  const char* const names[] = {
#define CORNU_PATH_NAME(name) #name,
      CORNU_PATHS(CORNU_PATH_NAME)};
  for (int path = 0; path < NUM_PATHS; ++path) {
    const bool possible = (path != PATH_gemm_pairs || multiplies_pairs()) &&
                          (path != PATH_gemm_streams || kernels()->lanes == 16);
    if (!possible || paths_taken[path]) continue;
    printf("no window took the path %s\n", names[path]);
    ++failures;
  }
}
#endif

// What one item throws reaches the caller, and the others are done nevertheless.
void test_failures(const Pool& pool) {
  std::atomic<int> done{0};
  bool caught = false;
  try {
    parallel_for(pool, 100, [&](int64_t item) {
      ++done;
      if (item % 40 == 7) throw std::bad_alloc();
    });
  } catch (const std::bad_alloc&) {
    caught = true;
  }
  // Alone, there is nobody else to do the rest.
  if (!caught || (pool.threads > 1 && done != 100)) {
    printf("a failure in %d threads: caught %d, done %d\n", pool.threads, caught, int(done));
    ++failures;
  }
}

// Threads in the place of processes: sums and gathered parts of several arrays, again and again.
void test_shared_sums(int64_t processes) {
  constexpr int64_t LARGEST = 150000, CALLS = 12;
  const int64_t floats = Sharing::bytes(processes) / 4;
  Array memory = array_of(floats);
  std::fill_n(memory.get(), floats, 0.0f);
  std::vector<std::vector<int64_t>> sizes(CALLS);
  for (auto& each : sizes)
    for (int64_t i = between(1, 4); i > 0; --i) each.push_back(between(1, between(0, 2) ? 700 : LARGEST));
  const auto number = [](int64_t process, int64_t call, int64_t array, int64_t i) {
    return float((process + 3) * 1000 + call * 37 + array * 11 + i % 101) / 7;
  };
  std::atomic<int> wrong{0}, refused{0};
  std::vector<std::thread> threads;
  for (int64_t rank = 0; rank < processes; ++rank)
    threads.emplace_back([&, rank] {
      Sharing sharing(memory.get(), rank, processes, rank % 2);
      for (int64_t call = 0; call < CALLS; ++call) {
        const bool gathers = call % 3 == 2;
        std::vector<Array> from, to;
        std::vector<Shared> arrays;
        for (const int64_t count : sizes[call]) {
          from.push_back(array_of(count));
          to.push_back(garbage(gathers ? count * processes : count));
          for (int64_t i = 0; i < count; ++i) from.back()[i] = number(rank, call, from.size(), i);
          arrays.push_back({from.back().get(), to.back().get(), count});
        }
        sharing.sum(arrays.data(), arrays.size(), Number::FLOAT32, call, gathers);
        for (size_t array = 0; array < arrays.size(); ++array)
          for (int64_t i = 0; i < arrays[array].count; ++i) {
            float sum = 0;
            for (int64_t process = 0; process < processes; ++process) {
              const float part = number(process, call, array + 1, i);
              if (gathers) wrong += to[array][process * arrays[array].count + i] != part;
              sum = process ? sum + part : part;
            }
            if (!gathers) wrong += to[array][i] != sum;
          }
      }
      // Somebody else's call.
      float x[2] = {1, 2}, y[2];
      const Shared other{x, y, rank ? 2 : 1};
      try {
        sharing.sum(&other, 1, Number::FLOAT32, 0, false);
      } catch (const std::invalid_argument&) {
        ++refused;
      }
    });
  for (std::thread& thread : threads) thread.join();
  if (wrong || refused != (processes > 1 ? processes : 0)) {
    printf("sums of %d processes: %d wrong, %d refused\n", int(processes), int(wrong), int(refused));
    ++failures;
  }
}

}  // namespace

int main(int argc, char** argv) {
  if (argc > 1 && std::string(argv[1]) == "speed") {
    print_speed(argc > 2 ? atoi(argv[2]) : 2);
    return 0;
  }
  const int windows = argc > 1 ? atoi(argv[1]) : 300;
  random_numbers.seed(argc > 2 ? atoi(argv[2]) : 0);
  Pools pools;
  for (int count : {1, 2, 3, 8}) pools.push_back(std::make_unique<Threads>(count));
  for (const auto& threads : pools) test_failures(threads->pool);
  test_rare_windows(pools);
  for (int turn = 0; turn < windows; ++turn) {
    const Window w = draw_window(false);
    Window pooled = w;
    draw_pool(pooled);
    test_plans(w);
    test_forward(pools, w);
    test_fusion(pools, pooled);
    test_prepared(pools, pooled);
    const auto before = random_numbers;
    test_bytes(pools, between(0, 1) ? pooled : w);
    test_bfloat16(pools, between(0, 1) ? pooled : w);
    random_numbers = before;
    if (between(0, 1)) test_gradients(pools, w, false);
    else test_gradients(pools, pooled, true);
    test_pairs(pools);
    test_reductions(pools);
    test_bias_gradient(pools);
    test_curves(pools);
    test_adam(pools);
    test_rows(pools);
    test_pooling(pools[1]->pool);
    // So that a seed gives the same windows, whatever these draw.
    const auto drawn = random_numbers;
    test_lstm(pools);
    test_attention(pools);
    if (turn < 10) test_shared_sums(1 + turn % 5);
    random_numbers = drawn;
  }
#ifdef CORNU_CHECKED
  if (windows >= ENOUGH) test_paths();
#endif
  printf("%s: %d windows, %d failures\n", kernels()->name, windows, failures);
  return failures > 0;
}
