import Base
import NIOCore

/// A file from an offset on, read piece by piece as somebody takes them.
public struct FilePieces: AsyncSequence, Sendable {
    public typealias Element = ByteBuffer
    /// Bytes of a piece.
    static let pieceSize = 256 << 10

    private let file: ReadableFile
    private let start: Int64
    private let progress: @Sendable (Int64) -> Void

    /// - Parameter progress: told the bytes read so far, the offset included.
    public init(_ path: String, from start: Int64, progress: @escaping @Sendable (Int64) -> Void) throws {
        file = try ReadableFile(path: path)
        self.start = start
        self.progress = progress
    }

    public func makeAsyncIterator() -> AsyncIterator { AsyncIterator(pieces: self, offset: start) }

    public struct AsyncIterator: AsyncIteratorProtocol {
        fileprivate let pieces: FilePieces
        fileprivate var offset: Int64

        public mutating func next() async throws -> ByteBuffer? {
            let bytes = try pieces.file.read(at: offset, count: FilePieces.pieceSize)
            guard !bytes.isEmpty else { return nil }
            offset += Int64(bytes.count)
            pieces.progress(offset)
            return ByteBuffer(bytes: bytes)
        }
    }
}
