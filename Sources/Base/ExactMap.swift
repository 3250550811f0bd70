/// A dictionary whose keys are equal only when their bytes are: see ``ExactText``.
public struct ExactMap<Value> {
    private var members: [ExactText: Value]

    public init() { members = [:] }

    public init(_ pairs: some Sequence<(String, Value)>) {
        members = Dictionary(pairs.map { (ExactText($0.0), $0.1) }, uniquingKeysWith: { $1 })
    }

    public init(_ dictionary: [String: Value]) {
        members = Dictionary(dictionary.map { (ExactText($0.key), $0.value) }, uniquingKeysWith: { $1 })
    }

    private init(members: [ExactText: Value]) { self.members = members }

    public subscript(key: String) -> Value? {
        get { members[ExactText(key)] }
        set { members[ExactText(key)] = newValue }
    }

    public subscript(key: String, default standard: @autoclosure () -> Value) -> Value {
        get { members[ExactText(key)] ?? standard() }
        set { members[ExactText(key)] = newValue }
    }

    public var count: Int { members.count }
    public var isEmpty: Bool { members.isEmpty }
    /// In no order.
    public var keys: [String] { members.keys.map(\.text) }
    public var values: Dictionary<ExactText, Value>.Values { members.values }

    @discardableResult
    public mutating func updateValue(_ value: Value, forKey key: String) -> Value? {
        members.updateValue(value, forKey: ExactText(key))
    }

    @discardableResult
    public mutating func removeValue(forKey key: String) -> Value? { members.removeValue(forKey: ExactText(key)) }

    public mutating func merge(
        _ other: ExactMap, uniquingKeysWith combine: (Value, Value) throws -> Value
    ) rethrows {
        try members.merge(other.members, uniquingKeysWith: combine)
    }

    public func merging(
        _ other: ExactMap, uniquingKeysWith combine: (Value, Value) throws -> Value
    ) rethrows -> ExactMap {
        ExactMap(members: try members.merging(other.members, uniquingKeysWith: combine))
    }

    public func filter(_ isIncluded: ((key: String, value: Value)) throws -> Bool) rethrows -> ExactMap {
        ExactMap(members: try members.filter { try isIncluded((key: $0.key.text, value: $0.value)) })
    }

    public func mapValues<Other>(_ transform: (Value) throws -> Other) rethrows -> ExactMap<Other> {
        ExactMap<Other>(members: try members.mapValues(transform))
    }

    /// As a dictionary under Swift's own equality: for names that nobody signed.
    public func compactMapValues<Other>(_ transform: (Value) throws -> Other?) rethrows -> [String: Other] {
        [String: Other](ExactMap<Other>(members: try members.compactMapValues(transform)))
    }
}

extension ExactMap: Sequence {
    public func makeIterator() -> AnyIterator<(key: String, value: Value)> {
        var members = members.makeIterator()
        return AnyIterator { members.next().map { (key: $0.key.text, value: $0.value) } }
    }
}

extension ExactMap: ExpressibleByDictionaryLiteral {
    public init(dictionaryLiteral elements: (String, Value)...) { self.init(elements) }
}

extension ExactMap: Equatable where Value: Equatable {}
extension ExactMap: Hashable where Value: Hashable {}
extension ExactMap: Sendable where Value: Sendable {}

extension Dictionary where Key == String {
    /// Under Swift's own equality of strings: of two keys that are canonically equivalent the later one stays.
    public init(_ map: ExactMap<Value>) {
        self.init(map.map { ($0.key, $0.value) }, uniquingKeysWith: { $1 })
    }
}
