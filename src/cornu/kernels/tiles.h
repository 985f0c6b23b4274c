// What tiles are used for, and the functions that do it. They are most of what there is to
// compile, and so have files of their own.
#pragma once

#include "kernels.h"
#include "tile.h"

CORNU_BEGIN

// Sums over what windows see.
struct Panel {
  const float* in;
  int64_t in_row, in_pixel;
  const Segment* segments;
  int64_t num_segments;
  const float* weights;
  // What becomes of the sums, which lie by row, position and vector. If there is nothing, they are stored as
  // they are, in whole vectors.
  void (*epilogue)(const Panel&, const Vector* sums, int rows, int positions, int vectors);
  void* out;
  int64_t out_row, out_pixel, channels;
  // For `epilogue`.
  const float* bias;
  float low, high;
  uint8_t* argmax;
  bool streams;
};

extern const Tiles<Panel> gemm_tiles;
// Of pairs of bfloat16; empty where there are no such products.
extern const Tiles<Panel> gemm_tiles_of_pairs;

// Sums over what output positions see through the same tap.
struct TransposedPanel {
  const float* image;
  const float* gradient;
  int64_t images, planes, rows, pixels;
  int64_t image_step, plane_step, row_step, pixel_step;      // of the image, in floats
  int64_t gradient_image, gradient_plane, gradient_row, gradient_step;  // of the gradient
  int64_t run_step;                                          // from one run to the next
  float* result;
  int64_t result_step, result_run, channels;
  bool add;
};

// The same of a gradient that is unpooled on the way: `gradient` and the steps are of pooled windows,
// `pool_offsets` says what the positions of one see.
struct UnpoolingPanel : TransposedPanel {
  const uint8_t* argmax;
  const int64_t* pool_offsets;
  int64_t pool_size;
};

extern const Tiles<TransposedPanel> transposed_gemm_tiles;
extern const Tiles<UnpoolingPanel> unpooling_gemm_tiles;

CORNU_END
