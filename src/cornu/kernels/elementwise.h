// What stands between convolutions in a program: chains of operations on single numbers, and copies.
#pragma once

#include <cstdint>

#include "parallel.h"

namespace cornu {

// What an operation does to the number x that the one before it has left; y is its operand.
// Python's names are in `cornu.inference.translation`, in this order.
enum Operation : int32_t {
  ADD,          // x + y
  SUBTRACT,     // x - y
  SUBTRACT_FROM,  // y - x
  MULTIPLY,     // x * y
  DIVIDE,       // x / y
  DIVIDE_BY,    // y / x
  MAXIMUM,
  MINIMUM,
  NEGATIVE,
  ABSOLUTE,
  SQUARE,
  SQUARE_ROOT,
  RECIPROCAL_ROOT,
  EXPONENTIAL,
  SIGMOID,
  TANH,
  SWISH,  // x times its sigmoid
  NUM_OPERATIONS
};

// What an operation's operand is.
enum Operand : int32_t { NOTHING, SCALAR, CHANNELS, ALL, NUM_OPERANDS };

struct Link {
  Operation operation;
  Operand operand;
  float scalar;
  const float* numbers;
};

// `links` operations, one after the other, on each number of an array (rows, channels) of float32 or bytes.
struct Chain {
  int64_t rows, channels, links;
  bool of_bytes;
  const Link* link;
};

// Numbers that are copied from one place to another: a transposition, a slice, a part of a whole.
constexpr int MOST_AXES = 8;
struct Move {
  int64_t axes;
  int64_t size[MOST_AXES], from_step[MOST_AXES], to_step[MOST_AXES];
};

}  // namespace cornu
