// The bits of `jax.random` (Threefry-2x32 over a counter), as decisions with a given probability.
//
// Source: Salmon et al. 2011, "Parallel random numbers: as easy as 1, 2, 3".

#include <algorithm>

#include "kernels.h"
#include "vector.h"

CORNU_BEGIN
namespace {

typedef uint32_t Words __attribute__((vector_size(LANES * 4)));

// As many vectors at once as keep the processor busy: each round waits for the one before.
constexpr int AT_ONCE = 4;
constexpr int64_t CHUNK = 8192;

CORNU_INLINE Words rotate(Words x, int by) { return (x << by) | (x >> (32 - by)); }

// The words of AT_ONCE * LANES counters from `first` on.
CORNU_INLINE void threefry(const uint32_t* key, uint64_t first, Words (&words)[AT_ONCE]) {
  constexpr int rotations[2][4] = {{13, 15, 26, 6}, {17, 29, 16, 24}};
  const uint32_t keys[3] = {key[0], key[1], key[0] ^ key[1] ^ 0x1BD11BDAu};
  Words lanes = {};
  for (int lane = 0; lane < LANES; ++lane) lanes[lane] = lane;
  Words a[AT_ONCE], b[AT_ONCE];
  CORNU_UNROLL for (int v = 0; v < AT_ONCE; ++v) {
    a[v] = Words{} + (uint32_t(first >> 32) + keys[0]);
    b[v] = lanes + (uint32_t(first) + v * LANES + keys[1]);
  }
  CORNU_UNROLL for (int turn = 0; turn < 5; ++turn) {
    CORNU_UNROLL for (int round = 0; round < 4; ++round)
      CORNU_UNROLL for (int v = 0; v < AT_ONCE; ++v) {
        a[v] += b[v];
        b[v] = rotate(b[v], rotations[turn % 2][round]) ^ a[v];
      }
    CORNU_UNROLL for (int v = 0; v < AT_ONCE; ++v) {
      a[v] += keys[(turn + 1) % 3];
      b[v] += keys[(turn + 2) % 3] + uint32_t(turn + 1);
    }
  }
  CORNU_UNROLL for (int v = 0; v < AT_ONCE; ++v) words[v] = a[v] ^ b[v];
}

}  // namespace

void bernoulli(const Pool& pool, const Draws& draws, const uint32_t* key, bool* decisions) {
  const int64_t count = draws.count;
  uint8_t* result = reinterpret_cast<uint8_t*>(decisions);
  parallel_for(pool, (count + CHUNK - 1) / CHUNK, [&](int64_t chunk) {
    const int64_t end = std::min(count, (chunk + 1) * CHUNK);
    for (int64_t i = chunk * CHUNK; i < end; i += AT_ONCE * LANES) {
      Words words[AT_ONCE];
      threefry(key, i, words);
      for (int v = 0; v < AT_ONCE && i + v * LANES < end; ++v) {
        // 23 bits as a number from one to two.
        const Vector number = (Vector)((words[v] >> 9) | 0x3F800000u) - 1.0f;
        store_bytes(result + i + v * LANES, (number < broadcast(draws.probability)) & 1,
                    end - i - v * LANES);
      }
    }
  });
}

CORNU_END
