import Glibc

/// Reads the answer to `get=1`, and the `errno` that ends every answer, as it arrives in pieces of any size.
///
/// Unknown keys are skipped: newer daemons have more to say. A known key with a value out of its form is an error.
struct UAPIParser {
    /// No line of the protocol is near this long; a longer one is refused before it is gathered.
    static let maxLineBytes = 1024

    /// The answer's error number once its last line has come.
    private(set) var errno: Int32?
    /// True after the empty line that ends the answer.
    private(set) var isComplete = false

    private var state: DeviceState
    private var handshakeSeconds: Int64 = 0
    private var handshakeNanoseconds: Int64 = 0
    private var allowedIPCount = 0
    /// The beginning of a line whose end has not come yet.
    private var partial: [UInt8] = []

    init(name: InterfaceName) {
        state = DeviceState(name: name)
        partial.reserveCapacity(Self.maxLineBytes)
    }

    /// Takes the next piece of the answer; what follows the empty line is an error.
    mutating func consume(_ piece: UnsafeRawBufferPointer) throws(WireGuardError) {
        var start = 0
        while start < piece.count {
            guard !isComplete else { throw .malformed(what: "UAPI answer", why: "bytes after its end") }
            let rest = UnsafeRawBufferPointer(rebasing: piece[start...])
            guard let end = rest.index(ofByte: 0x0A) else { return try gather(rest) }
            let part = UnsafeRawBufferPointer(rebasing: rest[..<end])
            if partial.isEmpty {
                try line(part)
            } else {
                try gather(part)
                var whole = partial
                partial.removeAll(keepingCapacity: true)
                defer { whole.wipe() }
                let handled = whole.withUnsafeBytes { bytes in
                    Result { () throws(WireGuardError) in try line(bytes) }
                }
                try handled.get()
            }
            start += end + 1
        }
    }

    private mutating func gather(_ bytes: UnsafeRawBufferPointer) throws(WireGuardError) {
        guard partial.count + bytes.count <= Self.maxLineBytes else {
            throw .limit(what: "bytes in a UAPI line", limit: Self.maxLineBytes)
        }
        partial.append(contentsOf: bytes)
    }

    /// The state, with its public key computed, since UAPI has only the private one.
    consuming func finish() throws(WireGuardError) -> DeviceState {
        guard isComplete else { throw .malformed(what: "UAPI answer", why: "it ends in its middle") }
        state.publicKey = try state.privateKey?.derivePublicKey()
        return state
    }

    // MARK: Lines

    private mutating func line(_ line: UnsafeRawBufferPointer) throws(WireGuardError) {
        guard line.count <= Self.maxLineBytes else {
            throw .limit(what: "bytes in a UAPI line", limit: Self.maxLineBytes)
        }
        guard !line.isEmpty else {
            guard errno != nil else { throw .malformed(what: "UAPI answer", why: "it ends without errno") }
            isComplete = true
            return
        }
        guard errno == nil else { throw .malformed(what: "UAPI answer", why: "a line after errno") }
        guard let equals = line.index(ofByte: 0x3D) else {
            throw .malformed(what: "UAPI line", why: "no '='")
        }
        let key = UnsafeRawBufferPointer(rebasing: line[..<equals])
        let value = UnsafeRawBufferPointer(rebasing: line[(equals + 1)...])
        if key == "errno" {
            endPeer()
            errno = try Self.errno(value)
        } else if key == "public_key" {
            try beginPeer(value)
        } else if state.peers.isEmpty {
            try device(key, value)
        } else if key == "allowed_ip" {
            try allowedIP(value)
        } else {
            try peerValue(key, value)
        }
    }

    private mutating func device(_ key: UnsafeRawBufferPointer, _ value: UnsafeRawBufferPointer) throws(WireGuardError)
    {
        if key == "private_key" {
            guard let secret = SecretKey(hexBytes: value) else { throw .invalidKey(source: "UAPI private_key") }
            state.privateKey = secret.isZero ? nil : secret
        } else if key == "listen_port" {
            state.listenPort = try Self.number(value, "listen_port")
        } else if key == "fwmark" {
            state.firewallMark = try Self.number(value, "fwmark")
        }
    }

    private mutating func beginPeer(_ value: UnsafeRawBufferPointer) throws(WireGuardError) {
        endPeer()
        guard let key = PublicKey(hexBytes: value) else { throw .invalidKey(source: "UAPI public_key") }
        guard state.peers.count < DeviceLimits.maxPeers else {
            throw .limit(what: "peers on one interface", limit: DeviceLimits.maxPeers)
        }
        state.peers.append(Peer(publicKey: key))
    }

    /// The handshake's two halves come on two lines.
    private mutating func endPeer() {
        guard handshakeSeconds != 0 || handshakeNanoseconds != 0, let last = state.peers.indices.last else { return }
        state.peers[last].lastHandshake = HandshakeTime(seconds: handshakeSeconds, nanoseconds: handshakeNanoseconds)
        (handshakeSeconds, handshakeNanoseconds) = (0, 0)
    }

    private mutating func allowedIP(_ value: UnsafeRawBufferPointer) throws(WireGuardError) {
        allowedIPCount += 1
        guard allowedIPCount <= DeviceLimits.maxAllowedIPs else {
            throw .limit(what: "allowed IPs on one interface", limit: DeviceLimits.maxAllowedIPs)
        }
        guard let prefix = IPPrefix(text: value) else { throw Self.bad(value, "a UAPI allowed_ip") }
        state.peers[state.peers.count - 1].allowedIPs.append(prefix)
    }

    private mutating func peerValue(
        _ key: UnsafeRawBufferPointer, _ value: UnsafeRawBufferPointer
    ) throws(WireGuardError) {
        let last = state.peers.count - 1
        if key == "rx_bytes" {
            state.peers[last].receivedBytes = try Self.number(value, "rx_bytes")
        } else if key == "tx_bytes" {
            state.peers[last].sentBytes = try Self.number(value, "tx_bytes")
        } else if key == "last_handshake_time_sec" {
            handshakeSeconds = try Self.number(value, "last_handshake_time_sec")
        } else if key == "last_handshake_time_nsec" {
            handshakeNanoseconds = try Self.number(value, "last_handshake_time_nsec")
        } else if key == "endpoint" {
            guard let endpoint = Endpoint(text: value) else { throw Self.bad(value, "a UAPI endpoint") }
            state.peers[last].endpoint = endpoint
        } else if key == "persistent_keepalive_interval" {
            state.peers[last].persistentKeepalive = try Self.number(value, "persistent_keepalive_interval")
        } else if key == "preshared_key" {
            guard !value.isAllZeroDigits else { return }
            guard let secret = SecretKey(hexBytes: value) else { throw .invalidKey(source: "UAPI preshared_key") }
            state.peers[last].presharedKey = secret
        }
    }

    private static func number<Integer: FixedWidthInteger>(
        _ value: UnsafeRawBufferPointer, _ key: String
    ) throws(WireGuardError) -> Integer {
        guard let number = Integer(decimal: value) else { throw bad(value, "a UAPI \(key)") }
        return number
    }

    /// Daemons answer with positive or negative numbers.
    private static func errno(_ value: UnsafeRawBufferPointer) throws(WireGuardError) -> Int32 {
        let digits = value.first == 0x2D ? UnsafeRawBufferPointer(rebasing: value.dropFirst()) : value
        return try number(digits, "errno")
    }

    private static func bad(_ value: UnsafeRawBufferPointer, _ what: String) -> WireGuardError {
        .invalidText(what: what, text: String(decoding: value, as: UTF8.self))
    }
}

extension UnsafeRawBufferPointer {
    /// Equal to the ASCII text, byte for byte.
    static func == (lhs: UnsafeRawBufferPointer, rhs: StaticString) -> Bool {
        guard lhs.count == rhs.utf8CodeUnitCount, let base = lhs.baseAddress else { return false }
        return memcmp(base, rhs.utf8Start, lhs.count) == 0
    }

    /// 64 zeros: "no preshared key". Told apart early, since most peers have none.
    fileprivate var isAllZeroDigits: Bool {
        count == HexKey.characterCount && allSatisfy { $0 == 0x30 }
    }

    func index(ofByte byte: UInt8) -> Int? {
        guard let base = baseAddress, let found = memchr(base, Int32(byte), count) else { return nil }
        return UnsafeRawPointer(found) - base
    }
}
