import Base
import Glibc
import Model
import OCI
import TestSupport
import Testing

/// The built binary, as an operator runs it.
@Suite(.serialized) struct CommandTests {
    @Test func aReleaseGoesFromComposeFileToVerifiedBundle() async throws {
        let bench = try Bench()
        try await bench.prepare()
        let built = try await bench.build("1.0.0")
        #expect(built["ctr"]?.integer == 1)
        #expect(built["signing"]?["pending"]?.array?.isEmpty == true)
        #expect(built["architectures"] == ["amd64"])

        try bench.makeImage("web", layers: ["base layer", "web 2"])
        try bench.write("compose.yaml", Bench.compose.replacing("8080:80", with: "8081:80"))
        let second = try await bench.build("1.1.0")
        #expect(second["ctr"]?.integer == 2)

        let list = try await bench.json("release list --repo @repo")
        #expect(list.array?.map { $0["version"]?.string } == ["1.0.0", "1.1.0"])
        #expect(list.array?.allSatisfy { $0["signed"]?.bool == true } == true)

        let shown = try await bench.json("release show shop/1.0.0 --repo @repo")
        #expect(shown["release"]?["services"]?["web"]?["command"] == ["serve", "--port", "80"])
        #expect(shown["release"]?["services"]?["web"]?["environment"]?["NAME"] == "nobody")

        let difference = try await bench.json("release diff shop/1.0.0 shop/1.1.0 --repo @repo")
        let paths = try #require(difference["changes"]?.array).compactMap { $0["path"]?.string }
        #expect(paths == ["ctr", "services.web.image", "services.web.ports[0].published", "version"])
        // A new layer, config and manifest of web; the base layer and the whole worker stay.
        #expect(difference["added"]?["count"]?.integer == 3)

        for destination in ["stick", "stick.tar"] {
            let exported = try await bench.json("bundle export @repo --release shop/1.1.0 -o @\(destination)")
            #expect(exported["blobs"]?.integer == 8)
            let inspected = try await bench.json("bundle inspect @\(destination)")
            #expect(inspected["releases"]?.array?.count == 1)
            let verified = try await bench.json(
                "bundle verify @\(destination) --root @repo/metadata/1.root.json")
            #expect(verified["intact"]?.bool == true)
            #expect(verified["trusted"]?.bool == true)
        }
        let lint = try await bench.run("repo lint @repo")
        #expect(lint.status == 0, "\(lint.output)")
    }

    @Test(.enabled(if: Tool.isInstalled("skopeo"), "skopeo is not installed: tools/setup"))
    func skopeoReadsABundle() async throws {
        let bench = try Bench()
        try await bench.prepare()
        _ = try await bench.build("1.0.0")
        try await bench.succeed("bundle export @repo --release shop/1.0.0 -o @stick")
        let text = try await Command.succeed(["skopeo", "inspect", "oci:\(bench.path("stick")):web"])
        let inspected = try JSONValue(parsing: Array(text.utf8))
        #expect(inspected["Architecture"]?.string == "amd64")
        #expect(inspected["Layers"]?.array?.count == 2)
        try await Command.succeed([
            "skopeo", "copy", "oci:\(bench.path("stick")):worker", "oci:\(bench.path("copy")):worker",
        ])
    }

    @Test func theSameInputMakesTheSameReleaseAndAVersionNeverChanges() async throws {
        let first = try Bench()
        let second = try Bench()
        try await first.prepare()
        try await second.prepare()
        let one = try await first.build("1.0.0")
        #expect(try await second.build("1.0.0")["digest"] == one["digest"])
        let again = try await first.build("1.0.0")
        #expect(again["digest"] == one["digest"])
        #expect(again["wasThere"]?.bool == true)
        try first.write("compose.yaml", Bench.compose.replacing("8080", with: "9090"))
        let changed = try await first.run(
            "release build @compose.yaml --app shop --version 1.0.0 --repo @repo \(Bench.images)")
        #expect(changed.status == Base.ExitStatus.cannotCreate.rawValue)
        #expect(changed.errorOutput.contains("[operator.version-exists]"))
    }

    /// Three people, each with a machine and keys of their own; the folder is carried.
    @Test func twoOfThreeKeyHoldersSignACarriedFolder() async throws {
        let bench = try Bench()
        try bench.write("compose.yaml", Bench.compose)
        try bench.makeImage("web", layers: ["base", "web"])
        try bench.makeImage("worker", layers: ["base", "worker"])
        try bench.write("pass", "correct horse\n")
        for name in ["alice", "bob", "carol"] {
            try await bench.succeed("keys generate \(name) --passphrase-file @pass", keys: "keys-\(name)")
            let shown = try await bench.succeed("keys show \(name) --output json", keys: "keys-\(name)")
            try bench.write("\(name).json", shown)
            #expect(!shown.contains("private"))
        }
        try await bench.succeed("keys generate online --plain", keys: "keys-alice")
        let made = try await bench.json(
            "repo init @repo --root-key alice --root-key @bob.json --root-key @carol.json --root-threshold 2 "
                + "--targets-key alice --targets-key @bob.json --targets-key @carol.json --targets-threshold 2 "
                + "--snapshot-key online --timestamp-key online --passphrase-file @pass", keys: "keys-alice")
        #expect(made["pending"]?.array?.contains { $0["role"]?.string == "root" } == true)

        // To bob's machine and back.
        try await Command.succeed(["cp", "-a", bench.path("repo"), bench.path("bob-copy")])
        try await bench.succeed("repo sign @bob-copy --passphrase-file @pass", keys: "keys-bob")
        try await Command.succeed(["rm", "-r", bench.path("repo")])
        try await Command.succeed(["cp", "-a", bench.path("bob-copy"), bench.path("repo")])
        try await bench.succeed("repo sign @repo --passphrase-file @pass", keys: "keys-alice")
        #expect(try await bench.json("repo status @repo")["pending"]?.array?.isEmpty == true)

        let built = try await bench.json(
            "release build @compose.yaml --app shop --version 1.0.0 --repo @repo \(Bench.images) --passphrase-file @pass",
            keys: "keys-alice")
        #expect(built["signing"]?["pending"]?.array?.first?["have"]?.integer == 1)
        let early = try await bench.run("bundle export @repo --release shop/1.0.0 -o @stick")
        #expect(early.status == Base.ExitStatus.notTrusted.rawValue)
        #expect(early.errorOutput.contains("[operator.not-signed]"))
        #expect(try bench.fileSystem.status(bench.path("stick")) == nil)
        let stranger = try await bench.run("repo sign @repo", keys: "keys-nobody")
        #expect(stranger.status == Base.ExitStatus.notTrusted.rawValue)
        #expect(stranger.errorOutput.contains("[operator.no-key]"))

        try await bench.succeed("repo sign @repo --passphrase-file @pass", keys: "keys-carol")
        try await bench.succeed("repo sign @repo --passphrase-file @pass", keys: "keys-alice")
        try await bench.succeed("bundle export @repo --release shop/1.0.0 -o @stick")
        let verified = try await bench.json("bundle verify @stick --root @repo/metadata/1.root.json")
        #expect(verified["trusted"]?.bool == true)
    }

    @Test func damageAndForeignRootsAreFound() async throws {
        let bench = try Bench()
        try await bench.prepare()
        _ = try await bench.build("1.0.0")
        try await bench.succeed("bundle export @repo --release shop/1.0.0 -o @stick")
        try await bench.succeed("repo init @other --lab", keys: "other-keys")
        let foreign = try await bench.run("bundle verify @stick --root @other/metadata/1.root.json")
        #expect(foreign.status == Base.ExitStatus.notTrusted.rawValue)
        #expect(foreign.output.contains("not trusted"))

        let folder = bench.path("stick/blobs/sha256")
        let victim = try #require(try bench.fileSystem.list(folder).first)
        let bytes = try bench.fileSystem.read(Path.join(folder, victim), limit: 1 << 20)
        try bench.fileSystem.replace(Path.join(folder, victim), with: bytes.map { $0 ^ 1 }, op: "test")
        let damaged = try await bench.run("bundle verify @stick --output json")
        #expect(damaged.status == Base.ExitStatus.dataError.rawValue)
        #expect(try JSONValue(parsing: Array(damaged.output.utf8))["intact"]?.bool == false)
    }

    @Test func rolesRotateAndDelegate() async throws {
        let bench = try Bench()
        try await bench.prepare()
        try await bench.succeed("keys generate online-2 team --plain")
        try await bench.succeed("repo rotate @repo timestamp --new-key online-2")
        try await bench.succeed("repo delegate @repo shop-team --new-key team --path shop/*")
        try await bench.succeed("repo refresh @repo")
        _ = try await bench.build("1.0.0", "--role shop-team")
        #expect(try await bench.json("repo status @repo")["pending"]?.array?.isEmpty == true)
        try await bench.succeed("bundle export @repo --release shop/1.0.0 -o @stick")
        let verified = try await bench.json("bundle verify @stick --root @repo/metadata/1.root.json")
        #expect(verified["trusted"]?.bool == true)
        try await bench.succeed(
            "ticket --repo @repo --device pump-7 --nonce 00112233445566778899aabbccddeeff -o @ticket.json")
        let ticket = try JSONValue(parsing: try bench.fileSystem.read(bench.path("ticket.json"), limit: 1 << 16))
        #expect(ticket["payloadType"]?.string == "application/vnd.holdfast.freshness-ticket+json")
        #expect(ticket["signatures"]?.array?.count == 1)
        let wrong = try await bench.run(
            "ticket --repo @repo --device pump-7 --nonce 00112233445566778899aabbccddeeff -o @t --key team")
        #expect(wrong.status == Base.ExitStatus.notTrusted.rawValue)
        #expect(try bench.fileSystem.status(bench.path("t")) == nil)
        // A root that names who vouches for freshness takes it from the timestamp role.
        try await bench.succeed("repo rotate @repo x-holdfast-freshness --new-key team")
        try await bench.succeed(
            "ticket --repo @repo --device pump-7 --nonce 00112233445566778899aabbccddeeff -o @t --key team")
    }

    @Test func aMajorityMustSignWhereNoThresholdIsNamed() async throws {
        let bench = try Bench()
        try await bench.prepare()
        try await bench.succeed("keys generate a b c --plain")
        try await bench.succeed("repo rotate @repo targets --new-key a --new-key b --new-key c")
        try await bench.succeed("repo delegate @repo team --new-key a --new-key b --path shop/*")
        let roles = try #require(try await bench.json("repo status @repo")["roles"]?.array)
        let thresholds = roles.filter { ["targets", "team"].contains($0["name"]?.string) }.map { $0["threshold"]?.integer }
        #expect(thresholds == [2, 2])
        let lab = try await bench.run("repo init @other --lab --root-days 0")
        #expect(lab.status == Base.ExitStatus.dataError.rawValue)
    }

    /// What is there after a build that failed half-way: no listing, no document, nothing to clear up by hand.
    @Test func aFailedBuildLeavesNothingVisible() async throws {
        let bench = try Bench()
        try await bench.prepare()
        let layout = bench.path("worker/blobs/sha256")
        // The last layer to be read is cut short.
        for name in try bench.fileSystem.list(layout) {
            let file = Path.join(layout, name)
            let bytes = try bench.fileSystem.read(file, limit: 1 << 20)
            if String(decoding: bytes, as: UTF8.self).contains("worker") {
                try bench.fileSystem.replace(file, with: Array(bytes.dropLast(512)), op: "test")
            }
        }
        let failed = try await bench.run(
            "release build @compose.yaml --app shop --version 1.0.0 --repo @repo \(Bench.images)")
        #expect(failed.status == Base.ExitStatus.dataError.rawValue, "\(failed.errorOutput)")
        #expect(try await bench.json("release list --repo @repo") == [])
        #expect(try bench.fileSystem.status(bench.path("repo/targets/shop")) == nil)
        try bench.makeImage("worker", layers: ["base layer", "worker"])
        _ = try await bench.build("1.0.0")
    }

    // MARK: Errors

    struct Mistake: CustomTestStringConvertible, Sendable {
        var line: String
        var status: Base.ExitStatus
        var code: String
        init(_ line: String, _ status: Base.ExitStatus, _ code: String) {
            self.line = line
            self.status = status
            self.code = code
        }
        var testDescription: String { line }
    }

    static let build = "release build @compose.yaml --app shop --repo @repo"
    static let mistakes: [Mistake] = [
        Mistake("nonsense", .usage, "cli.usage"), Mistake("repo init", .usage, "cli.usage"),
        Mistake("repo init @new", .usage, "cli.usage"), Mistake("keys show nobody", .noInput, "trust.key-not-found"),
        Mistake("repo init @repo --lab", .cannotCreate, "trust.repository-exists"),
        Mistake("repo status @nowhere", .noInput, "operator.no-repository"),
        Mistake("release list --repo @nowhere", .noInput, "operator.no-repository"),
        Mistake("release show shop --repo @repo", .usage, "operator.release-name"),
        Mistake("release show shop/9.9.9 --repo @repo", .noInput, "operator.release-not-found"),
        Mistake("\(build) --version one \(Bench.images)", .usage, "operator.release-name"),
        Mistake("\(build) --version 2.0.0", .usage, "operator.image-source"),
        Mistake("\(build) --version 2.0.0 --image web=oci:@web", .usage, "operator.image-source"),
        Mistake("\(build) --version 2.0.0 \(Bench.images) --image wbe=oci:@web", .usage, "operator.image-source"),
        Mistake("\(build) --version 2.0.0 --image web=tarball:x --image worker=oci:@worker", .usage, "oci.reference"),
        Mistake(
            "\(build) --version 2.0.0 --image web=oci:@nowhere --image worker=oci:@worker", .noInput, "file.not-found"),
        Mistake(
            "\(build) --version 2.0.0 --image web=docker:x/y --image worker=oci:@worker", .unavailable,
            "engine.unreachable"),
        Mistake("\(build) --version 2.0.0 \(Bench.images) --ctr -4", .usage, "cli.usage"),
        Mistake("\(build) --version 2.0.0 \(Bench.images) --label x", .usage, "operator.value"),
        Mistake("\(build) --version 2.0.0 \(Bench.images) --arch arm64", .dataError, "oci.platform"),
        Mistake("release build @missing.yaml --app shop --repo @repo --version 2.0.0", .noInput, "compose.file"),
        Mistake(
            "release build @broken.yaml --app shop --repo @repo --version 2.0.0", .dataError, "compose.unknown-field"),
        Mistake("bundle inspect @nowhere", .noInput, "file.not-found"),
        Mistake("bundle verify @compose.yaml", .dataError, "archive."),
        Mistake("bundle export @repo --release shop/9.9.9 -o @out", .noInput, "operator.release-not-found"),
        Mistake("ticket --repo @repo --device d --nonce xyz -o @t", .usage, "operator.value"),
    ]

    @Test func everyMistakeHasItsStatusCodeAndJSONForm() async throws {
        let bench = try Bench()
        try await bench.prepare()
        try bench.write("broken.yaml", "services: {web: {image: x, prots: []}}")
        for mistake in Self.mistakes {
            let text = try await bench.run(mistake.line)
            #expect(text.status == mistake.status.rawValue, "\(mistake.line): \(text.errorOutput)")
            #expect(text.output.isEmpty, "\(mistake.line)")
            #expect(text.errorOutput.contains("[\(mistake.code)"), "\(mistake.line): \(text.errorOutput)")
            let json = try await bench.run(mistake.line + " --output json")
            #expect(json.status == mistake.status.rawValue, "\(mistake.line): \(json.errorOutput)")
            #expect(json.output.isEmpty)
            let last = try #require(json.errorOutput.split(separator: "\n").last)
            let error = try JSONValue(parsing: Array(last.utf8))["error"]
            #expect(error?["code"]?.string?.hasPrefix(mistake.code) == true, "\(mistake.line): \(last)")
            #expect(error?["exitStatus"]?.integer == Int64(mistake.status.rawValue))
        }
    }

    @Test func lockedKeysNeedTheirPassphrase() async throws {
        let bench = try Bench()
        try await bench.prepare()
        try bench.write("pass", "right\n")
        try bench.write("wrong", "wrong\n")
        try await bench.succeed("keys generate boss --passphrase-file @pass")
        let line = "repo rotate @repo timestamp --new-key boss"
        #expect(try await bench.run("\(line) --passphrase-file @wrong").status == Base.ExitStatus.noPermission.rawValue)
        #expect(try await bench.run("\(line) --passphrase-file @missing").status == Base.ExitStatus.noInput.rawValue)
        try await bench.succeed("\(line) --passphrase-file @pass")
    }

    // MARK: Output

    @Test func everyCommandHelpsWithAnExample() async throws {
        let bench = try Bench()
        for line in [
            "", "keys", "keys generate", "keys add-token", "keys list", "keys show", "repo", "repo init", "repo sign",
            "repo status", "repo lint", "repo refresh", "repo rotate", "repo delegate", "release", "release build",
            "release list", "release show", "release diff", "bundle", "bundle export", "bundle inspect",
            "bundle verify", "ticket",
        ] {
            let words = line.split(separator: " ").map(String.init)
            let result = try await Command.run([Bench.binary] + words + ["--help"])
            #expect(result.status == 0)
            #expect(result.output.contains("holdfast \(line)".trimmingSuffix { $0 == " " }), "\(line)")
            #expect(result.output.contains(line.isEmpty ? "holdfast repo init fleet" : "Example"), "\(line)")
        }
        _ = bench
    }

    @Test func everyResultIsOneJSONDocument() async throws {
        let bench = try Bench()
        try await bench.prepare()
        _ = try await bench.build("1.0.0")
        for line in [
            "keys generate extra --plain", "keys list", "keys show lab-root", "repo status @repo", "repo lint @repo",
            "repo sign @repo", "repo refresh @repo timestamp", "release list --repo @repo",
            "release show shop/1.0.0 --repo @repo", "release diff shop/1.0.0 shop/1.0.0 --repo @repo",
            "bundle export @repo --release shop/1.0.0 -o @a.tar", "bundle inspect @a.tar", "bundle verify @a.tar",
        ] {
            let result = try await bench.run(line + " --output json")
            #expect(result.status == 0, "\(line): \(result.errorOutput)")
            #expect(throws: Never.self, "\(line)") { try JSONValue(parsing: Array(result.output.utf8)) }
            for diagnostic in result.errorOutput.split(separator: "\n") {
                #expect(throws: Never.self, "\(line)") { try JSONValue(parsing: Array(diagnostic.utf8)) }
            }
        }
    }

    @Test func outputHasNoEscapesInAPipeAndEndsQuietlyWithItsReader() async throws {
        let bench = try Bench()
        try await bench.prepare()
        _ = try await bench.build("1.0.0")
        let text = try await bench.succeed("release list --repo @repo")
        #expect(!text.contains("\u{1B}"))
        let shell =
            "'\(Bench.binary)' release show shop/1.0.0 --repo '\(bench.path("repo"))' --output json | true; "
            + "echo ${PIPESTATUS[0]}"
        let piped = try await Command.run(["bash", "-c", shell])
        #expect(piped.errorOutput.isEmpty)
        // Written before the reader left, or ended by SIGPIPE: both without a word.
        #expect(["0\n", "141\n"].contains(piped.output), "\(piped.output)")
    }
}

extension String {
    fileprivate func trimmingSuffix(while condition: (Character) -> Bool) -> String {
        var text = self
        while let last = text.last, condition(last) { text.removeLast() }
        return text
    }
}
