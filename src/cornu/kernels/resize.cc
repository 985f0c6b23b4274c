// Pictures of another size, for the threads that read them.
//
// Each number is a weighted sum of a few: first along the columns of a picture, then along its rows, as in
// cornu/utils/resizing.py, whose bits these are. So nothing here may be fused (CMakeLists.txt sees to that).

#include "kernels.h"
#include "vector.h"

CORNU_BEGIN

typedef float Four __attribute__((vector_size(16), aligned(4), may_alias));

// One row of the result, along the columns: `sum` gets `length` numbers.
template <class T>
static void along_columns(const T* image, int64_t stride, int64_t length, const Taps& taps, int64_t size, int64_t row,
                   float* sum) {
  if (!taps.count) {
    const T* from = image + row * stride;
    for (int64_t i = 0; i < length; ++i) sum[i] = float(from[i]);
    return;
  }
  const T* first = image + taps.indices[row] * stride;
  const float weight = taps.weights[row];
  if (taps.count == 2) {
    const T* second = image + taps.indices[size + row] * stride;
    const float other = taps.weights[size + row];
    for (int64_t i = 0; i < length; ++i) sum[i] = float(first[i]) * weight + float(second[i]) * other;
    return;
  }
  for (int64_t i = 0; i < length; ++i) sum[i] = float(first[i]) * weight;
  for (int64_t tap = 1; tap < taps.count; ++tap) {
    const T* from = image + taps.indices[tap * size + row] * stride;
    const float next = taps.weights[tap * size + row];
    for (int64_t i = 0; i < length; ++i) sum[i] += float(from[i]) * next;
  }
}

// One number for each of `channels`, from a row.
static inline void pixel(const float* row, int64_t channels, const Taps& taps, int64_t size, int64_t x, float* result) {
  for (int64_t c = 0; c < channels; ++c) {
    float sum = row[taps.indices[x] * channels + c] * taps.weights[x];
    for (int64_t tap = 1; tap < taps.count; ++tap)
      sum += row[taps.indices[tap * size + x] * channels + c] * taps.weights[tap * size + x];
    result[c] = sum;
  }
}

// A row of the result, along a row that may be read four numbers at a time.
static void along_row(const float* row, int64_t channels, const Taps& taps, int64_t size, float* result) {
  int64_t x = 0;
  // Of what is written too much, the next pixel takes the place; there is none behind the last one.
  if (channels == 3 || channels == 4)
    for (; x + 1 < size; ++x) {
      Four sum = *(const Four*)(row + taps.indices[x] * channels) * taps.weights[x];
      for (int64_t tap = 1; tap < taps.count; ++tap)
        sum += *(const Four*)(row + taps.indices[tap * size + x] * channels) * taps.weights[tap * size + x];
      *(Four*)(result + x * channels) = sum;
    }
  for (; x < size; ++x) pixel(row, channels, taps, size, x, result + x * channels);
}

template <class T>
static void resize_of(const T* image, const Picture& p, float* result) {
  const int64_t length = p.width * p.channels;
  Scratch row(length + 4);
  for (int64_t y = 0; y < p.height_of_result; ++y) {
    float* to = result + y * p.width_of_result * p.channels;
    along_columns(image, p.stride, length, p.columns, p.height_of_result, y, p.rows.count ? row.data() : to);
    if (p.rows.count) along_row(row.data(), p.channels, p.rows, p.width_of_result, to);
  }
}

void resize(const Picture& picture, const void* image, bool of_bytes, float* result) {
  if (of_bytes)
    resize_of(static_cast<const uint8_t*>(image), picture, result);
  else
    resize_of(static_cast<const float*>(image), picture, result);
}

CORNU_END
