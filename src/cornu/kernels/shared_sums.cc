// Each process has two buffers, which it fills in turns, and says when it has: its step. When all have said so, each
// adds up what lies in all buffers. A buffer is filled again two turns later; then all have said that their next one is
// full, so none reads the old one any more.

#include "shared_sums.h"

#include <algorithm>
#include <cstring>
#include <ctime>
#include <stdexcept>
#include <string>
#include <thread>

#ifdef __linux__
#include <linux/futex.h>
#include <sys/syscall.h>
#include <unistd.h>
#endif

namespace cornu {
namespace {

constexpr int64_t BUFFER = 256 << 10, LINE = 64, BLOCK = 4 << 10;
static_assert(std::atomic<uint64_t>::is_always_lock_free && std::atomic<uint32_t>::is_always_lock_free);

void pause() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  asm volatile("yield");
#endif
}

// Calls `then(array, first, offset, n)` for the numbers [begin, end) of all arrays, as if these lay one behind the
// other: `n` numbers of an array from its number `first` on lie `offset` behind `begin`.
template <class Then>
void each(const Shared* arrays, size_t count, int64_t begin, int64_t end, Then then) {
  int64_t start = 0;
  for (size_t i = 0; i < count; start += arrays[i++].count) {
    const int64_t from = std::max(begin, start), to = std::min(end, start + arrays[i].count);
    if (from < to) then(arrays[i], from - start, from - begin, to - from);
  }
}

}  // namespace

struct alignas(LINE) Sharing::Bell {
  std::atomic<uint32_t> rings, listeners;
};
struct alignas(LINE) Sharing::Slot {
  std::atomic<uint64_t> step;
  // What it sums, by turns as the buffers.
  int64_t key[2], bytes[2];
};

int64_t Sharing::bytes(int64_t processes) {
  return int64_t(sizeof(Bell)) + processes * (int64_t(sizeof(Slot)) + 2 * BUFFER);
}

Sharing::Bell& Sharing::bell() const { return *reinterpret_cast<Bell*>(memory); }
Sharing::Slot& Sharing::slot(int64_t process) const {
  return reinterpret_cast<Slot*>(memory + sizeof(Bell))[process];
}
char* Sharing::buffer(int64_t process) const {
  return memory + sizeof(Bell) + sizeof(Slot) * processes + (2 * process + int64_t(turn % 2)) * BUFFER;
}

void Sharing::say() {
  slot(rank).step.store(++step, std::memory_order_release);
  bell().rings.fetch_add(1);
  if (bell().listeners.load()) wake();
}

void Sharing::wait() const {
  for (int64_t process = 0; process < processes; ++process) {
    const auto& other = slot(process).step;
    for (int tries = 0; other.load(std::memory_order_acquire) < step; ++tries)
      if (tries < patience) pause();
      else sleep(other);
  }
}

#ifdef __linux__
void Sharing::wake() const { syscall(SYS_futex, &bell().rings, FUTEX_WAKE, INT32_MAX, nullptr, nullptr, 0); }
void Sharing::sleep(const std::atomic<uint64_t>& other) const {
  const timespec limit{0, 50000000};
  bell().listeners.fetch_add(1);
  const uint32_t rings = bell().rings.load();
  if (other.load() < step) syscall(SYS_futex, &bell().rings, FUTEX_WAIT, rings, &limit, nullptr, 0);
  bell().listeners.fetch_sub(1);
}
#else
void Sharing::wake() const {}
void Sharing::sleep(const std::atomic<uint64_t>&) const { std::this_thread::yield(); }
#endif

template <class T>
void Sharing::add_up(int64_t offset, int64_t n, T* to) const {
  constexpr int64_t AT_ONCE = BLOCK / sizeof(T);
  for (int64_t i = 0; i < n; i += AT_ONCE) {
    const int64_t width = std::min(AT_ONCE, n - i);
    T total[AT_ONCE];
    for (int64_t process = 0; process < processes; ++process) {
      const T* part = reinterpret_cast<const T*>(buffer(process)) + offset + i;
      if (process == 0) std::copy(part, part + width, total);
      else
        for (int64_t k = 0; k < width; ++k) total[k] += part[k];
    }
    std::copy(total, total + width, to + i);
  }
}

template <class T>
void Sharing::sum_of(const Shared* arrays, size_t count, int64_t key, bool gathers) {
  constexpr int64_t WHOLE = BUFFER / sizeof(T);
  int64_t all = 0;
  for (size_t i = 0; i < count; ++i) all += arrays[i].count;
  const int64_t bytes = all * int64_t(sizeof(T));
  for (int64_t begin = 0; begin < all; begin += WHOLE) {
    const int64_t n = std::min(WHOLE, all - begin);
    const uint64_t half = ++turn % 2;
    T* own = reinterpret_cast<T*>(buffer(rank));
    each(arrays, count, begin, begin + n, [&](const Shared& array, int64_t first, int64_t offset, int64_t many) {
      memcpy(own + offset, static_cast<const T*>(array.from) + first, many * sizeof(T));
    });
    slot(rank).key[half] = key, slot(rank).bytes[half] = bytes;
    say();
    wait();
    for (int64_t process = 0; process < processes; ++process) {
      const Slot& other = slot(process);
      if (other.key[half] != key || other.bytes[half] != bytes)
        throw std::invalid_argument("process " + std::to_string(process) + " sums " +
                                    std::to_string(other.bytes[half]) + " bytes, and process " +
                                    std::to_string(rank) + " others (" + std::to_string(bytes) +
                                    "): every process has to make the same calls in the same order");
    }
    // Of many processes, each adds up a part.
    const bool shares = !gathers && processes > 2 && n >= 64 * processes;
    if (shares) {
      const int64_t from = n * rank / processes, to = n * (rank + 1) / processes;
      add_up(from, to - from, own + from);
      say();
      wait();
    }
    each(arrays, count, begin, begin + n, [&](const Shared& array, int64_t first, int64_t offset, int64_t many) {
      T* to = static_cast<T*>(array.to) + first;
      if (!gathers && processes == 2) {
        const T* from = static_cast<const T*>(array.from) + first;
        const T* other = reinterpret_cast<const T*>(buffer(1 - rank)) + offset;
        for (int64_t i = 0; i < many; ++i) to[i] = from[i] + other[i];
        return;
      }
      if (!gathers && !shares) return add_up(offset, many, to);
      for (int64_t process = 0; process < processes; ++process) {
        const T* part = reinterpret_cast<const T*>(buffer(process));
        const int64_t from = gathers ? offset : std::max(offset, n * process / processes);
        const int64_t end = gathers ? offset + many : std::min(offset + many, n * (process + 1) / processes);
        if (from < end) std::copy(part + from, part + end, to + (gathers ? process * array.count : from - offset));
      }
    });
  }
}

void Sharing::sum(const Shared* arrays, size_t count, Number number, int64_t key, bool gathers) {
  // Two programs at once, in an order that may differ between processes: then the keys do, too.
  std::lock_guard<std::mutex> lock(turns);
  switch (number) {
    case Number::FLOAT32: return sum_of<float>(arrays, count, key, gathers);
    case Number::FLOAT64: return sum_of<double>(arrays, count, key, gathers);
    case Number::INT32: return sum_of<int32_t>(arrays, count, key, gathers);
    case Number::UINT32: return sum_of<uint32_t>(arrays, count, key, gathers);
  }
}

}  // namespace cornu
