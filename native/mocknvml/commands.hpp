// Commands: what happens to a running machine.
#pragma once

#include "state.hpp"

namespace plumbline::mocknvml {

/// Carries out the command's lines in one change: all of them or none.
/// Throws DescriptionError or Failure.
void run_command(State &state, std::string_view text);

} // namespace plumbline::mocknvml
