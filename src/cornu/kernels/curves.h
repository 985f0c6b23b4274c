// Functions of vectors that activations are made of, and what is found out over the lanes of one.
#pragma once

#include "vector.h"

CORNU_BEGIN

// x * P(x * x) / Q(x * x), where the coefficients make the largest relative error for |x| up to 9.02 as small
// as it can be, 2.1e-8 (3e-7 with rounding); from there on, 1 is the nearest float.
CORNU_INLINE Vector tanh_of(Vector x) {
  const float P[] = {9.9999997903e-01f, 1.3379710515e-01f, 3.4940257154e-03f, 2.0583336722e-05f,
                     1.3318877198e-08f};
  const float Q[] = {1.0f, 4.6713025760e-01f, 2.5871039594e-02f, 3.2830783928e-04f,
                     7.7619383859e-07f};
  const Vector most = broadcast(9.02f), one = broadcast(1);
  const Vector square = x * x;
  Vector p = broadcast(P[4]), q = broadcast(Q[4]);
  for (int i = 3; i >= 0; --i) {
    p = p * square + P[i];
    q = q * square + Q[i];
  }
  const Vector y = x * p / q;
  // NaN stays, because nothing compares with it.
  return ((x > most) | (y > one)) ? one : ((x < -most) | (y < -one)) ? -one : y;
}

typedef uint32_t Bits __attribute__((vector_size(LANES * 4)));

// 2^n * e^r, n being an integer and |r| at most ln(2) / 2, of numbers that are not positive. What is smaller than
// the smallest normal number is zero. NaN stays.
CORNU_INLINE Vector exponential(Vector x) {
  const float ROUND = 12582912.0f;  // 1.5 * 2^23: a sum with it has no bits left for fractions
  const Vector least = broadcast(-87.33f);
  const Vector inside = x < least ? least : x;
  const Vector shifted = inside * 1.44269504f + ROUND, n = shifted - ROUND;
  // ln(2) in two parts, the first of so few bits that its product is exact.
  const Vector r = (inside - n * 0.693359375f) + n * 2.12194440e-4f;
  Vector power = broadcast(1.0f / 5040);
  const float taylor[] = {1.0f / 720, 1.0f / 120, 1.0f / 24, 1.0f / 6, 0.5f, 1, 1};
  for (float term : taylor) power = power * r + term;
  const Bits exponent = ((Bits)shifted - 0x4b400000u + 127u) << 23;
  const Vector result = power * (Vector)exponent;
  return x < least ? Vector{} : x == x ? result : x;
}

// 1 / (1 + e^-x). NaN stays.
CORNU_INLINE Vector sigmoid_of(Vector x) {
  const Vector power = exponential(x < 0 ? x : -x);
  return (x < 0 ? power : broadcast(1)) / (1 + power);
}

// Half of the lanes, combined with the other half, until all have the same.
template <int STEP = LANES / 2, class Combine, int... LANE>
CORNU_INLINE Vector over_lanes(Vector v, const Combine& combine, std::integer_sequence<int, LANE...> each) {
  v = combine(v, shuffle<(LANE ^ STEP)...>(v, v));
  if constexpr (STEP > 1) return over_lanes<STEP / 2>(v, combine, each);
  else return v;
}
CORNU_INLINE Vector total_of(Vector v) {
  return over_lanes(v, [](Vector a, Vector b) { return a + b; }, EachLane{});
}
CORNU_INLINE Vector largest_of(Vector v) {
  return over_lanes(v, [](Vector a, Vector b) { return a > b ? a : b; }, EachLane{});
}

// The lanes beyond `count` get another number.
CORNU_INLINE Vector fill(Vector v, int64_t count, float filling) {
  Integers lanes;
  CORNU_UNROLL for (int lane = 0; lane < LANES; ++lane) lanes[lane] = lane;
  return lanes < int32_t(std::min<int64_t>(count, LANES)) ? v : broadcast(filling);
}

CORNU_END
