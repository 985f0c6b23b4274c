#include "plan.h"

#include <tuple>

namespace cornu {

ix reach_after(const Window& w, int a) {
  const ix last = (w.output[a] - 1) * w.strides[a] + (w.window[a] - 1) * w.dilation[a];
  return std::max<ix>(0, last - w.before[a] - (w.size[a] - 1));
}

Region seen_by(const Window& w) {
  Region region;
  for (int a = 0; a < 3; ++a) {
    region.from[a] = -w.before[a];
    region.to[a] = w.size[a] + reach_after(w, a);
  }
  return region;
}

bool is_pointwise(const Window& w) {
  bool yes = true;
  for (int a = 0; a < 3; ++a)
    yes = yes && w.window[a] == 1 && w.strides[a] == 1 && w.before[a] == 0 && w.output[a] == w.size[a];
  return yes;
}

Window as_row(Window w) {
  w.size[2] = w.output[2] = w.batch * product(w.size);
  w.size[0] = w.size[1] = w.output[0] = w.output[1] = w.batch = 1;
  return w;
}

bool is_depthwise(ix groups, ix channels_in, ix channels_out) {
  return groups > 1 && groups == channels_in && groups == channels_out;
}

// ---- implicit GEMM

ImplicitGemm forward_gemm(const Window& w) {
  ImplicitGemm gemm;
  gemm.batch = w.batch;
  gemm.channels_in = w.channels_in;
  gemm.channels_out = w.channels_out;
  gemm.groups = w.groups;
  gemm.weight_tap = w.channels_in / w.groups * w.channels_out;
  gemm.weight_in = w.channels_out;
  gemm.weight_out = 1;
  gemm.weight_group = w.channels_out / w.groups;
  Phase phase;
  for (int a = 0; a < 3; ++a) {
    gemm.size[a] = phase.count[a] = w.output[a] / w.pool[a] * w.pool[a];
    gemm.in_step[a] = w.strides[a];
    gemm.before[a] = w.before[a];
    gemm.after[a] = reach_after(w, a);
    phase.start[a] = 0;
    phase.step[a] = 1;
  }
  ix weight = 0;
  for_each_index(w.window, [&](const ix (&index)[3]) {
    Tap tap;
    for (int a = 0; a < 3; ++a) tap.position[a] = index[a] * w.dilation[a];
    tap.weight = weight++;
    phase.taps.push_back(tap);
  });
  gemm.phases.push_back(std::move(phase));
  return gemm;
}

// A number of the image was seen by the outputs whose window covered it. Numbers with the same remainder by
// the strides were seen through the same taps.
static Phase input_gradient_phase(const Window& w, const ix (&remainder)[3]) {
  Phase phase;
  for (int a = 0; a < 3; ++a) {
    phase.start[a] = remainder[a];
    phase.step[a] = w.strides[a];
    phase.count[a] = (w.size[a] - remainder[a] + w.strides[a] - 1) / w.strides[a];
  }
  ix weight = 0;
  for_each_index(w.window, [&](const ix (&index)[3]) {
    Tap tap;
    tap.weight = weight++;
    for (int a = 0; a < 3; ++a) {
      const ix from = remainder[a] + w.before[a] - index[a] * w.dilation[a];
      if (from % w.strides[a] != 0) return;
      tap.position[a] = from / w.strides[a];
    }
    phase.taps.push_back(tap);
  });
  // Taps run backwards through the gradient.
  std::reverse(phase.taps.begin(), phase.taps.end());
  return phase;
}

ImplicitGemm input_gradient_gemm(const Window& w) {
  ImplicitGemm gemm;
  gemm.batch = w.batch;
  gemm.channels_in = w.channels_out;
  gemm.channels_out = w.channels_in;
  gemm.groups = w.groups;
  gemm.weight_tap = w.channels_in / w.groups * w.channels_out;
  gemm.weight_in = 1;
  gemm.weight_out = w.channels_out;
  gemm.weight_group = w.channels_out / w.groups;
  for (int a = 0; a < 3; ++a) {
    gemm.size[a] = w.size[a];
    gemm.in_step[a] = 1;
    gemm.before[a] = gemm.after[a] = 0;
  }
  for_each_index(w.strides, [&](const ix (&remainder)[3]) {
    Phase phase = input_gradient_phase(w, remainder);
    if (product(phase.count) <= 0) return;
    for (const Tap& tap : phase.taps)
      for (int a = 0; a < 3; ++a) {
        gemm.before[a] = std::max(gemm.before[a], -tap.position[a]);
        gemm.after[a] = std::max(gemm.after[a], tap.position[a] + phase.count[a] - w.output[a]);
      }
    gemm.phases.push_back(std::move(phase));
  });
  for (Phase& phase : gemm.phases)
    for (Tap& tap : phase.taps)
      for (int a = 0; a < 3; ++a) tap.position[a] += gemm.before[a];
  return gemm;
}

// Where Winograd's method is a choice, it is the better one for more channels to read than these, though it
// leaves vectors half empty.
constexpr ix FEW_READ = 32;

PixelPacking pack_pixels(const ImplicitGemm& given, ix width, ix lanes, bool has_winograd) {
  PixelPacking packing;
  const ix in = given.channels_in, out = given.channels_out;
  if (given.groups != 1 || given.phases.size() != 1 || (has_winograd && in > FEW_READ)) return packing;
  ix pixels = lanes / out;
  while (pixels > 1 && width % pixels != 0) --pixels;
  if (pixels < 2) return packing;
  const std::vector<Tap>& taps = given.phases[0].taps;
  std::vector<Tap> each;  // of all pixels
  for (ix pixel = 0; pixel < pixels; ++pixel)
    for (Tap tap : taps) {
      tap.position[2] += pixel * given.in_step[2];
      each.push_back(tap);
    }
  const auto key = [](const Tap& tap) { return std::make_tuple(tap.position[0], tap.position[1], tap.position[2]); };
  const auto before = [&](const Tap& a, const Tap& b) { return key(a) < key(b); };
  const auto same = [&](const Tap& a, const Tap& b) { return key(a) == key(b); };
  std::vector<Tap> all = each;
  std::sort(all.begin(), all.end(), before);
  all.erase(std::unique(all.begin(), all.end(), same), all.end());
  // With narrow windows, the zeros cost what the full vectors gain.
  if (4 * ix(all.size()) > 3 * ix(each.size())) return packing;
  packing.pixels = pixels;
  for (const Tap& tap : each)
    packing.taps.push_back(std::lower_bound(all.begin(), all.end(), tap, before) - all.begin());
  for (size_t t = 0; t < all.size(); ++t) all[t].weight = t;
  packing.gemm = given;
  ImplicitGemm& gemm = packing.gemm;
  gemm.phases[0].taps = std::move(all);
  gemm.phases[0].count[2] /= pixels;
  gemm.size[2] /= pixels;
  gemm.in_step[2] *= pixels;
  gemm.channels_out = gemm.weight_in = pixels * out;
  gemm.weight_tap = in * gemm.channels_out;
  gemm.weight_out = 1;
  return packing;
}

std::vector<Segment> segments_of(const ImplicitGemm& gemm, const Phase& phase, const Region& region) {
  std::vector<Segment> segments;
  for (const Tap& tap : phase.taps) {
    const ix row = (tap.position[0] * region.length(1) + tap.position[1]) * region.row();
    const ix offset = (row + tap.position[2]) * gemm.channels_in;
    if (gemm.groups == 1 && !segments.empty() && segments.back().offset + segments.back().count == offset)
      segments.back().count += gemm.in();
    else
      segments.push_back({offset, gemm.in()});
  }
  return segments;
}

std::vector<Block> blocks_of(const ImplicitGemm& gemm, ix lanes) {
  std::vector<Block> blocks;
  for (ix first = 0, offset = 0; first < gemm.out();) {
    const ix vectors = next_vectors(gemm.out() - first, lanes);
    blocks.push_back({first, vectors, offset});
    offset += gemm.in() * vectors * lanes;
    first += vectors * lanes;
  }
  return blocks;
}

constexpr ix POOLED_FLOATS = ix{1} << 17;  // that are still in the cache when they are pooled
constexpr ix SMALL_IMAGE = 64;             // pixels

static Pooling pooling_of(bool is_pooled, const ix (&pool)[3], bool is_depthwise) {
  if (!is_pooled) return Pooling::NONE;
  if (is_depthwise) return Pooling::IN_SCRATCH;
  if (product(pool) == 1) return Pooling::RELU;
  return pool[0] == 1 && pool[1] <= 2 && pool[2] == 2 ? Pooling::IN_TILE : Pooling::IN_SCRATCH;
}

GemmPlan plan_gemm(const ImplicitGemm& gemm, bool is_plain, bool is_pooled, const ix (&pool)[3], bool is_depthwise,
                   ix threads, TileLimits limits) {
  GemmPlan plan;
  plan.pooling = pooling_of(is_pooled, pool, is_depthwise);
  for (int a = 0; a < 3; ++a) plan.pool[a] = plan.pooling == Pooling::IN_TILE ? pool[a] : 1;
  const bool in_scratch = plan.pooling == Pooling::IN_SCRATCH;
  plan.axis = 0;
  while (plan.axis < 2 && gemm.size[plan.axis] == 1) ++plan.axis;
  const ix length = gemm.size[plan.axis];
  plan.copies = !is_plain;
  for (int a = 0; a < 3; ++a) plan.copies = plan.copies || gemm.before[a] > 0 || gemm.after[a] > 0;
  // Where a large kernel meets few pixels, its blocks are items of work, and packed by who needs them.
  plan.by_blocks = !is_depthwise && gemm.phases.size() == 1 && gemm.groups == 1 && gemm.batch == 1 &&
                   plan.axis == 2 && !plan.copies && !in_scratch &&
                   gemm.in() * gemm.out() > std::max(FEW_WEIGHTS, gemm.size[2] * gemm.in());
  plan.blocks = plan.by_blocks ? blocks_of(gemm, limits.lanes).size() : 1;

  // With few images, a part of each is an item of work too.
  ix parts = 1;
  if (gemm.phases.size() == 1 && gemm.batch < 4 * threads && !plan.by_blocks)
    parts = std::min((4 * threads + gemm.batch - 1) / gemm.batch,
                     plan.axis == 2 ? (length + 4 * limits.positions - 1) / (4 * limits.positions) : length);
  // As many for each thread: of three, one thread would do two.
  if (parts > threads && parts < 4 * threads) parts -= parts % threads;
  if (in_scratch) parts = std::max(parts, std::min(length, product(gemm.size) * gemm.channels_out / POOLED_FLOATS));
  // Parts begin where windows of the pooling do.
  plan.unit = pool[plan.axis];
  plan.parts = std::clamp<ix>(parts, 1, length / plan.unit);
  // And with small images, several are one item, so that weights are read once for all of them.
  plan.together = product(gemm.size) <= SMALL_IMAGE && plan.parts == 1
                      ? std::clamp<ix>(gemm.batch / (4 * threads), 1, 8) : 1;
  plan.chunks = (gemm.batch + plan.together - 1) / plan.together;
  return plan;
}

GemmPlan::Item GemmPlan::item(const ImplicitGemm& gemm, ix number) const {
  Item item;
  item.block = number % blocks;
  const ix part = number / blocks % parts;
  item.first_image = number / blocks / parts * together;
  item.images = std::min(together, gemm.batch - item.first_image);
  const ix units = gemm.size[axis] / unit;
  item.part_begin = units * part / parts * unit;
  item.part_end = units * (part + 1) / parts * unit;
  return item;
}

Region GemmPlan::seen(const ImplicitGemm& gemm, const ix (&source)[3], const Item& item) const {
  Region region;
  for (int a = 0; a < 3; ++a) {
    region.from[a] = -gemm.before[a];
    region.to[a] = source[a] + gemm.after[a];
  }
  if (parts == 1) return region;
  ix reach = 0;
  for (const Tap& tap : gemm.phases[0].taps) reach = std::max(reach, tap.position[axis]);
  region.to[axis] = region.from[axis] + (item.part_end - 1) * gemm.in_step[axis] + reach + 1;
  region.from[axis] += item.part_begin * gemm.in_step[axis];
  return region;
}

// ---- weight gradient

// Sums over images are split in so many parts, whatever the number of threads, that each part always holds
// the same images: so the same bits come out.
constexpr ix MOST_PARTS = 16;
constexpr ix MOST_PART_FLOATS = ix{2} << 20;    // all partial sums together
constexpr ix MANY_POSITIONS = 128;              // for which a partial sum is worth while
constexpr ix MOST_UNPOOLED = 36;                // taps times channels seen
constexpr ix FAR = 1024, MOST_CACHED = 1 << 18; // floats

// All pixels of a 1x1 convolution as one long row, cut in pieces that stand for images.
static Window as_pieces(Window w) {
  const ix length = w.batch * product(w.size);
  ix pieces = std::clamp<ix>(length / 16, 1, 64);
  while (length % pieces) --pieces;
  w.batch = pieces;
  w.size[0] = w.size[1] = w.output[0] = w.output[1] = 1;
  w.size[2] = w.output[2] = length / pieces;
  return w;
}

static std::vector<WeightGradientPlan::Run> runs_of(const Window& w, const Region& region) {
  std::vector<WeightGradientPlan::Run> runs;
  const ix in = w.channels_in / w.groups;
  ix weight = 0;
  for_each_index(w.window, [&](const ix (&tap)[3]) {
    const ix row = tap[0] * w.dilation[0] * region.length(1) + tap[1] * w.dilation[1];
    const ix offset = (row * region.row() + tap[2] * w.dilation[2]) * w.channels_in;
    if (w.groups == 1 && !runs.empty() && tap[2] > 0 && w.dilation[2] == 1)
      runs.back().count += in;
    else
      runs.push_back({offset, in, weight});
    weight += in;
  });
  return runs;
}

static std::vector<WeightGradientPlan::Job> jobs_of(const WeightGradientPlan& plan, TileLimits limits) {
  std::vector<WeightGradientPlan::Job> jobs;
  const Window& w = plan.w;
  const auto& runs = plan.runs;
  const ix taps = plan.in() * (w.groups == 1 && w.dilation[2] == 1 ? w.window[2] : 1);
  const ix runs_together = rows_at_once(std::min(taps, limits.positions), limits.positions);
  const ix at_once = (plan.far ? 4 : 1) * plan.jump;
  for (ix group = 0; group < w.groups; ++group)
    for (ix first = 0; first < plan.out();) {
      const ix vectors = next_vectors(plan.out() - first, limits.lanes);
      for (ix run = 0; run < ix(runs.size());) {
        // Only runs at equal distances, those of one plane, can be taken together.
        const ix in_plane = runs.size() / w.window[0];
        const ix many = std::min(runs_together, in_plane - run % in_plane);
        const auto step = [&](ix r) { return runs[r + 1].offset - runs[r].offset; };
        const bool even = many < 3 || step(run + 1) == step(run);
        const ix count = runs[run].count;
        for (ix start = 0; start < count; start += at_once)
          jobs.push_back({run, even ? many : 1, start, std::min(at_once, count - start), group, first, vectors});
        run += even ? many : 1;
      }
      first += vectors * limits.lanes;
    }
  return jobs;
}

WeightGradientPlan plan_weight_gradient(const Window& given, bool is_pooled, bool may_unpool_in_tile,
                                        TileLimits limits) {
  WeightGradientPlan plan;
  plan.w = is_pointwise(given) && product(given.pool) == 1 ? as_pieces(given) : given;
  const Window& w = plan.w;
  const ix in = plan.in(), out = plan.out();
  plan.region = seen_by(w);
  plan.copies_image = false;
  for (int a = 0; a < 3; ++a)
    plan.copies_image = plan.copies_image || plan.region.from[a] < 0 || plan.region.to[a] > w.size[a];
  // With few taps, the gradient is unpooled as it is read. Else it is unpooled once for all taps.
  plan.unpools_in_tile =
      is_pooled && may_unpool_in_tile && w.groups == 1 && product(w.window) * in <= MOST_UNPOOLED;
  // Whole vectors are read from the gradient, also of the last channels.
  plan.widens = !plan.unpools_in_tile && out % limits.lanes != 0;
  plan.copies_gradient = !plan.unpools_in_tile && (plan.widens || is_pooled);
  plan.wide_out = (out + limits.lanes - 1) / limits.lanes * limits.lanes;
  plan.image_floats = plan.region.pixels() * w.channels_in;
  plan.gradient_floats = plan.unpools_in_tile ? w.pooled() / w.batch
                         : product(w.output) * (plan.widens ? plan.wide_out * w.groups : w.channels_out);
  plan.runs = runs_of(w, plan.region);
  // The processor does not guess the next line of each page, so the taps that come next are asked for.
  plan.far = is_pointwise(given) && in >= FAR && w.batch * w.output[2] * in > MOST_CACHED;
  plan.jump = 4 * limits.positions;
  plan.jobs = jobs_of(plan, limits);
  // Fixed parts of the images. With a large kernel, or few positions, there are few, and its jobs are shared
  // out instead.
  plan.parts = std::clamp<ix>(
      std::min({MOST_PARTS, MOST_PART_FLOATS / w.weights(), w.positions() / MANY_POSITIONS}), 1, w.batch);
  plan.by_images = plan.jobs.size() == 1 || (plan.parts > 1 && plan.parts >= std::min<ix>(8, w.batch));
  for_each_index(w.pool, [&](const ix (&index)[3]) {
    const ix row = index[0] * w.strides[0] * plan.region.length(1) + index[1] * w.strides[1];
    plan.pool_offsets.push_back((row * plan.region.row() + index[2] * w.strides[2]) * w.channels_in);
  });
  return plan;
}

}  // namespace cornu
