// What tiles of sums are used for, and the functions that do it. They are most of what there is to
// compile, and so have files of their own.
#pragma once

#include "kernels.h"
#include "tile.h"

CORNU_BEGIN

// So many floats of the source that neighbour each other, for each place of a tile.
struct Segment {
  int64_t offset, count;
};

// Sums over what windows see.
struct Panel {
  const float* in;
  int64_t in_row, in_pixel;
  const Segment* segments;
  int64_t num_segments;
  const float* weights;
  // What becomes of the sums, which lie by row, place and vector. If there is nothing, they are stored as
  // they are, in whole vectors.
  void (*finish)(const Panel&, const Vector* sums, int rows, int places, int vectors);
  void* out;
  int64_t out_row, out_pixel, channels;
  // For `finish`.
  const float* bias;
  Activation activation;
  uint8_t* picks;
  bool streams;
};

extern const Tiles<Panel> gather_tiles;
// Of pairs of bfloat16; empty where there are no such products.
extern const Tiles<Panel> gather_tiles_of_pairs;

// Sums over what results see through the same place of a kernel.
struct Sum {
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

// The same of a gradient that relu and pooling have picked: `gradient` and the steps are of pooled
// windows, `places` says where in the image the places of one begin.
struct PickedSum : Sum {
  const uint8_t* picks;
  const int64_t* places;
  int64_t num_places;
};

extern const Tiles<Sum> sum_tiles;
extern const Tiles<PickedSum> picked_sum_tiles;

CORNU_END
