// How enumerated values are spelled in a description.
#pragma once

#include "values.hpp"

#include <span>

namespace plumbline::mocknvml {

template <class Value> struct Word {
  std::string_view spelling;
  Value value;
};

/// Specialised for each enumerated type: its words, in the order in which errors list them.
template <class Value> inline constexpr std::array<Word<Value>, 0> words{};

template <>
inline constexpr std::array words<Switch>{Word{"off", Switch::off}, Word{"on", Switch::on}};
template <>
inline constexpr std::array words<Feature>{Word{"off", Feature::off}, Word{"on", Feature::on},
                                           Word{"none", Feature::none}};
template <>
inline constexpr std::array words<Answer>{Word{"no", Answer::no}, Word{"yes", Answer::yes}};
template <>
inline constexpr std::array words<Brand>{Word{"unknown", Brand::unknown},
                                         Word{"quadro", Brand::quadro},
                                         Word{"tesla", Brand::tesla},
                                         Word{"nvs", Brand::nvs},
                                         Word{"grid", Brand::grid},
                                         Word{"geforce", Brand::geforce},
                                         Word{"titan", Brand::titan},
                                         Word{"quadro-rtx", Brand::quadro_rtx},
                                         Word{"nvidia-rtx", Brand::nvidia_rtx},
                                         Word{"nvidia", Brand::nvidia},
                                         Word{"geforce-rtx", Brand::geforce_rtx},
                                         Word{"titan-rtx", Brand::titan_rtx}};
template <>
inline constexpr std::array words<Architecture>{Word{"kepler", Architecture::kepler},
                                                Word{"maxwell", Architecture::maxwell},
                                                Word{"pascal", Architecture::pascal},
                                                Word{"volta", Architecture::volta},
                                                Word{"turing", Architecture::turing},
                                                Word{"ampere", Architecture::ampere},
                                                Word{"ada", Architecture::ada},
                                                Word{"hopper", Architecture::hopper},
                                                Word{"blackwell", Architecture::blackwell},
                                                Word{"unknown", Architecture::unknown}};
template <>
inline constexpr std::array words<ComputeMode>{
    Word{"default", ComputeMode::shared}, Word{"prohibited", ComputeMode::prohibited},
    Word{"exclusive-process", ComputeMode::exclusive_process}};
template <>
inline constexpr std::array words<FabricState>{Word{"not-supported", FabricState::not_supported},
                                               Word{"not-started", FabricState::not_started},
                                               Word{"in-progress", FabricState::in_progress},
                                               Word{"completed", FabricState::completed}};
template <>
inline constexpr std::array words<LinkState>{Word{"up", LinkState::up},
                                             Word{"down", LinkState::down}};
template <>
inline constexpr std::array words<RemoteType>{
    Word{"gpu", RemoteType::gpu}, Word{"switch", RemoteType::nvswitch},
    Word{"npu", RemoteType::npu}, Word{"unknown", RemoteType::unknown}};
template <>
inline constexpr std::array words<Ancestor>{
    Word{"internal", Ancestor::internal}, Word{"single", Ancestor::single},
    Word{"multiple", Ancestor::multiple}, Word{"hostbridge", Ancestor::hostbridge},
    Word{"node", Ancestor::node},         Word{"system", Ancestor::system}};
template <>
inline constexpr std::array words<P2pStatus>{Word{"ok", P2pStatus::ok},
                                             Word{"chipset", P2pStatus::chipset},
                                             Word{"gpu", P2pStatus::gpu},
                                             Word{"topology", P2pStatus::topology},
                                             Word{"disabled", P2pStatus::disabled},
                                             Word{"not-supported", P2pStatus::not_supported}};

} // namespace plumbline::mocknvml
