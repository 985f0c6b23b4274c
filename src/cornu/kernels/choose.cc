// Which instruction set this processor has.

#include <cstdlib>
#include <cstring>
#include <stdexcept>
#include <string>

#include "checks.h"
#include "kernels.h"

namespace cornu {

#define CORNU_DECLARE(isa) namespace isa { const Kernels* table(); }
CORNU_DECLARE(avx512)
CORNU_DECLARE(avx2)
CORNU_DECLARE(baseline)

#ifdef CORNU_CHECKED
std::atomic<int64_t> paths_taken[NUM_PATHS];
#endif

// The best that the processor has, or that of the environment variable CORNU_ISA if it has that.
const Kernels* choose() {
  const char* wanted = std::getenv("CORNU_ISA");
  [[maybe_unused]] auto allowed = [&](const char* name) {
    return !wanted || !*wanted || !std::strcmp(wanted, name);
  };
#ifdef CORNU_HAS_avx512
  if (allowed("avx512") && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512vl") &&
      __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq"))
    return avx512::table();
#endif
#ifdef CORNU_HAS_avx2
  if (allowed("avx2") && __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"))
    return avx2::table();
#endif
#ifdef CORNU_HAS_baseline
  return baseline::table();
#else
  std::abort();
#endif
}

const Kernels* kernels() {
  static const Kernels* chosen = choose();
  return chosen;
}

void refuse(const char* what, int64_t number) { throw std::invalid_argument(what + std::to_string(number)); }

bool multiplies_pairs() {
#ifdef CORNU_HAS_avx512
  return kernels()->convolution_of_pairs && __builtin_cpu_supports("avx512bf16");
#else
  return false;
#endif
}

}  // namespace cornu
