// What the parts of the self-test share: threads, arrays to the exact byte, and windows drawn at random.
#pragma once

#include <algorithm>
#include <cmath>
#include <condition_variable>
#include <cstdio>
#include <cstring>
#include <deque>
#include <memory>
#include <mutex>
#include <random>
#include <string>
#include <vector>

#include "plan.h"

namespace cornu {

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
inline Array array_of(int64_t count) { return Array(new (ALIGNED) float[count]); }
inline std::mt19937 random_numbers(0);

inline int64_t between(int64_t low, int64_t high) {
  return std::uniform_int_distribution<int64_t>(low, high)(random_numbers);
}
inline Array noise(int64_t count) {
  Array array = array_of(count);
  std::normal_distribution<float> normal;
  for (int64_t i = 0; i < count; ++i) array[i] = normal(random_numbers);
  return array;
}
inline Array garbage(int64_t count) {
  Array array = array_of(count);
  std::fill_n(array.get(), count, NAN);
  return array;
}
// Now and then a NaN or an infinity.
enum class Spoiling { SOMETIMES, ALWAYS, NEVER };
inline Spoiling spoiling = Spoiling::SOMETIMES;
inline void spoil(float* array, int64_t count) {
  if (spoiling == Spoiling::ALWAYS || (spoiling == Spoiling::SOMETIMES && between(0, 3) == 0))
    array[between(0, count - 1)] = between(0, 1) ? NAN : INFINITY;
}

inline Window draw_window(bool pooling) {
  for (;;) {
    Window w;
    for (int64_t& side : w.pool) side = 1;
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

inline std::string describe(const Window& w) {
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

// Call function(image index, tap, result index) for all that meet; without channels.
template <class Function>
inline void for_each_meeting(const Window& w, const Function& function) {
  int64_t o[3], k[3];
  for (int64_t n = 0; n < w.batch; ++n)
    for (o[0] = 0; o[0] < w.output[0]; ++o[0])
      for (o[1] = 0; o[1] < w.output[1]; ++o[1])
        for (o[2] = 0; o[2] < w.output[2]; ++o[2])
          for (k[0] = 0; k[0] < w.window[0]; ++k[0])
            for (k[1] = 0; k[1] < w.window[1]; ++k[1])
              for (k[2] = 0; k[2] < w.window[2]; ++k[2]) {
                int64_t image = n, result = n, tap = 0;
                bool inside = true;
                for (int a = 0; a < 3; ++a) {
                  const int64_t at = o[a] * w.strides[a] + k[a] * w.dilation[a] - w.before[a];
                  inside = inside && at >= 0 && at < w.size[a];
                  image = image * w.size[a] + at;
                  result = result * w.output[a] + o[a];
                  tap = tap * w.window[a] + k[a];
                }
                if (inside) function(image, tap, result);
              }
}
template <class Function>
inline void for_each_product(const Window& w, const Function& function) {
  const int64_t in = w.channels_in / w.groups, out = w.channels_out / w.groups;
  for_each_meeting(w, [&](int64_t image, int64_t tap, int64_t result) {
    for (int64_t g = 0; g < w.groups; ++g)
      for (int64_t i = 0; i < in; ++i)
        for (int64_t o = 0; o < out; ++o)
          function(image * w.channels_in + g * in + i,
                   (tap * in + i) * w.channels_out + g * out + o,
                   result * w.channels_out + g * out + o);
  });
}

inline int failures = 0;
constexpr int ENOUGH = 60;  // windows that take every path of the kernels
inline void compare(const char* what, const Window& w, const float* came, const std::vector<double>& expected,
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
inline void equal(const char* what, const Window& w, const void* a, const void* b, int64_t bytes) {
  if (memcmp(a, b, bytes) == 0) return;
  if (failures++ < 10) printf("%s: other bits with other threads\n  %s\n", what, describe(w).c_str());
}

typedef std::vector<std::unique_ptr<Threads>> Pools;

// The plans of a window, beside plain loops.
void test_plans(const Window&);
// Print GFLOP/s of a few layers.
void print_speed(int threads);

}  // namespace cornu
