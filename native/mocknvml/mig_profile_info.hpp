// What the versions of NVML's profile structures have in common, filled in once.
#pragma once

#include "mig_rules.hpp"
#include "nvml_abi.hpp"

#include <cstring>
#include <string>

namespace plumbline::mocknvml {

template <class Info> void put_name(const std::string &name, Info &info) {
  std::memset(info.name, 0, sizeof(info.name));
  std::memcpy(info.name, name.data(), std::min(name.size(), sizeof(info.name) - 1));
}

template <class Info> void put_profile(const MigProfileRecord &profile, Info &info) {
  info.id = profile.id;
  info.sliceCount = profile.slices;
  info.instanceCount = profile.most;
  info.multiprocessorCount = profile.multiprocessors;
  info.copyEngineCount = profile.copy_engines;
  info.decoderCount = profile.decoders;
  info.encoderCount = profile.encoders;
  info.jpegCount = profile.jpegs;
  info.ofaCount = profile.ofas;
  info.memorySizeMB = profile.memory_mib;
}

/// Compute instances share the engines of the GPU instance around them.
template <class Info> void put_engines(const MigProfileRecord &around, Info &info) {
  info.sharedCopyEngineCount = around.copy_engines;
  info.sharedDecoderCount = around.decoders;
  info.sharedEncoderCount = around.encoders;
  info.sharedJpegCount = around.jpegs;
  info.sharedOfaCount = around.ofas;
}

template <class Info>
void put_compute_profile(const ComputeProfile &profile, const MigProfileRecord &around,
                         Info &info) {
  info.id = profile.number;
  info.sliceCount = profile.slices;
  info.instanceCount = profile.most;
  info.multiprocessorCount = profile.multiprocessors;
  put_engines(around, info);
}

/// As in `MIG 1c.3g.20gb`; the part before the point is left out where it takes all.
inline std::string compute_name(const ComputeProfile &profile, const MigProfileRecord &around) {
  const std::string part =
      profile.slices == around.slices ? "" : std::to_string(profile.slices) + "c.";
  return "MIG " + part + std::string(around.name.view());
}

} // namespace plumbline::mocknvml
