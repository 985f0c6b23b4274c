// Sharing work between threads, and memory that lives as long as a kernel runs.
#pragma once

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <exception>
#include <functional>
#include <memory>
#include <new>
#include <thread>

namespace cornu {

// Somebody else's threads: XLA's, or those of a test.
struct Pool {
  int threads;
  std::function<void(std::function<void()>)> schedule;
};

// Numbers that went past the cache are there for other threads.
inline void finish_stores() {
#if defined(__x86_64__)
  __builtin_ia32_sfence();
#endif
}

// Call `work(item)` for each of `items`, in no order, in several threads.
//
// The calling thread works too, and waits only for items that another thread has begun; helpers
// that come late find nothing to do. So it cannot block, whatever else the pool is doing. What
// `work` throws, the caller throws, when all threads have left it.
template <class Work>
void parallel_for(const Pool& pool, int64_t items, const Work& work) {
  const int64_t helpers = std::min<int64_t>(pool.threads, items) - 1;
  if (helpers <= 0) {
    for (int64_t item = 0; item < items; ++item) work(item);
    finish_stores();
    return;
  }
  struct Shared {
    std::atomic<int64_t> next{0}, done{0};
    std::atomic<bool> failed{false};
    std::exception_ptr failure;
  };
  auto shared = std::make_shared<Shared>();
  // `work` is touched only after an item was claimed, and so while the caller still waits.
  auto run = [shared, items, &work] {
    for (;;) {
      const int64_t item = shared->next.fetch_add(1, std::memory_order_relaxed);
      if (item >= items) return;
      try {
        work(item);
      } catch (...) {
        if (!shared->failed.exchange(true)) shared->failure = std::current_exception();
      }
      finish_stores();
      shared->done.fetch_add(1, std::memory_order_release);
    }
  };
  try {
    for (int64_t helper = 0; helper < helpers; ++helper) pool.schedule(run);
  } catch (...) {
    // It goes on with fewer.
  }
  run();
  for (int spins = 0; shared->done.load(std::memory_order_acquire) < items; ++spins) {
    if (spins > 2000) std::this_thread::yield();
#if defined(__x86_64__)
    else __builtin_ia32_pause();
#endif
  }
  if (shared->failure) std::rethrow_exception(shared->failure);
}

// Aligned memory with undefined contents. Freed blocks are kept for the next kernel, up to a bound.
class Scratch {
 public:
  explicit Scratch(int64_t floats);
  ~Scratch();
  Scratch(const Scratch&) = delete;
  Scratch& operator=(const Scratch&) = delete;
  float* data() const { return static_cast<float*>(block_); }

 private:
  void* block_;
  int64_t size_;
};

}  // namespace cornu
