// A long short-term memory over a whole sequence, and the gradient through it.
//
// No example needs another one. So a thread takes a few of them through all steps, and their states and the
// weights stay in its cache. For each step
//
//   i, f, g, o = projected + output @ weights        sigmoid of i, f and o, tanh of g
//   carry = f * carry + i * g
//   output = o * tanh(carry)
//
// and where an example is not kept, output and carry stay as they were.

#include <algorithm>
#include <type_traits>

#include "curves.h"
#include "kernels.h"
#include "tile.h"

CORNU_BEGIN
namespace {

// Sums of so many examples, by four vectors of channels, are in registers.
constexpr int AT_ONCE = REGISTERS == 32 ? 6 : 2;

// Examples that one thread takes through all steps: more of them where the weights do not stay in a small cache.
int64_t block_of(const Recurrence& shape) { return shape.units <= 128 ? 6 : 12; }

// work(first example, how many as a constant): as many at once as there are registers for, then the rest.
template <int COUNT, class Work>
CORNU_INLINE void in_tiles(int64_t from, int64_t to, const Work& work) {
  for (; from + COUNT <= to; from += COUNT) work(from, std::integral_constant<int, COUNT>{});
  if constexpr (COUNT > 1) in_tiles<COUNT - 1>(from, to, work);
}

template <class Work>
void in_blocks(const Pool& pool, const Recurrence& shape, const Work& work) {
  const int64_t size = block_of(shape);
  parallel_for(pool, (shape.batch + size - 1) / size,
               [&](int64_t block) { work(block * size, std::min(shape.batch, (block + 1) * size)); });
}

// The columns of the four gates for a vector of units lie side by side, so that a tile has all that these units
// need: (units / LANES, units, 4, LANES).
void pack_gates(const float* weights, int64_t units, float* to) {
  for (int64_t first = 0; first < units; first += LANES)
    for (int64_t k = 0; k < units; ++k)
      for (int gate = 0; gate < 4; ++gate, to += LANES)
        store(to, load_first(weights + (4 * k + gate) * units + first, units - first));
}

// From gradients of `V` vectors of units, those of all that their gates were summed from.
template <int V>
void through_weights(const Recurrence& shape, const float* gates, int64_t from, int64_t to, const float* packed,
                     float* back) {
  const int64_t units = shape.units;
  in_tiles<AT_ONCE>(from, to, [&](int64_t row, auto count) {
    constexpr int P = decltype(count)::value;
    for (int64_t first = 0; first < units; first += V * LANES) {
      typedef Tile<1, P, V> Sums;
      Sums tile;
      Sums::clear(tile);
      Sums::template multiply<'j'>(tile, gates + row * 4 * units, 0, 4 * units, 1, packed + first * 4 * units,
                                   V * LANES, 4 * units);
      CORNU_UNROLL for (int p = 0; p < P; ++p)
        CORNU_UNROLL for (int v = 0; v < V; ++v) {
          const int64_t unit = first + v * LANES;
          if (unit >= units) break;
          float* sum = back + (row - from + p) * units + unit;
          store_first(sum, load_first(sum, units - unit) + tile.sum[p][v], units - unit);
        }
    }
  });
}

typedef void ThroughWeights(const Recurrence&, const float*, int64_t, int64_t, const float*, float*);
constexpr ThroughWeights* THROUGH_WEIGHTS[] = {through_weights<1>, through_weights<2>, through_weights<3>,
                                               through_weights<4>};

}  // namespace

void lstm(const Pool& pool, const Recurrence& shape, const float* projected, const float* weights,
          const float* first_output, const float* first_carry, const float* kept, float* gates, float* outputs,
          float* carries) {
  const int64_t units = shape.units, batch = shape.batch;
  const int64_t vectors = (units + LANES - 1) / LANES;
  Scratch packed(vectors * LANES * 4 * units);
  pack_gates(weights, units, packed.data());
  in_blocks(pool, shape, [&](int64_t begin, int64_t end) {
    const float *output = first_output, *carry = first_carry;
    for (int64_t step = 0; step < shape.steps; ++step) {
      const int64_t at = step * batch;
      in_tiles<AT_ONCE>(begin, end, [&](int64_t row, auto count) {
        constexpr int P = decltype(count)::value;
        typedef Tile<1, P, 4> Sums;
        for (int64_t first = 0; first < units; first += LANES) {
          const int64_t left = units - first;
          Sums tile;
          Sums::clear(tile);
          Sums::template multiply<'j'>(tile, output + row * units, 0, units, 1,
                                       packed.data() + first * 4 * units, 4 * LANES, units);
          CORNU_UNROLL for (int p = 0; p < P; ++p) {
            const int64_t of_gates = (at + row + p) * 4 * units + first, of_state = (row + p) * units + first;
            Vector gate[4];
            CORNU_UNROLL for (int n = 0; n < 4; ++n) {
              const Vector sum = load_first(projected + of_gates + n * units, left) + tile.sum[p][n];
              gate[n] = n == 2 ? tanh_of(sum) : sigmoid_of(sum);
              store_first(gates + of_gates + n * units, gate[n], left);
            }
            const Vector before = load_first(carry + of_state, left);
            const bool keep = kept[at + row + p] != 0;
            const Vector after = gate[1] * before + gate[0] * gate[2];
            store_first(carries + at * units + of_state, keep ? after : before, left);
            store_first(outputs + at * units + of_state,
                        keep ? gate[3] * tanh_of(after) : load_first(output + of_state, left), left);
          }
        }
      });
      output = outputs + at * units;
      carry = carries + at * units;
    }
  });
}

void lstm_gradient(const Pool& pool, const Recurrence& shape, const float* gates, const float* output_gradients,
                   const float* carry_gradients, const float* carries, const float* weights,
                   const float* first_carry, const float* kept, float* back, float* first_output_back,
                   float* first_carry_back) {
  const int64_t units = shape.units, batch = shape.batch;
  const int64_t vectors = std::min<int64_t>(4, (units + LANES - 1) / LANES), width = vectors * LANES;
  Scratch packed((units + width - 1) / width * width * 4 * units);
  for (int64_t first = 0; first < units; first += width)
    transpose(weights + first * 4 * units, 4 * units, std::min(width, units - first), 4 * units,
              packed.data() + first * 4 * units, width, width);
  in_blocks(pool, shape, [&](int64_t begin, int64_t end) {
    // What comes back from the step after, for output and carry.
    float *const output_back = first_output_back + begin * units, *const carry_back = first_carry_back + begin * units;
    std::fill_n(output_back, (end - begin) * units, 0.0f);
    std::fill_n(carry_back, (end - begin) * units, 0.0f);
    for (int64_t step = shape.steps - 1; step >= 0; --step) {
      const int64_t at = step * batch;
      const float* carry = step ? carries + (at - batch) * units : first_carry;
      for (int64_t row = begin; row < end; ++row)
        for (int64_t first = 0; first < units; first += LANES) {
          const int64_t left = units - first, of_gates = (at + row) * 4 * units + first;
          const int64_t of_states = (at + row) * units + first, of_back = (row - begin) * units + first;
          const Vector of_output = load_first(output_back + of_back, left) + load_first(output_gradients + of_states, left);
          const Vector of_carry = load_first(carry_back + of_back, left) + load_first(carry_gradients + of_states, left);
          if (kept[at + row] == 0) {
            store_first(output_back + of_back, of_output, left);
            store_first(carry_back + of_back, of_carry, left);
            CORNU_UNROLL for (int n = 0; n < 4; ++n) store_first(back + of_gates + n * units, Vector{}, left);
            continue;
          }
          Vector gate[4];
          CORNU_UNROLL for (int n = 0; n < 4; ++n) gate[n] = load_first(gates + of_gates + n * units, left);
          const Vector before = load_first(carry + row * units + first, left);
          const Vector curve = tanh_of(load_first(carries + of_states, left));
          const Vector sum = of_carry + of_output * gate[3] * (1 - curve * curve);
          const Vector slopes[] = {sum * gate[2] * gate[0] * (1 - gate[0]), sum * before * gate[1] * (1 - gate[1]),
                                   sum * gate[0] * (1 - gate[2] * gate[2]),
                                   of_output * curve * gate[3] * (1 - gate[3])};
          CORNU_UNROLL for (int n = 0; n < 4; ++n) store_first(back + of_gates + n * units, slopes[n], left);
          store_first(output_back + of_back, Vector{}, left);
          store_first(carry_back + of_back, sum * gate[1], left);
        }
      THROUGH_WEIGHTS[vectors - 1](shape, back + at * 4 * units, begin, end, packed.data(), output_back);
    }
  });
}

CORNU_END
