// The rows of a PNG picture, from the differences to their neighbours that a file holds.
//
// Source: W3C, Portable Network Graphics (PNG) Specification, chapter 9: Filtering.

#include <cstdlib>
#include <cstring>
#include <vector>

#include "kernels.h"

namespace cornu {

enum Filter { NONE, SUB, UP, AVERAGE, PAETH };

// The nearest of three neighbours to `left + above - corner`.
static inline int paeth(int left, int above, int corner) {
  const int to_left = std::abs(above - corner), to_above = std::abs(left - corner);
  const int to_corner = std::abs(left + above - 2 * corner);
  if (to_left <= to_above && to_left <= to_corner) return left;
  return to_above <= to_corner ? above : corner;
}

template <int channels, int filter>
static void row_of(const uint8_t* differences, const uint8_t* row_above, int64_t length, uint8_t* row) {
  // Beside the first pixel there are zeros.
  int left[channels] = {}, corner[channels] = {};
  for (int64_t i = 0; i < length; i += channels)
    for (int c = 0; c < channels; ++c) {
      const int above = row_above[i + c];
      int value = differences[i + c];
      if (filter == SUB) value += left[c];
      if (filter == UP) value += above;
      if (filter == AVERAGE) value += (left[c] + above) / 2;
      if (filter == PAETH) value += paeth(left[c], above, corner[c]);
      row[i + c] = left[c] = uint8_t(value);
      corner[c] = above;
    }
}

template <int channels>
static bool rows_of(const uint8_t* from, int64_t rows, int64_t length, uint8_t* to) {
  const std::vector<uint8_t> zeros(length);
  const uint8_t* above = zeros.data();
  for (; rows > 0; --rows) {
    switch (*from++) {
      case NONE: std::memcpy(to, from, length); break;
      case SUB: row_of<channels, SUB>(from, above, length, to); break;
      case UP: row_of<channels, UP>(from, above, length, to); break;
      case AVERAGE: row_of<channels, AVERAGE>(from, above, length, to); break;
      case PAETH: row_of<channels, PAETH>(from, above, length, to); break;
      default: return false;
    }
    above = to, from += length, to += length;
  }
  return true;
}

bool rows_of_png(const uint8_t* from, int64_t rows, int64_t width, int64_t channels, uint8_t* to) {
  const int64_t length = width * channels;
  switch (channels) {
    case 1: return rows_of<1>(from, rows, length, to);
    case 3: return rows_of<3>(from, rows, length, to);
    case 4: return rows_of<4>(from, rows, length, to);
  }
  return false;
}

}  // namespace cornu
