import Base
import Synchronization

/// The highest published version of each role, from one look at the folder: for one operation over many roles.
final class PublishedListing: Sendable {
    private let versions: Mutex<ExactMap<Int64>>

    init(_ repository: Repository) throws {
        var versions = ExactMap<Int64>()
        let directory = repository.metadataDirectory
        let names = try repository.fileSystem.status(directory) == nil ? [] : repository.fileSystem.list(directory)
        for name in names where name.hasSuffix(".json") {
            let parts = name.dropLast(".json".count).split(
                separator: ".", maxSplits: 1, omittingEmptySubsequences: false)
            guard parts.count == 2, let version = Int64(parts[0]), version > 0 else { continue }
            versions[String(parts[1])] = max(versions[String(parts[1])] ?? 0, version)
        }
        self.versions = Mutex(versions)
    }

    func version(of role: String) -> Int64? { versions.withLock { $0[role] } }

    func add(_ role: String, _ version: Int64) {
        versions.withLock { $0[role] = max($0[role] ?? 0, version) }
    }
}
