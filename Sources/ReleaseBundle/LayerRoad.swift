import Base
import Model
import OCI

/// One way by which a machine can get a layer that it lacks.
public enum LayerRoad: Hashable, Sendable {
    /// The layer's own blob.
    case whole(Release.Blob)
    case delta(Release.LayerDelta)

    public var blob: Release.Blob {
        switch self {
        case .whole(let blob): blob
        case .delta(let delta): delta.blob
        }
    }
}

extension BlobStore {
    /// The roads to `layer` that are open, cheapest first by the bytes still to be read: its blob if that is offered,
    /// and every delta that is offered (or here) and whose base layers are all in `bases`.
    public func roads(
        to layer: Release.Layer, of release: Release, offered: some BlobSource, bases: (Digest) throws -> Bool
    ) throws -> [LayerRoad] {
        var roads: [LayerRoad] = []
        if try offered.blobSize(layer.blob.digest) != nil { roads.append(.whole(layer.blob)) }
        for delta in release.deltas where delta.target == layer.diffID {
            let isOffered = try offered.blobSize(delta.blob.digest) == delta.blob.size || contains(delta.blob)
            if try isOffered && delta.base.allSatisfy(bases) { roads.append(.delta(delta)) }
        }
        let costs = try Dictionary(roads.map { ($0, try missingBytes($0.blob)) }, uniquingKeysWith: { first, _ in first })
        // A whole layer needs no work: of two roads of one price it goes first.
        return roads.enumerated().sorted { (costs[$0.element] ?? 0, $0.offset) < (costs[$1.element] ?? 0, $1.offset) }
            .map(\.element)
    }

    /// Bytes of a blob that are not here yet.
    public func missingBytes(_ blob: Release.Blob) throws -> Int64 {
        try contains(blob) ? 0 : blob.size - min(blob.size, partialSize(blob.digest))
    }
}
