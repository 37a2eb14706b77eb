#include "topology/warnings.hpp"

#include <utility>

namespace plumbline::topology {

namespace {

// A tree that is wrong throughout would otherwise produce one sentence for every file.
constexpr std::size_t cap = 200;

bool is_printable(char c) { return c >= ' ' && c <= '~' && c != '\\'; }

} // namespace

void Warnings::add(std::string sentence) {
  if (sentences_.size() < cap) {
    sentences_.push_back(std::move(sentence));
  } else {
    ++beyond_cap_;
  }
}

std::vector<std::string> Warnings::take() {
  if (beyond_cap_ > 0) {
    sentences_.push_back(std::to_string(beyond_cap_) + " more files could not be used.");
    beyond_cap_ = 0;
  }
  return std::exchange(sentences_, {});
}

std::string shown(std::string_view text, std::size_t longest) {
  static constexpr std::string_view digits = "0123456789abcdef";
  std::string result;
  for (const char c : text.substr(0, longest)) {
    if (is_printable(c)) {
      result += c;
      continue;
    }
    const auto byte = static_cast<unsigned char>(c);
    result += "\\x";
    result += digits[byte >> 4U];
    result += digits[byte & 0xfU];
  }
  return text.size() > longest ? result + "..." : result;
}

} // namespace plumbline::topology
