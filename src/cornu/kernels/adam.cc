// A step of the optimizer Adam: each number of a weight, its two averages and its gradient are read once.

#include <algorithm>

#include "kernels.h"
#include "vector.h"

CORNU_BEGIN

void adam(const Pool& pool, const AdamStep& step, const float* value, const float* momentum,
          const float* velocity, const float* gradient, const float* learning_rate, float* new_value,
          float* new_momentum, float* new_velocity) {
  constexpr int64_t PART = 4096;
  const int64_t count = step.count;
  const Vector first = broadcast(step.first), second = broadcast(step.second);
  const Vector rate = broadcast(*learning_rate), epsilon = broadcast(step.epsilon);
  parallel_for(pool, (count + PART - 1) / PART, [&](int64_t part) {
    const int64_t end = std::min(count, (part + 1) * PART);
    for (int64_t i = part * PART; i < end; i += LANES) {
      const int64_t left = end - i;
      const Vector g = load_first(gradient + i, left);
      Vector m = load_first(momentum + i, left), v = load_first(velocity + i, left);
      m += (g - m) * first;
      v += (g * g - v) * second;
      store_first(new_momentum + i, m, left);
      store_first(new_velocity + i, v, left);
      store_first(new_value + i, load_first(value + i, left) - m * rate / (square_root(v) + epsilon), left);
    }
  });
}

CORNU_END
