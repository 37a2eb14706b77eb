#include "machine_folder.hpp"

#include <dlfcn.h>

#include <climits>
#include <cstdlib>

namespace plumbline::mocknvml {

namespace {

std::filesystem::path find_library() {
  static const char anchor = 0; // any object of this library
  Dl_info facts{};
  if (::dladdr(&anchor, &facts) == 0 || facts.dli_fname == nullptr) {
    return {};
  }
  char resolved[PATH_MAX];
  const char *real = ::realpath(facts.dli_fname, resolved);
  return real != nullptr ? real : "";
}

const std::filesystem::path &library() {
  static const auto *path = new std::filesystem::path(find_library());
  return *path;
}

// The loader's name may be relative, so it is resolved before the program can change its
// working directory. Never destroyed: programs call NVML from exit handlers.
__attribute__((constructor)) void resolve_at_load() { library(); }

} // namespace

std::filesystem::path machine_folder() { return library().parent_path().parent_path(); }

std::filesystem::path state_path() { return machine_folder() / "state"; }

} // namespace plumbline::mocknvml
