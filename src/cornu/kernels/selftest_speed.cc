// The speed of the convolutions of a few layers.

#include <chrono>

#include "selftest.h"

namespace cornu {

static double seconds() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}
template <class Function>
static double best_time(const Function& function) {
  double best = 1e9;
  const double end = seconds() + 0.4;
  for (int turn = 0; turn < 5 || seconds() < end; ++turn) {
    const double start = seconds();
    function();
    best = std::min(best, seconds() - start);
  }
  return best;
}

void print_speed(int threads) {
  Threads workers(threads);
  struct Layer {
    const char* name;
    int64_t batch, side, in, out, window, stride, before, after;
  };
  const Layer layers[] = {
      {"28x28x1 -> 32, 3x3 valid", 128, 28, 1, 32, 3, 1, 0, 0},
      {"13x13x32 -> 64, 3x3 valid", 128, 13, 32, 64, 3, 1, 0, 0},
      {"32x32x3 -> 32, 3x3 same", 128, 32, 3, 32, 3, 1, 1, 1},
      {"16x16x32 -> 64, 3x3 same", 128, 16, 32, 64, 3, 1, 1, 1},
      {"8x8x64 -> 64, 3x3 same", 128, 8, 64, 64, 3, 1, 1, 1},
      {"4x4x128 -> 128, 3x3 same", 128, 4, 128, 128, 3, 1, 1, 1},
      {"28x28x1 -> 10, 5x5 valid", 10, 28, 1, 10, 5, 1, 0, 0},
      {"28x28x1 -> 64, 3x3 same", 128, 28, 1, 64, 3, 1, 1, 1},
      {"14x14x64 -> 32, 3x3 same", 128, 14, 64, 32, 3, 1, 1, 1},
      {"28x28x64 -> 32, 3x3 same", 128, 28, 64, 32, 3, 1, 1, 1},
      {"12x12x32 -> 64, 5x5 valid", 128, 12, 32, 64, 5, 1, 0, 0},
      {"14x14x6 -> 16, 5x5 valid", 128, 14, 6, 16, 5, 1, 0, 0},
      {"14x14x8 -> 16, 5x5 same", 128, 14, 8, 16, 5, 1, 2, 2},
      {"14x14x8 -> 16, 3x3 same", 128, 14, 8, 16, 3, 1, 1, 1},
      {"7x7x16 -> 24, 5x5 same", 128, 7, 16, 24, 5, 1, 2, 2},
      {"7x7x16 -> 24, 3x3 same", 128, 7, 16, 24, 3, 1, 1, 1},
      {"14x14x32 -> 8, 1x1", 128, 14, 32, 8, 1, 1, 0, 0},
      {"7x7x64 -> 24, 1x1", 128, 7, 64, 24, 1, 1, 0, 0},
      {"14x14x64 -> 128, 1x1", 64, 14, 64, 128, 1, 1, 0, 0},
      {"32x32x32 -> 64, 3x3 same, stride 2", 64, 32, 32, 64, 3, 2, 0, 1},
      {"7x7x32 -> 64, 3x3 same, stride 2", 128, 7, 32, 64, 3, 2, 1, 1},
      {"4x4x64 -> 64, 3x3 same", 128, 4, 64, 64, 3, 1, 1, 1},
      {"56x56x64 -> 64, 3x3 same", 8, 56, 64, 64, 3, 1, 1, 1},
      {"7x7x512 -> 512, 3x3 same", 8, 7, 512, 512, 3, 1, 1, 1},
  };
  printf("%s, %d threads: GFLOP/s of forward, input gradient, weight gradient\n",
         kernels()->name, threads);
  for (const Layer& layer : layers) {
    Window w{};
    w.batch = layer.batch;
    for (int a = 0; a < 3; ++a)
      w.size[a] = w.output[a] = w.window[a] = w.strides[a] = w.dilation[a] = w.pool[a] = 1;
    for (int a = 1; a < 3; ++a) {
      w.size[a] = layer.side;
      w.window[a] = layer.window;
      w.strides[a] = layer.stride;
      w.before[a] = layer.before;
      w.output[a] = (layer.side + layer.before + layer.after - layer.window) / layer.stride + 1;
    }
    w.channels_in = layer.in;
    w.channels_out = layer.out;
    w.groups = 1;
    Array image = noise(w.image()), weights = noise(w.weights()), result = noise(w.outputs());
    Array back = noise(w.image()), change = noise(w.weights());
    const double flops = 2.0 * product(w.window) * layer.in * w.outputs();
    std::vector<uint8_t> bytes(w.outputs() / 4);
    Window pooled = w;
    pooled.pool[1] = pooled.pool[2] = 2;
    double fused[3];
    fused[0] = best_time([&] { kernels()->convolution_relu_pool(workers.pool, pooled, image.get(), weights.get(), weights.get(), result.get(), bytes.data()); });
    for (uint8_t& byte : bytes) byte = between(0, 1) ? between(0, 3) : DEAD;
    fused[1] = best_time([&] { kernels()->relu_pool_input_gradient(workers.pool, pooled, result.get(), weights.get(), bytes.data(), back.get()); });
    fused[2] = best_time([&] { kernels()->relu_pool_weight_gradient(workers.pool, pooled, image.get(), result.get(), bytes.data(), change.get()); });
    const double times[3] = {
        best_time([&] { kernels()->convolution(workers.pool, w, image.get(), weights.get(), result.get()); }),
        best_time([&] { kernels()->input_gradient(workers.pool, w, result.get(), weights.get(), back.get()); }),
        best_time([&] { kernels()->weight_gradient(workers.pool, w, image.get(), result.get(), change.get()); })};
    printf("%-36s", layer.name);
    for (double time : times) printf(" %7.1f (%6.3f ms)", flops / time / 1e9, time * 1e3);
    printf("  pooled:");
    for (double time : fused) printf(" %6.3f", time * 1e3);
    printf("\n");
  }
}

}  // namespace cornu
