// Chains of operations on single numbers, a piece that stays in the cache at a time, and copies.

#include "elementwise.h"

#include "curves.h"

CORNU_BEGIN
namespace {

constexpr int64_t PIECE = 1024;        // numbers
constexpr int64_t FOR_A_THREAD = 1 << 14;

CORNU_INLINE Vector power_of_e(Vector x) {
  const Vector half = exponential((x > 0 ? -x : x) * 0.5f), inverse = 1 / half;
  return x > 0 ? inverse * inverse : exponential(x);
}

template <Operation OPERATION>
CORNU_INLINE Vector apply(Vector x, Vector y) {
  if constexpr (OPERATION == ADD) return x + y;
  if constexpr (OPERATION == SUBTRACT) return x - y;
  if constexpr (OPERATION == SUBTRACT_FROM) return y - x;
  if constexpr (OPERATION == MULTIPLY) return x * y;
  if constexpr (OPERATION == DIVIDE) return x / y;
  if constexpr (OPERATION == DIVIDE_BY) return y / x;
  // NaN of either stays.
  if constexpr (OPERATION == MAXIMUM) return (x > y) | (x != x) ? x : y;
  if constexpr (OPERATION == MINIMUM) return (x < y) | (x != x) ? x : y;
  if constexpr (OPERATION == NEGATIVE) return -x;
  if constexpr (OPERATION == ABSOLUTE) return (Vector)((Integers)x & 0x7fffffff);
  if constexpr (OPERATION == SQUARE) return x * x;
  if constexpr (OPERATION == SQUARE_ROOT) return square_root(x);
  if constexpr (OPERATION == RECIPROCAL_ROOT) return 1 / square_root(x);
  if constexpr (OPERATION == EXPONENTIAL) return power_of_e(x);
  if constexpr (OPERATION == SIGMOID) return sigmoid_of(x);
  if constexpr (OPERATION == TANH) return tanh_of(x);
  if constexpr (OPERATION == SWISH) return x * sigmoid_of(x);
}

// `count` rows of a piece.
template <Operation OPERATION>
void apply_to(float* piece, int64_t count, int64_t channels, const Link& link, int64_t first, int64_t channel) {
  const int64_t all = count * channels;
  if (link.operand == CHANNELS) {
    for (int64_t row = 0; row < count; ++row, piece += channels)
      for (int64_t c = 0; c < channels; c += LANES)
        store_first(piece + c, apply<OPERATION>(load_first(piece + c, channels - c),
                                                load_first(link.numbers + channel + c, channels - c)),
                    channels - c);
    return;
  }
  if (link.operand == ALL) {
    for (int64_t i = 0; i < all; i += LANES)
      store_first(piece + i, apply<OPERATION>(load_first(piece + i, all - i),
                                              load_first(link.numbers + first + i, all - i)), all - i);
    return;
  }
  // The piece is filled up to a whole vector.
  const Vector scalar = broadcast(link.scalar);
  for (int64_t i = 0; i < all; i += LANES) store(piece + i, apply<OPERATION>(load(piece + i), scalar));
}

typedef void Applies(float*, int64_t, int64_t, const Link&, int64_t, int64_t);
template <int... NUMBER>
Applies* applying(int32_t operation, std::integer_sequence<int, NUMBER...>) {
  static constexpr Applies* each[] = {apply_to<Operation(NUMBER)>...};
  return each[operation];
}

}  // namespace

void run_chain(const Pool& pool, const Chain& chain, const void* from, float* to) {
  // A piece is some rows, or a part of a long one.
  const int64_t rows = std::max<int64_t>(1, PIECE / chain.channels);
  const int64_t width = std::min(chain.channels, PIECE);
  const int64_t across = (chain.channels + width - 1) / width, pieces = (chain.rows + rows - 1) / rows * across;
  const int64_t together = std::max<int64_t>(1, FOR_A_THREAD / (rows * width));
  parallel_for(pool, (pieces + together - 1) / together, [&](int64_t item) {
    float piece[PIECE + LANES] = {};
    for (int64_t number = item * together; number < std::min(pieces, (item + 1) * together); ++number) {
      const int64_t row = number / across * rows, channel = number % across * width;
      const int64_t count = std::min(rows, chain.rows - row), channels = std::min(width, chain.channels - channel);
      const int64_t first = row * chain.channels + channel, all = count * channels;
      if (chain.of_bytes) {
        const uint8_t* bytes = static_cast<const uint8_t*>(from) + first;
        for (int64_t i = 0; i < all; ++i) piece[i] = bytes[i];
      } else {
        memcpy(piece, static_cast<const float*>(from) + first, all * sizeof(float));
      }
      for (int64_t l = 0; l < chain.links; ++l)
        applying(chain.link[l].operation, std::make_integer_sequence<int, NUM_OPERATIONS>{})(
            piece, count, channels, chain.link[l], first, channel);
      memcpy(to + first, piece, all * sizeof(float));
    }
  });
}

void run_move(const Move& move, const float* from, float* to) {
  const int last = int(move.axes) - 1;
  int64_t at[MOST_AXES] = {};
  const int64_t count = move.size[last], from_step = move.from_step[last], to_step = move.to_step[last];
  for (;;) {
    if (from_step == 1 && to_step == 1) memcpy(to, from, count * sizeof(float));
    else for (int64_t i = 0; i < count; ++i) to[i * to_step] = from[i * from_step];
    int axis = last - 1;
    for (; axis >= 0; --axis) {
      from += move.from_step[axis], to += move.to_step[axis];
      if (++at[axis] < move.size[axis]) break;
      from -= move.size[axis] * move.from_step[axis], to -= move.size[axis] * move.to_step[axis];
      at[axis] = 0;
    }
    if (axis < 0) return;
  }
}

CORNU_END
