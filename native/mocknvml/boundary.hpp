// The edge of the ABI: every exported function runs inside `guarded`, so that
// nothing is thrown across it, and finds its GPU through `ask`.
#pragma once

#include "nvml_abi.hpp"
#include "session.hpp"

#include <algorithm>
#include <exception>
#include <optional>
#include <string_view>
#include <vector>

/// Defines an exported NVML function: NVML_CALL(nvmlName)(parameters) { ... }
#define NVML_CALL(name) extern "C" __attribute__((visibility("default"))) Return name

namespace plumbline::mocknvml {

/// A call that cannot be answered; becomes its return code.
class Failure : public std::exception {
public:
  explicit Failure(Return code) : code_(code) {}
  [[nodiscard]] Return code() const { return code_; }

private:
  Return code_;
};

inline void require(bool condition, Return otherwise) {
  if (!condition) {
    throw Failure{otherwise};
  }
}

/// What an optional holds. Throws `otherwise` when it holds nothing.
template <class Value> Value required_of(const std::optional<Value> &found, Return otherwise) {
  if (!found) {
    throw Failure{otherwise};
  }
  return *found;
}

/// The return code of the exception being handled.
Return code_of_exception() noexcept;

/// Runs the body of an exported function: success unless it throws.
template <class Body> Return guarded(const Body &body) noexcept {
  try {
    body();
    return Return::success;
  } catch (...) {
    return code_of_exception();
  }
}

/// What a caller's pointer points to. Throws invalid_argument.
template <class Pointed> Pointed &need(Pointed *pointer) {
  require(pointer != nullptr, Return::invalid_argument);
  return *pointer;
}

/// A caller's versioned structure. Throws argument_version_mismatch.
template <class Struct> Struct &need_version(Struct *pointer, unsigned version) {
  Struct &target = need(pointer);
  require(target.version == version_tag<Struct>(version), Return::argument_version_mismatch);
  return target;
}

/// Writes terminated text to a caller's buffer. Throws insufficient_size.
void put_text(std::string_view text, char *buffer, unsigned length);

/// NVML's protocol for lists of handles: a `count` of zero asks for the number there is;
/// otherwise it is the room in `items` and becomes the number written there.
template <class Item> void put_list(const std::vector<Item> &found, unsigned *count, Item *items) {
  const unsigned room = need(count);
  *count = static_cast<unsigned>(found.size());
  if (room == 0 || found.empty()) {
    return;
  }
  require(items != nullptr, Return::invalid_argument);
  require(room >= found.size(), Return::insufficient_size);
  std::ranges::copy(found, items);
}

/// A handle: NVML's callers see a pointer and must not look behind it.
struct DeviceToken {
  unsigned char unused;
};
using Device = const DeviceToken *;

Device handle_of(std::size_t gpu);

/// Throws invalid_argument for what is no handle of this library's.
std::size_t index_of(Device device, const State &state);

/// One question about one GPU: the machine, and the GPU as it is at this moment.
struct Query {
  std::shared_ptr<State> state;
  std::size_t index;
  GpuRecord gpu;
};

/// Throws uninitialized, invalid_argument or gpu_is_lost.
Query ask(Device device);

/// A caller's number is what `get` says of the GPU; `get` may throw Failure.
template <class Number, class Get>
Return tell(Device device, Number *number, const Get &get) noexcept {
  return guarded([&] {
    const Query query = ask(device);
    need(number) = static_cast<Number>(get(query.gpu));
  });
}

} // namespace plumbline::mocknvml
