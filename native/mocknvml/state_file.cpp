#include "state_file.hpp"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <memory>
#include <new>
#include <system_error>
#include <utility>

namespace plumbline::mocknvml {

namespace {

constexpr std::array<char, 8> magic{'P', 'L', 'U', 'M', 'B', 'N', 'V', '\n'};
constexpr std::uint32_t state_version = 2;

[[noreturn]] void fail(const char *what) {
  throw std::system_error(errno, std::generic_category(), what);
}

class Descriptor {
public:
  Descriptor(const std::filesystem::path &path, int flags, mode_t mode = 0)
      : number_(::open(path.c_str(), flags, mode)) {}
  ~Descriptor() {
    if (number_ >= 0) {
      ::close(number_);
    }
  }
  Descriptor(const Descriptor &) = delete;
  Descriptor &operator=(const Descriptor &) = delete;
  [[nodiscard]] int number() const { return number_; }

private:
  int number_;
};

std::string read_boot_id() {
  const Descriptor file("/proc/sys/kernel/random/boot_id", O_RDONLY | O_CLOEXEC);
  std::array<char, 36> id{};
  if (file.number() < 0 || ::read(file.number(), id.data(), id.size()) != ssize_t{id.size()}) {
    return {};
  }
  return {id.data(), id.size()};
}

void initialise_lock(pthread_mutex_t &lock) {
  pthread_mutexattr_t attributes;
  pthread_mutexattr_init(&attributes);
  pthread_mutexattr_setpshared(&attributes, PTHREAD_PROCESS_SHARED);
  pthread_mutexattr_setrobust(&attributes, PTHREAD_MUTEX_ROBUST);
  const int error = pthread_mutex_init(&lock, &attributes);
  pthread_mutexattr_destroy(&attributes);
  if (error != 0) {
    throw std::system_error(error, std::generic_category(), "cannot make the state's lock");
  }
}

void initialise(StateImage &image, const MachineRecord &machine) {
  StateHeader &header = *new (&image.header) StateHeader{};
  header.magic = magic;
  header.version = state_version;
  header.file_size = sizeof(StateImage);
  header.record_size = sizeof(MachineRecord);
  header.boot_id.assign(read_boot_id());
  initialise_lock(header.lock);
  image.copies[0] = machine;
}

void write_image(int descriptor, const MachineRecord &machine) {
  // Allocated, not sparse: a full disk must be an error here, not a SIGBUS later.
  if (const int error = ::posix_fallocate(descriptor, 0, sizeof(StateImage)); error != 0) {
    throw std::system_error(error, std::generic_category(), "cannot allocate the state file");
  }
  void *memory =
      ::mmap(nullptr, sizeof(StateImage), PROT_READ | PROT_WRITE, MAP_SHARED, descriptor, 0);
  if (memory == MAP_FAILED) {
    fail("cannot map the state file");
  }
  const auto unmap = [](void *mapped) { ::munmap(mapped, sizeof(StateImage)); };
  const std::unique_ptr<void, decltype(unmap)> mapping(memory, unmap);
  // Not synced to disk: a state is worth no more than the processes that share it, and
  // changes to it are not synced either.
  initialise(*static_cast<StateImage *>(memory), machine);
}

} // namespace

StateFile::StateFile(const std::filesystem::path &path) {
  try {
    open_and_map(path);
    check_contents();
    renew_lock_after_reboot();
  } catch (...) {
    release();
    throw;
  }
}

StateFile::~StateFile() { release(); }

void StateFile::release() noexcept {
  if (image_ != nullptr) {
    ::munmap(image_, sizeof(StateImage));
  }
  if (descriptor_ >= 0) {
    ::close(descriptor_);
  }
}

bool StateFile::is_whole() const {
  struct stat facts{};
  return ::fstat(descriptor_, &facts) == 0 && S_ISREG(facts.st_mode) &&
         std::cmp_equal(facts.st_size, sizeof(StateImage));
}

void StateFile::open_and_map(const std::filesystem::path &path) {
  descriptor_ = ::open(path.c_str(), O_RDWR | O_CLOEXEC | O_NONBLOCK);
  writable_ = descriptor_ >= 0;
  if (!writable_ && (errno == EACCES || errno == EROFS || errno == EPERM)) {
    descriptor_ = ::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  }
  if (descriptor_ < 0) {
    const Return code = errno == EACCES ? Return::no_permission : Return::driver_not_loaded;
    throw StateUnusable(code, path.string() + ": " + std::strerror(errno));
  }
  if (!is_whole()) {
    throw StateUnusable(Return::unknown,
                        path.string() + ": not a state file of this library: wrong size");
  }
  const int protection = writable_ ? PROT_READ | PROT_WRITE : PROT_READ;
  void *memory = ::mmap(nullptr, sizeof(StateImage), protection, MAP_SHARED, descriptor_, 0);
  if (memory == MAP_FAILED) {
    throw StateUnusable(Return::operating_system, path.string() + ": " + std::strerror(errno));
  }
  image_ = static_cast<StateImage *>(memory);
}

void StateFile::check_contents() const {
  const StateHeader &header = image_->header;
  if (header.magic != magic) {
    throw StateUnusable(Return::unknown, "not a state file: make the machine anew");
  }
  if (header.version != state_version || header.file_size != sizeof(StateImage) ||
      header.record_size != sizeof(MachineRecord)) {
    throw StateUnusable(Return::lib_rm_version_mismatch,
                        "a state file of another version of the library: make the machine anew");
  }
  if (image_->copies[0].gpu_count > max_gpus || image_->copies[1].gpu_count > max_gpus) {
    throw StateUnusable(Return::unknown, "a damaged state file: make the machine anew");
  }
}

void StateFile::renew_lock_after_reboot() const {
  StateHeader &header = image_->header;
  const std::string boot_id = read_boot_id();
  if (!writable_ || boot_id.empty() || header.boot_id.view() == boot_id) {
    return;
  }
  // The kernel frees a dead owner's lock, but not one that was held when the power went.
  if (::flock(descriptor_, LOCK_EX) != 0) {
    throw StateUnusable(Return::operating_system, "cannot lock the state file");
  }
  if (header.boot_id.view() != boot_id) {
    initialise_lock(header.lock);
    header.boot_id.assign(boot_id);
  }
  ::flock(descriptor_, LOCK_UN);
}

void create_state_file(const std::filesystem::path &path, const MachineRecord &machine) {
  const std::filesystem::path draft = path.string() + "." + std::to_string(::getpid()) + ".new";
  ::unlink(draft.c_str()); // left by a process of this number that was killed here
  try {
    const Descriptor file(draft, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
    if (file.number() < 0) {
      fail("cannot create the state file");
    }
    write_image(file.number(), machine);
    // A link, not a rename: it refuses to replace a state that others have mapped.
    if (::link(draft.c_str(), path.c_str()) != 0) {
      fail("cannot put the state file in place");
    }
  } catch (...) {
    ::unlink(draft.c_str());
    throw;
  }
  ::unlink(draft.c_str());
}

} // namespace plumbline::mocknvml
