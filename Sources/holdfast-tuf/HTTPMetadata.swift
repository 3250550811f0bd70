import HTTPFetch
import Trust

/// Metadata at a base URL: each name is one percent-encoded segment.
struct HTTPMetadata: MetadataFetcher {
    let fetcher: HTTPFetcher
    let base: String

    func fetchMetadata(_ name: String, maxLength: Int) async throws -> [UInt8]? {
        try await fetcher.get(join(base, MetadataName.encoded(name)), maxLength: maxLength)
    }
}

func join(_ base: String, _ path: String) -> String { base.hasSuffix("/") ? base + path : "\(base)/\(path)" }
