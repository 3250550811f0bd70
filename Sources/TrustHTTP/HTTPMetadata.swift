import Base
import HTTPFetch
import Trust

/// Metadata at a base URL: each name is one percent-encoded segment.
public struct HTTPMetadata: MetadataFetcher {
    private let fetcher: HTTPFetcher
    private let base: String

    public init(fetcher: HTTPFetcher, base: String) {
        self.fetcher = fetcher
        self.base = base
    }

    public func fetchMetadata(_ name: String, maxLength: Int) async throws -> [UInt8]? {
        do {
            return try await fetcher.get(URLPath.join(base, MetadataName.encoded(name)), maxLength: maxLength)
        } catch let error as FetchError where error.reason == .tooLarge {
            throw TrustError(.tooLarge, name, error.message)
        }
    }
}

/// Documents of targets at a base URL, as ``ReleaseVerifier`` asks for them.
public struct HTTPDocuments: Sendable {
    private let fetcher: HTTPFetcher
    private let base: String
    private let consistentSnapshots: Bool

    public init(fetcher: HTTPFetcher, base: String, consistentSnapshots: Bool = true) {
        self.fetcher = fetcher
        self.base = base
        self.consistentSnapshots = consistentSnapshots
    }

    public var load: TargetLoader {
        { path, digest, length in
            // With consistent snapshots the file's name begins with its hash.
            let location =
                consistentSnapshots
                ? Path.join(Path.parent(path) == "." ? "" : Path.parent(path), "\(digest.hex).\(Path.name(path))")
                : path
            let url = URLPath.join(base, MetadataName.encodedPath(location))
            do {
                guard let bytes = try await fetcher.get(url, maxLength: Int(length)) else {
                    throw TrustError(.fetchFailed, path, "\(url) is not there")
                }
                return bytes
            } catch let error as FetchError where error.reason == .tooLarge {
                throw TrustError(.lengthMismatch, path, error.message)
            }
        }
    }
}

public enum URLPath {
    /// `path` below `base`, with one slash between.
    public static func join(_ base: String, _ path: String) -> String {
        base.hasSuffix("/") ? base + path : "\(base)/\(path)"
    }
}
