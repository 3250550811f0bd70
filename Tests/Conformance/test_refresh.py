"""Top-level metadata: what is fetched, what is kept, and what is left after a refusal."""

import json

import pytest
from securesystemslib.signer import CryptoSigner
from tuf.api.metadata import Metadata, MetaFile

from repository import days

FIRST = [("root", 2), ("timestamp", None), ("snapshot", 1), ("targets", 1)]


def test_a_first_refresh_asks_for_each_role_once(setup):
    client, repo = setup()
    assert client.refresh(), client.errors
    assert repo.requests == FIRST
    assert client.versions() == {"root": 1, "snapshot": 1, "targets": 1, "timestamp": 1}
    for role in client.versions():
        assert client.stored(role) == repo.latest(role)
    assert all(repo.user_agents)


def test_initialising_asks_for_nothing(setup):
    client, repo = setup()
    assert repo.requests == []
    assert client.versions() == {"root": 1}


def test_a_second_refresh_asks_only_what_may_be_new(setup):
    client, repo = setup()
    assert client.refresh()
    repo.requests.clear()
    assert client.refresh()
    assert repo.requests == [("root", 2), ("timestamp", None)]


def test_without_consistent_snapshots_names_carry_no_version(setup):
    client, repo = setup(consistent=False)
    assert client.refresh(), client.errors
    assert repo.requests == [("root", 2), ("timestamp", None), ("snapshot", None), ("targets", None)]


def test_downloading_refreshes_first(setup):
    client, repo = setup()
    assert not client.download("not there")
    assert repo.requests == FIRST
    assert set(client.versions()) == {"root", "snapshot", "targets", "timestamp"}


@pytest.mark.parametrize("field", ["version", "expires", "roles", "keys", "_type", "spec_version"])
def test_an_initial_root_without_a_field_leads_nowhere(setup, field):
    client, repo = setup(initialised=False)
    root = json.loads(repo.files["root"][0][1])
    del root["signed"][field]
    client.init(json.dumps(root).encode())
    assert not client.refresh()
    assert repo.requests == []


def test_an_initial_root_with_a_wrong_signature_leads_nowhere(setup):
    client, repo = setup(initialised=False)
    root = json.loads(repo.files["root"][0][1])
    root["signatures"][0]["sig"] = "00" * 64
    client.init(json.dumps(root).encode())
    assert not client.refresh()
    assert repo.requests == []


@pytest.mark.parametrize(
    "role, left",
    [
        ("root", {"root": 1}),
        ("timestamp", {"root": 2}),
        ("snapshot", {"root": 2, "timestamp": 2}),
        ("targets", {"root": 2, "snapshot": 2, "timestamp": 2}),
    ],
)
@pytest.mark.parametrize("fault", ["unsigned", "foreign", "garbage", "truncated"])
def test_a_bad_role_stops_the_refresh_where_it_stands(setup, role, left, fault):
    client, repo = setup()
    if fault == "unsigned":
        repo.signers[role].clear()
    elif fault == "foreign":
        repo.signers[role] = [CryptoSigner.generate_ed25519()]
    repo.publish("root", "targets", "snapshot", "timestamp")
    if fault == "garbage":
        repo.replace_latest(role, lambda data: b"{]" + data)
    elif fault == "truncated":
        repo.replace_latest(role, lambda data: data[: len(data) // 2])
    assert not client.refresh()
    assert client.versions() == left


@pytest.mark.parametrize(
    "role, left",
    [
        ("root", {"root": 1}),
        ("snapshot", {"root": 1, "timestamp": 2}),
        ("targets", {"root": 1, "snapshot": 2, "timestamp": 2}),
    ],
)
def test_a_version_other_than_the_name_says_is_refused(setup, role, left):
    client, repo = setup()
    if role == "root":
        repo.publish("root")
    else:
        repo.publish_targets()
    shifted = Metadata.from_bytes(repo.latest(role))
    shifted.signed.version += 1
    shifted.signatures.clear()
    for signer in repo.signers[role]:
        shifted.sign(signer, append=True)
    repo.replace_latest(role, lambda _: shifted.to_bytes())
    assert not client.refresh()
    assert client.versions() == left


def test_bytes_are_kept_as_they_came(setup):
    client, repo = setup()
    repo.replace_latest("timestamp", lambda data: b" \n" + data + b"\n ")
    assert client.refresh(), client.errors
    assert client.stored("timestamp") == repo.latest("timestamp")


def test_unknown_fields_are_signed_and_kept(setup):
    client, repo = setup()
    repo["root"].unrecognized_fields["x-note"] = {"text": "Grüße\n\t\"\\", "list": [1, None, True]}
    repo["root"].roles["root"].unrecognized_fields["x-more"] = ["a"]
    signer = CryptoSigner.generate_ecdsa()
    signer.public_key.unrecognized_fields["keyid_hash_algorithms"] = ["md5"]
    repo.add_key("snapshot", signer)
    repo.publish("root", "targets", "snapshot", "timestamp")
    assert client.refresh(), client.errors
    assert client.versions()["root"] == 2


@pytest.mark.parametrize("role", ["timestamp", "snapshot", "targets"])
def test_a_missing_file_is_a_failure(setup, role):
    client, repo = setup()
    assert client.refresh()
    repo.publish_targets()
    del repo.files[role][-1]
    if role == "timestamp":
        repo.files[role] = []
    assert not client.refresh()
    expected = {"root": 1, "timestamp": 2, "snapshot": 2, "targets": 1}
    if role == "timestamp":
        expected = {"root": 1, "timestamp": 1, "snapshot": 1, "targets": 1}
    elif role == "snapshot":
        expected["snapshot"] = 1
    assert client.versions() == expected


def test_the_same_timestamp_version_again_is_not_looked_at(setup):
    client, repo = setup()
    assert client.refresh()
    repo["timestamp"].snapshot_meta.version = 100
    repo.files["timestamp"] = []
    repo.publish("timestamp", bump=False)
    assert client.refresh(), client.errors
    assert repo.requests[-1] == ("timestamp", None)
    assert json.loads(client.stored("timestamp"))["signed"]["meta"]["snapshot.json"]["version"] == 1


def test_hashes_and_lengths_in_snapshot_and_timestamp_are_checked(setup):
    client, repo = setup()
    repo.with_hashes = True
    repo.publish_targets()
    assert client.refresh(), client.errors
    for field, wrong in (("hashes", {"sha256": "00" * 32}), ("length", 7)):
        repo.publish("targets")
        setattr(repo["snapshot"].meta["targets.json"], field, wrong)
        repo.publish("snapshot", "timestamp")
        assert not client.refresh()
        assert client.versions()["targets"] == 2


def test_a_snapshot_in_the_place_of_a_timestamp_is_refused(setup):
    client, repo = setup()
    repo.add_key("snapshot", repo.signers["timestamp"][0])
    repo["snapshot"].meta = {"snapshot.json": MetaFile(1)}
    repo.publish("root", "snapshot")
    repo.files["timestamp"].append(repo.files["snapshot"][-1])
    assert not client.refresh()
    assert client.versions() == {"root": 2}


@pytest.mark.parametrize("fault", ["unsigned", "garbage", "truncated", "empty"])
@pytest.mark.parametrize("role", ["root", "timestamp", "snapshot", "targets"])
def test_what_fails_to_verify_never_takes_the_place_of_what_is_kept(setup, role, fault):
    client, repo = setup()
    assert client.refresh(), client.errors
    kept = client.stored(role)
    repo.publish("root", "targets", "snapshot", "timestamp")
    changes = {
        "unsigned": lambda data: json.dumps({**json.loads(data), "signatures": []}).encode(),
        "garbage": lambda data: b"\x00" + data,
        "truncated": lambda data: data[:-20],
        "empty": lambda data: b"",
    }
    repo.replace_latest(role, changes[fault])
    assert not client.refresh()
    assert client.stored(role) == kept
    assert list(client.versions()) == ["root", "snapshot", "targets", "timestamp"]


def test_a_snapshot_that_no_timestamp_names_is_not_asked_for(setup):
    client, repo = setup()
    repo.publish("snapshot", "timestamp")
    assert client.refresh(), client.errors
    repo["snapshot"].version = 0
    repo.publish("snapshot")
    assert client.refresh(), client.errors
    assert client.versions()["snapshot"] == 2
    assert repo.requests[-1] == ("timestamp", None)


def test_targets_that_no_snapshot_lists_are_not_asked_for(setup):
    client, repo = setup()
    assert client.refresh(), client.errors
    repo.publish("targets")
    assert client.refresh(), client.errors
    assert client.versions()["targets"] == 1
    assert repo.requests[-1] == ("timestamp", None)


# Expiry


@pytest.mark.parametrize(
    "role, left",
    [
        ("root", {"root": 2}),
        ("timestamp", {"root": 2}),
        ("snapshot", {"root": 2, "timestamp": 2}),
        ("targets", {"root": 2, "snapshot": 2, "timestamp": 2}),
    ],
)
def test_an_expired_role_is_refused(setup, role, left):
    client, repo = setup()
    repo[role].expires = days(-5)
    repo.publish("root", "targets", "snapshot", "timestamp")
    assert not client.refresh()
    assert client.versions() == left


@pytest.mark.parametrize("role", ["root", "timestamp", "snapshot", "targets"])
def test_an_expired_role_is_refused_after_a_good_refresh(setup, role):
    client, repo = setup()
    assert client.refresh(), client.errors
    repo[role].expires = days(-5)
    repo.publish("root", "targets", "snapshot", "timestamp")
    assert not client.refresh()
    # 5.3.8 keeps a root before its expiry is looked at, and nothing after the refused role is fetched.
    order = ["root", "timestamp", "snapshot", "targets"]
    accepted = order[: max(order.index(role), 1)]
    assert client.versions() == {each: 2 if each in accepted else 1 for each in sorted(order)}


def test_a_kept_root_may_be_expired_when_there_is_newer(setup):
    client, repo = setup()
    repo["root"].expires = days(7)
    repo.publish("root")
    assert client.refresh(), client.errors
    repo["root"].expires = days(21)
    repo.publish("root")
    assert client.refresh(time="+18d"), client.errors
    assert client.versions()["root"] == 3


def test_a_root_that_has_expired_since_is_refused(setup):
    client, repo = setup()
    repo["root"].expires = days(7)
    repo.publish("root")
    assert client.refresh(), client.errors
    assert not client.refresh(time="+8d")


def test_what_is_kept_may_be_expired_when_there_is_newer(setup):
    client, repo = setup()
    repo["timestamp"].expires = days(7)
    repo["snapshot"].expires = days(7)
    repo.publish_targets()
    assert client.refresh()
    repo["timestamp"].expires = days(25)
    repo["snapshot"].expires = days(25)
    repo.publish_targets()
    assert client.refresh(time="+18d"), client.errors
    assert client.versions() == {"root": 1, "snapshot": 3, "targets": 3, "timestamp": 3}


def test_what_is_kept_is_refused_once_expired(setup):
    client, repo = setup()
    assert client.refresh()
    assert client.refresh(time="+29d"), client.errors
    assert not client.refresh(time="+31d")


def test_intermediate_roots_may_be_expired(setup):
    client, repo = setup()
    repo["root"].expires = days(-1)
    repo.publish("root")
    repo["root"].expires = days(30)
    repo.publish("root")
    assert client.refresh(), client.errors
    assert client.versions()["root"] == 3


# Rollback and recovery


@pytest.mark.parametrize("hashes", [False, True])
def test_an_older_timestamp_is_refused(setup, hashes):
    client, repo = setup()
    repo.with_hashes = hashes
    repo.publish("timestamp")
    assert client.refresh()
    repo.files["timestamp"].pop()
    assert not client.refresh()
    assert client.versions()["timestamp"] == 2


@pytest.mark.parametrize("hashes", [False, True])
def test_a_timestamp_that_points_at_an_older_snapshot_is_refused(setup, hashes):
    client, repo = setup()
    repo.with_hashes = hashes
    repo.publish("snapshot", "timestamp")
    assert client.refresh()
    repo["snapshot"].version = 0
    repo.publish("snapshot", "timestamp")
    assert not client.refresh()
    assert client.versions() == {"root": 1, "snapshot": 2, "targets": 1, "timestamp": 2}
    assert repo.requests[-1] == ("timestamp", None)


@pytest.mark.parametrize("hashes", [False, True])
def test_a_snapshot_that_lists_older_targets_is_refused(setup, hashes):
    client, repo = setup()
    repo.with_hashes = hashes
    for _ in range(3):
        repo.publish_targets()
    assert client.refresh()
    repo["targets"].version = 0
    repo.publish_targets()
    assert not client.refresh()
    assert client.versions()["snapshot"] == 4
    assert client.versions()["targets"] == 4


def test_a_snapshot_that_leaves_out_a_role_is_refused(setup):
    client, repo = setup()
    repo.delegate("extra")
    repo.publish_targets("extra")
    assert client.refresh()
    del repo["snapshot"].meta["extra.json"]
    repo.publish("snapshot", "timestamp")
    assert not client.refresh()
    assert client.versions()["snapshot"] == 2


@pytest.mark.parametrize("role", ["timestamp", "snapshot"])
def test_a_fast_forward_is_recovered_from_by_rotating_keys(setup, role):
    client, repo = setup()
    repo[role].version = 99998
    repo.publish("snapshot", "timestamp")
    assert client.refresh()
    assert client.versions()[role] >= 99999
    repo.rotate("timestamp")
    if role == "snapshot":
        repo.rotate("snapshot")
    repo[role].version = 0
    repo.publish("root", "snapshot", "timestamp")
    assert client.refresh(), client.errors
    assert client.versions()[role] == 1


def test_fast_forwarded_targets_are_recovered_from_by_rotating_the_snapshot_key(setup):
    client, repo = setup()
    repo["targets"].version = 99998
    repo.publish_targets()
    assert client.refresh()
    repo.rotate("snapshot")
    repo["targets"].version = 1
    repo.publish("root")
    repo.publish_targets()
    assert client.refresh(), client.errors
    assert client.versions()["targets"] == 2


def test_a_fast_forward_is_recovered_from_when_one_key_of_two_is_rotated(setup):
    client, repo = setup()
    repo.add_key("timestamp")
    repo.publish("root", "timestamp")
    repo["timestamp"].version = 500
    repo.publish("timestamp")
    assert client.refresh()
    lost = repo.signers["timestamp"].pop(0)
    repo["root"].revoke_key(lost.public_key.keyid, "timestamp")
    repo.publish("root")
    repo["timestamp"].version = 4
    repo.publish("timestamp")
    assert client.refresh(), client.errors
    assert client.versions()["timestamp"] == 5
