/// One member of a tar archive, extended headers already applied.
public struct TarHeader: Sendable, Equatable {
    public enum Kind: Sendable, Equatable {
        case file, hardLink, symlink, characterDevice, blockDevice, directory, fifo
        /// A type flag this code gives no meaning to; its content is passed on as it is.
        case other(UInt8)
    }

    public var kind: Kind
    /// The path as stored: any bytes but NUL, relative or not, not checked in any other way.
    public var path: [UInt8]
    public var linkPath: [UInt8]
    public var mode: UInt32
    public var uid: Int64
    public var gid: Int64
    /// Content bytes; 0 for kinds that have none.
    public var size: Int64
    /// Whole seconds since 1970, rounded down.
    public var modified: Int64
    public var userName: [UInt8]
    public var groupName: [UInt8]
    public var deviceMajor: Int64
    public var deviceMinor: Int64
    /// Extended (pax) records in force for this member, `SCHILY.xattr.…` among them.
    public var records: [String: [UInt8]]
    public var span: Span

    /// Where the member lies in the archive, in bytes from its start.
    public struct Span: Sendable, Equatable {
        /// First byte of the first header block, extended headers included.
        public var start: Int64
        /// First byte of the member's own 512-byte header block.
        public var block: Int64
        /// First byte of the content; also the end of the headers.
        public var content: Int64
        /// End of the content without padding.
        public var contentEnd: Int64
        /// End of the padding: where the next member starts.
        public var end: Int64

        public init(start: Int64, block: Int64, content: Int64, contentEnd: Int64, end: Int64) {
            self.start = start
            self.block = block
            self.content = content
            self.contentEnd = contentEnd
            self.end = end
        }
    }

    public init(
        kind: Kind = .file, path: String, linkPath: String = "", mode: UInt32 = 0o644, uid: Int64 = 0, gid: Int64 = 0,
        size: Int64 = 0, modified: Int64 = 0
    ) {
        self.kind = kind
        self.path = Array(path.utf8)
        self.linkPath = Array(linkPath.utf8)
        self.mode = mode
        self.uid = uid
        self.gid = gid
        self.size = size
        self.modified = modified
        userName = []
        groupName = []
        deviceMajor = 0
        deviceMinor = 0
        records = [:]
        span = Span(start: 0, block: 0, content: 0, contentEnd: 0, end: 0)
    }

    /// The path as text; nil when it is not UTF-8.
    public var name: String? { String(validating: path, as: UTF8.self) }
}

public enum Tar {
    /// Bytes; the unit of every tar archive.
    public static let blockSize = 512
    /// Bytes that pad content of `size` bytes to whole blocks.
    public static func padding(_ size: Int64) -> Int64 { -size & 511 }
}

/// What a reader of untrusted archives grants.
public struct TarLimits: Sendable {
    public var entries: Int
    /// Bytes of a path or link target.
    public var nameBytes: Int
    /// Bytes of extended headers before one member, and of global records in force.
    public var extendedBytes: Int
    /// Bytes of one member's content.
    public var entryBytes: Int64
    /// Bytes of the whole archive.
    public var totalBytes: Int64
    /// Whether the two zero blocks at the end must be there. Some writers leave them out.
    public var requireTrailer: Bool

    public init(
        entries: Int = 4_000_000, nameBytes: Int = 4096, extendedBytes: Int = 1 << 20, entryBytes: Int64 = 1 << 40,
        totalBytes: Int64 = 1 << 42, requireTrailer: Bool = true
    ) {
        self.entries = entries
        self.nameBytes = nameBytes
        self.extendedBytes = extendedBytes
        self.entryBytes = entryBytes
        self.totalBytes = totalBytes
        self.requireTrailer = requireTrailer
    }
}
