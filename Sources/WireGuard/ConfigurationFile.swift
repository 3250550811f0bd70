import Base

/// The configuration format of wg(8): what `wg showconf` prints and `wg setconf` reads.
///
/// Host names are refused: looking one up is the caller's, who knows when the answer may change.
public enum ConfigurationFile {
    /// 65,536 peers at a hundred allowed IPs each and more.
    public static let maxBytes = 512 << 20

    /// Reads a whole file. The bytes hold keys; the caller wipes them.
    public static func parse(_ bytes: UnsafeRawBufferPointer) throws(WireGuardError) -> DeviceConfiguration {
        guard bytes.count <= maxBytes else { throw .limit(what: "bytes in a configuration", limit: maxBytes) }
        var reader = Reader()
        var number = 0
        var start = 0
        while start < bytes.count {
            let rest = UnsafeRawBufferPointer(rebasing: bytes[start...])
            let length = rest.index(ofByte: 0x0A) ?? rest.count
            number += 1
            try reader.line(UnsafeRawBufferPointer(rebasing: rest[..<length]), number: number)
            start += length + 1
        }
        return try reader.finish()
    }

    /// Reads a file that may hold keys: only its owner's eyes should have seen it, but that is for people to decide.
    public static func read(_ path: String, fileSystem: FileSystem = FileSystem()) throws(WireGuardError)
        -> DeviceConfiguration
    {
        var bytes = try mappingFileErrors { () throws(FileSystemError) in
            try fileSystem.read(path, limit: maxBytes)
        }
        defer { bytes.wipe() }
        return try bytes.span.bytes.withUnsafeBytes { (buffer) throws(WireGuardError) in try parse(buffer) }
    }

    private struct Reader {
        private enum Section { case none, interface, peer }

        private var section = Section.none
        private var result = DeviceConfiguration()
        private var peer: (key: PublicKey?, rest: PeerConfiguration, line: Int)?
        private static let placeholder = PublicKey(bytes: [UInt8](repeating: 0, count: PublicKey.byteCount))

        mutating func line(_ whole: UnsafeRawBufferPointer, number: Int) throws(WireGuardError) {
            let content = whole.index(ofByte: 0x23).map { UnsafeRawBufferPointer(rebasing: whole[..<$0]) } ?? whole
            let line = content.trimmed
            guard !line.isEmpty else { return }
            if line.first == 0x5B { return try begin(line, number: number) }
            guard let equals = line.index(ofByte: 0x3D) else {
                throw .invalidText(what: "a setting (line \(number))", text: line.text)
            }
            let key = UnsafeRawBufferPointer(rebasing: line[..<equals]).trimmed
            let value = UnsafeRawBufferPointer(rebasing: line[(equals + 1)...]).trimmed
            let good: Bool
            switch section {
            case .none: good = false
            case .interface: good = interface(key, value)
            case .peer: good = peerSetting(key, value)
            }
            guard good else {
                // The value may be a key: only its name is told.
                throw .invalidText(what: "a setting with a value in its form (line \(number))", text: key.text)
            }
        }

        private mutating func begin(_ line: UnsafeRawBufferPointer, number: Int) throws(WireGuardError) {
            try endPeer()
            if line.isEqual(ignoringCase: "[interface]") {
                section = .interface
            } else if line.isEqual(ignoringCase: "[peer]"), let placeholder = Self.placeholder {
                section = .peer
                peer = (nil, PeerConfiguration(publicKey: placeholder), number)
            } else {
                throw .invalidText(what: "[Interface] or [Peer] (line \(number))", text: line.text)
            }
        }

        private mutating func endPeer() throws(WireGuardError) {
            guard var ended = peer.take() else { return }
            guard let key = ended.key else {
                throw .invalidText(what: "a peer with a public key (line \(ended.line))", text: "[Peer]")
            }
            ended.rest.publicKey = key
            result.peers.append(ended.rest)
        }

        mutating func finish() throws(WireGuardError) -> DeviceConfiguration {
            try endPeer()
            return result
        }

        private mutating func interface(_ key: UnsafeRawBufferPointer, _ value: UnsafeRawBufferPointer) -> Bool {
            if key.isEqual(ignoringCase: "privatekey") {
                result.privateKey = SecretKey(base64Bytes: value)
                return result.privateKey != nil
            }
            if key.isEqual(ignoringCase: "listenport") {
                result.listenPort = UInt16(decimal: value)
                return result.listenPort != nil
            }
            if key.isEqual(ignoringCase: "fwmark") {
                result.firewallMark = Self.mark(value)
                return result.firewallMark != nil
            }
            return false
        }

        private static func mark(_ value: UnsafeRawBufferPointer) -> UInt32? {
            if value.isEqual(ignoringCase: "off") { return 0 }
            let text = value.text
            return text.hasPrefix("0x") ? UInt32(text.dropFirst(2), radix: 16) : UInt32(decimal: value)
        }

        private mutating func peerSetting(_ key: UnsafeRawBufferPointer, _ value: UnsafeRawBufferPointer) -> Bool {
            if key.isEqual(ignoringCase: "allowedips") { return allowedIPs(value) }
            if key.isEqual(ignoringCase: "publickey") {
                peer?.key = PublicKey(base64Bytes: value)
                return peer?.key != nil
            }
            if key.isEqual(ignoringCase: "presharedkey") {
                guard let secret = SecretKey(base64Bytes: value) else { return false }
                peer?.rest.presharedKey = secret.isZero ? nil : secret
                return true
            }
            if key.isEqual(ignoringCase: "endpoint") {
                peer?.rest.endpoint = Endpoint(text: value)
                return peer?.rest.endpoint != nil
            }
            if key.isEqual(ignoringCase: "persistentkeepalive") {
                guard let interval = value.isEqual(ignoringCase: "off") ? 0 : UInt16(decimal: value) else {
                    return false
                }
                peer?.rest.persistentKeepalive = interval
                return true
            }
            return false
        }

        private mutating func allowedIPs(_ value: UnsafeRawBufferPointer) -> Bool {
            var rest = value
            while !rest.isEmpty {
                let end = rest.index(ofByte: 0x2C) ?? rest.count
                guard let prefix = IPPrefix(text: UnsafeRawBufferPointer(rebasing: rest[..<end]).trimmed) else {
                    return false
                }
                peer?.rest.allowedIPs.append(prefix)
                rest = UnsafeRawBufferPointer(rebasing: rest[min(rest.count, end + 1)...])
            }
            return true
        }
    }
}

extension UnsafeRawBufferPointer {
    fileprivate var text: String { String(decoding: self, as: UTF8.self) }

    fileprivate var trimmed: UnsafeRawBufferPointer {
        let isSpace: (UInt8) -> Bool = { $0 == 0x20 || $0 == 0x09 || $0 == 0x0D }
        guard let start = firstIndex(where: { !isSpace($0) }), let end = lastIndex(where: { !isSpace($0) }) else {
            return UnsafeRawBufferPointer(rebasing: self[..<0])
        }
        return UnsafeRawBufferPointer(rebasing: self[start...end])
    }

    /// `other` is lower-case ASCII.
    fileprivate func isEqual(ignoringCase other: StaticString) -> Bool {
        guard count == other.utf8CodeUnitCount else { return false }
        for index in 0..<count {
            let byte = self[index]
            let lowered = (0x41...0x5A).contains(byte) ? byte | 0x20 : byte
            guard lowered == other.utf8Start[index] else { return false }
        }
        return true
    }
}
