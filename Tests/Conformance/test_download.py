"""Files: what is downloaded, under which name, and what never is."""

import pytest


@pytest.mark.parametrize("consistent", [True, False])
@pytest.mark.parametrize("path", ["file.txt", "path/to/a/file.txt", "no-extension", "a b/ü?#%.txt", ".hidden", "x" * 240])
def test_a_file_is_downloaded_and_kept(setup, path, consistent):
    client, repo = setup(consistent=consistent)
    repo.add_artifact(path, b"content")
    repo.publish_targets()
    assert client.download(path), client.errors
    assert client.downloads() == [b"content"]
    repo.requests.clear()
    assert client.download(path)
    assert ("artifact", path) not in repo.requests


@pytest.mark.parametrize("hashes", [["sha256"], ["sha512"], ["sha256", "sha512"], ["sha512", "sha256"]])
def test_each_hash_that_is_listed_is_checked(setup, hashes):
    client, repo = setup()
    repo.add_artifact("file", b"content", hashes=hashes)
    repo.publish_targets()
    assert client.download("file"), client.errors
    assert client.downloads() == [b"content"]
    for name in hashes:
        right = dict(repo["targets"].targets["file"].hashes)
        repo["targets"].targets["file"].hashes[name] = right[name][::-1]
        repo.publish_targets()
        repo["targets"].targets["file"].hashes[name] = right[name]
        assert not client.download("file")


def test_a_hash_of_an_unknown_kind_is_left_to_those_who_know_it(setup):
    client, repo = setup()
    repo.add_artifact("file", b"content")
    repo["targets"].targets["file"].hashes["x-unknown"] = "00"
    repo.publish_targets()
    assert client.download("file"), client.errors
    del repo["targets"].targets["file"].hashes["sha256"]
    repo.publish_targets()
    for kept in client.targets.iterdir():
        kept.unlink()
    assert not client.download("file"), "nothing that is understood vouches for it"


@pytest.mark.parametrize("path", ["../outside", "/etc/outside", "a/../../outside", "..", "a/"])
def test_a_target_path_never_leaves_the_folder(setup, path):
    client, repo = setup(consistent=False)
    repo.add_artifact(path, b"content")
    repo.publish_targets()
    client.download(path)
    assert sorted(entry.name for entry in client.folder.iterdir()) == ["metadata", "targets", "trusted-root.json"]


def test_several_files_at_once(setup):
    client, repo = setup()
    for name in ("one", "two", "three"):
        repo.add_artifact(name, name.encode())
    repo.publish_targets()
    assert client.download("one", "two", "three"), client.errors
    assert client.downloads() == [b"one", b"three", b"two"]


@pytest.mark.parametrize("evil", [b"other content", b"short", b"content" * 1000, b""])
def test_a_file_that_is_not_what_was_signed_is_not_kept(setup, evil):
    client, repo = setup()
    repo.add_artifact("kept", b"content")
    repo.add_artifact("new", b"content")
    repo.publish_targets()
    assert client.download("kept"), client.errors
    repo.artifacts["kept"] = evil
    repo.artifacts["new"] = evil
    assert client.download("kept"), "what is there already is right and needs no download"
    assert not client.download("new")
    assert client.downloads() == [b"content"]


def test_a_changed_file_takes_the_old_one_s_place(setup):
    client, repo = setup()
    for number in range(3):
        content = f"content {number}".encode()
        repo.add_artifact("file", content)
        repo.publish_targets()
        assert client.download("file"), client.errors
        assert client.downloads() == [content]


def test_a_missing_file_is_a_failure(setup):
    client, repo = setup()
    repo.add_artifact("file", b"content")
    repo.publish_targets()
    del repo.artifacts["file"]
    assert not client.download("file")
    assert client.downloads() == []


def test_a_file_damaged_on_disk_is_downloaded_again(setup):
    client, repo = setup()
    repo.add_artifact("file", b"content")
    repo.publish_targets()
    assert client.download("file")
    kept = next(client.targets.iterdir())
    kept.write_bytes(b"damaged")
    assert client.download("file"), client.errors
    assert client.downloads() == [b"content"]


def test_one_request_is_enough_whatever_the_hashes(setup):
    client, repo = setup()
    repo.add_artifact("folder/file", b"content", hashes=["sha256", "sha512"])
    repo.publish_targets()
    assert client.download("folder/file"), client.errors
    assert [request for request in repo.requests if request[0] == "artifact"] == [("artifact", "folder/file")]


def test_of_several_files_those_that_are_there_are_not_asked_for_again(setup):
    client, repo = setup()
    for name in ("one", "two"):
        repo.add_artifact(name, name.encode())
    repo.publish_targets()
    assert client.download("one"), client.errors
    repo.requests.clear()
    assert client.download("one", "two", "one", "two"), client.errors
    assert [request for request in repo.requests if request[0] == "artifact"] == [("artifact", "two")]
    assert client.downloads() == [b"one", b"two"]


def test_one_file_of_several_that_is_not_listed_is_a_failure(setup):
    client, repo = setup()
    repo.add_artifact("one", b"one")
    repo.publish_targets()
    assert not client.download("one", "missing")
    assert client.downloads() == [b"one"]


def test_many_changes_honest_and_not(setup):
    client, repo = setup()
    wanted = None
    for number in range(6):
        content = f"content {number}".encode()
        repo.add_artifact("file", content)
        repo.add_artifact(f"file-{number}", content)
        repo.publish_targets()
        if number % 2:
            continue
        assert client.download("file", f"file-{number}"), client.errors
        wanted = content
        # New metadata of the same listing, and other bytes behind it.
        repo.artifacts["file"] = b"malice!!!"
        repo.publish_targets()
        client.download("file")
        assert client.downloads().count(wanted) == 2
        assert b"malice!!!" not in client.downloads()


def test_every_request_says_who_asks(setup):
    client, repo = setup()
    repo.add_artifact("file", b"content")
    repo.publish_targets()
    assert client.download("file"), client.errors
    assert set(repo.user_agents) == {"holdfast-tuf/1"}
    assert len(repo.user_agents) == 5


def test_odd_target_paths_are_encoded_in_the_url(setup):
    client, repo = setup(consistent=False)
    paths = ["a b/c.txt", "ü/é", "100%", "%2e%2e/x", "q?a=b", "frag#ment", "semi;colon,comma", "plus+", "\\back"]
    paths += ["a//b", "new\nline"]
    for path in paths:
        repo.add_artifact(path, path.encode())
    repo.publish_targets()
    assert client.download(*paths), client.errors
    assert client.downloads() == sorted(path.encode() for path in paths)
    for path in paths:
        assert ("artifact", path) in repo.requests
