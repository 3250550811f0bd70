import Base
import Model
import OCI

/// What the engine gave of one image.
struct ImageReading: Sendable {
    var image: Release.Image
    var pinned: PinnedRelease
    /// Digests of the archive's files: layers by diffID, the config.
    var found: Set<Digest>
    /// Why the engine could not give it whole; nil when it did.
    var failure: String?

    var diffIDs: [Digest] { image.layers.map(\.diffID) }
    var isSound: Bool { failure == nil && found.contains(image.config.digest) && found.isSuperset(of: diffIDs) }

    /// The chains of layers that the engine gave as they were signed. Images that begin with the same layers share them.
    var soundChains: Set<ArraySlice<Digest>> {
        Set(diffIDs.indices.prefix { found.contains(diffIDs[$0]) }.map { diffIDs[...$0] })
    }
}

/// Images as the engine gives them, and mending it from the store.
extension Scrubber {
    /// Reads every image of the releases that the engine has, and takes from it what the store lacks.
    func readEngine(
        _ releases: [PinnedRelease], _ report: inout ScrubReport, _ progress: @Sendable (JSONValue) -> Void
    ) async throws -> [ImageReading] {
        var seen: Set<Digest> = []
        var readings: [ImageReading] = []
        for pinned in releases {
            for (_, image) in pinned.release.images.sorted(by: { $0.key < $1.key })
            where seen.insert(image.config.digest).inserted {
                try Task.checkCancellation()
                progress(["event": "image", "reference": .string(image.reference)])
                // The reconciler loads what the present release lacks; the one before is loaded when it is gone back to.
                guard try await engine.image(image.config.digest) != nil else { continue }
                report.images += 1
                readings.append(try await read(image, of: pinned, &report))
            }
        }
        return readings
    }

    private func read(
        _ image: Release.Image, of pinned: PinnedRelease, _ report: inout ScrubReport
    ) async throws -> ImageReading {
        let id = image.config.digest
        let missing = try lacking(pinned)
        let layers = missing.compactMap(\.layer).filter { image.layers.contains($0) }
        let exported = ExportedImage(
            store: store, documents: missing.contains { $0.blob == image.config } ? [image.config] : [],
            layers: Set(layers.map { Release.Blob(digest: $0.diffID, size: $0.uncompressedSize) }))
        let pace = ReadingPace(budget: budget, clock: clock)
        var failure: String?
        do {
            try await export(id) { bytes in
                try await exported.take(bytes)
                try await pace.wait(after: bytes.count)
            }
            try await exported.finish()
        } catch is CancellationError {
            throw CancellationError()
        } catch {
            failure = (error as? any CodedError)?.message ?? String(describing: error)
            try await exported.abandon()
        }
        report.bytes += pace.bytes
        let kept = await exported.kept
        for entry in missing where !entry.names.isDisjoint(with: kept) { mark(&report, entry, from: "engine") }
        return ImageReading(image: image, pinned: pinned, found: await exported.found, failure: failure)
    }

    /// Has what the engine gave wrongly loaded anew from the store.
    func mend(
        _ readings: [ImageReading], _ releases: [PinnedRelease], _ report: inout ScrubReport, mayRestart: Bool
    ) async throws {
        // An image that came whole proves the layers that it shares with one that did not.
        let sound = readings.filter { $0.failure == nil }.reduce(into: Set<ArraySlice<Digest>>()) {
            $0.formUnion($1.soundChains)
        }
        for reading in readings where !reading.isSound {
            let wrong = reading.diffIDs.indices.filter { !sound.contains(reading.diffIDs[...$0]) }
            var finding = ScrubReport.Finding(
                kind: .damagedImage, digest: reading.image.config.digest,
                of: "\(reading.image.reference) of \(reading.pinned)", repairedFrom: nil,
                detail: reading.failure ?? "\(wrong.count) of \(reading.diffIDs.count) layers are not the signed ones")
            let damage = DamagedImage(image: reading.image, firstDamagedLayer: wrong.first)
            if try await reload(damage, releases, mayRestart: mayRestart, &finding) { finding.repairedFrom = "store" }
            report.findings.append(finding)
        }
    }

    /// Takes the image out of the engine, and all that share its damaged layer, so that the reconciler loads them anew;
    /// false with the reason in the finding.
    private func reload(
        _ damage: DamagedImage, _ releases: [PinnedRelease], mayRestart: Bool, _ finding: inout ScrubReport.Finding
    ) async throws -> Bool {
        // Taken out already, with another that had the same layer.
        if try await engine.image(damage.image.config.digest) == nil { return true }
        let affected = releases.filter { pinned in
            pinned.release.images.values.contains {
                $0.config == damage.image.config || damage.affects($0.layers.map(\.diffID))
            }
        }
        // A service that is stopped must be able to start again: its config files count as much as its layers.
        guard try affected.allSatisfy({ try lacking($0).isEmpty }) else {
            finding.detail += "; the store has no whole copy: import the release again"
            return false
        }
        guard mayRestart else {
            finding.detail += "; mending it restarts its services: holdfast-agent scrub --restart"
            return false
        }
        guard try await reconciler.drop(damage) else {
            finding.detail += "; another image or container of the engine holds it"
            return false
        }
        return true
    }
}
