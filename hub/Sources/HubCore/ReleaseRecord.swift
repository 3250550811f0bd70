import Base
import Model

/// A release that the hub holds, by the digest of its document. The document and its blobs are elsewhere;
/// that it is trusted is for `Trust` to say, on the hub and again on every device.
public struct ReleaseRecord: HubRecord {
    public static let kind = RecordKind.release

    public var app: AppID
    public var version: SemanticVersion
    public var ctr: Int64
    public var epoch: Int64
    public var digest: Digest
    /// Bytes of the document.
    public var length: Int64
    /// OCI names; empty means any.
    public var architectures: [String]
    public var addedAt: Timestamp

    public init(
        app: AppID, version: SemanticVersion, ctr: Int64, epoch: Int64, digest: Digest, length: Int64,
        architectures: [String], addedAt: Timestamp
    ) {
        self.app = app
        self.version = version
        self.ctr = ctr
        self.epoch = epoch
        self.digest = digest
        self.length = length
        self.architectures = architectures
        self.addedAt = addedAt
    }

    public var recordID: String { Self.recordID(app, version) }
    public static func recordID(_ app: AppID, _ version: SemanticVersion) -> String { "\(app)/\(version)" }
    public var recordLabels: Labels { (try? Labels(["app": app.text])) ?? Labels() }
}
