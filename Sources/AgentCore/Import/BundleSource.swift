import Base
import ReleaseBundle
import Trust

extension ImportSource {
    /// A bundle as a folder or a tar, carried by hand: its timestamp and snapshot may be past their expiry.
    public init(bundle path: String) throws {
        let reader = try BundleReader(opening: path)
        guard let release = try reader.metadataFetcher(.release) else {
            throw AgentError(
                .missingContent, "\(path) carries no metadata of the release repository",
                hint: "make it with: holdfast bundle export")
        }
        self.init(
            trust: .init(release: release, director: try reader.metadataFetcher(.director), isSideload: true),
            document: reader.targetLoader, blobs: reader,
            carried: Set(reader.offers.map { ReleaseTarget.path(app: $0.app, version: $0.version) }))
    }
}
