import Base
import HubProtocol
import WireGuard

/// A device as the store has it: a compact row, since a hub reads all of them when it starts.
///
/// Numbers are big-endian; a text is its length in two bytes and UTF-8. In this order: schema (1 byte, 2), state (1),
/// flags (1), site (2), index (8), credential generation (8), time of enrolment (8), time since which the key is in use
/// (8, with flag), the WireGuard keys of the even and the odd slot (32 each, with flag), the hub's key that its tunnel leads
/// to (32, with flag), token (16), signing key (32), id, architecture, host name, number of labels (2), and key and value of each label by key. Rows of schema 1 are the
/// JSON that ``HubRecord`` writes; they are read, and written anew with the next change.
enum DeviceRow {
    static let schema: UInt8 = 2
    static let keyBytes = 32
    /// Bytes of a row without its texts and optional fields; for the buffer's first size.
    private static let usualSize = 320

    private static let states: [Device.State] = [.waiting, .active, .rejected, .revoked]

    static func state(_ number: UInt8) -> Device.State? {
        states.indices.contains(Int(number)) ? states[Int(number)] : nil
    }

    struct Flags: OptionSet {
        var rawValue: UInt8
        static let usesOddSlot = Flags(rawValue: 1)
        static let hasEvenKey = Flags(rawValue: 2)
        static let hasOddKey = Flags(rawValue: 4)
        static let hasKeySince = Flags(rawValue: 8)
        /// Whether `rotateKey` is there, and whether it is true.
        static let hasRotateKey = Flags(rawValue: 16)
        static let rotateKey = Flags(rawValue: 32)
        static let hasHubKey = Flags(rawValue: 64)
        static let all: Flags = [
            .usesOddSlot, .hasEvenKey, .hasOddKey, .hasKeySince, .hasRotateKey, .rotateKey, .hasHubKey,
        ]
    }

    static func encode(_ device: Device) throws(HubError) -> [UInt8] {
        guard let state = states.firstIndex(of: device.state), let signingKey = Hex.decode(device.signingKey),
            signingKey.count == keyBytes, device.signingKey == Hex.encode(signingKey)
        else {
            throw HubError(.recordMalformed, "device \(device.id)", "its signing key is no lower-case hex of 32 bytes")
        }
        var flags = Flags()
        if device.slot == .odd { flags.insert(.usesOddSlot) }
        if device.keys[.even] != nil { flags.insert(.hasEvenKey) }
        if device.keys[.odd] != nil { flags.insert(.hasOddKey) }
        if device.keySince != nil { flags.insert(.hasKeySince) }
        if let rotate = device.rotateKey { flags.formUnion(rotate ? [.hasRotateKey, .rotateKey] : .hasRotateKey) }
        if device.hubKey != nil { flags.insert(.hasHubKey) }
        var row: [UInt8] = []
        row.reserveCapacity(usualSize)
        row += [schema, UInt8(state), flags.rawValue]
        append(device.site, to: &row)
        append(device.index, to: &row)
        append(device.credentialGeneration, to: &row)
        append(device.enrolledAt.seconds, to: &row)
        if let since = device.keySince { append(since.seconds, to: &row) }
        for slot in [TunnelNetwork.KeySlot.even, .odd] { row += device.keys[slot]?.key.bytes ?? [] }
        row += device.hubKey?.key.bytes ?? []
        row += device.token.bytes
        row += signingKey
        for text in [device.id.text, device.architecture, device.hostName] { try append(text, to: &row) }
        append(UInt16(truncatingIfNeeded: device.labels.values.count), to: &row)
        for (key, value) in device.labels.values.sorted(by: { $0.key < $1.key }) {
            try append(key, to: &row)
            try append(value, to: &row)
        }
        guard row.count <= HubLimits.recordSize else {
            throw HubError(.limit, "device \(device.id)", "\(row.count) bytes, at most \(HubLimits.recordSize)")
        }
        return row
    }

    private static func append(_ value: some FixedWidthInteger, to row: inout [UInt8]) {
        withUnsafeBytes(of: value.bigEndian) { row.append(contentsOf: $0) }
    }

    private static func append(_ text: String, to row: inout [UInt8]) throws(HubError) {
        guard let length = UInt16(exactly: text.utf8.count) else {
            throw HubError(.limit, "device", "a text of \(text.utf8.count) bytes")
        }
        append(length, to: &row)
        row.append(contentsOf: text.utf8)
    }

    static func decode(_ row: [UInt8]) throws(HubError) -> Device {
        var reader = RowReader(bytes: row)
        guard try reader.integer(UInt8.self) == schema else { throw RowReader.malformed }
        let number = try reader.integer(UInt8.self)
        let flags = Flags(rawValue: try reader.integer(UInt8.self))
        guard let state = state(number), Flags.all.isSuperset(of: flags) else { throw RowReader.malformed }
        let site = try reader.integer(UInt16.self)
        let index = try reader.integer(UInt64.self)
        let generation = try reader.integer(Int64.self)
        let enrolledAt = Timestamp(seconds: try reader.integer(Int64.self))
        let since = flags.contains(.hasKeySince) ? Timestamp(seconds: try reader.integer(Int64.self)) : nil
        let even = flags.contains(.hasEvenKey) ? try reader.key() : nil
        let odd = flags.contains(.hasOddKey) ? try reader.key() : nil
        let hubKey = flags.contains(.hasHubKey) ? try reader.key() : nil
        guard let token = EnrolmentTokenID(bytes: try reader.take(EnrolmentTokenID.byteCount)),
            let first = even ?? odd
        else { throw RowReader.malformed }
        let signingKey = Hex.encode(try reader.take(keyBytes))
        let id = try DeviceID(reader.text())
        let architecture = try reader.text()
        let hostName = try reader.text()
        var labels: [String: String] = [:]
        for _ in 0..<(try reader.integer(UInt16.self)) { labels[try reader.text()] = try reader.text() }
        guard reader.isAtEnd else { throw RowReader.malformed }
        var device = Device(
            id: id, state: state, labels: Labels(stored: labels), architecture: architecture,
            hostName: hostName, signingKey: signingKey, key: first.key, site: site, index: index, token: token,
            enrolledAt: enrolledAt)
        device.keys = [:]
        device.keys[.even] = even
        device.keys[.odd] = odd
        device.slot = flags.contains(.usesOddSlot) ? .odd : .even
        device.credentialGeneration = generation
        device.keySince = since
        device.hubKey = hubKey
        device.rotateKey = flags.contains(.hasRotateKey) ? flags.contains(.rotateKey) : nil
        return device
    }
}

extension Device {
    public func encoded() throws(HubError) -> [UInt8] { try DeviceRow.encode(self) }

    public init(decoding bytes: [UInt8]) throws(HubError) {
        switch bytes.first {
        case DeviceRow.schema?: self = try DeviceRow.decode(bytes)
        // No JSON begins with such a byte.
        case let later? where later < 0x09:
            throw HubError(
                .recordSchema, "stored device", "schema \(later), this program knows \(DeviceRow.schema)")
        default: try self.init(decodingJSON: bytes)
        }
    }
}

/// Reads a row from its start; never beyond its end.
private struct RowReader {
    static let malformed = HubError(.recordMalformed, "stored device", "is cut short or damaged")

    let bytes: [UInt8]
    private var position = 0

    init(bytes: [UInt8]) { self.bytes = bytes }

    var isAtEnd: Bool { position == bytes.count }

    mutating func take(_ count: Int) throws(HubError) -> [UInt8] { Array(bytes[try advance(count)]) }

    private mutating func advance(_ count: Int) throws(HubError) -> Range<Int> {
        guard count <= bytes.count - position else { throw Self.malformed }
        defer { position += count }
        return position..<position + count
    }

    mutating func integer<Value: FixedWidthInteger>(_ type: Value.Type) throws(HubError) -> Value {
        var value: Value = 0
        for byte in bytes[try advance(MemoryLayout<Value>.size)] { value = value << 8 | Value(byte) }
        return value
    }

    mutating func key() throws(HubError) -> TunnelKey {
        guard let key = WireGuard.PublicKey(bytes: try take(DeviceRow.keyBytes)) else { throw Self.malformed }
        return TunnelKey(key)
    }

    mutating func text() throws(HubError) -> String {
        let range = try advance(Int(try integer(UInt16.self)))
        guard let text = String(validating: bytes[range], as: UTF8.self) else { throw Self.malformed }
        return text
    }
}
