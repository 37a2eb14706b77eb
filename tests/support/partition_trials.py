"""Changes how a simulated machine's GPUs are divided, and dies or fails at a chosen moment.

Run as a program: a process has one driver for good, so each trial is a child of a process that
itself never opens it. Prints what became of every trial as JSON.
"""

import json
import os
import random
import signal
import subprocess
import sys
import traceback
from pathlib import Path

import pynvml

from agent.discovery.library import Session, simulated_machine
from agent.discovery.mig_gpus import read_mig_gpus
from agent.model.mig import WantedInstance
from agent.partition import reset as resetting
from agent.partition.change import change, journal_folder
from agent.partition.goal import division
from agent.partition.recovery import recover
from agent.simulation import machines

CALLS = (
    "nvmlDeviceSetMigMode",
    "nvmlDeviceCreateGpuInstanceWithPlacement",
    "nvmlGpuInstanceCreateComputeInstance",
    "nvmlGpuInstanceCreateComputeInstanceWithPlacement",
    "nvmlGpuInstanceDestroy",
    "nvmlComputeInstanceDestroy",
)


def goal_from(text):
    """Read {"0": null, "1": [[profile, start, [compute]]]} with the GPUs' indices as keys."""
    return {
        int(index): None
        if wanted is None
        else tuple(
            WantedInstance(profile=profile, start=start, compute=tuple(compute))
            for profile, start, compute in wanted
        )
        for index, wanted in json.loads(text).items()
    }


class Moments:
    """Counts the moments of a change: around every call that changes something."""

    def __init__(self, at, act):
        self.at, self.act, self.count = at, act, 0

    def pass_(self, torn=None):
        self.count += 1
        if self.count == self.at:
            self.act(torn)

    def around(self, owner, name):
        real = getattr(owner, name)

        def wrapped(*arguments, **named):
            self.pass_()
            result = real(*arguments, **named)
            self.pass_()
            return result

        setattr(owner, name, wrapped)

    def around_writes(self):
        real = os.write

        def wrapped(descriptor, data):
            self.pass_(torn=lambda: real(descriptor, data[: len(data) // 2]))
            return real(descriptor, data)

        os.write = wrapped

    def over(self):
        """Count no more."""
        self.at = 0


def die(torn):
    if torn is not None:
        torn()
    os.kill(os.getpid(), signal.SIGKILL)


def watch_calls(moments):
    for name in CALLS:
        moments.around(pynvml, name)
    moments.around(subprocess, "run")


def watch_disk(moments):
    for name in ("rename", "unlink"):
        moments.around(Path, name)
    moments.around_writes()


def fail_call(code):
    def act(_torn):
        raise pynvml.NVMLError(code)

    return act


def fail_disk(code):
    def act(torn):
        if torn is not None:
            torn()
        raise OSError(code, os.strerror(code))

    return act


def child(work):
    """Return what ``work`` returns in a process of its own; its signal where one killed it."""
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            os.close(reader)
            answer = json.dumps(work()).encode()
            while answer:
                answer = answer[os.write(writer, answer) :]
            code = 0
        except BaseException:  # noqa: BLE001 - a child ends here, whatever happened
            traceback.print_exc()
        finally:
            os._exit(code)
    os.close(writer)
    with os.fdopen(reader, "rb") as answers:
        answer = answers.read()
    _, status = os.waitpid(pid, 0)
    if os.WIFSIGNALED(status):
        return {"killed": os.WTERMSIG(status)}
    if os.waitstatus_to_exitcode(status):
        raise SystemExit("a trial failed; what it said is above")
    return json.loads(answer)


class Trials:
    """Trials on one machine: from one division of some GPUs to another."""

    def __init__(self, folder, before, after):
        self.machine = simulated_machine(Path(folder))
        self.before, self.after = before, after
        self.journals = journal_folder(self.machine)

    def apply(self, goal, at=0, act=die, watched=(watch_calls, watch_disk)):
        moments = Moments(at, act)
        with Session(self.machine) as session:
            uuids = {each.index: each.uuid for each in read_mig_gpus()}
            for watch in watched:
                watch(moments)
            try:
                change(
                    {uuids[index]: wanted for index, wanted in goal.items()},
                    folder=self.journals,
                    held=dict,
                    reset=resetting.resetting(session),
                )
            except Exception as error:  # noqa: BLE001 - which one it is, is the result
                came = moments.count >= at
                return {"raised": type(error).__name__, "said": str(error), "came": came}
            finally:
                moments.over()
        return {"raised": None, "came": moments.count >= at}

    def recover(self, at=0):
        with Session(self.machine) as session:
            moments = Moments(at, die)
            watch_calls(moments)
            watch_disk(moments)
            found = recover(self.journals, resetting.resetting(session), {})
            moments.over()
        return {"outcomes": [each.outcome for each in found]}

    def state(self):
        with Session(self.machine):
            readings = read_mig_gpus()
        divided = {
            each.index: None
            if division(each) is None
            else sorted((w.profile, w.start, sorted(w.compute)) for w in division(each))
            for each in readings
        }
        at_work = [
            compute.uuid
            for each in readings
            for instance in each.instances
            for compute in instance.compute
            if any(p.gpu_instance == instance.id for p in each.processes)
        ]
        return {
            "divided": divided,
            "at_work": at_work,
            "left": sorted(path.name for path in self.journals.glob("*.journal")),
            "pending": [each.index for each in readings if each.enabled != each.pending],
        }

    def settled(self, goal):
        """Divide as wanted, without an accident; return the state."""
        done = child(lambda: self.apply(goal))
        assert done["raised"] is None, done
        return child(self.state)

    def kill_everywhere(self, every=1):
        """Kill an apply at its moments (each, or each so many), and let the next one recover."""
        number = 1
        while True:
            self.settled(self.before)
            died = child(lambda at=number: self.apply(self.after, at=at))
            if "killed" not in died:
                return
            between = child(self.state)
            recovered = child(self.recover)
            yield {"between": between, **recovered, **child(self.state)}
            number += every

    def kill_recovery_everywhere(self, at):
        """Kill an apply at one moment, then its recovery at each of its moments."""
        number = 1
        while True:
            self.settled(self.before)
            assert "killed" in child(lambda: self.apply(self.after, at=at))
            died = child(lambda number=number: self.recover(at=number))
            recovered = child(self.recover)
            yield {**recovered, **child(self.state)}
            if "killed" not in died:
                return
            number += 1

    def fail_calls(self, code):
        """Let each call of the driver fail once, before it is made and after."""
        return self._fail_everywhere(fail_call(code), watch_calls)

    def fail_disk(self, code):
        """Let each write, rename and removal fail once."""
        return self._fail_everywhere(fail_disk(code), watch_disk)

    def _fail_everywhere(self, act, watched):
        number = 1
        while True:
            self.settled(self.before)
            done = child(
                lambda at=number: self.apply(self.after, at=at, act=act, watched=(watched,))
            )
            if not done["came"]:
                return
            yield {**done, **child(self.state)}
            number += 1

    def wander(self, seed, rounds):
        """Divide the first GPU at random again and again, while a process works on some part."""
        randomly = random.Random(seed)
        for _ in range(rounds):
            before = child(self.state)
            wanted = child(lambda: self._any_goal(randomly.random()))
            goal = goal_from(json.dumps({"0": wanted}))
            done = child(lambda goal=goal: self.apply(goal))
            after = child(self.state)
            worker = child(lambda: self._move_worker(randomly.random()))
            randomly.random()
            yield {"was": before, "wanted": wanted, **done, **after, "worker": worker}

    def _any_goal(self, chance):
        """Draw profiles, some with compute instances of their own, some placed."""
        randomly = random.Random(chance)
        with Session(self.machine):
            profiles = read_mig_gpus()[0].profiles
        found = []
        for _ in range(randomly.randint(0, 5)):
            each = randomly.choice(profiles)
            start = randomly.choice([None, *(place.start for place in each.placements)])
            inside, left = [], each.slices
            while left and randomly.random() < (0.9 if not inside else 0.5):
                compute = randomly.choice([c for c in each.compute if c.slices <= left])
                inside.append(compute.id)
                left -= compute.slices
            found.append([each.id, start, inside])
        return found

    def _move_worker(self, chance):
        """Let the process work somewhere else, or nowhere; return the UUID it works on."""
        randomly = random.Random(chance)
        with Session(self.machine):
            gpu = read_mig_gpus()[0]
        for each in gpu.processes:
            machines.release(self.machine.root, "0", each.pid)
        parts = [(i.id, c.id, c.uuid) for i in gpu.instances for c in i.compute]
        if not parts or randomly.random() < 0.4:
            return None
        instance, compute, uuid = randomly.choice(parts)
        machines.occupy(self.machine.root, "0", 4711, instance=(instance, compute))
        return uuid

    def nothing(self):
        """Only divide."""
        return ()


def main(folder, before, after, what, *arguments):
    trials = Trials(folder, goal_from(before), goal_from(after))
    ends = {"before": trials.settled(trials.before), "after": trials.settled(trials.after)}
    runs = getattr(trials, what)(*map(int, arguments))
    json.dump({**ends, "trials": list(runs)}, sys.stdout)


if __name__ == "__main__":
    main(*sys.argv[1:])
