// The table of one instruction set.

#include "kernels.h"
#include "vector.h"

#define CORNU_TEXT(x) CORNU_TEXT_OF(x)
#define CORNU_TEXT_OF(x) #x

CORNU_BEGIN

#define CORNU_DECLARE(name, work, ...) Kernel<__VA_ARGS__> name;
CORNU_KERNELS(CORNU_DECLARE)
CORNU_KERNELS_OF_PAIRS(CORNU_DECLARE)
void resize(const Picture&, const void*, bool, float*);
void run_chain(const Pool&, const Chain&, const void*, float*);
void run_move(const Move&, const float*, float*);
PreparedConvolution* prepare_convolution(const Pool&, const Window&, const float*, const float*, After, float, float);
ReducedConvolution* prepare_reduced(const Pool&, const Reduced&);

#define CORNU_ENTRY(name, ...) name,
#ifdef CORNU_PAIRS
#define CORNU_ENTRY_OF_PAIRS CORNU_ENTRY
#else
#define CORNU_ENTRY_OF_PAIRS(name, ...) nullptr,
#endif

const Kernels* table() {
  static const Kernels kernels = {CORNU_TEXT(CORNU_ISA), LANES,
                                  CORNU_KERNELS(CORNU_ENTRY) CORNU_KERNELS_OF_PAIRS(CORNU_ENTRY_OF_PAIRS) resize,
                                  run_chain, run_move, prepare_convolution, prepare_reduced};
  return &kernels;
}

CORNU_END
