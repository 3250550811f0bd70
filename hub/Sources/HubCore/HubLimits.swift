/// Bounds of what a hub takes in.
public enum HubLimits {
    /// Bytes of a device id, fleet name, lease name and the like.
    public static let nameLength = 63
    /// Labels of one device or token.
    public static let labels = 64
    /// Bytes of a label key's prefix (a DNS name) and of its name.
    public static let labelPrefixLength = 253
    public static let labelNameLength = 63
    public static let labelValueLength = 63
    /// Bytes of a selector's text.
    public static let selectorLength = 4096
    /// Requirements in a selector, and values in one requirement.
    public static let requirements = 32
    public static let values = 64
    /// Devices that one batch token may enrol.
    public static let tokenUses = 10_000
    /// Seconds that a token may live: a minute to thirty days.
    public static let tokenLifetime: ClosedRange<Int64> = 60...30 * 86_400
    public static let defaultTokenLifetime: Int64 = 3_600
    /// Characters of an Idempotency-Key.
    public static let idempotencyKeyLength = 128
    /// Seconds for which an idempotency key remembers its answer.
    public static let idempotencyLifetime: Int64 = 86_400
    /// Bytes of an answer kept for replay.
    public static let idempotentAnswer = 64 << 10
    /// Bytes of one record's stored form.
    public static let recordSize = 256 << 10
    /// Fields of one audit event, and bytes of one value.
    public static let auditFields = 32
    public static let auditValueLength = 1024
    /// Bytes of a person's words: a fleet's description, a reason.
    public static let textLength = 1024
}
