/// Bounds of a release document. A reader refuses what exceeds them; the builder cannot write it.
public enum ReleaseLimits {
    /// Bytes of the whole document.
    public static let documentSize = 4 << 20
    /// Levels of nesting; the format itself has six.
    public static let depth = 12
    /// JSON values in the document.
    public static let values = 200_000

    public static let services = 128
    public static let networks = 64
    public static let volumes = 256
    /// Config and secret files.
    public static let files = 512
    public static let images = 128
    public static let layersPerImage = 256
    public static let deltas = 4096
    public static let basesPerDelta = 256
    /// Entries of any list or map of one service, network, volume or requirement.
    public static let entries = 1024

    /// Bytes of a service, network, volume or file name.
    public static let nameLength = 128
    /// Bytes of the application's name.
    public static let appLength = 63
    /// Bytes of a label key, host name, image reference, user and the like.
    public static let shortText = 1024
    /// Bytes of a path inside the container or on the host.
    public static let pathLength = 4096
    /// Bytes of an environment value, a command argument or a label value.
    public static let longText = 128 << 10

    /// Bytes of one blob, and of one uncompressed layer.
    public static let blobSize: Int64 = 1 << 38
    /// Bytes of one config or secret file.
    public static let fileSize: Int64 = 16 << 20
    /// Bytes of the agent's own program.
    public static let agentSize: Int64 = 512 << 20
    /// `ctr` and `epoch` stay exact in every JSON reader: 2^53 - 1.
    public static let counter: Int64 = (1 << 53) - 1
    /// Nanoseconds of any duration of a service: one week.
    public static let duration: Int64 = 7 * 86_400 * 1_000_000_000
    /// Seconds of a health window or stable time: one week.
    public static let windowSeconds = 7 * 86_400
}
