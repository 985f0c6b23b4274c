// The kernels as XLA calls them.

#include <exception>
#include <initializer_list>
#include <string>

#include "kernels.h"
#include "xla/ffi/api/ffi.h"

namespace ffi = xla::ffi;

namespace cornu {
namespace {

typedef ffi::Buffer<ffi::F32> Floats;
typedef ffi::Buffer<ffi::BF16> Halves;
typedef ffi::Buffer<ffi::U8> Bytes;
typedef ffi::ResultBuffer<ffi::F32> FloatResult;
typedef ffi::ResultBuffer<ffi::BF16> HalfResult;
typedef ffi::ResultBuffer<ffi::U8> ByteResult;
typedef ffi::Span<const int64_t> Numbers;

// The order of `cornu.ops.windows.Geometry.attributes`.
constexpr size_t NUM_NUMBERS = 25;

typedef int64_t Three[3];

ffi::Error read_window(Numbers numbers, Window* window, Three* pooling = nullptr) {
  if (numbers.size() != NUM_NUMBERS)
    return ffi::Error::InvalidArgument("cornu: a window has " + std::to_string(NUM_NUMBERS) +
                                       " numbers, not " + std::to_string(numbers.size()));
  const int64_t* next = numbers.begin();
  window->batch = *next++;
  for (auto* three : {&window->size, &window->output, &window->window, &window->strides,
                      &window->dilation, &window->before})
    for (int64_t& number : *three) number = *next++;
  window->channels_in = *next++;
  window->channels_out = *next++;
  window->groups = *next++;
  if (pooling)
    for (int64_t& number : *pooling) number = *next++;
  return ffi::Error::Success();
}

int64_t count(const int64_t (&n)[3], int64_t batch, int64_t channels) {
  return batch * n[0] * n[1] * n[2] * channels;
}

int64_t pooled_count(const Window& w, const Three& pooling) {
  int64_t total = w.batch * w.channels_out;
  for (int a = 0; a < 3; ++a) total *= w.output[a] / pooling[a];
  return total;
}

// The one way in which Python and this file could disagree, and memory be overrun.
struct Size {
  const char* what;
  int64_t expected;
  size_t came;
};
ffi::Error check(std::initializer_list<Size> sizes) {
  for (const Size& size : sizes)
    if (size.expected != int64_t(size.came))
      return ffi::Error::InvalidArgument(std::string("cornu: the ") + size.what + " has " +
                                         std::to_string(size.came) + " elements, expected " +
                                         std::to_string(size.expected));
  return ffi::Error::Success();
}
#define CORNU_CHECK(expression)                          \
  do {                                                   \
    ffi::Error error = (expression);                     \
    if (error.failure()) return error;                   \
  } while (false)

int64_t kernel_floats(const Window& w) {
  return w.window[0] * w.window[1] * w.window[2] * (w.channels_in / w.groups) * w.channels_out;
}

// Products of a convolution, or of one of its gradients, by vectors.
int64_t products(const Window& w) { return count(w.output, w.batch, 1) * kernel_floats(w) / 16; }

// So few products, or numbers, are done before another thread is awake.
constexpr int64_t FEW = 1 << 16;

template <class Work>
ffi::Error run(ffi::ThreadPool threads, int64_t amount, const Work& work) {
  try {
    work(Pool{amount < FEW ? 1 : int(threads.num_threads()),
              [&](std::function<void()> task) { threads.Schedule(std::move(task)); }});
  } catch (const std::bad_alloc&) {
    return ffi::Error(ffi::ErrorCode::kResourceExhausted, "cornu: out of memory for a kernel's scratch");
  } catch (const std::exception& error) {
    return ffi::Error::Internal(std::string("cornu: ") + error.what());
  }
  return ffi::Error::Success();
}

ffi::Error convolution(ffi::ThreadPool threads, Floats image, Floats kernel, Numbers numbers,
                       FloatResult result) {
  Window w;
  CORNU_CHECK(read_window(numbers, &w));
  CORNU_CHECK(check({{"image", count(w.size, w.batch, w.channels_in), image.element_count()},
                     {"kernel", kernel_floats(w), kernel.element_count()},
                     {"result", count(w.output, w.batch, w.channels_out), result->element_count()}}));
  return run(threads, products(w), [&](const Pool& pool) {
    kernels()->convolution(pool, w, image.typed_data(), kernel.typed_data(), nullptr, LINEAR,
                           result->typed_data());
  });
}

ffi::Error convolution_relu_pool(ffi::ThreadPool threads, Floats image, Floats kernel, Floats bias,
                                 Numbers numbers, FloatResult result, ByteResult picks) {
  Window w;
  Three pooling;
  CORNU_CHECK(read_window(numbers, &w, &pooling));
  CORNU_CHECK(check({{"image", count(w.size, w.batch, w.channels_in), image.element_count()},
                     {"kernel", kernel_floats(w), kernel.element_count()},
                     {"bias", w.channels_out, bias.element_count()},
                     {"result", pooled_count(w, pooling), result->element_count()},
                     {"picks", pooled_count(w, pooling), picks->element_count()}}));
  return run(threads, products(w), [&](const Pool& pool) {
    kernels()->convolution_relu_pool(pool, w, pooling, image.typed_data(), kernel.typed_data(),
                                     bias.typed_data(), result->typed_data(),
                                     picks->typed_data());
  });
}

ffi::Error check_pairs(const char* what, int64_t channels, const Window& w) {
  if (!multiplies_pairs())
    return ffi::Error::InvalidArgument("cornu: this processor does not multiply bfloat16");
  if (channels / w.groups % 2)
    return ffi::Error::InvalidArgument(std::string("cornu: the ") + what +
                                       " has an odd number of channels");
  return ffi::Error::Success();
}
uint16_t* data(const Halves& halves) { return static_cast<uint16_t*>(halves.untyped_data()); }

ffi::Error convolution_of_pairs(ffi::ThreadPool threads, Halves image, Halves kernel,
                                Numbers numbers, HalfResult result) {
  Window w;
  CORNU_CHECK(read_window(numbers, &w));
  CORNU_CHECK(check_pairs("image", w.channels_in, w));
  CORNU_CHECK(check({{"image", count(w.size, w.batch, w.channels_in), image.element_count()},
                     {"kernel", kernel_floats(w), kernel.element_count()},
                     {"result", count(w.output, w.batch, w.channels_out), result->element_count()}}));
  return run(threads, products(w), [&](const Pool& pool) {
    kernels()->convolution_of_pairs(pool, w, data(image), data(kernel), data(*result));
  });
}

ffi::Error convolution_relu_pool_of_pairs(ffi::ThreadPool threads, Halves image, Halves kernel,
                                          Floats bias, Numbers numbers, FloatResult result,
                                          ByteResult picks) {
  Window w;
  Three pooling;
  CORNU_CHECK(read_window(numbers, &w, &pooling));
  CORNU_CHECK(check_pairs("image", w.channels_in, w));
  CORNU_CHECK(check({{"image", count(w.size, w.batch, w.channels_in), image.element_count()},
                     {"kernel", kernel_floats(w), kernel.element_count()},
                     {"bias", w.channels_out, bias.element_count()},
                     {"result", pooled_count(w, pooling), result->element_count()},
                     {"picks", pooled_count(w, pooling), picks->element_count()}}));
  return run(threads, products(w), [&](const Pool& pool) {
    kernels()->convolution_relu_pool_of_pairs(pool, w, pooling, data(image), data(kernel),
                                              bias.typed_data(), result->typed_data(),
                                              picks->typed_data());
  });
}

ffi::Error input_gradient_of_pairs(ffi::ThreadPool threads, Halves gradient, Halves kernel,
                                   Numbers numbers, HalfResult result) {
  Window w;
  CORNU_CHECK(read_window(numbers, &w));
  CORNU_CHECK(check_pairs("gradient", w.channels_out, w));
  CORNU_CHECK(check({{"image", count(w.size, w.batch, w.channels_in), result->element_count()},
                     {"kernel", kernel_floats(w), kernel.element_count()},
                     {"gradient", count(w.output, w.batch, w.channels_out), gradient.element_count()}}));
  return run(threads, products(w), [&](const Pool& pool) {
    kernels()->input_gradient_of_pairs(pool, w, data(gradient), data(kernel),
                                       data(*result));
  });
}

ffi::Error picked_input_gradient(ffi::ThreadPool threads, Floats gradient, Floats kernel,
                                 Bytes bytes, Numbers numbers, FloatResult result) {
  Window w;
  Picks picks{bytes.typed_data(), {}};
  CORNU_CHECK(read_window(numbers, &w, &picks.pool));
  CORNU_CHECK(check({{"image", count(w.size, w.batch, w.channels_in), result->element_count()},
                     {"kernel", kernel_floats(w), kernel.element_count()},
                     {"gradient", pooled_count(w, picks.pool), gradient.element_count()},
                     {"picks", pooled_count(w, picks.pool), bytes.element_count()}}));
  return run(threads, products(w), [&](const Pool& pool) {
    kernels()->input_gradient(pool, w, gradient.typed_data(), picks, kernel.typed_data(),
                              result->typed_data());
  });
}

ffi::Error picked_kernel_gradient(ffi::ThreadPool threads, Floats image, Floats gradient,
                                  Bytes bytes, Numbers numbers, FloatResult result) {
  Window w;
  Picks picks{bytes.typed_data(), {}};
  CORNU_CHECK(read_window(numbers, &w, &picks.pool));
  CORNU_CHECK(check({{"image", count(w.size, w.batch, w.channels_in), image.element_count()},
                     {"kernel", kernel_floats(w), result->element_count()},
                     {"gradient", pooled_count(w, picks.pool), gradient.element_count()},
                     {"picks", pooled_count(w, picks.pool), bytes.element_count()}}));
  return run(threads, products(w), [&](const Pool& pool) {
    kernels()->kernel_gradient(pool, w, image.typed_data(), gradient.typed_data(), picks,
                               result->typed_data());
  });
}

ffi::Error input_gradient(ffi::ThreadPool threads, Floats gradient, Floats kernel, Numbers numbers,
                          FloatResult result) {
  Window w;
  CORNU_CHECK(read_window(numbers, &w));
  CORNU_CHECK(check({{"image", count(w.size, w.batch, w.channels_in), result->element_count()},
                     {"kernel", kernel_floats(w), kernel.element_count()},
                     {"gradient", count(w.output, w.batch, w.channels_out), gradient.element_count()}}));
  return run(threads, products(w), [&](const Pool& pool) {
    kernels()->input_gradient(pool, w, gradient.typed_data(), Picks{}, kernel.typed_data(),
                              result->typed_data());
  });
}

ffi::Error kernel_gradient(ffi::ThreadPool threads, Floats image, Floats gradient, Numbers numbers,
                           FloatResult result) {
  Window w;
  CORNU_CHECK(read_window(numbers, &w));
  CORNU_CHECK(check({{"image", count(w.size, w.batch, w.channels_in), image.element_count()},
                     {"kernel", kernel_floats(w), result->element_count()},
                     {"gradient", count(w.output, w.batch, w.channels_out), gradient.element_count()}}));
  return run(threads, products(w), [&](const Pool& pool) {
    kernels()->kernel_gradient(pool, w, image.typed_data(), gradient.typed_data(), Picks{},
                               result->typed_data());
  });
}

ffi::Error reduce(Reduction run_it, ffi::ThreadPool threads, Floats x, Numbers sizes, FloatResult result) {
  if (sizes.size() != 3)
    return ffi::Error::InvalidArgument("cornu: 3 sizes are expected, not " + std::to_string(sizes.size()));
  const int64_t outer = sizes[0], places = sizes[1], inner = sizes[2];
  CORNU_CHECK(check({{"operand", outer * places * inner, x.element_count()},
                     {"result", outer * inner, result->element_count()}}));
  return run(threads, x.element_count(), [&](const Pool& pool) {
    run_it(pool, x.typed_data(), outer, places, inner, result->typed_data());
  });
}
ffi::Error sum(ffi::ThreadPool threads, Floats x, Numbers sizes, FloatResult result) {
  return reduce(kernels()->sum, threads, x, sizes, result);
}
ffi::Error largest(ffi::ThreadPool threads, Floats x, Numbers sizes, FloatResult result) {
  return reduce(kernels()->largest, threads, x, sizes, result);
}

ffi::Error channel_sum(ffi::ThreadPool threads, Floats gradient, Bytes picks, FloatResult result) {
  const int64_t channels = result->element_count();
  const int64_t places = channels ? int64_t(gradient.element_count()) / channels : 0;
  CORNU_CHECK(check({{"gradient", places * channels, gradient.element_count()},
                     {"picks", places * channels, picks.element_count()}}));
  return run(threads, gradient.element_count(), [&](const Pool& pool) {
    kernels()->channel_sum(pool, gradient.typed_data(), picks.typed_data(), places, channels,
                           result->typed_data());
  });
}

ffi::Error max_pool(ffi::ThreadPool threads, Floats image, Numbers numbers, FloatResult result,
                    ByteResult places) {
  Window w;
  CORNU_CHECK(read_window(numbers, &w));
  CORNU_CHECK(check({{"image", count(w.size, w.batch, w.channels_in), image.element_count()},
                     {"result", count(w.output, w.batch, w.channels_in), result->element_count()},
                     {"places", int64_t(result->element_count()), places->element_count()}}));
  return run(threads, image.element_count(), [&](const Pool& pool) {
    kernels()->max_pool(pool, w, image.typed_data(), result->typed_data(), places->typed_data());
  });
}

ffi::Error max_pool_gradient(ffi::ThreadPool threads, Floats gradient, Bytes places,
                             Numbers numbers, FloatResult result) {
  Window w;
  CORNU_CHECK(read_window(numbers, &w));
  CORNU_CHECK(check({{"image", count(w.size, w.batch, w.channels_in), result->element_count()},
                     {"gradient", count(w.output, w.batch, w.channels_in), gradient.element_count()},
                     {"places", int64_t(gradient.element_count()), places.element_count()}}));
  return run(threads, result->element_count(), [&](const Pool& pool) {
    kernels()->max_pool_gradient(pool, w, gradient.typed_data(), places.typed_data(),
                                 result->typed_data());
  });
}

ffi::Error sum_pool(ffi::ThreadPool threads, Floats image, Numbers numbers, FloatResult result) {
  Window w;
  CORNU_CHECK(read_window(numbers, &w));
  CORNU_CHECK(check({{"image", count(w.size, w.batch, w.channels_in), image.element_count()},
                     {"result", count(w.output, w.batch, w.channels_in), result->element_count()}}));
  return run(threads, image.element_count(), [&](const Pool& pool) {
    kernels()->sum_pool(pool, w, image.typed_data(), result->typed_data());
  });
}

ffi::Error sum_pool_gradient(ffi::ThreadPool threads, Floats gradient, Numbers numbers,
                             FloatResult result) {
  Window w;
  CORNU_CHECK(read_window(numbers, &w));
  CORNU_CHECK(check({{"image", count(w.size, w.batch, w.channels_in), result->element_count()},
                     {"gradient", count(w.output, w.batch, w.channels_in), gradient.element_count()}}));
  return run(threads, result->element_count(), [&](const Pool& pool) {
    kernels()->sum_pool_gradient(pool, w, gradient.typed_data(), result->typed_data());
  });
}

// An image of any shape, for which only the last axis matters.
struct Rows {
  int64_t channels, places;
  Rows(const Floats& image, int64_t channels)
      : channels(channels), places(channels ? int64_t(image.element_count()) / channels : 0) {}
};

ffi::Error moments(ffi::ThreadPool threads, Floats image, FloatResult mean, FloatResult variance) {
  const Rows rows(image, mean->element_count());
  CORNU_CHECK(check({{"image", rows.places * rows.channels, image.element_count()},
                     {"variance", rows.channels, variance->element_count()}}));
  return run(threads, image.element_count(), [&](const Pool& pool) {
    kernels()->moments(pool, image.typed_data(), rows.places, rows.channels, mean->typed_data(),
                       variance->typed_data());
  });
}

ffi::Error totals(ffi::ThreadPool threads, Floats gradient, Floats image, Floats center,
                  FloatResult dot, FloatResult sum) {
  const Rows rows(image, center.element_count());
  CORNU_CHECK(check({{"image", rows.places * rows.channels, image.element_count()},
                     {"gradient", int64_t(image.element_count()), gradient.element_count()},
                     {"dot", rows.channels, dot->element_count()},
                     {"sum", rows.channels, sum->element_count()}}));
  return run(threads, image.element_count(), [&](const Pool& pool) {
    kernels()->totals(pool, gradient.typed_data(), image.typed_data(), center.typed_data(),
                      rows.places, rows.channels, dot->typed_data(), sum->typed_data());
  });
}

ffi::Error picked_totals(ffi::ThreadPool threads, Floats gradient, Floats image, Floats center,
                         Bytes picks, Numbers numbers, FloatResult dot, FloatResult sum) {
  Window w;
  CORNU_CHECK(read_window(numbers, &w));
  CORNU_CHECK(check({{"image", count(w.size, w.batch, w.channels_in), image.element_count()},
                     {"gradient", count(w.output, w.batch, w.channels_in), gradient.element_count()},
                     {"picks", int64_t(gradient.element_count()), picks.element_count()}}));
  CORNU_CHECK(check({{"center", w.channels_in, center.element_count()},
                     {"dot", w.channels_in, dot->element_count()},
                     {"sum", w.channels_in, sum->element_count()}}));
  return run(threads, image.element_count(), [&](const Pool& pool) {
    kernels()->picked_totals(pool, w, gradient.typed_data(), image.typed_data(),
                             center.typed_data(), picks.typed_data(), dot->typed_data(),
                             sum->typed_data());
  });
}

ffi::Error affine_relu_pool(ffi::ThreadPool threads, Floats image, Floats center, Floats factor,
                            Floats offset, Numbers numbers, FloatResult result, ByteResult picks) {
  Window w;
  CORNU_CHECK(read_window(numbers, &w));
  CORNU_CHECK(check({{"image", count(w.size, w.batch, w.channels_in), image.element_count()},
                     {"result", count(w.output, w.batch, w.channels_in), result->element_count()},
                     {"picks", int64_t(result->element_count()), picks->element_count()}}));
  CORNU_CHECK(check({{"center", w.channels_in, center.element_count()},
                     {"factor", w.channels_in, factor.element_count()},
                     {"offset", w.channels_in, offset.element_count()}}));
  return run(threads, image.element_count(), [&](const Pool& pool) {
    kernels()->affine_relu_pool(pool, w, image.typed_data(), center.typed_data(),
                                factor.typed_data(), offset.typed_data(), result->typed_data(),
                                picks->typed_data());
  });
}

ffi::Error curve(Curve run_it, ffi::ThreadPool threads, Floats image, Floats bias, FloatResult result) {
  const Rows rows(image, bias.element_count());
  CORNU_CHECK(check({{"image", rows.places * rows.channels, image.element_count()},
                     {"result", int64_t(image.element_count()), result->element_count()}}));
  return run(threads, 2 * image.element_count(), [&](const Pool& pool) {
    run_it(pool, image.typed_data(), bias.typed_data(), rows.places, rows.channels, result->typed_data());
  });
}
ffi::Error biased_tanh(ffi::ThreadPool threads, Floats image, Floats bias, FloatResult result) {
  return curve(kernels()->biased_tanh, threads, image, bias, result);
}
ffi::Error biased_softmax(ffi::ThreadPool threads, Floats image, Floats bias, FloatResult result) {
  return curve(kernels()->biased_softmax, threads, image, bias, result);
}

ffi::Error curve_gradient(CurveGradient run_it, ffi::ThreadPool threads, Floats gradient, Floats result,
                          FloatResult back, FloatResult total) {
  const Rows rows(result, total->element_count());
  CORNU_CHECK(check({{"result", rows.places * rows.channels, result.element_count()},
                     {"gradient", int64_t(result.element_count()), gradient.element_count()},
                     {"back", int64_t(result.element_count()), back->element_count()}}));
  return run(threads, result.element_count(), [&](const Pool& pool) {
    run_it(pool, gradient.typed_data(), result.typed_data(), rows.places, rows.channels,
           back->typed_data(), total->typed_data());
  });
}
ffi::Error tanh_gradient(ffi::ThreadPool threads, Floats gradient, Floats result, FloatResult back,
                         FloatResult total) {
  return curve_gradient(kernels()->tanh_gradient, threads, gradient, result, back, total);
}
ffi::Error softmax_gradient(ffi::ThreadPool threads, Floats gradient, Floats result, FloatResult back,
                            FloatResult total) {
  return curve_gradient(kernels()->softmax_gradient, threads, gradient, result, back, total);
}

ffi::Error adam(ffi::ThreadPool threads, Floats value, Floats momentum, Floats velocity, Floats gradient,
                Floats rate, float first, float second, float epsilon, FloatResult new_value,
                FloatResult new_momentum, FloatResult new_velocity) {
  const int64_t count = value.element_count();
  CORNU_CHECK(check({{"momentum", count, momentum.element_count()},
                     {"velocity", count, velocity.element_count()},
                     {"gradient", count, gradient.element_count()},
                     {"rate", 1, rate.element_count()}}));
  CORNU_CHECK(check({{"new value", count, new_value->element_count()},
                     {"new momentum", count, new_momentum->element_count()},
                     {"new velocity", count, new_velocity->element_count()}}));
  const Step step{first, second, *rate.typed_data(), epsilon};
  // A division and a root take as long as some products.
  return run(threads, 4 * count, [&](const Pool& pool) {
    kernels()->adam(pool, step, count, value.typed_data(), momentum.typed_data(), velocity.typed_data(),
                    gradient.typed_data(), new_value->typed_data(), new_momentum->typed_data(),
                    new_velocity->typed_data());
  });
}

ffi::Error take_rows(ffi::ThreadPool threads, Floats source, ffi::Buffer<ffi::S32> rows, FloatResult result) {
  const int64_t count = rows.element_count(), all = source.dimensions()[0];
  const int64_t length = all ? int64_t(source.element_count()) / all : 0;
  CORNU_CHECK(check({{"result", count * length, result->element_count()}}));
  for (int64_t i = 0; i < count; ++i)
    if (rows.typed_data()[i] < 0 || rows.typed_data()[i] >= all)
      return ffi::Error::InvalidArgument("cornu: there is no row " + std::to_string(rows.typed_data()[i]));
  return run(threads, result->element_count(), [&](const Pool& pool) {
    kernels()->take_rows(pool, source.typed_data(), rows.typed_data(), count, length, result->typed_data());
  });
}

ffi::Error bernoulli(ffi::ThreadPool threads, ffi::Buffer<ffi::U32> key, double probability,
                     ffi::ResultBuffer<ffi::PRED> result) {
  CORNU_CHECK(check({{"key", 2, key.element_count()}}));
  return run(threads, result->element_count(), [&](const Pool& pool) {
    kernels()->bernoulli(pool, key.typed_data(), float(probability), result->element_count(),
                         reinterpret_cast<uint8_t*>(result->typed_data()));
  });
}

}  // namespace
}  // namespace cornu

#define CORNU_HANDLER(name, binding)                                                   \
  extern "C" __attribute__((visibility("default"))) XLA_FFI_Error* cornu_##name(       \
      XLA_FFI_CallFrame*);                                                             \
  XLA_FFI_DEFINE_HANDLER_SYMBOL(cornu_##name, cornu::name,                             \
                                ffi::Ffi::Bind().Ctx<ffi::ThreadPool>() binding)
#define CORNU_FLOATS .Arg<cornu::Floats>()
#define CORNU_HALVES .Arg<cornu::Halves>()
#define CORNU_BYTES .Arg<cornu::Bytes>()
#define CORNU_WINDOW .Attr<cornu::Numbers>("window")

CORNU_HANDLER(convolution, CORNU_FLOATS CORNU_FLOATS CORNU_WINDOW.Ret<cornu::Floats>());
CORNU_HANDLER(convolution_relu_pool, CORNU_FLOATS CORNU_FLOATS CORNU_FLOATS CORNU_WINDOW
                                         .Ret<cornu::Floats>().Ret<cornu::Bytes>());
CORNU_HANDLER(convolution_of_pairs, CORNU_HALVES CORNU_HALVES CORNU_WINDOW.Ret<cornu::Halves>());
CORNU_HANDLER(convolution_relu_pool_of_pairs, CORNU_HALVES CORNU_HALVES CORNU_FLOATS CORNU_WINDOW
                                                  .Ret<cornu::Floats>().Ret<cornu::Bytes>());
CORNU_HANDLER(input_gradient_of_pairs, CORNU_HALVES CORNU_HALVES CORNU_WINDOW.Ret<cornu::Halves>());
CORNU_HANDLER(picked_input_gradient,
              CORNU_FLOATS CORNU_FLOATS CORNU_BYTES CORNU_WINDOW.Ret<cornu::Floats>());
CORNU_HANDLER(picked_kernel_gradient,
              CORNU_FLOATS CORNU_FLOATS CORNU_BYTES CORNU_WINDOW.Ret<cornu::Floats>());
CORNU_HANDLER(input_gradient, CORNU_FLOATS CORNU_FLOATS CORNU_WINDOW.Ret<cornu::Floats>());
CORNU_HANDLER(kernel_gradient, CORNU_FLOATS CORNU_FLOATS CORNU_WINDOW.Ret<cornu::Floats>());
CORNU_HANDLER(sum, CORNU_FLOATS.Attr<cornu::Numbers>("sizes").Ret<cornu::Floats>());
CORNU_HANDLER(largest, CORNU_FLOATS.Attr<cornu::Numbers>("sizes").Ret<cornu::Floats>());
CORNU_HANDLER(channel_sum, CORNU_FLOATS CORNU_BYTES.Ret<cornu::Floats>());
CORNU_HANDLER(max_pool, CORNU_FLOATS CORNU_WINDOW.Ret<cornu::Floats>().Ret<cornu::Bytes>());
CORNU_HANDLER(max_pool_gradient, CORNU_FLOATS CORNU_BYTES CORNU_WINDOW.Ret<cornu::Floats>());
CORNU_HANDLER(sum_pool, CORNU_FLOATS CORNU_WINDOW.Ret<cornu::Floats>());
CORNU_HANDLER(sum_pool_gradient, CORNU_FLOATS CORNU_WINDOW.Ret<cornu::Floats>());
CORNU_HANDLER(moments, CORNU_FLOATS.Ret<cornu::Floats>().Ret<cornu::Floats>());
CORNU_HANDLER(totals,
              CORNU_FLOATS CORNU_FLOATS CORNU_FLOATS.Ret<cornu::Floats>().Ret<cornu::Floats>());
CORNU_HANDLER(picked_totals, CORNU_FLOATS CORNU_FLOATS CORNU_FLOATS CORNU_BYTES CORNU_WINDOW
                                 .Ret<cornu::Floats>().Ret<cornu::Floats>());
CORNU_HANDLER(affine_relu_pool, CORNU_FLOATS CORNU_FLOATS CORNU_FLOATS CORNU_FLOATS CORNU_WINDOW
                                    .Ret<cornu::Floats>().Ret<cornu::Bytes>());
CORNU_HANDLER(biased_tanh, CORNU_FLOATS CORNU_FLOATS.Ret<cornu::Floats>());
CORNU_HANDLER(biased_softmax, CORNU_FLOATS CORNU_FLOATS.Ret<cornu::Floats>());
CORNU_HANDLER(tanh_gradient, CORNU_FLOATS CORNU_FLOATS.Ret<cornu::Floats>().Ret<cornu::Floats>());
CORNU_HANDLER(softmax_gradient, CORNU_FLOATS CORNU_FLOATS.Ret<cornu::Floats>().Ret<cornu::Floats>());
CORNU_HANDLER(adam, CORNU_FLOATS CORNU_FLOATS CORNU_FLOATS CORNU_FLOATS CORNU_FLOATS
                        .Attr<float>("first").Attr<float>("second").Attr<float>("epsilon")
                        .Ret<cornu::Floats>().Ret<cornu::Floats>().Ret<cornu::Floats>());
CORNU_HANDLER(take_rows, CORNU_FLOATS.Arg<xla::ffi::Buffer<xla::ffi::S32>>().Ret<cornu::Floats>());
CORNU_HANDLER(bernoulli, .Arg<xla::ffi::Buffer<xla::ffi::U32>>().Attr<double>("probability")
                             .Ret<xla::ffi::Buffer<xla::ffi::PRED>>());

// The name of the instruction set in use.
extern "C" __attribute__((visibility("default"))) const char* cornu_instruction_set() {
  return cornu::kernels()->name;
}
// The version of XLA's interface that this was compiled for. An older XLA does not run it, a newer one does.
extern "C" __attribute__((visibility("default"))) void cornu_interface(int* version) {
  version[0] = XLA_FFI_API_MAJOR;
  version[1] = XLA_FFI_API_MINOR;
}
extern "C" __attribute__((visibility("default"))) bool cornu_multiplies_pairs() {
  return cornu::multiplies_pairs();
}
