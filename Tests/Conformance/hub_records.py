"""Puts devices and a release into the database of a hub that does not run: what enrolment and publishing would make."""

import base64
import hashlib
import json
import sqlite3
import sys

STATES = ["waiting", "active", "active", "revoked", "rejected"]


def body(record):
    return json.dumps({"record": record, "schema": 1}, sort_keys=True).encode()


def device(number, state):
    key = base64.b64encode(hashlib.sha256(b"wireguard %d" % number).digest()).decode()
    return {
        "id": "d-%d" % number, "state": state, "labels": {"site": "berlin"}, "architecture": "arm64",
        "hostName": "pump-%d" % number, "signingKey": hashlib.sha256(b"sign %d" % number).hexdigest(),
        "keys": [0, key], "slot": 0, "site": 1, "index": number, "credentialGeneration": 1, "token": "%032x" % number,
        "enrolledAt": 1_800_000_000,
    }


def records():
    for number, state in enumerate(STATES, 1):
        labels = {"arch": "arm64", "site": "berlin", "state": state}
        yield "device", "d-%d" % number, labels, body(device(number, state))
    release = {
        "app": "shop", "version": "1.0.0", "ctr": 1, "epoch": 0, "digest": "sha256:" + "0" * 64, "length": 1,
        "architectures": [], "addedAt": 1_800_000_000,
    }
    yield "release", "shop/1.0.0", {"app": "shop"}, body(release)


database = sqlite3.connect(sys.argv[1])
with database:
    (sequence,) = database.execute("SELECT value FROM counter WHERE name = 'commit'").fetchone()
    sequence += 1
    for kind, name, labels, content in records():
        text = "\n".join("%s=%s" % pair for pair in sorted(labels.items()))
        database.execute("INSERT INTO record VALUES (?, ?, ?, ?, ?)", (kind, name, sequence, text, content))
        for key, value in labels.items():
            database.execute("INSERT INTO label VALUES (?, ?, ?, ?)", (kind, key, value, name))
    database.execute("UPDATE counter SET value = ? WHERE name = 'commit'", (sequence,))
database.close()
