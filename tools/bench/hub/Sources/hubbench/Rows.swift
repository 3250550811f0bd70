import HubCore
import HubStore

/// Device rows on disk and in memory.
enum Rows {
    static func write(_ path: String, _ count: UInt64) async throws {
        let fixture = try Fixture()
        let store = try SQLiteMetadataStore(path: path)
        let start = HubBench.now()
        for first in stride(from: UInt64(1), through: count, by: HubStoreLimits.writes) {
            let last = min(first + UInt64(HubStoreLimits.writes) - 1, count)
            try await store.commit(Commit(try (first...last).map { try .put(fixture.device($0), expecting: .absent) }))
        }
        print("rows \(count) written_s \(HubBench.now() - start) cpu_s \(HubBench.cpu())")
    }
}
