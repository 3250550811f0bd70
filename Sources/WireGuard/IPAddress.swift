import Glibc

/// An IPv4 or IPv6 address.
public struct IPAddress: Hashable, Sendable {
    public enum Family: UInt8, Sendable {
        case v4, v6
        public var byteCount: Int { self == .v4 ? 4 : 16 }
        public var bitCount: UInt8 { self == .v4 ? 32 : 128 }
    }

    /// An IPv6 address in host order: `high` is its first 64 bits. An IPv4 address is the low 32 bits of `low`.
    public let high: UInt64
    public let low: UInt64
    public let family: Family

    /// IPv6 from its two halves.
    public init(high: UInt64, low: UInt64) {
        self.high = high
        self.low = low
        family = .v6
    }

    public init(v4: UInt32) {
        high = 0
        low = UInt64(v4)
        family = .v4
    }

    /// Four or sixteen bytes in network order; nil for any other count.
    public init?(bytes: some Collection<UInt8>) {
        var words: (UInt64, UInt64) = (0, 0)
        switch bytes.count {
        case 4:
            self.init(v4: bytes.reduce(0) { $0 << 8 | UInt32($1) })
        case 16:
            withUnsafeMutableBytes(of: &words) { $0.copyBytes(from: bytes) }
            self.init(high: UInt64(bigEndian: words.0), low: UInt64(bigEndian: words.1))
        default: return nil
        }
    }

    /// The numeric forms that `inet_pton` reads; no zone, no host name.
    public init?(_ text: some StringProtocol) {
        let utf8 = Array(text.utf8)
        guard let address = utf8.withUnsafeBytes({ IPAddress(text: $0) }) else { return nil }
        self = address
    }

    /// Longest numeric form: eight groups of an IPv4-mapped address.
    private static let maxTextBytes = 45

    init?(text: UnsafeRawBufferPointer) {
        guard text.count > 1, text.count <= Self.maxTextBytes else { return nil }
        let isV6 = text.contains(0x3A)
        guard !text.contains(0) else { return nil }
        let parsed = withUnsafeTemporaryAllocation(byteCount: 64, alignment: 8) { scratch -> IPAddress? in
            scratch.copyMemory(from: text)
            scratch[text.count] = 0
            guard let start = scratch.baseAddress else { return nil }
            var words: (UInt64, UInt64) = (0, 0)
            let good = inet_pton(isV6 ? AF_INET6 : AF_INET, start.assumingMemoryBound(to: CChar.self), &words)
            guard good == 1 else { return nil }
            return withUnsafeBytes(of: words) { IPAddress(bytes: $0[..<(isV6 ? 16 : 4)]) }
        }
        guard let parsed else { return nil }
        self = parsed
    }

    /// Network order, four or sixteen bytes.
    public var bytes: [UInt8] {
        switch family {
        case .v4: return (0..<4).map { UInt8(truncatingIfNeeded: low >> (24 - 8 * $0)) }
        case .v6:
            let words = (high.bigEndian, low.bigEndian)
            return withUnsafeBytes(of: words) { Array($0) }
        }
    }

    /// With all bits after the first `length` zero.
    public func masked(to length: UInt8) -> IPAddress {
        precondition(length <= family.bitCount)
        switch family {
        case .v4: return IPAddress(v4: length == 0 ? 0 : UInt32(low) & (UInt32.max << (32 - UInt32(length))))
        case .v6:
            let bits = UInt64(length)
            return IPAddress(
                high: bits >= 64 ? high : high & ~(UInt64.max >> bits),
                low: bits <= 64 ? 0 : low & ~(bits == 128 ? 0 : UInt64.max >> (bits - 64)))
        }
    }

    public var isLinkLocal: Bool { family == .v6 && high >> 54 == 0x3FA }
}

extension IPAddress: CustomStringConvertible {
    /// The form of `inet_ntop`, which for IPv6 is that of RFC 5952.
    public var description: String {
        withUnsafeTemporaryAllocation(byteCount: 64, alignment: 8) { scratch in
            let network = bytes
            guard let start = scratch.baseAddress?.assumingMemoryBound(to: CChar.self),
                inet_ntop(family == .v4 ? AF_INET : AF_INET6, network, start, 64) != nil
            else { return "" }
            return String(cString: start)
        }
    }
}

extension IPAddress: Comparable {
    /// IPv4 before IPv6, then by value.
    public static func < (lhs: IPAddress, rhs: IPAddress) -> Bool {
        (lhs.family.rawValue, lhs.high, lhs.low) < (rhs.family.rawValue, rhs.high, rhs.low)
    }
}
