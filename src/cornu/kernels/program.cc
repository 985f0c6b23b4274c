// A program: kernels one after the other, in one call, with what is between them in one piece of memory.
//
// For predictions of few examples, where the calls of XLA's runtime take longer than the kernels. Python makes the
// program out of what JAX has traced (`cornu.inference`); its numbers are checked once, when it is made.

#include <algorithm>
#include <cstring>
#include <initializer_list>
#include <memory>
#include <stdexcept>
#include <string>
#include <type_traits>
#include <vector>

#include "kernels.h"
#include "reduced.h"
#include "threads.h"

namespace cornu {
namespace {

// Where an operand is: in memory between the kernels, among the constants, or in an input or output of the program,
// whose number is given; and where there, in bytes.
enum Region : int64_t { BETWEEN, CONSTANTS, INPUT, OUTPUT };
struct Place {
  Region region;
  int64_t number, at;
};

struct Step;
typedef void Runs(const Step&, const Pool&, void* const* operands);

struct Step {
  Runs* run;
  int64_t work;  // as `FEW` counts it
  std::vector<int64_t> numbers;
  std::vector<Place> operands;
  std::vector<Link> links;
  std::unique_ptr<PreparedConvolution> prepared;
  std::unique_ptr<ReducedConvolution> reduced;
};

// What a step needs of an operand: how many bytes, and whether it writes them.
struct Need {
  int64_t bytes;
  bool writes;
};

// So little work is done before another thread is awake.
constexpr int64_t FEW = 1 << 16;

// A program may come from a file, so nothing that its numbers say is believed.
constexpr int64_t MOST = int64_t{1} << 40;

void need(bool right) {
  if (!right) throw std::invalid_argument("numbers that make no sense");
}
int64_t product_of(std::initializer_list<int64_t> numbers) {
  int64_t product = 1;
  for (int64_t n : numbers) {
    need(n >= 1 && n <= MOST / product);
    product *= n;
  }
  return product;
}
void check(const Window& w) {
  product_of({w.batch, w.size[0], w.size[1], w.size[2], w.channels_in});
  product_of({w.batch, w.output[0], w.output[1], w.output[2], w.channels_out});
  product_of({w.batch, w.output[0], w.output[1], w.output[2], w.channels_in});
  product_of({w.window[0], w.window[1], w.window[2], w.channels_in, w.channels_out});
  need(w.groups >= 1 && w.channels_in % w.groups == 0 && w.channels_out % w.groups == 0);
  int64_t seen[3];
  for (int a = 0; a < 3; ++a) {
    product_of({w.strides[a], w.output[a]});
    const int64_t extent = product_of({w.dilation[a], w.window[a]}) - w.dilation[a] + 1;
    need(w.before[a] >= 0 && w.before[a] < extent && w.pool[a] >= 1 && w.pool[a] <= w.output[a]);
    // The last window begins within the image, or its padding.
    need((w.output[a] - 1) * w.strides[a] - w.before[a] < w.size[a]);
    seen[a] = (w.output[a] - 1) * w.strides[a] + extent;
  }
  need(w.weights() <= (int64_t{1} << 62) / w.positions());
  // With its padding, an image is copied.
  need(product_of({seen[0], seen[1], seen[2], w.channels_in}) / 64 <=
       (int64_t{1} << 20) + w.image() + w.outputs() + w.weights());
}

void check(const Rows& rows) { product_of({rows.rows, rows.channels}); }
void check(const Reduction& r) { product_of({r.outer, r.reduced, r.inner}); }
// `Reader` has refused it.
template <class Shape>
void check(const Shape&) {}

// ---- the kernels that XLA calls, too

template <class Shape>
struct Reader {
  static Shape read(const std::vector<int64_t>&) {
    throw std::invalid_argument("a kernel that programs do not have");
  }
};
template <>
struct Reader<Window> {
  static Window read(const std::vector<int64_t>& numbers) {
    Window window;
    if (numbers.size() * sizeof(int64_t) != sizeof window) throw std::invalid_argument("a window of other numbers");
    memcpy(&window, numbers.data(), sizeof window);
    return window;
  }
};
template <>
struct Reader<Rows> {
  static Rows read(const std::vector<int64_t>& numbers) {
    return {numbers.at(0), numbers.at(1)};
  }
};
template <>
struct Reader<Reduction> {
  static Reduction read(const std::vector<int64_t>& numbers) {
    return {numbers.at(0), numbers.at(1), numbers.at(2)};
  }
};

template <class Operand>
struct Counted;
template <class T, auto COUNT>
struct Counted<In<T, COUNT>> {
  template <class Shape>
  static Need of(const Shape& shape) { return {(shape.*COUNT)() * int64_t(sizeof(T)), false}; }
};
template <class T, auto COUNT>
struct Counted<Out<T, COUNT>> {
  template <class Shape>
  static Need of(const Shape& shape) { return {(shape.*COUNT)() * int64_t(sizeof(T)), true}; }
};

template <class Shape, class... Operands, size_t... NUMBER>
void call(Kernel<Shape, Operands...>* kernel, const Pool& pool, const Shape& shape, void* const* operands,
          std::index_sequence<NUMBER...>) {
  kernel(pool, shape, static_cast<typename Operands::Pointer>(operands[NUMBER])...);
}

#define CORNU_RUNS(name, measure, ...)                                                                          \
  template <class Shape, class... Operands>                                                                  \
  void run_##name(const Step& step, const Pool& pool, void* const* operands) {                               \
    call<Shape, Operands...>(kernels()->name, pool, Reader<Shape>::read(step.numbers), operands,             \
                             std::index_sequence_for<Operands...>{});                                        \
  }                                                                                                          \
  template <class Shape, class... Operands>                                                                  \
  std::vector<Need> check_##name(Step& step) {                                                               \
    const Shape shape = Reader<Shape>::read(step.numbers);                                                   \
    check(shape);                                                                                            \
    step.run = run_##name<Shape, Operands...>;                                                               \
    step.work = (shape.*&Shape::measure)();                                                                     \
    return {Counted<Operands>::of(shape)...};                                                                \
  }
CORNU_KERNELS(CORNU_RUNS)

// ---- the others

float float_of(int64_t number) {
  const uint32_t bits = uint32_t(number);
  float value;
  memcpy(&value, &bits, sizeof value);
  return value;
}

void run_chain(const Step& step, const Pool& pool, void* const* operands) {
  std::vector<Link> links = step.links;
  const size_t count = step.operands.size();
  size_t next = 1;
  for (Link& link : links)
    if (link.operand >= CHANNELS) link.numbers = static_cast<const float*>(operands[next++]);
  const Chain chain{step.numbers[0], step.numbers[1], int64_t(links.size()), step.numbers[2] != 0, links.data()};
  kernels()->run_chain(pool, chain, operands[0], static_cast<float*>(operands[count - 1]));
}

// rows, channels, whether of bytes; then of each operation which it is, of what its operand is, and a scalar's bits.
std::vector<Need> check_chain(Step& step) {
  const std::vector<int64_t>& n = step.numbers;
  need(n.size() >= 3 && n.size() % 3 == 0);
  const int64_t all = product_of({n[0], n[1]});
  std::vector<Need> needs{{n[2] ? all : all * int64_t(sizeof(float)), false}};
  for (size_t i = 3; i < n.size(); i += 3) {
    need(n[i] >= 0 && n[i] < NUM_OPERATIONS && n[i + 1] >= 0 && n[i + 1] < NUM_OPERANDS);
    const Link link{Operation(n[i]), Operand(n[i + 1]), float_of(n[i + 2]), nullptr};
    step.links.push_back(link);
    if (link.operand >= CHANNELS) needs.push_back({(link.operand == ALL ? all : n[1]) * int64_t(sizeof(float)), false});
  }
  needs.push_back({all * int64_t(sizeof(float)), true});
  step.run = run_chain;
  step.work = all * std::min<int64_t>(step.links.size(), FEW);
  return needs;
}

Move move_of(const Step& step) {
  Move move;
  const size_t axes = step.numbers.size() / 3;
  move.axes = axes;
  for (size_t a = 0; a < axes; ++a) {
    move.size[a] = step.numbers[a];
    move.from_step[a] = step.numbers[axes + a];
    move.to_step[a] = step.numbers[2 * axes + a];
  }
  return move;
}
void run_move(const Step& step, const Pool&, void* const* operands) {
  kernels()->run_move(move_of(step), static_cast<const float*>(operands[0]), static_cast<float*>(operands[1]));
}
// Sizes, steps in what is read and steps in what is written, of each axis.
std::vector<Need> check_move(Step& step) {
  const size_t axes = step.numbers.size() / 3;
  need(axes >= 1 && axes <= MOST_AXES && step.numbers.size() % 3 == 0);
  const Move move = move_of(step);
  int64_t last_read = 0, last_written = 0;
  for (size_t a = 0; a < axes; ++a) {
    need(move.from_step[a] >= 0 && move.to_step[a] >= 0);
    product_of({move.size[a], std::max<int64_t>(1, move.from_step[a])});
    product_of({move.size[a], std::max<int64_t>(1, move.to_step[a])});
    last_read += (move.size[a] - 1) * move.from_step[a];
    last_written += (move.size[a] - 1) * move.to_step[a];
  }
  step.run = run_move;
  step.work = 0;
  return {{(last_read + 1) * int64_t(sizeof(float)), false}, {(last_written + 1) * int64_t(sizeof(float)), true}};
}

void run_fill(const Step& step, const Pool&, void* const* operands) {
  float* to = static_cast<float*>(operands[0]);
  std::fill(to, to + step.numbers[0], float_of(step.numbers[1]));
}
// How many numbers, and a number's bits.
std::vector<Need> check_fill(Step& step) {
  need(step.numbers.size() == 2);
  product_of({step.numbers[0]});
  step.run = run_fill;
  step.work = 0;
  return {{step.numbers[0] * int64_t(sizeof(float)), true}};
}

constexpr size_t NUMBERS_OF_WINDOW = sizeof(Window) / sizeof(int64_t);

Window window_of(const Step& step) {
  return Reader<Window>::read({step.numbers.begin(), step.numbers.begin() + NUMBERS_OF_WINDOW});
}
After after_of(const Step& step) { return After(step.numbers[NUMBERS_OF_WINDOW]); }

void run_prepared(const Step& step, const Pool& pool, void* const* operands) {
  const size_t count = step.operands.size();
  const bool pools = after_of(step) == After::POOL;
  step.prepared->run(pool, static_cast<const float*>(operands[0]),
                     pools ? static_cast<uint8_t*>(operands[count - 1]) : nullptr, operands[count - (pools ? 2 : 1)]);
}
// A window; what comes after it; the bits of two bounds. The operands are image, weights, perhaps bias, result, and
// perhaps argmax.
std::vector<Need> check_prepared(Step& step) {
  need(step.numbers.size() == NUMBERS_OF_WINDOW + 3);
  const Window w = window_of(step);
  check(w);
  const After after = after_of(step);
  const bool pools = after == After::POOL;
  need(pools || after == After::CLAMP || after == After::NOTHING);
  need(pools || w.pool[0] * w.pool[1] * w.pool[2] == 1);
  step.run = run_prepared;
  step.work = w.products();
  const int64_t results = pools ? w.pooled() : w.outputs();
  std::vector<Need> needs{{4 * w.image(), false}, {4 * w.weights(), false}};
  if (after != After::NOTHING) needs.push_back({4 * w.biases(), false});
  needs.push_back({4 * results, true});
  if (pools) needs.push_back({results, true});
  return needs;
}

// A window, and of `Reduced`: of_bytes, the bits of per_step, zero, takes_bytes, the bits of low and high, gives_bytes,
// zero_of_results.
Reduced reduced_of(const Step& step) {
  need(step.numbers.size() == NUMBERS_OF_WINDOW + 8);
  const int64_t* n = step.numbers.data() + NUMBERS_OF_WINDOW;
  for (int flag : {0, 3, 6}) need(n[flag] == 0 || n[flag] == 1);
  for (int zero : {2, 7}) need(n[zero] >= 0 && n[zero] <= 255);
  Reduced reduced{};
  reduced.window = window_of(step);
  reduced.of_bytes = n[0], reduced.per_step = float_of(n[1]), reduced.zero = int32_t(n[2]), reduced.takes_bytes = n[3];
  reduced.low = float_of(n[4]), reduced.high = float_of(n[5]);
  reduced.gives_bytes = n[6], reduced.zero_of_results = int32_t(n[7]);
  return reduced;
}
void run_reduced(const Step& step, const Pool& pool, void* const* operands) {
  step.reduced->run(pool, operands[0], operands[step.operands.size() - 1]);
}
// The operands are image, weights, bias, of bytes the scale, and result.
std::vector<Need> check_reduced(Step& step) {
  const Reduced reduced = reduced_of(step);
  const Window& w = reduced.window;
  check(w);
  need(reduced.of_bytes || !(reduced.takes_bytes || reduced.gives_bytes));
  need(!reduced.of_bytes || w.weights() / w.channels_out <= MOST_PRODUCTS);
  step.run = run_reduced;
  step.work = w.products() / (reduced.of_bytes ? 4 : 2);
  std::vector<Need> needs{{reduced.bytes_of_image(), false}, {reduced.bytes_of_weights(), false}, {4 * w.biases(), false}};
  if (reduced.of_bytes) needs.push_back({4 * w.biases(), false});
  needs.push_back({reduced.bytes_of_results(), true});
  return needs;
}

// What checks a step says what it needs of each operand.
typedef std::vector<Need> Checks(Step&);
#define CORNU_CHECK(name, work, ...) {#name, check_##name<__VA_ARGS__>},
const struct {
  const char* name;
  Checks* check;
} KINDS[] = {CORNU_KERNELS(CORNU_CHECK){"prepared_convolution", check_prepared}, {"reduced_convolution", check_reduced}, {"chain", check_chain}, {"move", check_move}, {"fill", check_fill}};

// ---- a program

class Program {
 public:
  Program(const char* text, const int64_t* numbers, int64_t count, int64_t between, const void* constants,
          int64_t bytes, const int64_t* inputs, int64_t num_inputs, const int64_t* outputs, int64_t num_outputs)
      : between_(between), constants_(constants), inputs_(inputs, inputs + num_inputs),
        outputs_(outputs, outputs + num_outputs) {
    if (between < 0 || between > MOST) throw std::invalid_argument("memory of no size that there is");
    // The names of the kernels, each followed by a space.
    const std::string names(text);
    size_t name = 0;
    const int64_t* end = numbers + count;
    const auto next = [&] {
      if (numbers == end) throw std::invalid_argument("a program that is cut off");
      return *numbers++;
    };
    while (numbers != end) {
      const size_t space = names.find(' ', name);
      if (space == std::string::npos) throw std::invalid_argument("a step without a name");
      Step step;
      for (int64_t n = next(); n > 0; --n) step.numbers.push_back(next());  // as many as there are, at most
      for (int64_t n = next(); n > 0; --n) {
        const Region region = Region(next());
        const int64_t number = next();
        step.operands.push_back({region, number, next()});
      }
      check_operands(step, check_of(names.substr(name, space - name))(step), bytes);
      name = space + 1;
      if (step.run == run_prepared) prepare(step);
      if (step.run == run_reduced) prepare_reduced(step);
      most_operands_ = std::max(most_operands_, step.operands.size());
      steps_.push_back(std::move(step));
    }
  }

  void run(const void* const* inputs, void* const* outputs) const {
    const Pool pool = own_threads(), alone{1, {}};
    const Scratch between(between_ / 4 + 1);
    std::vector<void*> operands(most_operands_);
    for (const Step& step : steps_) {
      for (size_t i = 0; i < step.operands.size(); ++i) {
        const Place& place = step.operands[i];
        switch (place.region) {
          case BETWEEN: operands[i] = between.data(); break;
          case CONSTANTS: operands[i] = const_cast<void*>(constants_); break;
          case INPUT: operands[i] = const_cast<void*>(inputs[place.number]); break;
          case OUTPUT: operands[i] = outputs[place.number]; break;
        }
        operands[i] = static_cast<char*>(operands[i]) + place.at;
      }
      step.run(step, step.work < FEW ? alone : pool, operands.data());
    }
  }

 private:
  void check_operands(const Step& step, const std::vector<Need>& needs, int64_t constants) const {
    if (needs.size() != step.operands.size()) throw std::invalid_argument("a step of other operands");
    for (size_t i = 0; i < needs.size(); ++i) {
      const Place& place = step.operands[i];
      const int64_t size = size_of(place, constants);
      if (place.at < 0 || place.at % 4 || place.at > size || needs[i].bytes > size - place.at)
        throw std::invalid_argument("an operand beyond the program's memory");
    }
    for (size_t i = 0; i < needs.size(); ++i) {
      if (!needs[i].writes) continue;
      const Place& place = step.operands[i];
      // Constants may be those of another program, too, and inputs are the caller's.
      if (place.region != BETWEEN && place.region != OUTPUT)
        throw std::invalid_argument("a step that writes what is only read");
      for (size_t k = 0; k < needs.size(); ++k) {
        const Place& other = step.operands[k];
        const bool apart = other.region != place.region || (place.region == OUTPUT && other.number != place.number) ||
                           other.at >= place.at + needs[i].bytes || place.at >= other.at + needs[k].bytes;
        // A chain reads each number before it is written there.
        const bool may_be = step.run == run_chain && k == 0 && other.at == place.at && needs[k].bytes == needs[i].bytes;
        if (k != i && !apart && !may_be) throw std::invalid_argument("a step that writes where it reads");
      }
    }
  }
  // How many bytes there are where an operand is.
  int64_t size_of(const Place& place, int64_t constants) const {
    if (place.region == BETWEEN) return between_;
    if (place.region == CONSTANTS) return constants;
    if (place.region != INPUT && place.region != OUTPUT) return 0;
    const auto& sizes = place.region == INPUT ? inputs_ : outputs_;
    return place.number < 0 || place.number >= int64_t(sizes.size()) ? 0 : sizes[place.number];
  }
  void prepare(Step& step) const {
    const After after = after_of(step);
    const float* given[2] = {};
    for (size_t i = 0; i < (after == After::NOTHING ? 1 : 2); ++i)
      given[i] = static_cast<const float*>(constant(step.operands[1 + i]));
    const size_t bounds = NUMBERS_OF_WINDOW + 1;
    step.prepared.reset(kernels()->prepare_convolution(
        step.work < FEW ? Pool{1, {}} : own_threads(), window_of(step), given[0], given[1], after,
        float_of(step.numbers[bounds]), float_of(step.numbers[bounds + 1])));
  }
  void prepare_reduced(Step& step) const {
    Reduced reduced = reduced_of(step);
    reduced.weights = constant(step.operands[1]);
    reduced.bias = constant(step.operands[2]);
    if (reduced.of_bytes) reduced.scale = static_cast<const float*>(constant(step.operands[3]));
    step.reduced.reset(kernels()->prepare_reduced(step.work < FEW ? Pool{1, {}} : own_threads(), reduced));
  }
  const void* constant(const Place& place) const {
    need(place.region == CONSTANTS);
    return static_cast<const char*>(constants_) + place.at;
  }
  static Checks* check_of(const std::string& name) {
    for (const auto& kind : KINDS)
      if (name == kind.name) return kind.check;
    throw std::invalid_argument("a kernel that there is not: " + name);
  }

  const int64_t between_;
  const void* const constants_;  // the caller keeps them
  const std::vector<int64_t> inputs_, outputs_;  // bytes of each
  std::vector<Step> steps_;
  size_t most_operands_ = 0;
};

thread_local std::string error;

template <class Function>
bool guarded(const Function& function) {
  try {
    function();
    return true;
  } catch (const std::bad_alloc&) {
    error = "out of memory";
  } catch (const std::exception& thrown) {
    error = thrown.what();
  } catch (...) {
    error = "a kernel has thrown what is no std::exception";
  }
  return false;
}

}  // namespace

#define CORNU_EXPORT extern "C" __attribute__((visibility("default")))

// Of each step: how many numbers tell of it, these; how many operands, and of each its place.
// Null where something is wrong.
CORNU_EXPORT void* cornu_make_program(const char* names, const int64_t* numbers, int64_t count, int64_t between,
                                      const void* constants, int64_t bytes, const int64_t* inputs, int64_t num_inputs,
                                      const int64_t* outputs, int64_t num_outputs) {
  Program* program = nullptr;
  guarded([&] {
    program = new Program(names, numbers, count, between, constants, bytes, inputs, num_inputs, outputs, num_outputs);
  });
  return program;
}
CORNU_EXPORT bool cornu_run_program(const void* program, const void* const* inputs, void* const* outputs) {
  return guarded([&] { static_cast<const Program*>(program)->run(inputs, outputs); });
}
CORNU_EXPORT void cornu_delete_program(void* program) { delete static_cast<Program*>(program); }
// Why the last call of this thread failed.
CORNU_EXPORT const char* cornu_program_error() { return error.c_str(); }

}  // namespace cornu
