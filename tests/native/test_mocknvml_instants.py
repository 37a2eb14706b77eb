"""What a kill would leave behind at any instant of a change: stepped through, not guessed."""

import ctypes
import os
import signal

import pytest

PTRACE_TRACEME, PTRACE_SINGLESTEP = 0, 9  # <sys/ptrace.h>
EVERY = 61  # instructions between looks; a prime, so as not to march with any loop

# How far through a change it is killed.
SHARES = [i / 20 for i in range(20)] if os.environ.get("PLUMBLINE_LONG") else [0.3, 0.9]

libc = ctypes.CDLL(None, use_errno=True)
libc.ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]
libc.ptrace.restype = ctypes.c_long


def start_stopped(body):
    """Fork a traced child that has stopped just before ``body()``."""
    pid = os.fork()
    if pid == 0:
        allowed = libc.ptrace(PTRACE_TRACEME, 0, None, None) == 0
        os.kill(os.getpid(), signal.SIGSTOP if allowed else signal.SIGKILL)
        body()
        os._exit(0)
    _, status = os.waitpid(pid, 0)
    if not os.WIFSTOPPED(status):
        pytest.skip("this system does not let a process trace its child")
    return pid


def instants(pid):
    """Step the child instruction by instruction; yield now and then until it has ended."""
    count = 0
    while True:
        libc.ptrace(PTRACE_SINGLESTEP, pid, None, None)
        _, status = os.waitpid(pid, 0)
        if not os.WIFSTOPPED(status):
            assert os.waitstatus_to_exitcode(status) == 0
            return
        count += 1
        if count % EVERY == 0:
            yield


def test_at_every_instant_the_facts_are_those_before_or_those_after(machine):
    """A copy of the state file is what the other processes would have if it were killed now."""
    made = machine(gpus=1, links=1)
    library, error = made.load(), ctypes.create_string_buffer(100)
    before = made.describe()
    change = b"set gpu 0 memory_used_bytes 77\nset gpu 0 ecc_errors_uncorrected 88\nlose 0"
    library.plumbline_machine_command(b"restore 0", error, 100)  # everything is paged in

    pid = start_stopped(lambda: library.plumbline_machine_command(change, error, 100))
    copies = [made.state.read_bytes()]
    for _ in instants(pid):
        content = made.state.read_bytes()
        if content != copies[-1]:
            copies.append(content)
    after = made.describe()
    assert after != before
    assert len(copies) > 5  # the lock, the facts one by one, the event, the switch

    seen = []
    for content in copies:
        made.state.write_bytes(content)
        seen.append(made.describe())
    assert set(seen) == {before, after}
    assert seen == sorted(seen, key=[before, after].index)


def test_a_process_killed_at_that_instant_leaves_no_lock(machine):
    made = machine(gpus=1)
    library, error = made.load(), ctypes.create_string_buffer(100)

    def change():
        library.plumbline_machine_command(b"set gpu 0 memory_used_bytes 77", error, 100)

    change()
    idle = made.state.read_bytes()
    contents = [made.state.read_bytes() for _ in instants(start_stopped(change))]
    # It is at work while the file is neither as it was nor as it will be.
    busy = [i for i, content in enumerate(contents) if content not in (idle, contents[-1])]
    assert len(busy) > 10
    for share in SHARES:
        victim = start_stopped(change)
        for count, _ in enumerate(instants(victim)):
            if count == busy[int(len(busy) * share)]:
                os.kill(victim, signal.SIGKILL)
                break
        assert os.waitstatus_to_exitcode(os.waitpid(victim, 0)[1]) == -signal.SIGKILL
        made.command("set gpu 0 memory_used_bytes 78")
        assert made.described()["gpu 0 memory_used_bytes"] == "78"
