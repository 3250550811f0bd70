import Base
import DockerEngine
import Glibc
import NIOCore
import NIOPosix
import TestSupport
import Testing

/// A Docker Engine of a test's own, run by `tools/lab/engine`: real containers in a network namespace.
///
/// Stopped by ``stop()``; should the test process die first, the script's watcher stops it.
///
/// With `HOLDFAST_TEST_ENGINE` set to the socket of another engine (Podman's, say) and `HOLDFAST_TEST_ADDRESS` to where
/// its published ports are reached, tests run on that one; those that end, kill or freeze the engine are skipped.
public final class PrivateEngine: Sendable {
    public let directory: String
    /// Somebody else's engine: not to be stopped, and expected to be empty.
    public let isExternal: Bool
    public let socketPath: String
    /// Where published ports are reached.
    public let address: String
    public let client: EngineClient
    private let group: MultiThreadedEventLoopGroup

    /// Why there is no private engine here; nil when one can be started.
    public static let obstacle: String? = {
        if external != nil { return nil }
        guard geteuid() == 0 else { return "a private Docker Engine needs root" }
        for tool in ["dockerd", "containerd", "ip", "nsenter", "curl", "busybox"] {
            let found = ["/usr/bin", "/usr/sbin", "/bin", "/sbin", "/usr/local/bin"]
                .contains { access("\($0)/\(tool)", X_OK) == 0 }
            guard found else { return "\(tool) is missing; run tools/setup" }
        }
        return nil
    }()
    public static var isAvailable: Bool { obstacle == nil }
    /// Whether tests may end, kill and freeze the engine.
    public static var isOwn: Bool { isAvailable && external == nil }

    private static let external: String? = getenv("HOLDFAST_TEST_ENGINE").map { String(cString: $0) }
    public static var skipMessage: Comment { Comment(rawValue: "SKIPPED: \(obstacle ?? "")") }

    public static func start(timeouts: EngineClient.Timeouts = .init()) async throws -> PrivateEngine {
        if let external {
            let address = getenv("HOLDFAST_TEST_ADDRESS").map { String(cString: $0) } ?? "127.0.0.1"
            return PrivateEngine(
                directory: Path.parent(external), socketPath: external, address: address, isExternal: true,
                timeouts: timeouts)
        }
        var template = Array("/tmp/holdfast-engine-XXXXXX".utf8CString)
        guard mkdtemp(&template) != nil else {
            throw FileSystemError(operation: "make directory", path: "/tmp", errno: errno)
        }
        let directory = String(decoding: template.dropLast().map { UInt8(bitPattern: $0) }, as: UTF8.self)
        let address = try await script(["start", directory, "--watch", "\(getpid())"])
        return PrivateEngine(
            directory: directory, socketPath: Path.join(directory, "docker.sock"),
            address: String(address.prefix { !$0.isWhitespace }), isExternal: false, timeouts: timeouts)
    }

    private init(
        directory: String, socketPath: String, address: String, isExternal: Bool, timeouts: EngineClient.Timeouts
    ) {
        self.directory = directory
        self.socketPath = socketPath
        self.address = address
        self.isExternal = isExternal
        group = MultiThreadedEventLoopGroup(numberOfThreads: 1)
        client = EngineClient(socketPath: socketPath, timeouts: timeouts, group: group)
    }

    @discardableResult
    private static func script(_ arguments: [String]) async throws -> String {
        try await Command.succeed([Path.join(Repository.root, "tools/lab/engine")] + arguments)
    }

    // MARK: What happens to engines

    public func stop() async throws {
        await client.shutdown()
        if !isExternal { try await Self.script(["stop", directory]) }
        try await group.shutdownGracefully()
    }
    /// Stops the daemon as an upgrade of its package does, and starts it again.
    public func restart() async throws { try await Self.script(["restart", directory]) }
    /// `kill -9` of the daemon alone.
    public func kill() async throws { try await Self.script(["kill", directory]) }
    /// Starts what ``kill()`` or ``powerCut()`` ended.
    public func up() async throws { try await Self.script(["up", directory]) }
    /// Freezes the daemon: its socket accepts and nothing answers.
    public func pause() async throws { try await Self.script(["pause", directory]) }
    public func resume() async throws { try await Self.script(["resume", directory]) }
    /// Kills daemon and containers at once; only the data stays.
    public func powerCut() async throws { try await Self.script(["power-cut", directory]) }

    // MARK: Images without a registry

    /// Imports `repository:tag`: a static busybox with its applets, and `files` by path.
    public func makeBusyboxImage(
        _ repository: String, _ tag: String, files: [String: String] = [:], changes: [String] = []
    ) async throws {
        let tar = try await Self.busyboxTar(files: files)
        try await client.importImage(BodyProducer(tar), repository: repository, tag: tag, changes: changes)
    }

    /// A root file system as a tar.
    public static func busyboxTar(files: [String: String] = [:]) async throws -> [UInt8] {
        let folder = try TemporaryDirectory()
        let fileSystem = FileSystem()
        try fileSystem.makeDirectories(folder.file("root/bin"), op: "test")
        try fileSystem.makeDirectories(folder.file("root/tmp"), mode: 0o777, op: "test")
        try await Command.succeed(["cp", "/bin/busybox", folder.file("root/bin/busybox")])
        for applet in [
            "sh", "httpd", "sleep", "cat", "echo", "kill", "wget", "true", "false", "id", "ls", "nc", "env",
            "hostname", "stat", "ip", "test", "mkdir", "touch", "grep", "date", "dd", "yes", "head",
        ] {
            guard symlink("busybox", folder.file("root/bin/\(applet)")) == 0 else { continue }
        }
        for (path, text) in files {
            try fileSystem.makeDirectories(Path.parent(Path.join(folder.path, "root", path)), op: "test")
            try fileSystem.replace(
                Path.join(folder.path, "root", path), with: Array(text.utf8), mode: 0o755, op: "test")
        }
        return try await tar(folder.file("root"))
    }

    /// The folder's content as a tar that depends on nothing else: owner 0, one time, names in order.
    public static func tar(_ folder: String) async throws -> [UInt8] {
        let output = try TemporaryDirectory()
        try await Command.succeed([
            "tar", "--numeric-owner", "--owner=0", "--group=0", "--sort=name", "--mtime=@1700000000", "-C", folder,
            "-cf", output.file("tar"), ".",
        ])
        return try FileSystem().read(output.file("tar"), limit: 256 << 20)
    }
}

/// Gives a suite or test a private engine: `@Suite(.privateEngine)`, then `try PrivateEngine.current`.
public struct PrivateEngineTrait: SuiteTrait, TestTrait, TestScoping {
    public func provideScope(
        for test: Test, testCase: Test.Case?, performing function: @Sendable () async throws -> Void
    ) async throws {
        guard PrivateEngine.isAvailable else { return try await function() }
        let engine = try await PrivateEngine.start()
        do {
            try await PrivateEngine.$scoped.withValue(engine) { try await function() }
        } catch {
            try await engine.stop()
            throw error
        }
        try await engine.stop()
    }
}

extension PrivateEngine {
    @TaskLocal fileprivate static var scoped: PrivateEngine?

    /// The engine of the suite or test this runs in.
    public static var current: PrivateEngine {
        get throws { try #require(scoped, "the suite lacks the trait .privateEngine") }
    }
}

extension Trait where Self == PrivateEngineTrait {
    /// One engine for the whole suite (or for the test it stands on).
    public static var privateEngine: Self { PrivateEngineTrait() }
}
