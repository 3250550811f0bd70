import Archive
import Base
import Compose
import ImageDeltaCreate
import Model
import OCI
import Trust

/// Makes a release of a Compose file and images, and lists it in a repository.
///
/// Blobs come first, each complete before it has a name; then the document; then the listing, which is what
/// devices see. A build cut short leaves blobs that the next build takes up, and nothing else.
public struct ReleaseBuilder: Sendable {
    public struct Request: Sendable {
        public var application: ComposeApplication
        public var name: ReleaseName
        public var images: ImageMapping
        /// Nil for the newest release's and one.
        public var ctr: Int64?
        /// Nil for the Compose file's, else the newest release's.
        public var epoch: Int64?
        /// Labels a device must have, beside those of the Compose file.
        public var labels: [String: String] = [:]
        /// Wanted architecture where a source has several; nil takes what is there.
        public var architecture: String?
        /// The targets role that lists the release.
        public var role = "targets"
        /// Versions of the application whose devices get deltas to this release.
        public var deltaFrom: [SemanticVersion] = []
        /// 1 (fast) to 9 (small).
        public var deltaEffort = 7

        public init(application: ComposeApplication, name: ReleaseName, images: ImageMapping) {
            self.application = application
            self.name = name
            self.images = images
        }
    }

    /// What a build made.
    public struct Outcome: Sendable {
        public var target: ReleaseTarget
        public var release: Release
        public var signing: SigningReport
        /// The release was there already, with the same content.
        public var wasThere: Bool
        /// Bytes of all blobs a device without anything needs.
        public var totalBytes: Int64
    }

    public struct Progress: Sendable {
        public var task: String
        public var done: Int64
        public var total: Int64?
    }

    let workspace: Workspace
    let engine: EngineImages
    let report: @Sendable (Progress) -> Void

    public init(
        workspace: Workspace, engine: EngineImages = EngineImages(),
        report: @escaping @Sendable (Progress) -> Void = { _ in }
    ) {
        self.workspace = workspace
        self.engine = engine
        self.report = report
    }

    public func build(_ request: Request, signers: [any Signer]) async throws -> Outcome {
        let order = try ReleaseOrder(
            request.name, ctr: request.ctr, epoch: request.epoch ?? request.application.epoch, workspace)
        let sources = try request.images.resolve(request.application)
        let images = try await importImages(sources, architecture: request.architecture)
        var release = try assemble(request, order, images)
        if !request.deltaFrom.isEmpty {
            release.deltas = try await deltas(for: release, request)
        }
        let document = try release.encoded()
        let target = ReleaseTarget(
            app: release.app, version: release.version, ctr: release.ctr, epoch: release.epoch,
            selector: release.requirements.labels, architectures: release.requirements.architectures,
            digest: Digest.sha256(document), length: Int64(document.count))
        let bytes = Self.blobs(of: release).reduce(0) { $0 + $1.size } + target.length
        if let existing = try order.existing(as: target) {
            return Outcome(
                target: existing, release: release, signing: try workspace.repository.sign(signers), wasThere: true,
                totalBytes: bytes)
        }
        report(Progress(task: "Signing \(request.name)", done: 0, total: nil))
        let signing = try workspace.repository.add(target, document: document, role: request.role, signers: signers)
        return Outcome(target: target, release: release, signing: signing, wasThere: false, totalBytes: bytes)
    }

    private func deltas(for release: Release, _ request: Request) async throws -> [Release.LayerDelta] {
        guard let effort = Effort(request.deltaEffort) else {
            throw OperatorError(.value, "effort \(request.deltaEffort) is none", hint: "write 1 to 9")
        }
        let older = try request.deltaFrom.map {
            try workspace.release(ReleaseName(app: request.name.app, version: $0)).release
        }
        return try await ReleaseDeltas(
            blobs: workspace.blobs, fileSystem: workspace.fileSystem, effort: effort, report: report
        ).make(for: release, from: older)
    }

    /// Every blob of a release, deltas left out, each once.
    static func blobs(of release: Release) -> [Release.Blob] {
        var seen: Set<Digest> = []
        let all =
            release.images.values.flatMap { [$0.manifest, $0.config] + $0.layers.map(\.blob) }
            + release.files.values.map(\.blob) + [release.agent?.binary].compactMap { $0 }
        return all.filter { seen.insert($0.digest).inserted }
    }

    // MARK: Images

    private func importImages(
        _ sources: [String: ImageSource], architecture: String?
    ) async throws -> [String: Release.Image] {
        try workspace.blobs.prepare()
        let importer = ImageImporter(store: workspace.blobs, known: try workspace.knownLayers())
        var done: [ImageSource: Release.Image] = [:]
        var result: [String: Release.Image] = [:]
        for (service, source) in sources.sorted(by: { $0.key < $1.key }) {
            if let image = done[source] {
                result[service] = image
                continue
            }
            let image = try await withOpened(source, service, architecture) { image in
                try importer.add(image) { progress in
                    report(
                        Progress(
                            task: "Image of \(service)", done: progress.done, total: progress.total))
                }
            }
            done[source] = image
            result[service] = image
        }
        return result
    }

    private func withOpened(
        _ source: ImageSource, _ service: String, _ architecture: String?, body: (SourceImage) throws -> Release.Image
    ) async throws -> Release.Image {
        guard case .engine(let reference) = source else {
            return try body(try SourceImage(opening: source, architecture: architecture))
        }
        let file = Path.join(workspace.blobs.stagingDirectory, "engine-\(Digest.sha256(Array(reference.utf8)).hex).tar")
        defer { try? workspace.fileSystem.unlink(file, op: "build.image") }
        let report = report
        let counter = Counter()
        try await engine.save(reference, to: file) { count in
            report(Progress(task: "Reading \(reference) from the engine", done: counter.add(count), total: nil))
        }
        // An image named by its ID has no name inside the archive.
        let name = reference.hasPrefix("sha256:") || reference.contains("@") ? nil : reference
        let image = try SourceImage(opening: .dockerArchive(file: file, reference: name), architecture: architecture)
        var stored = try body(image)
        stored.reference = source.description
        return stored
    }

    // MARK: The document

    private func assemble(
        _ request: Request, _ order: ReleaseOrder, _ images: [String: Release.Image]
    ) throws -> Release {
        let application = request.application
        var services = application.services
        var unique: [String: Release.Image] = [:]
        for (name, image) in images.sorted(by: { $0.key < $1.key }) {
            let key = image.manifest.digest.description
            services[name]?.image = key
            var image = image
            // The reference in the file is what people know; where the image came from is of no use later.
            image.reference = application.images[name] ?? name
            if unique[key] == nil { unique[key] = image }
        }
        var files: [String: Release.ConfigFile] = [:]
        for (name, content) in application.files {
            files[name] = .init(blob: try workspace.blobs.put(content.bytes), secret: content.isSecret)
        }
        var requirements = application.requirements
        requirements.labels.merge(request.labels) { $1 }
        if requirements.architectures.isEmpty {
            requirements.architectures = Set(unique.values.map(\.architecture)).sorted()
        }
        try checkArchitectures(requirements.architectures, images)
        return Release(
            app: request.name.app, version: request.name.version, ctr: order.ctr, epoch: order.epoch,
            requirements: requirements, services: services, networks: application.networks,
            volumes: application.volumes, files: files, images: unique, update: application.update)
    }

    /// Images for other machines than the release says it is for would fail on the device, at the worst time.
    private func checkArchitectures(_ wanted: [String], _ images: [String: Release.Image]) throws(OperatorError) {
        for (service, image) in images.sorted(by: { $0.key < $1.key }) where wanted != [image.architecture] {
            throw OperatorError(
                .imageSource,
                "the image of \(service) is for \(image.architecture), the release for \(wanted.joined(separator: ", "))",
                hint: "make one release per architecture, each with images of that one")
        }
    }
}
