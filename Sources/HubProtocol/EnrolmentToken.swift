import Base
import WireGuard

/// A temporary WireGuard credential that lets one device, or a batch, ask a hub to be enrolled.
///
/// From its seed both sides derive the same X25519 key, preshared key and identifier; the hub keeps
/// the public key, the sealed preshared key and the identifier, never the seed. The temporary peer reaches
/// one route only. Who holds the token holds the credential: it is a secret until it is used up.
public struct EnrolmentToken: Sendable, Equatable {
    public static let seedBytes = 32
    /// Bytes of a host name (RFC 1035).
    public static let hostLimit = 253
    /// Characters of the text form, white space and dashes included; more is refused before it is read.
    public static let textLimit = 2048
    static let prefix = "HF1"
    static let version: UInt8 = 1
    static let checksumBytes = 4

    /// 32 bytes from the kernel's generator.
    public let seed: [UInt8]
    public let hubPublicKey: WireGuard.PublicKey
    /// Host name or numeric address where the hub's WireGuard listens.
    public let host: String
    public let port: UInt16
    /// SHA-256 of the root metadata that the device shall start its trust from.
    public let rootDigest: Digest
    /// The hub's ULA /48: six bytes, `fd` first. Tells the device the hub's address in the tunnel and its own.
    public let network: TunnelNetwork

    /// Nil when the seed is not 32 bytes or the host is empty, too long or not printable ASCII.
    public init?(
        seed: [UInt8], hubPublicKey: WireGuard.PublicKey, host: String, port: UInt16, rootDigest: Digest,
        network: TunnelNetwork
    ) {
        let name = host.utf8
        guard seed.count == Self.seedBytes, port > 0, (1...Self.hostLimit).contains(name.count),
            name.allSatisfy({ (0x21...0x7E).contains($0) })
        else { return nil }
        self.seed = seed
        self.hubPublicKey = hubPublicKey
        self.host = host
        self.port = port
        self.rootDigest = rootDigest
        self.network = network
    }

    /// What both sides derive from the seed.
    public struct Credential: Sendable, Equatable {
        /// Names the token in the hub's store; tells nothing of the keys.
        public let id: EnrolmentTokenID
        public let privateKey: SecretKey
        public let publicKey: WireGuard.PublicKey
        public let presharedKey: SecretKey
    }

    public func credential() throws(HubProtocolError) -> Credential { try Self.credential(seed: seed) }

    /// HKDF-SHA-256 with an empty salt; one `info` per purpose.
    public static func credential(seed: [UInt8]) throws(HubProtocolError) -> Credential {
        func derive(_ purpose: String, _ count: Int) throws(HubProtocolError) -> [UInt8] {
            try KeyDerivation.hkdf(
                secret: seed, salt: [], info: Array("holdfast enrolment v1 \(purpose)".utf8), count: count)
        }
        var scalar = try derive("x25519", SecretKey.byteCount)
        // Clamped as RFC 7748 section 5 has it, so that `wg` shows the same key that we derived.
        scalar[0] &= 0xF8
        scalar[31] = scalar[31] & 0x7F | 0x40
        guard let privateKey = SecretKey(bytes: scalar),
            let psk = SecretKey(bytes: try derive("psk", SecretKey.byteCount)),
            let id = EnrolmentTokenID(bytes: try derive("id", EnrolmentTokenID.byteCount)),
            let publicKey = try? privateKey.derivePublicKey()
        else { throw HubProtocolError(.crypto, "token", "libcrypto derives no key") }
        return Credential(id: id, privateKey: privateKey, publicKey: publicKey, presharedKey: psk)
    }
}

/// 16 bytes, written as 32 hex digits.
public struct EnrolmentTokenID: Hashable, Sendable, Comparable, Codable, CustomStringConvertible {
    public static let byteCount = 16
    public let bytes: [UInt8]

    public init?(bytes: [UInt8]) {
        guard bytes.count == Self.byteCount else { return nil }
        self.bytes = bytes
    }

    public init?(hex: String) {
        guard hex.utf8.count == 2 * Self.byteCount, hex == hex.lowercased(), let bytes = Hex.decode(hex) else {
            return nil
        }
        self.bytes = bytes
    }

    public var description: String { Hex.encode(bytes) }
    public static func < (lhs: Self, rhs: Self) -> Bool { lhs.bytes.lexicographicallyPrecedes(rhs.bytes) }

    public init(from decoder: any Decoder) throws {
        let container = try decoder.singleValueContainer()
        guard let id = Self(hex: try container.decode(String.self)) else {
            throw DecodingError.dataCorruptedError(in: container, debugDescription: "expected 32 hex digits")
        }
        self = id
    }
    public func encode(to encoder: any Encoder) throws {
        var container = encoder.singleValueContainer()
        try container.encode(description)
    }
}

// MARK: - Text

extension EnrolmentToken {
    /// `HF1-` and base32 (RFC 4648) in groups of eight: capitals, digits and dashes, so that a QR code
    /// takes its alphanumeric mode and a person can read it out.
    ///
    /// Version 1 is: version, seed 32, hub key 32, root digest 32, network 6, port 2 (network order),
    /// host length 1, host, and the first four bytes of the SHA-256 of all that.
    public var text: String {
        var bytes = [Self.version] + seed + hubPublicKey.bytes + rootDigest.bytes + network.bytes
        bytes += [UInt8(port >> 8), UInt8(port & 0xFF), UInt8(host.utf8.count)]
        bytes += host.utf8
        bytes += Digest.sha256(bytes).bytes.prefix(Self.checksumBytes)
        let characters = Array(Base32.encode(bytes))
        let groups = stride(from: 0, to: characters.count, by: 8).map {
            String(characters[$0..<min($0 + 8, characters.count)])
        }
        return ([Self.prefix] + groups).joined(separator: "-")
    }

    /// Reads the text form. White space, dashes and letter case do not matter.
    public init(text: String) throws(HubProtocolError) {
        guard text.utf8.count <= Self.textLimit else {
            throw HubProtocolError(.tokenMalformed, "token", "more than \(Self.textLimit) characters")
        }
        let plain = text.filter { !$0.isWhitespace && $0 != "-" }.uppercased()
        guard plain.hasPrefix(Self.prefix) else {
            // HF and a digit is a token all the same, of a format that came later.
            guard plain.hasPrefix("HF"), plain.dropFirst(2).first?.isNumber == true else {
                throw HubProtocolError(.tokenMalformed, "token", "does not start with \(Self.prefix)")
            }
            throw HubProtocolError(.tokenVersion, "token", "is of a format that this program does not know")
        }
        guard let bytes = Base32.decode(plain.dropFirst(Self.prefix.count)) else {
            throw HubProtocolError(.tokenMalformed, "token", "has a character that no token has, or is cut short")
        }
        try self.init(bytes: bytes)
    }

    private init(bytes: [UInt8]) throws(HubProtocolError) {
        guard bytes.count > Self.checksumBytes else {
            throw HubProtocolError(.tokenMalformed, "token", "is cut short")
        }
        let body = Array(bytes.dropLast(Self.checksumBytes))
        guard Digest.sha256(body).bytes.prefix(Self.checksumBytes).elementsEqual(bytes.suffix(Self.checksumBytes))
        else { throw HubProtocolError(.tokenChecksum, "token", "its checksum does not match: a character is wrong") }
        var rest = body[...]
        func take(_ count: Int) -> [UInt8]? {
            guard rest.count >= count else { return nil }
            defer { rest = rest.dropFirst(count) }
            return Array(rest.prefix(count))
        }
        guard let version = take(1) else { throw HubProtocolError(.tokenMalformed, "token", "is empty") }
        guard version[0] == Self.version else {
            throw HubProtocolError(.tokenVersion, "token", "is of format \(version[0]), this program reads 1")
        }
        guard let seed = take(Self.seedBytes), let key = take(32).flatMap({ WireGuard.PublicKey(bytes: $0) }),
            let root = take(Digest.byteCount).flatMap({ Digest(bytes: $0) }),
            let network = take(TunnelNetwork.byteCount).flatMap({ TunnelNetwork(bytes: $0) }),
            let port = take(2), let length = take(1), let host = take(Int(length[0])), rest.isEmpty,
            let token = Self(
                seed: seed, hubPublicKey: key, host: String(decoding: host, as: UTF8.self),
                port: UInt16(port[0]) << 8 | UInt16(port[1]), rootDigest: root, network: network)
        else { throw HubProtocolError(.tokenMalformed, "token", "a field is missing or impossible") }
        self = token
    }
}

extension EnrolmentToken: CustomStringConvertible {
    /// Never the seed: tokens end up in logs by way of this.
    public var description: String { "enrolment token for \(host):\(port)" }
}

/// RFC 4648 section 6 without padding.
enum Base32 {
    private static let alphabet = Array("ABCDEFGHIJKLMNOPQRSTUVWXYZ234567".utf8)

    static func encode(_ bytes: [UInt8]) -> String {
        var output: [UInt8] = []
        var (bits, count) = (UInt32(0), UInt32(0))
        for byte in bytes {
            bits = (bits << 8 | UInt32(byte)) & 0xFFFF
            count += 8
            while count >= 5 {
                count -= 5
                output.append(alphabet[Int(bits >> count) & 31])
            }
        }
        if count > 0 { output.append(alphabet[Int(bits << (5 - count)) & 31]) }
        return String(decoding: output, as: UTF8.self)
    }

    /// Nil for a character outside the alphabet, an impossible length or bits left over.
    static func decode(_ text: some StringProtocol) -> [UInt8]? {
        guard ![1, 3, 6].contains(text.utf8.count % 8) else { return nil }
        var output: [UInt8] = []
        var (bits, count) = (UInt32(0), UInt32(0))
        for character in text.utf8 {
            let value: UInt32
            switch character {
            case 0x41...0x5A: value = UInt32(character - 0x41)
            case 0x32...0x37: value = UInt32(character - 0x32 + 26)
            default: return nil
            }
            bits = (bits << 5 | value) & 0xFFFF
            count += 5
            guard count >= 8 else { continue }
            count -= 8
            output.append(UInt8(truncatingIfNeeded: bits >> count))
        }
        return bits & (1 << count - 1) == 0 ? output : nil
    }
}
