"""Delegated roles: which are visited, in which order, and how far each is believed."""

import hashlib
import json

import pytest
from securesystemslib.signer import CryptoSigner

from repository import days, quoted

# name: [(delegator, role, paths, terminating)], path, visited roles
GRAPHS = {
    "one": ([("targets", "A", "*", 0)], "x", "A"),
    "two": ([("targets", "A", "*", 0), ("targets", "B", "*", 0)], "x", "AB"),
    "chain": ([("targets", "A", "*", 0), ("targets", "B", "*", 0), ("B", "C", "*", 0)], "x", "ABC"),
    "depth before breadth": (
        [("targets", "A", "*", 0), ("targets", "B", "*", 0), ("A", "C", "*", 0), ("A", "D", "*", 0)], "x", "ACDB"),
    "deeper before breadth": (
        [("targets", "A", "*", 0), ("targets", "B", "*", 0), ("A", "C", "*", 0), ("C", "D", "*", 0)], "x", "ACDB"),
    "terminating ends the search": (
        [("targets", "A", "*", 0), ("targets", "B", "*", 0), ("A", "C", "*", 1), ("A", "D", "*", 0)], "x", "AC"),
    "terminating keeps what is below": (
        [("targets", "A", "*", 0), ("targets", "B", "*", 0), ("A", "C", "*", 1), ("C", "D", "*", 0)], "x", "ACD"),
    "terminating that does not match": ([("targets", "A", "*.py", 1), ("targets", "B", "*", 0)], "x", "B"),
    "other paths": ([("targets", "A", "*.py", 0), ("targets", "B", "*", 0), ("A", "C", "*", 0)], "x", "B"),
    "other paths below": (
        [("targets", "A", "*", 0), ("targets", "B", "*", 0), ("A", "C", "*.py", 0), ("C", "D", "*", 0)], "x", "AB"),
    "cycle": (
        [("targets", "A", "*", 0), ("targets", "B", "*", 0), ("B", "C", "*", 0), ("C", "D", "*", 0),
         ("D", "B", "*", 0)], "x", "ABCD"),
    "two ways to one role": (
        [("targets", "A", "*", 0), ("targets", "B", "*", 0), ("B", "C", "*", 0), ("A", "C", "*", 0)], "x", "ACB"),
    "one of two ways": (
        [("targets", "A", "*", 0), ("targets", "B", "*", 0), ("B", "C", "*", 0), ("A", "C", "*.py", 0)], "x", "ABC"),
    "a star stays within its segment": ([("targets", "A", "a/*", 0), ("targets", "B", "a/*/*", 0)], "a/b/c", "B"),
    "a question mark is one character": ([("targets", "A", "a?", 0), ("targets", "B", "a??", 0)], "abc", "B"),
    "case matters": ([("targets", "A", "README*", 0), ("targets", "B", "readme*", 0)], "readme.md", "B"),
}


def graph(repo, edges):
    for delegator, role, paths, terminating in edges:
        repo.delegate(role, [paths], delegator, bool(terminating))
    repo.publish_targets(*sorted({role for _, role, _, _ in edges}))


@pytest.mark.parametrize("name", GRAPHS)
def test_roles_are_visited_in_preorder(setup, name):
    edges, path, order = GRAPHS[name]
    client, repo = setup()
    graph(repo, edges)
    assert not client.download(path)
    assert repo.requests[4:] == [(role, 1) for role in order]


TREE = [
    ("targets", "A", "*.md", 0), ("targets", "B", "releases/*/*", 0),
    ("B", "C", "releases/x/*", 0), ("B", "D", "releases/y/*.zip", 0),
]


@pytest.mark.parametrize(
    "path, role, visited",
    [
        ("plain", "targets", ""), ("README.md", "A", "A"), ("releases/x/v1", "C", "BC"),
        ("releases/y/v1.zip", "D", "BD"), ("releases/z/v1.zip", "D", None),
    ],
)
def test_a_file_is_found_where_it_is_delegated(setup, path, role, visited):
    client, repo = setup()
    for delegator, name, paths, _ in TREE:
        repo.delegate(name, [paths], delegator)
    repo.add_artifact(path, b"content of " + path.encode(), role)
    repo.publish_targets("A", "B", "C", "D")
    assert client.download(path) == (visited is not None), client.errors
    assert client.downloads() == ([] if visited is None else [b"content of " + path.encode()])
    roles = [request for request in repo.requests[4:] if request[0] != "artifact"]
    assert roles == [(name, 1) for name in (visited if visited is not None else "B")]


def test_no_more_than_32_delegated_roles_are_visited(setup):
    client, repo = setup()
    names = [f"role{number:02}" for number in range(40)]
    for name in names:
        repo.delegate(name)
    repo.publish_targets(*names)
    assert not client.download("x")
    assert [role for role, _ in repo.requests[4:]] == names[:32]


@pytest.mark.parametrize("bits, path", [(1, "boo"), (2, "doo"), (8, "bar"), (10, "some/path")])
def test_one_bin_of_a_succinct_delegation_is_asked_for(setup, bits, path):
    client, repo = setup()
    repo.delegate_succinctly(bits)
    number = int.from_bytes(hashlib.sha256(path.encode()).digest()[:4], "big") >> (32 - bits)
    width = len(f"{(1 << bits) - 1:x}")
    name = f"bin-{number:0{width}x}"
    repo.add_artifact(path, b"in a bin", name)
    repo.publish_targets(*[role for role in repo.now if role.startswith("bin-")])
    assert client.download(path), client.errors
    assert [role for role, _ in repo.requests[4:5]] == [name]


def test_hash_prefixes_lead_to_a_bin(setup):
    client, repo = setup()
    path = "some/file"
    digest = hashlib.sha256(path.encode()).hexdigest()
    other = "0" if digest[0] != "0" else "1"
    repo.delegate("other", prefixes=[other])
    repo.delegate("right", prefixes=[digest[:2]])
    repo.add_artifact(path, b"bin", "right")
    repo.publish_targets("other", "right")
    assert client.download(path), client.errors
    assert repo.requests[4] == ("right", 1)


@pytest.mark.parametrize("role", ["?", "#", "/delegatedrole", "../delegatedrole", "a b", "100%", "Füße", "a.b", "."])
def test_odd_role_names_stay_one_segment_and_one_file(setup, role):
    client, repo = setup()
    repo.delegate(role)
    repo.publish_targets(role)
    assert not client.download("x")
    assert (quoted(role), 1) in repo.requests
    assert len(client.versions()) == 5
    assert sorted(path.name for path in client.folder.iterdir()) == ["metadata", "targets", "trusted-root.json"]
    # What was kept under that name is found again.
    repo.requests.clear()
    assert not client.download("x")
    assert (quoted(role), 1) not in repo.requests


@pytest.mark.parametrize("role", ["root", "timestamp", "snapshot", "targets"])
def test_no_delegation_to_a_top_level_role(setup, role):
    client, repo = setup()
    repo.delegate("harmless")
    repo.publish_targets("harmless")

    def rename(data):
        document = json.loads(data)
        document["signed"]["delegations"]["roles"][0]["name"] = role
        return sign_again(repo, document)

    repo.replace_latest("targets", rename)
    assert not client.refresh()
    assert "targets" not in client.versions()


def sign_again(repo, document):
    from securesystemslib.formats import encode_canonical

    message = encode_canonical(document["signed"]).encode()
    signature = repo.signers["targets"][0].sign(message)
    document["signatures"] = [{"keyid": signature.keyid, "sig": signature.signature}]
    return json.dumps(document).encode()


@pytest.mark.parametrize("fault", ["expired", "foreign", "missing", "unlisted"])
def test_a_delegated_role_that_fails_ends_the_search(setup, fault):
    client, repo = setup()
    repo.delegate("bad", expires=days(-1) if fault == "expired" else None)
    repo.delegate("good")
    repo.add_artifact("file", b"content", "good")
    if fault == "foreign":
        repo.signers["bad"] = [CryptoSigner.generate_ed25519()]
    repo.publish("bad", "good", "targets")
    if fault == "unlisted":
        del repo["snapshot"].meta["bad.json"]
    repo.publish("snapshot", "timestamp")
    if fault == "missing":
        repo.files["bad"] = []
    assert client.refresh(), client.errors
    assert not client.download("file")
    assert client.downloads() == []
    assert client.versions() == {"root": 1, "snapshot": 2, "targets": 2, "timestamp": 2}


def test_a_kept_delegated_role_is_refused_once_expired(setup):
    client, repo = setup()
    repo.delegate("role", expires=days(7))
    repo.add_artifact("first", b"first", "role")
    repo.add_artifact("second", b"second", "role")
    repo.publish_targets("role")
    assert client.download("first"), client.errors
    assert not client.download("second", time="+18d")
    assert client.downloads() == [b"first"]
    repo["role"].expires = days(21)
    repo.publish("role", "snapshot", "timestamp")
    assert client.download("second", time="+18d"), client.errors
    assert client.downloads() == [b"first", b"second"]


@pytest.mark.parametrize("change", ["keys", "threshold"])
def test_a_kept_delegated_role_is_verified_against_its_present_delegator(setup, change):
    """The delegator no longer vouches for the role's signature; its version and the snapshot's entry are as before."""
    client, repo = setup()
    repo.delegate("role")
    repo.add_artifact("file", b"content", "role")
    repo.publish_targets("role")
    assert client.download("file"), client.errors
    for path in client.targets.iterdir():
        path.unlink()
    entry = repo["targets"].delegations.roles["role"]
    if change == "keys":
        entry.keyids.clear()
        signer = CryptoSigner.generate_ed25519()
        repo["targets"].add_key(signer.public_key, "role")
    else:
        for _ in range(2):
            repo["targets"].add_key(CryptoSigner.generate_ed25519().public_key, "role")
        entry.threshold = 2
    repo.publish_targets()
    assert not client.download("file")
    assert client.downloads() == []


@pytest.mark.parametrize("at_once", [True, False], ids=["in one run", "in two runs"])
@pytest.mark.parametrize("difference", ["keys", "threshold"])
def test_a_role_of_two_delegators_needs_the_word_of_the_one_it_is_reached_by(setup, difference, at_once):
    """`left` vouches for the shared role's signature, `right` does not; the first lookup must not answer for both."""
    client, repo = setup()
    repo.delegate("left", ["left/*"])
    repo.delegate("right", ["right/*"])
    repo.delegate("shared", delegator="left", paths=["*/*"])
    vouched = repo.signers["shared"]
    repo.signers["shared"] = []
    repo.delegate("shared", delegator="right", paths=["*/*"])
    if difference == "threshold":
        repo["right"].add_key(vouched[0].public_key, "shared")
        repo["right"].delegations.roles["shared"].threshold = 2
    repo.signers["shared"] = vouched
    for path in ("left/file", "right/file"):
        repo.add_artifact(path, path.encode(), "shared")
    repo.publish_targets("left", "right", "shared")
    if at_once:
        assert not client.download("left/file", "right/file")
    else:
        assert client.download("left/file"), client.errors
        assert not client.download("right/file")
    assert client.downloads() == [b"left/file"]
    # What `right` asks for is met by nobody, so it is found nowhere either.
    assert not client.download("right/file")
    assert client.download("left/file"), client.errors


def test_a_role_of_two_delegators_that_both_vouch_for_it_serves_both(setup):
    client, repo = setup()
    repo.delegate("left", ["left/*"])
    repo.delegate("right", ["right/*"])
    for delegator in ("left", "right"):
        repo.delegate("shared", delegator=delegator, paths=["*/*"])
    for path in ("left/file", "right/file"):
        repo.add_artifact(path, path.encode(), "shared")
    repo.publish_targets("left", "right", "shared")
    assert client.download("left/file", "right/file"), client.errors
    assert client.downloads() == [b"left/file", b"right/file"]
