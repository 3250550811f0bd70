import Base

/// Bytes pulled on demand. One owner reads it from start to end; reading may block on a file.
public protocol ByteSource: AnyObject {
    /// Fills up to `buffer.count` bytes; returns 0 only at the end (or for an empty buffer).
    func read(into buffer: UnsafeMutableRawBufferPointer) throws -> Int
}

extension ByteSource {
    /// Up to `count` bytes; fewer only at the end.
    public func read(count: Int) throws -> [UInt8] {
        var failure: (any Error)?
        let bytes = [UInt8](unsafeUninitializedCapacity: count) { buffer, initialized in
            do {
                initialized = try readFully(into: UnsafeMutableRawBufferPointer(buffer))
            } catch {
                failure = error
            }
        }
        if let failure { throw failure }
        return bytes
    }

    /// Reads until the buffer is full or the source ends; returns the bytes read.
    public func readFully(into buffer: UnsafeMutableRawBufferPointer) throws -> Int {
        var done = 0
        while done < buffer.count {
            let count = try read(into: UnsafeMutableRawBufferPointer(rebasing: buffer[done...]))
            if count == 0 { break }
            done += count
        }
        return done
    }

    /// Feeds everything to `body` in pieces of at most `chunk` bytes; returns the number of bytes.
    @discardableResult
    public func forEachChunk(
        of chunk: Int = ByteSources.chunkSize, _ body: (UnsafeRawBufferPointer) throws -> Void
    ) throws -> Int64 {
        let buffer = UnsafeMutableRawBufferPointer.allocate(byteCount: chunk, alignment: 16)
        defer { buffer.deallocate() }
        var total: Int64 = 0
        while true {
            let count = try read(into: buffer)
            if count == 0 { return total }
            total += Int64(count)
            try body(UnsafeRawBufferPointer(rebasing: buffer[..<count]))
        }
    }
}

public enum ByteSources {
    /// Bytes moved at a time where the caller has no wish: enough to make system calls cheap,
    /// small beside the agent's memory budget.
    public static let chunkSize = 128 << 10
}

/// Bytes in memory.
public final class MemorySource: ByteSource {
    private let bytes: [UInt8]
    private var position = 0

    public init(_ bytes: [UInt8]) { self.bytes = bytes }

    public func read(into buffer: UnsafeMutableRawBufferPointer) throws -> Int {
        let count = min(buffer.count, bytes.count - position)
        bytes.withUnsafeBytes { buffer.copyMemory(from: UnsafeRawBufferPointer(rebasing: $0[position..<position + count])) }
        position += count
        return count
    }
}

/// A range of a file, read at explicit offsets, so that several sources share one descriptor.
public final class FileSource: ByteSource {
    private let file: ReadableFile
    private var position: Int64
    private let end: Int64

    /// The bytes `range` of `file`. A file that ends before the range does is ``ArchiveError/Reason/truncated``.
    public init(_ file: ReadableFile, range: Range<Int64>) {
        self.file = file
        position = range.lowerBound
        end = range.upperBound
    }

    /// The whole file, of the size it has now.
    public convenience init(_ file: ReadableFile) throws {
        self.init(file, range: 0..<(try file.status().size))
    }

    public func read(into buffer: UnsafeMutableRawBufferPointer) throws -> Int {
        let want = Int(min(Int64(buffer.count), end - position))
        guard want > 0 else { return 0 }
        let count = try file.read(into: UnsafeMutableRawBufferPointer(rebasing: buffer[..<want]), at: position)
        guard count > 0 else { throw ArchiveError(.truncated, subject: file.path, offset: position) }
        position += Int64(count)
        return count
    }
}

/// A source made of a closure that fills a buffer.
public final class ClosureSource: ByteSource {
    private let body: (UnsafeMutableRawBufferPointer) throws -> Int

    public init(_ body: @escaping (UnsafeMutableRawBufferPointer) throws -> Int) { self.body = body }

    public func read(into buffer: UnsafeMutableRawBufferPointer) throws -> Int { try body(buffer) }
}
