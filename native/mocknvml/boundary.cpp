#include "boundary.hpp"

#include <cstring>
#include <functional>
#include <new>
#include <system_error>

namespace plumbline::mocknvml {

namespace {

/// Handles are addresses in here; this copy of the library knows its own from any other's.
constexpr std::array<DeviceToken, max_gpus> tokens{};

} // namespace

Return code_of_exception() noexcept {
  try {
    throw;
  } catch (const Failure &failure) {
    return failure.code();
  } catch (const StateUnusable &unusable) {
    return unusable.code();
  } catch (const std::bad_alloc &) {
    return Return::memory;
  } catch (const std::system_error &) {
    return Return::operating_system;
  } catch (...) {
    return Return::unknown;
  }
}

void put_text(std::string_view text, char *buffer, unsigned length) {
  char &start = need(buffer);
  require(length > text.size(), Return::insufficient_size);
  std::memcpy(&start, text.data(), text.size());
  buffer[text.size()] = '\0';
}

Device handle_of(std::size_t gpu) { return &tokens.at(gpu); }

std::size_t index_of(Device device, const State &state) {
  const std::less<> before;
  const bool ours = !before(device, tokens.data()) && before(device, tokens.data() + tokens.size());
  require(ours, Return::invalid_argument);
  const auto index = static_cast<std::size_t>(device - tokens.data());
  require(index < state.gpu_count(), Return::invalid_argument);
  return index;
}

Query ask(Device device) {
  std::shared_ptr<State> state = Session::get().state();
  const std::size_t index = index_of(device, *state);
  const GpuRecord gpu = state->gpu(index);
  require(gpu.lost == Answer::no, Return::gpu_is_lost);
  return Query{.state = std::move(state), .index = index, .gpu = gpu};
}

} // namespace plumbline::mocknvml
