// Every kernel beside plain loops, over windows drawn at random, and the speed of each.
//
//   selftest [windows [seed]]    compare; the exit status is 1 if anything differs
//   selftest speed               GFLOP/s of a few layers
//
// Arrays are allocated to the exact byte, so that a sanitizer or valgrind sees every overrun.

#include <algorithm>
#include <chrono>
#include <cmath>
#include <condition_variable>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <memory>
#include <mutex>
#include <random>
#include <string>
#include <vector>

#include "kernels.h"

using namespace cornu;

namespace {

// A pool of threads like XLA's.
class Threads {
 public:
  explicit Threads(int count) {
    for (int i = 1; i < count; ++i) threads_.emplace_back([this] { run(); });
    pool = {count, [this](std::function<void()> task) {
              {
                std::lock_guard<std::mutex> lock(mutex_);
                tasks_.push_back(std::move(task));
              }
              wake_.notify_one();
            }};
  }
  ~Threads() {
    {
      std::lock_guard<std::mutex> lock(mutex_);
      ends_ = true;
    }
    wake_.notify_all();
    for (std::thread& thread : threads_) thread.join();
  }
  Pool pool;

 private:
  void run() {
    for (;;) {
      std::function<void()> task;
      {
        std::unique_lock<std::mutex> lock(mutex_);
        wake_.wait(lock, [this] { return ends_ || !tasks_.empty(); });
        if (tasks_.empty()) return;
        task = std::move(tasks_.front());
        tasks_.pop_front();
      }
      task();
    }
  }
  std::vector<std::thread> threads_;
  std::deque<std::function<void()>> tasks_;
  std::mutex mutex_;
  std::condition_variable wake_;
  bool ends_ = false;
};

// Aligned as XLA's buffers are.
constexpr std::align_val_t ALIGNED{64};
struct Free {
  void operator()(float* array) const { operator delete[](array, ALIGNED); }
};
typedef std::unique_ptr<float[], Free> Array;
Array array_of(int64_t count) { return Array(new (ALIGNED) float[count]); }
std::mt19937 random_numbers(0);

int64_t between(int64_t low, int64_t high) {
  return std::uniform_int_distribution<int64_t>(low, high)(random_numbers);
}
Array noise(int64_t count) {
  Array array = array_of(count);
  std::normal_distribution<float> normal;
  for (int64_t i = 0; i < count; ++i) array[i] = normal(random_numbers);
  return array;
}
Array garbage(int64_t count) {
  Array array = array_of(count);
  std::fill_n(array.get(), count, NAN);
  return array;
}
// Now and then a number that is none.
void spoil(float* array, int64_t count) {
  if (between(0, 3) == 0) array[between(0, count - 1)] = between(0, 1) ? NAN : INFINITY;
}
int64_t product(const int64_t (&n)[3]) { return n[0] * n[1] * n[2]; }

struct Sizes {
  int64_t image, kernel, result;
  explicit Sizes(const Window& w)
      : image(w.batch * product(w.size) * w.channels_in),
        kernel(product(w.window) * (w.channels_in / w.groups) * w.channels_out),
        result(w.batch * product(w.output) * w.channels_out) {}
};

Window draw_window(bool pooling) {
  for (;;) {
    Window w;
    const int64_t rank = between(1, 3);
    w.batch = between(1, rank == 3 ? 4 : between(0, 3) ? 5 : 40);
    bool good = true;
    for (int a = 0; a < 3; ++a) {
      const bool used = a >= 3 - rank;
      w.size[a] = used ? between(1, rank == 1 ? 60 : rank == 2 ? 16 : 7) : 1;
      w.window[a] = used ? between(1, 5) : 1;
      w.strides[a] = used && between(0, 2) == 0 ? between(1, 4) : 1;
      w.dilation[a] = used && !pooling && between(0, 3) == 0 ? between(1, 3) : 1;
      const int64_t reach = (w.window[a] - 1) * w.dilation[a];
      w.before[a] = between(0, 1) && used ? between(0, pooling ? w.window[a] - 1 : reach) : 0;
      const int64_t after = between(0, 1) && used ? between(0, pooling ? w.window[a] - 1 : reach) : 0;
      w.output[a] = (w.size[a] + w.before[a] + after - reach - 1) / w.strides[a] + 1;
      good = good && w.size[a] + w.before[a] + after > reach;
      // No window of pooling lies in the padding alone.
      if (pooling && (w.output[a] - 1) * w.strides[a] - w.before[a] >= w.size[a]) good = false;
    }
    if (!good) continue;
    w.groups = pooling || between(0, 3) ? 1 : between(1, 6);
    w.channels_in = w.groups * between(1, between(0, 1) ? 5 : 40);
    w.channels_out = pooling ? w.channels_in : w.groups * between(1, between(0, 1) ? 8 : 70);
    if (!pooling && between(0, 5) == 0)  // a window of its own for every channel
      w.groups = w.channels_in = w.channels_out = between(2, 70);
    // Now and then a window that is computed by Winograd's method.
    if (rank == 2 && !pooling && between(0, 3) == 0) {
      w.groups = 1;
      const bool whole = between(0, 1);
      w.channels_in = whole ? 16 * between(1, 4) : between(8, 50);
      w.channels_out = whole ? 16 * between(1, 4) : between(8, 50);
      const int64_t side = between(0, 2) ? 3 : 5;
      const bool small = between(0, 4) == 0;  // these are cut in other tiles
      w.batch = small ? between(5, 12) : between(1, 4);
      for (int a = 1; a < 3; ++a) {
        w.size[a] = small ? between(5, 6) : between(5, 17);
        w.window[a] = side;
        w.strides[a] = w.dilation[a] = 1;
        w.before[a] = small ? 1 : between(0, side - 1);
        w.output[a] = w.size[a] + w.before[a] + (small ? side - 2 : between(0, side - 1)) - (side - 1);
      }
    }
    // Or a dense layer, of one example perhaps.
    if (rank == 1 && !pooling && between(0, 2) == 0) {
      w.groups = 1;
      w.batch = between(0, 2) ? between(2, 60) : 1;
      w.size[2] = w.output[2] = w.window[2] = w.strides[2] = w.dilation[2] = 1;
      w.before[2] = 0;
      w.channels_in = between(1, 200);
      w.channels_out = between(0, 1) ? between(1, 200) : 16 * between(1, 20);
      if (between(0, 8) == 0) {  // of wide examples
        w.batch = between(250, 260);
        w.channels_in = between(1040, 1100);
        w.channels_out = between(1, 40);
      }
    }
    // And a kernel that is too large for a sum of each part of the images.
    if (rank == 2 && !pooling && between(0, 15) == 0) {
      w.groups = 1;
      w.batch = between(8, 10);
      for (int a = 1; a < 3; ++a) {
        w.size[a] = w.window[a] = 3;
        w.strides[a] = w.dilation[a] = 1;
        w.before[a] = between(0, 1);
        w.output[a] = 1 + w.before[a];
      }
      w.channels_in = between(180, 190);
      w.channels_out = between(180, 190);
    }
    if (product(w.window) * w.channels_in * w.channels_out * product(w.output) * w.batch > 40000000)
      continue;
    return w;
  }
}

std::string describe(const Window& w) {
  char text[400];
  snprintf(text, sizeof text,
           "batch %ld size %ld %ld %ld output %ld %ld %ld window %ld %ld %ld strides %ld %ld %ld "
           "dilation %ld %ld %ld before %ld %ld %ld channels %ld %ld groups %ld",
           long(w.batch), long(w.size[0]), long(w.size[1]), long(w.size[2]), long(w.output[0]),
           long(w.output[1]), long(w.output[2]), long(w.window[0]), long(w.window[1]),
           long(w.window[2]), long(w.strides[0]), long(w.strides[1]), long(w.strides[2]),
           long(w.dilation[0]), long(w.dilation[1]), long(w.dilation[2]), long(w.before[0]),
           long(w.before[1]), long(w.before[2]), long(w.channels_in), long(w.channels_out),
           long(w.groups));
  return text;
}

// Call function(image index, kernel place, result index) for all that meet; without channels.
template <class Function>
void for_each_meeting(const Window& w, const Function& function) {
  int64_t o[3], k[3];
  for (int64_t n = 0; n < w.batch; ++n)
    for (o[0] = 0; o[0] < w.output[0]; ++o[0])
      for (o[1] = 0; o[1] < w.output[1]; ++o[1])
        for (o[2] = 0; o[2] < w.output[2]; ++o[2])
          for (k[0] = 0; k[0] < w.window[0]; ++k[0])
            for (k[1] = 0; k[1] < w.window[1]; ++k[1])
              for (k[2] = 0; k[2] < w.window[2]; ++k[2]) {
                int64_t image = n, result = n, place = 0;
                bool inside = true;
                for (int a = 0; a < 3; ++a) {
                  const int64_t at = o[a] * w.strides[a] + k[a] * w.dilation[a] - w.before[a];
                  inside = inside && at >= 0 && at < w.size[a];
                  image = image * w.size[a] + at;
                  result = result * w.output[a] + o[a];
                  place = place * w.window[a] + k[a];
                }
                if (inside) function(image, place, result);
              }
}
template <class Function>
void for_each_product(const Window& w, const Function& function) {
  const int64_t in = w.channels_in / w.groups, out = w.channels_out / w.groups;
  for_each_meeting(w, [&](int64_t image, int64_t place, int64_t result) {
    for (int64_t g = 0; g < w.groups; ++g)
      for (int64_t i = 0; i < in; ++i)
        for (int64_t o = 0; o < out; ++o)
          function(image * w.channels_in + g * in + i,
                   (place * in + i) * w.channels_out + g * out + o,
                   result * w.channels_out + g * out + o);
  });
}

int failures = 0;
void compare(const char* what, const Window& w, const float* came, const std::vector<double>& expected,
             double scale) {
  for (size_t i = 0; i < expected.size(); ++i) {
    if (std::abs(came[i] - expected[i]) <= 1e-5 * scale) continue;
    if (came[i] == expected[i] || (std::isnan(came[i]) && std::isnan(expected[i]))) continue;
    if (failures++ < 10)
      printf("%s: element %zu is %g, expected %g\n  %s\n", what, i, came[i], expected[i],
             describe(w).c_str());
    return;
  }
}
void equal(const char* what, const Window& w, const void* a, const void* b, int64_t bytes) {
  if (memcmp(a, b, bytes) == 0) return;
  if (failures++ < 10) printf("%s: other bits with other threads\n  %s\n", what, describe(w).c_str());
}

// Puts a gradient back to where it was picked from.
Array put_back(const Window& w, const float* gradient, const Picks& picks) {
  const Sizes sizes(w);
  Array full = array_of(sizes.result);
  std::fill_n(full.get(), sizes.result, 0.0f);
  int64_t pooled[3], o[3];
  for (int a = 0; a < 3; ++a) pooled[a] = w.output[a] / picks.pool[a];
  int64_t at = 0;
  for (int64_t n = 0; n < w.batch; ++n)
    for (o[0] = 0; o[0] < pooled[0]; ++o[0])
      for (o[1] = 0; o[1] < pooled[1]; ++o[1])
        for (o[2] = 0; o[2] < pooled[2]; ++o[2])
          for (int64_t c = 0; c < w.channels_out; ++c, ++at) {
            const int64_t pick = picks.bytes[at];
            if (pick == DEAD) continue;
            const int64_t place[3] = {pick / (picks.pool[1] * picks.pool[2]),
                                      pick / picks.pool[2] % picks.pool[1], pick % picks.pool[2]};
            int64_t index = n;
            for (int a = 0; a < 3; ++a)
              index = index * w.output[a] + o[a] * picks.pool[a] + place[a];
            full[index * w.channels_out + c] = gradient[at];
          }
  return full;
}

void test_convolution(const std::vector<std::unique_ptr<Threads>>& pools) {
  const Window w = draw_window(false);
  const Sizes sizes(w);
  const double seen = product(w.window) * double(w.channels_in / w.groups);
  Array image = noise(sizes.image), kernel = noise(sizes.kernel), bias = noise(w.channels_out);
  const bool biased = between(0, 1), relu = between(0, 1);
  spoil(image.get(), sizes.image);

  std::vector<double> expected(sizes.result);
  for_each_product(w, [&](int64_t i, int64_t k, int64_t r) { expected[r] += double(image[i]) * kernel[k]; });
  for (int64_t r = 0; r < sizes.result; ++r) {
    if (biased) expected[r] += bias[r % w.channels_out];
    if (relu && expected[r] < 0) expected[r] = 0;
  }
  Array first;
  for (const auto& threads : pools) {
    Array result = garbage(sizes.result);
    kernels()->convolution(threads->pool, w, image.get(), kernel.get(), biased ? bias.get() : nullptr,
                           relu ? RELU : LINEAR, result.get());
    if (!first) {
      compare("convolution", w, result.get(), expected, 10 + std::sqrt(seen));
      first = std::move(result);
    } else {
      equal("convolution", w, first.get(), result.get(), sizes.result * 4);
    }
  }

  image = noise(sizes.image);

  // The fused form beside the kernels that it replaces, bit by bit.
  int64_t pooling[3], pooled_size = w.batch * w.channels_out;
  Window pool_window = w;
  for (int a = 0; a < 3; ++a) {
    pooling[a] = std::min(between(1, 3), w.output[a]);
    pooled_size *= w.output[a] / pooling[a];
    pool_window.size[a] = w.output[a];
    pool_window.window[a] = pool_window.strides[a] = pooling[a];
    pool_window.output[a] = w.output[a] / pooling[a];
    pool_window.before[a] = 0;
  }
  pool_window.channels_in = w.channels_out;
  // Where a number that is none is left out, the two may go different ways to nearly the same bits.
  if (product(pool_window.output) * product(pooling) == product(w.output))
    spoil(image.get(), sizes.image);
  Array rectified = garbage(sizes.result), best = garbage(pooled_size);
  std::vector<uint8_t> places(pooled_size), picked_places(pooled_size);
  kernels()->convolution(pools[0]->pool, w, image.get(), kernel.get(), bias.get(), RELU, rectified.get());
  kernels()->max_pool(pools[0]->pool, pool_window, rectified.get(), best.get(), places.data());
  for (const auto& threads : pools) {
    Array result = garbage(pooled_size);
    kernels()->convolution_relu_pool(threads->pool, w, pooling, image.get(), kernel.get(), bias.get(),
                                     result.get(), picked_places.data());
    for (int64_t r = 0; r < pooled_size; ++r) {
      const uint8_t expected_place = best[r] > 0 ? places[r] : DEAD;
      const bool same = result[r] == best[r] || (result[r] != result[r] && best[r] != best[r]);
      if ((!same || picked_places[r] != expected_place) && failures++ < 10)
        printf("convolution_relu_pool: %g from %d, expected %g from %d, %ld %ld %ld\n  %s\n", result[r],
               picked_places[r], best[r], expected_place, long(pooling[0]), long(pooling[1]),
               long(pooling[2]), describe(w).c_str());
    }
  }
  image = noise(sizes.image);

  Picks picks;
  std::vector<uint8_t> bytes;
  int64_t given = w.batch * w.channels_out;
  const bool picked = between(0, 1);
  for (int a = 0; a < 3; ++a) {
    picks.pool[a] = picked ? std::min(between(1, 3), w.output[a]) : 1;
    given *= w.output[a] / picks.pool[a];
  }
  if (picked) {
    bytes.resize(given);
    for (uint8_t& byte : bytes) byte = between(0, 2) ? between(0, product(picks.pool) - 1) : DEAD;
    picks.bytes = bytes.data();
  }
  Array gradient = noise(given), full;
  spoil(gradient.get(), given);
  if (picked) full = put_back(w, gradient.get(), picks);
  const float* g = picked ? full.get() : gradient.get();

  expected.assign(sizes.image, 0);
  for_each_product(w, [&](int64_t i, int64_t k, int64_t r) { expected[i] += double(g[r]) * kernel[k]; });
  first.reset();
  for (const auto& threads : pools) {
    Array result = garbage(sizes.image);
    kernels()->input_gradient(threads->pool, w, gradient.get(), picks, kernel.get(), result.get());
    if (!first) {
      compare(picked ? "picked input_gradient" : "input_gradient", w, result.get(), expected,
              10 + std::sqrt(product(w.window) * double(w.channels_out)));
      first = std::move(result);
    } else {
      equal("input_gradient", w, first.get(), result.get(), sizes.image * 4);
    }
  }

  gradient = noise(given);
  if (picked) full = put_back(w, gradient.get(), picks);
  g = picked ? full.get() : gradient.get();
  spoil(image.get(), sizes.image);
  expected.assign(sizes.kernel, 0);
  for_each_product(w, [&](int64_t i, int64_t k, int64_t r) { expected[k] += double(g[r]) * image[i]; });
  first.reset();
  for (const auto& threads : pools) {
    Array result = garbage(sizes.kernel);
    kernels()->kernel_gradient(threads->pool, w, image.get(), gradient.get(), picks, result.get());
    if (!first) {
      compare(picked ? "picked kernel_gradient" : "kernel_gradient", w, result.get(), expected,
              10 + std::sqrt(w.batch * double(product(w.output))));
      first = std::move(result);
    } else {
      equal("kernel_gradient", w, first.get(), result.get(), sizes.kernel * 4);
    }
  }
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

void test_pairs(const std::vector<std::unique_ptr<Threads>>& pools) {
  if (!multiplies_pairs()) return;
  Window w = draw_window(false);
  w.channels_in *= 2;
  w.channels_out *= 2;
  const Sizes sizes(w);
  const double seen = product(w.window) * double(w.channels_in / w.groups);
  Array image = noise(sizes.image), kernel = noise(sizes.kernel), bias = noise(w.channels_out);
  spoil(image.get(), sizes.image);
  const auto half_image = halves_of(image.get(), sizes.image);
  const auto half_kernel = halves_of(kernel.get(), sizes.kernel);
  std::vector<double> expected(sizes.result);
  for_each_product(w, [&](int64_t i, int64_t k, int64_t r) { expected[r] += double(image[i]) * kernel[k]; });
  std::vector<uint16_t> first;
  for (const auto& threads : pools) {
    std::vector<uint16_t> result(sizes.result, 0xffff);
    kernels()->convolution_of_pairs(threads->pool, w, half_image.data(), half_kernel.data(), result.data());
    if (first.empty()) compare_halves("convolution_of_pairs", w, first = result, expected, 10 + std::sqrt(seen));
    else equal("convolution_of_pairs", w, first.data(), result.data(), sizes.result * 2);
  }

  for (int64_t r = 0; r < sizes.result; ++r) {
    expected[r] += bias[r % w.channels_out];
    if (expected[r] < 0) expected[r] = 0;
  }
  const int64_t single[3] = {1, 1, 1};
  for (const auto& threads : pools) {
    Array result = garbage(sizes.result);
    std::vector<uint8_t> picks(sizes.result);
    kernels()->convolution_relu_pool_of_pairs(threads->pool, w, single, half_image.data(),
                                              half_kernel.data(), bias.get(), result.get(), picks.data());
    compare("convolution_relu_pool_of_pairs", w, result.get(), expected, 10 + std::sqrt(seen));
    for (int64_t r = 0; r < sizes.result; ++r)
      if (picks[r] != (result[r] > 0 ? 0 : DEAD) && failures++ < 10)
        printf("convolution_relu_pool_of_pairs: %g was picked from %d\n", result[r], picks[r]);
  }

  Array gradient = noise(sizes.result);
  spoil(gradient.get(), sizes.result);
  const auto half_gradient = halves_of(gradient.get(), sizes.result);
  expected.assign(sizes.image, 0);
  for_each_product(w, [&](int64_t i, int64_t k, int64_t r) { expected[i] += double(gradient[r]) * kernel[k]; });
  first.clear();
  for (const auto& threads : pools) {
    std::vector<uint16_t> result(sizes.image, 0xffff);
    kernels()->input_gradient_of_pairs(threads->pool, w, half_gradient.data(), half_kernel.data(), result.data());
    if (first.empty())
      compare_halves("input_gradient_of_pairs", w, first = result, expected,
                     10 + std::sqrt(product(w.window) * double(w.channels_out)));
    else equal("input_gradient_of_pairs", w, first.data(), result.data(), sizes.image * 2);
  }
}

void test_reductions(const std::vector<std::unique_ptr<Threads>>& pools) {
  const bool wide = between(0, 1);
  const int64_t outer = between(0, 1) ? 1 : between(2, 40), inner = wide ? between(16, 90) : between(1, 20);
  const int64_t places = between(1, outer == 1 ? 9000 : 500), count = outer * places * inner;
  Array x = noise(count), first[2];
  std::vector<double> expected[2] = {std::vector<double>(outer * inner),
                                     std::vector<double>(outer * inner, -INFINITY)};
  for (int64_t i = 0; i < count; ++i) {
    const int64_t at = i / (places * inner) * inner + i % inner;
    expected[0][at] += x[i];
    expected[1][at] = std::max(expected[1][at], double(x[i]));
  }
  const Window none{};
  for (const auto& threads : pools)
    for (int way = 0; way < 2; ++way) {
      const char* name = way ? "largest" : "sum";
      Array result = garbage(outer * inner);
      (way ? kernels()->largest : kernels()->sum)(threads->pool, x.get(), outer, places, inner, result.get());
      if (!first[way]) {
        compare(name, none, result.get(), expected[way], way ? 0 : 10 + std::sqrt(double(places)));
        first[way] = std::move(result);
      } else {
        equal(name, none, first[way].get(), result.get(), outer * inner * 4);
      }
    }
}

void test_channel_sum(const std::vector<std::unique_ptr<Threads>>& pools) {
  const int64_t places = between(1, 3000), channels = between(1, 70);
  Array gradient = noise(places * channels), first;
  std::vector<uint8_t> picks(places * channels);
  std::vector<double> expected(channels);
  for (int64_t i = 0; i < places * channels; ++i) {
    picks[i] = between(0, 1) ? between(0, 8) : DEAD;
    if (picks[i] != DEAD) expected[i % channels] += gradient[i];
  }
  const Window none{};
  for (const auto& threads : pools) {
    Array result = garbage(channels);
    kernels()->channel_sum(threads->pool, gradient.get(), picks.data(), places, channels, result.get());
    if (!first) {
      compare("channel_sum", none, result.get(), expected, 10 + std::sqrt(double(places)));
      first = std::move(result);
    } else {
      equal("channel_sum", none, first.get(), result.get(), channels * 4);
    }
  }
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
void test_curve(const char* what, const std::vector<std::unique_ptr<Threads>>& pools, Curve curve,
                CurveGradient curve_gradient, double most, const Value& value, const Slope& slope) {
  const int64_t places = between(1, between(0, 1) ? 20 : 3000);
  const int64_t channels = between(1, between(0, 3) ? 20 : 300), count = places * channels;
  Array image = noise(count), bias = noise(channels), gradient = noise(count), first[3];
  const float scale = std::pow(10.0f, between(-6, 2));
  for (int64_t i = 0; i < count; ++i) image[i] *= scale;
  for (int64_t c = 0; c < channels; ++c) bias[c] *= scale;
  spoil(image.get(), count);
  std::vector<double> expected(count), back(count), total(channels);
  for (int64_t i = 0; i < count; ++i) expected[i] = double(image[i] + bias[i % channels]);
  for (int64_t p = 0; p < places; ++p) value(expected.data() + p * channels, channels);
  const Window none{};
  for (const auto& threads : pools) {
    Array results[3] = {garbage(count), garbage(count), garbage(channels)};
    curve(threads->pool, image.get(), bias.get(), places, channels, results[0].get());
    curve_gradient(threads->pool, gradient.get(), results[0].get(), places, channels, results[1].get(),
                   results[2].get());
    if (!first[0]) {
      for (int64_t p = 0; p < places; ++p)
        slope(gradient.get() + p * channels, results[0].get() + p * channels, channels, back.data() + p * channels);
      for (int64_t i = 0; i < count; ++i) total[i % channels] += back[i];
      compare_each(what, results[0].get(), expected, most);
      compare(what, none, results[1].get(), back, 1);
      compare(what, none, results[2].get(), total, 10 + std::sqrt(double(places)));
    }
    const int64_t sizes[3] = {count, count, channels};
    for (int k = 0; k < 3; ++k) {
      if (!first[k]) first[k] = std::move(results[k]);
      else equal(what, none, first[k].get(), results[k].get(), sizes[k] * 4);
    }
  }
}

void test_curves(const std::vector<std::unique_ptr<Threads>>& pools) {
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

void test_adam(const std::vector<std::unique_ptr<Threads>>& pools) {
  const int64_t count = between(1, between(0, 1) ? 40 : 20000);
  const Step step{0.1f, 0.001f, 0.01f, 1e-7f};
  Array gradient = noise(count), value = noise(count), momentum = noise(count), velocity = noise(count);
  for (int64_t i = 0; i < count; ++i) velocity[i] = velocity[i] * velocity[i] + 1e-3f;
  spoil(gradient.get(), count);
  std::vector<double> expected[3];
  for (int64_t i = 0; i < count; ++i) {
    const double g = gradient[i], m = momentum[i] + (g - momentum[i]) * step.first;
    const double v = velocity[i] + (g * g - velocity[i]) * step.second;
    expected[0].push_back(value[i] - m * step.rate / (std::sqrt(v) + step.epsilon));
    expected[1].push_back(m);
    expected[2].push_back(v);
  }
  for (const auto& threads : pools) {
    // Where they were, as in training.
    Array results[3] = {array_of(count), array_of(count), array_of(count)};
    const float* given[3] = {value.get(), momentum.get(), velocity.get()};
    for (int k = 0; k < 3; ++k) memcpy(results[k].get(), given[k], count * 4);
    float *v = results[0].get(), *m = results[1].get(), *s = results[2].get();
    kernels()->adam(threads->pool, step, count, v, m, s, gradient.get(), v, m, s);
    for (int k = 0; k < 3; ++k) compare("adam", Window{}, results[k].get(), expected[k], 1);
  }
}

void test_rows(const std::vector<std::unique_ptr<Threads>>& pools) {
  const int64_t all = between(1, 50), length = between(1, 100), count = between(1, 200);
  Array source = noise(all * length);
  std::vector<int32_t> rows(count);
  for (int32_t& row : rows) row = between(0, all - 1);
  for (const auto& threads : pools) {
    Array result = garbage(count * length);
    kernels()->take_rows(threads->pool, source.get(), rows.data(), count, length, result.get());
    for (int64_t i = 0; i < count; ++i)
      equal("take_rows", Window{}, result.get() + i * length, source.get() + rows[i] * length, length * 4);
  }
}

void test_pooling(const Pool& pool) {
  const Window w = draw_window(true);
  const Sizes sizes(w);
  Array image = noise(sizes.image), gradient = noise(sizes.result);
  if (between(0, 3) == 0) image[between(0, sizes.image - 1)] = NAN;
  if (between(0, 3) == 0) image[between(0, sizes.image - 1)] = -INFINITY;
  const int64_t channels = w.channels_in;

  std::vector<float> best(sizes.result, 0);
  std::vector<int64_t> place_of(sizes.result, -1), index_of(sizes.result, -1);
  std::vector<double> sum(sizes.result, 0), spread(sizes.image, 0), routed(sizes.image, 0);
  for_each_meeting(w, [&](int64_t i, int64_t place, int64_t r) {
    for (int64_t c = 0; c < channels; ++c) {
      const int64_t to = r * channels + c, from = i * channels + c;
      const float value = image[from];
      sum[to] += value;
      spread[from] += gradient[to];
      if (place_of[to] < 0 || value > best[to] || (value != value && best[to] == best[to])) {
        best[to] = value;
        place_of[to] = place;
        index_of[to] = from;
      }
    }
  });
  for (int64_t r = 0; r < sizes.result; ++r) routed[index_of[r]] += gradient[r];

  Array result = garbage(sizes.result), back = garbage(sizes.image);
  std::vector<uint8_t> places(sizes.result);
  kernels()->max_pool(pool, w, image.get(), result.get(), places.data());
  equal("max_pool", w, result.get(), best.data(), sizes.result * 4);
  for (int64_t r = 0; r < sizes.result; ++r)
    if (places[r] != place_of[r] && failures++ < 10)
      printf("max_pool: place %d, expected %ld\n  %s\n", places[r], long(place_of[r]), describe(w).c_str());
  kernels()->max_pool_gradient(pool, w, gradient.get(), places.data(), back.get());
  compare("max_pool_gradient", w, back.get(), routed, 10);
  kernels()->sum_pool_gradient(pool, w, gradient.get(), back.get());
  compare("sum_pool_gradient", w, back.get(), spread, 10);
  for (int64_t i = 0; i < sizes.image; ++i)
    if (!std::isfinite(image[i])) return;
  kernels()->sum_pool(pool, w, image.get(), result.get());
  compare("sum_pool", w, result.get(), sum, 10);
}

double seconds() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}
template <class Function>
double best_time(const Function& function) {
  double best = 1e9;
  const double end = seconds() + 0.4;
  for (int turn = 0; turn < 5 || seconds() < end; ++turn) {
    const double start = seconds();
    function();
    best = std::min(best, seconds() - start);
  }
  return best;
}

void speed(int threads) {
  Threads workers(threads);
  struct Layer {
    const char* name;
    int64_t batch, side, in, out, window, stride, before, after;
  };
  const Layer layers[] = {
      {"28x28x1 -> 32, 3x3 valid", 128, 28, 1, 32, 3, 1, 0, 0},
      {"13x13x32 -> 64, 3x3 valid", 128, 13, 32, 64, 3, 1, 0, 0},
      {"32x32x3 -> 32, 3x3 same", 128, 32, 3, 32, 3, 1, 1, 1},
      {"16x16x32 -> 64, 3x3 same", 128, 16, 32, 64, 3, 1, 1, 1},
      {"8x8x64 -> 64, 3x3 same", 128, 8, 64, 64, 3, 1, 1, 1},
      {"4x4x128 -> 128, 3x3 same", 128, 4, 128, 128, 3, 1, 1, 1},
      {"28x28x1 -> 10, 5x5 valid", 10, 28, 1, 10, 5, 1, 0, 0},
      {"28x28x1 -> 64, 3x3 same", 128, 28, 1, 64, 3, 1, 1, 1},
      {"14x14x64 -> 32, 3x3 same", 128, 14, 64, 32, 3, 1, 1, 1},
      {"28x28x64 -> 32, 3x3 same", 128, 28, 64, 32, 3, 1, 1, 1},
      {"12x12x32 -> 64, 5x5 valid", 128, 12, 32, 64, 5, 1, 0, 0},
      {"14x14x6 -> 16, 5x5 valid", 128, 14, 6, 16, 5, 1, 0, 0},
      {"14x14x8 -> 16, 5x5 same", 128, 14, 8, 16, 5, 1, 2, 2},
      {"14x14x8 -> 16, 3x3 same", 128, 14, 8, 16, 3, 1, 1, 1},
      {"7x7x16 -> 24, 5x5 same", 128, 7, 16, 24, 5, 1, 2, 2},
      {"7x7x16 -> 24, 3x3 same", 128, 7, 16, 24, 3, 1, 1, 1},
      {"14x14x32 -> 8, 1x1", 128, 14, 32, 8, 1, 1, 0, 0},
      {"7x7x64 -> 24, 1x1", 128, 7, 64, 24, 1, 1, 0, 0},
      {"14x14x64 -> 128, 1x1", 64, 14, 64, 128, 1, 1, 0, 0},
      {"32x32x32 -> 64, 3x3 same, stride 2", 64, 32, 32, 64, 3, 2, 0, 1},
      {"7x7x32 -> 64, 3x3 same, stride 2", 128, 7, 32, 64, 3, 2, 1, 1},
      {"4x4x64 -> 64, 3x3 same", 128, 4, 64, 64, 3, 1, 1, 1},
      {"56x56x64 -> 64, 3x3 same", 8, 56, 64, 64, 3, 1, 1, 1},
      {"7x7x512 -> 512, 3x3 same", 8, 7, 512, 512, 3, 1, 1, 1},
  };
  printf("%s, %d threads: GFLOP/s of forward, gradient of the image, gradient of the kernel\n",
         kernels()->name, threads);
  for (const Layer& layer : layers) {
    Window w{};
    w.batch = layer.batch;
    for (int a = 0; a < 3; ++a) w.size[a] = w.output[a] = w.window[a] = w.strides[a] = w.dilation[a] = 1;
    for (int a = 1; a < 3; ++a) {
      w.size[a] = layer.side;
      w.window[a] = layer.window;
      w.strides[a] = layer.stride;
      w.before[a] = layer.before;
      w.output[a] = (layer.side + layer.before + layer.after - layer.window) / layer.stride + 1;
    }
    w.channels_in = layer.in;
    w.channels_out = layer.out;
    w.groups = 1;
    const Sizes sizes(w);
    Array image = noise(sizes.image), kernel = noise(sizes.kernel), result = noise(sizes.result);
    Array back = noise(sizes.image), change = noise(sizes.kernel);
    const double flops = 2.0 * product(w.window) * layer.in * sizes.result;
    const int64_t pooling[3] = {1, 2, 2};
    std::vector<uint8_t> bytes(sizes.result / 4);
    double fused[3];
    fused[0] = best_time([&] { kernels()->convolution_relu_pool(workers.pool, w, pooling, image.get(), kernel.get(), kernel.get(), result.get(), bytes.data()); });
    for (uint8_t& byte : bytes) byte = between(0, 1) ? between(0, 3) : DEAD;
    const Picks picks{bytes.data(), {1, 2, 2}};
    fused[1] = best_time([&] { kernels()->input_gradient(workers.pool, w, result.get(), picks, kernel.get(), back.get()); });
    fused[2] = best_time([&] { kernels()->kernel_gradient(workers.pool, w, image.get(), result.get(), picks, change.get()); });
    const double times[3] = {
        best_time([&] { kernels()->convolution(workers.pool, w, image.get(), kernel.get(), nullptr, LINEAR, result.get()); }),
        best_time([&] { kernels()->input_gradient(workers.pool, w, result.get(), Picks{}, kernel.get(), back.get()); }),
        best_time([&] { kernels()->kernel_gradient(workers.pool, w, image.get(), result.get(), Picks{}, change.get()); })};
    printf("%-36s", layer.name);
    for (double time : times) printf(" %7.1f (%6.3f ms)", flops / time / 1e9, time * 1e3);
    printf("  pooled:");
    for (double time : fused) printf(" %6.3f", time * 1e3);
    printf("\n");
  }
}

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

}  // namespace

int main(int argc, char** argv) {
  if (argc > 1 && std::string(argv[1]) == "speed") {
    speed(argc > 2 ? atoi(argv[2]) : 2);
    return 0;
  }
  const int windows = argc > 1 ? atoi(argv[1]) : 300;
  random_numbers.seed(argc > 2 ? atoi(argv[2]) : 0);
  std::vector<std::unique_ptr<Threads>> pools;
  for (int count : {1, 2, 3, 8}) pools.push_back(std::make_unique<Threads>(count));
  for (const auto& threads : pools) test_failures(threads->pool);
  for (int turn = 0; turn < windows; ++turn) {
    test_convolution(pools);
    test_pairs(pools);
    test_reductions(pools);
    test_channel_sum(pools);
    test_curves(pools);
    test_adam(pools);
    test_rows(pools);
    test_pooling(pools[1]->pool);
  }
  printf("%s: %d windows, %d failures\n", kernels()->name, windows, failures);
  return failures > 0;
}
