import Base

/// Takes the fields of one JSON object one by one; what is left at the end is unknown and refused.
struct ObjectReader {
    private(set) var path: String
    private var members: JSONObject

    init(_ value: JSONValue, path: String) throws(ReleaseError) {
        guard case .object(let members) = value else { throw ReleaseError(.type, at: path, "expected an object") }
        self.path = path
        self.members = members
    }

    func place(_ key: String) -> String { path.isEmpty ? key : "\(path).\(key)" }

    /// Throws for the first unknown field, in the order of names.
    func finish() throws(ReleaseError) {
        if let key = members.keys.min() { throw ReleaseError(.unknownField, at: place(key), "unknown field") }
    }

    mutating func take(_ key: String) -> JSONValue? { members.removeValue(forKey: key) }

    mutating func require(_ key: String) throws(ReleaseError) -> JSONValue {
        guard let value = take(key) else { throw ReleaseError(.missingField, at: place(key), "missing") }
        return value
    }

    // MARK: Scalars

    mutating func text(_ key: String, limit: Int = ReleaseLimits.shortText) throws(ReleaseError) -> String {
        try Self.text(try require(key), at: place(key), limit: limit)
    }

    mutating func optionalText(
        _ key: String, limit: Int = ReleaseLimits.shortText
    ) throws(ReleaseError) -> String? {
        guard let value = take(key) else { return nil }
        return try Self.text(value, at: place(key), limit: limit)
    }

    mutating func integer<T: FixedWidthInteger>(_ key: String, as type: T.Type = T.self) throws(ReleaseError) -> T {
        try Self.integer(try require(key), at: place(key))
    }

    mutating func optionalInteger<T: FixedWidthInteger>(
        _ key: String, as type: T.Type = T.self
    ) throws(ReleaseError) -> T? {
        guard let value = take(key) else { return nil }
        return try Self.integer(value, at: place(key))
    }

    mutating func flag(_ key: String) throws(ReleaseError) -> Bool { try optionalFlag(key) ?? false }

    mutating func optionalFlag(_ key: String) throws(ReleaseError) -> Bool? {
        guard let value = take(key) else { return nil }
        guard let flag = value.bool else { throw ReleaseError(.type, at: place(key), "expected true or false") }
        return flag
    }

    mutating func digest(_ key: String) throws(ReleaseError) -> Digest {
        try Self.digest(try require(key), at: place(key))
    }

    mutating func choice<T: RawRepresentable<String>>(_ key: String) throws(ReleaseError) -> T {
        let text = try text(key)
        guard let choice = T(rawValue: text) else {
            throw ReleaseError(.value, at: place(key), "unknown value \"\(text)\"")
        }
        return choice
    }

    // MARK: Collections

    mutating func list<T>(
        _ key: String, limit: Int = ReleaseLimits.entries,
        _ decode: (JSONValue, String) throws(ReleaseError) -> T
    ) throws(ReleaseError) -> [T] {
        guard let value = take(key) else { return [] }
        guard case .array(let elements) = value else {
            throw ReleaseError(.type, at: place(key), "expected an array")
        }
        guard elements.count <= limit else {
            throw ReleaseError(.limit, at: place(key), "\(elements.count) elements, at most \(limit)")
        }
        var result: [T] = []
        result.reserveCapacity(elements.count)
        for (index, element) in elements.enumerated() {
            result.append(try decode(element, "\(place(key))[\(index)]"))
        }
        return result
    }

    mutating func map<T>(
        _ key: String, limit: Int = ReleaseLimits.entries,
        _ decode: (JSONValue, String) throws(ReleaseError) -> T
    ) throws(ReleaseError) -> [String: T] {
        guard let value = take(key) else { return [:] }
        guard case .object(let entries) = value else {
            throw ReleaseError(.type, at: place(key), "expected an object")
        }
        guard entries.count <= limit else {
            throw ReleaseError(.limit, at: place(key), "\(entries.count) entries, at most \(limit)")
        }
        var result: [String: T] = [:]
        for (name, entry) in entries {
            // A table that Swift's equality makes smaller is not the one that was signed.
            guard result.updateValue(try decode(entry, "\(place(key)).\(name)"), forKey: name) == nil else {
                throw ReleaseError(.value, at: place(key), "names that differ in normalisation only: \(name)")
            }
        }
        return result
    }

    mutating func texts(
        _ key: String, limit: Int = ReleaseLimits.longText
    ) throws(ReleaseError) -> [String] {
        try list(key) { (value, path) throws(ReleaseError) in try Self.text(value, at: path, limit: limit) }
    }

    mutating func textMap(_ key: String) throws(ReleaseError) -> [String: String] {
        try map(key) { (value, path) throws(ReleaseError) in
            try Self.text(value, at: path, limit: ReleaseLimits.longText)
        }
    }

    // MARK: Values

    static func text(_ value: JSONValue, at path: String, limit: Int) throws(ReleaseError) -> String {
        guard let text = value.string else { throw ReleaseError(.type, at: path, "expected a string") }
        guard text.utf8.count <= limit else {
            throw ReleaseError(.limit, at: path, "\(text.utf8.count) bytes, at most \(limit)")
        }
        return text
    }

    static func integer<T: FixedWidthInteger>(_ value: JSONValue, at path: String) throws(ReleaseError) -> T {
        guard let number = value.integer else { throw ReleaseError(.type, at: path, "expected an integer") }
        guard let exact = T(exactly: number) else { throw ReleaseError(.value, at: path, "\(number) is out of range") }
        return exact
    }

    static func digest(_ value: JSONValue, at path: String) throws(ReleaseError) -> Digest {
        guard let text = value.string, let digest = Digest(text) else {
            throw ReleaseError(.value, at: path, "expected sha256:<64 lowercase hex digits>")
        }
        return digest
    }
}
