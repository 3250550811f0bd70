import Base
import Glibc
import HubCore
import HubProtocol
import HubStore
import Trust
import WireGuard

/// The parts of a hub that have bars, each by itself: `run` beside it measures them.
@main
enum HubBench {
    static let usage = """
        hubbench rows DATABASE COUNT     writes device rows
        hubbench start DATABASE          a hub's start over them, to the first poll: seconds, and resident memory
        hubbench assign DATABASE FOLDER  a release to all of them; FOLDER gets the repositories
        hubbench serve FOLDER PORT MIB   serves one device on the hub's tunnel address, prints its token and a blob's digest
        hubbench sign FOLDER COUNT ENTRIES  devices and their report segments, signed, as requests; for reports
        hubbench reports FOLDER PORT     serves those devices
        hubbench send FOLDER HOST PORT   sends all of that, and says how long it took
        hubbench outage SEED             100,000 devices in virtual time, with an hour's outage and with a power cut
        """

    static func main() async throws {
        let arguments = CommandLine.arguments.dropFirst().map { $0 }
        switch (arguments.first, arguments.count) {
        case ("rows", 3): try await Rows.write(arguments[1], UInt64(arguments[2]) ?? 0)
        case ("start", 2): try await Starting.run(arguments[1])
        case ("assign", 3): try await Assigning.run(arguments[1], arguments[2])
        case ("serve", 4):
            try await Serving.serve(arguments[1], UInt16(arguments[2]) ?? 0, mebibytes: Int(arguments[3]) ?? 1)
        case ("sign", 4):
            try await Reports.sign(arguments[1], count: Int(arguments[2]) ?? 0, entries: Int(arguments[3]) ?? 1)
        case ("reports", 3): try await Reports.serve(arguments[1], UInt16(arguments[2]) ?? 0)
        case ("send", 4): try await Reports.send(arguments[1], arguments[2], UInt16(arguments[3]) ?? 0)
        case ("outage", 2): try Outage.run(seed: UInt64(arguments[1]) ?? 1)
        default:
            print(usage)
            exit(64)
        }
    }

    /// Seconds on a clock that only grows.
    static func now() -> Double { Double(SystemClock.live.monotonic()) / 1e9 }

    /// CPU seconds of this process so far: what does not depend on who else uses the machine.
    static func cpu() -> Double {
        var time = timespec()
        clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &time)
        return Double(time.tv_sec) + Double(time.tv_nsec) / 1e9
    }

    /// Mebibytes of a field of /proc/self/status.
    static func memory(_ field: String) throws -> Int {
        let status = String(decoding: try FileSystem().read("/proc/self/status", limit: 1 << 16), as: UTF8.self)
        let line = status.split(separator: "\n").first { $0.hasPrefix(field) }
        return (line?.split(separator: " ").compactMap { Int($0) }.first ?? 0) / 1024
    }
}

/// A hub's network and keys, and devices as enrolment makes them.
struct Fixture {
    struct Impossible: Error {}

    let network: TunnelNetwork
    let hubKey: SecretKey
    let identity: HubIdentity
    let token: TokenRecord

    init() throws {
        guard let network = TunnelNetwork(bytes: [0xFD, 0, 0, 0, 0, 1]),
            let hubKey = SecretKey(bytes: Array(repeating: 8, count: 32))
        else { throw Impossible() }
        self.network = network
        self.hubKey = hubKey
        identity = HubIdentity(
            publicKey: try hubKey.derivePublicKey(), host: "192.0.2.1", port: 51_820, rootDigest: .sha256([]),
            network: network)
        token = try TokenRecord.make(
            TokenOptions(labels: ["site": "berlin", "ring": "stable"], uses: 10_000),
            seed: Array(repeating: 9, count: 32), hub: identity, sealing: Sealing(key: hubKey),
            now: Timestamp(seconds: 1_800_000_000)
        ).record
    }

    func signer(_ number: UInt64) throws -> Ed25519Signer {
        var seed = [UInt8](repeating: 0, count: 32)
        withUnsafeBytes(of: number.bigEndian) { seed.replaceSubrange(0..<8, with: $0) }
        return try Ed25519Signer(seed: seed)
    }

    /// - Parameter signer: nil for a device that never signs: its key is only like one, which is quicker to make.
    func device(_ number: UInt64, signer: Ed25519Signer? = nil) throws -> Device {
        let digest = Digest.sha256(Array("device \(number)".utf8))
        guard let key = WireGuard.PublicKey(bytes: digest.bytes) else { throw Impossible() }
        return Device(
            id: try DeviceID("d-\(digest.hex.prefix(20))"), state: .active, labels: token.labels, architecture: "arm64",
            hostName: "bench-\(number)", signingKey: signer?.publicKey.value ?? digest.hex, key: key, site: 1,
            index: number, token: token.id, enrolledAt: Timestamp(seconds: 1_800_000_000))
    }
}
