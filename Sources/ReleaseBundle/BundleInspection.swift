import Archive
import Base
import Model
import OCI
import Trust

/// What a bundle holds, as it says itself: nothing here is verified.
public struct BundleSummary: Sendable, Equatable {
    public struct ReleaseEntry: Sendable, Equatable {
        public var offer: BundleOffer
        /// Service names to image manifest digests; empty when the document cannot be read.
        public var services: [String: Digest]
        /// Blobs the release needs, in bytes.
        public var requiredBytes: Int64
        /// Those of them that the bundle lacks, because the receiver is said to have them.
        public var missing: [Release.Blob]
        /// Deltas that the bundle carries.
        public var deltas: [Release.LayerDelta]
        /// Why the document cannot be read; nil when it can.
        public var fault: String?

        /// Whether a device needs nothing but the bundle.
        public var servesAll: Bool { fault == nil && missing.isEmpty }
    }

    public struct ImageEntry: Sendable, Equatable {
        public var name: String
        public var manifest: Release.Blob
        public var architecture: String?
    }

    public struct MetadataFile: Sendable, Equatable {
        public var repository: RepositoryName
        public var name: String
        /// Bytes.
        public var size: Int64
    }

    public var path: String
    public var form: BundleReader.Form
    public var version: Int
    public var releases: [ReleaseEntry]
    public var images: [ImageEntry]
    public var metadata: [MetadataFile]
    public var blobCount: Int
    public var blobBytes: Int64

    /// The summary as a document for `--output json`.
    public var json: JSONValue {
        .object([
            "path": .string(path), "form": .string(form.rawValue), "formatVersion": .integer(Int64(version)),
            "releases": .array(releases.map(\.json)),
            "images": .array(
                images.map {
                    [
                        "name": .string($0.name), "manifest": .string($0.manifest.digest.description),
                        "architecture": $0.architecture.map { .string($0) } ?? .null,
                    ]
                }),
            "metadata": .array(
                metadata.map {
                    [
                        "repository": .string($0.repository.rawValue), "name": .string($0.name),
                        "size": .integer($0.size),
                    ]
                }),
            "blobs": ["count": .integer(Int64(blobCount)), "bytes": .integer(blobBytes)],
        ])
    }
}

extension BundleSummary.ReleaseEntry {
    fileprivate var json: JSONValue {
        .object([
            "app": .string(offer.app), "version": .string(offer.version.description), "ctr": .integer(offer.ctr),
            "document": .string(offer.document.digest.description),
            "services": .object(services.mapValues { .string($0.description) }),
            "requiredBytes": .integer(requiredBytes),
            "deltas": .array(
                deltas.map {
                    [
                        "target": .string($0.target.description), "digest": .string($0.blob.digest.description),
                        "size": .integer($0.blob.size), "base": .array($0.base.map { .string($0.description) }),
                    ]
                }),
            "serves": servesAll ? "all" : offer.audience.map(\.json) ?? .null,
            "missing": .array(
                missing.map { ["digest": .string($0.digest.description), "size": .integer($0.size)] }),
            "fault": fault.map { .string($0) } ?? .null,
        ])
    }
}

extension BundleReader {
    /// Reads what the bundle says about itself. Blobs are not hashed, but for the release documents.
    public func inspect() throws -> BundleSummary {
        let blobs = try layout.blobs.all()
        return BundleSummary(
            path: path, form: form, version: version, releases: try offers.map(entry),
            images: layout.index.manifests.compactMap { descriptor in
                descriptor.annotations[Annotation.refName].map {
                    .init(name: $0, manifest: descriptor.blob, architecture: descriptor.platform?.architecture)
                }
            },
            metadata: try RepositoryName.all.flatMap { repository in
                let folder = BundleFormat.metadataFolder(repository)
                return try tree.list(folder).map { name in
                    BundleSummary.MetadataFile(
                        repository: repository, name: name, size: try tree.size("\(folder)/\(name)") ?? 0)
                }
            },
            blobCount: blobs.count, blobBytes: blobs.reduce(0) { $0 + $1.size })
    }

    private func entry(_ offer: BundleOffer) throws -> BundleSummary.ReleaseEntry {
        var entry = BundleSummary.ReleaseEntry(
            offer: offer, services: [:], requiredBytes: 0, missing: [], deltas: [], fault: nil)
        do {
            let release = try Release(decoding: try document(offer.document, limit: ReleaseLimits.documentSize))
            entry.services = release.services.compactMapValues { release.images[$0.image]?.manifest.digest }
            entry.requiredBytes = release.requiredBlobs.reduce(0) { $0 + $1.size }
            entry.missing = try missing(release.requiredBlobs)
            entry.deltas = try release.deltas.filter { try blobSize($0.blob.digest) == $0.blob.size }
        } catch let error as any CodedError {
            entry.fault = error.message
        }
        return entry
    }
}

extension RepositoryName {
    fileprivate static let all: [RepositoryName] = [.release, .director]
}

/// The outcome of hashing a whole bundle.
public struct BundleVerification: Sendable, Equatable {
    public struct Problem: Sendable, Equatable {
        /// Stable code of the error.
        public var code: String
        public var message: String
    }

    /// Blobs hashed, and their bytes.
    public var blobs: Int
    public var bytes: Int64
    public var problems: [Problem]
    /// Blobs that releases need and the bundle leaves to the receiver; no fault by itself.
    public var missing: [Release.Blob]

    /// Everything that is there is what its name says, and every release can be read.
    public var isIntact: Bool { problems.isEmpty }
}

extension BundleReader {
    /// Hashes every blob and reads every release document. Says whether the bundle arrived whole;
    /// who signed it is for `Trust` to say.
    ///
    /// - Parameter progress: called with bytes hashed and in all; a throw stops.
    public func verify(
        progress: (_ done: Int64, _ total: Int64) throws -> Void = { _, _ in }
    ) throws -> BundleVerification {
        let blobs = try layout.blobs.all()
        let total = blobs.reduce(0) { $0 + $1.size }
        var result = BundleVerification(blobs: 0, bytes: 0, problems: [], missing: [])
        var problems: [BundleVerification.Problem] = []
        var missing: Set<Release.Blob> = []
        // What the index and the releases say of a blob's size is known before it is hashed.
        var sizes: [Digest: Int64] = [:]
        for descriptor in layout.index.manifests { sizes[descriptor.blob.digest] = descriptor.blob.size }
        for offer in offers {
            try Self.gathering(&problems) {
                let release = try release(offer)
                for blob in release.requiredBlobs {
                    sizes[blob.digest] = blob.size
                    if try blobSize(blob.digest) == nil { missing.insert(blob) }
                }
            }
        }
        for blob in blobs {
            try Self.gathering(&problems) {
                try reader(Release.Blob(digest: blob.digest, size: sizes[blob.digest] ?? blob.size)).forEachChunk {
                    result.bytes += Int64($0.count)
                    try progress(result.bytes, total)
                }
            }
            result.blobs += 1
        }
        result.problems = problems
        result.missing = missing.sorted { $0.digest < $1.digest }
        return result
    }

    /// The document of an offer, which must be the release it is listed as.
    private func release(_ offer: BundleOffer) throws -> Release {
        let release = try Release(decoding: try document(offer.document, limit: ReleaseLimits.documentSize))
        guard release.app == offer.app, release.version == offer.version, release.ctr == offer.ctr else {
            throw BundleError(.release, path, "\(offer.app) \(offer.version) is listed as another release")
        }
        return release
    }

    /// Notes a coded error as a problem, each once; any other error goes on.
    private static func gathering(
        _ problems: inout [BundleVerification.Problem], _ body: () throws -> Void
    ) throws {
        do {
            try body()
        } catch let error as any CodedError {
            let problem = BundleVerification.Problem(code: error.code, message: error.message)
            if !problems.contains(problem) { problems.append(problem) }
        }
    }
}
