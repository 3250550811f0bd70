import Base
import OCI
import Model
import ReleaseBundle
import Trust

/// Whether the releases of a bundle are signed by whom they should be.
public struct BundleTrust: Sendable {
    public struct Verdict: Sendable {
        public var offer: BundleOffer
        /// Nil when trusted.
        public var refusal: TrustError?
        public var freshness: Freshness?
    }

    /// Verifies each release as a device would that has the labels the release asks for, that knows nothing but
    /// `root`, and whose clock says `now`.
    public static func verdicts(_ bundle: BundleReader, root: [UInt8], now: Timestamp) async throws -> [Verdict] {
        let state = try TrustState.provision(releaseRoot: root, buildTime: Timestamp(seconds: 0))
        guard let metadata = try bundle.metadataFetcher(.release) else {
            throw TrustError(.metadataMissing, bundle.path, "has no signed metadata")
        }
        var verdicts: [Verdict] = []
        for offer in bundle.offers {
            verdicts.append(await verdict(offer, bundle, metadata, state, now))
        }
        return verdicts
    }

    private static func verdict(
        _ offer: BundleOffer, _ bundle: BundleReader, _ metadata: some MetadataFetcher, _ state: TrustState,
        _ now: Timestamp
    ) async -> Verdict {
        // The labels come from a document nobody has verified: they only choose what is asked for.
        let claimed = try? Release(decoding: bundle.document(offer.document, limit: ReleaseLimits.documentSize))
        let requirements = claimed?.requirements ?? Release.Requirements()
        let device = DeviceIdentity(
            id: requirements.labels["device"] ?? "operator", labels: requirements.labels,
            architecture: requirements.architectures.first ?? "any", features: Set(requirements.features))
        let verifier = ReleaseVerifier(
            device: device, policy: TrustPolicy(requiresDirector: false), clock: ClockReading(now: now, isTrusted: true)
        )
        do throws(TrustError) {
            let verified = try await verifier.verify(
                Candidate(app: offer.app, version: offer.version),
                from: TrustSources(release: metadata, isSideload: true), load: bundle.targetLoader, state: state
            ) { _ in }
            guard verified.digest == offer.document.digest else {
                throw TrustError(.releaseMismatch, verified.targetPath, "the bundle lists another document")
            }
            return Verdict(offer: offer, refusal: nil, freshness: verified.freshness)
        } catch {
            return Verdict(offer: offer, refusal: error, freshness: nil)
        }
    }
}
