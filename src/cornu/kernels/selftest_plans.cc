// Plans are pure data: what they say is compared with plain loops over the window.

#include <tuple>

#include "selftest.h"

namespace cornu {
namespace {

void expect(bool holds, const char* what, const Window& w) {
  if (holds || failures++ >= 10) return;
  printf("plan: %s\n  %s\n", what, describe(w).c_str());
}

// An output position, without channels, sees a pixel through a tap.
typedef std::tuple<int64_t, int64_t, int64_t> Meeting;  // result, tap, source

std::vector<Meeting> sorted(std::vector<Meeting> all) {
  std::sort(all.begin(), all.end());
  return all;
}

// All that an implicit GEMM adds up.
std::vector<Meeting> meetings_of(const ImplicitGemm& gemm, const int64_t (&source)[3]) {
  std::vector<Meeting> all;
  for (int64_t n = 0; n < gemm.batch; ++n)
    for (const Phase& phase : gemm.phases)
      for_each_index(phase.count, [&](const int64_t (&index)[3]) {
        for (const Tap& tap : phase.taps) {
          int64_t from = n, to = n;
          bool inside = true;
          for (int a = 0; a < 3; ++a) {
            const int64_t at = index[a] * gemm.in_step[a] + tap.position[a] - gemm.before[a];
            inside = inside && at >= 0 && at < source[a];
            from = from * source[a] + at;
            to = to * gemm.size[a] + phase.start[a] + index[a] * phase.step[a];
          }
          if (inside) all.emplace_back(to, tap.weight, from);
        }
      });
  return sorted(all);
}

void test_gemms(Window w) {
  // Else outputs that no pool covers would be left out.
  for (int64_t& side : w.pool) side = 1;
  std::vector<Meeting> forward, backward;
  for_each_meeting(w, [&](int64_t image, int64_t tap, int64_t output) {
    forward.emplace_back(output, tap, image);
    backward.emplace_back(image, tap, output);
  });
  expect(meetings_of(forward_gemm(w), w.size) == sorted(forward), "forward sees something else", w);
  expect(meetings_of(input_gradient_gemm(w), w.output) == sorted(backward), "the input gradient sees something else",
         w);
}

void test_blocks(const Window& w, const ImplicitGemm& gemm, int64_t lanes) {
  int64_t next = 0, offset = 0;
  for (const Block& block : blocks_of(gemm, lanes)) {
    expect(block.first == next && block.offset == offset && block.vectors <= WIDE, "blocks have gaps", w);
    next += block.vectors * lanes;
    offset += block.vectors * lanes * gemm.in();
  }
  expect(next >= gemm.out() && next - gemm.out() < lanes, "blocks do not cover the channels", w);
}

// Every result belongs to one item of work, and what the item sees is enough for it.
void test_items(const Window& w, const ImplicitGemm& gemm, const int64_t (&source)[3], const int64_t (&pool)[3],
                int64_t threads, TileLimits limits) {
  const bool depthwise = gemm.is_depthwise();
  const GemmPlan plan = plan_gemm(gemm, true, product(pool) > 1, pool, depthwise, threads, limits);
  std::vector<int> times(gemm.batch * gemm.size[plan.axis] * plan.blocks);
  for (int64_t n = 0; n < plan.items(); ++n) {
    const GemmPlan::Item item = plan.item(gemm, n);
    expect(item.part_begin % plan.unit == 0, "a part begins within a pool", w);
    for (int64_t image = item.first_image; image < item.first_image + item.images; ++image)
      for (int64_t at = item.part_begin; at < item.part_end; ++at)
        ++times[(image * gemm.size[plan.axis] + at) * plan.blocks + item.block];
    const Region region = plan.seen(gemm, source, item);
    for (const Segment& segment : segments_of(gemm, gemm.phases[0], region))
      expect(segment.offset >= 0 && segment.offset + segment.count <= region.pixels() * gemm.channels_in,
             "a tap lies outside of what an item sees", w);
  }
  for (int count : times) expect(count == 1, "a result belongs to no item, or to several", w);
}

void test_pixel_packing(const Window& w, const ImplicitGemm& gemm, int64_t lanes) {
  const PixelPacking packing = pack_pixels(gemm, gemm.size[2], lanes, false);
  if (packing.pixels == 1) return;
  expect(packing.gemm.channels_out <= lanes && gemm.size[2] % packing.pixels == 0, "packed pixels do not fit", w);
  const auto& taps = gemm.phases[0].taps;
  for (int64_t pixel = 0; pixel < packing.pixels; ++pixel)
    for (size_t t = 0; t < taps.size(); ++t) {
      const Tap& packed = packing.gemm.phases[0].taps[packing.taps[pixel * taps.size() + t]];
      expect(packed.position[0] == taps[t].position[0] && packed.position[1] == taps[t].position[1] &&
                 packed.position[2] == taps[t].position[2] + pixel * gemm.in_step[2],
             "a packed tap is another one", w);
    }
}

// Every number of the weight gradient belongs to one job.
void test_weight_gradient(const Window& w, TileLimits limits) {
  const WeightGradientPlan plan = plan_weight_gradient(w, product(w.pool) > 1, true, limits);
  std::vector<int> times(w.weights());
  for (const auto& job : plan.jobs)
    for (int64_t run = job.run; run < job.run + job.runs; ++run)
      for (int64_t i = job.start; i < job.start + job.count; ++i)
        for (int64_t o = job.first; o < std::min(plan.out(), job.first + job.vectors * limits.lanes); ++o)
          ++times[(plan.runs[run].weight + i) * w.channels_out + job.group * plan.out() + o];
  for (int count : times) expect(count == 1, "a weight belongs to no job, or to several", w);
  expect(plan.parts >= 1 && plan.parts <= plan.w.batch, "parts without images", w);
  expect(plan.w.positions() == w.positions(), "pieces lose positions", w);
}

}  // namespace

void test_plans(const Window& w) {
  if (w.positions() * product(w.window) < 20000) test_gemms(w);
  for (const TileLimits limits : {TileLimits{16, 12}, TileLimits{8, 6}, TileLimits{4, 6}}) {
    test_blocks(w, forward_gemm(w), limits.lanes);
    test_pixel_packing(w, forward_gemm(w), limits.lanes);
    test_weight_gradient(w, limits);
    for (int64_t threads : {1, 3, 8}) {
      test_items(w, forward_gemm(w), w.size, w.pool, threads, limits);
      test_items(w, input_gradient_gemm(w), w.output, {1, 1, 1}, threads, limits);
    }
  }
}

}  // namespace cornu
