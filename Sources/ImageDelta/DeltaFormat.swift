import Base

/// Constants of the delta format, version 2 (docs/delta-format.md). Units are in the names or the comments.
public enum DeltaFormat {
    /// First bytes of every delta.
    public static let magic: [UInt8] = Array("HFDELTA".utf8) + [0x0A]
    public static let version: UInt8 = 2
    /// Conventional file name suffix and OCI media type.
    public static let fileExtension = "hfdelta"
    public static let mediaType = "application/vnd.holdfast.layer.delta.v2"

    // MARK: Bounds, checked before anything is allocated

    /// Bytes of the header section.
    public static let headerLimit = 1 << 20
    /// Bytes of the output, and of all base layers together.
    public static let spaceLimit: Int64 = 1 << 42
    public static let baseLayerLimit = 256
    /// Runs of base bytes that the digests cover.
    public static let usedRunLimit = 4096
    /// Equal spans into which the used base bytes are cut, one digest each.
    public static let spanLimit = 64
    /// Bytes of a truncated SHA-256 over a span, a skeleton or a chapter.
    public static let shortDigestBytes = 8
    /// Bytes of output in one chapter.
    public static let chapterOutputLimit = 8 << 20
    /// Bytes of one stream's compressed part in one chapter.
    public static let chapterStreamLimit = 16 << 20
    /// Bytes of base that one predicted block covers.
    public static let blockBytes = 4096
    /// Base bytes before a block that a predictor may look at.
    public static let blockContext = 6
    /// Covers in one part of a predicted file's list, and entries in its address map.
    public static let partCoverLimit = 1 << 18
    public static let addressMapLimit = 1 << 18
    /// PT_LOAD segments of one executable.
    public static let segmentLimit = 64
    /// Symbol tables of one executable.
    public static let symbolTableLimit = 4
    /// File offsets and virtual addresses of executables stay below this.
    public static let addressLimit: Int64 = 1 << 48
    /// A cover shorter than this tells the address map nothing.
    public static let addressMapCoverBytes = 32
    /// Bytes of one layer's headers and padding.
    public static let skeletonLimit: Int64 = 1 << 32

    /// The streams of a delta, each compressed in a context of its own that runs on through all chapters.
    public enum Stream: Int, Sendable, CaseIterable {
        /// Covers, literal lengths and predicted files.
        case control
        /// Equal bytes between two differences inside covers.
        case gap
        /// Length of a difference.
        case run
        /// The differences, new minus base, modulo 256.
        case value
        /// New bytes.
        case literal
        /// How each block of a predicted file is predicted.
        case mode

        /// Largest zstd window, as a power of two; what bounds the memory of an apply.
        public var windowLog: Int32 {
            switch self {
            case .control, .gap, .run: 20
            case .value: 22
            case .literal: 23
            case .mode: 17
            }
        }
    }
}

/// Machines whose references are predicted; raw values are ELF's `e_machine`.
public enum PredictedMachine: UInt16, Sendable, CaseIterable {
    case x86_64 = 62
    case aarch64 = 183
}
