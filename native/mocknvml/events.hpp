// Which events a GPU can have.
#pragma once

#include "records.hpp"

namespace plumbline::mocknvml {

/// NVML's mask of the event types of this GPU.
std::uint64_t supported_events(const GpuRecord &gpu);

} // namespace plumbline::mocknvml
