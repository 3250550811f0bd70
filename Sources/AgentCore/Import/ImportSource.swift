import Base
import Model
import OCI
import Trust

/// Where a release comes from: signed metadata, the release document, and blobs. A folder, a tar, a hub.
public struct ImportSource: Sendable {
    public var trust: TrustSources
    public var document: TargetLoader
    public var blobs: any BlobSource
    /// See ``Trust/Candidate/carried``.
    public var carried: Set<String>?

    public init(
        trust: TrustSources, document: @escaping TargetLoader, blobs: any BlobSource, carried: Set<String>? = nil
    ) {
        self.trust = trust
        self.document = document
        self.blobs = blobs
        self.carried = carried
    }
}

/// How an import goes on.
public enum ImportEvent: Sendable, Equatable {
    case verifying
    case verified(release: String, freshness: String)
    /// Bytes to copy in all, and those done.
    case copying(done: Int64, total: Int64)
    /// Bytes of a layer that a delta has made, and those of the whole.
    case making(layer: Digest, done: Int64, total: Int64)
    /// How a layer came.
    case took(LayerSupply.Taken)
    case adopted(release: String)
    /// The release is the target already.
    case unchanged(release: String)

    public var json: JSONValue {
        switch self {
        case .verifying: ["event": "verifying"]
        case .verified(let release, let freshness):
            ["event": "verified", "release": .string(release), "freshness": .string(freshness)]
        case .copying(let done, let total): ["event": "copying", "done": .integer(done), "total": .integer(total)]
        case .making(let layer, let done, let total):
            [
                "event": "making", "layer": .string(layer.description), "done": .integer(done),
                "total": .integer(total),
            ]
        case .took(let taken): .object((taken.json.object ?? [:]).merging(["event": "took"]) { $1 })
        case .adopted(let release): ["event": "adopted", "release": .string(release)]
        case .unchanged(let release): ["event": "unchanged", "release": .string(release)]
        }
    }
}
