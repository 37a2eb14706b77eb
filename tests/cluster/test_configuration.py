"""The configuration file is edited while pods run."""

from testbed.pods import GPU

H100 = "nvidia.com/h100"
PLAIN = "version: v1\nflags: {plugin: {deviceListStrategy: cdi-cri}}\n"
RENAMED = PLAIN + "resources: {gpus: [{pattern: '*H100*', name: h100}]}\n"
NOTHING_FITS = PLAIN + "resources: {gpus: [{pattern: '*T4*', name: t4}]}\n"
ENVVAR = PLAIN.replace("cdi-cri", "envvar")


def looks(pod):
    inside = pod.inside()
    return inside.pid, inside.env, inside.nvidia_devices


def test_names_and_counts_follow_the_file_and_running_pods_do_not(cluster):
    cluster.serve(config=PLAIN)
    pod = cluster.pod("old", gpus=3).wait_running()
    held, before = pod.held(), looks(pod)

    with cluster.measured("resource renamed: to its new name being allocatable"):
        cluster.agent.configure(RENAMED)
        cluster.node.wait_allocatable(H100, 5)
    cluster.node.wait_allocatable(GPU, 0)

    # Eight are there under the new name; three of them are the old pod's.
    assert cluster.node.capacity[H100] == "8"
    assert (looks(pod), pod.held()) == (before, held)
    new = cluster.pod("new", resources={H100: 5}).wait_running()
    assert not set(new.held(resource=H100)) & set(held)
    more = cluster.pod("more", resources={H100: 3})
    assert f"Insufficient {H100}" in more.wait_unschedulable()

    pod.delete()
    more.wait_running()
    assert sorted([*more.held(resource=H100), *new.held(resource=H100)]) == sorted(
        cluster.machine.uuids
    )


def test_an_old_name_is_gone_from_the_node_and_comes_back(cluster):
    cluster.serve(config=PLAIN)

    cluster.agent.configure(RENAMED)
    cluster.node.wait_allocatable(H100, 8)
    cluster.node.wait(
        lambda node: node.status.capacity.get(GPU) in (None, "0"),
        why=f"{GPU} still has a capacity",
        timeout_s=15,
    )
    cluster.agent.configure(PLAIN)

    cluster.node.wait_allocatable(GPU, 8)
    assert cluster.pod("again", gpus=8).wait_running().held() == sorted(cluster.machine.uuids)


def test_a_kubelet_that_restarts_leaves_pods_with_an_old_name_alone(cluster):
    cluster.serve(config=PLAIN)
    pod = cluster.pod("old", gpus=3).wait_running()
    held, before = pod.held(), looks(pod)
    cluster.agent.configure(RENAMED)
    cluster.node.wait_allocatable(H100, 5)

    cluster.stop("kubelet")
    mark = cluster.agent.mark()
    cluster.start("kubelet")
    cluster.agent.wait_event("devices_sent", since=mark, healthy=5, total=8)

    # At first the kubelet says that nobody holds anything.
    cluster.agent.wait_event("holders", since=mark, held=3, unseen=0)
    assert pod.held() == held
    assert looks(pod) == before
    assert pod.status.phase == "Running"
    pod.delete()
    cluster.node.wait_allocatable(H100, 8)
    # At no time in between did it have more to give than there was.
    sent = {event["healthy"] for event in cluster.agent.events("devices_sent", since=mark)}
    assert sent <= {5, 8}
    assert cluster.agent.events("devices_sent", since=mark)[-1]["healthy"] == 8


def test_no_gpu_is_given_twice_when_the_agent_was_away_while_its_names_changed(cluster):
    cluster.serve(config=PLAIN)
    pod = cluster.pod("old", gpus=2).wait_running()
    held = pod.held()
    cluster.agent.stop()

    cluster.serve(config=RENAMED, offers={H100: 6})

    new = cluster.pod("new", resources={H100: 6}).wait_running()
    assert not set(new.held(resource=H100)) & set(held)


def test_another_device_list_strategy_holds_for_pods_that_come_after(cluster):
    cluster.serve(config=PLAIN)
    old = cluster.pod("old", gpus=1).wait_running()
    before = looks(old)
    mark = cluster.agent.mark()

    cluster.agent.configure(ENVVAR)
    cluster.agent.wait_event("snapshot", since=mark)

    new = cluster.pod("new", gpus=1).wait_running()
    assert new.env["NVIDIA_VISIBLE_DEVICES"] == new.held()[0]
    assert new.inside().nvidia_devices == set()
    assert looks(old) == before


def test_a_file_that_cannot_be_used_changes_nothing(cluster):
    cluster.serve(config=PLAIN)
    mark = cluster.agent.mark()

    cluster.agent.configure("version: v1\nflags: {plugin: {deviceListStrategie: envvar}}\n")
    refused = cluster.agent.wait_event("config_refused", since=mark)

    assert "deviceListStrategy" in refused["error"]
    pod = cluster.pod("as-before", gpus=1).wait_running()
    assert pod.env["NVIDIA_VISIBLE_DEVICES"] == "void"


def test_gpus_that_no_pattern_fits_are_not_offered_and_are_named_in_the_log(cluster):
    mark = cluster.agent.mark()
    cluster.agent.start(config=NOTHING_FITS)

    snapshot = cluster.agent.wait_event("snapshot", since=mark)

    assert [line.split()[0] for line in snapshot["left_out"]] == cluster.machine.uuids
    assert snapshot["resources"] == "none"
