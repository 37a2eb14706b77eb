// How two GPUs of a machine are joined.
#include "boundary.hpp"
#include "rules.hpp"

namespace plumbline::mocknvml {

namespace {

/// Two GPUs that answer, of one machine at nearly one moment.
struct PairQuery {
  Query first;
  Query second;
  [[nodiscard]] bool same() const { return first.index == second.index; }
  [[nodiscard]] PairRecord pair() const { return first.state->pair(first.index, second.index); }
};

PairQuery ask(Device a, Device b) { return {.first = ask(a), .second = ask(b)}; }

enum class P2pIndex : unsigned { read, write, nvlink, atomics, pci, count };

P2pStatus p2p_status(const PairQuery &query, P2pIndex index) {
  if (index != P2pIndex::nvlink) {
    return query.pair().p2p;
  }
  return joined_by_nvlink(query.first.gpu, query.second.gpu) ? P2pStatus::ok
                                                             : P2pStatus::not_supported;
}

bool is_level(unsigned level) {
  return level <= static_cast<unsigned>(Ancestor::system) && level % 10 == 0;
}

} // namespace

NVML_CALL(nvmlDeviceGetTopologyCommonAncestor)(Device first, Device second, unsigned *level) {
  return guarded([&] {
    const PairQuery query = ask(first, second);
    need(level) = static_cast<unsigned>(query.same() ? Ancestor::internal : query.pair().ancestor);
  });
}

NVML_CALL(nvmlDeviceGetTopologyNearestGpus)
(Device device, unsigned level, unsigned *count, Device *devices) {
  return guarded([&] {
    const Query query = ask(device);
    require(is_level(level), Return::invalid_argument);
    std::vector<Device> near;
    for (std::size_t other = 0; other < query.state->gpu_count(); ++other) {
      if (other == query.index || query.state->gpu(other).lost == Answer::yes) {
        continue;
      }
      if (query.state->pair(query.index, other).ancestor == static_cast<Ancestor>(level)) {
        near.push_back(handle_of(other));
      }
    }
    put_list(near, count, devices);
  });
}

NVML_CALL(nvmlDeviceGetP2PStatus)(Device first, Device second, unsigned index, unsigned *status) {
  return guarded([&] {
    const PairQuery query = ask(first, second);
    require(!query.same() && index < static_cast<unsigned>(P2pIndex::count),
            Return::invalid_argument);
    need(status) = static_cast<unsigned>(p2p_status(query, static_cast<P2pIndex>(index)));
  });
}

NVML_CALL(nvmlDeviceOnSameBoard)(Device first, Device second, int *same) {
  return guarded([&] {
    const PairQuery query = ask(first, second);
    need(same) = query.same() || query.pair().same_board == Answer::yes ? 1 : 0;
  });
}

} // namespace plumbline::mocknvml
