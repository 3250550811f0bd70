import AgentCore
import AgentTestSupport
import Base
import DockerEngine
import HTTPTestSupport
import Logging
import NIOPosix
import TestSupport
import Testing

/// Engines that speak the Docker Engine API and are not what the agent needs: `why` has to say so.
@Suite(.timeLimit(.minutes(1))) struct UnsupportedEngineTests {
    struct Case: Sendable, CustomTestStringConvertible {
        var testDescription: String
        var version: String
        var info = #"{"Driver":"overlay2","DriverStatus":[["Backing Filesystem","extfs"]]}"#
        var words: String
    }

    static let cases = [
        Case(
            testDescription: "Podman 4.3",
            version:
                #"{"Version":"4.3.1","ApiVersion":"1.41","MinAPIVersion":"1.24","Components":[{"Name":"Podman Engine"}]}"#,
            words: "Podman"),
        Case(
            testDescription: "the containerd image store",
            version:
                #"{"Version":"29.0.0","ApiVersion":"1.47","MinAPIVersion":"1.24","Components":[{"Name":"Engine"}]}"#,
            info:
                #"{"Driver":"overlayfs","DriverStatus":[["driver-type","io.containerd.snapshotter.v1"]]}"#,
            words: "containerd-snapshotter"),
        Case(
            testDescription: "an API that is too old",
            version: #"{"Version":"19.03","ApiVersion":"1.40","MinAPIVersion":"1.12"}"#, words: "1.40"),
    ]

    @Test(arguments: cases) func whySaysThatItCannotBeUsed(_ item: Case) async throws {
        let directory = try TemporaryDirectory()
        let group = MultiThreadedEventLoopGroup.singleton
        let path = directory.file("engine.sock")
        let server = try await ScriptedServer(.unixSocket(path: path), group: group) { head in
            let target = head.split(separator: " ").dropFirst().first ?? ""
            let body = target.hasSuffix("/version") ? item.version : target.hasSuffix("/info") ? item.info : "[]"
            return [.text(ScriptedServer.answer(body)), .close]
        }
        let clock = ManualClock()
        let layout = StateLayout(root: directory.file("state"))
        let (journal, _) = try Journal.open(layout: layout, fileSystem: FileSystem(), clock: clock.clock)
        let client = EngineClient(socketPath: path, group: group)
        let reconciler = Reconciler(
            Reconciler.Environment(
                journal: journal, engine: DockerContainerEngine(client),
                content: ReleaseContent(
                    missing: { _, _ in [] }, archive: { _, _ in PullSequence { { nil } } }, read: { _ in [] },
                    prune: { _ in 0 }),
                fileSystem: FileSystem(), layout: layout, clock: clock.clock,
                logger: Logger(label: "test") { _ in SwiftLogNoOpLogHandler() },
                heartbeat: Heartbeat(clock: clock.clock)),
            policy: PlanPolicy(), reserve: 0)
        _ = await reconciler.tick()
        let blocked = try #require(await reconciler.currentReport().blocked.first)
        #expect(blocked.code == "engine.unsupported", "\(blocked)")
        #expect("\(blocked)".contains("cannot be used") && "\(blocked)".contains(item.words), "\(blocked)")
        #expect(blocked.hint?.contains("Docker Engine") == true)
        await client.shutdown()
        try await server.stop()
    }
}
