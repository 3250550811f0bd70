import CMnl
import Glibc

/// Sends requests over one transport and pairs each with its answers.
struct NetlinkExchange {
    /// Attempts at a dump that the kernel calls inconsistent (NLM_F_DUMP_INTR) before giving up. wg(8) goes on for ever.
    ///
    /// An inconsistent dump is never handed out, not even in part: where a peer was removed at the seam of two
    /// messages, the kernel ends the dump there, and all peers after it would seem to be gone.
    static let maxDumpAttempts = 512
    /// Time in which another attempt is begun.
    static let dumpPatience = Duration.seconds(30)
    /// Datagrams of one answer: 2^20 peers at the size of a page each, four times over.
    private static let maxDatagrams = 1 << 22

    private let transport: any NetlinkTransport
    private var sequence: UInt32

    init(transport: any NetlinkTransport, firstSequence: UInt32 = 1) {
        self.transport = transport
        sequence = firstSequence
    }

    mutating func nextSequence() -> UInt32 {
        defer { sequence &+= 1 }
        return sequence
    }

    /// Sends a request that carries NLM_F_ACK and waits for its verdict; `body` sees messages before it.
    func request(
        _ message: [UInt8], operation: String, element: String,
        _ body: (NetlinkHeader, UnsafeRawBufferPointer) throws(WireGuardError) -> Void = { (_, _) in }
    ) throws(WireGuardError) {
        try transport.send(message)
        _ = try collect(sequence: Self.sequence(of: message), operation: operation, element: element, body)
    }

    /// Runs a dump until one is consistent. `begin` starts afresh and gives the request, with the sequence it is told.
    mutating func dump(
        operation: String, element: String, begin: (UInt32) -> [UInt8],
        _ body: (NetlinkHeader, UnsafeRawBufferPointer) throws(WireGuardError) -> Void
    ) throws(WireGuardError) {
        let start = ContinuousClock.now
        var attempts = 0
        while attempts < Self.maxDumpAttempts, attempts == 0 || ContinuousClock.now - start < Self.dumpPatience {
            attempts += 1
            let number = nextSequence()
            try transport.send(begin(number))
            if try collect(sequence: number, operation: operation, element: element, body) { return }
        }
        throw .dumpInterrupted(device: element, attempts: attempts)
    }

    /// Reads to the end of one answer. False when the kernel marked any part of a dump as inconsistent.
    private func collect(
        sequence: UInt32, operation: String, element: String,
        _ body: (NetlinkHeader, UnsafeRawBufferPointer) throws(WireGuardError) -> Void
    ) throws(WireGuardError) -> Bool {
        var consistent = true
        var ended = false
        let portID = transport.portID
        for _ in 0..<Self.maxDatagrams {
            try transport.receive { (datagram) throws(WireGuardError) in
                var messages = NetlinkMessages(datagram)
                while !ended, let (header, payload) = try messages.next() {
                    // Late answers of an abandoned attempt, and what is meant for other sockets.
                    guard header.sequence == sequence, header.portID == portID || header.portID == 0 else { continue }
                    if header.flags & UInt16(NLM_F_DUMP_INTR) != 0 { consistent = false }
                    switch Int32(header.type) {
                    case NLMSG_NOOP: continue
                    case NLMSG_ERROR, NLMSG_DONE:
                        let verdict = NetlinkVerdict(header, payload)
                        if verdict.errno == EINTR {
                            consistent = false
                        } else {
                            try verdict.check(operation: operation, element: element)
                        }
                        ended = true
                    case NLMSG_OVERRUN:
                        throw .system(operation: operation, element: element, errno: ENOBUFS, detail: "")
                    default:
                        if consistent { try body(header, payload) }
                    }
                }
            }
            if ended { return consistent }
        }
        throw .limit(what: "netlink datagrams in one answer", limit: Self.maxDatagrams)
    }

    private static func sequence(of message: [UInt8]) -> UInt32 {
        message.withUnsafeBytes { $0.count < 12 ? 0 : $0.loadUnaligned(fromByteOffset: 8, as: UInt32.self) }
    }
}

/// The error number and sentence in an NLMSG_ERROR or NLMSG_DONE.
struct NetlinkVerdict {
    var errno: Int32 = 0
    var detail = ""

    init(_ header: NetlinkHeader, _ payload: UnsafeRawBufferPointer) {
        // An old kernel ends a dump without a number.
        guard payload.count >= 4 else { return }
        let value = payload.loadUnaligned(as: Int32.self)
        errno = value == .min ? EIO : abs(value)
        guard header.flags & UInt16(NLM_F_ACK_TLVS) != 0 else { return }
        var offset = 4
        if Int32(header.type) == NLMSG_ERROR {
            // The request's header follows, and the whole request unless the answer is capped.
            guard payload.count >= 20 else { return }
            let echoed = Int(payload.loadUnaligned(fromByteOffset: 4, as: UInt32.self))
            offset += header.flags & UInt16(NLM_F_CAPPED) != 0 ? 16 : min(echoed, payload.count)
            offset = (offset + 3) & ~3
        }
        guard offset <= payload.count else { return }
        var attributes = NetlinkAttributes(UnsafeRawBufferPointer(rebasing: payload[offset...]))
        while let attribute = try? attributes.next() {
            if attribute.type == UInt16(NLMSGERR_ATTR_MSG.rawValue) {
                detail = (try? attribute.string("message")) ?? ""
            }
        }
    }

    func check(operation: String, element: String) throws(WireGuardError) {
        guard errno != 0 else { return }
        throw .failure(operation, element, errno: errno, detail: detail)
    }
}
