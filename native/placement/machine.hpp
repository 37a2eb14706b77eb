// The checked facts, with pair values as tiers.
#pragma once

#include "placement/values.hpp"

namespace plumbline::placement {

class Machine {
public:
  /// Throws std::invalid_argument that names the argument, the index and the value.
  explicit Machine(const Facts &facts);

  [[nodiscard]] int size() const { return size_; }
  [[nodiscard]] Mask all() const {
    return size_ == max_devices ? ~Mask{0} : (Mask{1} << static_cast<unsigned>(size_)) - 1;
  }
  [[nodiscard]] std::uint16_t tier(int a, int b) const {
    return tier_[(static_cast<std::size_t>(a) * max_devices) + static_cast<std::size_t>(b)];
  }
  [[nodiscard]] std::int64_t gbps(int tier) const { return tiers_[static_cast<std::size_t>(tier)]; }
  [[nodiscard]] int tier_count() const { return static_cast<int>(tiers_.size()); }
  [[nodiscard]] std::int64_t pair_gbps(int a, int b) const { return gbps(tier(a, b)); }
  [[nodiscard]] Mask numa(int device) const {
    return facts_.numa[static_cast<std::size_t>(device)];
  }
  [[nodiscard]] Mask socket(int device) const {
    return facts_.socket[static_cast<std::size_t>(device)];
  }
  [[nodiscard]] Mask rails(int device) const {
    return facts_.rails[static_cast<std::size_t>(device)];
  }
  [[nodiscard]] std::int64_t clique(int device) const {
    return facts_.clique[static_cast<std::size_t>(device)];
  }
  [[nodiscard]] std::uint32_t penalty(int device) const {
    return static_cast<std::uint32_t>(facts_.penalty[static_cast<std::size_t>(device)]);
  }

  [[nodiscard]] Mask all_rails() const { return all_rails_; }

  /// The traits of any set but for the ring, which costs more than all others.
  [[nodiscard]] Traits traits_without_ring(Mask set) const;
  /// Counts a set's rails once more, those that are free only.
  void count_free_rails(Mask set, Mask rails_free, Traits &traits) const;
  [[nodiscard]] std::uint32_t sum_gbps(Mask set) const;

private:
  Facts facts_;
  int size_;
  Mask all_rails_ = 0;
  std::vector<std::int64_t> tiers_; // the values there are, slowest first
  std::array<std::uint16_t, std::size_t{max_devices} * max_devices> tier_{};
};

} // namespace plumbline::placement
