"""Writes the benchmark's repositories: 10,000 targets in one role, and in 1,024 hash bins."""

import hashlib
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "../../../Tests/Conformance"))
from repository import Repository
from tuf.api.metadata import TargetFile

TARGETS, BITS = 10_000, 10


def write(folder, repo, paths):
    os.makedirs(f"{folder}/metadata")
    for role, versions in repo.files.items():
        for version, data in versions:
            name = "timestamp.json" if role == "timestamp" else f"{version}.{role}.json"
            with open(f"{folder}/metadata/{name}", "wb") as file:
                file.write(data)
    with open(f"{folder}/list", "w") as file:
        file.write("\n".join(paths))


def target(path, number):
    digest = hashlib.sha256(path.encode()).hexdigest()
    custom = {"holdfast": {"app": f"app-{number}", "version": "1.0.0", "ctr": number, "epoch": 0, "selector": {}}}
    return TargetFile(1000 + number, {"sha256": digest}, path, {"custom": custom})


def main(folder):
    paths = [f"app-{number}/1.0.0.release.json" for number in range(TARGETS)]
    flat = Repository()
    for number, path in enumerate(paths):
        flat["targets"].targets[path] = target(path, number)
    flat.with_hashes = True
    flat.publish_targets()
    write(f"{folder}/flat", flat, paths)

    bins = Repository()
    bins.with_hashes = True
    bins.delegate_succinctly(BITS)
    for number, path in enumerate(paths):
        head = int.from_bytes(hashlib.sha256(path.encode()).digest()[:4], "big") >> (32 - BITS)
        bins[f"bin-{head:03x}"].targets[path] = target(path, number)
    bins.publish_targets(*[role for role in bins.now if role.startswith("bin-")])
    write(f"{folder}/bins", bins, paths)


main(sys.argv[1])
