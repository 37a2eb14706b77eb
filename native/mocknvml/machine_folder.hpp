// Where this copy of the library lies, and so which machine it is the driver of.
#pragma once

#include <filesystem>

namespace plumbline::mocknvml {

/// The folder above the one that holds this library file: `<machine>/lib/<library>`.
/// Empty when the loader does not tell.
std::filesystem::path machine_folder();

/// `<machine>/state`.
std::filesystem::path state_path();

} // namespace plumbline::mocknvml
