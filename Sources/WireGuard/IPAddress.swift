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
        var output: [UInt8] = []
        appendText(to: &output)
        return String(decoding: output, as: UTF8.self)
    }

    /// Written out here since states of 60,000 peers are text on their way to a daemon, and `inet_ntop` is `sprintf`.
    func appendText(to output: inout [UInt8]) {
        guard family == .v6 else { return appendDotted(to: &output) }
        // IPv4-mapped and IPv4-compatible addresses end in dots, as inet_ntop has it: ::ffff:192.0.2.1, ::192.0.2.1.
        let isCompatible = high == 0 && low >> 32 == 0 && low >> 16 != 0
        if isCompatible || (high == 0 && low >> 32 == 0xFFFF) {
            output += isCompatible ? "::".utf8 : "::ffff:".utf8
            return IPAddress(v4: UInt32(truncatingIfNeeded: low)).appendDotted(to: &output)
        }
        let zeros = longestZeroRun()
        var index = 0
        while index < 8 {
            if index == zeros.lowerBound, !zeros.isEmpty {
                output += "::".utf8
                index = zeros.upperBound
                continue
            }
            if index > 0, index != zeros.upperBound || zeros.isEmpty { output.append(0x3A) }
            let group = self.group(index)
            var started = false
            for shift in [12, 8, 4, 0] as [UInt16] {
                let nibble = UInt8(group >> shift & 15)
                started = started || nibble != 0 || shift == 0
                if started { output.append(nibble < 10 ? 0x30 + nibble : 0x57 + nibble) }
            }
            index += 1
        }
    }

    private func group(_ index: Int) -> UInt16 {
        UInt16(truncatingIfNeeded: (index < 4 ? high : low) >> UInt64(48 - 16 * (index & 3)))
    }

    /// The first longest run of two or more zero groups (RFC 5952 section 4.2); empty when there is none.
    private func longestZeroRun() -> Range<Int> {
        var best = 0..<0
        var start = 0
        for index in 0...8 {
            if index < 8, group(index) == 0 { continue }
            if index - start > max(1, best.count) { best = start..<index }
            start = index + 1
        }
        return best
    }

    private func appendDotted(to output: inout [UInt8]) {
        for shift in [24, 16, 8, 0] as [UInt64] {
            let byte = UInt8(truncatingIfNeeded: low >> shift)
            if byte >= 100 { output.append(0x30 + byte / 100) }
            if byte >= 10 { output.append(0x30 + byte / 10 % 10) }
            output.append(0x30 + byte % 10)
            if shift != 0 { output.append(0x2E) }
        }
    }
}

extension IPAddress: Comparable {
    /// IPv4 before IPv6, then by value.
    public static func < (lhs: IPAddress, rhs: IPAddress) -> Bool {
        (lhs.family.rawValue, lhs.high, lhs.low) < (rhs.family.rawValue, rhs.high, rhs.low)
    }
}
