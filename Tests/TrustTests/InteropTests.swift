import Base
import Glibc
import Model
import TestSupport
import Testing

@testable import Trust

/// python-tuf and securesystemslib on the other side.
enum Python {
    static let folder = Path.join(Path.parent(Path.parent(#filePath)), "Conformance")

    static var interpreter: String {
        let venv = getenv("HOLDFAST_VENV").map { String(cString: $0) }
        return Path.join(venv ?? Path.join(Path.parent(Path.parent(folder)), ".build/python"), "bin/python")
    }

    /// Makes the virtual environment; false when PyPI cannot be reached.
    static func isReady() async throws -> Bool {
        try await Command.run([Path.join(folder, "venv")], limit: .seconds(300)).status == 0
    }

    @discardableResult
    static func interop(_ arguments: String...) async throws -> String {
        try await Command.succeed(
            [interpreter, "-B", Path.join(folder, "interop.py")] + arguments, limit: .seconds(120))
    }
}

@Suite(
    .serialized, .enabled("SKIPPED: python-tuf cannot be installed from PyPI") { try await Python.isReady() })
struct InteropTests {
    @Test func pythonTUFRefreshesAndDownloadsFromWhatWeWrite() async throws {
        let scratch = try Scratch()
        let lab = try LabRepository(scratch, now: SystemClock.live.now())
        let repository = Repository(path: lab.repository.path)
        let firstRoot = Path.join(repository.metadataDirectory, "1.root.json")
        try repository.add(path: "notes/a.txt", content: Array("hello".utf8), signers: lab.signers)
        let (target, bytes) = try releaseFixture()
        try repository.add(target, document: bytes, signers: lab.signers)
        let team = try signer(70)
        try repository.delegate(
            to: "team", plan: RolePlan(keys: [team.publicKey], threshold: 1, days: 30), paths: ["team/*"],
            signers: lab.signers + [team])
        try repository.add(
            path: "team/b.txt", content: Array("world".utf8), role: "team", signers: lab.signers + [team])
        var signers = lab.signers + [team]
        for (number, role) in ["root", "targets", FreshnessTicket.role, "timestamp", "snapshot", "root"].enumerated() {
            let fresh = try signer(UInt8(120 + number))
            signers.append(fresh)
            try repository.rotate(
                role, plan: RolePlan(keys: [fresh.publicKey], threshold: 1, days: 30), signers: signers)
        }
        let output = try await Python.interop("refresh", repository.path, firstRoot, "notes/a.txt", "team/b.txt", target.path)
        #expect(output == "notes/a.txt 5\nteam/b.txt 5\n\(target.path) \(target.length)\n")
    }

    @Test func pythonTUFFindsWhatWeSpreadOverHashBins() async throws {
        let lab = try LabRepository(Scratch(), now: SystemClock.live.now())
        let repository = Repository(path: lab.repository.path)
        let firstRoot = Path.join(repository.metadataDirectory, "1.root.json")
        let bins = try signer(70)
        let signers = lab.signers + [bins]
        try repository.add(path: "before.txt", content: Array("before".utf8), signers: signers)
        try repository.delegateToBins(
            prefix: "bin", bits: 5, plan: RolePlan(keys: [bins.publicKey], threshold: 1, days: 30), signers: signers)
        let (target, bytes) = try releaseFixture()
        try repository.add(target, document: bytes, signers: signers)
        try repository.add(path: "a b/\u{E9}.txt", content: Array("after".utf8), signers: signers)
        let output = try await Python.interop(
            "refresh", repository.path, firstRoot, "before.txt", target.path, "a b/\u{E9}.txt")
        #expect(output == "before.txt 6\n\(target.path) \(target.length)\na b/\u{E9}.txt 5\n")
    }

    @Test func weRefreshAndFindInWhatPythonTUFWrites() async throws {
        let scratch = try Scratch()
        let folder = scratch.sub("python")
        try FileSystem().makeDirectories(folder, op: "test")
        try await Python.interop("make", folder)
        let metadata = Path.join(folder, "metadata")
        let root = try FileSystem().read(Path.join(metadata, "1.root.json"), limit: 1 << 20)
        var client = try UpdateClient(
            trusted: TrustedMetadata(root: root), fetcher: DirectoryFetcher(metadata), now: SystemClock.live.now()
        ) { _, _ in }
        try await client.refresh()
        #expect(try await client.find("top.txt")?.length == 3)
        #expect(try await client.find("team/inner.txt")?.length == 5)
        #expect(try await client.find("other") == nil)
        #expect(try RootMetadata(parsing: client.trusted.root, limits: .standard).document.version == 6)
    }

    @Test func securesystemslibVerifiesOurEnvelopes() async throws {
        let scratch = try Scratch()
        var envelope = DSSEEnvelope(payloadType: "application/vnd.test+json", payload: Array(#"{"from":"holdfast"}"#.utf8))
        let signers = [try signer(1), try signer(2)]
        for signer in signers { try envelope.sign(with: signer) }
        let file = scratch.sub("envelope.json")
        try FileSystem().replace(file, with: envelope.bytes, op: "test")
        let keys = signers.map { "\($0.keyID):ed25519:ed25519:\($0.publicKey.value)" }
        #expect(try await Python.interop("dsse-verify", file, keys[0], keys[1]) == #"{"from":"holdfast"}"#)
    }

    @Test func weVerifySecuresystemslibsEnvelopes() async throws {
        let scratch = try Scratch()
        let file = scratch.sub("envelope.json")
        try await Python.interop("dsse-make", file)
        let bytes = try FileSystem().read(file, limit: 1 << 20)
        let key = String(decoding: try FileSystem().read(file + ".key", limit: 1 << 10), as: UTF8.self)
        let parts = key.split(separator: " ").map(String.init)
        let keys = RoleKeys(
            keyIDs: [parts[0]], threshold: 1,
            keys: [parts[0]: PublicKey(keyType: "ed25519", scheme: "ed25519", value: parts[1])])
        let envelope = try DSSEEnvelope(parsing: bytes)
        #expect(try envelope.verified(type: "application/vnd.test+json", by: keys) == Array(#"{"from":"securesystemslib"}"#.utf8))
        #expect(await code { _ = try envelope.verified(type: "other", by: keys) } == "trust.wrong-type")
    }
}

/// SoftHSM as Debian ships it.
enum Token {
    static let module = "/usr/lib/softhsm/libsofthsm2.so"
    static var isInstalled: Bool {
        access(module, R_OK) == 0 && access("/usr/bin/pkcs11-tool", X_OK) == 0
            && access("/usr/bin/softhsm2-util", X_OK) == 0
    }
}

@Suite(.serialized, .enabled(if: Token.isInstalled, "SKIPPED: apt-get install softhsm2 opensc"))
struct TokenTests {
    @Test func rootAndTargetsKeysSignInAToken() async throws {
        let scratch = try Scratch()
        let configuration = scratch.sub("softhsm2.conf")
        try FileSystem().makeDirectories(scratch.sub("tokens"), op: "test")
        try FileSystem().replace(
            configuration, with: Array("directories.tokendir = \(scratch.sub("tokens"))\nobjectstore.backend = file\n".utf8),
            op: "test")
        // The module reads this when it is loaded into this process.
        setenv("SOFTHSM2_CONF", configuration, 1)
        let environment = ["SOFTHSM2_CONF": configuration]
        try await Command.succeed(
            ["/usr/bin/softhsm2-util", "--init-token", "--free", "--label", "holdfast", "--pin", "1234", "--so-pin", "5678"],
            environment: environment)
        for (label, type) in [("root", "EC:prime256v1"), ("targets", "rsa:2048")] {
            try await Command.succeed(
                ["/usr/bin/pkcs11-tool", "--module", Token.module, "--login", "--pin", "1234", "--keypairgen",
                 "--key-type", type, "--label", label], environment: environment)
        }
        let store = KeyStore(directory: scratch.sub("keys"))
        for label in ["root", "targets"] {
            let reference = TokenReference(module: Token.module, tokenLabel: "holdfast", keyLabel: label)
            let entry = try store.add(label, token: reference, publicKey: reference.publicKey())
            #expect(entry.protection == .token)
        }
        let pin = Passphrase { _ in Array("1234".utf8) }
        let root = try store.signer("root", passphrase: pin)
        let targets = try store.signer("targets", passphrase: pin)
        #expect(root.publicKey.scheme == "ecdsa-sha2-nistp256")
        #expect(targets.publicKey.scheme == "rsassa-pss-sha256")

        let online = try signer(1)
        let signers: [any Signer] = [root, targets, online]
        let repository = try Repository.initialize(
            path: scratch.sub("repo"),
            plan: .lab(
                root: root.publicKey, targets: targets.publicKey, snapshot: online.publicKey,
                timestamp: online.publicKey), signers: signers, clock: fixedClock())
        let (target, bytes) = try releaseFixture()
        let report = try repository.add(target, document: bytes, signers: signers)
        #expect(report.pending.isEmpty)
        let state = try TrustState.provision(releaseRoot: repository.rootBytes(), buildTime: testNow)
        let verified = try await verifier().verify(
            from: TrustSources(release: DirectoryFetcher(repository.metadataDirectory), isSideload: false),
            load: { _, _, _ in bytes }, state: state) { _ in }
        #expect(verified.value.app == "web")

        let wrong = try store.signer("root", passphrase: Passphrase { _ in Array("0000".utf8) })
        #expect(await code { _ = try wrong.sign([1]) } == "trust.key-locked")
        let missing = TokenReference(module: Token.module, tokenLabel: "no such token", keyLabel: "root")
        #expect(await code { _ = try missing.publicKey() } == "trust.token")
    }
}
