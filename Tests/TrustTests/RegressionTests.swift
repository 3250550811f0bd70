import Base
import Model
import Testing

@testable import Trust

/// Faults that other clients have had, by their names.
@Suite struct RegressionTests {
    private func role(_ signers: [any Signer], threshold: Int64) -> RoleKeys {
        RoleKeys(
            keyIDs: signers.map(\.keyID), threshold: threshold,
            keys: Dictionary(uniqueKeysWithValues: signers.map { ($0.keyID, $0.publicKey) }))
    }

    @Test("CVE-2026-23992: a threshold of zero or less verifies nothing", arguments: [0, -1, Int64.min])
    func thresholdBelowOne(_ threshold: Int64) async throws {
        let keys = role([try signer(1)], threshold: threshold)
        #expect(await code { try keys.verify([], over: [1], element: "x") } == "trust.threshold-invalid")
        let lab = try LabRepository(Scratch())
        var draft = try #require(try lab.repository.published("root"))
        var roles = try #require(draft.signed["roles"]?.object)
        roles["targets"] = ["keyids": [.string(lab.signers[1].keyID)], "threshold": .integer(threshold)]
        draft.signed["roles"] = .object(roles)
        let bytes = try draft.bytes("root")
        #expect(await code { _ = try RootMetadata(parsing: bytes, limits: .standard) } == "trust.threshold-invalid")
    }

    @Test("CVE-2020-15093: one key's signature repeated is one signature")
    func duplicateSignatures() async throws {
        let key = try signer(1)
        let message: [UInt8] = [1, 2, 3]
        let good = Signature(keyID: key.keyID, bytes: try key.sign(message))
        let keys = role([key, try signer(2)], threshold: 2)
        #expect(await code { try keys.verify([good, good], over: message, element: "x") } == "trust.signature-duplicate")
        // One key under two keyids.
        let alias = RoleKeys(
            keyIDs: ["a", "b"], threshold: 2, keys: ["a": key.publicKey, "b": key.publicKey])
        let twice = [Signature(keyID: "a", bytes: good.bytes), Signature(keyID: "b", bytes: good.bytes)]
        #expect(await code { try alias.verify(twice, over: message, element: "x") } == "trust.threshold-not-met")
        // A keyid listed twice.
        let repeated = RoleKeys(keyIDs: ["a", "a"], threshold: 1, keys: ["a": key.publicKey])
        #expect(await code { try repeated.verify([twice[0]], over: message, element: "x") } == "trust.keyid-duplicate")
    }

    /// Names that Swift takes for equal are two keys, two roles and two files.
    @Test func namesAreToldApartByTheirBytes() async throws {
        let (one, two) = ("\u{E9}", "e\u{301}")
        let (first, second) = (try signer(1), try signer(2))
        let keys = RoleKeys(
            keyIDs: [one, two], threshold: 2, keys: ExactMap([(one, first.publicKey), (two, second.publicKey)]))
        let signatures = [
            Signature(keyID: one, bytes: try first.sign([1])), Signature(keyID: two, bytes: try second.sign([1])),
        ]
        try keys.verify(signatures, over: [1], element: "x")
        let swapped = [Signature(keyID: two, bytes: signatures[0].bytes), Signature(keyID: one, bytes: signatures[1].bytes)]
        #expect(await code { try keys.verify(swapped, over: [1], element: "x") } == "trust.threshold-not-met")

        var draft = MetadataDraft(
            type: "snapshot",
            fields: ["meta": .object(JSONObject([(one + ".json", JSONValue.object(["version": 7])), (two + ".json", .object(["version": 3]))]))])
        draft.renew(version: 1, now: testNow, days: 1)
        let snapshot = try SnapshotMetadata(parsing: draft.bytes("snapshot"), limits: .standard)
        #expect(try snapshot.entry(of: one).version == 7)
        #expect(try snapshot.entry(of: two).version == 3)

        let target: JSONValue = ["length": 1, "hashes": ["sha256": .string(String(repeating: "0", count: 64))]]
        draft = MetadataDraft(type: "targets", fields: ["targets": .object([one: target])])
        draft.renew(version: 1, now: testNow, days: 1)
        let targets = try TargetsMetadata(parsing: draft.bytes("targets"), role: "targets", limits: .standard)
        #expect(try targets.target(one) != nil)
        #expect(try targets.target(two) == nil)
        #expect(!PathPattern(one).matches(PathPattern.split(two)))
    }

    @Test("CVE-2024-47534: delegations keep the order of the delegator")
    func delegationOrder() throws {
        let names = (0..<50).map { "role-\(($0 * 37) % 50)" }
        let key = try signer(1).publicKey
        let roles = names.map { name -> JSONValue in
            ["name": .string(name), "keyids": [.string(key.keyID)], "threshold": 1, "paths": ["*"], "terminating": false]
        }
        var draft = MetadataDraft(type: "targets", fields: ["targets": [:]])
        draft.renew(version: 1, now: testNow, days: 1)
        draft.signed["delegations"] = ["keys": .object([key.keyID: key.json]), "roles": .array(roles)]
        let metadata = try TargetsMetadata(parsing: draft.bytes("targets"), role: "targets", limits: .standard)
        #expect(metadata.delegations(for: TargetPath("x")).map(\.role) == names)
    }

    @Test("CVE-2021-41131: a role's name never becomes a path", arguments: ["../../etc/passwd", "/abs", "a/b", "..", "%2e%2e/"])
    func roleNameTraversal(_ name: String) throws {
        let encoded = MetadataName.encoded(name)
        #expect(!encoded.contains("/"))
        #expect(MetadataName.decoded(encoded) == name)
        #expect(Path.isPlainRelative("1." + encoded + ".json"))
    }

    @Test("GHSA-qp9x-wp8f-qgjj: patterns are case-sensitive")
    func patternCase() {
        let segments = PathPattern.split("Foo/bar.zip")
        #expect(PathPattern("Foo/*.zip").matches(segments))
        #expect(!PathPattern("foo/*.zip").matches(segments))
        #expect(!PathPattern("Foo/*.ZIP").matches(segments))
    }

    @Test("CVE-2022-29173: a missing version is no version, not zero", arguments: ["version", "spec_version", "expires"])
    func missingFieldsHaveNoDefault(_ field: String) async throws {
        let lab = try LabRepository(Scratch())
        for name in ["root", "timestamp", "snapshot", "targets"] {
            var draft = try #require(try lab.repository.published(name))
            draft.signed[field] = nil
            let bytes = try draft.bytes(name)
            let refusal = await code {
                switch name {
                case "root": _ = try RootMetadata(parsing: bytes, limits: .standard)
                case "timestamp": _ = try TimestampMetadata(parsing: bytes, limits: .standard)
                case "snapshot": _ = try SnapshotMetadata(parsing: bytes, limits: .standard)
                default: _ = try TargetsMetadata(parsing: bytes, role: name, limits: .standard)
                }
            }
            #expect(refusal == (field == "spec_version" ? "trust.spec-version" : "trust.metadata-malformed"))
        }
    }

    /// A repository with one release, and what a device knows that has adopted it.
    private func adopted() async throws -> (LabRepository, TrustState) {
        let lab = try LabRepository(Scratch())
        try lab.add()
        let state = try TrustState.provision(releaseRoot: lab.repository.rootBytes(), buildTime: testNow)
        let first = try await verifier().verify(
            from: TrustSources(release: lab.fetcher(), isSideload: false), load: lab.loader(), state: state) { _ in }
        return (lab, first.newState)
    }

    @Test("A timestamp that points to an older snapshot is refused, and the kept one stays")
    func timestampToAnOlderSnapshot() async throws {
        let (lab, known) = try await adopted()
        var stage = try Stage(lab)
        try stage.forge("timestamp.json", signers: [stage.timestamp]) {
            $0.signed["version"] = 99
            $0.signed["meta"] = ["snapshot.json": ["version": 1]]
        }
        let served = stage.served
        let kept = Persisted()
        #expect(
            await code {
                _ = try await verifier().verify(
                    from: TrustSources(release: StageFetcher(served: served), isSideload: false),
                    load: lab.loader(), state: known
                ) { state in await kept.add(state) }
            } == "trust.rollback")
        #expect(await kept.states.allSatisfy { $0.release.timestamp == known.release.timestamp })
    }

    @Test("A kept timestamp is compared with even when it has expired")
    func rollbackAgainstAnExpiredTimestamp() async throws {
        let (lab, known) = try await adopted()
        var stage = try Stage(lab)
        try stage.forge("timestamp.json", signers: [stage.timestamp]) {
            $0.signed["version"] = 1
            $0.signed["expires"] = "2099-01-01T00:00:00Z"
        }
        let late = ClockReading(now: testNow + 20 * secondsPerDay, isTrusted: true)
        let served = stage.served
        #expect(
            await code {
                _ = try await verifier(late).verify(
                    from: TrustSources(release: StageFetcher(served: served), isSideload: false),
                    load: lab.loader(), state: known) { _ in }
            } == "trust.rollback")
    }

    @Test("Unknown schemes, wrong keytypes and malformed keys are errors of their own")
    func keyErrors() async throws {
        let good = try signer(1)
        let cases: [(PublicKey, String)] = [
            (PublicKey(keyType: "ed25519", scheme: "rot13", value: good.publicKey.value), "trust.scheme-unknown"),
            (PublicKey(keyType: "rsa", scheme: "ed25519", value: good.publicKey.value), "trust.keytype-mismatch"),
            (PublicKey(keyType: "ed25519", scheme: "ed25519", value: "00ff"), "trust.key-malformed"),
            (PublicKey(keyType: "ecdsa", scheme: "ecdsa-sha2-nistp256", value: "no PEM"), "trust.key-malformed"),
        ]
        for (key, expected) in cases {
            let keys = RoleKeys(keyIDs: ["k"], threshold: 1, keys: ["k": key])
            let signature = Signature(keyID: "k", bytes: try good.sign([1]))
            #expect(await code { try keys.verify([signature], over: [1], element: "x") } == expected)
            // It does no harm beside a good key.
            let both = RoleKeys(keyIDs: ["k", good.keyID], threshold: 1, keys: ["k": key, good.keyID: good.publicKey])
            try both.verify([signature, Signature(keyID: good.keyID, bytes: try good.sign([1]))], over: [1], element: "x")
        }
    }
}
