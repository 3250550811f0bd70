import Base
import HubProtocol
import WireGuard

/// What a hub's memory, its director and its tunnel want of a device's row, read where the row lies: a hub goes through
/// all of them when it starts. Good only inside the closure that it is handed to.
public struct DeviceBrief {
    public let state: Device.State
    public let site: UInt16
    public let index: UInt64
    public let credentialGeneration: Int64
    public let keys: (even: WireGuard.PublicKey?, odd: WireGuard.PublicKey?)
    public let slot: TunnelNetwork.KeySlot
    public let rotateKey: Bool
    public let idBytes: UnsafeRawBufferPointer
    public let architectureBytes: UnsafeRawBufferPointer
    /// The labels as the row has them: equal bytes are equal labels.
    public let labelBytes: UnsafeRawBufferPointer

    /// Reads a stored device, in whichever form it is stored.
    public static func read<Value>(
        _ bytes: UnsafeRawBufferPointer, _ body: (DeviceBrief) throws -> Value
    ) throws -> Value {
        if bytes.first == DeviceRow.schema { return try body(DeviceBrief(row: bytes)) }
        let row = try Device(decoding: Array(bytes)).encoded()
        return try row.withUnsafeBytes { try body(DeviceBrief(row: $0)) }
    }

    private init(row: UnsafeRawBufferPointer) throws(HubError) {
        var reader = Reader(bytes: row)
        guard try reader.integer(UInt8.self) == DeviceRow.schema,
            let state = DeviceRow.state(try reader.integer(UInt8.self))
        else { throw Reader.malformed }
        let flags = DeviceRow.Flags(rawValue: try reader.integer(UInt8.self))
        guard DeviceRow.Flags.all.isSuperset(of: flags) else { throw Reader.malformed }
        self.state = state
        site = try reader.integer(UInt16.self)
        index = try reader.integer(UInt64.self)
        credentialGeneration = try reader.integer(Int64.self)
        _ = try reader.integer(Int64.self)
        if flags.contains(.hasKeySince) { _ = try reader.integer(Int64.self) }
        let even = flags.contains(.hasEvenKey) ? try reader.key() : nil
        let odd = flags.contains(.hasOddKey) ? try reader.key() : nil
        keys = (even, odd)
        slot = flags.contains(.usesOddSlot) ? .odd : .even
        rotateKey = flags.contains(.rotateKey)
        if flags.contains(.hasHubKey) { _ = try reader.take(DeviceRow.keyBytes) }
        _ = try reader.take(EnrolmentTokenID.byteCount + DeviceRow.keyBytes)
        idBytes = try reader.text()
        architectureBytes = try reader.text()
        _ = try reader.text()
        labelBytes = reader.rest
        guard even != nil || odd != nil else { throw Reader.malformed }
        for _ in 0..<2 * Int(try reader.integer(UInt16.self)) { _ = try reader.text() }
        guard reader.rest.isEmpty else { throw Reader.malformed }
    }

    public var id: DeviceID {
        get throws(HubError) { try DeviceID(String(decoding: idBytes, as: UTF8.self)) }
    }

    /// Visits key and value of each label, by key.
    public func forEachLabel(_ body: (_ key: UnsafeRawBufferPointer, _ value: UnsafeRawBufferPointer) -> Void) {
        var reader = Reader(bytes: labelBytes)
        guard let count = try? reader.integer(UInt16.self) else { return }
        for _ in 0..<count {
            guard let key = try? reader.text(), let value = try? reader.text() else { return }
            body(key, value)
        }
    }

    public var labels: Labels {
        var values: [String: String] = [:]
        forEachLabel { values[String(decoding: $0, as: UTF8.self)] = String(decoding: $1, as: UTF8.self) }
        return Labels(stored: values)
    }

    /// As ``Device/recordLabels``.
    public var recordLabels: Labels {
        labels.overridden(by: [
            "arch": String(decoding: architectureBytes, as: UTF8.self), "state": state.rawValue,
        ])
    }

    /// As ``Device/peers(in:)``.
    public func peers(in network: TunnelNetwork) -> [TunnelPeer] {
        guard state == .active else { return [] }
        func peer(_ slot: TunnelNetwork.KeySlot, _ key: WireGuard.PublicKey?) -> TunnelPeer? {
            guard let key, let address = network.device(site: site, index: index, slot: slot) else { return nil }
            return TunnelPeer(publicKey: key, address: address, presharedKey: nil)
        }
        return [peer(.even, keys.even), peer(.odd, keys.odd)].compactMap { $0 }
    }

    /// Reads a row from its start; never beyond its end.
    private struct Reader {
        static let malformed = HubError(.recordMalformed, "stored device", "is cut short or damaged")

        private(set) var rest: UnsafeRawBufferPointer

        init(bytes: UnsafeRawBufferPointer) { rest = bytes }

        mutating func take(_ count: Int) throws(HubError) -> UnsafeRawBufferPointer {
            guard count <= rest.count else { throw Self.malformed }
            defer { rest = UnsafeRawBufferPointer(rebasing: rest[count...]) }
            return UnsafeRawBufferPointer(rebasing: rest[..<count])
        }

        mutating func integer<Value: FixedWidthInteger>(_ type: Value.Type) throws(HubError) -> Value {
            Value(bigEndian: try take(MemoryLayout<Value>.size).loadUnaligned(as: type))
        }

        mutating func key() throws(HubError) -> WireGuard.PublicKey {
            guard let key = WireGuard.PublicKey(buffer: try take(DeviceRow.keyBytes)) else { throw Self.malformed }
            return key
        }

        mutating func text() throws(HubError) -> UnsafeRawBufferPointer {
            try take(Int(try integer(UInt16.self)))
        }
    }
}
