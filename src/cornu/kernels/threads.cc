#include "threads.h"

#include <condition_variable>
#include <deque>
#include <mutex>
#include <system_error>

#include <unistd.h>
#if defined(__linux__)
#include <sched.h>
#endif

namespace cornu {
namespace {

// How often an idle thread looks for work before it sleeps: to wake it takes longer than most kernels of one picture.
constexpr int LOOKS = 20000;

int processors() {
#if defined(__linux__)
  cpu_set_t set;
  if (sched_getaffinity(0, sizeof set, &set) == 0) return std::max(1, CPU_COUNT(&set));
#endif
  return std::max(1u, std::thread::hardware_concurrency());
}

class Workers {
 public:
  // Fewer than `most` where the system gives no more threads.
  explicit Workers(int most) : process_(getpid()) {
    try {
      for (; count_ < most; ++count_) std::thread([this] { work(); }).detach();
    } catch (const std::system_error&) {
    }
  }

  int count() const { return count_; }

  bool is_of_this_process() const { return process_ == getpid(); }

  void schedule(std::function<void()> task) {
    {
      std::lock_guard<std::mutex> lock(mutex_);
      tasks_.push_back(std::move(task));
      waiting_.fetch_add(1, std::memory_order_release);
      if (sleeping_ == 0) return;
    }
    awake_.notify_one();
  }

 private:
  void work() {
    for (;;) {
      for (int look = 0; look < LOOKS && waiting_.load(std::memory_order_acquire) == 0; ++look) {
#if defined(__x86_64__)
        __builtin_ia32_pause();
#endif
      }
      std::unique_lock<std::mutex> lock(mutex_);
      ++sleeping_;
      awake_.wait(lock, [this] { return !tasks_.empty(); });
      --sleeping_;
      const std::function<void()> task = std::move(tasks_.front());
      tasks_.pop_front();
      waiting_.fetch_sub(1, std::memory_order_relaxed);
      lock.unlock();
      task();
    }
  }

  const pid_t process_;
  int count_ = 0;
  std::mutex mutex_;
  std::condition_variable awake_;
  std::deque<std::function<void()>> tasks_;
  std::atomic<int> waiting_{0};
  int sleeping_ = 0;
};

}  // namespace

Pool own_threads() {
  static std::mutex mutex;
  // Never destroyed: its threads may still look for work while the process ends.
  static Workers* workers = nullptr;
  static const int count = processors();
  if (count == 1) return {1, {}};
  std::lock_guard<std::mutex> lock(mutex);
  if (!workers || !workers->is_of_this_process()) workers = new Workers(count - 1);
  Workers* mine = workers;
  return {1 + mine->count(), [mine](std::function<void()> task) { mine->schedule(std::move(task)); }};
}

}  // namespace cornu
