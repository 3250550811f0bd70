"""A TUF repository in memory, made with python-tuf's metadata API and served over HTTP.

Tests change it at will, honest or not, and look at what a client asked for.
"""

import datetime
import hashlib
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import quote, unquote

from securesystemslib.signer import CryptoSigner
from tuf.api.metadata import (
    DelegatedRole,
    Delegations,
    Metadata,
    MetaFile,
    Root,
    Snapshot,
    SuccinctRoles,
    TargetFile,
    Targets,
    Timestamp,
)
from tuf.api.serialization.json import JSONSerializer

TOP = ("root", "timestamp", "snapshot", "targets")


def days(count):
    now = datetime.datetime.now(datetime.timezone.utc).replace(microsecond=0)
    return now + datetime.timedelta(days=count)


class Repository:
    """Current metadata in `now`, every published version as bytes in `files`."""

    def __init__(self, consistent=True, key=CryptoSigner.generate_ed25519):
        self.new_key = key
        self.signers = {}
        self.files = {}
        self.artifacts = {}
        self.requests = []
        self.user_agents = []
        self.with_hashes = False
        expires = days(30)
        self.now = {
            "targets": Metadata(Targets(expires=expires)),
            "snapshot": Metadata(Snapshot(expires=expires)),
            "timestamp": Metadata(Timestamp(expires=expires)),
            "root": Metadata(Root(expires=expires, consistent_snapshot=consistent)),
        }
        for role in TOP:
            self.add_key(role)
        self.publish("targets", "snapshot", "timestamp", "root")

    def __getitem__(self, role):
        return self.now[role].signed

    # Keys

    def add_key(self, role, signer=None, delegator="root"):
        signer = signer or self.new_key()
        self[delegator].add_key(signer.public_key, role)
        self.signers.setdefault(role, []).append(signer)
        return signer

    def rotate(self, role):
        self["root"].roles[role].keyids.clear()
        self.signers[role] = []
        return self.add_key(role)

    # Content

    def add_artifact(self, path, content, role="targets", hashes=("sha256",)):
        self[role].targets[path] = TargetFile.from_data(path, content, list(hashes))
        self.artifacts[path] = content

    def delegate(self, role, paths=("*",), delegator="targets", terminating=False, prefixes=None, expires=None):
        parent = self[delegator]
        if parent.delegations is None:
            parent.delegations = Delegations({}, roles={})
        parent.delegations.roles[role] = DelegatedRole(
            role, [], 1, terminating, None if prefixes else list(paths), prefixes
        )
        self.add_key(role, delegator=delegator)
        if role not in self.now:
            self.now[role] = Metadata(Targets(expires=expires or days(30)))

    def delegate_succinctly(self, bits, prefix="bin"):
        signer = self.new_key()
        roles = SuccinctRoles([], 1, bits, prefix)
        self["targets"].delegations = Delegations({}, succinct_roles=roles)
        self["targets"].add_key(signer.public_key)
        for role in roles.get_roles():
            self.now[role] = Metadata(Targets(expires=days(30)))
            self.signers[role] = [signer]

    # Publishing

    def publish(self, *roles, bump=True):
        """Signs a new version of each role, in the order given, and makes it the one served."""
        for role in roles:
            metadata = self.now[role]
            if bump and role in self.files:
                metadata.signed.version += 1
            metadata.signatures.clear()
            for signer in self.signers[role]:
                metadata.sign(signer, append=True)
            data = metadata.to_bytes(JSONSerializer(compact=False))
            self.files.setdefault(role, []).append((metadata.signed.version, data))
            extra = {}
            if self.with_hashes:
                extra = {"length": len(data), "hashes": {"sha256": hashlib.sha256(data).hexdigest()}}
            if role == "snapshot":
                self["timestamp"].snapshot_meta = MetaFile(metadata.signed.version, **extra)
            elif role not in TOP or role == "targets":
                self["snapshot"].meta[f"{role}.json"] = MetaFile(metadata.signed.version, **extra)

    def publish_targets(self, *delegated):
        self.publish(*delegated, "targets", "snapshot", "timestamp")

    def latest(self, role):
        return self.files[role][-1][1]

    def replace_latest(self, role, change):
        """Changes the served bytes of a role's last version, after signing."""
        version, data = self.files[role][-1]
        self.files[role][-1] = (version, change(data))

    # Serving

    def metadata(self, name):
        """The bytes of a metadata file by its name in the URL; None for 404."""
        version, _, role = name.removesuffix(".json").partition(".")
        if name == "timestamp.json" or not version.isdigit():
            role, wanted = name.removesuffix(".json"), None
        else:
            wanted = int(version)
        self.requests.append((role, wanted))
        role = unquote(role)
        for published, data in reversed(self.files.get(role, [])):
            if wanted is None or published == wanted:
                return data
        return None

    def artifact(self, path):
        if self["root"].consistent_snapshot:
            folder, slash, name = path.rpartition("/")
            digest, _, name = name.partition(".")
            path = folder + slash + name
            listed = [h for t in self.targets_roles() if path in t.targets for h in t.targets[path].hashes.values()]
            if digest not in listed:
                return None
        self.requests.append(("artifact", path))
        return self.artifacts.get(path)

    def targets_roles(self):
        return [m.signed for m in self.now.values() if isinstance(m.signed, Targets)]


class Server:
    """Serves repositories, each below its own name, on the loopback interface."""

    def __init__(self):
        self.repositories = {}
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                _, name, kind, path = self.path.split("/", 3)
                repository = outer.repositories[name]
                repository.user_agents.append(self.headers.get("User-Agent"))
                found = repository.metadata(path) if kind == "metadata" else repository.artifact(unquote(path))
                if found is None:
                    self.send_error(404)
                    return
                self.send_response(200)
                self.send_header("Content-Length", str(len(found)))
                self.end_headers()
                self.wfile.write(found)

            def log_message(self, *_):
                pass

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.http.serve_forever, daemon=True).start()

    def url(self, name, kind):
        return f"http://127.0.0.1:{self.http.server_address[1]}/{name}/{kind}/"

    def close(self):
        self.http.shutdown()
        self.http.server_close()


def quoted(role):
    return quote(role, "")
