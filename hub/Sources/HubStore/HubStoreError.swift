import Base
import HubCore

/// A refusal by a store, whatever backend it has.
public struct HubStoreError: CodedError, Equatable {
    public enum Reason: String, Sendable, CaseIterable {
        /// A record is not in the version that the writer expected: read again and decide again.
        case conflict
        /// The lease that a commit stands on is another's by now.
        case leaseLost = "lease-lost"
        /// The changes asked for are older than those kept: list again.
        case changesGone = "changes-gone"
        case limit
        /// More waits to be written than the store takes in.
        case busy
        case corrupt
        case blobMissing = "blob-missing"
        case range
    }
    public var reason: Reason
    public var element: String
    public var detail: String

    public init(_ reason: Reason, _ element: String, _ detail: String) {
        self.reason = reason
        self.element = element
        self.detail = detail
    }

    public var code: String { "hub-store.\(reason.rawValue)" }
    public var message: String { "\(element): \(detail)" }
    public var hint: String? {
        switch reason {
        case .conflict: "read it again and repeat the change"
        case .busy: "try again in a moment"
        case .corrupt: "restore the hub's database from its last copy"
        default: nil
        }
    }
    public var exitStatus: ExitStatus {
        switch reason {
        case .conflict, .busy, .leaseLost: .temporaryFailure
        case .blobMissing: .noInput
        default: .dataError
        }
    }
}

/// Bounds of one call to a store.
public enum HubStoreLimits {
    /// Writes, and events, of one commit.
    public static let writes = 1_000
    /// Records, changes, events, segments or blobs of one page.
    public static let page = 1_000
    /// Records that one call of `list` looks at; a page that finds fewer says where to go on.
    public static let scan = 10_000
    /// Bodies of one page, and the bytes after which a page ends.
    public static let bodies = 8_192
    public static let bodiesSize = 4 << 20
    /// Bytes of a record's id and of its body.
    public static let idLength = 255
    public static let bodySize = HubLimits.recordSize
    /// Bytes of one report segment.
    public static let segmentSize = 256 << 10
    /// Segments of one call, and those waiting for the next group commit.
    public static let segments = 1_000
    public static let waitingSegments = 20_000
    /// Bytes of the segments that wait.
    public static let waitingBytes = 64 << 20
    /// Pages of the write-ahead log after which it is moved into the database: 32 MiB.
    public static let checkpointPages = 8_192
    /// How far a segment may run ahead of the last one acknowledged.
    public static let segmentWindow: Int64 = 10_000
    /// Bytes of one ranged read.
    public static let readSize = 4 << 20
}
