// The NVLinks of a GPU.
#pragma once

#include "records.hpp"

namespace plumbline::mocknvml {

/// How many links the GPU has, up or down.
unsigned link_count(const GpuRecord &gpu);

/// A link that exists. Throws Failure: not_supported for a GPU without NVLink,
/// invalid_argument for a link it does not have.
LinkRecord need_link(const GpuRecord &gpu, unsigned link);

} // namespace plumbline::mocknvml
