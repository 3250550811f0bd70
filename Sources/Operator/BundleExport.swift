import Base
import Model
import OCI
import ReleaseBundle
import Trust

extension Workspace {
    /// What goes into a bundle of these releases.
    ///
    /// - Parameters:
    ///   - installed: releases that every receiver has; their blobs stay out.
    /// - Throws: `operator.not-signed` for a release whose listing waits for signatures.
    public func bundlePlan(_ names: [ReleaseName], installed: [ReleaseName] = []) throws -> BundlePlan {
        var entries: [BundlePlan.Entry] = []
        for name in names {
            let stored = try release(name)
            guard try isPublished(stored.target) else {
                throw OperatorError(
                    .notSigned, "\(name) waits for signatures",
                    hint: "carry the folder to the other key holders and have them run: holdfast repo sign \(path)")
            }
            entries.append(.init(release: stored.release, document: stored.document))
        }
        var omitted: Set<Digest> = []
        for name in installed { omitted.formUnion(ReleaseBuilder.blobs(of: try release(name).release).map(\.digest)) }
        return BundlePlan(entries, omitting: omitted)
    }

    /// A writer of bundles from this folder, with the metadata of the director if there is one.
    public func bundleWriter() -> BundleWriter {
        var metadata: [RepositoryName: String] = [.release: repository.metadataDirectory]
        if let director { metadata[.director] = director.metadataDirectory }
        return BundleWriter(blobs: blobs, metadata: metadata, fileSystem: fileSystem)
    }
}
