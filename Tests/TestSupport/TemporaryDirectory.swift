import Base
import Glibc

/// A directory of its own under `$TMPDIR`, removed when the last reference goes.
public final class TemporaryDirectory: Sendable {
    public let path: String

    /// - Parameter base: where to make it instead.
    public init(in base: String? = nil) throws {
        let base = base ?? getenv("TMPDIR").map { String(cString: $0) } ?? "/tmp"
        var template = Array("\(base)/holdfast-test-XXXXXX".utf8CString)
        guard mkdtemp(&template) != nil else {
            throw FileSystemError(operation: "make directory", path: base, errno: errno)
        }
        path = String(decoding: template.dropLast().map { UInt8(bitPattern: $0) }, as: UTF8.self)
    }

    deinit { try? FileSystem().removeTree(path, op: "test.cleanup") }

    public func file(_ name: String) -> String { Path.join(path, name) }
}
