import Base
import DockerEngine
import EngineTestSupport
import Model
import TestSupport
import Testing

/// Images out of a real engine, and keys out of a real token.
@Suite(.serialized) struct SourceTests {
    @Test(.enabled(if: PrivateEngine.isAvailable, PrivateEngine.skipMessage), .privateEngine)
    func anImageOfTheEngineIsTheSameAsItsArchive() async throws {
        let engine = try PrivateEngine.current
        let bench = try Bench()
        try await engine.makeBusyboxImage("example/box", "1", changes: ["CMD [\"/bin/sh\"]"])
        try bench.write("compose.yaml", "services: {box: {image: \"example/box:1\"}}")
        try await bench.succeed("repo init @repo --lab")
        let line = "release build @compose.yaml --app box --repo @repo --output json"
        let environment = ["DOCKER_HOST": "unix://\(engine.socketPath)"]
        let built = try JSONValue(
            parsing: Array(
                try await bench.succeed(
                    "\(line) --version 1.0.0 --image example/box:1=docker:example/box:1", environment: environment
                ).utf8))
        #expect(built["architectures"]?.array?.count == 1)
        #expect(try bench.fileSystem.list(bench.path("repo/staging")).isEmpty)

        try await Command.succeed(
            ["docker", "save", "example/box:1", "-o", bench.path("box.tar")], environment: environment)
        let again = try JSONValue(
            parsing: Array(try await bench.succeed("\(line) --version 1.0.0 --image box=docker-archive:@box.tar").utf8))
        #expect(again["wasThere"]?.bool == true)
        #expect(again["digest"] == built["digest"])

        let missing = try await bench.run(
            "\(line) --version 1.0.1 --image box=docker:example/nothing:1", environment: environment)
        #expect(missing.status != 0)
        #expect(missing.errorOutput.contains("engine.not-found"))
        #expect(try bench.fileSystem.list(bench.path("repo/staging")).isEmpty)
    }

    static let tokenTools = ["softhsm2-util", "pkcs11-tool"].allSatisfy(Tool.isInstalled)

    @Test(.enabled(if: tokenTools, "SKIPPED: softhsm2 and opensc are not installed: tools/setup"))
    func aTokenHoldsTheRootKey() async throws {
        let bench = try Bench()
        let module = "/usr/lib/softhsm/libsofthsm2.so"
        try bench.write("softhsm.conf", "directories.tokendir = \(bench.path("tokens"))\nobjectstore.backend = file\n")
        try bench.fileSystem.makeDirectories(bench.path("tokens"), op: "test")
        try bench.write("pin", "1234\n")
        let environment = ["SOFTHSM2_CONF": bench.path("softhsm.conf")]
        try await Command.succeed(
            ["softhsm2-util", "--init-token", "--free", "--label", "fleet", "--pin", "1234", "--so-pin", "0000"],
            environment: environment)
        try await Command.succeed(
            [
                "pkcs11-tool", "--module", module, "--token-label", "fleet", "--login", "--pin", "1234", "--keypairgen",
                "--key-type", "EC:prime256v1", "--label", "root",
            ], environment: environment)
        try await bench.succeed(
            "keys add-token hsm --module \(module) --token fleet --label root", environment: environment)
        try await bench.succeed("keys generate soft --plain")
        let line = "repo init @repo --root-key hsm --targets-key soft --snapshot-key soft --timestamp-key soft"
        try await bench.succeed("\(line) --passphrase-file @pin", environment: environment)
        let status = try await bench.json("repo status @repo")
        #expect(status["pending"]?.array?.isEmpty == true)
        let listed = try await bench.json("keys list")
        #expect(listed.array?.contains { $0["protection"]?.string == "token" } == true)
    }
}
