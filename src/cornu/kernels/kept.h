// Memory that lives as long as somebody keeps it, and that is shared by all who keep the same.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <vector>

namespace cornu {

// Aligned numbers that are zero.
class Memory {
 public:
  explicit Memory(int64_t floats);
  ~Memory();
  Memory(const Memory&) = delete;
  Memory& operator=(const Memory&) = delete;
  float* data() { return data_; }
  const float* data() const { return data_; }

 private:
  float* data_;
};

// What `key` names: made by `fill` unless somebody keeps it already. The key holds the address of what it is made of,
// which must stay there for as long as it is kept.
std::shared_ptr<const Memory> kept(const std::vector<int64_t>& key, int64_t floats,
                                   const std::function<void(float*)>& fill);

}  // namespace cornu
