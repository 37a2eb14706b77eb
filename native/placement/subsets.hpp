// The exact search: every set, by tables.
#pragma once

#include "placement/ranking.hpp"
#include "placement/searches.hpp"
#include "placement/tables.hpp"

namespace plumbline::placement {

/// Looks at every subset in Gosper's order, dropping those whose head cannot win.
Found<Mask> search_subsets(const Machine<Mask> &machine, const Tables &tables,
                           const Ranking &ranking, const Search<Mask> &search);

} // namespace plumbline::placement
