// The kernels as XLA calls them: each has a handler that finds out the shape, checks all operands and runs it.

#include <cstring>
#include <exception>
#include <memory>
#include <stdexcept>
#include <string>
#include <type_traits>
#include <vector>

#include "kernels.h"
#include "shared_sums.h"
#include "xla/ffi/api/ffi.h"

namespace ffi = xla::ffi;

namespace cornu {
namespace {

// ---- operands as XLA's arrays

template <class T>
constexpr ffi::DataType TYPE = ffi::DataType::INVALID;
template <>
constexpr ffi::DataType TYPE<float> = ffi::F32;
template <>
constexpr ffi::DataType TYPE<bfloat16> = ffi::BF16;
template <>
constexpr ffi::DataType TYPE<uint8_t> = ffi::U8;
template <>
constexpr ffi::DataType TYPE<int32_t> = ffi::S32;
template <>
constexpr ffi::DataType TYPE<uint32_t> = ffi::U32;
template <>
constexpr ffi::DataType TYPE<bool> = ffi::PRED;

template <auto COUNT>
struct CountedBy {};

template <class Operand>
struct Traits;
template <class T, auto COUNT>
struct Traits<In<T, COUNT>> {
  typedef ffi::Buffer<TYPE<T>> Array;
  typedef CountedBy<COUNT> Counted;
  static constexpr auto count = COUNT;
  template <class Binding>
  static auto bind(Binding&& binding) {
    return std::move(binding).template Arg<Array>();
  }
};
template <class T, auto COUNT>
struct Traits<Out<T, COUNT>> {
  typedef ffi::ResultBuffer<TYPE<T>> Array;
  typedef CountedBy<COUNT> Counted;
  static constexpr auto count = COUNT;
  template <class Binding>
  static auto bind(Binding&& binding) {
    return std::move(binding).template Ret<ffi::Buffer<TYPE<T>>>();
  }
};

template <class First, class... Rest, class Binding>
auto bind_all(Binding&& binding) {
  auto bound = [&] { return Traits<First>::bind(std::move(binding)); };
  if constexpr (sizeof...(Rest) == 0) return bound();
  else return bind_all<Rest...>(bound());
}

template <ffi::DataType TYPE>
ffi::Buffer<TYPE> array(ffi::Buffer<TYPE> operand) { return operand; }
template <ffi::DataType TYPE>
ffi::Buffer<TYPE> array(ffi::ResultBuffer<TYPE> result) { return *result; }

// How many numbers each operand has.
template <class... Operands>
struct Counts {
  int64_t given[sizeof...(Operands)];

  // That of the first operand whose number `COUNT` says.
  template <auto COUNT>
  int64_t of() const {
    constexpr bool right[] = {std::is_same_v<typename Traits<Operands>::Counted, CountedBy<COUNT>>...};
    size_t i = 0;
    while (!right[i]) ++i;
    return given[i];
  }
};

// ---- shapes, from attributes and numbers of elements

template <class T>
T attribute(const ffi::Dictionary& attributes, const char* name) {
  const auto found = attributes.get<T>(name);
  if (found.has_error()) throw std::invalid_argument(found.error().message());
  return found.value();
}

template <size_t N>
void read_numbers(const ffi::Dictionary& attributes, const char* name, int64_t (&to)[N]) {
  const auto numbers = attribute<ffi::Span<const int64_t>>(attributes, name);
  if (numbers.size() != N)
    throw std::invalid_argument(std::string(name) + " has " + std::to_string(numbers.size()) +
                                " numbers, expected " + std::to_string(N));
  std::copy(numbers.begin(), numbers.end(), to);
}

int64_t divided(int64_t n, int64_t by) { return by ? n / by : 0; }

template <class Counts>
void read(const ffi::Dictionary& attributes, const Counts&, Window* window) {
  int64_t numbers[sizeof(Window) / sizeof(int64_t)];
  read_numbers(attributes, "window", numbers);
  memcpy(window, numbers, sizeof numbers);
}
template <class Counts>
void read(const ffi::Dictionary& attributes, const Counts&, Reduction* reduction) {
  int64_t sizes[3];
  read_numbers(attributes, "sizes", sizes);
  *reduction = {sizes[0], sizes[1], sizes[2]};
}
template <class Counts>
void read(const ffi::Dictionary&, const Counts& counts, Rows* rows) {
  rows->channels = counts.template of<&Rows::per_channel>();
  rows->rows = divided(counts.template of<&Rows::numbers>(), rows->channels);
}
template <class Counts>
void read(const ffi::Dictionary& attributes, const Counts& counts, AdamStep* step) {
  step->first = attribute<float>(attributes, "first");
  step->second = attribute<float>(attributes, "second");
  step->epsilon = attribute<float>(attributes, "epsilon");
  step->count = counts.template of<&AdamStep::numbers>();
}
template <class Counts>
void read(const ffi::Dictionary&, const Counts& counts, RowChoice* choice) {
  choice->count = counts.template of<&RowChoice::indices>();
  choice->length = divided(counts.template of<&RowChoice::result>(), choice->count);
  choice->all = divided(counts.template of<&RowChoice::source>(), choice->length);
}
template <class Counts>
void read(const ffi::Dictionary&, const Counts& counts, Recurrence* recurrence) {
  const int64_t states = counts.template of<&Recurrence::states>();
  recurrence->units = divided(states, counts.template of<&Recurrence::kept>());
  recurrence->steps = divided(states, counts.template of<&Recurrence::state>());
  recurrence->batch = divided(counts.template of<&Recurrence::state>(), recurrence->units);
}
template <class Counts>
void read(const ffi::Dictionary& attributes, const Counts&, Attention* attention) {
  int64_t n[9];
  read_numbers(attributes, "sizes", n);
  *attention = {n[0], n[1], n[2], n[3], n[4], n[5], n[6], n[7], n[8], attribute<float>(attributes, "scale")};
}
template <class Counts>
void read(const ffi::Dictionary& attributes, const Counts& counts, Draws* draws) {
  draws->probability = float(attribute<double>(attributes, "probability"));
  draws->count = counts.template of<&Draws::numbers>();
}

// ---- calls

// So little work is done before another thread is awake.
constexpr int64_t FEW = 1 << 16;

template <class Shape, class... Operands>
struct Call {
  Kernel<Shape, Operands...>* kernel;
  int64_t (Shape::*work)() const;

  ffi::Error operator()(ffi::ThreadPool threads, ffi::Dictionary attributes,
                        typename Traits<Operands>::Array... operands) const {
    try {
      if ((std::is_same_v<typename Operands::Number, bfloat16> || ...) && !multiplies_pairs())
        throw std::invalid_argument("this processor does not multiply bfloat16");
      const Counts<Operands...> counts{{int64_t(array(operands).element_count())...}};
      Shape shape;
      read(attributes, counts, &shape);
      // The one way in which Python and this file could disagree, and memory be overrun.
      const int64_t expected[] = {(shape.*Traits<Operands>::count)()...};
      for (size_t i = 0; i < sizeof...(Operands); ++i)
        if (counts.given[i] != expected[i])
          throw std::invalid_argument("operand " + std::to_string(i) + " has " + std::to_string(counts.given[i]) +
                                      " elements, expected " + std::to_string(expected[i]));
      const Pool pool{(shape.*work)() < FEW ? 1 : int(threads.num_threads()),
                      [&](std::function<void()> task) { threads.Schedule(std::move(task)); }};
      kernel(pool, shape, static_cast<typename Operands::Pointer>(array(operands).untyped_data())...);
      return ffi::Error::Success();
    } catch (const std::bad_alloc&) {
      return ffi::Error(ffi::ErrorCode::kResourceExhausted, "cornu: out of memory for a kernel's scratch");
    } catch (const std::invalid_argument& error) {
      return ffi::Error::InvalidArgument(std::string("cornu: ") + error.what());
    } catch (const std::exception& error) {
      return ffi::Error::Internal(std::string("cornu: ") + error.what());
    } catch (...) {
      return ffi::Error::Internal("cornu: a kernel has thrown what is no std::exception");
    }
  }
};

template <class Shape, class... Operands>
auto handler(Kernel<Shape, Operands...>* kernel, int64_t (Shape::*work)() const) {
  return bind_all<Operands...>(ffi::Ffi::Bind().Ctx<ffi::ThreadPool>().Attrs())
      .To(Call<Shape, Operands...>{kernel, work});
}

}  // namespace

#define CORNU_EXPORT extern "C" __attribute__((visibility("default")))

#define CORNU_HANDLER(name, work, Shape, ...)                                                      \
  CORNU_EXPORT XLA_FFI_Error* cornu_##name(XLA_FFI_CallFrame* frame) {                             \
    static const auto call = handler<Shape, __VA_ARGS__>(kernels()->name, &Shape::work);           \
    return call->Call(frame);                                                                      \
  }
CORNU_KERNELS(CORNU_HANDLER)
CORNU_KERNELS_OF_PAIRS(CORNU_HANDLER)

namespace {

Number number_of(ffi::DataType type) {
  switch (type) {
    case ffi::F32: return Number::FLOAT32;
    case ffi::F64: return Number::FLOAT64;
    case ffi::S32: return Number::INT32;
    case ffi::U32: return Number::UINT32;
    default: throw std::invalid_argument("numbers of this kind are not summed over processes");
  }
}

std::unique_ptr<Sharing> sharing;

// As many operands as results are summed; the others only come before.
ffi::Error sum_over_processes_of(int64_t key, bool gathers, ffi::RemainingArgs operands, ffi::RemainingRets results) {
  try {
    std::vector<Shared> arrays;
    ffi::DataType type = ffi::F32;
    for (size_t i = 0; i < results.size(); ++i) {
      const auto from = operands.get<ffi::AnyBuffer>(i);
      auto to = results.get<ffi::AnyBuffer>(i);
      if (!from || !to) throw std::invalid_argument("a sum over processes lacks an operand");
      if (i == 0) type = from->element_type();
      if (from->element_type() != type || (*to)->element_type() != type)
        throw std::invalid_argument("a sum over processes has numbers of several kinds");
      arrays.push_back({from->untyped_data(), (*to)->untyped_data(), int64_t(from->element_count())});
    }
    if (!sharing) throw std::invalid_argument("this process shares no memory with others");
    sharing->sum(arrays.data(), arrays.size(), number_of(type), key, gathers);
    return ffi::Error::Success();
  } catch (const std::bad_alloc&) {
    return ffi::Error(ffi::ErrorCode::kResourceExhausted, "cornu: out of memory for a sum over processes");
  } catch (const std::exception& error) {
    return ffi::Error::InvalidArgument(std::string("cornu: ") + error.what());
  }
}

}  // namespace

CORNU_EXPORT XLA_FFI_Error* cornu_sum_over_processes(XLA_FFI_CallFrame* frame) {
  static const auto call =
      ffi::Ffi::Bind().Attr<int64_t>("key").Attr<bool>("gathers").RemainingArgs().RemainingRets().To(
          sum_over_processes_of);
  return call->Call(frame);
}
CORNU_EXPORT int64_t cornu_bytes_to_share(int64_t processes) { return Sharing::bytes(processes); }
// From now on, this process shares this memory.
CORNU_EXPORT void cornu_share(void* memory, int64_t rank, int64_t processes, bool have_cores) {
  sharing = std::make_unique<Sharing>(memory, rank, processes, have_cores);
}

// The names of all handlers, without `cornu_`.
CORNU_EXPORT const char* cornu_names() {
#define CORNU_NAME(name, ...) " " #name
  return CORNU_KERNELS(CORNU_NAME) CORNU_KERNELS_OF_PAIRS(CORNU_NAME) " sum_over_processes";
}
// The name of the instruction set in use.
CORNU_EXPORT const char* cornu_instruction_set() { return kernels()->name; }
// The version of XLA's interface that this was compiled for. An older XLA does not run it, a newer one does.
CORNU_EXPORT void cornu_interface(int* version) {
  version[0] = XLA_FFI_API_MAJOR;
  version[1] = XLA_FFI_API_MINOR;
}
// A picture of another size, of bytes or float32. Returns whether there was memory.
CORNU_EXPORT bool cornu_resize(const Picture* picture, const void* image, bool of_bytes, float* result) {
  try {
    kernels()->resize(*picture, image, of_bytes, result);
    return true;
  } catch (const std::bad_alloc&) {
    return false;
  }
}
// The pixels of a PNG picture of 1, 3 or 4 channels of bytes. Returns whether there were memory and known filters.
CORNU_EXPORT bool cornu_rows_of_png(const uint8_t* from, int64_t rows, int64_t width, int64_t channels, uint8_t* to) {
  try {
    return rows_of_png(from, rows, width, channels, to);
  } catch (const std::bad_alloc&) {
    return false;
  }
}
CORNU_EXPORT bool cornu_multiplies_pairs() { return multiplies_pairs(); }

}  // namespace cornu
