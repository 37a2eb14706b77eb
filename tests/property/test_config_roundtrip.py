"""Any configuration that can be said, said in full, is read back as itself."""

import json
import string

from hypothesis import given, settings
from hypothesis import strategies as st

from agent.config.document import read_document
from agent.config.flags import Resolved
from agent.config.gpu_names import GpuNames
from agent.config.options import RunOptions
from agent.config.own import Cdi, HealthChecks, Log, LogFormat, LogLevel, Plumbline
from agent.config.schema import (
    Config,
    DeviceIdStrategy,
    DeviceListStrategy,
    DiscoveryStrategy,
    Flags,
    GfdFlags,
    Imex,
    MigStrategy,
    PluginFlags,
    SharedPolicy,
)
from agent.config.sharing import (
    Mps,
    MpsResource,
    Resource,
    Resources,
    Sharing,
    TimeSlice,
    TimeSlicedResource,
    TimeSlicing,
)
from agent.config.summary import print_config
from agent.config.tree import assemble, leaves

# Characters that YAML calls printable, so that a file can hold them at all.
printable = st.characters(
    exclude_categories=("Cs", "Cc", "Cn"), exclude_characters="\u2028\u2029\ufeff"
)
text = st.text(printable, max_size=12)
paths = st.text(printable, max_size=8).map("/".__add__)
names = st.text(string.ascii_lowercase + string.digits, min_size=1, max_size=20)
xids = st.integers(0, 2**32 - 1)
selectors = st.lists(xids | st.sampled_from(["all", "xids"]), max_size=3).map(tuple)
milliseconds = st.integers(1, 10**7).map(lambda n: n / 1000)
durations = milliseconds | st.just(float("inf"))

resources = st.lists(
    st.builds(Resource, pattern=st.text(printable, min_size=1, max_size=8), name=names), max_size=2
).map(tuple)
indices = st.lists(st.integers(0, 99), min_size=1, max_size=3).map(tuple)
gpu_names = st.builds(
    GpuNames,
    model=st.none() | st.lists(st.text(printable, min_size=1, max_size=8), min_size=1).map(tuple),
    index=st.none() | indices,
    pci_address=st.sampled_from([None, ("0000:1b:00.0",)]),
    module_id=st.none() | indices,
)
entry = {
    "name": names,
    "replicas": st.integers(2, 10**6),
    "rename": st.none() | names,
    "devices": st.just("all")
    | st.integers(1, 99)
    | st.lists(st.integers(0, 99) | st.just("1:0"), max_size=3).map(tuple)
    | gpu_names,
    "max_shared_per_pod": st.none() | st.integers(1, 99),
    "distinct_gpus": st.booleans(),
}
section = {
    "rename_by_default": st.booleans(),
    "fail_requests_greater_than_one": st.none() | st.booleans(),
}


def a_few(entries):
    return st.lists(entries, min_size=1, max_size=2).map(tuple)


time_slicings = st.builds(
    TimeSlicing,
    resources=a_few(
        st.builds(TimeSlicedResource, time_slice=st.none() | st.sampled_from(TimeSlice), **entry)
    ),
    **section,
)
mpss = st.builds(
    Mps,
    resources=a_few(
        st.builds(
            MpsResource,
            weights=st.none() | st.lists(st.integers(1, 1000), max_size=3).map(tuple),
            **entry,
        )
    ),
    **section,
)
configs = st.builds(
    Config,
    flags=st.builds(
        Flags,
        mig_strategy=st.sampled_from(MigStrategy),
        fail_on_init_error=st.booleans(),
        mps_root=st.none() | paths,
        nvidia_driver_root=paths,
        nvidia_dev_root=st.none() | paths,
        gdrcopy_enabled=st.booleans(),
        gds_enabled=st.booleans(),
        mofed_enabled=st.booleans(),
        use_node_feature_api=st.booleans(),
        device_discovery_strategy=st.sampled_from(DiscoveryStrategy),
        plugin=st.builds(
            PluginFlags,
            pass_device_specs=st.booleans(),
            device_list_strategy=st.lists(
                st.sampled_from(DeviceListStrategy), min_size=1, max_size=4
            ).map(tuple),
            device_id_strategy=st.sampled_from(DeviceIdStrategy),
            cdi_annotation_prefix=st.sampled_from(["cdi.k8s.io/", "", "a/b.c"]),
            nvidia_ctk_path=paths,
            container_driver_root=paths,
            shared_devices_allocation_policy=st.sampled_from(SharedPolicy),
        ),
        gfd=st.builds(GfdFlags, oneshot=st.booleans(), sleep_interval=durations, output_file=text),
    ),
    resources=st.builds(Resources, gpus=resources, mig=resources),
    sharing=st.builds(Sharing, time_slicing=st.none() | time_slicings, mps=st.none() | mpss),
    imex=st.builds(Imex, channel_ids=st.sampled_from([(), (0,)]), required=st.booleans()),
    plumbline=st.builds(
        Plumbline,
        ignored_xids=st.lists(xids, max_size=4).map(tuple),
        locality_file=st.none() | paths,
        log=st.builds(Log, level=st.sampled_from(LogLevel), format=st.sampled_from(LogFormat)),
        cdi=st.builds(Cdi, spec_dir=paths, disable_hooks=st.lists(text, max_size=2).map(tuple)),
        health=st.builds(
            HealthChecks,
            disable=selectors,
            enable=selectors,
            poll_seconds=st.integers(1, 36000).map(lambda tenths: tenths / 10),
        ),
    ),
)


def printed(config):
    return print_config(
        Resolved(config=config, options=RunOptions(), provenance={}, argv=(), environ={})
    )


@settings(max_examples=60, deadline=None)
@given(configs)
def test_a_printed_configuration_reads_back_as_itself(config):
    reading = read_document(printed(config), "c.yaml")

    assert reading.problems == []
    assert assemble(Config, {path: found.value for path, found in reading.found.items()}) == config


keys = st.sampled_from([part for path in leaves() for part in path.split(".")])
anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | text,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(keys | text, inner, max_size=4),
    max_leaves=12,
)


@settings(max_examples=120, deadline=None)
@given(anything)
def test_whatever_a_file_holds_it_is_read_or_refused_and_never_crashes(value):
    reading = read_document(json.dumps(value), "c.yaml")

    assemble(Config, {path: found.value for path, found in reading.found.items()})
    assert all(problem.where.startswith("c.yaml") for problem in reading.problems)
    assert set(reading.found) <= set(leaves())


@settings(max_examples=120, deadline=None)
@given(st.text(max_size=60))
def test_whatever_text_a_file_is_it_is_read_or_refused_and_never_crashes(content):
    reading = read_document(content, "c.yaml")

    assert reading.problems or set(reading.found) <= set(leaves())
