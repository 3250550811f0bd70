import json
import os
import shutil
import subprocess

import pytest

from repository import Repository, Server


def pytest_addoption(parser):
    parser.addoption("--client", required=True, help="path of holdfast-tuf")


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config, items):
    """Remembers every test by `file::name`, before -k takes any away."""
    config.collected_tests = {f"{item.path.name}::{item.name}" for item in items}


@pytest.fixture(scope="session")
def server():
    server = Server()
    yield server
    server.close()


class Client:
    """Runs the client against one repository, with folders of its own."""

    def __init__(self, command, folder, server, repository, name):
        self.command = command
        self.repository = repository
        self.metadata = folder / "metadata"
        self.targets = folder / "targets"
        self.metadata.mkdir()
        self.targets.mkdir()
        self.folder = folder
        self.metadata_url = server.url(name, "metadata")
        self.targets_url = server.url(name, "targets")

    def run(self, *arguments, time=None):
        command = [self.command, "--metadata-dir", str(self.metadata), *arguments]
        if time is not None:
            if shutil.which("faketime") is None:
                pytest.skip("apt-get install faketime")
            command = ["faketime", "-f", time, *command]
        result = subprocess.run(command, capture_output=True, text=True, timeout=60)
        self.errors = result.stderr
        assert result.returncode in (0, 1), result.stderr
        return result.returncode == 0

    def init(self, root=None):
        file = self.folder / "trusted-root.json"
        file.write_bytes(root if root is not None else self.repository.files["root"][0][1])
        return self.run("init", str(file))

    def refresh(self, time=None):
        return self.run("--metadata-url", self.metadata_url, "refresh", time=time)

    def download(self, *paths, time=None):
        names = [part for path in paths for part in ("--target-name", path)]
        return self.run(
            "--metadata-url", self.metadata_url, *names,
            "--target-base-url", self.targets_url, "--target-dir", str(self.targets), "download", time=time,
        )

    def versions(self):
        """Version of each role in the metadata folder, by file name."""
        found = {}
        for name in sorted(os.listdir(self.metadata)):
            assert name.endswith(".json"), f"left behind: {name}"
            found[name[:-5]] = json.loads((self.metadata / name).read_bytes())["signed"]["version"]
        return found

    def stored(self, role):
        return (self.metadata / f"{role}.json").read_bytes()

    def downloads(self):
        files = [path for path in self.targets.rglob("*") if path.is_file()]
        assert not [path for path in files if path.name.startswith(".download")]
        return sorted(path.read_bytes() for path in files)


@pytest.fixture
def setup(request, tmp_path, server):
    """Makes a repository and a client for it: `setup(initialised=True, **repository options)`."""

    def make(initialised=True, **options):
        name = request.node.name.replace("/", "_").replace("?", "_").replace("#", "_").replace("%", "_")
        name = "".join(c if c.isalnum() else "-" for c in name)
        repository = Repository(**options)
        server.repositories[name] = repository
        client = Client(request.config.getoption("--client"), tmp_path, server, repository, name)
        if initialised:
            assert client.init(), client.errors
            repository.requests.clear()
        return client, repository

    return make
