// The control door: how a simulated machine is made, changed and described.
// Like everything exported, it neither throws nor prints.
#include "boundary.hpp"
#include "commands.hpp"
#include "description.hpp"
#include "machine_folder.hpp"

#include <algorithm>
#include <cstring>
#include <system_error>

#define CONTROL_DOOR extern "C" __attribute__((visibility("default"))) int

namespace plumbline::mocknvml {

namespace {

/// Copies as much of the message as fits, cut where a character ends.
void put_message(std::string_view message, char *buffer, std::size_t size) noexcept {
  if (buffer == nullptr || size == 0) {
    return;
  }
  constexpr std::string_view cut = "...";
  if (message.size() < size) {
    std::memcpy(buffer, message.data(), message.size());
    buffer[message.size()] = '\0';
    return;
  }
  std::size_t kept = size > cut.size() ? size - 1 - cut.size() : size - 1;
  while (kept > 0 && (static_cast<unsigned char>(message[kept]) & 0xc0U) == 0x80U) {
    --kept;
  }
  std::memcpy(buffer, message.data(), kept);
  const std::size_t mark = size > cut.size() ? cut.size() : 0;
  std::memcpy(buffer + kept, cut.data(), mark);
  buffer[kept + mark] = '\0';
}

std::string explain(const Failure &failure) {
  if (failure.code() == Return::no_permission) {
    return state_path().string() + ": this process may not write it";
  }
  if (failure.code() == Return::timeout) {
    return state_path().string() + ": another process has held the lock for too long";
  }
  return state_path().string() + ": NVML error " +
         std::to_string(static_cast<unsigned>(failure.code()));
}

/// Runs the body: 0, or 1 and a message.
template <class Body> int behind_door(const Body &body, char *error, std::size_t size) noexcept {
  try {
    body();
    put_message("", error, size);
    return 0;
  } catch (const Failure &failure) {
    put_message(explain(failure), error, size);
  } catch (const std::exception &exception) {
    put_message(exception.what(), error, size);
  } catch (...) {
    put_message("unknown failure", error, size);
  }
  return 1;
}

void create(std::string_view description) {
  const auto machine = parse_description(description);
  const std::filesystem::path path = state_path();
  try {
    create_state_file(path, *machine);
  } catch (const std::system_error &error) {
    if (error.code() == std::errc::file_exists) {
      throw DescriptionError(path.string() + ": there is a machine already; remove it first");
    }
    throw DescriptionError(path.string() + ": " + error.what());
  }
}

std::string describe() {
  const State state(state_path());
  std::string text = write_description(*state.everything());
  if (const std::uint64_t missed = state.events_missed(); missed > 0) {
    text += "# events overwritten before an event set read them: " + std::to_string(missed) + "\n";
  }
  return text;
}

void put_description(char *buffer, std::size_t *size) {
  if (size == nullptr) {
    throw DescriptionError("size must not be null");
  }
  const std::string text = describe();
  const std::size_t room = buffer == nullptr ? 0 : *size;
  *size = text.size() + 1;
  if (room < *size) {
    throw DescriptionError("the buffer is too small: " + std::to_string(*size) +
                           " bytes are needed");
  }
  std::memcpy(buffer, text.c_str(), *size);
}

std::string_view need_text(const char *text, std::string_view called) {
  if (text == nullptr) {
    throw DescriptionError(std::string(called) + " must not be null");
  }
  return text;
}

} // namespace

CONTROL_DOOR plumbline_machine_create(const char *description, char *error, std::size_t size) {
  return behind_door([&] { create(need_text(description, "description")); }, error, size);
}

CONTROL_DOOR plumbline_machine_command(const char *command, char *error, std::size_t size) {
  return behind_door(
      [&] {
        State state(state_path());
        run_command(state, need_text(command, "command"));
      },
      error, size);
}

CONTROL_DOOR plumbline_machine_describe(char *buffer, std::size_t *size, char *error,
                                        std::size_t error_size) {
  return behind_door([&] { put_description(buffer, size); }, error, error_size);
}

} // namespace plumbline::mocknvml
