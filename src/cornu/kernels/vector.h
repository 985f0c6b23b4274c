// One vector register of the instruction set that a file is compiled for.
//
// Every file of kernels is compiled once for each instruction set, in a namespace of that name
// (CORNU_ISA: avx512, avx2, neon, baseline), so that one library serves every processor.
#pragma once

#include <cstdint>
#include <cstring>
#include <utility>

#include "checks.h"

#if defined(__AVX2__)
#include <immintrin.h>
#elif defined(__SSE2__)
#include <emmintrin.h>
#endif

#ifndef CORNU_ISA
#define CORNU_ISA baseline
#endif
#define CORNU_BEGIN namespace cornu { namespace CORNU_ISA {
#define CORNU_END } }
#define CORNU_INLINE static inline __attribute__((always_inline))
#define CORNU_UNROLL _Pragma("GCC unroll 32")

CORNU_BEGIN

#if defined(__AVX512F__)
constexpr int LANES = 16, REGISTERS = 32;
#elif defined(__AVX2__)
constexpr int LANES = 8, REGISTERS = 16;
#elif defined(__aarch64__)
constexpr int LANES = 4, REGISTERS = 32;
#else
constexpr int LANES = 4, REGISTERS = 16;
#endif

typedef float Vector __attribute__((vector_size(LANES * 4)));
typedef float UnalignedVector __attribute__((vector_size(LANES * 4), aligned(4), may_alias));
typedef int32_t Integers __attribute__((vector_size(LANES * 4)));
typedef uint8_t Bytes __attribute__((vector_size(LANES), aligned(1), may_alias));

#if defined(__AVX2__) && !defined(__AVX512F__)
const Integers LANE_NUMBERS = {0, 1, 2, 3, 4, 5, 6, 7};
#endif

CORNU_INLINE Vector load(const float* p) { return *(const UnalignedVector*)p; }
CORNU_INLINE void store(float* p, Vector v) { *(UnalignedVector*)p = v; }
// In loops that do little with each number, the processor's own guesses of what is read next come too late.
CORNU_INLINE void prefetch(const float* p) { __builtin_prefetch(p); }
CORNU_INLINE void prefetch_to_write(const float* p) { __builtin_prefetch(p, 1); }
CORNU_INLINE Vector broadcast(float x) { return x - Vector{}; }

#if defined(__AVX512F__)
#define CORNU_PAIRS  // there are products of pairs of bfloat16
#endif

// What the lanes of a product hold: float32, or two bfloat16 whose products are both added.
enum Format { SINGLES, PAIRS };

// sum + factor * row
template <Format FORMAT>
CORNU_INLINE Vector multiply_add(Vector sum, Vector factor, Vector row) {
#ifdef CORNU_PAIRS
  if constexpr (FORMAT == PAIRS) {
    // Written so because the file is compiled for processors without it, too.
    asm("vdpbf16ps %2, %1, %0" : "+v"(sum) : "v"(row), "v"(factor));
    return sum;
  }
#endif
  return sum + factor * row;
}

CORNU_INLINE Vector square_root(Vector v) {
#if defined(__AVX512F__)
  return (Vector)_mm512_maskz_sqrt_ps(0xffff, (__m512)v);
#elif defined(__AVX2__)
  return (Vector)_mm256_sqrt_ps((__m256)v);
#elif defined(__SSE2__)
  return (Vector)_mm_sqrt_ps((__m128)v);
#else
  for (int lane = 0; lane < LANES; ++lane) v[lane] = __builtin_sqrtf(v[lane]);
  return v;
#endif
}

// The first `count` lanes only; the others are zero, and their memory is not touched.
CORNU_INLINE Vector load_first(const float* p, int64_t count) {
  CORNU_ASSERT(count > 0);
  if (count >= LANES) return load(p);
#if defined(__AVX512F__)
  return (Vector)_mm512_maskz_loadu_ps(__mmask16((1u << count) - 1), p);
#elif defined(__AVX2__)
  return (Vector)_mm256_maskload_ps(p, (__m256i)(LANE_NUMBERS < int32_t(count)));
#else
  Vector v = {};
  for (int64_t lane = 0; lane < count; ++lane) v[lane] = p[lane];
  return v;
#endif
}
CORNU_INLINE void store_first(float* p, Vector v, int64_t count) {
  CORNU_ASSERT(count > 0);
  if (count >= LANES) return store(p, v);
#if defined(__AVX512F__)
  _mm512_mask_storeu_ps(p, __mmask16((1u << count) - 1), (__m512)v);
#elif defined(__AVX2__)
  _mm256_maskstore_ps(p, (__m256i)(LANE_NUMBERS < int32_t(count)), (__m256)v);
#else
  for (int64_t lane = 0; lane < count; ++lane) p[lane] = v[lane];
#endif
}

// Whether numbers go straight to memory, past the cache: a result that is too large for it would push out
// what is still needed, and each of its lines would be read before it is written.
#ifndef CORNU_STREAMED
#define CORNU_STREAMED (1 << 21)  // floats
#endif
CORNU_INLINE bool streams(const float* result, int64_t floats, int64_t channels) {
  return LANES == 16 &&  // a vector is a line of the cache
         floats >= CORNU_STREAMED && channels % LANES == 0 && (uintptr_t)result % sizeof(Vector) == 0;
}
CORNU_INLINE void store_first(float* p, Vector v, int64_t count, [[maybe_unused]] bool streams) {
#if defined(__AVX512F__)
  CORNU_ASSERT(!streams || (count >= LANES && (uintptr_t)p % sizeof(Vector) == 0));
  if (streams) return _mm512_stream_ps(p, (__m512)v);
#endif
  store_first(p, v, count);
}

// As bfloat16: the nearest, and of two equally near ones the even.
CORNU_INLINE void store_first(uint16_t* p, Vector v, int64_t count) {
  typedef uint32_t Bits __attribute__((vector_size(LANES * 4)));
  typedef uint16_t Halves __attribute__((vector_size(LANES * 2), aligned(2), may_alias));
  const Bits bits = (Bits)v, rounded = bits + 0x7fffu + ((bits >> 16) & 1u);
  // NaN stays one, though what it keeps of its bits may be none.
  const Halves halves =
      __builtin_convertvector((v == v ? rounded : bits | 0x400000u) >> 16, Halves);
  if (count >= LANES) {
    *(Halves*)p = halves;
    return;
  }
  for (int64_t lane = 0; lane < count; ++lane) p[lane] = halves[lane];
}

// The lanes of two vectors where `wanted` has all bits, side by side, and how many they are. Whole vectors
// are written.
CORNU_INLINE int64_t store_where(Integers wanted, Vector v, float* p, Integers n, int32_t* q) {
#if defined(__AVX512F__)
  const __mmask16 mask = _mm512_movepi32_mask((__m512i)wanted);
  _mm512_storeu_ps(p, _mm512_maskz_compress_ps(mask, (__m512)v));
  _mm512_storeu_si512(q, _mm512_maskz_compress_epi32(mask, (__m512i)n));
  return __builtin_popcount(mask);
#else
  int64_t count = 0;
  for (int lane = 0; lane < LANES; ++lane) {
    // Always written, and kept if it is wanted: a branch would be guessed wrong too often.
    p[count] = v[lane];
    q[count] = n[lane];
    count -= wanted[lane];
  }
  return count;
#endif
}

// Lanes of two vectors, those of the second being counted on.
template <int... FROM>
CORNU_INLINE Vector shuffle(Vector a, Vector b) {
#if defined(__clang__)
  return __builtin_shufflevector(a, b, FROM...);
#else
  return __builtin_shuffle(a, b, Integers{FROM...});
#endif
}
typedef std::make_integer_sequence<int, LANES> EachLane;

// Lane l of vector k becomes lane k of vector l: blocks of 1, 2, 4... lanes change places.
template <int STEP, int... LANE>
CORNU_INLINE void transpose(Vector (&rows)[LANES], std::integer_sequence<int, LANE...> each) {
  CORNU_UNROLL for (int k = 0; k < LANES; ++k) {
    if (k & STEP) continue;
    const Vector a = rows[k], b = rows[k + STEP];
    rows[k] = shuffle<(LANE & STEP ? LANES + LANE - STEP : LANE)...>(a, b);
    rows[k + STEP] = shuffle<(LANE & STEP ? LANES + LANE : LANE + STEP)...>(a, b);
  }
  if constexpr (2 * STEP < LANES) transpose<2 * STEP>(rows, each);
}
// The transpose of a matrix, its rows filled up to `width` numbers with zeros.
inline void transpose(const float* from, int64_t from_step, int64_t rows, int64_t columns, float* to,
                      int64_t to_step, int64_t width) {
  for (int64_t c = 0; c < columns; c += LANES)
    for (int64_t r = 0; r < width; r += LANES) {
      Vector block[LANES];
      CORNU_UNROLL for (int k = 0; k < LANES; ++k)
        block[k] = r + k < rows ? load_first(from + (r + k) * from_step + c, columns - c) : Vector{};
      transpose<1>(block, EachLane{});
      CORNU_UNROLL for (int k = 0; k < LANES; ++k)
        if (c + k < columns) store_first(to + (c + k) * to_step + r, block[k], width - r);
    }
}

CORNU_INLINE bool is_zero(Vector v) {
  bool yes = true;
  for (int lane = 0; lane < LANES; ++lane) yes = yes && v[lane] == 0;
  return yes;
}

// Small non-negative integers as bytes. (GCC 12 would convert vectors number by number.)
CORNU_INLINE void store_bytes(uint8_t* p, Integers v, int64_t count) {
  CORNU_ASSERT(count > 0);
#if defined(__AVX512F__)
  const Bytes bytes = (Bytes)_mm512_maskz_cvtepi32_epi8(0xffff, (__m512i)v);
  if (count < LANES) return _mm_mask_storeu_epi8(p, __mmask16((1u << count) - 1), (__m128i)bytes);
#elif defined(__AVX2__)
  const __m128i words = _mm_packs_epi32(_mm256_castsi256_si128((__m256i)v),
                                        _mm256_extracti128_si256((__m256i)v, 1));
  const Bytes bytes = (Bytes)_mm_cvtsi128_si64(_mm_packus_epi16(words, words));
#elif defined(__SSE2__)
  const __m128i words = _mm_packs_epi32((__m128i)v, (__m128i)v);
  const Bytes bytes = (Bytes)_mm_cvtsi128_si32(_mm_packus_epi16(words, words));
#else
  const Bytes bytes = __builtin_convertvector(v, Bytes);
#endif
  if (count >= LANES) {
    *(Bytes*)p = bytes;
    return;
  }
  for (int64_t lane = 0; lane < count; ++lane) p[lane] = bytes[lane];
}
CORNU_INLINE Integers load_bytes(const uint8_t* p, int64_t count) {
  CORNU_ASSERT(count > 0);
  Bytes bytes = {};
  if (count >= LANES) bytes = *(const Bytes*)p;
#if defined(__AVX512F__)
  else bytes = (Bytes)_mm_maskz_loadu_epi8(__mmask16((1u << count) - 1), p);
  return (Integers)_mm512_maskz_cvtepu8_epi32(0xffff, (__m128i)bytes);
#else
  else for (int64_t lane = 0; lane < count; ++lane) bytes[lane] = p[lane];
#if defined(__AVX2__)
  return (Integers)_mm256_cvtepu8_epi32(_mm_cvtsi64_si128((int64_t)bytes));
#elif defined(__SSE2__)
  const __m128i zero = _mm_setzero_si128(), words = _mm_unpacklo_epi8(_mm_cvtsi32_si128((int32_t)bytes), zero);
  return (Integers)_mm_unpacklo_epi16(words, zero);
#else
  return __builtin_convertvector(bytes, Integers);
#endif
#endif
}

CORNU_END
