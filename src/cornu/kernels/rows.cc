// Rows of a large array: the pictures of a batch.

#include <algorithm>

#include "kernels.h"
#include "vector.h"

CORNU_BEGIN

void take_rows(const Pool& pool, const RowChoice& choice, const float* source, const int32_t* rows,
               float* result) {
  constexpr int64_t PART = 16;
  const int64_t count = choice.count, length = choice.length;
  parallel_for(pool, (count + PART - 1) / PART, [&](int64_t part) {
    const int64_t end = std::min(count, (part + 1) * PART);
    for (int64_t i = part * PART; i < end; ++i)
      if (rows[i] < 0 || rows[i] >= choice.all)
        refuse("there is no row ", rows[i]);
    for (int64_t i = part * PART; i < end; ++i) {
      // The processor does not guess where the next row is.
      const float *from = source + rows[i] * length, *next = source + rows[std::min(i + 1, end - 1)] * length;
      float* to = result + i * length;
      for (int64_t k = 0; k < length; k += LANES) {
        prefetch(next + k);
        store_first(to + k, load_first(from + k, length - k), length - k);
      }
    }
  });
}

CORNU_END
