// The gradient of a convolution's kernel.

#include <algorithm>
#include <vector>

#include "depthwise.h"
#include "image.h"
#include "kernels.h"
#include "sparse.h"
#include "tiles.h"
#include "winograd.h"

CORNU_BEGIN
namespace {

// A run of the kernel's places that neighbour each other in the image too.
struct Run {
  ix offset, count;  // in the region
  ix weight;         // first place of the kernel, times channels seen
};

// Sums over images are split in so many parts, whatever the number of threads, that each part
// always holds the same images: so the same bits come out.
constexpr ix MOST_PARTS = 16;
constexpr ix MOST_PART_FLOATS = ix{2} << 20;   // all partial sums together
constexpr ix COPIED_AT_ONCE = ix{1} << 19;     // floats of copies, for large kernels
constexpr ix MANY_PIXELS = 128;                // for which a partial sum is worth while
constexpr ix MOST_PICKED = 36;                 // places of a kernel times channels seen
constexpr ix STRIP = 4 * MOST_PLACES;           // places of the kernel
constexpr ix FAR = 1024, MOST_CACHED = 1 << 18; // floats

}  // namespace

void kernel_gradient(const Pool& pool, const Window& given, const float* image,
                     const float* gradient, const Picks& picks, float* result) {
  if (is_sparse(given, picks) &&
      sparse_kernel_gradient(pool, given, image, gradient, picks, result))
    return;
  Source images{image, {given.size[0], given.size[1], given.size[2]}, given.channels_in, {}};
  Source gradients{gradient, {given.output[0], given.output[1], given.output[2]},
                   given.channels_out, picks};
  if (is_depthwise(given.groups, given.channels_in, given.channels_out)) {
    depthwise_kernel_gradient(pool, given, images, gradients, result);
    return;
  }
  const auto winograd = winograd_for(given).gradient_of_kernel;
  if (winograd && winograd(pool, given, images, gradients, result)) return;
  Window w = given;
  ix pool_size[3] = {picks.pool[0], picks.pool[1], picks.pool[2]};
  if (is_pointwise(given) && product(pool_size) == 1) {
    // One long row again, cut in pieces that stand for images.
    const ix length = given.batch * product(given.size);
    ix pieces = std::clamp<ix>(length / 16, 1, 64);
    while (length % pieces) --pieces;
    w.batch = pieces;
    w.size[0] = w.size[1] = w.output[0] = w.output[1] = 1;
    w.size[2] = w.output[2] = length / pieces;
    for (int a = 0; a < 3; ++a) images.size[a] = gradients.size[a] = w.size[a];
  }
  const ix in = w.channels_in / w.groups, out = w.channels_out / w.groups;
  const Region region = seen_by(w);
  Region all;
  bool copies = false;
  for (int a = 0; a < 3; ++a) {
    all.from[a] = 0;
    all.to[a] = w.output[a];
    copies = copies || region.from[a] < 0 || region.to[a] > w.size[a];
  }
  // With few places of the kernel, what was not picked is left out as it is read. Else the gradient
  // is put back to where it was picked, once for all places.
  bool picks_here = !gradients.plain() && w.groups == 1 && product(w.window) * in <= MOST_PICKED;
  // Beyond the last window of the pool is a zero for each number, unless that is not finite.
  for (int a = 0; a < 3 && picks_here; ++a)
    if (w.output[a] % picks.pool[a] != 0)
      picks_here = all_finite(image, w.batch * product(w.size) * w.channels_in);
  // Whole vectors are read from the gradient, also of the last channels.
  const bool widens = !picks_here && out % LANES != 0;
  const bool rewrites = !picks_here && (widens || !gradients.plain());
  const ix wide_out = (out + LANES - 1) / LANES * LANES;
  // A block of WIDE vectors may read beyond the last.
  const ix slack = WIDE * LANES;
  const ix image_floats = region.places() * w.channels_in;
  const ix gradient_floats = picks_here ? gradients.floats()
                             : all.places() * (widens ? wide_out * w.groups : w.channels_out);

  std::vector<Run> runs;
  ix weight = 0;
  for_each_place(w.window, [&](const ix (&place)[3]) {
    const ix row = place[0] * w.dilation[0] * region.length(1) + place[1] * w.dilation[1];
    const ix offset = (row * region.row() + place[2] * w.dilation[2]) * w.channels_in;
    if (w.groups == 1 && !runs.empty() && place[2] > 0 && w.dilation[2] == 1)
      runs.back().count += in;
    else
      runs.push_back({offset, in, weight});
    weight += in;
  });

  // Of wide pixels a tile reads a line each, and each from a page of its own, where the processor does not
  // guess the next: the next strip is asked for.
  const bool far = is_pointwise(given) && in >= FAR && w.batch * w.output[2] * in > MOST_CACHED;

  // Jobs: a few runs, or a part of one, by a block of channels.
  struct Job {
    ix run, runs, start, count, group, first, vectors;
  };
  std::vector<Job> jobs;
  ix rows = in * (w.groups == 1 && w.dilation[2] == 1 ? w.window[2] : 1);
  const ix runs_together = rows_at_once(std::min(rows, ix{MOST_PLACES}));
  for (ix group = 0; group < w.groups; ++group)
    for (ix first = 0; first < out;) {
      const ix vectors = next_vectors(out - first);
      for (ix run = 0; run < ix(runs.size());) {
        // Only runs at equal distances, those of one plane, can be taken together.
        const ix in_plane = runs.size() / w.window[0];
        const ix many = std::min(runs_together, in_plane - run % in_plane);
        const auto step = [&](ix r) { return runs[r + 1].offset - runs[r].offset; };
        const bool even = many < 3 || step(run + 1) == step(run);
        const ix count = runs[run].count, once = (far ? 4 : 1) * STRIP;
        for (ix start = 0; start < count; start += once)
          jobs.push_back({run, even ? many : 1, start, std::min(once, count - start), group, first,
                          vectors});
        run += even ? many : 1;
      }
      first += vectors * LANES;
    }

  // Fixed chunks of images. With a large kernel, or few pixels, there are few, and its parts are
  // shared out instead.
  const ix kernel_floats = product(w.window) * in * w.channels_out;
  const ix pixels = w.batch * product(w.output);
  const ix parts = std::clamp<ix>(
      std::min({MOST_PARTS, MOST_PART_FLOATS / kernel_floats, pixels / MANY_PIXELS}), 1, w.batch);
  const bool by_images = jobs.size() == 1 || (parts > 1 && parts >= std::min<ix>(8, w.batch));

  std::vector<ix> places;
  for_each_place(pool_size, [&](const ix (&place)[3]) {
    const ix row = place[0] * w.strides[0] * region.length(1) + place[1] * w.strides[1];
    places.push_back((row * region.row() + place[2] * w.strides[2]) * w.channels_in);
  });

  auto sum_job = [&](const Job& job, const float* image_data, ix image_step,
                     const float* gradient_data, ix gradient_step, ix images, float* to, bool add) {
    PickedSum s;
    s.images = images;
    s.planes = w.output[0];
    s.rows = w.output[1];
    s.pixels = w.output[2];
    s.image_step = image_step;
    s.row_step = w.strides[1] * region.row() * w.channels_in;
    s.plane_step = w.strides[0] * region.length(1) * region.row() * w.channels_in;
    s.pixel_step = w.strides[2] * w.channels_in;
    s.gradient_step = widens ? wide_out * w.groups : w.channels_out;
    s.gradient_row = w.output[2] * s.gradient_step;
    s.gradient_plane = w.output[1] * s.gradient_row;
    s.gradient_image = gradient_step;
    s.run_step = job.runs > 1 ? runs[job.run + 1].offset - runs[job.run].offset : 0;
    s.result_step = w.channels_out;
    s.result_run = job.runs > 1 ? (runs[job.run + 1].weight - runs[job.run].weight) * w.channels_out : 0;
    s.channels = out - job.first;
    s.add = add;
    if (picks_here) {
      s.picks = picks.bytes + (gradient_data - gradient) + job.first;
      s.places = places.data();
      s.num_places = places.size();
      s.planes = gradients.pooled(0);
      s.rows = gradients.pooled(1);
      s.pixels = gradients.pooled(2);
      s.plane_step *= pool_size[0];
      s.row_step *= pool_size[1];
      s.pixel_step *= pool_size[2];
      s.gradient_row = s.pixels * s.gradient_step;
      s.gradient_plane = s.rows * s.gradient_row;
    }
    const Run& run = runs[job.run];
    const float* g = gradient_data + (widens ? job.group * wide_out : job.group * out) + job.first;
    s.gradient = g;
    for (ix start = job.start, end = start + job.count; start < end;) {
      const ix count = next_piece(end - start, MOST_PLACES);
      s.image = image_data + run.offset + job.group * in + start;
      s.result = to + (run.weight + start) * w.channels_out + job.group * out + job.first;
      if (far && start + STRIP < end)
        for (ix i = 0; i < s.images; ++i)
          for (ix p = 0; p < s.pixels; ++p)
            prefetch(s.image + i * s.image_step + p * s.pixel_step + STRIP);
      if (picks_here) picked_sum_tiles.of(job.runs, count, job.vectors)(s);
      else sum_tiles.of(job.runs, count, job.vectors)(s);
      start += count;
    }
  };
  auto prepare = [&](ix n, float* image_copy, float* gradient_copy) {
    if (copies) copy_region(images, n, region, image_copy);
    if (!rewrites) return;
    if (!widens) {
      copy_region(gradients, n, all, gradient_copy);
      return;
    }
    Scratch rows_of(w.output[2] * w.channels_out);
    for (ix d = 0; d < w.output[0]; ++d)
      for (ix h = 0; h < w.output[1]; ++h) {
        gradients.copy_row(n, d, h, 0, w.output[2], rows_of.data());
        for (ix p = 0; p < w.output[2] * w.groups; ++p, gradient_copy += wide_out) {
          for (ix c = 0; c < wide_out; c += LANES)
            store(gradient_copy + c, load_first(rows_of.data() + p * out + c, out - c));
        }
      }
  };

  if (by_images) {
    Scratch partial(parts > 1 ? parts * kernel_floats : 0);
    parallel_for(pool, parts, [&](ix part) {
      const ix begin = w.batch * part / parts, end = w.batch * (part + 1) / parts;
      float* to = parts > 1 ? partial.data() + part * kernel_floats : result;
      // As many images at once as stay in the cache.
      const ix once = std::clamp<ix>((ix{1} << 16) / (image_floats + gradient_floats), 1, end - begin);
      Scratch image_copies(copies ? once * image_floats : 0);
      Scratch gradient_copies(rewrites ? once * gradient_floats + slack : 0);
      for (ix n = begin; n < end; n += once) {
        const ix count = std::min(once, end - n);
        for (ix i = 0; i < count; ++i)
          prepare(n + i, image_copies.data() + i * image_floats, gradient_copies.data() + i * gradient_floats);
        for (const Job& job : jobs)
          sum_job(job, copies ? image_copies.data() : image + n * image_floats, image_floats,
                  rewrites ? gradient_copies.data() : gradient + n * gradient_floats,
                  gradient_floats, count, to, n > begin);
      }
    });
    if (parts == 1) return;
    const ix piece = 4096, pieces = (kernel_floats + piece - 1) / piece;
    parallel_for(kernel_floats < (1 << 15) ? Pool{1, {}} : pool, pieces, [&](ix p) {
      for (ix k = p * piece; k < std::min(kernel_floats, (p + 1) * piece); k += LANES) {
        const ix count = kernel_floats - k;
        const float* from = partial.data() + k;
        Vector sum = load_first(from, count);
        for (ix part = 1; part < parts; ++part) sum += load_first(from + part * kernel_floats, count);
        store_first(result + k, sum, count);
      }
    });
    return;
  }
  const ix once = std::clamp<ix>(COPIED_AT_ONCE / (image_floats + gradient_floats), 1, w.batch);
  Scratch image_copies(copies ? once * image_floats : 0);
  Scratch gradient_copies(rewrites ? once * gradient_floats + slack : 0);
  for (ix n = 0; n < w.batch; n += once) {
    const ix count = std::min(once, w.batch - n);
    if (copies || rewrites)
      parallel_for(pool, count, [&](ix i) {
        prepare(n + i, image_copies.data() + i * image_floats, gradient_copies.data() + i * gradient_floats);
      });
    parallel_for(pool, jobs.size(), [&](ix job) {
      sum_job(jobs[job], copies ? image_copies.data() : image + n * image_floats, image_floats,
              rewrites ? gradient_copies.data() : gradient + n * gradient_floats, gradient_floats,
              count, result, n > 0);
    });
  }
}

CORNU_END
