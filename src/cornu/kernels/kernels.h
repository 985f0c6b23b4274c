// What the kernels compute, and the table through which they are called.
#pragma once

#include <cstdint>

#include "elementwise.h"
#include "parallel.h"

namespace cornu {

typedef uint16_t bfloat16;

// A window that slides over three spatial axes. Images and signals have ones in front.
//
// Arrays are dense: images (batch, size..., channels_in), outputs (batch, output..., channels_out), weights
// (window..., channels_in / groups, channels_out). After pooling by `pool`, windows side by side, an output
// smaller than the pool being left out, there are (batch, output / pool..., channels_out).
//
// Its numbers come in this order from `cornu.ops.windows.Geometry.attributes`.
struct Window {
  int64_t batch;
  int64_t size[3], output[3], window[3], strides[3], dilation[3], before[3];
  int64_t channels_in, channels_out, groups;
  int64_t pool[3];

  int64_t image() const { return batch * size[0] * size[1] * size[2] * channels_in; }
  int64_t outputs() const { return positions() * channels_out; }
  int64_t pooled() const {
    return batch * (output[0] / pool[0]) * (output[1] / pool[1]) * (output[2] / pool[2]) * channels_out;
  }
  int64_t weights() const { return window[0] * window[1] * window[2] * (channels_in / groups) * channels_out; }
  int64_t biases() const { return channels_out; }
  // Of a window that each channel goes through by itself.
  int64_t windows() const { return positions() * channels_in; }
  int64_t channels() const { return channels_in; }
  int64_t positions() const { return batch * output[0] * output[1] * output[2]; }
  // Products of a convolution, or of one of its gradients, by vectors.
  int64_t products() const { return positions() * weights() / 16; }
};

// An array of any shape of which only the last axis matters.
struct Rows {
  int64_t rows, channels;
  int64_t numbers() const { return rows * channels; }
  int64_t twice() const { return 2 * numbers(); }
  int64_t per_channel() const { return channels; }
};

// An array (outer, reduced, inner).
struct Reduction {
  int64_t outer, reduced, inner;
  int64_t operand() const { return outer * reduced * inner; }
  int64_t result() const { return outer * inner; }
};

// What Adam does to `count` weights: shares of the gradient in the averages of it and of its square, and what
// keeps the division finite.
struct AdamStep {
  float first, second, epsilon;
  int64_t count;
  int64_t numbers() const { return count; }
  int64_t scalar() const { return 1; }
  // A division and a root take as long as some products.
  int64_t products() const { return 4 * count; }
};

// `count` of the rows of an array, `all` of `length` numbers.
struct RowChoice {
  int64_t all, length, count;
  int64_t source() const { return all * length; }
  int64_t indices() const { return count; }
  int64_t result() const { return count * length; }
};

// A recurrent layer: `units` numbers of state for each example of a batch, and the four sums that become the next.
struct Recurrence {
  int64_t steps, batch, units;
  int64_t gates() const { return 4 * states(); }
  int64_t states() const { return steps * state(); }
  int64_t state() const { return batch * units; }
  int64_t kept() const { return steps * batch; }
  int64_t weights() const { return 4 * units * units; }
  // By vectors, and what becomes of the sums.
  int64_t products() const { return gates() * (units / 16 + 1); }
};

// Queries (examples, queries, heads, features), keys and values (examples, keys, key_heads, features), of which
// several heads of queries may share one. The mask may be the same for all examples, heads or queries.
struct Attention {
  int64_t examples, queries, keys, heads, key_heads, features;
  int64_t mask_examples, mask_heads, mask_queries;
  float scale;
  int64_t query() const { return examples * queries * heads * features; }
  int64_t key() const { return examples * keys * key_heads * features; }
  int64_t mask() const { return mask_examples * mask_heads * mask_queries * keys; }
  // For each query, the largest product and the sum of exponentials.
  int64_t statistics() const { return 2 * examples * heads * queries; }
  int64_t products() const { return query() * keys / 16; }
};

struct Draws {
  float probability;
  int64_t count;
  int64_t key() const { return 2; }
  int64_t numbers() const { return count; }
};

// Which numbers of an axis each one of a result is a sum of, and how much each counts: `count` rows of both, of
// the size of the result. None: the axis stays as it is.
struct Taps {
  int64_t count;
  const int64_t* indices;
  const float* weights;
};

// A picture of another size, `stride` numbers from row to row.
struct Picture {
  int64_t stride, width, channels, height_of_result, width_of_result;
  Taps columns, rows;
};

// What comes after a convolution that is prepared: nothing; a bias, and bounds; or a bias, relu and max-pooling, with
// the argmax.
enum class After : int64_t { NOTHING, CLAMP, POOL };

// A convolution whose weights have been brought into the order in which they are read. It can run often, by several
// threads at once.
class PreparedConvolution {
 public:
  virtual ~PreparedConvolution() = default;
  virtual void run(const Pool&, const float* image, uint8_t* argmax, void* result) const = 0;
};

// Those that compute in fewer bits (reduced.h).
struct Reduced;
class ReducedConvolution;

// An operand or a result, and which function says how many numbers it has.
template <class T, auto COUNT>
struct In {
  typedef T Number;
  typedef const T* Pointer;
};
template <class T, auto COUNT>
struct Out {
  typedef T Number;
  typedef T* Pointer;
};

template <class Shape, class... Operands>
using Kernel = void(const Pool&, const Shape&, typename Operands::Pointer...);

// Every kernel once: its name, a measure of its work, what it is told, and its operands. The table, XLA's
// handlers with their checks, and the names that Python registers come from here; what is left is to
// write the function.
#define CORNU_KERNELS(KERNEL)                                                                                  \
  KERNEL(convolution, products, Window, In<float, &Window::image>, In<float, &Window::weights>,                \
         Out<float, &Window::outputs>)                                                                         \
  /* The same with a bias, relu and max-pooling, and the argmax of each pooled output. */                      \
  KERNEL(convolution_relu_pool, products, Window, In<float, &Window::image>, In<float, &Window::weights>,      \
         In<float, &Window::biases>, Out<float, &Window::pooled>, Out<uint8_t, &Window::pooled>)               \
  KERNEL(input_gradient, products, Window, In<float, &Window::outputs>, In<float, &Window::weights>,           \
         Out<float, &Window::image>)                                                                           \
  KERNEL(weight_gradient, products, Window, In<float, &Window::image>, In<float, &Window::outputs>,            \
         Out<float, &Window::weights>)                                                                         \
  /* From a gradient that has not yet passed relu and max-pooling, and their argmax. */                        \
  KERNEL(relu_pool_input_gradient, products, Window, In<float, &Window::pooled>, In<float, &Window::weights>,  \
         In<uint8_t, &Window::pooled>, Out<float, &Window::image>)                                             \
  KERNEL(relu_pool_weight_gradient, products, Window, In<float, &Window::image>, In<float, &Window::pooled>,   \
         In<uint8_t, &Window::pooled>, Out<float, &Window::weights>)                                           \
  /* For each channel, the sum of what relu has let through. */                                                \
  KERNEL(bias_gradient, numbers, Rows, In<float, &Rows::numbers>, In<uint8_t, &Rows::numbers>,                 \
         Out<float, &Rows::per_channel>)                                                                       \
  /* The largest number of each window, and its index there, counted row by row. */                            \
  KERNEL(max_pool, image, Window, In<float, &Window::image>, Out<float, &Window::windows>,                     \
         Out<uint8_t, &Window::windows>)                                                                       \
  KERNEL(max_pool_gradient, image, Window, In<float, &Window::windows>, In<uint8_t, &Window::windows>,         \
         Out<float, &Window::image>)                                                                           \
  KERNEL(sum_pool, image, Window, In<float, &Window::image>, Out<float, &Window::windows>)                     \
  KERNEL(sum_pool_gradient, image, Window, In<float, &Window::windows>, Out<float, &Window::image>)            \
  /* The mean of each channel, and the mean of squared distances from it. */                                   \
  KERNEL(batch_norm_statistics, numbers, Rows, In<float, &Rows::numbers>, Out<float, &Rows::per_channel>,      \
         Out<float, &Rows::per_channel>)                                                                       \
  /* For each channel, the sum of gradient * (image - center), and that of the gradient. */                    \
  KERNEL(batch_norm_sums, numbers, Rows, In<float, &Rows::numbers>, In<float, &Rows::numbers>,                 \
         In<float, &Rows::per_channel>, Out<float, &Rows::per_channel>, Out<float, &Rows::per_channel>)        \
  /* The same through relu and max-pooling, whose argmax is given; the pool is the window. */                  \
  KERNEL(relu_pool_batch_norm_sums, image, Window, In<float, &Window::windows>, In<float, &Window::image>,     \
         In<float, &Window::channels>, In<uint8_t, &Window::windows>, Out<float, &Window::channels>,           \
         Out<float, &Window::channels>)                                                                        \
  /* (image - center) * factor + offset, by channel, then relu and such a max-pooling. */                      \
  KERNEL(affine_relu_pool, image, Window, In<float, &Window::image>, In<float, &Window::channels>,             \
         In<float, &Window::channels>, In<float, &Window::channels>, Out<float, &Window::windows>,             \
         Out<uint8_t, &Window::windows>)                                                                       \
  /* tanh of image + bias, or its softmax over the channels, which may lie where the image was. */             \
  KERNEL(biased_tanh, twice, Rows, In<float, &Rows::numbers>, In<float, &Rows::per_channel>,                   \
         Out<float, &Rows::numbers>)                                                                           \
  KERNEL(biased_softmax, twice, Rows, In<float, &Rows::numbers>, In<float, &Rows::per_channel>,                \
         Out<float, &Rows::numbers>)                                                                           \
  /* Gradient, result -> gradient of the image, where the given one may have been, and of the bias. */         \
  KERNEL(tanh_gradient, numbers, Rows, In<float, &Rows::numbers>, In<float, &Rows::numbers>,                   \
         Out<float, &Rows::numbers>, Out<float, &Rows::per_channel>)                                           \
  KERNEL(softmax_gradient, numbers, Rows, In<float, &Rows::numbers>, In<float, &Rows::numbers>,                \
         Out<float, &Rows::numbers>, Out<float, &Rows::per_channel>)                                           \
  KERNEL(sum, operand, Reduction, In<float, &Reduction::operand>, Out<float, &Reduction::result>)              \
  KERNEL(largest, operand, Reduction, In<float, &Reduction::operand>, Out<float, &Reduction::result>)          \
  /* Weights, their two averages, their gradient, and the learning rate with its corrections -> weights and    \
     averages after the step, which may lie where they were before. */                                         \
  KERNEL(adam, products, AdamStep, In<float, &AdamStep::numbers>, In<float, &AdamStep::numbers>,               \
         In<float, &AdamStep::numbers>, In<float, &AdamStep::numbers>, In<float, &AdamStep::scalar>,           \
         Out<float, &AdamStep::numbers>, Out<float, &AdamStep::numbers>, Out<float, &AdamStep::numbers>)       \
  /* Sums of a step's inputs, weights of the outputs before, first output and carry, and where examples are kept ->  \
     gates, which may lie where the sums were, outputs and carries of all steps. */                            \
  KERNEL(lstm, products, Recurrence, In<float, &Recurrence::gates>, In<float, &Recurrence::weights>,           \
         In<float, &Recurrence::state>, In<float, &Recurrence::state>, In<float, &Recurrence::kept>,           \
         Out<float, &Recurrence::gates>, Out<float, &Recurrence::states>, Out<float, &Recurrence::states>)     \
  /* Gates, gradients of outputs and carries, carries, weights, the first carry and where examples are kept -> \
     gradients of the sums, which may lie where the gates were, of the first output and carry. */              \
  KERNEL(lstm_gradient, products, Recurrence, In<float, &Recurrence::gates>, In<float, &Recurrence::states>,   \
         In<float, &Recurrence::states>, In<float, &Recurrence::states>, In<float, &Recurrence::weights>,      \
         In<float, &Recurrence::state>, In<float, &Recurrence::kept>, Out<float, &Recurrence::gates>,          \
         Out<float, &Recurrence::state>, Out<float, &Recurrence::state>)                                       \
  /* Queries, keys, values and mask -> output, and what its gradient needs. */                                \
  KERNEL(attention, products, Attention, In<float, &Attention::query>, In<float, &Attention::key>,             \
         In<float, &Attention::key>, In<uint8_t, &Attention::mask>, Out<float, &Attention::query>,             \
         Out<float, &Attention::statistics>)                                                                   \
  KERNEL(attention_gradient, products, Attention, In<float, &Attention::query>, In<float, &Attention::key>,    \
         In<float, &Attention::key>, In<uint8_t, &Attention::mask>, In<float, &Attention::statistics>,         \
         In<float, &Attention::query>, Out<float, &Attention::query>, Out<float, &Attention::key>,             \
         Out<float, &Attention::key>)                                                                          \
  KERNEL(take_rows, result, RowChoice, In<float, &RowChoice::source>, In<int32_t, &RowChoice::indices>,        \
         Out<float, &RowChoice::result>)                                                                       \
  /* A key -> what is true with a probability. */                                                              \
  KERNEL(bernoulli, numbers, Draws, In<uint32_t, &Draws::key>, Out<bool, &Draws::numbers>)

// Of bfloat16, of which any two channels of a group that a product sums over are one lane: an even number of
// channels_in for the first two, of channels_out for the last. Sums, and what is pooled, are float32; other
// results are bfloat16. Null where the instruction set has no such product.
#define CORNU_KERNELS_OF_PAIRS(KERNEL)                                                                         \
  KERNEL(convolution_of_pairs, products, Window, In<bfloat16, &Window::image>, In<bfloat16, &Window::weights>, \
         Out<bfloat16, &Window::outputs>)                                                                      \
  KERNEL(convolution_relu_pool_of_pairs, products, Window, In<bfloat16, &Window::image>,                       \
         In<bfloat16, &Window::weights>, In<float, &Window::biases>, Out<float, &Window::pooled>,              \
         Out<uint8_t, &Window::pooled>)                                                                        \
  KERNEL(input_gradient_of_pairs, products, Window, In<bfloat16, &Window::outputs>,                            \
         In<bfloat16, &Window::weights>, Out<bfloat16, &Window::image>)

struct Kernels {
  const char* name;
  int lanes;
#define CORNU_FIELD(name, work, ...) Kernel<__VA_ARGS__>* name;
  CORNU_KERNELS(CORNU_FIELD)
  CORNU_KERNELS_OF_PAIRS(CORNU_FIELD)
#undef CORNU_FIELD
  // Not for XLA: threads that read pictures call it.
  void (*resize)(const Picture&, const void* image, bool of_bytes, float* result);
  // Nor these: only programs have them (program.cc).
  void (*run_chain)(const Pool&, const Chain&, const void* from, float* to);
  void (*run_move)(const Move&, const float* from, float* to);
  // The weights and the bias must stay where they are.
  PreparedConvolution* (*prepare_convolution)(const Pool&, const Window&, const float* weights, const float* bias, After,
                                              float low, float high);
  ReducedConvolution* (*prepare_reduced)(const Pool&, const Reduced&);
};

// The rows of a PNG picture from what its file holds, inflated: a byte for the filter, and the differences, of each row.
// Returns whether all filters are known.
bool rows_of_png(const uint8_t* from, int64_t rows, int64_t width, int64_t channels, uint8_t* to);

// Throws std::invalid_argument: an error of the call, whichever thread finds it. (Not written where it is used,
// because the code of std::string must not be that of an instruction set.)
[[noreturn]] void refuse(const char* what, int64_t number);

// Those of this processor.
const Kernels* kernels();

// Whether they include those of pairs of bfloat16, and the processor has what these need.
bool multiplies_pairs();

// What relu and max-pooling remember: for each pooled output, which number of its window was the largest,
// counted row by row, or DEAD where relu has cut it.
struct Argmax {
  const uint8_t* bytes = nullptr;
  int64_t pool[3] = {1, 1, 1};
};
constexpr uint8_t DEAD = 255;

}  // namespace cornu
