// Sums over the processes of one machine, through memory that they share.

#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <mutex>

namespace cornu {

// One of the arrays that are summed at once, and where the sum goes; or, where parts are gathered, those of all
// processes, one behind the other.
struct Shared {
  const void* from;
  void* to;
  int64_t count;
};

enum class Number { FLOAT32, FLOAT64, INT32, UINT32 };

// What one of the processes has of the memory.
class Sharing {
 public:
  // Bytes of the memory that so many processes share. It begins as zeros.
  static int64_t bytes(int64_t processes);

  // Of process number `rank`. Where processes have a core each, they look for each other for some time before they
  // sleep.
  Sharing(void* memory, int64_t rank, int64_t processes, bool have_cores)
      : memory(static_cast<char*>(memory)), rank(rank), processes(processes), patience(have_cores ? 4000 : 20) {}

  // All processes call this in the same order, with arrays of the same sizes. In each, the sums have the same bits:
  // process after process is added. Waits for the others without a limit: whoever watches the processes ends them.
  //
  // Throws std::invalid_argument if another process is in another call, whose `key` or size differs.
  void sum(const Shared* arrays, size_t count, Number, int64_t key, bool gathers);

 private:
  struct Bell;
  struct Slot;

  Bell& bell() const;
  Slot& slot(int64_t process) const;
  char* buffer(int64_t process) const;
  void say();
  void wait() const;
  void wake() const;
  void sleep(const std::atomic<uint64_t>& other) const;
  template <class T>
  void add_up(int64_t offset, int64_t n, T* to) const;
  template <class T>
  void sum_of(const Shared* arrays, size_t count, int64_t key, bool gathers);

  char* const memory;
  const int64_t rank, processes;
  // How often to look before this thread sleeps.
  const int patience;
  uint64_t step = 0, turn = 0;
  std::mutex turns;
};

}  // namespace cornu
