// What facts follow from others, and which do not go together.
#pragma once

#include "records.hpp"

#include <functional>
#include <string>
#include <string_view>

namespace plumbline::mocknvml {

/// True when up links join the two GPUs, directly or through switches.
bool joined_by_nvlink(const GpuRecord &a, const GpuRecord &b);

/// True when the description gives this field of this subject itself.
using Given = std::function<bool(std::string_view subject, std::uint32_t a, std::uint32_t b,
                                 std::string_view field)>;

/// Fills in every derived field that is not given.
void derive(MachineRecord &machine, const Given &given);

/// What is wrong with the facts taken together: the first contradiction, or nothing.
std::string contradiction(const MachineRecord &machine);

} // namespace plumbline::mocknvml
