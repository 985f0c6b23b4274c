// The table of one instruction set.

#include "kernels.h"
#include "vector.h"

#define CORNU_TEXT(x) CORNU_TEXT_OF(x)
#define CORNU_TEXT_OF(x) #x

CORNU_BEGIN

void convolution(const Pool&, const Window&, const float*, const float*, const float*, Activation,
                 float*);
void convolution_relu_pool(const Pool&, const Window&, const int64_t (&)[3], const float*,
                           const float*, const float*, float*, uint8_t*);
void convolution_of_pairs(const Pool&, const Window&, const uint16_t*, const uint16_t*, uint16_t*);
void convolution_relu_pool_of_pairs(const Pool&, const Window&, const int64_t (&)[3],
                                    const uint16_t*, const uint16_t*, const float*, float*,
                                    uint8_t*);
void input_gradient_of_pairs(const Pool&, const Window&, const uint16_t*, const uint16_t*,
                             uint16_t*);
void input_gradient(const Pool&, const Window&, const float*, const Picks&, const float*, float*);
void kernel_gradient(const Pool&, const Window&, const float*, const float*, const Picks&, float*);
void sum(const Pool&, const float*, int64_t, int64_t, int64_t, float*);
void largest(const Pool&, const float*, int64_t, int64_t, int64_t, float*);
void channel_sum(const Pool&, const float*, const uint8_t*, int64_t, int64_t, float*);
void max_pool(const Pool&, const Window&, const float*, float*, uint8_t*);
void max_pool_gradient(const Pool&, const Window&, const float*, const uint8_t*, float*);
void sum_pool(const Pool&, const Window&, const float*, float*);
void sum_pool_gradient(const Pool&, const Window&, const float*, float*);
void moments(const Pool&, const float*, int64_t, int64_t, float*, float*);
void totals(const Pool&, const float*, const float*, const float*, int64_t, int64_t, float*, float*);
void picked_totals(const Pool&, const Window&, const float*, const float*, const float*,
                   const uint8_t*, float*, float*);
void affine_relu_pool(const Pool&, const Window&, const float*, const float*, const float*,
                      const float*, float*, uint8_t*);
void biased_tanh(const Pool&, const float*, const float*, int64_t, int64_t, float*);
void tanh_gradient(const Pool&, const float*, const float*, int64_t, int64_t, float*, float*);
void biased_softmax(const Pool&, const float*, const float*, int64_t, int64_t, float*);
void softmax_gradient(const Pool&, const float*, const float*, int64_t, int64_t, float*, float*);
void adam(const Pool&, const Step&, int64_t, const float*, const float*, const float*, const float*,
          float*, float*, float*);
void take_rows(const Pool&, const float*, const int32_t*, int64_t, int64_t, float*);
void bernoulli(const Pool&, const uint32_t*, float, int64_t, uint8_t*);

#ifdef CORNU_PAIRS
#define CORNU_OF_PAIRS(function) function
#else
#define CORNU_OF_PAIRS(function) nullptr
#endif

const Kernels* table() {
  static const Kernels kernels = {
      CORNU_TEXT(CORNU_ISA),
      LANES,
      convolution,
      convolution_relu_pool,
      CORNU_OF_PAIRS(convolution_of_pairs),
      CORNU_OF_PAIRS(convolution_relu_pool_of_pairs),
      CORNU_OF_PAIRS(input_gradient_of_pairs),
      input_gradient,
      kernel_gradient,
      sum,
      largest,
      channel_sum,
      max_pool,
      max_pool_gradient,
      sum_pool,
      sum_pool_gradient,
      moments,
      totals,
      picked_totals,
      affine_relu_pool,
      biased_tanh,
      biased_softmax,
      tanh_gradient,
      softmax_gradient,
      adam,
      take_rows,
      bernoulli};
  return &kernels;
}

CORNU_END
