// The sentences a read leaves behind about files that are there but unusable.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

namespace plumbline::topology {

class Warnings {
public:
  /// Keeps one sentence; beyond the cap only counts it.
  void add(std::string sentence);

  /// The sentences, and a last one that counts those beyond the cap.
  std::vector<std::string> take();

private:
  std::vector<std::string> sentences_;
  std::size_t beyond_cap_ = 0;
};

/// Text as it can be shown: bytes other than printable ASCII become \xNN, and what is long
/// is cut.
std::string shown(std::string_view text, std::size_t longest = 40);

} // namespace plumbline::topology
