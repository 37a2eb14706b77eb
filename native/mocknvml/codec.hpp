// How each type of value is read from and written to a description: one pair of
// overloads per type. `read` returns false for text that is no such value;
// `expectation` says what would be one.
#pragma once

#include "words.hpp"

#include <string>
#include <type_traits>

namespace plumbline::mocknvml {

/// Stands for a type where there is no value of it.
template <class Value> using As = std::type_identity<Value>;

/// Reads decimal digits, or hexadecimal ones after 0x. False when they do not fit.
bool read_number(std::string_view text, std::uint64_t limit, std::uint64_t &value);
bool read(std::string_view text, std::uint32_t &value);
bool read(std::string_view text, std::uint64_t &value);
bool read(std::string_view text, OptionalNumber &value);
bool read(std::string_view text, GpuUuid &value);
bool read(std::string_view text, RawUuid &value);
bool read(std::string_view text, PciAddress &value);
bool read(std::string_view text, OptionalPciAddress &value);
bool read(std::string_view text, ComputeCapability &value);

void write(std::uint32_t value, std::string &out);
void write(std::uint64_t value, std::string &out);
void write(const OptionalNumber &value, std::string &out);
void write(const GpuUuid &value, std::string &out);
void write(const RawUuid &value, std::string &out);
void write(const PciAddress &value, std::string &out);
void write(const OptionalPciAddress &value, std::string &out);
void write(const ComputeCapability &value, std::string &out);
void write_hexadecimal(std::uint64_t value, unsigned digits, std::string &out);

std::string expectation(As<std::uint32_t> /*type*/);
std::string expectation(As<std::uint64_t> /*type*/);
std::string expectation(As<OptionalNumber> /*type*/);
std::string expectation(As<GpuUuid> /*type*/);
std::string expectation(As<RawUuid> /*type*/);
std::string expectation(As<PciAddress> /*type*/);
std::string expectation(As<OptionalPciAddress> /*type*/);
std::string expectation(As<ComputeCapability> /*type*/);

/// Reads `0-3,8` into bits; nothing for the empty text.
bool read_ranges(std::string_view text, std::size_t size, std::uint64_t *bits);
void write_ranges(std::size_t size, const std::uint64_t *bits, std::string &out);

template <std::size_t N> bool read(std::string_view text, Text<N> &value) {
  return !text.empty() && value.assign(text);
}

template <std::size_t N> void write(const Text<N> &value, std::string &out) { out += value.view(); }

template <std::size_t N> std::string expectation(As<Text<N>> /*type*/) {
  return "text of at most " + std::to_string(N - 1) + " bytes";
}

template <std::size_t N> bool read(std::string_view text, OptionalText<N> &value) {
  return text == "none" ? value.text.assign("") : read(text, value.text);
}

template <std::size_t N> void write(const OptionalText<N> &value, std::string &out) {
  out += value.present() ? value.text.view() : "none";
}

template <std::size_t N> std::string expectation(As<OptionalText<N>> /*type*/) {
  return expectation(As<Text<N>>{}) + ", or none";
}

template <unsigned Digits> bool read(std::string_view text, Hexadecimal<Digits> &value) {
  constexpr std::uint64_t limit =
      Digits == 16 ? ~std::uint64_t{0} : (std::uint64_t{1} << (4U * Digits % 64U)) - 1;
  return read_number(text, limit, value.value);
}

template <unsigned Digits> void write(const Hexadecimal<Digits> &value, std::string &out) {
  write_hexadecimal(value.value, Digits, out);
}

template <unsigned Digits> std::string expectation(As<Hexadecimal<Digits>> /*type*/) {
  return "0x and up to " + std::to_string(Digits) + " hexadecimal digits";
}

template <std::uint32_t Max> bool read(std::string_view text, Bounded<Max> &value) {
  std::uint64_t number = 0;
  if (!read_number(text, Max, number)) {
    return false;
  }
  value.value = static_cast<std::uint32_t>(number);
  return true;
}

template <std::uint32_t Max> void write(const Bounded<Max> &value, std::string &out) {
  out += std::to_string(value.value);
}

template <std::uint32_t Max> std::string expectation(As<Bounded<Max>> /*type*/) {
  return "a number from 0 to " + std::to_string(Max);
}

template <std::size_t Bits> bool read(std::string_view text, NumberSet<Bits> &value) {
  NumberSet<Bits> set{};
  if (!read_ranges(text, Bits, set.words.data())) {
    return false;
  }
  value = set;
  return true;
}

template <std::size_t Bits> void write(const NumberSet<Bits> &value, std::string &out) {
  write_ranges(Bits, value.words.data(), out);
}

template <std::size_t Bits> std::string expectation(As<NumberSet<Bits>> /*type*/) {
  return "a list like 0-3,8 of numbers below " + std::to_string(Bits);
}

template <class Value>
concept Spelled = !words<Value>.empty();

template <Spelled Value> bool read(std::string_view text, Value &value) {
  for (const auto &word : words<Value>) {
    if (word.spelling == text) {
      value = word.value;
      return true;
    }
  }
  return false;
}

template <Spelled Value> void write(const Value &value, std::string &out) {
  for (const auto &word : words<Value>) {
    if (word.value == value) {
      out += word.spelling;
    }
  }
}

template <Spelled Value> std::string expectation(As<Value> /*type*/) {
  std::string list = "one of";
  for (const auto &word : words<Value>) {
    list.append(list.size() == 6 ? " " : ", ").append(word.spelling);
  }
  return list;
}

} // namespace plumbline::mocknvml
