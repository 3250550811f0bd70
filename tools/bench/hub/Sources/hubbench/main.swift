import Base
import Glibc
import HubAudit
import HubCore
import HubDevices
import HubEnrolment
import HubHTTP
import HubProtocol
import HubReports
import HubStore
import HubTokens
import Logging
import NIOPosix
import Trust
import WireGuard

// hubbench rows DATABASE COUNT        writes device rows
// hubbench load DATABASE              reads them into memory, says seconds and resident KiB
// hubbench serve DIRECTORY PORT       serves one device on ::1's neighbour, prints its token
// hubbench ingest DATABASE COUNT      takes report segments in, durably

enum Bench {
    static let network = TunnelNetwork(bytes: [0xFD, 0, 0, 0, 0, 1])!

    static func residentKiB() -> Int {
        guard let status = try? String(decoding: FileSystem().read("/proc/self/status", limit: 1 << 16), as: UTF8.self),
            let line = status.split(separator: "\n").first(where: { $0.hasPrefix("VmRSS:") })
        else { return 0 }
        return line.split(separator: " ").compactMap { Int($0) }.first ?? 0
    }

    static func now() -> Double { Double(SystemClock.live.monotonic()) / 1e9 }

    /// A device as enrolment makes it: by the rules themselves.
    static func device(_ number: UInt64, token: TokenRecord, hub: SecretKey) throws -> (Device, Ed25519Signer) {
        var seed = [UInt8](repeating: 0, count: 32)
        withUnsafeBytes(of: number.bigEndian) { seed.replaceSubrange(0..<8, with: $0) }
        let signer = try Ed25519Signer(seed: seed)
        let key = WireGuard.PublicKey(bytes: Digest.sha256(seed).bytes)!
        let id = try DeviceID("d-\(Digest.sha256(seed).hex.prefix(20))")
        return (
            Device(
                id: id, state: .active, labels: token.labels, architecture: "arm64", hostName: "bench-\(number)",
                signingKey: signer.publicKey.value, key: key, site: 1, index: number, token: token.id,
                enrolledAt: Timestamp(seconds: 1_800_000_000)), signer
        )
    }

    static func token(hub: SecretKey) throws -> TokenRecord {
        try TokenRecord.make(
            TokenOptions(labels: ["site": "berlin", "ring": "stable"], uses: 10_000), seed: Array(repeating: 9, count: 32),
            hub: HubIdentity(
                publicKey: try hub.derivePublicKey(), host: "192.0.2.1", port: 51_820, rootDigest: .sha256([]),
                network: network), sealing: Sealing(key: hub), now: Timestamp(seconds: 1_800_000_000)
        ).record
    }

    static func rows(_ path: String, _ count: UInt64) async throws {
        let hub = SecretKey(bytes: Array(repeating: 8, count: 32))!
        let store = try SQLiteMetadataStore(path: path)
        let token = try token(hub: hub)
        let start = now()
        var next: UInt64 = 1
        while next <= count {
            let end = min(next + 999, count)
            try await store.commit(
                Commit(try (next...end).map { try .put(device($0, token: token, hub: hub).0, expecting: .absent) }))
            next = end + 1
        }
        print("wrote \(count) rows in \(now() - start) s")
    }

    static func load(_ path: String) async throws {
        let start = now()
        let store = try SQLiteMetadataStore(path: path)
        let directory = DeviceDirectory(network: network, store: store)
        try await directory.load()
        let seconds = now() - start
        print("rows \(directory.count)  start \(seconds) s  resident \(residentKiB() / 1024) MiB")
    }

    static func serve(_ folder: String, _ address: IPAddress, _ port: UInt16) async throws {
        let hub = SecretKey(bytes: Array(repeating: 8, count: 32))!
        let logger = Logger(label: "bench") { _ in SwiftLogNoOpLogHandler() }
        let store = try SQLiteMetadataStore(path: folder + "/hub.db")
        let blobs = try FileBlobStore(root: folder + "/store")
        let record = try token(hub: hub)
        let (device, _) = try device(1, token: record, hub: hub)
        if try await store.record(Device.self, device.id.text) == nil {
            try await store.commit(Commit([.put(device, expecting: .absent)]))
        }
        let signer = try Ed25519Signer(seed: Array(repeating: 1, count: 32))
        let tokens = AccessTokens(issuer: "https://bench", audience: "device", keys: [signer.publicKey])
        let directory = DeviceDirectory(network: network, store: store)
        try await directory.load()
        let enrolment = EnrolmentService(
            store: store, hubKey: hub,
            identity: HubIdentity(
                publicKey: try hub.derivePublicKey(), host: "192.0.2.1", port: 51_820, rootDigest: .sha256([]),
                network: network), sealing: Sealing(key: hub))
        let service = try DeviceService(
            store: store, enrolment: enrolment, audit: AuditLog(store: store, origin: "bench/audit", signer: signer),
            tokens: tokens, tokenSigner: signer, freshnessSigner: nil, hubKey: hub, network: network)
        let responder = DeviceResponder(
            directory: directory, versions: HubVersions(hotSet: 10), metadata: MetadataFiles(), blobs: blobs,
            service: service, schedule: PollSchedule(),
            // The load generator is one device: what bounds one is not what is measured.
            admission: AdmissionControl.Limits(rate: 1e9, deviceSpacing: 0), pacing: .init(deviceRate: 0, siteRate: 0),
            descriptor: { nil }, logger: logger)
        var bounds = HTTPBounds()
        bounds.connectionsPerPeer = 1_000
        let group = MultiThreadedEventLoopGroup(numberOfThreads: 2)
        let listener = try await HTTPListener.start(
            on: address, port: port, bounds: bounds, group: group, logger: logger, responder: responder)
        let now = SystemClock.live.now()
        let claims = AccessClaims(
            device: device.id, scopes: Set(AccessClaims.Scope.allCases), generation: device.credentialGeneration,
            tunnelKey: device.keys[.even]!.key, issued: now, expires: now + 3_600)
        print(try tokens.issue(claims, signer: signer))
        fflush(stdout)
        try await Task.sleep(for: .seconds(3_600))
        await listener.stop()
    }

    static func ingest(_ path: String, _ count: Int) async throws {
        let hub = SecretKey(bytes: Array(repeating: 8, count: 32))!
        let store = try SQLiteMetadataStore(path: path)
        let receiver = ReportReceiver(store: store)
        let record = try token(hub: hub)
        let devices = try (1...200).map { try device(UInt64($0), token: record, hub: hub) }
        // Signed before the clock starts: that is the devices' work.
        let perDevice = count / devices.count
        let batches: [(Device, [[[UInt8]]])] = try devices.map { device, signer in
            let all = try (1...perDevice).map {
                try ReportEnvelope(
                    device: device.id.text, epoch: 1, sequence: Int64($0),
                    content: [["kind": "metrics", "load": "0.42", "disk_free": 123_456_789]]
                ).signed(by: signer)
            }
            return (device, stride(from: 0, to: all.count, by: 10).map { Array(all[$0..<min($0 + 10, all.count)]) })
        }
        let start = now()
        try await withThrowingTaskGroup(of: Void.self) { tasks in
            for (device, parts) in batches {
                tasks.addTask {
                    for part in parts { _ = try await receiver.receive(part, from: device) }
                }
            }
            try await tasks.waitForAll()
        }
        let seconds = now() - start
        print("reports \(perDevice * devices.count)  \(seconds) s  \(Double(perDevice * devices.count) / seconds) /s")
    }
}

let arguments = CommandLine.arguments
switch arguments.dropFirst().first {
case "rows": try await Bench.rows(arguments[2], UInt64(arguments[3])!)
case "load": try await Bench.load(arguments[2])
case "serve": try await Bench.serve(arguments[2], IPAddress(arguments[3])!, UInt16(arguments[4])!)
case "ingest": try await Bench.ingest(arguments[2], Int(arguments[3])!)
default:
    print("hubbench rows|load|serve|ingest")
    exit(64)
}
