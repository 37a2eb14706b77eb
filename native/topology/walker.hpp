// File access below one root folder: nothing outside it is ever opened.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "topology/parse.hpp"
#include "topology/warnings.hpp"

namespace plumbline::topology {

/// Names of folders below the root, outermost first.
using Path = std::vector<std::string>;

std::string joined(const Path &path);

/// Where a link's text leads from a folder, without asking the file system. Absolute links
/// start at the root, and .. stops there.
Path followed(const Path &folder, std::string_view text);

/// Whether the kernel's refusal to tell what a file holds deserves a warning. Some attributes
/// answer with an error where they do not apply, such as the speed of an idle interface.
enum class Refusal : std::uint8_t { unusual, usual };

class Descriptor {
public:
  explicit Descriptor(int fd = -1) : fd_(fd) {}
  Descriptor(Descriptor &&other) noexcept;
  Descriptor &operator=(Descriptor &&other) noexcept;
  Descriptor(const Descriptor &) = delete;
  Descriptor &operator=(const Descriptor &) = delete;
  ~Descriptor();

  [[nodiscard]] int get() const { return fd_; }
  [[nodiscard]] bool is_open() const { return fd_ >= 0; }

private:
  int fd_;
};

/// Stands in one folder at a time and reads the files there. Going to a neighbouring folder
/// costs one system call, because the folders above stay open. What is not there is absent;
/// what is there but cannot be used is absent and leaves a warning.
class Walker {
public:
  /// Longest text read from a file unless told otherwise: what a sysfs attribute can hold.
  static constexpr std::size_t page = 4096;

  Walker(const std::string &root, Warnings &warnings);

  /// False, with a warning, when the root cannot be opened.
  [[nodiscard]] bool is_open() const { return root_.is_open(); }

  /// Goes to a folder, following links as though the root were /. False when it is absent,
  /// and with a warning when something else than absence is in the way.
  bool enter(const Path &path);

  /// The same, but absence is worth a warning too.
  bool enter_listed(const Path &path);

  /// Where the walker stands: folders only, no links.
  [[nodiscard]] const Path &path() const { return names_; }

  /// Names in this folder, sorted, without . and .. ; warns when it cannot be listed.
  std::vector<std::string> entries();

  /// The text of a link; nothing when the name is absent or no link.
  std::optional<std::string> link(const std::string &name);

  /// The last name of a link's text, such as the driver's; nothing when absent.
  std::optional<std::string> link_name(const std::string &name);

  /// The contents of a file without the newline at the end.
  std::optional<std::string> text(const std::string &name, std::size_t longest = page,
                                  Refusal refusal = Refusal::unusual);

  /// A file opened for reading at offsets; closed when it is not there.
  Descriptor open_file(const std::string &name);

  /// What a file says; kind names the value in the warning, such as "a NUMA node".
  template <typename T>
  std::optional<T> fact(const std::string &name, Parsed<T> (*parse)(std::string_view),
                        std::string_view kind, std::size_t longest = page,
                        Refusal refusal = Refusal::unusual) {
    const auto contents = text(name, longest, refusal);
    if (!contents) {
      return std::nullopt;
    }
    auto parsed = parse(*contents);
    if (!parsed.usable) {
      warn_contents(name, *contents, kind);
    }
    return parsed.value;
  }

  /// Adds "<path of name> <complaint>"; an empty name is this folder.
  void warn(const std::string &name, std::string_view complaint);
  void warn_contents(const std::string &name, std::string_view contents, std::string_view kind);

private:
  [[nodiscard]] int here() const;
  void leave(std::size_t depth);
  /// Zero, or the error that stopped it.
  int walk(const Path &path);
  int step(const std::string &name, std::vector<std::string> &pending, int &links);
  [[nodiscard]] std::optional<std::string> read_link(const std::string &name) const;

  Descriptor root_;
  Path names_;
  std::vector<Descriptor> folders_;
  std::vector<char> buffer_;
  Warnings *warnings_;
};

} // namespace plumbline::topology
