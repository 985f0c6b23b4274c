#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <mutex>
#include <new>
#include <vector>

#include "checks.h"
#include "parallel.h"

namespace cornu {

constexpr int64_t ALIGNMENT = 64;

#ifdef CORNU_CHECKED

Scratch::Scratch(int64_t floats) : size_(floats * 4) {
  if (posix_memalign(&block_, ALIGNMENT, size_)) throw std::bad_alloc();
  memset(block_, 0xff, size_);
}
Scratch::~Scratch() { std::free(block_); }

#else

namespace {

constexpr int64_t MOST_KEPT = int64_t{64} << 20;

struct Block {
  void* memory;
  int64_t size;
};

// Never destroyed: threads of XLA may still run kernels while the process ends.
struct Kept {
  std::mutex mutex;
  std::vector<Block> blocks;
  int64_t total = 0;
};
Kept& kept() {
  static Kept* instance = new Kept;
  return *instance;
}

}  // namespace

Scratch::Scratch(int64_t floats) {
  size_ = std::max<int64_t>(4096, (floats * 4 + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT);
  {
    Kept& all = kept();
    std::lock_guard<std::mutex> lock(all.mutex);
    // The smallest that is large enough, but none that would waste most of itself.
    auto best = all.blocks.end();
    for (auto block = all.blocks.begin(); block != all.blocks.end(); ++block) {
      if (block->size >= size_ && block->size <= 4 * size_ &&
          (best == all.blocks.end() || block->size < best->size))
        best = block;
    }
    if (best != all.blocks.end()) {
      block_ = best->memory;
      size_ = best->size;
      all.total -= size_;
      all.blocks.erase(best);
      return;
    }
  }
  block_ = std::aligned_alloc(ALIGNMENT, size_);
  if (!block_) throw std::bad_alloc();
}

Scratch::~Scratch() {
  Kept& all = kept();
  std::vector<Block> freed;
  {
    std::lock_guard<std::mutex> lock(all.mutex);
    all.blocks.push_back({block_, size_});
    all.total += size_;
    // The oldest go first.
    size_t count = 0;
    while (all.total > MOST_KEPT) all.total -= all.blocks[count++].size;
    freed.assign(all.blocks.begin(), all.blocks.begin() + count);
    all.blocks.erase(all.blocks.begin(), all.blocks.begin() + count);
  }
  for (const Block& block : freed) std::free(block.memory);
}

#endif

}  // namespace cornu
