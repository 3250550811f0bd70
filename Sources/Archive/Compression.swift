/// How a stream is compressed, told by its first bytes.
public enum Compression: String, Sendable, CaseIterable {
    case none, gzip, zstd

    /// Bytes ``init(prefix:)`` wants to see.
    public static let prefixBytes = 4

    /// By magic number; a zstd skippable frame counts as zstd. Anything else is `none`.
    public init(prefix: some Collection<UInt8>) {
        let bytes = Array(prefix.prefix(Self.prefixBytes))
        if bytes.starts(with: [0x1F, 0x8B]) {
            self = .gzip
        } else if bytes == [0x28, 0xB5, 0x2F, 0xFD]
            || (bytes.count == 4 && bytes[0] & 0xF0 == 0x50 && bytes[1...].elementsEqual([0x2A, 0x4D, 0x18]))
        {
            self = .zstd
        } else {
            self = .none
        }
    }

    /// `source` decompressed, never more than `outputCap` bytes.
    public func decompressor(
        _ source: any ByteSource, outputCap: Int64, windowLog: Int = Zstd.deviceWindowLog, subject: String
    ) throws -> any ByteSource {
        switch self {
        case .none: CappedSource(source, cap: outputCap, subject: subject)
        case .gzip: try GzipDecompressor(source, outputCap: outputCap, subject: subject)
        case .zstd:
            try ZstdDecompressor(source, outputCap: outputCap, windowLog: windowLog, subject: subject)
        }
    }
}

/// Passes a source on and refuses it once it exceeds a cap.
public final class CappedSource: ByteSource {
    private let source: any ByteSource
    private let cap: Int64
    private let subject: String
    private var total: Int64 = 0

    public init(_ source: any ByteSource, cap: Int64, subject: String) {
        self.source = source
        self.cap = cap
        self.subject = subject
    }

    public func read(into buffer: UnsafeMutableRawBufferPointer) throws -> Int {
        let count = try source.read(into: buffer)
        total += Int64(count)
        guard total <= cap else {
            throw ArchiveError(.outputCap, subject: subject, offset: total, detail: "cap \(cap) bytes")
        }
        return count
    }
}
