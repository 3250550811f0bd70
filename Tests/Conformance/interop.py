"""What Swift tests ask of python-tuf and securesystemslib; each command exits with 0 when it succeeded.

  refresh REPO ROOT PATH…   refreshes from a repository folder with python-tuf and downloads the target paths
  make REPO                 writes a repository folder with python-tuf: delegations, rotations, all key types
  dsse-verify FILE KEY…     verifies an envelope by a threshold of all keys, each `keytype:scheme:public`
  dsse-make FILE            writes an envelope and beside it, as FILE.key, its key
  time REPO ROOT LIST [KEEP]  refreshes and looks up every path in LIST; prints CPU seconds and peak memory in KiB;
                            keeps what it verified on disk when KEEP is given
"""

import json
import os
import resource
import sys
import tempfile
import time
from urllib.parse import unquote, urlparse

from securesystemslib.dsse import Envelope
from securesystemslib.signer import CryptoSigner, SSlibKey
from tuf.api.exceptions import DownloadHTTPError
from tuf.ngclient import FetcherInterface, Updater, UpdaterConfig

from repository import Repository


class FolderFetcher(FetcherInterface):
    def _fetch(self, url):
        path = unquote(urlparse(url).path)
        try:
            with open(path, "rb") as file:
                yield file.read()
        except FileNotFoundError as error:
            raise DownloadHTTPError(path, 404) from error


def updater(repository, root, folder):
    os.makedirs(f"{folder}/metadata")
    os.makedirs(f"{folder}/targets")
    with open(root, "rb") as file:
        bootstrap = file.read()
    # As large as our own bounds, so that both read the same files.
    config = UpdaterConfig(targets_max_length=16 << 20, snapshot_max_length=4 << 20, max_delegations=32)
    return Updater(
        f"{folder}/metadata", f"file://{repository}/metadata/", f"{folder}/targets", f"file://{repository}/targets/",
        fetcher=FolderFetcher(), config=config, bootstrap=bootstrap,
    )


def refresh(repository, root, *paths):
    with tempfile.TemporaryDirectory() as folder:
        client = updater(repository, root, folder)
        client.refresh()
        for path in paths:
            info = client.get_targetinfo(path)
            assert info is not None, f"{path} is not found"
            print(path, os.path.getsize(client.download_target(info)))


def measure(repository, root, listing, keep=None):
    with open(listing) as file:
        paths = file.read().split()
    with tempfile.TemporaryDirectory() as folder:
        start = time.process_time()
        client = updater(repository, root, folder)
        if keep is None:
            client._persist_file = lambda *_: None
        client.refresh()
        for path in paths:
            assert client.get_targetinfo(path) is not None, path
        print(f"{time.process_time() - start:.3f} {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss}")


def make(folder):
    repo = Repository()
    repo.with_hashes = True
    repo.add_artifact("top.txt", b"top")
    repo.delegate("team", ["team/*"])
    repo.delegate("inner", ["team/*"], delegator="team", terminating=True)
    repo.add_artifact("team/inner.txt", b"inner", "inner")
    repo.publish_targets("inner", "team")
    # Every role gets a key of another kind, root twice.
    for role, kind in (("root", "rsa"), ("timestamp", "ecdsa"), ("snapshot", "rsa"), ("targets", "ecdsa"), ("root", "ecdsa")):
        old = repo.signers[role]
        repo.new_key = getattr(CryptoSigner, f"generate_{kind}")
        fresh = repo.rotate(role)
        if role == "root":
            repo.signers[role] = old + [fresh]
            repo.publish("root")
            repo.signers[role] = [fresh]
        else:
            repo.publish("root")
    repo.publish_targets()
    os.makedirs(f"{folder}/metadata")
    for role, versions in repo.files.items():
        for version, data in versions:
            name = "timestamp.json" if role == "timestamp" else f"{version}.{role}.json"
            with open(f"{folder}/metadata/{name}", "wb") as file:
                file.write(data)


def dsse_verify(file, *keys):
    with open(file, "rb") as source:
        envelope = Envelope.from_dict(json.loads(source.read()))
    trusted = []
    for text in keys:
        keyid, keytype, scheme, public = text.split(":", 3)
        trusted.append(SSlibKey(keyid, keytype, scheme, {"public": public}))
    assert len(envelope.verify(trusted, len(trusted))) == len(trusted)
    sys.stdout.write(envelope.payload.decode())


def dsse_make(file):
    signer = CryptoSigner.generate_ed25519()
    envelope = Envelope(b'{"from":"securesystemslib"}', "application/vnd.test+json", {})
    envelope.sign(signer)
    with open(file, "w") as target:
        json.dump(envelope.to_dict(), target)
    with open(file + ".key", "w") as target:
        target.write(f"{signer.public_key.keyid} {signer.public_key.keyval['public']}")


if __name__ == "__main__":
    command, arguments = sys.argv[1], sys.argv[2:]
    {"refresh": refresh, "make": make, "dsse-verify": dsse_verify, "dsse-make": dsse_make, "time": measure}[command](
        *arguments
    )
