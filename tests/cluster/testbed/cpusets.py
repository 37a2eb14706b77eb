"""Keeps the CPU sets that runc is told, and takes them out: run by oci-runtime, no import."""

import json
import os
import subprocess
import sys


def strip(resources, note):
    cpus = resources.get("cpu", {})
    told = cpus.pop("cpus", None)
    cpus.pop("mems", None)
    if told is not None:
        with open(note + ".new", "w") as file:
            file.write(told)
        os.rename(note + ".new", note)


def option(arguments, name):
    """Return the value of --name value or --name=value, and where it stands."""
    for place, argument in enumerate(arguments):
        if argument == name:
            return arguments[place + 1], place + 1
        if argument.startswith(name + "="):
            return argument.partition("=")[2], place
    sys.exit(f"no {name} in {arguments}")


def create(notes, arguments):
    bundle, _ = option(arguments, "--bundle")
    path = os.path.join(bundle, "config.json")
    with open(path) as file:
        spec = json.load(file)
    linux = spec.get("linux", {})
    # The kubelet asks for the default filter of every sandbox; our runc is built without.
    linux.pop("seccomp", None)
    strip(linux.get("resources", {}), os.path.join(notes, arguments[-1]))
    with open(path, "w") as file:
        json.dump(spec, file)


def update(notes, runc, arguments):
    source, place = option(arguments, "--resources")
    if source == "-":
        resources = json.load(sys.stdin)
    else:
        with open(source) as file:
            resources = json.load(file)
    strip(resources, os.path.join(notes, arguments[-1]))
    arguments[place] = "--resources=-" if "=" in arguments[place] else "-"
    told = json.dumps(resources).encode()
    sys.exit(subprocess.run([runc, *arguments], input=told, check=False).returncode)


if sys.argv[2] == "create":
    create(sys.argv[1], sys.argv[3:])
else:
    update(sys.argv[1], sys.argv[3], sys.argv[4:])
