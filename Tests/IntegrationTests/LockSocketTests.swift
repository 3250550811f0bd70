import Base
import EngineTestSupport
import Glibc
import Model
import TestSupport
import Testing

/// The lock socket as a program in a real container finds it.
@Suite(
    .serialized, .privateEngine, .enabled(if: PrivateEngine.isOwn, PrivateEngine.skipMessage), .timeLimit(.minutes(5)))
struct LockSocketTests {
    /// A busybox with curl and the libraries that it needs.
    private func base() async throws -> [UInt8] {
        let folder = try TemporaryDirectory()
        let curl = "/usr/bin/curl"
        let needed = try await Command.succeed(["ldd", curl]).split(whereSeparator: \.isWhitespace)
            .filter { $0.hasPrefix("/") }.map(String.init)
        for path in [curl] + needed {
            let target = Path.join(folder.path, "root" + path)
            try FileSystem().makeDirectories(Path.parent(target), op: "test")
            try await Command.succeed(["cp", "-L", path, target])
        }
        try FileSystem().replace(
            folder.file("busybox.tar"), with: try await PrivateEngine.busyboxTar(), op: "test")
        try await Command.succeed(["tar", "-C", folder.file("root"), "-xf", folder.file("busybox.tar")])
        return try await PrivateEngine.tar(folder.file("root"))
    }

    private func inside(
        _ site: AgentSite, _ service: String, _ command: [String], user: String = "0"
    ) async throws -> Command {
        let docker = ["docker", "-H", "unix://\(site.engine.socketPath)"]
        let id = try await Command.succeed(
            docker + ["ps", "-q", "--filter", "label=io.holdfast.service=\(service)"]
        ).trimmingNewline
        return try await Command.run(docker + ["exec", "-u", user, id] + command)
    }

    private func call(
        _ site: AgentSite, _ path: String, _ options: [String] = [], user: String = "0"
    ) async throws -> JSONValue {
        let result = try await inside(
            site, "web",
            ["/usr/bin/curl", "-s", "-m", "10", "--unix-socket", "/run/holdfast/lock.sock"] + options
                + ["http://lock\(path)"], user: user)
        #expect(result.status == 0, "\(result.output)\(result.errorOutput)")
        return try JSONValue(parsing: Array(result.output.utf8))
    }

    private func take(_ site: AgentSite, _ reason: String, user: String = "0") async throws -> JSONValue {
        try await call(site, "/v1/locks", ["-d", "{\"reason\":\"\(reason)\",\"ttlSeconds\":600}"], user: user)
    }

    @Test func aContainerHoldsUpdatesOfItsOwnAppBackAndNothingElse() async throws {
        let site = try await AgentSite(try PrivateEngine.current)
        let compose = site.folder.file("compose.yaml")
        let text = String(decoding: try FileSystem().read(compose, limit: 1 << 20), as: UTF8.self)
        let marker = "    ports: [\"7070:80\"]\n"
        #expect(text.contains(marker))
        let parts = text.split(separator: marker, maxSplits: 1)
        try FileSystem().replace(
            compose, with: Array("\(parts[0])\(marker)    x-holdfast: { locks: true }\n\(parts[1])".utf8), op: "test")
        let base = try await base()
        try await site.publish("1.0.0", base: base)
        var agent = try await site.start()
        try await site.provision()
        #expect(try await site.agent(["import", site.stick("1.0.0"), "--wait"]).status == 0)

        let taken = try await take(site, "batch 7")
        #expect(taken["holder"]?.string == "service web" && taken["app"]?.string == "plant", "\(taken)")
        // Users of the container other than root may ask too.
        let own = try await call(site, "/v1/locks", user: "1000")
        #expect(own["locks"]?.array?.count == 1)
        for path in ["/v1/rollback", "/v1/import", "/v1/locks/override", "/v1/status"] {
            let refused = try await call(site, path, ["-d", "{}"])
            #expect(refused["error"]?["code"]?.string == "agent.not-found", "\(path): \(refused)")
        }
        #expect(try await inside(site, "web", ["touch", "/run/holdfast/mine"]).status != 0)
        #expect(try await inside(site, "worker", ["ls", "/run/holdfast"]).status != 0)

        try await site.publish("2.0.0", base: base)
        #expect(try await site.agent(["import", site.stick("2.0.0")]).status == 0)
        try await site.eventually("why names the lock") {
            let why = try await site.agent(["why"])
            return why.output.contains("service web") && why.output.contains("batch 7")
        }
        let status = try await site.agent(["status"])
        #expect(status.output.contains("service web") && status.output.contains("batch 7"), "\(status.output)")
        let list = try await site.agent(["lock", "list"])
        #expect(list.output.contains("service web") && list.output.contains("batch 7"), "\(list.output)")
        #expect(try await site.page() == "1.0.0")

        // The agent comes back, and the container finds it at the same place.
        agent.send(SIGKILL)
        _ = try await agent.wait()
        agent = try await site.start()
        try await site.eventually("the socket answers again") {
            try await inside(
                site, "web", ["/usr/bin/curl", "-sf", "--unix-socket", "/run/holdfast/lock.sock", "http://lock/v1/locks"]
            ).status == 0
        }
        #expect(try await site.page() == "1.0.0")
        let released = try await call(site, "/v1/locks/release", ["-X", "POST"])
        #expect(released["released"]?.integer == 1)
        try await site.eventually("2.0.0 serves") { try await site.page() == "2.0.0" }

        // A person has the last word.
        _ = try await take(site, "batch 8")
        let override = try await site.agent(["lock", "override"])
        #expect(override.status == 0, "\(override.errorOutput)")
        #expect(try await call(site, "/v1/locks")["locks"]?.array?.isEmpty == true)
        agent.send(SIGTERM)
        _ = try await agent.wait()
        try await site.wipe()
    }
}
