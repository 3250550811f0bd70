import Model

/// One field of the configuration: where it stands, what it takes, what it means. The loader, the schema and the
/// documentation all come from this list.
public struct ConfigOption<Config: Sendable>: Sendable {
    public enum Kind: Sendable {
        case path(any WritableKeyPath<Config, String> & Sendable)
        case text(any WritableKeyPath<Config, String> & Sendable)
        case integer(any WritableKeyPath<Config, Int> & Sendable, ClosedRange<Int>)
        /// Bytes.
        case size(any WritableKeyPath<Config, Int64> & Sendable, ClosedRange<Int64>)
        case windows(any WritableKeyPath<Config, [MaintenanceWindow]> & Sendable)
        case flag(any WritableKeyPath<Config, Bool> & Sendable)
        case choice(
            [String], get: @Sendable (Config) -> String, set: @Sendable (inout Config, String) -> Void)
    }
    public var path: [String]
    public var kind: Kind
    public var help: String

    public init(path: [String], kind: Kind, help: String) {
        self.path = path
        self.kind = kind
        self.help = help
    }
}
