"""Each case of the public conformance suite for TUF clients, and the test here that asks the same of a client.

The suite (theupdateframework/tuf-conformance) drives this same command line. Its cases are named as it names them, in
the versions that were read; the tests here were written anew, most ask for more. A name on the right that no test here
has is a failure, so that the table stays true.
"""

REFRESH, KEYS, DELEGATIONS, DOWNLOAD = "test_refresh.py", "test_keys.py", "test_delegations.py", "test_download.py"

ROOT_ROTATION = {
    "1-of-1-key-rotation": "one key becomes another",
    "1-of-1-key-rotation-unused-signatures": "strangers' signatures are ignored",
    "3-of-5-sign-with-different-keycombos": "any three of five",
    "3-of-5-one-key-rotated": "one of five is replaced",
    "3-of-5-one-key-rotated-with-intermediate-step": "one of five is replaced in two steps",
    "3-of-5-all-keys-rotated-with-intermediate-step": "all of five are replaced",
    "1-of-3-threshold-increase-to-2-of-3": "the threshold rises",
    "2-of-3-threshold-decrease-to-1-of-3": "the threshold falls",
    "1-of-2-threshold-increase-to-2-of-2": "a second key, and both are needed",
    "1-of-1-key-rotation-fail-not-signed-with-old-key": "the old key did not sign",
    "1-of-1-key-rotation-fail-not-signed-with-new-key": "the new key did not sign",
    "3-of-5-one-key-rotate-fails-not-signed-with-3-new-keys": "short of the new keys",
    "3-of-5-one-key-rotate-fails-not-signed-with-3-old-keys": "short of the old keys",
    "1-of-3-threshold-bump-to-2-of-3-fails-new-threshold-not-reached": "the risen threshold is not met",
    "2-of-3-threshold-decr-to-1-of-3-fails-old-threshold-not-eached": "the former threshold is not met",
}

OTHER_ROTATION = {
    "1-of-1-key-rotation": "new key",
    "1-of-1-key-rotation-unused-signatures": "strangers are ignored",
    "1-of-1-key-rotation-fail-not-signed-with-new-key": "not by its key",
    "3-of-5-one-key-signature-wrong-not-signed-with-3-expected-keys": "one of three by a former key",
    "2-of-5-one-key-signature-mising-threshold-not-reached": "one short",
    "3-of-5-sign-first-combo": "another three of five",
    "3-of-5-sign-second-combo": "the first three of five",
    "3-of-5-sign-third-combo": "the first three of five",
    "3-of-5-sign-fourth-combo": "the middle three of five",
    "3-of-5-sign-fifth-combo": "three of five",
}

GRAPHS = {
    "basic-delegation": "one",
    "single-level-delegations": "two",
    "two-level-delegations": "chain",
    "two-level-test-DFS-order-of-traversal": "depth before breadth",
    "three-level-delegation-test-DFS-order-of-traversal": "deeper before breadth",
    "two-level-terminating-ignores-all-but-roles-descendants": "terminating ends the search",
    "three-level-terminating-ignores-all-but-roles-descendants": "terminating keeps what is below",
    "two-level-ignores-all-branches-not-matching-paths": "other paths",
    "three-level-ignores-all-branches-not-matching-paths": "other paths below",
    "cyclic-graph": "cycle",
    "two-roles-delegating-to-a-third": "two ways to one role",
    "two-roles-delegating-to-a-third-different-paths": "one of two ways",
}

SEARCHES = {
    "no delegations": "plain-targets-",
    "targetpath matches wildcard": "README.md-A-A",
    "targetpath with separators x": "releases/x/v1-C-BC",
    "targetpath with separators y": "releases/y/v1.zip-D-BD",
    "targetpath is not delegated by all roles in the chain": "releases/z/v1.zip-D-None",
}

CASES = {
    "test_basic_refresh_requests": (REFRESH, "test_a_first_refresh_asks_for_each_role_once"),
    "test_basic_refresh_trusted_data": (REFRESH, "test_a_first_refresh_asks_for_each_role_once"),
    "test_implicit_refresh": (REFRESH, "test_downloading_refreshes_first"),
    "test_invalid_initial_root": (REFRESH, "test_an_initial_root_without_a_field_leads_nowhere[version]"),
    "test_unsigned_initial_root": (REFRESH, "test_an_initial_root_with_a_wrong_signature_leads_nowhere"),
    "test_timestamp_content_changes": (REFRESH, "test_the_same_timestamp_version_again_is_not_looked_at"),
    "test_basic_metadata_hash_support": (
        REFRESH, "test_hashes_and_lengths_in_snapshot_and_timestamp_are_checked"),
    "test_new_targets_version_mismatch": (REFRESH, "test_targets_that_no_snapshot_lists_are_not_asked_for"),
    "test_metadata_bytes_match": (REFRESH, "test_bytes_are_kept_as_they_came"),
    "test_custom_fields": (REFRESH, "test_unknown_fields_are_signed_and_kept"),
    "test_deprecated_keyid_hash_algorithms": (KEYS, "test_a_key_s_field_of_former_times_means_nothing"),
    "test_incorrect_metadata_type": (REFRESH, "test_a_snapshot_in_the_place_of_a_timestamp_is_refused"),
    "test_faketime": (REFRESH, "test_a_root_that_has_expired_since_is_refused"),
    "test_expired_metadata": (REFRESH, "test_what_is_kept_may_be_expired_when_there_is_newer"),
    "test_expired_local_root": (REFRESH, "test_a_kept_root_may_be_expired_when_there_is_newer"),
    "test_expired_local_timestamp": (REFRESH, "test_what_is_kept_may_be_expired_when_there_is_newer"),
    "test_delegated_targets_expired": (DELEGATIONS, "test_a_delegated_role_that_fails_ends_the_search[expired]"),
    "test_expired_local_delegated_targets": (DELEGATIONS, "test_a_kept_delegated_role_is_refused_once_expired"),
    "test_expired_local_delegated_targets_updates": (
        DELEGATIONS, "test_a_kept_delegated_role_is_refused_once_expired"),
    "test_client_downloads_expected_file": (DOWNLOAD, "test_a_file_is_downloaded_and_kept[file.txt-True]"),
    "test_client_downloads_expected_file_in_sub_dir": (
        DOWNLOAD, "test_a_file_is_downloaded_and_kept[path/to/a/file.txt-True]"),
    "test_artifact_cache": (DOWNLOAD, "test_of_several_files_those_that_are_there_are_not_asked_for_again"),
    "test_repository_substitutes_target_file": (
        DOWNLOAD, "test_a_file_that_is_not_what_was_signed_is_not_kept[other content]"),
    "test_multiple_changes_to_target": (DOWNLOAD, "test_many_changes_honest_and_not"),
    "test_download_with_hash_algorithms[hashes0]": (DOWNLOAD, "test_each_hash_that_is_listed_is_checked[hashes0]"),
    "test_download_with_hash_algorithms[hashes1]": (DOWNLOAD, "test_each_hash_that_is_listed_is_checked[hashes1]"),
    "test_download_with_hash_algorithms[hashes2]": (DOWNLOAD, "test_one_request_is_enough_whatever_the_hashes"),
    "test_download_with_unknown_hash_algorithm": (
        DOWNLOAD, "test_a_hash_of_an_unknown_kind_is_left_to_those_who_know_it"),
    "test_snapshot_does_not_meet_threshold": (KEYS, "test_a_signature_too_few_is_refused_after_a_good_version"),
    "test_snapshot_has_too_few_keys": (KEYS, "test_a_threshold_above_the_number_of_keys_is_never_met"),
    "test_duplicate_keys": (KEYS, "test_one_key_under_many_keyids_is_one_key[same]"),
    "test_duplicate_sig_keyids": (
        KEYS, "test_two_signatures_under_one_keyid_are_refused_though_the_threshold_is_met[snapshot]"),
    "test_invalid_sig_in_valid_metadata": (
        KEYS, "test_a_signature_that_says_nothing_does_not_spoil_a_met_threshold[of another version]"),
    "test_simple_snapshot_rollback": (REFRESH, "test_a_snapshot_that_no_timestamp_names_is_not_asked_for"),
    "test_new_timestamp_version_rollback": (REFRESH, "test_an_older_timestamp_is_refused[False]"),
    "test_snapshot_rollback[basic]": (
        REFRESH, "test_a_timestamp_that_points_at_an_older_snapshot_is_refused[False]"),
    "test_snapshot_rollback[with hashes]": (
        REFRESH, "test_a_timestamp_that_points_at_an_older_snapshot_is_refused[True]"),
    "test_new_targets_fast_forward_recovery": (
        REFRESH, "test_fast_forwarded_targets_are_recovered_from_by_rotating_the_snapshot_key"),
    "test_new_snapshot_fast_forward_recovery": (
        REFRESH, "test_a_fast_forward_is_recovered_from_by_rotating_keys[snapshot]"),
    "test_new_timestamp_fast_forward_recovery": (
        REFRESH, "test_a_fast_forward_is_recovered_from_by_rotating_keys[timestamp]"),
    "test_new_snapshot_version_mismatch": (
        REFRESH, "test_a_version_other_than_the_name_says_is_refused[snapshot-left1]"),
    "test_targets_rollback[basic]": (REFRESH, "test_a_snapshot_that_lists_older_targets_is_refused[False]"),
    "test_targets_rollback[with hashes]": (REFRESH, "test_a_snapshot_that_lists_older_targets_is_refused[True]"),
    "test_cached_role_is_verified_against_current_delegator": (
        DELEGATIONS, "test_a_role_of_two_delegators_needs_the_word_of_the_one_it_is_reached_by[keys-in one run]"),
}
for number, role in enumerate(("root", "timestamp", "snapshot", "targets")):
    CASES[f"test_unsigned_metadata[{role}]"] = (
        REFRESH, f"test_a_bad_role_stops_the_refresh_where_it_stands[unsigned-{role}-left{number}]")
    CASES[f"test_{role}_expired"] = (REFRESH, f"test_an_expired_role_is_refused_after_a_good_refresh[{role}]")
for number, role in enumerate(("root", "snapshot", "targets")):
    CASES[f"test_url_and_metadata_version_mismatch[{role}]"] = (
        REFRESH, f"test_a_version_other_than_the_name_says_is_refused[{role}-left{number}]")
for role in ("timestamp", "snapshot", "targets"):
    CASES[f"test_{role}_404"] = (REFRESH, f"test_a_missing_file_is_a_failure[{role}]")
for kind in ("rsa/rsassa-pss-sha256", "ecdsa/ecdsa-sha2-nistp256", "ed25519/ed25519"):
    CASES[f"test_keytype_and_scheme[{kind}]"] = (KEYS, f"test_each_kind_of_key[{kind.split('/')[0]}]")
for role in ("?", "#", "/delegatedrole", "../delegatedrole"):
    CASES[f"test_unusual_role_name[{role}]"] = (
        DELEGATIONS, f"test_odd_role_names_stay_one_segment_and_one_file[{role}]")
for theirs, ours in ROOT_ROTATION.items():
    CASES[f"test_root_rotation[{theirs}]"] = (KEYS, f"test_root_chain[{ours}]")
for theirs, ours in OTHER_ROTATION.items():
    CASES[f"test_non_root_rotations[{theirs}]"] = (KEYS, f"test_role_keys[targets-{ours}]")
for theirs, ours in GRAPHS.items():
    CASES[f"test_graph_traversal[{theirs}]"] = (DELEGATIONS, f"test_roles_are_visited_in_preorder[{ours}]")
for theirs, ours in SEARCHES.items():
    CASES[f"test_targetfile_search[{theirs}]"] = (DELEGATIONS, f"test_a_file_is_found_where_it_is_delegated[{ours}]")

# `test_static_repository` reads two repositories that others have published; what they are made of (ECDSA keys with
# fields of their maker's, delegations, consistent snapshots) has tests above.


def test_each_case_of_the_public_suite_has_its_test_here(request):
    named = {case: "::".join(ours) for case, ours in CASES.items()}
    missing = {case: ours for case, ours in named.items() if ours not in request.config.collected_tests}
    assert not missing
