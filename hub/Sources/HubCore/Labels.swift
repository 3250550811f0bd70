/// Labels as Kubernetes has them: `site=berlin`, `holdfast.dev/ring=canary`.
///
/// Source of the syntax: kubernetes.io, "Labels and Selectors".
public struct Labels: Hashable, Sendable, Codable, ExpressibleByDictionaryLiteral {
    public private(set) var values: [String: String] = [:]

    public init() {}

    public init(_ values: [String: String]) throws(HubError) {
        guard values.count <= HubLimits.labels else {
            throw HubError(.limit, "labels", "\(values.count), at most \(HubLimits.labels)")
        }
        for (key, value) in values {
            guard Self.isKey(key) else {
                throw HubError(
                    .label, "label \"\(key.prefix(64))\"", "a key is [dns-name/]name of letters, digits, -, _ and .")
            }
            guard Self.isValue(value) else {
                throw HubError(
                    .label, "label \(key)",
                    "a value is at most \(HubLimits.labelValueLength) letters, digits, -, _ and ., a letter or digit "
                        + "first and last")
            }
        }
        self.values = values
    }

    /// Labels that a store gives back as it took them.
    public init(stored values: [String: String]) { self.values = values }

    /// For literals in code; an invalid one is a defect.
    public init(dictionaryLiteral elements: (String, String)...) {
        for (key, value) in elements {
            precondition(Self.isKey(key) && Self.isValue(value), "malformed label \(key)=\(value)")
            values[key] = value
        }
    }

    public subscript(key: String) -> String? { values[key] }
    public var isEmpty: Bool { values.isEmpty }

    /// These and `other`, whose values win.
    public func merging(_ other: Labels) throws(HubError) -> Labels {
        try Labels(values.merging(other.values) { $1 })
    }

    /// These, with labels that the hub itself gives in place of any of the same key; not counted in the limit.
    func overridden(by own: [String: String]) -> Labels {
        var result = self
        for (key, value) in own { result.values[key] = Self.isValue(value) ? value : "" }
        return result
    }

    static func isKey(_ text: String) -> Bool {
        let parts = text.split(separator: "/", maxSplits: 2, omittingEmptySubsequences: false)
        switch parts.count {
        case 1: return isWord(parts[0], limit: HubLimits.labelNameLength, allowEmpty: false)
        case 2:
            let prefix = parts[0].utf8
            return prefix.count <= HubLimits.labelPrefixLength
                && parts[0].split(separator: ".", omittingEmptySubsequences: false).allSatisfy {
                    isWord($0, limit: HubLimits.labelNameLength, allowEmpty: false)
                        && $0.utf8.allSatisfy { !(0x41...0x5A).contains($0) && $0 != 0x5F }
                }
                && isWord(parts[1], limit: HubLimits.labelNameLength, allowEmpty: false)
        default: return false
        }
    }

    static func isValue(_ text: some StringProtocol) -> Bool {
        isWord(text, limit: HubLimits.labelValueLength, allowEmpty: true)
    }

    private static func isWord(_ text: some StringProtocol, limit: Int, allowEmpty: Bool) -> Bool {
        let bytes = Array(text.utf8)
        guard let first = bytes.first, let last = bytes.last else { return allowEmpty }
        func alphanumeric(_ byte: UInt8) -> Bool {
            (0x30...0x39).contains(byte) || (0x41...0x5A).contains(byte) || (0x61...0x7A).contains(byte)
        }
        return bytes.count <= limit && alphanumeric(first) && alphanumeric(last)
            && bytes.allSatisfy { alphanumeric($0) || $0 == 0x2D || $0 == 0x2E || $0 == 0x5F }
    }

    public init(from decoder: any Decoder) throws {
        try self.init(try decoder.singleValueContainer().decode([String: String].self))
    }
    public func encode(to encoder: any Encoder) throws {
        var container = encoder.singleValueContainer()
        try container.encode(values)
    }
}
