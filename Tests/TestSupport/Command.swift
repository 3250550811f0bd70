import Base
import Glibc
import Synchronization

/// A child process started by a test. Ended by pid, never by name; killed when the last reference goes.
public final class ChildProcess: Sendable {
    public let pid: pid_t
    public let outputPath: String
    public let errorPath: String
    private let directory: TemporaryDirectory
    /// Once its status was taken the pid may belong to somebody else.
    private let isReaped = Atomic(false)

    deinit {
        guard !isReaped.load(ordering: .acquiring) else { return }
        kill(pid, SIGKILL)
        waitpid(pid, nil, 0)
    }

    /// Starts `arguments[0]`, looked up in `PATH`, with output going to files.
    ///
    /// - Parameter environment: added to this process's own.
    public init(_ arguments: [String], environment: [String: String] = [:]) throws {
        directory = try TemporaryDirectory()
        outputPath = directory.file("stdout")
        errorPath = directory.file("stderr")
        var actions = posix_spawn_file_actions_t()
        posix_spawn_file_actions_init(&actions)
        defer { posix_spawn_file_actions_destroy(&actions) }
        posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0)
        posix_spawn_file_actions_addopen(&actions, 1, outputPath, O_WRONLY | O_CREAT, 0o600)
        posix_spawn_file_actions_addopen(&actions, 2, errorPath, O_WRONLY | O_CREAT, 0o600)
        // Concurrency threads block most signals, and a child would inherit that, down to its containers.
        var attributes = posix_spawnattr_t()
        posix_spawnattr_init(&attributes)
        defer { posix_spawnattr_destroy(&attributes) }
        var none = sigset_t()
        sigemptyset(&none)
        posix_spawnattr_setsigmask(&attributes, &none)
        posix_spawnattr_setflags(&attributes, Int16(POSIX_SPAWN_SETSIGMASK))
        var words: [UnsafeMutablePointer<CChar>?] = arguments.map { strdup($0) } + [nil]
        var variables: [UnsafeMutablePointer<CChar>?] = Self.merged(environment).map { strdup($0) } + [nil]
        defer { for pointer in words + variables { free(pointer) } }
        var child: pid_t = 0
        let status = posix_spawnp(&child, arguments[0], &actions, &attributes, &words, &variables)
        guard status == 0 else { throw FileSystemError(operation: "start", path: arguments[0], errno: status) }
        pid = child
    }

    private static func merged(_ added: [String: String]) -> [String] {
        var inherited: [String] = []
        var next = environ
        while let entry = next.pointee {
            inherited.append(String(cString: entry))
            next += 1
        }
        return inherited.filter { entry in !added.keys.contains { entry.hasPrefix($0 + "=") } }
            + added.map { "\($0.key)=\($0.value)" }
    }

    public func send(_ signal: Int32) { kill(pid, signal) }

    /// The exit status once it has ended: 0-255, or 128 + the signal's number. Nil while it runs.
    ///
    /// Call it again only after nil: a status is given once.
    public func poll() -> Int32? {
        var status: Int32 = 0
        guard waitpid(pid, &status, WNOHANG) == pid else { return nil }
        isReaped.store(true, ordering: .releasing)
        let signal = status & 0x7F
        return signal == 0 ? (status >> 8) & 0xFF : 128 + signal
    }

    /// Suspends until it has ended; kills it after `limit`.
    public func wait(limit: Duration = .seconds(60)) async throws -> Int32 {
        let deadline = ContinuousClock.now + limit
        while ContinuousClock.now < deadline {
            if let status = poll() { return status }
            try await Task.sleep(for: .milliseconds(5))
        }
        send(SIGKILL)
        while true {
            if let status = poll() { return status }
            try await Task.sleep(for: .milliseconds(5))
        }
    }

    /// What it has written so far, at most 16 MiB each.
    public func output() -> String { Self.text(outputPath) }
    public func errorOutput() -> String { Self.text(errorPath) }

    private static func text(_ path: String) -> String {
        String(decoding: (try? FileSystem().read(path, limit: 16 << 20)) ?? [], as: UTF8.self)
    }
}

/// A command run to its end.
public struct Command: Sendable {
    public var status: Int32
    public var output: String
    public var errorOutput: String

    public static func run(
        _ arguments: [String], environment: [String: String] = [:], limit: Duration = .seconds(120)
    ) async throws -> Command {
        let child = try ChildProcess(arguments, environment: environment)
        let status = try await child.wait(limit: limit)
        return Command(status: status, output: child.output(), errorOutput: child.errorOutput())
    }

    public struct Failed: Error, CustomStringConvertible {
        public var description: String
        public init(description: String) { self.description = description }
    }

    /// Like `run`, and throws unless it ends with 0.
    @discardableResult
    public static func succeed(
        _ arguments: [String], environment: [String: String] = [:], limit: Duration = .seconds(120)
    ) async throws -> String {
        let result = try await run(arguments, environment: environment, limit: limit)
        guard result.status == 0 else {
            throw Failed(
                description: "\(arguments.joined(separator: " ")) ended with \(result.status): "
                    + "\(result.errorOutput)\(result.output)")
        }
        return result.output
    }
}
