import Model

/// Bounds of what is read. A file beyond them is refused, however well-formed.
public enum ComposeLimits {
    /// Bytes of a Compose file.
    public static let fileSize = 1 << 20
    /// Bytes of an environment file.
    public static let environmentFileSize = 1 << 20
    /// Levels of nesting; the deepest field of the specification has eight.
    public static let depth = 40
    /// Values in the document after aliases are followed, so that a small file cannot grow without end.
    public static let values = 50_000
    /// Bytes of one scalar after substitution.
    public static let scalarSize = 1 << 20
    /// Bytes of all scalars after aliases and substitution.
    public static let totalSize = 8 << 20
    /// Aliases (`*name`) up to which a file may have aliases in complex keys.
    static let aliasesWithComplexKeys = 32
    /// Levels of `${A:-${B:-…}}`.
    public static let variableDepth = 16
    /// Ports of one range.
    public static let portRange = 1024
    /// Variables of one environment file.
    public static let environmentEntries = 10_000
}
