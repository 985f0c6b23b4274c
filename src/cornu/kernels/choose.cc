// Which instruction set this processor has.

#include <cstdlib>
#include <cstring>

#include "kernels.h"

namespace cornu {

#define CORNU_DECLARE(isa) namespace isa { const Kernels* table(); }
#ifdef CORNU_HAS_X86
CORNU_DECLARE(avx512)
CORNU_DECLARE(avx2)
#endif
CORNU_DECLARE(baseline)

// The best that the processor has, or that of the environment variable CORNU_ISA if it has that.
const Kernels* choose() {
  const char* wanted = std::getenv("CORNU_ISA");
  [[maybe_unused]] auto allowed = [&](const char* name) {
    return !wanted || !*wanted || !std::strcmp(wanted, name);
  };
#ifdef CORNU_HAS_X86
  __builtin_cpu_init();
  if (allowed("avx512") && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512vl") &&
      __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq"))
    return avx512::table();
  if (allowed("avx2") && __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"))
    return avx2::table();
#endif
  return baseline::table();
}

const Kernels* kernels() {
  static const Kernels* chosen = choose();
  return chosen;
}

bool multiplies_pairs() {
#ifdef CORNU_HAS_X86
  return kernels()->convolution_of_pairs && __builtin_cpu_supports("avx512bf16");
#else
  return false;
#endif
}

}  // namespace cornu
