import Base
import Glibc
import HubCore
import HubDevices
import HubHTTP
import HubProtocol
import HubStore
import Logging
import Model
import NIOPosix
import Trust

/// Report segments of many devices over HTTP: token and signature checked, each commit on the disk before its segments are
/// acknowledged. All is signed before the clock starts: that is the devices' work.
enum Reports {
    static let devices: UInt64 = 192
    /// Segments of one request: what an agent sends at most.
    static let batch = 8
    /// Threads of the sender; each has its share of the connections, and one request on each at a time.
    static let threads = 2
    /// Bytes of one answer's head and body.
    static let answerLimit = 64 << 10

    /// Writes `COUNT` segments of `entries` events each, as whole requests: FOLDER/requests-N, one file a device, each
    /// request with its length in four bytes before it.
    static func sign(_ folder: String, count: Int, entries: Int) async throws {
        let fixture = try Fixture()
        let store = try SQLiteMetadataStore(path: folder + "/hub.db")
        let hub = try Ed25519Signer(seed: Array(repeating: 1, count: 32))
        var size = 0
        for number in 1...devices {
            let signer = try fixture.signer(number)
            let device = try fixture.device(number, signer: signer)
            try await store.commit(Commit([.put(device, expecting: .absent)]))
            let token = try Serving.token(device, hub)
            let last = count / Int(devices)
            var output: [UInt8] = []
            for first in stride(from: 1, through: last, by: batch) {
                let envelopes = try (first...min(first + batch - 1, last)).map { sequence in
                    try ReportEnvelope(
                        device: device.id.text, epoch: 1, sequence: Int64(sequence),
                        content: (0..<entries).map { event(sequence * entries + $0) }
                    ).signed(by: signer)
                }
                let body = ReportBatch.bytes(envelopes)
                size += body.count
                let head =
                    "POST /v1/device/reports HTTP/1.1\r\nHost: hub\r\nAuthorization: Bearer \(token)\r\n"
                    + "Content-Length: \(body.count)\r\n\r\n"
                let request = Array(head.utf8) + body
                output += withUnsafeBytes(of: UInt32(request.count).bigEndian) { Array($0) } + request
            }
            try FileSystem().replace("\(folder)/requests-\(number)", with: output, op: "bench")
        }
        print(
            "devices \(devices) segments \(count / Int(devices) * Int(devices)) entries \(entries) bytes_each \(size / max(count, 1))"
        )
    }

    /// An event as the agent's journal tells it.
    private static func event(_ number: Int) -> JSONValue {
        [
            "kind": "event", "at": "2027-01-15T08:00:00Z", "app": "shop", "code": "step.done",
            "message": .string("step \(number): container shop-web started"),
        ]
    }

    static func serve(_ folder: String, _ port: UInt16) async throws {
        let fixture = try Fixture()
        let store = try SQLiteMetadataStore(path: folder + "/hub.db")
        let directory = DeviceDirectory(network: fixture.network, store: store)
        try await directory.load()
        let responder = try Serving.responder(
            fixture, store: store, directory: directory, blobs: FileBlobStore(root: folder + "/store"),
            signer: Ed25519Signer(seed: Array(repeating: 1, count: 32)))
        let listener = try await HTTPListener.start(
            on: fixture.network.hub, port: port, bounds: HTTPBounds(),
            group: MultiThreadedEventLoopGroup(numberOfThreads: 2),
            logger: Logger(label: "bench") { _ in SwiftLogNoOpLogHandler() }, responder: responder)
        print("devices \(directory.count)")
        fflush(nil)
        try await Task.sleep(for: .seconds(Serving.life))
        await listener.stop()
    }

    // MARK: Sending

    /// One device's connection, from its own address.
    private struct Line {
        let socket: Int32
        var requests: ArraySlice<UInt8>
        var acknowledged: Int64 = 0

        /// Writes the next request; false when there is none.
        mutating func send() throws -> Bool {
            guard requests.count >= 4 else { return false }
            let length = requests.prefix(4).reduce(0) { $0 << 8 | Int($1) }
            let request = requests.dropFirst(4).prefix(length)
            requests = requests.dropFirst(4 + length)
            try request.withUnsafeBytes { buffer in
                var rest = buffer[...]
                while !rest.isEmpty {
                    let written = Glibc.send(socket, UnsafeRawBufferPointer(rebasing: rest).baseAddress, rest.count, 0)
                    guard written > 0 else { throw Fixture.Impossible() }
                    rest = rest.dropFirst(written)
                }
            }
            return true
        }

        /// Reads one answer whole: it ends with the JSON object that it is.
        mutating func receive(_ buffer: inout [UInt8]) throws {
            var count = 0
            while true {
                let read = buffer.withUnsafeMutableBytes {
                    recv(socket, $0.baseAddress.map { $0 + count }, $0.count - count, 0)
                }
                guard read > 0 else { throw Fixture.Impossible() }
                count += read
                let text = String(decoding: buffer[..<count], as: UTF8.self)
                guard let end = text.firstRange(of: "\r\n\r\n") else { continue }
                guard text.hasPrefix("HTTP/1.1 200") else {
                    print(text)
                    throw Fixture.Impossible()
                }
                guard let answer = try? ReportAnswer(parsing: Array(text[end.upperBound...].utf8)) else { continue }
                guard answer.refused.isEmpty else { throw Fixture.Impossible() }
                acknowledged = answer.acknowledged[1] ?? acknowledged
                return
            }
        }
    }

    static func send(_ folder: String, _ host: String, _ port: UInt16) async throws {
        let network = try Fixture().network
        var lines: [[Line]] = Array(repeating: [], count: threads)
        for number in 1...devices {
            guard let address = network.device(site: 1, index: number, slot: .even) else { throw Fixture.Impossible() }
            let requests = try FileSystem().read("\(folder)/requests-\(number)", limit: 1 << 30)
            lines[Int(number) % threads].append(
                Line(socket: try connect(host, port, from: address.description), requests: requests[...]))
        }
        let (start, cpu) = (HubBench.now(), HubBench.cpu())
        let shares = lines
        // The sender has no other work: its two threads may block.
        let total = try await withThrowingTaskGroup(of: Int64.self) { tasks in
            for share in shares { tasks.addTask { try run(share) } }
            return try await tasks.reduce(0, +)
        }
        let seconds = HubBench.now() - start
        print(
            "segments \(total) seconds \(seconds) per_s \(Int(Double(total) / seconds)) sender_cpu_s "
                + "\(HubBench.cpu() - cpu)")
    }

    /// Sends all requests of some connections, one on each at a time; answers how many segments are durable.
    private static func run(_ lines: [Line]) throws -> Int64 {
        var lines = lines
        var buffer = [UInt8](repeating: 0, count: answerLimit)
        var open = Array(lines.indices)
        while !open.isEmpty {
            open = try open.filter { try lines[$0].send() }
            for line in open { try lines[line].receive(&buffer) }
        }
        return lines.reduce(0) { $0 + $1.acknowledged }
    }

    private static func connect(_ host: String, _ port: UInt16, from address: String) throws -> Int32 {
        let descriptor = socket(AF_INET6, Int32(SOCK_STREAM.rawValue), 0)
        func place(_ text: String, _ port: UInt16) throws -> sockaddr_in6 {
            var result = sockaddr_in6()
            result.sin6_family = sa_family_t(AF_INET6)
            result.sin6_port = port.bigEndian
            guard inet_pton(AF_INET6, text, &result.sin6_addr) == 1 else { throw Fixture.Impossible() }
            return result
        }
        var (source, destination) = (try place(address, 0), try place(host, port))
        let length = socklen_t(MemoryLayout<sockaddr_in6>.size)
        var one: Int32 = 1
        setsockopt(descriptor, Int32(IPPROTO_TCP), TCP_NODELAY, &one, socklen_t(MemoryLayout<Int32>.size))
        // The addresses are routed here, not each on an interface.
        setsockopt(descriptor, Int32(IPPROTO_IPV6), 78, &one, socklen_t(MemoryLayout<Int32>.size))
        let isBound = withUnsafePointer(to: &source) {
            $0.withMemoryRebound(to: sockaddr.self, capacity: 1) { bind(descriptor, $0, length) == 0 }
        }
        let isConnected = withUnsafePointer(to: &destination) {
            $0.withMemoryRebound(to: sockaddr.self, capacity: 1) { Glibc.connect(descriptor, $0, length) == 0 }
        }
        guard isBound, isConnected else {
            perror("connect from \(address)")
            throw Fixture.Impossible()
        }
        return descriptor
    }
}
