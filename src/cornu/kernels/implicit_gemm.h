// Convolutions and input gradients as products of matrices that are never written down.
//
// See docs/kernels.md for pictures of the blocking.
#pragma once

#include "epilogue.h"
#include "image.h"
#include "plan.h"
#include "tiles.h"

CORNU_BEGIN

// `format` is that of the source and the weights; results are float32 if they are `single`, or bfloat16.
void run_gemm(const Pool&, const ImplicitGemm&, const Source&, const float* weights, const Epilogue&, Format format,
              bool single, void* result);

// With pixels packed, if there are several and all of the source is finite. Zero times what is not finite is no
// zero, so else false is returned and nothing done.
bool run_packed(const Pool&, const PixelPacking&, const ImplicitGemm& given, const Source&, const float* weights,
                const Epilogue&, float* result);

CORNU_END
