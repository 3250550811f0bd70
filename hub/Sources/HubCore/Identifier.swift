/// The name of one thing of one sort; a device's cannot be passed where a fleet's is due.
///
/// 1-63 characters of `a-z`, `0-9`, `-` and `.`, starting and ending with a letter or digit, so that it is
/// a file name, a URL segment and a label value without escaping.
public struct Identifier<Subject>: Hashable, Sendable, Comparable, Codable, CustomStringConvertible {
    public let text: String

    public init(_ text: String) throws(HubError) {
        guard Self.isValid(text) else {
            throw HubError(
                .name, "name \"\(text.prefix(HubLimits.nameLength))\"",
                "1-\(HubLimits.nameLength) characters of a-z, 0-9, - and ., a letter or digit first and last")
        }
        self.text = text
    }

    static func isValid(_ text: String) -> Bool {
        let bytes = text.utf8
        guard (1...HubLimits.nameLength).contains(bytes.count), let first = bytes.first, let last = bytes.last else {
            return false
        }
        func alphanumeric(_ byte: UInt8) -> Bool { (0x61...0x7A).contains(byte) || (0x30...0x39).contains(byte) }
        return alphanumeric(first) && alphanumeric(last)
            && bytes.allSatisfy { alphanumeric($0) || $0 == 0x2D || $0 == 0x2E }
    }

    public var description: String { text }
    public static func < (lhs: Self, rhs: Self) -> Bool { lhs.text.utf8.lexicographicallyPrecedes(rhs.text.utf8) }

    public init(from decoder: any Decoder) throws {
        try self.init(try decoder.singleValueContainer().decode(String.self))
    }
    public func encode(to encoder: any Encoder) throws {
        var container = encoder.singleValueContainer()
        try container.encode(text)
    }
}

public typealias DeviceID = Identifier<Device>
public typealias FleetID = Identifier<Fleet>
public typealias AssignmentID = Identifier<Assignment>
public typealias AppID = Identifier<ReleaseRecord>
