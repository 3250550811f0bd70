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
    ///   - from: releases of which every receiver has one.
    ///   - devices: inventories of the receivers, when they are known. What all receivers have stays out, and of each
    ///     layer that some lack the fewest bytes go in.
    /// - Throws: `operator.not-signed` for a release whose listing waits for signatures.
    public func bundlePlan(
        _ names: [ReleaseName], installed: [ReleaseName] = [], from: [ReleaseName] = [],
        devices: [DeviceInventory] = []
    ) throws -> (plan: BundlePlan, choices: [BundleSelection.Choice]) {
        var entries: [BundlePlan.Entry] = []
        for name in names {
            let stored = try release(name)
            guard try isPublished(stored.target) else { throw waits(name) }
            entries.append(.init(release: stored.release, document: stored.document))
        }
        var omitted: Set<Digest> = []
        for name in installed { omitted.formUnion(ReleaseBuilder.blobs(of: try release(name).release).map(\.digest)) }
        let receivers = try from.map { Receiver($0, try release($0).release) } + devices.map { Receiver($0) }
        guard !receivers.isEmpty else { return (BundlePlan(entries, omitting: omitted), []) }
        var wanted: Set<Digest> = []
        var choices: [BundleSelection.Choice] = []
        for index in entries.indices {
            let release = entries[index].release
            let selection = BundleSelection(release, for: receivers)
            omitted.formUnion(selection.omitted)
            wanted.formUnion(selection.deltas)
            choices += selection.choices
            let held = devices.flatMap(\.releases).filter { $0.app == release.app && $0.role == "current" }
            entries[index].audience = BundleAudience(
                bases: Array(Set(from.map(\.description) + held.map { "\($0.app)/\($0.version)" })),
                devices: devices.map(\.device))
        }
        return (BundlePlan(entries, omitting: omitted) { wanted.contains($0.blob.digest) }, choices)
    }

    /// A writer of bundles from this folder, with the metadata of the director if there is one.
    public func bundleWriter() -> BundleWriter {
        var metadata: [RepositoryName: String] = [.release: repository.metadataDirectory]
        if let director { metadata[.director] = director.metadataDirectory }
        return BundleWriter(blobs: blobs, metadata: metadata, fileSystem: fileSystem)
    }
}
