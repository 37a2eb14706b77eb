// The file <machine>/state: how it is laid out, made, checked and mapped.
#pragma once

#include "nvml_abi.hpp"
#include "records.hpp"

#include <pthread.h>

#include <atomic>
#include <filesystem>
#include <stdexcept>
#include <string>

namespace plumbline::mocknvml {

/// One event as it lies in the ring.
struct EventRecord {
  std::uint64_t sequence;
  std::uint64_t type;
  std::uint64_t data;
  std::uint32_t gpu;
  std::uint32_t gpu_instance;
  std::uint32_t compute_instance;
  std::uint32_t reserved;
};

inline constexpr std::size_t ring_size = 1024;
/// Most events of one commit. That many slots before the oldest readable event are kept
/// clear, so that a commit in progress never writes into an event that can still be read.
inline constexpr std::size_t events_per_commit = 64;

struct StateHeader {
  std::array<char, 8> magic;
  std::uint32_t version;
  std::uint32_t reserved;
  std::uint64_t file_size;
  std::uint64_t record_size;
  /// The boot during which `lock` was initialised: a lock held at a power cut is void.
  Text<40> boot_id;
  pthread_mutex_t lock;
  /// Number of commits; the facts are in copies[published % 2].
  std::atomic<std::uint64_t> published;
  /// The commit being written, or the last one written; never more than published + 1.
  std::atomic<std::uint64_t> writing;
  /// Changes with every commit that has events: what waiters sleep on.
  std::atomic<std::uint32_t> event_signal;
  /// Events that event sets found overwritten before they read them.
  std::atomic<std::uint64_t> events_missed;
};

struct StateImage {
  StateHeader header;
  std::array<MachineRecord, 2> copies;
  std::array<EventRecord, ring_size> ring;
};

static_assert(std::atomic<std::uint64_t>::is_always_lock_free);

/// Why a state file cannot be used, and how the driver library reports that.
class StateUnusable : public std::runtime_error {
public:
  StateUnusable(Return code, const std::string &reason) : std::runtime_error(reason), code_(code) {}
  [[nodiscard]] Return code() const { return code_; }

private:
  Return code_;
};

/// A mapped state file. Writable unless this process may only read it.
class StateFile {
public:
  /// Throws StateUnusable.
  explicit StateFile(const std::filesystem::path &path);
  ~StateFile();
  StateFile(const StateFile &) = delete;
  StateFile &operator=(const StateFile &) = delete;

  [[nodiscard]] StateImage &image() const { return *image_; }
  [[nodiscard]] bool writable() const { return writable_; }
  /// False once somebody cut the file short: touching the mapping could then be fatal.
  [[nodiscard]] bool is_whole() const;

private:
  int descriptor_ = -1;
  bool writable_ = false;
  StateImage *image_ = nullptr;

  void open_and_map(const std::filesystem::path &path);
  void check_contents() const;
  void renew_lock_after_reboot() const;
  void release() noexcept;
};

/// Writes a new state file that holds `machine`: complete or not at all.
/// Throws std::system_error; the code is EEXIST when there is one already.
void create_state_file(const std::filesystem::path &path, const MachineRecord &machine);

} // namespace plumbline::mocknvml
