import WireGuard

/// The addresses of one hub's tunnel: a unique local /48 (RFC 4193), a /64 per site, a /127 per device.
///
/// A device has two addresses, one per key slot, so that its next key is in place before its last one goes.
public struct TunnelNetwork: Hashable, Sendable, Codable {
    public static let byteCount = 6
    /// Sites that devices live in: 0 is the hub's own, the last is for temporary peers.
    public static let sites: ClosedRange<UInt16> = 1...0xFFFE
    static let temporarySite: UInt16 = 0xFFFF
    /// Devices of one site: two addresses each, the first pair left out.
    public static let devicesPerSite: UInt64 = 1 << 62

    /// Six bytes, the first `0xfd`.
    public let bytes: [UInt8]

    /// Nil unless six bytes that start with `0xfd`.
    public init?(bytes: [UInt8]) {
        guard bytes.count == Self.byteCount, bytes[0] == 0xFD else { return nil }
        self.bytes = bytes
    }

    public init(from decoder: any Decoder) throws {
        let container = try decoder.singleValueContainer()
        guard let network = Self(bytes: try container.decode([UInt8].self)) else {
            throw DecodingError.dataCorruptedError(in: container, debugDescription: "expected a unique local /48")
        }
        self = network
    }
    public func encode(to encoder: any Encoder) throws {
        var container = encoder.singleValueContainer()
        try container.encode(bytes)
    }

    private func high(site: UInt16) -> UInt64 { bytes.reduce(0) { $0 << 8 | UInt64($1) } << 16 | UInt64(site) }

    /// Where the hub answers inside the tunnel.
    public var hub: IPAddress { IPAddress(high: high(site: 0), low: 1) }

    /// The one address of a token's temporary peer. Two tokens share one with probability 2^-64 a pair.
    public func temporary(_ token: EnrolmentTokenID) -> IPAddress {
        IPAddress(high: high(site: Self.temporarySite), low: token.bytes.prefix(8).reduce(0) { $0 << 8 | UInt64($1) })
    }

    public enum KeySlot: UInt8, Sendable, Codable, CaseIterable {
        case even = 0
        case odd = 1
        public var other: KeySlot { self == .even ? .odd : .even }
    }

    /// The address of device `index` (1 and up) of a site under one of its two keys; nil out of range.
    public func device(site: UInt16, index: UInt64, slot: KeySlot) -> IPAddress? {
        guard Self.sites.contains(site), (1..<Self.devicesPerSite).contains(index) else { return nil }
        return IPAddress(high: high(site: site), low: index << 1 | UInt64(slot.rawValue))
    }

    /// Whose address it is: the inverse of ``device(site:index:slot:)``; nil for every other address.
    public func place(of address: IPAddress) -> (site: UInt16, index: UInt64, slot: KeySlot)? {
        let site = UInt16(truncatingIfNeeded: address.high)
        guard address.family == .v6, address.high == high(site: site), Self.sites.contains(site) else { return nil }
        let index = address.low >> 1
        guard (1..<Self.devicesPerSite).contains(index) else { return nil }
        return (site, index, address.low & 1 == 0 ? .even : .odd)
    }
}

extension TunnelNetwork: CustomStringConvertible {
    public var description: String { "\(IPAddress(high: high(site: 0), low: 0))/48" }
}
