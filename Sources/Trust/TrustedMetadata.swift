import Base

/// Which repository: who says what the software is, and who says who gets it.
public enum RepositoryName: String, Sendable, Codable, CaseIterable {
    case release, director
}

/// One verifier behind several ways of getting bytes: HTTP, a folder, a tar.
public protocol MetadataFetcher: Sendable {
    /// Bytes of a metadata file by its name (`3.root.json`, `timestamp.json`, `2.a role.json`); nil when there is none.
    ///
    /// Role names in it are untrusted text: whoever turns a name into a path or URL percent-encodes it
    /// (``MetadataName/encoded(_:)``). Never more than `maxLength` bytes: a longer file is an error, found out
    /// before it is held in memory.
    func fetchMetadata(_ name: String, maxLength: Int) async throws -> [UInt8]?
}

/// How a role's name becomes a file name or one URL segment.
public enum MetadataName {
    private static let digits = Array("0123456789ABCDEF".utf8)

    /// Percent-encodes all but RFC 3986's unreserved characters, `/` too (CVE-2021-41131).
    public static func encoded(_ name: String) -> String { encode(name, keeping: []) }

    /// Percent-encodes a target path for a URL, leaving `/` as the separator it is.
    public static func encodedPath(_ path: String) -> String { encode(path, keeping: [0x2F]) }

    /// The name that ``encoded(_:)`` made `text` from; nil when it did not.
    public static func decoded(_ text: String) -> String? {
        var output: [UInt8] = []
        var rest = Substring(text).utf8
        while let byte = rest.popFirst() {
            if byte == 0x25 {
                guard let pair = Hex.decode(Substring(rest.prefix(2))), let value = pair.first else { return nil }
                output.append(value)
                rest = rest.dropFirst(2)
            } else {
                output.append(byte)
            }
        }
        guard let name = String(validating: output, as: UTF8.self), encoded(name) == text else { return nil }
        return name
    }

    private static func encode(_ text: String, keeping extra: Set<UInt8>) -> String {
        var output: [UInt8] = []
        for byte in text.utf8 {
            switch byte {
            case 0x30...0x39, 0x41...0x5A, 0x61...0x7A, 0x2D, 0x2E, 0x5F, 0x7E: output.append(byte)
            case _ where extra.contains(byte): output.append(byte)
            default: output += [0x25, digits[Int(byte >> 4)], digits[Int(byte & 15)]]
            }
        }
        return String(decoding: output, as: UTF8.self)
    }
}

/// The metadata that a client trusts of one repository, each file as the bytes that were verified.
public struct TrustedMetadata: Sendable, Equatable {
    public internal(set) var root: [UInt8]
    public internal(set) var timestamp: [UInt8]?
    public internal(set) var snapshot: [UInt8]?
    public internal(set) var targets: [UInt8]?
    /// Delegated targets metadata by role name. A cache: verified anew, against its delegator, before each use.
    public internal(set) var delegated: ExactMap<[UInt8]>

    /// Roles and bytes as they were stored. Nothing is believed of them before it is verified again.
    public init(
        root: [UInt8], timestamp: [UInt8]? = nil, snapshot: [UInt8]? = nil, targets: [UInt8]? = nil,
        delegated: ExactMap<[UInt8]> = [:]
    ) {
        self.root = root
        self.timestamp = timestamp
        self.snapshot = snapshot
        self.targets = targets
        self.delegated = delegated
    }

    /// The stored bytes of a role.
    public subscript(role: String) -> [UInt8]? {
        switch role {
        case TopLevel.root: root
        case TopLevel.timestamp: timestamp
        case TopLevel.snapshot: snapshot
        case TopLevel.targets: targets
        default: delegated[role]
        }
    }

    mutating func set(_ role: String, _ bytes: [UInt8]?) {
        switch role {
        case TopLevel.root: if let bytes { root = bytes }
        case TopLevel.timestamp: timestamp = bytes
        case TopLevel.snapshot: snapshot = bytes
        case TopLevel.targets: targets = bytes
        default: delegated[role] = bytes
        }
    }

    /// Roles that are there, top-level first, delegated by name.
    public var roles: [String] {
        [TopLevel.root, TopLevel.timestamp, TopLevel.snapshot, TopLevel.targets].filter { self[$0] != nil }
            + delegated.keys.map(ExactText.init).sorted().map(\.text)
    }
}
