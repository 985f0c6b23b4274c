// The weight gradient of a convolution.

#include "depthwise.h"
#include "image.h"
#include "plan.h"
#include "sparse.h"
#include "tiles.h"
#include "winograd.h"

CORNU_BEGIN
namespace {

constexpr ix COPIED_AT_ONCE = ix{1} << 19;  // floats of copies, for large kernels
constexpr ix CACHED = ix{1} << 16;          // floats of images that stay in the cache
// A block of WIDE vectors may read beyond the last.
constexpr ix SLACK = WIDE * LANES;

class WeightGradientRun {
 public:
  WeightGradientRun(const WeightGradientPlan& plan, const Source& image, const Source& gradient)
      : plan_(plan), image_(image), gradient_(gradient) {}

  void run(const Pool& pool, float* result) const {
    if (plan_.unpools_in_tile) CORNU_PATH(weight_gradient_unpools_in_tile);
    else if (!gradient_.plain()) CORNU_PATH(weight_gradient_unpools);
    if (plan_.widens) CORNU_PATH(weight_gradient_widens);
    if (plan_.copies_image) CORNU_PATH(weight_gradient_copies_image);
    if (plan_.far) CORNU_PATH(weight_gradient_far);
    if (plan_.by_images) CORNU_PATH(weight_gradient_by_images);
    else CORNU_PATH(weight_gradient_by_jobs);
    if (plan_.by_images && plan_.parts > 1) CORNU_PATH(weight_gradient_parts);
    if (plan_.by_images) run_by_images(pool, result);
    else run_by_jobs(pool, result);
  }

 private:
  // Some images and their gradients, as they are or as copies.
  struct Batch {
    const float *image, *gradient;
    const uint8_t* argmax;
    ix images;
  };
  class Copies {
   public:
    Copies(const WeightGradientPlan& plan, ix images)
        : image(plan.copies_image ? images * plan.image_floats : 0),
          gradient(plan.copies_gradient ? images * plan.gradient_floats + SLACK : 0) {}
    Scratch image, gradient;
  };

  Batch batch(const Copies& copies, ix first, ix images) const {
    const ix from = first * plan_.gradient_floats;
    return {plan_.copies_image ? copies.image.data() : image_.data + first * plan_.image_floats,
            plan_.copies_gradient ? copies.gradient.data() : gradient_.data + from,
            plan_.unpools_in_tile ? gradient_.argmax.bytes + from : nullptr, images};
  }

  // Copy an image and its gradient, where that is planned, to number `i` of the copies.
  void copy(ix image, ix i, const Copies& copies) const {
    if (plan_.copies_image) copy_region(image_, image, plan_.region, copies.image.data() + i * plan_.image_floats);
    if (!plan_.copies_gradient) return;
    float* to = copies.gradient.data() + i * plan_.gradient_floats;
    const Window& w = plan_.w;
    if (!plan_.widens) {
      copy_region(gradient_, image, {{0, 0, 0}, {w.output[0], w.output[1], w.output[2]}}, to);
      return;
    }
    const ix out = plan_.out();
    Scratch row(w.output[2] * w.channels_out);
    for (ix d = 0; d < w.output[0]; ++d)
      for (ix h = 0; h < w.output[1]; ++h) {
        gradient_.copy_row(image, d, h, 0, w.output[2], row.data());
        for (ix p = 0; p < w.output[2] * w.groups; ++p, to += plan_.wide_out)
          for (ix c = 0; c < plan_.wide_out; c += LANES)
            store(to + c, load_first(row.data() + p * out + c, out - c));
      }
  }

  // What all jobs of a batch have in common.
  UnpoolingPanel panel_of(const Batch& batch) const {
    const Window& w = plan_.w;
    UnpoolingPanel s;
    s.images = batch.images;
    s.planes = w.output[0];
    s.rows = w.output[1];
    s.pixels = w.output[2];
    s.image_step = plan_.image_floats;
    s.row_step = w.strides[1] * plan_.region.row() * w.channels_in;
    s.plane_step = w.strides[0] * plan_.region.length(1) * plan_.region.row() * w.channels_in;
    s.pixel_step = w.strides[2] * w.channels_in;
    if (plan_.unpools_in_tile) {
      s.pool_offsets = plan_.pool_offsets.data();
      s.pool_size = plan_.pool_offsets.size();
      s.planes = gradient_.pooled(0);
      s.rows = gradient_.pooled(1);
      s.pixels = gradient_.pooled(2);
      s.plane_step *= w.pool[0];
      s.row_step *= w.pool[1];
      s.pixel_step *= w.pool[2];
    }
    s.gradient_step = plan_.widens ? plan_.wide_out * w.groups : w.channels_out;
    s.gradient_row = s.pixels * s.gradient_step;
    s.gradient_plane = s.rows * s.gradient_row;
    s.gradient_image = plan_.gradient_floats;
    s.result_step = w.channels_out;
    return s;
  }

  void run_job(const WeightGradientPlan::Job& job, const Batch& batch, float* to, bool add) const {
    const Window& w = plan_.w;
    const auto& run = plan_.runs[job.run];
    UnpoolingPanel s = panel_of(batch);
    s.run_step = s.result_run = 0;
    if (job.runs > 1) {
      s.run_step = plan_.runs[job.run + 1].offset - run.offset;
      s.result_run = (plan_.runs[job.run + 1].weight - run.weight) * w.channels_out;
    }
    s.channels = plan_.out() - job.first;
    s.add = add;
    s.gradient = batch.gradient + job.group * (plan_.widens ? plan_.wide_out : plan_.out()) + job.first;
    s.argmax = batch.argmax ? batch.argmax + job.first : nullptr;
    for (ix start = job.start, end = start + job.count; start < end;) {
      const ix count = next_piece(end - start, MOST_POSITIONS);
      s.image = batch.image + run.offset + job.group * plan_.in() + start;
      s.result = to + (run.weight + start) * w.channels_out + job.group * plan_.out() + job.first;
      if (plan_.far && start + plan_.jump < end) prefetch_taps(s);
      if (plan_.unpools_in_tile) unpooling_gemm_tiles.of(job.runs, count, job.vectors)(s);
      else transposed_gemm_tiles.of(job.runs, count, job.vectors)(s);
      start += count;
    }
  }

  void prefetch_taps(const TransposedPanel& s) const {
    for (ix i = 0; i < s.images; ++i)
      for (ix p = 0; p < s.pixels; ++p) prefetch(s.image + i * s.image_step + p * s.pixel_step + plan_.jump);
  }

  void run_by_images(const Pool& pool, float* result) const {
    const ix parts = plan_.parts, weights = plan_.w.weights(), all = plan_.w.batch;
    Scratch partial(parts > 1 ? parts * weights : 0);
    parallel_for(pool, parts, [&](ix part) {
      const ix begin = all * part / parts, end = all * (part + 1) / parts;
      float* to = parts > 1 ? partial.data() + part * weights : result;
      const ix once = std::clamp<ix>(CACHED / (plan_.image_floats + plan_.gradient_floats), 1, end - begin);
      const Copies copies(plan_, once);
      for (ix n = begin; n < end; n += once) {
        const ix count = std::min(once, end - n);
        for (ix i = 0; i < count; ++i) copy(n + i, i, copies);
        for (const auto& job : plan_.jobs) run_job(job, batch(copies, n, count), to, n > begin);
      }
    });
    if (parts > 1) add_parts(pool, partial.data(), weights, result);
  }

  void add_parts(const Pool& pool, const float* partial, ix weights, float* result) const {
    constexpr ix PIECE = 4096;
    parallel_for(weights < (1 << 15) ? Pool{1, {}} : pool, (weights + PIECE - 1) / PIECE, [&](ix piece) {
      for (ix k = piece * PIECE; k < std::min(weights, (piece + 1) * PIECE); k += LANES) {
        const ix count = weights - k;
        Vector sum = load_first(partial + k, count);
        for (ix part = 1; part < plan_.parts; ++part) sum += load_first(partial + part * weights + k, count);
        store_first(result + k, sum, count);
      }
    });
  }

  void run_by_jobs(const Pool& pool, float* result) const {
    const ix all = plan_.w.batch;
    const ix once = std::clamp<ix>(COPIED_AT_ONCE / (plan_.image_floats + plan_.gradient_floats), 1, all);
    const Copies copies(plan_, once);
    for (ix n = 0; n < all; n += once) {
      const ix count = std::min(once, all - n);
      if (plan_.copies_image || plan_.copies_gradient)
        parallel_for(pool, count, [&](ix i) { copy(n + i, i, copies); });
      parallel_for(pool, plan_.jobs.size(), [&](ix job) {
        run_job(plan_.jobs[job], batch(copies, n, count), result, n > 0);
      });
    }
  }

  const WeightGradientPlan& plan_;
  const Source &image_, &gradient_;
};

// Whether the pool leaves no outputs out.
bool covers(const Window& w) {
  bool yes = true;
  for (int a = 0; a < 3; ++a) yes = yes && w.output[a] % w.pool[a] == 0;
  return yes;
}

void run(const Pool& pool, const Window& given, const float* image, const float* gradient, const Argmax& argmax,
         float* result) {
  if (is_sparse(given, argmax) && sparse_weight_gradient(pool, given, image, gradient, argmax, result)) return;
  Source images{image, {given.size[0], given.size[1], given.size[2]}, given.channels_in, {}};
  Source gradients{gradient, {given.output[0], given.output[1], given.output[2]}, given.channels_out, argmax};
  if (is_depthwise(given.groups, given.channels_in, given.channels_out)) {
    CORNU_PATH(weight_gradient_depthwise);
    depthwise_weight_gradient(pool, given, images, gradients, result);
    return;
  }
  const auto winograd = winograd_for(given).weight_gradient;
  if (winograd && winograd(pool, given, images, gradients, result)) return;
  WeightGradientPlan plan = plan_weight_gradient(given, argmax.bytes, true, LIMITS);
  if (plan.unpools_in_tile && !covers(given) && !all_finite(image, given.image())) {
    CORNU_PATH(weight_gradient_not_finite);
    plan = plan_weight_gradient(given, argmax.bytes, false, LIMITS);
  }
  for (int a = 0; a < 3; ++a) images.size[a] = plan.w.size[a], gradients.size[a] = plan.w.output[a];
  WeightGradientRun(plan, images, gradients).run(pool, result);
}

}  // namespace

void weight_gradient(const Pool& pool, const Window& w, const float* image, const float* gradient, float* result) {
  run(pool, w, image, gradient, Argmax{}, result);
}

void relu_pool_weight_gradient(const Pool& pool, const Window& w, const float* image, const float* gradient,
                               const uint8_t* argmax, float* result) {
  run(pool, w, image, gradient, {argmax, {w.pool[0], w.pool[1], w.pool[2]}}, result);
}

CORNU_END
