import Base
import HubCore
import HubStore
import Model
import ReleaseBundle
import Trust

/// The release repository as the hub holds it: metadata that key holders signed elsewhere, taken in only when a
/// device that trusts the known root would take it, and only when every blob of its releases is here.
public actor ReleaseRepository {
    /// Files of one upload, and bytes of them all.
    public static let files = 2_000
    public static let uploadSize = 24 << 20

    public struct Published: Sendable, Equatable {
        /// Of timestamp and snapshot.
        public var timestamp: Int64
        /// Releases that were not known before.
        public var added: [ReleaseRecord]
    }

    /// A blob that a release needs and the hub does not have.
    public struct Lacking: Error, Sendable, Equatable {
        public var blobs: [Release.Blob]
        /// Blobs are told up to this number.
        public static let told = 100
    }

    private let repository: Repository
    private let incoming: Repository
    private let store: any MetadataStore
    private let blobs: any HubBlobStore
    private let fileSystem: FileSystem
    private let clock: SystemClock
    /// Told when new metadata is in force.
    private let published: @Sendable () async throws -> Void

    /// - Parameter path: the repository's folder, which holds the root that devices start from.
    public init(
        path: String, store: any MetadataStore, blobs: any HubBlobStore, fileSystem: FileSystem = FileSystem(),
        clock: SystemClock = .live, published: @escaping @Sendable () async throws -> Void
    ) {
        repository = Repository(path: path, fileSystem: fileSystem, clock: clock)
        incoming = Repository(path: Path.join(path, "incoming"), fileSystem: fileSystem, clock: clock)
        self.store = store
        self.blobs = blobs
        self.fileSystem = fileSystem
        self.clock = clock
        self.published = published
    }

    /// Takes new metadata in, by file name.
    ///
    /// - Throws: `trust.*` when a device would refuse it, ``Lacking``. Then nothing has changed.
    public func publish(_ files: [String: [UInt8]], by actor: String) async throws -> Published {
        try check(files)
        try stage(files)
        defer { try? fileSystem.removeTree(incoming.path, op: "hub.publish") }
        let verified = try await verify()
        let records = try await records(verified)
        // Devices start at the timestamp: it comes last, so that a crash leaves the last whole set in force.
        for name in files.keys.sorted(by: {
            ($0 == "timestamp.json" ? 1 : 0, $0) < ($1 == "timestamp.json" ? 1 : 0, $1)
        }) {
            try fileSystem.replace(
                Path.join(repository.metadataDirectory, name), with: files[name] ?? [], op: "hub.publish")
        }
        let status = try repository.status()
        let version = status.roles.first { $0.name == "timestamp" }?.version ?? 0
        let added = records.filter { $0.old == nil }.map(\.record)
        var events = [
            AuditEvent(
                .repositoryPublished, at: clock.now(), actor: actor, subject: "repository:release",
                fields: ["timestamp": String(version), "releases": String(verified.count)])
        ]
        events += added.prefix(HubStoreLimits.writes / 2).map {
            AuditEvent(
                .releaseAdded, at: clock.now(), actor: actor, subject: "release:\($0.recordID)",
                fields: ["digest": $0.digest.description])
        }
        try await commit(records.filter { $0.old?.value != $0.record }, events)
        try await published()
        return Published(timestamp: version, added: added)
    }

    private func check(_ files: [String: [UInt8]]) throws {
        guard files.count <= Self.files, files.values.reduce(0, { $0 + $1.count }) <= Self.uploadSize else {
            throw HubError(.limit, "upload", "more than \(Self.files) files or \(Self.uploadSize) bytes")
        }
        for name in files.keys {
            guard name.hasSuffix(".json"), MetadataName.decoded(name) != nil, !name.hasPrefix("."),
                name.utf8.count <= HubStoreLimits.idLength
            else { throw HubError(.name, "file \"\(name.prefix(64))\"", "is no name of a metadata file") }
        }
    }

    /// What would be there after the upload, in a folder of its own.
    private func stage(_ files: [String: [UInt8]]) throws {
        try fileSystem.removeTree(incoming.path, op: "hub.publish")
        try fileSystem.makeDirectories(incoming.metadataDirectory, op: "hub.publish")
        for name in try fileSystem.list(repository.metadataDirectory) where files[name] == nil {
            let bytes = try fileSystem.read(
                Path.join(repository.metadataDirectory, name), limit: TrustLimits.standard.targetsBytes)
            try fileSystem.replace(Path.join(incoming.metadataDirectory, name), with: bytes, op: "hub.publish")
        }
        for (name, bytes) in files {
            try fileSystem.replace(Path.join(incoming.metadataDirectory, name), with: bytes, op: "hub.publish")
        }
    }

    /// The client workflow from what is in force now: nothing may go back, nothing may be unsigned.
    private func verify() async throws -> [ReleaseTarget] {
        let targets = try incoming.publishedReleases()
        try await Self.verify(
            targets, from: try inForce(), in: DirectoryFetcher(incoming.metadataDirectory, fileSystem: fileSystem),
            now: clock.now())
        return targets
    }

    private static func verify(
        _ targets: [ReleaseTarget], from trusted: TrustedMetadata, in fetcher: DirectoryFetcher, now: Timestamp
    ) async throws {
        var client = try UpdateClient(trusted: trusted, fetcher: fetcher, now: now) { _, _ in }
        try await client.refresh()
        for target in targets {
            guard let found = try await client.find(target.path), found.length == target.length else {
                throw TrustError(.targetNotFound, target.path, "no role that may speak for it lists it so")
            }
        }
    }

    private func inForce() throws -> TrustedMetadata {
        let directory = repository.metadataDirectory
        let roots = try fileSystem.list(directory).filter { $0.hasSuffix(".root.json") }
            .compactMap { name in Int64(name.dropLast(".root.json".count)).map { ($0, name) } }
        guard let newest = roots.max(by: { $0.0 < $1.0 }) else {
            throw TrustError(.metadataMissing, "root", "this hub has no release root; make the hub with one")
        }
        func read(_ name: String) throws -> [UInt8]? {
            let path = Path.join(directory, name)
            guard try fileSystem.status(path) != nil else { return nil }
            return try fileSystem.read(path, limit: TrustLimits.standard.targetsBytes)
        }
        return TrustedMetadata(root: try read(newest.1) ?? [], timestamp: try read("timestamp.json"))
    }

    private struct Entry {
        var record: ReleaseRecord
        var old: (value: ReleaseRecord, version: Int64)?
    }

    /// Each release's document has to be here and what its listing says, with every blob that it needs.
    private func records(_ targets: [ReleaseTarget]) async throws -> [Entry] {
        var entries: [Entry] = []
        var lacking: [Release.Blob] = []
        for target in targets {
            let app = try AppID(target.app)
            let old = try await store.record(ReleaseRecord.self, ReleaseRecord.recordID(app, target.version))
            let record = ReleaseRecord(
                app: app, version: target.version, ctr: target.ctr, epoch: target.epoch, digest: target.digest,
                length: target.length, architectures: target.architectures,
                addedAt: old?.value.addedAt ?? clock.now())
            if old?.value != record { lacking += try await missing(target) }
            entries.append(Entry(record: record, old: old))
        }
        guard lacking.isEmpty else { throw Lacking(blobs: Array(lacking.prefix(Lacking.told))) }
        return entries
    }

    private func missing(_ target: ReleaseTarget) async throws -> [Release.Blob] {
        guard try await blobs.stat(target.digest) == target.length else {
            return [Release.Blob(digest: target.digest, size: target.length)]
        }
        guard target.length <= Int64(TrustLimits.standard.releaseBytes) else {
            throw TrustError(.tooLarge, target.path, "a release document of \(target.length) bytes")
        }
        var bytes: [UInt8] = []
        while Int64(bytes.count) < target.length {
            let start = Int64(bytes.count)
            bytes += try await blobs.read(
                target.digest, range: start..<min(start + Int64(HubStoreLimits.readSize), target.length))
        }
        let release = try Release(decoding: bytes)
        guard release.app == target.app, release.version == target.version else {
            throw TrustError(.releaseMalformed, target.path, "the document is of \(release.app) \(release.version)")
        }
        var lacking: [Release.Blob] = []
        for blob in release.requiredBlobs + release.deltas.map(\.blob) {
            if try await blobs.stat(blob.digest) != blob.size { lacking.append(blob) }
        }
        return lacking
    }

    /// In as many commits as the store's bound asks for; a crash in between is mended by the next upload.
    private func commit(_ entries: [Entry], _ events: [AuditEvent]) async throws {
        var writes = try entries.map {
            try Commit.Write.put($0.record, expecting: $0.old.map { .version($0.version) } ?? .absent)
        }
        while writes.count > HubStoreLimits.writes {
            try await store.commit(Commit(Array(writes.prefix(HubStoreLimits.writes))))
            writes.removeFirst(HubStoreLimits.writes)
        }
        try await store.commit(Commit(writes, events: events))
    }
}
