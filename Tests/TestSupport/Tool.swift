import Base
import Glibc

/// A program that a test runs to have an independent opinion: tar, gzip, zstd, skopeo.
public enum Tool {
    public struct Outcome: Sendable {
        /// Exit code; 128 + signal when the program was killed.
        public var status: Int32
        /// Standard output and standard error, as they came, at most 16 MiB.
        public var output: String
    }

    /// Whether `name` is an executable in one of the folders of `PATH`.
    public static func isInstalled(_ name: String) -> Bool { path(of: name) != nil }

    private static func path(of name: String) -> String? {
        if name.contains("/") { return access(name, X_OK) == 0 ? name : nil }
        let search = getenv("PATH").map { String(cString: $0) } ?? "/usr/bin:/bin"
        return search.split(separator: ":").map { "\($0)/\(name)" }.first { access($0, X_OK) == 0 }
    }

    /// Runs a program to its end, in `directory` when given.
    public static func run(_ arguments: [String], in directory: String? = nil) throws -> Outcome {
        guard let name = arguments.first, let program = path(of: name) else {
            throw FileSystemError(operation: "run", path: arguments.first ?? "", errno: ENOENT)
        }
        let scratch = try TemporaryDirectory()
        let log = scratch.file("output")
        var actions = posix_spawn_file_actions_t()
        posix_spawn_file_actions_init(&actions)
        defer { posix_spawn_file_actions_destroy(&actions) }
        posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0)
        posix_spawn_file_actions_addopen(&actions, 1, log, O_WRONLY | O_CREAT | O_TRUNC, 0o600)
        posix_spawn_file_actions_adddup2(&actions, 1, 2)
        let shell = directory.map { ["/bin/sh", "-c", "cd \"$0\" && exec \"$@\"", $0, program] } ?? [program]
        var argv: [UnsafeMutablePointer<CChar>?] = (shell + arguments.dropFirst()).map { strdup($0) }
        argv.append(nil)
        defer { argv.forEach { free($0) } }
        var child = pid_t()
        let result = posix_spawn(&child, shell[0], &actions, nil, argv, environ)
        guard result == 0 else { throw FileSystemError(operation: "run", path: program, errno: result) }
        var status: Int32 = 0
        while waitpid(child, &status, 0) < 0, errno == EINTR {}
        let code = status & 0x7F == 0 ? (status >> 8) & 0xFF : 128 + (status & 0x7F)
        let output = String(decoding: try FileSystem().read(log, limit: 16 << 20), as: UTF8.self)
        return Outcome(status: code, output: output)
    }
}
