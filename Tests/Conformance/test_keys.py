"""Whose signatures count, and how many."""

import json

import pytest
from securesystemslib.formats import encode_canonical
from securesystemslib.signer import CryptoSigner
from tuf.api.metadata import Metadata

# name: [(keys, threshold, signed by)] for root versions 1, 2 …; the last is refused where `ok` is false.
ROOT_CHAINS = {
    "one key becomes another": ([([1], 1, [1]), ([2], 1, [1, 2]), ([2], 1, [2])], True),
    "strangers' signatures are ignored": ([([1], 1, [8, 1]), ([2], 1, [9, 1, 2, 8]), ([2], 1, [2, 9])], True),
    "any three of five": (
        [([0, 1, 2, 3, 4], 3, [0, 2, 4]), ([0, 1, 2, 3, 4], 3, [4, 1, 0]), ([0, 1, 2, 3, 4], 3, [3, 1, 2])], True),
    "one of five is replaced in two steps": (
        [([0, 1, 2, 3, 4], 3, [0, 2, 4]), ([0, 1, 3, 4, 5], 3, [0, 2, 4, 5]), ([0, 1, 3, 4, 5], 3, [4, 0, 5])], True),
    "a second key, and both are needed": ([([1], 1, [1]), ([1, 2], 2, [1, 2])], True),
    "one of five is replaced": ([([0, 1, 2, 3, 4], 3, [0, 2, 4]), ([0, 1, 3, 4, 5], 3, [0, 1, 4])], True),
    "all of five are replaced": (
        [([0, 1, 2, 3, 4], 3, [0, 1, 2]), ([5, 6, 7, 8, 9], 3, [0, 1, 2, 5, 6, 7]), ([5, 6, 7, 8, 9], 3, [7, 8, 9])],
        True),
    "the threshold rises": ([([1, 2, 3], 1, [1]), ([1, 2, 3], 2, [1, 3])], True),
    "the threshold falls": ([([1, 2, 3], 2, [1, 2]), ([1, 2, 3], 1, [2, 3]), ([1, 2, 3], 1, [3])], True),
    "the old key did not sign": ([([1], 1, [1]), ([2], 1, [2, 8])], False),
    "the new key did not sign": ([([1], 1, [1]), ([2], 1, [1, 8])], False),
    "short of the new keys": ([([0, 1, 2, 3, 4], 3, [0, 2, 4]), ([0, 1, 3, 4, 5], 3, [0, 2, 4])], False),
    "short of the old keys": ([([0, 1, 2, 3, 4], 3, [0, 2, 4]), ([0, 1, 3, 4, 5], 3, [0, 4, 5])], False),
    "the risen threshold is not met": ([([1, 2, 3], 1, [1]), ([1, 2, 3], 2, [2])], False),
    "the former threshold is not met": ([([1, 2, 3], 2, [1, 2]), ([1, 2, 3], 1, [1])], False),
}


@pytest.mark.parametrize("name", ROOT_CHAINS)
def test_root_chain(setup, name):
    chain, ok = ROOT_CHAINS[name]
    client, repo = setup(initialised=False)
    keys = [CryptoSigner.generate_ed25519() for _ in range(10)]
    repo.files["root"] = []
    repo["root"].version = 0
    for members, threshold, signed_by in chain:
        repo["root"].roles["root"].keyids.clear()
        for member in members:
            repo["root"].add_key(keys[member].public_key, "root")
        repo["root"].roles["root"].threshold = threshold
        repo.signers["root"] = [keys[number] for number in signed_by]
        repo.publish("root")
    assert client.init(), client.errors
    assert client.refresh() == ok
    expected = repo.files["root"][-1 if ok else -2][1]
    assert client.stored("root") == expected


ROLE_CASES = {
    "new key": ([2], 1, [2], True),
    "strangers are ignored": ([1], 1, [3, 1, 4], True),
    "not by its key": ([2], 1, [1, 3, 4], False),
    "one of three by a former key": ([0, 1, 3, 4, 5], 3, [0, 2, 4], False),
    "one short": ([0, 1, 3, 4, 5], 3, [0, 4], False),
    "three of five": ([0, 1, 2, 3, 4], 3, [4, 2, 3], True),
    "another three of five": ([0, 1, 2, 3, 4], 3, [0, 2, 4], True),
    "the first three of five": ([0, 1, 2, 3, 4], 3, [1, 0, 2], True),
    "the middle three of five": ([0, 1, 2, 3, 4], 3, [1, 2, 3], True),
    "all five of five": ([0, 1, 2, 3, 4], 5, [4, 3, 2, 1, 0], True),
}


@pytest.mark.parametrize("name", ROLE_CASES)
@pytest.mark.parametrize("role", ["timestamp", "snapshot", "targets"])
def test_role_keys(setup, role, name):
    members, threshold, signed_by, ok = ROLE_CASES[name]
    client, repo = setup()
    keys = [CryptoSigner.generate_ed25519() for _ in range(6)]
    repo["root"].roles[role].keyids.clear()
    for member in members:
        repo["root"].add_key(keys[member].public_key, role)
    repo["root"].roles[role].threshold = threshold
    repo.signers[role] = [keys[number] for number in signed_by]
    repo.publish("root", "targets", "snapshot", "timestamp")
    assert client.refresh() == ok
    if ok:
        assert client.stored(role) == repo.latest(role)


WRONG = {
    "ed25519": "b6" * 64,
    "ecdsa": "3046022100fa1f62d38e0f5c565fa23e5d230086258427d87f024c146071966deefde55468022100"
    "b3347b4bd9ba6701ca6cef949d04b5742394b9f8c4417933e5d4fa76c3ca3a98",
    "rsa": "b1" * 256,
}


@pytest.mark.parametrize("kind", WRONG)
def test_each_kind_of_key(setup, kind):
    client, repo = setup()
    signer = getattr(CryptoSigner, f"generate_{kind}")()
    repo.add_key("root", signer)
    repo["root"].roles["root"].threshold = 2
    repo.publish("root")
    assert client.refresh(), client.errors
    assert client.versions()["root"] == 2
    repo.publish("root")

    def spoil(data):
        metadata = Metadata.from_bytes(data)
        metadata.signatures[signer.public_key.keyid].signature = WRONG[kind]
        return metadata.to_bytes()

    repo.replace_latest("root", spoil)
    assert not client.refresh()
    assert client.versions()["root"] == 2


def test_the_older_spelling_of_the_ecdsa_keytype(setup):
    client, repo = setup()
    signer = CryptoSigner.generate_ecdsa()
    key = signer.public_key
    signer._public_key = type(key)(key.keyid, "ecdsa-sha2-nistp256", key.scheme, key.keyval)
    repo.add_key("root", signer)
    repo["root"].roles["root"].threshold = 2
    repo.publish("root")
    assert client.refresh(), client.errors
    assert client.versions()["root"] == 2


@pytest.mark.parametrize("keyids", ["same", "different"])
def test_one_key_under_many_keyids_is_one_key(setup, keyids):
    client, repo = setup()
    signer = CryptoSigner.generate_ecdsa()
    repo.signers["snapshot"] = [signer]
    role = repo["root"].roles["snapshot"]
    role.keyids.clear()
    copies = []
    for number in range(6):
        key = signer.public_key
        keyid = key.keyid if keyids == "same" else f"{number:064x}"
        role.keyids.append(keyid)
        repo["root"].keys[keyid] = type(key)(keyid, key.keytype, key.scheme, key.keyval)
        copies.append(keyid)
    role.threshold = 3
    repo.publish("root", "snapshot", "timestamp")

    def repeat(data):
        metadata = Metadata.from_bytes(data)
        made = next(iter(metadata.signatures.values()))
        metadata.signatures.clear()
        for keyid in copies:
            metadata.signatures[keyid] = type(made)(keyid, made.signature)
        return metadata.to_bytes()

    repo.replace_latest("snapshot", repeat)
    assert not client.refresh()
    assert "snapshot" not in client.versions()


def test_a_threshold_above_the_number_of_keys_is_never_met(setup):
    client, repo = setup()
    for _ in range(4):
        repo.add_key("snapshot")
    repo["root"].roles["snapshot"].threshold = 6
    repo.publish("root", "snapshot", "timestamp")
    assert not client.refresh()
    assert client.versions() == {"root": 2, "timestamp": 2}


def test_a_signature_too_few_is_refused_after_a_good_version(setup):
    client, repo = setup()
    repo["root"].roles["snapshot"].threshold = 3
    for _ in range(2):
        repo.add_key("snapshot")
    repo.publish("root", "targets", "snapshot", "timestamp")
    assert client.refresh(), client.errors
    repo.signers["snapshot"].pop()
    before = client.stored("snapshot")
    repo.publish_targets()
    assert not client.refresh()
    assert client.stored("snapshot") == before


def edited(change):
    """A change of served bytes made in plain JSON, for what python-tuf will not write."""

    def apply(data):
        document = json.loads(data)
        change(document)
        return json.dumps(document).encode()

    return apply


@pytest.mark.parametrize("role", ["root", "timestamp", "snapshot", "targets"])
def test_two_signatures_under_one_keyid_are_refused_though_the_threshold_is_met(setup, role):
    client, repo = setup()
    repo.publish("root", "targets", "snapshot", "timestamp")
    repo.replace_latest(role, edited(lambda document: document["signatures"].append(document["signatures"][0])))
    assert not client.refresh()
    assert client.versions().get(role, 1) == 1


@pytest.mark.parametrize("sig", ["of another version", "", "00", "not hexadecimal"])
def test_a_signature_that_says_nothing_does_not_spoil_a_met_threshold(setup, sig):
    client, repo = setup()
    first = json.loads(repo.latest("timestamp"))["signatures"][0]
    repo.add_key("timestamp")
    repo.publish("root", "timestamp")

    def spoil(document):
        for signature in document["signatures"]:
            if signature["keyid"] == first["keyid"]:
                signature["sig"] = first["sig"] if sig == "of another version" else sig

    repo.replace_latest("timestamp", edited(spoil))
    assert client.refresh(), client.errors
    assert client.versions()["timestamp"] == 2


def test_a_key_s_field_of_former_times_means_nothing(setup):
    client, repo = setup()
    repo["root"].roles["snapshot"].keyids.clear()
    signer = CryptoSigner.generate_ed25519()
    signer.public_key.unrecognized_fields["keyid_hash_algorithms"] = "md5"
    repo.signers["snapshot"] = []
    repo.add_key("snapshot", signer)
    repo.publish("root", "snapshot", "timestamp")
    assert client.refresh(), client.errors
    assert client.versions()["snapshot"] == 2


@pytest.mark.parametrize("threshold", [0, -1])
@pytest.mark.parametrize("role", ["root", "timestamp", "snapshot", "targets"])
def test_a_threshold_below_one_is_refused(setup, role, threshold):
    client, repo = setup()
    repo.publish("root")

    def lower(document):
        document["signed"]["roles"][role]["threshold"] = threshold
        signature = repo.signers["root"][0].sign(encode_canonical(document["signed"]).encode())
        document["signatures"] = [{"keyid": signature.keyid, "sig": signature.signature}]

    repo.replace_latest("root", edited(lower))
    assert not client.refresh()
    assert client.versions() == {"root": 1}
