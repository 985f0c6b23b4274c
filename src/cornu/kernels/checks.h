// What builds for the self-test do and others do not: assertions, and counts of which internal paths are taken.
// With CORNU_CHECKED, scratch memory is also just as large as was asked for, and full of NaN (scratch.cc).
#pragma once

// Each has to be taken by the self-test.
#define CORNU_PATHS(PATH)                                                                                     \
  PATH(forward_row) PATH(pixel_packing) PATH(pixel_packing_not_finite)                                        \
  PATH(gemm_pairs) PATH(gemm_depthwise) PATH(gemm_by_blocks) PATH(gemm_copied_parts) PATH(gemm_parts)         \
  PATH(gemm_several_images) PATH(gemm_groups) PATH(gemm_phases) PATH(gemm_all_blocks) PATH(gemm_each_block)   \
  PATH(gemm_streams) PATH(gemm_relu) PATH(gemm_pools_in_tile) PATH(gemm_pools_in_scratch)                     \
  PATH(winograd_2_3) PATH(winograd_4_3) PATH(winograd_2_5) PATH(winograd_relu) PATH(winograd_pools_in_tile)   \
  PATH(winograd_pools_in_scratch) PATH(winograd_parts) PATH(winograd_several_images)                          \
  PATH(winograd_input_gradient) PATH(winograd_weight_gradient_by_points)                                      \
  PATH(winograd_weight_gradient_by_images) PATH(winograd_not_finite)                                          \
  PATH(sparse_input_gradient) PATH(narrow_input_gradient) PATH(sparse_input_gradient_not_finite)              \
  PATH(sparse_weight_gradient) PATH(sparse_weight_gradient_not_finite)                                        \
  PATH(weight_gradient_depthwise) PATH(weight_gradient_unpools_in_tile) PATH(weight_gradient_unpools)         \
  PATH(weight_gradient_not_finite) PATH(weight_gradient_widens) PATH(weight_gradient_copies_image)            \
  PATH(weight_gradient_by_images) PATH(weight_gradient_parts) PATH(weight_gradient_by_jobs)                   \
  PATH(weight_gradient_far) PATH(unpool_relu) PATH(unpool) PATH(pool_neighbours) PATH(pool_one)               \
  PATH(max_pool_gradient_side_by_side) PATH(max_pool_gradient_overlaps) PATH(sum_pool_gradient_apart)         \
  PATH(sum_pool_gradient_overlaps) PATH(reduce_several) PATH(reduce_parts)

#ifdef CORNU_CHECKED
#include <atomic>
#include <cstdint>
#include <cstdio>
#include <cstdlib>

namespace cornu {
enum Path {
#define CORNU_PATH_NUMBER(name) PATH_##name,
  CORNU_PATHS(CORNU_PATH_NUMBER) NUM_PATHS
#undef CORNU_PATH_NUMBER
};
extern std::atomic<int64_t> paths_taken[NUM_PATHS];
}  // namespace cornu

#define CORNU_PATH(name) paths_taken[PATH_##name].fetch_add(1, std::memory_order_relaxed)
#define CORNU_ASSERT(condition)                                                            \
  do {                                                                                     \
    if (condition) break;                                                                  \
    std::fprintf(stderr, "%s:%d: not true: %s\n", __FILE__, __LINE__, #condition);         \
    std::abort();                                                                          \
  } while (false)
#else
#define CORNU_PATH(name) static_cast<void>(0)
#define CORNU_ASSERT(condition) static_cast<void>(0)
#endif
