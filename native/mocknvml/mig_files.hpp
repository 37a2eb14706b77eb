// What the kernel module shows of MIG instances in /proc and /dev.
#pragma once

#include "state.hpp"

namespace plumbline::mocknvml {

/// Makes the capability files and device nodes of a GPU's instances those of its state, in the
/// folder of the machine; does nothing where that has no such files. Whoever comes last brings
/// them up to date, also after a process that was killed between its change and its files.
void show_instances(const State &state, std::size_t gpu);

/// The same for every GPU that can be divided.
void show_all_instances(const State &state);

} // namespace plumbline::mocknvml
