import Base
import Model
import OCI

/// What a scrub looked at and found.
public struct ScrubReport: Sendable {
    public struct Finding: Sendable, Equatable {
        public enum Kind: String, Sendable {
            /// Its bytes are not those of its name.
            case damagedBlob = "damaged-blob"
            /// A layer that was made here from a delta or taken from the engine is not what its diffID says.
            case damagedLayer = "damaged-layer"
            /// A release that must stay runnable names it, and it is not there.
            case missingBlob = "missing-blob"
            case missingImage = "missing-image"
            /// The engine gives other bytes than were signed, or cannot give them.
            case damagedImage = "damaged-image"
        }
        public var kind: Kind
        /// The blob's, the config's for an image, the diffID of a layer that was made here.
        public var digest: Digest
        /// The image or release that it belongs to; empty when none needs it.
        public var of: String
        /// Where the sound copy came from: `stick`, `engine`, `store`, a source's name; nil while there is none.
        public var repairedFrom: String?
        public var detail: String

        public var json: JSONValue {
            var members: [String: JSONValue] = [
                "kind": .string(kind.rawValue), "digest": .string(digest.description), "of": .string(of),
                "repaired": .bool(repairedFrom != nil), "detail": .string(detail),
            ]
            if let repairedFrom { members["from"] = .string(repairedFrom) }
            return .object(members)
        }
    }

    public var blobs = 0
    /// Layers that were made here.
    public var layers = 0
    public var images = 0
    public var bytes: Int64 = 0
    public var findings: [Finding] = []

    public init() {}

    public var isSound: Bool { findings.allSatisfy { $0.repairedFrom != nil } }

    public var json: JSONValue {
        [
            "event": "scrubbed", "blobs": .integer(Int64(blobs)), "layers": .integer(Int64(layers)),
            "images": .integer(Int64(images)),
            "bytes": .integer(bytes), "sound": .bool(isSound), "findings": .array(findings.map(\.json)),
        ]
    }
}

/// Something that may have a sound copy of a blob: a hub, a peer. Bytes are checked against the digest as they come.
public protocol RepairSource: Sendable {
    /// For the report.
    var name: String { get }
    /// Nil when it does not have it now.
    func blobs(for blob: Release.Blob) async throws -> (any BlobSource)?
}
