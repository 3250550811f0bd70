import Base

@testable import WireGuard

/// Bytes from hex with any white space between fields.
func hex(_ text: String) -> [UInt8] {
    Hex.decode(text.filter { !$0.isWhitespace }) ?? []
}

/// SplitMix64: the same sequence on every run.
struct SeededGenerator: RandomNumberGenerator {
    private var state: UInt64
    init(seed: UInt64) { state = seed }
    mutating func next() -> UInt64 {
        state &+= 0x9E37_79B9_7F4A_7C15
        var z = state
        z = (z ^ (z >> 30)) &* 0xBF58_476D_1CE4_E5B9
        z = (z ^ (z >> 27)) &* 0x94D0_49BB_1331_11EB
        return z ^ (z >> 31)
    }
    mutating func bytes(_ count: Int) -> [UInt8] { (0..<count).map { _ in UInt8.random(in: 0...255, using: &self) } }
}

extension PublicKey {
    /// A key of one repeated byte.
    static func repeating(_ byte: UInt8) -> PublicKey {
        guard let key = PublicKey(bytes: [UInt8](repeating: byte, count: 32)) else { preconditionFailure("32 bytes") }
        return key
    }
    static func random(_ generator: inout SeededGenerator) -> PublicKey {
        guard let key = PublicKey(bytes: generator.bytes(32)) else { preconditionFailure("32 bytes") }
        return key
    }
}

extension SecretKey {
    static func repeating(_ byte: UInt8) -> SecretKey {
        guard let key = SecretKey(bytes: [UInt8](repeating: byte, count: 32)) else { preconditionFailure("32 bytes") }
        return key
    }
    static func random(_ generator: inout SeededGenerator) -> SecretKey {
        guard let key = SecretKey(bytes: generator.bytes(32)) else { preconditionFailure("32 bytes") }
        return key
    }
}

extension InterfaceName: ExpressibleByStringLiteral {
    public init(stringLiteral value: String) {
        guard let name = InterfaceName(value) else { preconditionFailure("\(value) is no interface name") }
        self = name
    }
}

extension IPAddress: ExpressibleByStringLiteral {
    public init(stringLiteral value: String) {
        guard let address = IPAddress(value) else { preconditionFailure("\(value) is no address") }
        self = address
    }
}

extension IPPrefix: ExpressibleByStringLiteral {
    public init(stringLiteral value: String) {
        guard let prefix = IPPrefix(value) else { preconditionFailure("\(value) is no prefix") }
        self = prefix
    }
}

extension Endpoint: ExpressibleByStringLiteral {
    public init(stringLiteral value: String) {
        guard let endpoint = Endpoint(value) else { preconditionFailure("\(value) is no endpoint") }
        self = endpoint
    }
}

/// A socket that records what is sent and answers from a script: one list of datagrams per request.
final class RecordedTransport: NetlinkTransport {
    let portID: UInt32 = 0x4711
    private(set) var sent: [[UInt8]] = []
    private var script: [[[UInt8]]]
    private var pending: [[UInt8]] = []

    init(_ script: [[[UInt8]]]) { self.script = script }

    func send(_ message: [UInt8]) throws(WireGuardError) {
        sent.append(message)
        if !script.isEmpty { pending += script.removeFirst() }
    }

    func receive(_ body: (UnsafeRawBufferPointer) throws(WireGuardError) -> Void) throws(WireGuardError) {
        guard !pending.isEmpty else { throw .malformed(what: "script", why: "no answer left") }
        let datagram = pending.removeFirst()
        try datagram.span.bytes.withUnsafeBytes(body)
    }
}

/// The pieces of netlink answers.
enum Answer {
    static func ack(_ sequence: UInt8, errno: Int32 = 0) -> [UInt8] {
        hex("24000000 0200 0000") + [sequence, 0, 0, 0] + hex("11470000")
            + withUnsafeBytes(of: -errno) { Array($0) } + [UInt8](repeating: 0, count: 16)
    }
    static func done(_ sequence: UInt32, flags: UInt8 = 2) -> [UInt8] {
        hex("14000000 0300") + [flags, 0] + withUnsafeBytes(of: sequence.littleEndian) { Array($0) } + hex("11470000 00000000")
    }
    /// CTRL_CMD_NEWFAMILY with family number 0x1b.
    static func family(_ sequence: UInt8) -> [UInt8] {
        hex("1c000000 1000 0000") + [sequence, 0, 0, 0] + hex("11470000" + "01020000" + "0600 0100 1b00 0000")
    }
    static func device(_ sequence: UInt8, flags: UInt8 = 2, _ attributes: [UInt8]) -> [UInt8] {
        let length = UInt32(20 + attributes.count)
        return withUnsafeBytes(of: length) { Array($0) } + hex("1b00") + [flags, 0, sequence, 0, 0, 0]
            + hex("11470000 00010000") + attributes
    }
}
