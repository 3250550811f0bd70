/// Writes a UAPI `set=1` operation in pieces, so that 60,000 peers never stand in memory as text.
///
/// Format: wireguard.com/xplatform, "Configuration Protocol": `key=value` lines, keys in hex, an empty line last.
struct UAPIWriter {
    /// Bytes gathered before `send` is called.
    static let chunkBytes = 64 << 10
    /// The longest line: an endpoint with a zone.
    private static let maxLineBytes = 256

    private var buffer: [UInt8] = []
    private let send: (UnsafeRawBufferPointer) throws(WireGuardError) -> Void

    init(send: @escaping (UnsafeRawBufferPointer) throws(WireGuardError) -> Void) {
        self.send = send
        // Never grows past this, so no piece of a key is left in a freed buffer.
        buffer.reserveCapacity(Self.chunkBytes + Self.maxLineBytes)
    }

    mutating func write(_ difference: DeviceDifference) throws(WireGuardError) {
        defer { buffer.wipe() }
        try line("set", "1")
        if let key = difference.privateKey { try line("private_key", secret: key) }
        if let port = difference.listenPort { try line("listen_port", number: UInt64(port)) }
        if let mark = difference.firewallMark { try line("fwmark", number: UInt64(mark)) }
        if difference.replacePeers { try line("replace_peers", "true") }
        for change in difference.peers { try write(change) }
        buffer.append(0x0A)
        try flush()
    }

    private mutating func write(_ change: PeerChange) throws(WireGuardError) {
        buffer += "public_key=".utf8
        change.publicKey.withUnsafeBytes { HexKey.encode($0, into: &buffer) }
        try endLine()
        switch change.action {
        case .add: break
        case .update: try line("update_only", "true")
        case .remove: return try line("remove", "true")
        }
        switch change.presharedKey {
        case .keep: break
        case .clear: try line("preshared_key", String(repeating: "0", count: HexKey.characterCount))
        case .set(let key): try line("preshared_key", secret: key)
        }
        if let endpoint = change.endpoint { try line("endpoint", endpoint.description) }
        if let interval = change.persistentKeepalive {
            try line("persistent_keepalive_interval", number: UInt64(interval))
        }
        switch change.allowedIPs {
        case .keep: break
        case .add(let prefixes): try write(prefixes)
        case .replace(let prefixes):
            try line("replace_allowed_ips", "true")
            try write(prefixes)
        }
    }

    private mutating func write(_ prefixes: [IPPrefix]) throws(WireGuardError) {
        for prefix in prefixes {
            buffer += "allowed_ip=".utf8
            prefix.appendText(to: &buffer)
            try endLine()
        }
    }

    private mutating func line(_ key: String, _ value: String) throws(WireGuardError) {
        buffer += key.utf8
        buffer.append(0x3D)
        buffer += value.utf8
        try endLine()
    }

    private mutating func line(_ key: String, number: UInt64) throws(WireGuardError) {
        try line(key, String(number))
    }

    private mutating func line(_ key: String, secret: SecretKey) throws(WireGuardError) {
        buffer += key.utf8
        buffer.append(0x3D)
        secret.appendHex(to: &buffer)
        try endLine()
    }

    private mutating func endLine() throws(WireGuardError) {
        buffer.append(0x0A)
        if buffer.count >= Self.chunkBytes { try flush() }
    }

    private mutating func flush() throws(WireGuardError) {
        let piece = { [send] (bytes: UnsafeRawBufferPointer) throws(WireGuardError) in try send(bytes) }
        try buffer.span.bytes.withUnsafeBytes(piece)
        buffer.removeAll(keepingCapacity: true)
    }
}
