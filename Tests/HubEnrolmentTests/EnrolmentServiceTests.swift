import Base
import HubCore
import HubEnrolment
import HubProtocol
import HubStore
import Synchronization
import TestSupport
import Testing
import Trust
import WireGuard

private let start = Timestamp(seconds: 1_800_000_000)

/// A clock that a test moves.
private final class TestClock: Sendable {
    private let time = Mutex(start)
    func advance(_ seconds: Int64) { time.withLock { $0 = $0 + seconds } }
    var clock: SystemClock {
        SystemClock(now: { [self] in time.withLock { $0 } }, monotonic: { 0 }, sleep: { _ in })
    }
}

/// A device that made its keys and keeps them.
private struct TestDevice {
    let wireGuard: SecretKey
    let signer: Ed25519Signer

    init() throws {
        wireGuard = try SecretKey.generatePrivate()
        signer = try Ed25519Signer(seed: (0..<32).map { _ in UInt8.random(in: 0...255) } as [UInt8])
    }

    func request(_ token: EnrolmentToken) throws -> [UInt8] {
        try EnrolmentRequest(
            token: token, privateKey: wireGuard, signingKey: signer.publicKey, architecture: "arm64", hostName: "box"
        ).envelope(signedBy: signer)
    }
}

@Suite struct EnrolmentServiceTests {
    let directory: TemporaryDirectory
    let hubKey: SecretKey
    let identity: HubIdentity
    let sealing: Sealing
    private let clock = TestClock()

    init() throws {
        directory = try TemporaryDirectory()
        hubKey = try SecretKey.generatePrivate()
        sealing = Sealing(key: try SecretKey.generatePreshared())
        let network = TunnelNetwork(bytes: [0xFD, 0, 0, 0, 0, 1])
        identity = HubIdentity(
            publicKey: try hubKey.derivePublicKey(), host: "hub.example.org", port: 51820, rootDigest: .sha256([]),
            network: try #require(network))
    }

    private func service(_ path: String? = nil, monitor: DurabilityMonitor = .passthrough) throws -> (
        service: EnrolmentService, store: SQLiteMetadataStore
    ) {
        let store = try SQLiteMetadataStore(path: path ?? directory.file("hub.db"), monitor: monitor)
        return (
            EnrolmentService(
                store: store, hubKey: hubKey, identity: identity, sealing: sealing, clock: clock.clock), store
        )
    }

    private func kinds(_ store: SQLiteMetadataStore) async throws -> [AuditEvent.Kind] {
        try await store.events(from: 0, limit: 1000).map { try AuditEvent(decoding: $0.bytes).kind }
    }

    @Test func aDeviceIsEnrolledAndFoundAgainAfterARestart() async throws {
        let (first, store) = try service()
        let token = try await first.makeToken(
            TokenOptions(fleet: FleetID("edge"), labels: ["site": "berlin"]), by: "operator:ana")
        let id = try token.credential().id
        #expect(try await first.peers().map(\.publicKey) == [token.credential().publicKey])
        let device = try TestDevice()
        let answer = try await first.redeem(device.request(token), through: id)
        let (second, _) = try service()
        #expect(try await second.redeem(device.request(token), through: id) == answer)
        let found = try await store.list(.device, selector: Selector("fleet=edge,site=berlin"), after: nil, limit: 9)
        #expect(found.records.count == 1)
        let peers = try await second.peers()
        #expect(peers.map(\.publicKey) == [try device.wireGuard.derivePublicKey(), try token.credential().publicKey])
        // The temporary peer goes with the token's hour, the device's stays.
        clock.advance(3_601)
        #expect(try await second.peers().map(\.address.description) == ["fd00:0:1:1::2"])
        #expect(try await second.redeem(device.request(token), through: id) == answer)
        #expect(try await kinds(store) == [.tokenMade, .deviceEnrolled])
    }

    @Test func twoThievesAtOnceGetOneDevice() async throws {
        let path = directory.file("race.db")
        let services = [try service(path).service, try service(path).service]
        let token = try await services[0].makeToken(TokenOptions(), by: "operator:ana")
        let id = try token.credential().id
        let outcomes = await withTaskGroup(of: String.self) { group in
            for number in 0..<8 {
                group.addTask {
                    do {
                        let device = try TestDevice()
                        _ = try await services[number % 2].redeem(device.request(token), through: id)
                        return "enrolled"
                    } catch let error as EnrolmentRefused {
                        return error.code
                    } catch {
                        return "\(error)"
                    }
                }
            }
            return await group.reduce(into: [:]) { $0[$1, default: 0] += 1 }
        }
        #expect(outcomes == ["enrolled": 1, "hub-enrolment.token-used": 7])
        let store = try service(path).store
        #expect(try await kinds(store).filter(\.isAlarm).count == 7)
    }

    @Test func aBatchGivesEachDeviceItsOwnAddress() async throws {
        let (service, store) = try service()
        let token = try await service.makeToken(TokenOptions(uses: 20), by: "operator:ana")
        let id = try token.credential().id
        let names = try await withThrowingTaskGroup(of: String.self) { group in
            for _ in 0..<20 {
                group.addTask {
                    let device = try TestDevice()
                    let answer = try await service.redeem(device.request(token), through: id)
                    guard case .waiting(let name, _) = answer else { return "not waiting" }
                    let approved = try await service.change(DeviceID(name)) {
                        try DeviceRules.approve($0, by: "operator:ana", now: $1)
                    }
                    #expect(approved.state == .active)
                    guard case .enrolled = try await service.redeem(device.request(token), through: id) else {
                        return "not enrolled"
                    }
                    return name
                }
            }
            return try await group.reduce(into: Set<String>()) { $0.insert($1) }
        }
        #expect(names.count == 20)
        let addresses = try await service.peers().dropLast().map(\.address)
        #expect(Set(addresses).count == 20)
        #expect(try await store.record(TokenRecord.self, id.description)?.value.used == 20)
    }

    @Test func deletingAndRevokingEndAllAndReviveNothing() async throws {
        let (service, store) = try service()
        let token = try await service.makeToken(TokenOptions(), by: "operator:ana")
        let id = try token.credential().id
        let device = try TestDevice()
        guard case .enrolled(let name, _, _) = try await service.redeem(device.request(token), through: id) else {
            Issue.record("not enrolled")
            return
        }
        try await service.revokeToken(id, by: "operator:ana")
        #expect(try await service.revokeToken(id, by: "operator:ana") == false)
        #expect(try await service.peers().count == 1)
        try await service.delete(DeviceID(name), by: "operator:ana")
        #expect(try await service.peers().isEmpty)
        let request = try device.request(token)
        let refused = await #expect(throws: EnrolmentRefused.self) { try await service.redeem(request, through: id) }
        #expect(refused?.refusal == .deviceRemoved)
        let fresh = try await service.makeToken(TokenOptions(), by: "operator:ana")
        let freshID = try fresh.credential().id
        let again = try device.request(fresh)
        let bound = await #expect(throws: EnrolmentRefused.self) { try await service.redeem(again, through: freshID) }
        #expect(bound?.refusal == .keyBound)
        #expect(
            try await kinds(store) == [
                .tokenMade, .deviceEnrolled, .tokenRevoked, .deviceDeleted, .enrolmentRefused, .tokenMade,
                .enrolmentRefused,
            ])
    }

    @Test func aTokenCountsInItsOwnTunnelOnly() async throws {
        let (service, store) = try service()
        let token = try await service.makeToken(TokenOptions(), by: "operator:ana")
        let other = try await service.makeToken(TokenOptions(), by: "operator:ana")
        let otherID = try other.credential().id
        let request = try TestDevice().request(token)
        let refused = await #expect(throws: EnrolmentRefused.self) {
            try await service.redeem(request, through: otherID)
        }
        #expect(refused?.refusal == .unknownToken)
        #expect(try await store.list(.device, selector: .everything, after: nil, limit: 9).records.isEmpty)
    }

    @Test func keysRotateThroughTheStore() async throws {
        let (service, _) = try service()
        let token = try await service.makeToken(TokenOptions(), by: "operator:ana")
        let id = try token.credential().id
        let device = try TestDevice()
        guard case .enrolled(let name, _, _) = try await service.redeem(device.request(token), through: id) else {
            Issue.record("not enrolled")
            return
        }
        clock.advance(4_000)
        let next = try SecretKey.generatePrivate().derivePublicKey()
        let deviceID = try DeviceID(name)
        _ = try await service.stageKey(next, for: deviceID)
        // Asked again after a lost answer: nothing new.
        _ = try await service.stageKey(next, for: deviceID)
        #expect(try await service.peers().count == 2)
        try await service.change(deviceID) { DeviceRules.completeRotation($0, heardAt: .odd, now: $1) }
        #expect(try await service.peers().map(\.publicKey) == [next])
        // The old key is spent.
        let old = try device.wireGuard.derivePublicKey()
        await #expect(throws: HubError.self) { try await service.stageKey(old, for: deviceID) }
    }

    @Test func aKeyThatWasStagedMakesWayForAnotherOnlyLater() async throws {
        let (service, store) = try service()
        let token = try await service.makeToken(TokenOptions(), by: "operator:ana")
        guard
            case .enrolled(let name, _, _) = try await service.redeem(
                TestDevice().request(token), through: token.credential().id)
        else {
            Issue.record("not enrolled")
            return
        }
        let id = try DeviceID(name)
        let keys = try (0..<3).map { _ in try SecretKey.generatePrivate().derivePublicKey() }
        func bindings() async throws -> Int {
            try await store.list(.binding, selector: .everything, after: nil, limit: 99).records.count
        }
        _ = try await service.stageKey(keys[0], for: id)
        let error = await #expect(throws: HubError.self) { try await service.stageKey(keys[1], for: id) }
        #expect(error?.reason == .tooSoon)
        #expect(try await bindings() == 3)
        clock.advance(DeviceRules.stagingInterval)
        let staged = try await service.stageKey(keys[1], for: id)
        #expect(staged.keys[.odd] == TunnelKey(keys[1]))
        #expect(try await service.peers().map(\.publicKey).contains(keys[0]) == false)
        // The key that was never used stays bound: it is taken from nobody again.
        clock.advance(DeviceRules.stagingInterval)
        let spent = await #expect(throws: HubError.self) { try await service.stageKey(keys[0], for: id) }
        #expect(spent?.reason == .deviceState)
        // A hub whose clock was set back does not wait for years.
        clock.advance(-86_400 * 4_000)
        _ = try await service.stageKey(keys[2], for: id)
    }

    /// The hub loses power at each durable operation; the device only ever repeats its request.
    @Test func aPowerCutAnywhereEnrolsTheDeviceExactlyOnce() async throws {
        for target in 1...8 {
            let path = directory.file("crash-\(target).db")
            _ = try SQLiteMetadataStore(path: path)
            let cut = Mutex(0)
            let monitor = DurabilityMonitor { _ in
                cut.withLock { count in
                    count += 1
                    return count < target ? .perform : .fail(errno: 5)
                }
            }
            var token: EnrolmentToken?
            let device = try TestDevice()
            if let service = try? service(path, monitor: monitor).service {
                token = try? await service.makeToken(TokenOptions(), by: "operator:ana")
                if let token {
                    let id = try token.credential().id
                    _ = try? await service.redeem(device.request(token), through: id)
                    _ = try? await service.revokeToken(id, by: "operator:ana")
                }
            }
            let (service, store) = try service(path)
            let shown = if let token { token } else { try await service.makeToken(TokenOptions(), by: "operator:ana") }
            let id = try shown.credential().id
            let request = try device.request(shown)
            guard case .enrolled(let name, _, _) = try await service.redeem(request, through: id) else {
                Issue.record("operation \(target): not enrolled")
                continue
            }
            let devices = try await store.list(.device, selector: .everything, after: nil, limit: 9).records
            #expect(devices.map(\.key.id) == [name], "operation \(target)")
            #expect(try await store.record(TokenRecord.self, id.description)?.value.used == 1)
            #expect(try await kinds(store).filter { $0 == .deviceEnrolled }.count == 1)
        }
    }
}
