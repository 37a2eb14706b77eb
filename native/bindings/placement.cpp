// The placement engine as Python sees it; agent/_native.pyi says what each name means.
#include <pybind11/native_enum.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include "bindings/masks.hpp"
#include "bindings/topics.hpp"
#include "placement/engine.hpp"

namespace plumbline::bindings {

namespace py = pybind11;

using placement::Choice;
using placement::Engine;
using placement::Key;
using placement::Policy;
using placement::ShareChoice;
using placement::SharePolicy;
using placement::ShareTerm;
using placement::Term;
using placement::WideMask;

namespace {

constexpr int largest_size = 16'000'000; // far above any request; keeps sums in range

[[noreturn]] void refuse(const char *name, const py::int_ &value, const char *why) {
  throw py::value_error(std::string(name) + " is " + std::string(py::str(value)) + why);
}

/// The low 256 bits: what lies above belongs to no device.
WideMask mask_of(const char *name, const py::int_ &value) {
  int overflow = 0;
  const auto small = PyLong_AsLongLongAndOverflow(value.ptr(), &overflow);
  if (overflow < 0 || (overflow == 0 && small < 0)) {
    refuse(name, value, ", below 0");
  }
  return overflow == 0 ? WideMask(static_cast<std::uint64_t>(small)) : mask_from(value);
}

/// All of them where none are named.
WideMask rails_of(const std::optional<py::int_> &rails_free) {
  return rails_free ? mask_of("rails_free", *rails_free) : placement::every_bit;
}

/// A count, cut to what no machine has.
int count_of(const char *name, const py::int_ &value) {
  int overflow = 0;
  const auto small = PyLong_AsLongLongAndOverflow(value.ptr(), &overflow);
  if (overflow < 0 || (overflow == 0 && small < 0)) {
    refuse(name, value, ", below 0");
  }
  return overflow > 0 || small > largest_size ? largest_size : static_cast<int>(small);
}

py::tuple key_tuple(const Key &key) {
  py::tuple tuple(placement::term_count);
  for (std::size_t i = 0; i < key.values.size(); ++i) {
    tuple[i] = py::int_(key.values[i]);
  }
  tuple[key.values.size()] = mask_to(key.order);
  return tuple;
}

std::unique_ptr<Engine> make_engine(std::vector<std::vector<std::int64_t>> pair_gbps,
                                    std::vector<WideMask> numa, std::vector<WideMask> socket,
                                    std::vector<std::int64_t> clique, std::vector<WideMask> rails,
                                    std::vector<std::int64_t> penalty) {
  const py::gil_scoped_release released;
  return std::make_unique<Engine>(placement::Facts{.pair_gbps = std::move(pair_gbps),
                                                   .numa = std::move(numa),
                                                   .socket = std::move(socket),
                                                   .clique = std::move(clique),
                                                   .rails = std::move(rails),
                                                   .penalty = std::move(penalty)});
}

Choice choose(const Engine &engine, const py::int_ &available, const py::int_ &must,
              const py::int_ &size, const py::int_ &free, Policy policy,
              const py::int_ &rails_wanted, const std::optional<py::int_> &rails_free) {
  const placement::Request request{.available = mask_of("available", available),
                                   .must = mask_of("must", must),
                                   .size = count_of("size", size),
                                   .free = mask_of("free", free),
                                   .policy = policy,
                                   .rails_wanted = count_of("rails_wanted", rails_wanted),
                                   .rails_free = rails_of(rails_free)};
  const py::gil_scoped_release released;
  return engine.choose(request);
}

ShareChoice choose_shares(const Engine &engine, std::vector<std::int64_t> free,
                          std::vector<std::int64_t> total, std::vector<std::int64_t> must,
                          const py::int_ &size, SharePolicy policy,
                          std::optional<std::vector<std::int64_t>> held) {
  const placement::ShareRequest request{.free = std::move(free),
                                        .total = std::move(total),
                                        .must = std::move(must),
                                        .size = count_of("size", size),
                                        .policy = policy,
                                        .held = std::move(held)};
  const py::gil_scoped_release released;
  return engine.choose_shares(request);
}

py::tuple share_key(const ShareChoice &choice) {
  py::list key = py::cast(choice.key);
  key.append(mask_to(choice.order));
  return {key};
}

py::tuple score(const Engine &engine, const py::int_ &chosen, const py::int_ &free, Policy policy,
                const py::int_ &rails_wanted, const std::optional<py::int_> &rails_free) {
  return key_tuple(engine.score(mask_of("chosen", chosen), mask_of("free", free), policy,
                                count_of("rails_wanted", rails_wanted), rails_of(rails_free)));
}

py::tuple largest_aligned(const Engine &engine, const py::int_ &free, const py::int_ &size) {
  const auto free_mask = mask_of("free", free);
  const auto count = count_of("size", size);
  placement::Aligned aligned;
  {
    const py::gil_scoped_release released;
    aligned = engine.largest_aligned(free_mask, count);
  }
  return py::make_tuple(aligned.count, aligned.min_pair_gbps, aligned.witness);
}

void register_terms(py::module_ &m) {
  py::native_enum<Term>(m, "PlacementTerm", "enum.IntEnum")
      .value("RING", Term::ring)
      .value("MIN_PAIR", Term::min_pair)
      .value("CLIQUE", Term::clique)
      .value("NUMA_NODES", Term::numa_nodes)
      .value("SOCKETS", Term::sockets)
      .value("FRAGMENTATION", Term::fragmentation)
      .value("REST_SUM", Term::rest_sum)
      .value("REST_REACH", Term::rest_reach)
      .value("RAILS", Term::rails)
      .value("RAIL_DEVICES", Term::rail_devices)
      .value("SUM_PAIR", Term::sum_pair)
      .value("PENALTY", Term::penalty)
      .value("ORDER", Term::order)
      .finalize();
  py::native_enum<Policy>(m, "PlacementPolicy", "enum.IntEnum")
      .value("DEFAULT", Policy::standard)
      .value("NUMA_FIRST", Policy::numa_first)
      .value("RDMA", Policy::rdma)
      .value("PACK", Policy::pack)
      .value("SPREAD", Policy::spread)
      .finalize();
}

void register_share_terms(py::module_ &m) {
  py::native_enum<ShareTerm>(m, "ShareTerm", "enum.IntEnum")
      .value("PARENTS", ShareTerm::parents)
      .value("RING", ShareTerm::ring)
      .value("MIN_PAIR", ShareTerm::min_pair)
      .value("CLIQUE", ShareTerm::clique)
      .value("NUMA_NODES", ShareTerm::numa_nodes)
      .value("SOCKETS", ShareTerm::sockets)
      .value("LEFTOVER", ShareTerm::leftover)
      .value("OPENED", ShareTerm::opened)
      .value("LOAD", ShareTerm::load)
      .value("SUM_PAIR", ShareTerm::sum_pair)
      .value("PENALTY", ShareTerm::penalty)
      .value("ORDER", ShareTerm::order)
      .finalize();
  py::native_enum<SharePolicy>(m, "SharePolicy", "enum.IntEnum")
      .value("PACKED", SharePolicy::packed)
      .value("DISTRIBUTED", SharePolicy::distributed)
      .value("ALIGNED", SharePolicy::aligned)
      .finalize();
}

py::object runner_up_key(const Choice &choice) {
  return choice.runner_up ? py::object(key_tuple(choice.runner_up_key)) : py::none();
}

void register_choice(py::module_ &m) {
  const py::handle plain_type{reinterpret_cast<PyObject *>(&PyType_Type)};
  py::class_<Choice>(m, "Choice", py::metaclass(plain_type), py::is_final())
      .def_readonly("chosen", &Choice::chosen)
      .def_property_readonly("key", [](const Choice &c) { return key_tuple(c.key); })
      .def_property_readonly("terms", [](const Choice &c) { return py::tuple(py::cast(c.terms)); })
      .def_readonly("runner_up", &Choice::runner_up)
      .def_property_readonly("runner_up_key", runner_up_key)
      .def_readonly("ring_gbps", &Choice::ring_gbps)
      .def_readonly("min_pair_gbps", &Choice::min_pair_gbps)
      .def_readonly("sum_pair_gbps", &Choice::sum_pair_gbps)
      .def_readonly("limiting_pair", &Choice::limiting_pair)
      .def_readonly("exact", &Choice::exact)
      .def_readonly("examined", &Choice::examined);
}

void register_share_choice(py::module_ &m) {
  const py::handle plain_type{reinterpret_cast<PyObject *>(&PyType_Type)};
  py::class_<ShareChoice>(m, "ShareChoice", py::metaclass(plain_type), py::is_final())
      .def_property_readonly("counts",
                             [](const ShareChoice &c) { return py::tuple(py::cast(c.counts)); })
      .def_readonly("parents", &ShareChoice::parents)
      .def_property_readonly("key", &share_key)
      .def_property_readonly("terms",
                             [](const ShareChoice &c) { return py::tuple(py::cast(c.terms)); })
      .def_readonly("exact", &ShareChoice::exact)
      .def_readonly("examined", &ShareChoice::examined);
}

void register_engine(py::module_ &m) {
  const py::handle plain_type{reinterpret_cast<PyObject *>(&PyType_Type)};
  py::class_<Engine> engine(m, "PlacementEngine", py::metaclass(plain_type), py::is_final());
  engine
      .def(py::init(&make_engine), py::kw_only(), py::arg("pair_gbps"), py::arg("numa"),
           py::arg("socket"), py::arg("clique"), py::arg("rails"), py::arg("penalty"))
      .def("choose", &choose, py::kw_only(), py::arg("available"), py::arg("must"), py::arg("size"),
           py::arg("free"), py::arg("policy"), py::arg("rails_wanted") = 0,
           py::arg("rails_free") = py::none())
      .def("choose_shares", &choose_shares, py::kw_only(), py::arg("free"), py::arg("total"),
           py::arg("must"), py::arg("size"), py::arg("policy"), py::arg("held") = py::none())
      .def("score", &score, py::arg("chosen"), py::kw_only(), py::arg("free"), py::arg("policy"),
           py::arg("rails_wanted") = 0, py::arg("rails_free") = py::none())
      .def(
          "fragmentation",
          [](const Engine &self, const py::int_ &free) {
            return self.fragmentation(mask_of("free", free));
          },
          py::arg("free"))
      .def("largest_aligned", &largest_aligned, py::arg("free"), py::arg("size"))
      .def_property_readonly("table_bytes", &Engine::table_bytes);
  engine.attr("exact_up_to") = placement::exact_up_to;
  engine.attr("most_devices") = placement::max_devices;
}

} // namespace

void register_placement(py::module_ &m) {
  register_terms(m);
  register_share_terms(m);
  register_choice(m);
  register_share_choice(m);
  register_engine(m);
}

} // namespace plumbline::bindings
