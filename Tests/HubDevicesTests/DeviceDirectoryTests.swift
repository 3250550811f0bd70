import Base
import HubCore
import HubDevices
import HubProtocol
import HubStore
import TestSupport
import Testing
import WireGuard

@Suite struct DeviceDirectoryTests {
    /// Read from rows at the start, and from records when they change: an entity tag must not differ by that.
    @Test func whatIsReadAtTheStartIsWhatFollowingGives() async throws {
        let folder = try TemporaryDirectory()
        let store = try SQLiteMetadataStore(path: folder.file("hub.db"))
        let network = try #require(TunnelNetwork(bytes: [0xFD, 1, 2, 3, 4, 5]))
        let followed = DeviceDirectory(network: network, store: store)
        let before = try await store.commit(Commit([])).sequence
        for number in 0..<40 {
            let key = WireGuard.PublicKey(bytes: Digest.sha256([9, UInt8(number)]).bytes)
            var device = Device(
                id: try DeviceID("d-\(number)"), state: number % 7 == 6 ? .revoked : .active,
                labels: number % 3 == 0 ? [:] : ["site": "berlin", "a": "b", "ring": number % 2 == 0 ? "x" : "y"],
                architecture: "arm64", hostName: "pump", signingKey: Digest.sha256([UInt8(number)]).hex,
                key: try #require(key), site: 1,
                index: UInt64(number), token: try #require(EnrolmentTokenID(bytes: Array(repeating: 1, count: 16))),
                enrolledAt: Timestamp(seconds: 0))
            if number % 5 == 0 { device.rotateKey = true }
            try await store.commit(Commit([.put(device, expecting: .absent)]))
        }
        try await followed.follow(store.changes(after: before, limit: 1_000))
        let loaded = DeviceDirectory(network: network, store: store)
        try await loaded.load()
        #expect(loaded.count == followed.count && loaded.count == 35)
        for number in 0..<40 {
            let id = try DeviceID("d-\(number)")
            let (here, there) = (loaded.row(id), followed.row(id))
            #expect(here?.tag == there?.tag && here?.hash == there?.hash && here?.rotateKey == there?.rotateKey)
            #expect(here.map { loaded.labels(of: $0) } == there.map { followed.labels(of: $0) })
        }
    }
}
