import Base
import HubCore
import HubDevices
import HubEnrolment
import HubHTTP
import HubProtocol
import HubStore
import HubTokens
import HubTunnel
import Logging
import NIOConcurrencyHelpers
import NIOHTTP1
import Trust
import WireGuard

/// A hub's start over a database that is there, up to the answer to a first poll: rows into memory, their peers onto an
/// interface, the responder. The interface is one in memory, since wireguard-go takes 65,536 peers.
enum Starting {
    static func run(_ path: String) async throws {
        let start = HubBench.now()
        let fixture = try Fixture()
        let logger = Logger(label: "bench") { _ in SwiftLogNoOpLogHandler() }
        let store = try SQLiteMetadataStore(path: path)
        let directory = DeviceDirectory(network: fixture.network, store: store)
        try await directory.load()
        let read = HubBench.now() - start
        let sealing = Sealing(key: fixture.hubKey)
        let enrolment = EnrolmentService(
            store: store, hubKey: fixture.hubKey, identity: fixture.identity, sealing: sealing)
        guard let name = InterfaceName("bench0") else { throw Fixture.Impossible() }
        let interface = MemoryInterface(name: name)
        let authority = TunnelAuthority(
            device: interface, key: fixture.hubKey, port: 51_820, enrolment: enrolment, store: store, logger: logger)
        try await authority.reconcile()
        let signer = try Ed25519Signer(seed: Array(repeating: 1, count: 32))
        let responder = try Serving.responder(
            fixture, store: store, directory: directory, blobs: FileBlobStore(root: path + ".blobs"), signer: signer)
        let device = try fixture.device(1)
        guard let address = fixture.network.device(site: device.site, index: device.index, slot: .even) else {
            throw Fixture.Impossible()
        }
        let poll = HTTPRequest(
            method: .GET, target: "/v1/device/state",
            headers: ["Authorization": "Bearer \(try Serving.token(device, signer))"], peer: address, id: "1")
        guard case .answer(let answer) = responder.accept(poll), answer.status == .ok else {
            throw Fixture.Impossible()
        }
        print(
            "rows \(directory.count) peers \(interface.count) first_poll_s \(HubBench.now() - start) rows_s \(read) "
                + "cpu_s \(HubBench.cpu()) resident_mib \(try HubBench.memory("VmRSS:")) peak_mib "
                + "\(try HubBench.memory("VmHWM:"))")
    }
}

/// An interface that is as large as asked and keeps its peers as a kernel would, outside of what the hub holds of them.
private final class MemoryInterface: WireGuardDevice {
    let name: InterfaceName
    private let state: NIOLockedValueBox<DeviceState>

    init(name: InterfaceName) {
        self.name = name
        state = NIOLockedValueBox(DeviceState(name: name))
    }

    var count: Int { state.withLockedValue { $0.peers.count } }

    func read() throws(WireGuardError) -> DeviceState { state.withLockedValue { $0 } }

    func apply(_ difference: DeviceDifference) throws(WireGuardError) {
        state.withLockedValue { state in
            for change in difference.peers where change.action == .add {
                let addresses: [IPPrefix] =
                    switch change.allowedIPs {
                    case .keep: []
                    case .add(let list), .replace(let list): list
                    }
                state.peers.append(Peer(publicKey: change.publicKey, allowedIPs: addresses))
            }
        }
    }
}
