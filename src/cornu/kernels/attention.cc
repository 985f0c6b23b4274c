// Dot-product attention, and its gradient, one head of one example after the other.
//
//   weights = softmax(scale * query . key), zero where the mask is       output = weights . value
//
// The weights of a few queries are all that is ever in memory. What is kept for the gradient are the largest
// product of each query and the sum of its exponentials.

#include <algorithm>
#include <cfloat>
#include <cmath>

#include "curves.h"
#include "kernels.h"
#include "products.h"

CORNU_BEGIN
namespace {

// What a masked product counts as: where all are masked, all weights are the same.
constexpr float MASKED = -0.7f * FLT_MAX;
// So many queries at a time have their gradients computed.
constexpr int64_t QUERIES = 4 * MOST_POSITIONS;

int64_t padded(int64_t count) { return (count + LANES - 1) / LANES * LANES; }

// Call function(block of a packed matrix of so many rows, its first column, how many vectors it is wide).
template <class Number, class Function>
CORNU_INLINE void for_each_block(Number* packed, int64_t rows, int64_t columns, const Function& function) {
  for (int64_t c = 0; c < columns;) {
    const int64_t vectors = next_vectors(columns - c, LANES);
    function(packed, c, vectors);
    packed += rows * vectors * LANES;
    c += vectors * LANES;
  }
}

// A matrix in the order in which tiles read it: blocks of columns, one or two vectors wide, filled up with zeros.
void pack(const float* from, int64_t step, int64_t rows, int64_t columns, float* to) {
  for_each_block(to, rows, columns, [&](float* block, int64_t c, int64_t vectors) {
    for (int64_t r = 0; r < rows; ++r)
      for (int64_t v = 0; v < vectors; ++v, block += LANES)
        store(block, load_first(from + r * step + c + v * LANES, columns - c - v * LANES));
  });
}
// The same of the transpose of a matrix with so many rows and columns.
void pack_transpose(const float* from, int64_t step, int64_t rows, int64_t columns, float* to) {
  for_each_block(to, columns, rows, [&](float* block, int64_t r, int64_t vectors) {
    const int64_t width = vectors * LANES;
    transpose(from + r * step, step, std::min(width, rows - r), columns, block, width, width);
  });
}

// out = a . b, `b` being packed, with `columns` of them; whole vectors of `out` are written.
void multiply_packed(const float* a, int64_t a_step, int64_t rows, int64_t count, const float* b, int64_t columns,
                     float* out, int64_t out_step) {
  for_each_block(b, count, columns, [&](const float* block, int64_t c, int64_t vectors) {
    multiply(a, a_step, block, count, out + c, out_step, rows, vectors);
  });
}

// out += transpose(a) . b, with so many rows of both, columns of `a`, and numbers, all of them, in a row of `b`.
void add_transposed(const float* a, int64_t a_step, int64_t rows, int64_t a_columns, const float* b,
                    int64_t b_step, float* out) {
  for (int64_t c = 0; c < b_step; c += WIDE * LANES)
    multiply_transposed(a, a_step, b + c, b_step, rows, out + c, a_columns, next_vectors(b_step - c, LANES), true);
}

// Scaled products of a query, masked; beyond the last key, nothing.
CORNU_INLINE void scale_and_mask(float* products, const uint8_t* mask, int64_t keys, float scale) {
  for (int64_t k = 0; k < keys; k += LANES) {
    const Vector v = load(products + k) * scale;
    const Vector masked = load_bytes(mask + k, keys - k) != 0 ? v : broadcast(MASKED);
    store(products + k, fill(masked, keys - k, -INFINITY));
  }
}

// exp(products - largest); their sum.
CORNU_INLINE Vector exponentials(float* products, int64_t keys, Vector largest) {
  Vector sum = {};
  for (int64_t k = 0; k < keys; k += LANES) {
    const Vector power = exponential(load(products + k) - largest);
    sum += power;
    store(products + k, power);
  }
  return total_of(sum);
}

// Where things are.
struct Head {
  const Attention& shape;
  int64_t example, head;
  int64_t query(int64_t t) const {
    return ((example * shape.queries + t) * shape.heads + head) * shape.features;
  }
  int64_t key() const { return (example * shape.keys * shape.key_heads + head / group()) * shape.features; }
  int64_t group() const { return shape.heads / shape.key_heads; }
  int64_t query_step() const { return shape.heads * shape.features; }
  int64_t key_step() const { return shape.key_heads * shape.features; }
  int64_t statistics(int64_t t) const { return 2 * ((example * shape.heads + head) * shape.queries + t); }
  int64_t mask(int64_t t) const {
    const int64_t e = shape.mask_examples > 1 ? example : 0, h = shape.mask_heads > 1 ? head : 0;
    return ((e * shape.mask_heads + h) * shape.mask_queries + (shape.mask_queries > 1 ? t : 0)) * shape.keys;
  }
};

}  // namespace

void attention(const Pool& pool, const Attention& shape, const float* query, const float* key,
               const float* value, const uint8_t* mask, float* output, float* statistics) {
  const int64_t keys = shape.keys, features = shape.features;
  const int64_t all_keys = padded(keys), all_features = padded(features);
  parallel_for(pool, shape.examples * shape.key_heads, [&](int64_t item) {
    const int64_t example = item / shape.key_heads, key_head = item % shape.key_heads;
    const Head first{shape, example, key_head * (shape.heads / shape.key_heads)};
    Scratch packed_keys(features * all_keys), packed_values(keys * all_features);
    Scratch products(MOST_POSITIONS * all_keys), sums(MOST_POSITIONS * all_features);
    pack_transpose(key + first.key(), first.key_step(), keys, features, packed_keys.data());
    pack(value + first.key(), first.key_step(), keys, features, packed_values.data());
    for (int64_t n = 0; n < first.group(); ++n) {
      const Head head{shape, example, first.head + n};
      for (int64_t t = 0; t < shape.queries; t += MOST_POSITIONS) {
        const int64_t count = std::min<int64_t>(MOST_POSITIONS, shape.queries - t);
        multiply_packed(query + head.query(t), head.query_step(), count, features, packed_keys.data(), keys,
                        products.data(), all_keys);
        for (int64_t i = 0; i < count; ++i) {
          float* row = products.data() + i * all_keys;
          scale_and_mask(row, mask + head.mask(t + i), keys, shape.scale);
          Vector most = load(row);
          for (int64_t k = LANES; k < keys; k += LANES) {
            const Vector v = load(row + k);
            most = most > v ? most : v;
          }
          most = largest_of(most);
          const Vector sum = exponentials(row, keys, most);
          statistics[head.statistics(t + i)] = most[0];
          statistics[head.statistics(t + i) + 1] = sum[0];
        }
        multiply_packed(products.data(), all_keys, count, keys, packed_values.data(), features,
                        sums.data(), all_features);
        for (int64_t i = 0; i < count; ++i) {
          const Vector sum = broadcast(statistics[head.statistics(t + i) + 1]);
          for (int64_t f = 0; f < features; f += LANES)
            store_first(output + head.query(t + i) + f, load(sums.data() + i * all_features + f) / sum, features - f);
        }
      }
    }
  });
}

void attention_gradient(const Pool& pool, const Attention& shape, const float* query, const float* key,
                        const float* value, const uint8_t* mask, const float* statistics, const float* gradient,
                        float* query_back, float* key_back, float* value_back) {
  const int64_t keys = shape.keys, features = shape.features;
  const int64_t all_keys = padded(keys), all_features = padded(features);
  parallel_for(pool, shape.examples * shape.key_heads, [&](int64_t item) {
    const int64_t example = item / shape.key_heads, key_head = item % shape.key_heads;
    const Head first{shape, example, key_head * (shape.heads / shape.key_heads)};
    Scratch transposed_keys(features * all_keys), transposed_values(features * all_keys);
    Scratch packed_keys(keys * all_features), of_keys(keys * all_features), of_values(keys * all_features);
    Scratch weights(QUERIES * all_keys), slopes(QUERIES * all_keys);
    Scratch queries(QUERIES * all_features), gradients(QUERIES * all_features), sums(QUERIES * all_features);
    pack_transpose(key + first.key(), first.key_step(), keys, features, transposed_keys.data());
    pack_transpose(value + first.key(), first.key_step(), keys, features, transposed_values.data());
    pack(key + first.key(), first.key_step(), keys, features, packed_keys.data());
    std::fill_n(of_keys.data(), keys * all_features, 0.0f);
    std::fill_n(of_values.data(), keys * all_features, 0.0f);
    for (int64_t n = 0; n < first.group(); ++n) {
      const Head head{shape, example, first.head + n};
      for (int64_t t = 0; t < shape.queries; t += QUERIES) {
        const int64_t count = std::min(QUERIES, shape.queries - t);
        multiply_packed(query + head.query(t), head.query_step(), count, features, transposed_keys.data(), keys,
                        weights.data(), all_keys);
        multiply_packed(gradient + head.query(t), head.query_step(), count, features, transposed_values.data(), keys,
                        slopes.data(), all_keys);
        for (int64_t i = 0; i < count; ++i) {
          float *weight = weights.data() + i * all_keys, *slope = slopes.data() + i * all_keys;
          const uint8_t* masks = mask + head.mask(t + i);
          const Vector most = broadcast(statistics[head.statistics(t + i)]);
          const Vector sum = broadcast(statistics[head.statistics(t + i) + 1]);
          scale_and_mask(weight, masks, keys, shape.scale);
          Vector mean = {};
          for (int64_t k = 0; k < keys; k += LANES) {
            const Vector w = exponential(load(weight + k) - most) / sum;
            mean += w * load(slope + k);
            store(weight + k, w);
          }
          mean = total_of(mean);
          for (int64_t k = 0; k < keys; k += LANES) {
            const Vector s = load(weight + k) * (load(slope + k) - mean) * shape.scale;
            store(slope + k, load_bytes(masks + k, keys - k) != 0 ? s : Vector{});
          }
          for (int64_t f = 0; f < features; f += LANES) {
            const int64_t from = head.query(t + i) + f, to = i * all_features + f;
            store(queries.data() + to, load_first(query + from, features - f));
            store(gradients.data() + to, load_first(gradient + from, features - f));
          }
        }
        multiply_packed(slopes.data(), all_keys, count, keys, packed_keys.data(), features,
                        sums.data(), all_features);
        for (int64_t i = 0; i < count; ++i)
          for (int64_t f = 0; f < features; f += LANES)
            store_first(query_back + head.query(t + i) + f, load(sums.data() + i * all_features + f), features - f);
        add_transposed(slopes.data(), all_keys, count, keys, queries.data(), all_features, of_keys.data());
        add_transposed(weights.data(), all_keys, count, keys, gradients.data(), all_features, of_values.data());
      }
    }
    for (int64_t k = 0; k < keys; ++k)
      for (int64_t f = 0; f < features; f += LANES) {
        const int64_t from = k * all_features + f, to = first.key() + k * first.key_step() + f;
        store_first(key_back + to, load(of_keys.data() + from), features - f);
        store_first(value_back + to, load(of_values.data() + from), features - f);
      }
  });
}

CORNU_END
