"""The published rules of CDI specifications, as a judge that knows nothing of our code.

From SPEC.md of github.com/cncf-tags/container-device-interface, releases 0.3.0 to 0.8.0.
"""

import re

import jsonschema

ABSOLUTE = {"type": "string", "pattern": "^/"}
ENV = {"type": "array", "items": {"type": "string", "pattern": "^[^=]+="}}

EDITS = {
    "type": "object",
    "additionalProperties": False,
    "minProperties": 1,
    "properties": {
        "env": ENV,
        "deviceNodes": {
            "type": "array",
            "items": {
                "type": "object",
                "additionalProperties": False,
                "required": ["path"],
                "properties": {
                    "path": ABSOLUTE,
                    "hostPath": ABSOLUTE,
                    "type": {"enum": ["b", "c", "u", "p"]},
                    "major": {"type": "integer"},
                    "minor": {"type": "integer"},
                    "fileMode": {"type": "integer"},
                    "permissions": {"type": "string", "pattern": "^[rwm]{1,3}$"},
                    "uid": {"type": "integer"},
                    "gid": {"type": "integer"},
                },
            },
        },
        "mounts": {
            "type": "array",
            "items": {
                "type": "object",
                "additionalProperties": False,
                "required": ["hostPath", "containerPath"],
                "properties": {
                    "hostPath": ABSOLUTE,
                    "containerPath": ABSOLUTE,
                    "options": {"type": "array", "items": {"type": "string"}},
                    "type": {"type": "string"},
                },
            },
        },
        "hooks": {
            "type": "array",
            "items": {
                "type": "object",
                "additionalProperties": False,
                "required": ["hookName", "path"],
                "properties": {
                    "hookName": {
                        "enum": [
                            "prestart",
                            "createRuntime",
                            "createContainer",
                            "startContainer",
                            "poststart",
                            "poststop",
                        ]
                    },
                    "path": ABSOLUTE,
                    "args": {"type": "array", "items": {"type": "string"}},
                    "env": ENV,
                    "timeout": {"type": "integer", "minimum": 1},
                },
            },
        },
    },
}

DOCUMENT = {
    "type": "object",
    "additionalProperties": False,
    "required": ["cdiVersion", "kind", "devices"],
    "properties": {
        "cdiVersion": {"enum": ["0.3.0", "0.4.0", "0.5.0", "0.6.0", "0.7.0", "0.8.0", "1.0.0"]},
        "kind": {"type": "string"},
        "annotations": {"type": "object"},
        "devices": {
            "type": "array",
            "minItems": 1,
            "items": {
                "type": "object",
                "additionalProperties": False,
                "required": ["name", "containerEdits"],
                "properties": {
                    "name": {"type": "string"},
                    "annotations": {"type": "object"},
                    "containerEdits": EDITS,
                },
            },
        },
        "containerEdits": EDITS,
    },
}

VENDOR = re.compile(r"[A-Za-z]([A-Za-z0-9_.-]*[A-Za-z0-9])?")
CLASS = re.compile(r"[A-Za-z]([A-Za-z0-9_.-]*[A-Za-z0-9])?")
NAME = re.compile(r"[A-Za-z0-9]([A-Za-z0-9_.:-]*[A-Za-z0-9])?")


def violations(document):
    """Every rule a document breaks, in words."""
    broken = [e.message for e in jsonschema.Draft202012Validator(DOCUMENT).iter_errors(document)]
    if broken:
        return broken
    vendor, _, cdi_class = document["kind"].partition("/")
    names = [device["name"] for device in document["devices"]]
    broken += [] if VENDOR.fullmatch(vendor) else [f"vendor {vendor!r}"]
    broken += [] if CLASS.fullmatch(cdi_class) else [f"class {cdi_class!r}"]
    broken += [f"device name {name!r}" for name in names if not NAME.fullmatch(name)]
    broken += [f"device {name!r} twice" for name in set(names) if names.count(name) > 1]
    needed = needed_version(document)
    if tuple(map(int, document["cdiVersion"].split("."))) < needed:
        broken.append(f"{document['cdiVersion']} is too old, needs {needed}")
    return broken


def needed_version(document):
    """The first release of the specification that has everything the document uses."""
    edits = [document.get("containerEdits", {})]
    edits += [device["containerEdits"] for device in document["devices"]]
    mounts = [mount for edit in edits for mount in edit.get("mounts", [])]
    nodes = [node for edit in edits for node in edit.get("deviceNodes", [])]
    annotated = [document, *document["devices"]]
    needs = [(0, 3, 0)]
    needs += [(0, 4, 0) for mount in mounts if "type" in mount]
    needs += [(0, 5, 0) for node in nodes if "hostPath" in node]
    needs += [(0, 5, 0) for device in document["devices"] if not device["name"][0].isalpha()]
    needs += [(0, 6, 0) for each in annotated if "annotations" in each]
    needs += [(0, 6, 0)] if "." in document["kind"].partition("/")[2] else []
    return max(needs)
