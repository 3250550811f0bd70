import AgentCore
import Base
import Model
import OCI

/// The hub as a place to have a sound copy of a damaged blob from.
public struct HubRepair: RepairSource {
    private let service: HubService

    public init(_ service: HubService) { self.service = service }

    public var name: String { "hub" }

    public func blobs(for blob: Release.Blob) async throws -> (any BlobSource)? {
        try await service.copy(of: blob.digest)
    }
}

extension HubService {
    /// The hub's copy of a blob; nil while the device is with no hub, or where the hub has none.
    ///
    /// - Throws: what keeps the hub from answering.
    func copy(of digest: Digest) async throws -> (any BlobSource)? {
        guard let client = serving, let end = try? end(), let size = try await client.blobSize(digest, end) else {
            return nil
        }
        return HubBlobs(
            client: client, clock: environment.clock, end: { [self] in try await self.end() }, sizes: [digest: size])
    }
}
