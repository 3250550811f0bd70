import Base
import Glibc

/// Who has which address: one ULA /48 (RFC 4193) per hub, one /64 per site, one /127 per device with an address
/// for each slot. The first /127 of a site is the hub's own.
///
/// Places are drawn from a digest of the name and taken in turn from there when they are not free, so that a plan
/// that is rebuilt from the same names in the same order is the same, and a lost hub's addresses can be guessed;
/// what was once allocated is kept by the caller and given back at the start.
public struct AddressPlan: Sendable {
    /// Numbers 1...65535; 0 is left for the hub's own networks.
    public static let maxSites = 65_535
    /// Bounds memory, not the address space: a /64 has 2^63 pairs.
    public static let maxDevices = 1 << 20
    /// A site that is nearly full is searched from end to end; a /64 never is.
    private static let maxDeviceProbes = 1 << 16
    private static let pairMask = UInt64.max >> 1

    /// The hub's /48.
    public let hub: IPPrefix
    public private(set) var sites: [String: UInt16] = [:]
    public private(set) var devices: [String: DeviceAddresses] = [:]
    private var takenSites: Set<UInt16> = []
    private var takenPairs: Set<DeviceAddresses> = []
    private let draw: @Sendable (String) -> UInt64

    /// Refuses a hub prefix that is no ULA /48.
    public init(hub: IPPrefix) throws(WireGuardError) {
        try self.init(hub: hub) { text in
            Digest.sha256(text.utf8).bytes.prefix(8).reduce(0) { $0 << 8 | UInt64($1) }
        }
    }

    init(hub: IPPrefix, draw: @escaping @Sendable (String) -> UInt64) throws(WireGuardError) {
        guard hub.length == 48, hub.address.family == .v6, hub.address.high >> 56 == 0xFD else {
            throw .addressPlan(why: "\(hub) is not a /48 in fd00::/8")
        }
        self.hub = hub
        self.draw = draw
    }

    /// A new hub prefix: fd and 40 random bits (RFC 4193 section 3.2).
    public static func generateHub() throws(WireGuardError) -> IPPrefix {
        var random: UInt64 = 0
        guard getentropy(&random, 8) == 0 else {
            throw .system(operation: "draw", element: "random bytes", errno: errno, detail: "")
        }
        let address = IPAddress(high: 0xFD << 56 | (random & 0xFF_FFFF_FFFF) << 16, low: 0)
        guard let prefix = IPPrefix(address, length: 48) else { throw .addressPlan(why: "\(address) has no /48") }
        return prefix
    }

    // MARK: Sites

    /// The site's /64, allocated when it has none.
    public mutating func site(_ name: String) throws(WireGuardError) -> IPPrefix {
        if let number = sites[name] { return try prefix(ofSite: number) }
        guard takenSites.count < Self.maxSites else { throw .addressPlan(why: "all \(Self.maxSites) sites are taken") }
        var number = UInt16(draw("site " + name) % UInt64(Self.maxSites)) + 1
        while takenSites.contains(number) { number = number == UInt16.max ? 1 : number + 1 }
        try restore(site: name, number: number)
        return try prefix(ofSite: number)
    }

    /// Takes over an allocation made earlier. Refuses a number or a name that is taken otherwise.
    public mutating func restore(site name: String, number: UInt16) throws(WireGuardError) {
        if sites[name] == number { return }
        guard number != 0, sites[name] == nil, !takenSites.contains(number) else {
            throw .addressPlan(why: "site \(name) cannot have number \(number): it is taken")
        }
        sites[name] = number
        takenSites.insert(number)
    }

    private func prefix(ofSite number: UInt16) throws(WireGuardError) -> IPPrefix {
        guard let prefix = IPPrefix(IPAddress(high: hub.address.high | UInt64(number), low: 0), length: 64) else {
            throw .addressPlan(why: "site \(number) has no /64")
        }
        return prefix
    }

    /// The hub's own pair in a site.
    public func hubAddresses(inSiteOf device: DeviceAddresses) -> DeviceAddresses {
        DeviceAddresses(site: device.site, pair: 0)
    }

    // MARK: Devices

    /// The device's pair, allocated in the site when it has none.
    public mutating func device(_ id: String, site name: String) throws(WireGuardError) -> DeviceAddresses {
        if let known = devices[id] { return known }
        guard devices.count < Self.maxDevices else { throw .limit(what: "devices in one plan", limit: Self.maxDevices) }
        let site = try self.site(name).address.high
        let start = draw("device " + id) & Self.pairMask
        for step in 0..<UInt64(Self.maxDeviceProbes) {
            let candidate = DeviceAddresses(site: site, pair: (start &+ step) & Self.pairMask)
            guard candidate.pair != 0, !takenPairs.contains(candidate) else { continue }
            try restore(device: id, addresses: candidate)
            return candidate
        }
        throw .addressPlan(why: "no free pair for device \(id) near \(start)")
    }

    /// Takes over an allocation made earlier. Refuses addresses outside the plan, the hub's, or another device's.
    public mutating func restore(device id: String, addresses: DeviceAddresses) throws(WireGuardError) {
        if devices[id] == addresses { return }
        guard addresses.site >> 16 == hub.address.high >> 16, addresses.pair != 0, devices[id] == nil,
            !takenPairs.contains(addresses)
        else { throw .addressPlan(why: "device \(id) cannot have \(addresses): it is taken or outside \(hub)") }
        devices[id] = addresses
        takenPairs.insert(addresses)
    }

    /// Frees a device's pair. Keep it for a while after the device went: its peer may still answer to it.
    public mutating func release(device id: String) {
        if let addresses = devices.removeValue(forKey: id) { takenPairs.remove(addresses) }
    }
}

/// The two addresses of a /127.
public struct DeviceAddresses: Hashable, Sendable, CustomStringConvertible {
    /// First 64 bits.
    let site: UInt64
    /// The /127 within the site, below 2^63.
    let pair: UInt64

    init(site: UInt64, pair: UInt64) {
        self.site = site
        self.pair = pair
    }

    /// Reads a /127, such as one that was stored. Nil for anything else.
    public init?(_ prefix: IPPrefix) {
        guard prefix.length == 127, prefix.address.family == .v6 else { return nil }
        self.init(site: prefix.address.high, pair: prefix.address.low >> 1)
    }

    public func address(_ slot: Slot) -> IPAddress { IPAddress(high: site, low: pair << 1 | slot.bit) }

    public var description: String { "\(address(.first))/127" }
}
