// The exact search: every set, by tables.
#pragma once

#include "placement/ranking.hpp"
#include "placement/tables.hpp"

namespace plumbline::placement {

/// The best two sets and how many were looked at.
struct Found {
  Mask best = 0;
  std::optional<Mask> second;
  std::int64_t examined = 0;
  bool exact = true;
};

/// What is left to decide of a request: `size` of `pool`, beside `must`; 0 < size < |pool|.
struct Search {
  Mask pool = 0;
  Mask must = 0;
  int size = 0;
  Mask free = 0;
};

/// Looks at every subset in Gosper's order, dropping those whose head cannot win.
Found search_subsets(const Tables &tables, const Ranking &ranking, const Search &search);

} // namespace plumbline::placement
