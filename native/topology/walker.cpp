#include "topology/walker.hpp"

#include <algorithm>
#include <array>
#include <cerrno>
#include <climits>
#include <cstring>
#include <iterator>
#include <memory>
#include <ranges>
#include <utility>

#include <dirent.h>
#include <fcntl.h>
#include <unistd.h>

namespace plumbline::topology {

namespace {

// The kernel's own bound on links in one path (path_resolution(7)).
constexpr int most_links = 40;
// PCI buses nest at most 256 deep; real trees stay below 20.
constexpr std::size_t most_folders = 300;
// A folder with more names than PCI has functions in one domain is no folder of sysfs.
constexpr std::size_t most_entries = 65536;

constexpr int folder_flags = O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC;
// O_NONBLOCK: what is no regular file must not hold the read up. It reads as empty, too long
// or an error, which is as good as asking for its type and saves a call for each file.
constexpr int file_flags = O_RDONLY | O_NONBLOCK | O_NOFOLLOW | O_NOCTTY | O_CLOEXEC;

void push_components(std::string_view text, std::vector<std::string> &components) {
  while (!text.empty()) {
    const auto end = std::min(text.find('/'), text.size());
    const auto name = text.substr(0, end);
    if (!name.empty() && name != ".") {
      components.emplace_back(name);
    }
    text.remove_prefix(std::min(end + 1, text.size()));
  }
}

bool is_there(int error) { return error != ENOENT && error != ENOTDIR; }

std::string reason(int error) {
  std::array<char, 128> buffer{};
  // The GNU form of strerror_r, which libstdc++ always selects.
  return strerror_r(error, buffer.data(), buffer.size());
}

ssize_t read_once(int fd, char *buffer, std::size_t size) {
  ssize_t count = 0;
  do {
    count = ::read(fd, buffer, size);
  } while (count < 0 && errno == EINTR);
  return count;
}

} // namespace

std::string joined(const Path &path) {
  std::string text;
  for (const auto &name : path) {
    text += text.empty() ? name : '/' + name;
  }
  return text;
}

Path followed(const Path &folder, std::string_view text) {
  Path result = text.starts_with('/') ? Path{} : folder;
  std::vector<std::string> components;
  push_components(text, components);
  for (auto &name : components) {
    if (name != "..") {
      result.push_back(std::move(name));
    } else if (!result.empty()) {
      result.pop_back();
    }
  }
  return result;
}

Descriptor::Descriptor(Descriptor &&other) noexcept : fd_(std::exchange(other.fd_, -1)) {}

Descriptor &Descriptor::operator=(Descriptor &&other) noexcept {
  std::swap(fd_, other.fd_);
  return *this;
}

Descriptor::~Descriptor() {
  if (fd_ >= 0) {
    ::close(fd_);
  }
}

Walker::Walker(const std::string &root, Warnings &warnings)
    : root_(::open(root.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC)), warnings_(&warnings) {
  if (!root_.is_open()) {
    warnings_->add("The root " + shown(root, PATH_MAX) + " cannot be opened: " + reason(errno) +
                   '.');
  }
}

int Walker::here() const { return folders_.empty() ? root_.get() : folders_.back().get(); }

void Walker::leave(std::size_t depth) {
  while (folders_.size() > depth) {
    folders_.pop_back();
    names_.pop_back();
  }
}

bool Walker::enter(const Path &path) {
  const int error = walk(path);
  if (error != 0 && error != ENOENT) {
    warnings_->add(shown(joined(path), PATH_MAX) + " cannot be entered: " + reason(error) + '.');
  }
  return error == 0;
}

bool Walker::enter_listed(const Path &path) {
  const int error = walk(path);
  if (error != 0) {
    warnings_->add(shown(joined(path), PATH_MAX) + " cannot be entered: " + reason(error) + '.');
  }
  return error == 0;
}

int Walker::walk(const Path &path) {
  const auto shared =
      static_cast<std::size_t>(std::ranges::mismatch(names_, path).in1 - names_.begin());
  leave(shared);
  // A stack: the name to enter next is at the end.
  std::vector<std::string> pending(path.rbegin(),
                                   path.rend() - static_cast<std::ptrdiff_t>(shared));
  int links = 0;
  int error = 0;
  while (error == 0 && !pending.empty()) {
    const auto name = std::move(pending.back());
    pending.pop_back();
    error = step(name, pending, links);
  }
  return error;
}

int Walker::step(const std::string &name, std::vector<std::string> &pending, int &links) {
  if (name == "..") {
    leave(folders_.empty() ? 0 : folders_.size() - 1);
    return 0;
  }
  if (folders_.size() >= most_folders) {
    return ENAMETOOLONG;
  }
  Descriptor folder{::openat(here(), name.c_str(), folder_flags)};
  if (folder.is_open()) {
    folders_.push_back(std::move(folder));
    names_.push_back(name);
    return 0;
  }
  const int error = errno;
  const auto target = error == ENOENT ? std::nullopt : read_link(name);
  if (!target) {
    return error;
  }
  if (++links > most_links) {
    return ELOOP;
  }
  if (target->starts_with('/')) {
    leave(0);
  }
  std::vector<std::string> components;
  push_components(*target, components);
  std::ranges::move(std::views::reverse(components), std::back_inserter(pending));
  return 0;
}

std::optional<std::string> Walker::read_link(const std::string &name) const {
  std::array<char, PATH_MAX> buffer{};
  const auto size = ::readlinkat(here(), name.c_str(), buffer.data(), buffer.size());
  return size > 0 ? std::optional{std::string(buffer.data(), static_cast<std::size_t>(size))}
                  : std::nullopt;
}

std::vector<std::string> Walker::entries() {
  std::vector<std::string> names;
  const int fd = ::openat(here(), ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  DIR *const listing = fd < 0 ? nullptr : ::fdopendir(fd);
  if (listing == nullptr) {
    warn("", "cannot be listed: " + reason(errno) + '.');
    if (fd >= 0) {
      ::close(fd);
    }
    return names;
  }
  const std::unique_ptr<DIR, int (*)(DIR *)> closed_at_end(listing, ::closedir);
  while (const dirent *const entry = ::readdir(listing)) {
    const std::string_view name{static_cast<const char *>(entry->d_name)};
    if (names.size() >= most_entries) {
      warn("", "has more than 65536 entries; the others were left out.");
      break;
    }
    if (name != "." && name != "..") {
      names.emplace_back(name);
    }
  }
  std::ranges::sort(names);
  return names;
}

std::optional<std::string> Walker::link(const std::string &name) { return read_link(name); }

std::optional<std::string> Walker::link_name(const std::string &name) {
  const auto target = read_link(name);
  return target ? std::optional{target->substr(target->rfind('/') + 1)} : std::nullopt;
}

Descriptor Walker::open_file(const std::string &name) {
  Descriptor file{::openat(here(), name.c_str(), file_flags)};
  if (!file.is_open()) {
    if (is_there(errno)) {
      warn(name, "cannot be opened: " + reason(errno) + '.');
    }
    return file;
  }
  return file;
}

std::optional<std::string> Walker::text(const std::string &name, std::size_t longest,
                                        Refusal refusal) {
  const auto file = open_file(name);
  if (!file.is_open()) {
    return std::nullopt;
  }
  buffer_.resize(std::max(buffer_.size(), longest + 1));
  // One read gives all of a sysfs attribute, and all of a small regular file.
  const auto count = read_once(file.get(), buffer_.data(), longest + 1);
  if (count < 0 && refusal == Refusal::usual) {
    return std::nullopt;
  }
  if (count < 0) {
    warn(name, "cannot be read: " + reason(errno) + '.');
    return std::nullopt;
  }
  if (std::cmp_greater(count, longest)) {
    warn(name, "is longer than " + std::to_string(longest) + " bytes.");
    return std::nullopt;
  }
  std::string contents(buffer_.data(), static_cast<std::size_t>(count));
  while (contents.ends_with('\n')) {
    contents.pop_back();
  }
  return contents;
}

void Walker::warn(const std::string &name, std::string_view complaint) {
  auto where = names_.empty() && name.empty() ? "The root" : joined(names_);
  if (!name.empty()) {
    where += where.empty() ? name : '/' + name;
  }
  warnings_->add(shown(where, PATH_MAX) + ' ' + std::string{complaint});
}

void Walker::warn_contents(const std::string &name, std::string_view contents,
                           std::string_view kind) {
  warn(name, contents.empty()
                 ? "is empty, which is not " + std::string{kind} + '.'
                 : "says \"" + shown(contents) + "\", which is not " + std::string{kind} + '.');
}

} // namespace plumbline::topology
