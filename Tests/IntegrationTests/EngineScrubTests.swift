import Base
import EngineTestSupport
import Glibc
import TestSupport
import Testing

/// Files of the engine's extracted layers altered behind its back: a scrub finds it and mends it.
@Suite(
    .serialized, .privateEngine, .enabled(if: PrivateEngine.isOwn, PrivateEngine.skipMessage), .timeLimit(.minutes(5)))
struct EngineScrubTests {
    /// Paths of a file in the engine's extracted layers.
    private func extracted(_ site: AgentSite, _ path: String) async throws -> [String] {
        try await Command.succeed(["find", site.engine.directory, "-xdev", "-path", "*/overlay2/*/diff/\(path)"])
            .split(separator: "\n").map(String.init)
    }

    @Test func anAlteredFileOfALayerIsFoundAndTheLayerLoadedAnew() async throws {
        let site = try await AgentSite(try PrivateEngine.current)
        let base = try await PrivateEngine.busyboxTar(files: ["etc/marker": "as it was signed\n"])
        // Two releases on one base layer: both must leave the engine before it lets the layer go.
        try await site.publish("1.0.0", base: base)
        try await site.publish("2.0.0", base: base)
        let agent = try await site.start()
        try await site.provision()
        for version in ["1.0.0", "2.0.0"] {
            #expect(try await site.agent(["import", site.stick(version), "--wait"]).status == 0)
        }
        let sound = try await site.agent(["scrub"])
        #expect(sound.status == 0, "\(sound.output)\(sound.errorOutput)")

        let files = try await extracted(site, "etc/marker")
        #expect(files.count == 1)
        let file = try #require(files.first)
        try FileSystem().replace(file, with: Array("as it was not so\n".utf8), mode: 0o755, op: "test")
        let found = try await site.agent(["scrub"])
        #expect(found.status == 1)
        #expect(found.output.contains("damaged-image") && found.output.contains("--restart"), "\(found.output)")
        #expect(try await site.page() == "2.0.0")

        let mended = try await site.agent(["scrub", "--restart"], limit: .seconds(120))
        #expect(mended.status == 0, "\(mended.output)\(mended.errorOutput)")
        #expect(mended.output.contains("mended from store"), "\(mended.output)")
        try await site.eventually("2.0.0 serves again") {
            guard try await site.page() == "2.0.0", try await site.agent(["status"]).status == 0 else { return false }
            return try await extracted(site, "etc/marker").allSatisfy {
                try FileSystem().read($0, limit: 100).elementsEqual("as it was signed\n".utf8)
            }
        }
        let again = try await site.agent(["scrub"])
        #expect(again.status == 0, "\(again.output)\(again.errorOutput)")
        agent.send(SIGTERM)
        _ = try await agent.wait()
        try await site.wipe()
    }
}
