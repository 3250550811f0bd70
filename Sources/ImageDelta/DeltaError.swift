import Base
import Glibc

/// Why a delta cannot be made, read or applied.
public struct DeltaError: CodedError, Equatable {
    public enum Reason: String, Sendable, CaseIterable {
        /// The bytes break a rule of the format.
        case malformed
        /// A newer format than this program reads.
        case unsupportedVersion = "unsupported-version"
        /// A length, offset or count is beyond its bound.
        case limit
        /// The file ends early.
        case truncated
        /// The base has other bytes than the delta was made from.
        case wrongBase = "wrong-base"
        /// A base layer or one of its files is not there.
        case missingBase = "missing-base"
        /// What came out is not what the delta promised.
        case outputMismatch = "output-mismatch"
        /// A file that was named is not there.
        case notFound = "not-found"
        /// A file may not be read or written by this user.
        case permission
        /// The operating system refused a read or write.
        case inputOutput = "io"
        /// The caller stopped the work.
        case cancelled
    }

    public var reason: Reason
    public var detail: String

    public init(_ reason: Reason, _ detail: String) {
        self.reason = reason
        self.detail = detail
    }

    public var code: String { "delta." + reason.rawValue }
    public var message: String {
        switch reason {
        case .malformed: "the delta is malformed: \(detail)"
        case .unsupportedVersion: "the delta's format is not supported: \(detail)"
        case .limit: "the delta goes beyond a limit: \(detail)"
        case .truncated: "the delta ends early: \(detail)"
        case .wrongBase: "the base is not the one the delta was made from: \(detail)"
        case .missingBase: "the base is not complete: \(detail)"
        case .outputMismatch: "the result is not what the delta promises: \(detail)"
        case .inputOutput, .notFound, .permission: detail
        case .cancelled: "stopped: \(detail)"
        }
    }
    public var hint: String? {
        switch reason {
        case .malformed, .truncated, .limit, .outputMismatch: "fetch the delta again, or use the full layer"
        case .unsupportedVersion: "update holdfast on this machine, or use the full layer"
        case .wrongBase, .missingBase: "name the base layers in the delta's order, or use the full layer"
        case .notFound: "check the path"
        case .permission: "check the owner and mode of the path, or run as the right user"
        case .inputOutput, .cancelled: nil
        }
    }
    public var exitStatus: ExitStatus {
        switch reason {
        case .malformed, .unsupportedVersion, .limit, .truncated, .wrongBase, .outputMismatch: .dataError
        case .missingBase, .notFound: .noInput
        case .permission: .noPermission
        case .inputOutput: .ioError
        case .cancelled: .temporaryFailure
        }
    }

    /// A file operation's error as one of this module.
    package init(_ error: FileSystemError) {
        let reason: Reason =
            switch error.errno {
            case ENOENT, ENOTDIR: .notFound
            case EACCES, EPERM: .permission
            default: .inputOutput
            }
        self.init(reason, error.message)
    }

    /// Runs a file operation and turns its error into this module's.
    static func wrap<Value>(_ body: () throws(FileSystemError) -> Value) throws(DeltaError) -> Value {
        do { return try body() } catch { throw DeltaError(error) }
    }
}
