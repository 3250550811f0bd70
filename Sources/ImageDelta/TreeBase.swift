import Base
import Glibc

/// One base layer as an extracted tree: headers from a skeleton, contents from its files.
///
/// Nothing is written, symlinks are not followed, and a file is only read below the root. An entry takes
/// 24 bytes of memory.
public final class TreeBase: BaseSource {
    /// Files kept open.
    private static let openLimit = 32

    private struct Content {
        /// Offset in the tar.
        var offset: Int64
        var size: Int64
        /// Bytes of skeleton before it, and where its member starts in both.
        var skeletonOffset: Int64
        var headerSize: Int64
    }

    private struct OpenFile {
        var index: Int
        var descriptor: Int32
    }

    private let root: TreeRoot
    private let skeleton: ReadableFile
    private let size: Int64
    private var contents: [Content] = []
    private var openFiles: [OpenFile] = []

    public var layerSizes: [Int64] { [size] }

    /// `skeleton` holds exactly the layer's skeleton; `tarSize` is the size of its tar stream.
    public init(root: TreeRoot, skeleton: ReadableFile, tarSize: Int64) throws(DeltaError) {
        self.root = root
        self.skeleton = skeleton
        size = tarSize
        var scanner = TarScanner(form: .skeleton, tarSize: tarSize, read: Self.reader(skeleton))
        while let member = try scanner.next() {
            guard member.isPlainFile, member.contentSize > 0 else { continue }
            contents.append(
                Content(
                    offset: member.contentOffset, size: member.contentSize, skeletonOffset: member.skeletonOffset,
                    headerSize: member.headerSize))
        }
    }

    deinit { for file in openFiles { close(file.descriptor) } }

    private static func reader(_ file: ReadableFile) -> (Int64, Int) throws(DeltaError) -> [UInt8] {
        { (offset, count) throws(DeltaError) in
            try DeltaError.wrap { () throws(FileSystemError) in try file.read(at: offset, count: count) }
        }
    }

    public func read(into buffer: UnsafeMutableRawBufferPointer, at offset: Int64) throws(DeltaError) {
        var done = 0
        while done < buffer.count {
            let at = offset + Int64(done)
            let slice = UnsafeMutableRawBufferPointer(rebasing: buffer[done...])
            done += try readPart(into: slice, at: at)
        }
    }

    /// Reads up to the next border between skeleton and content.
    private func readPart(into buffer: UnsafeMutableRawBufferPointer, at offset: Int64) throws(DeltaError) -> Int {
        let next = firstContent(endingAfter: offset)
        if next < contents.count, contents[next].offset <= offset {
            let content = contents[next]
            let count = Int(min(Int64(buffer.count), content.offset + content.size - offset))
            try readContent(
                next, into: UnsafeMutableRawBufferPointer(rebasing: buffer[0..<count]), at: offset - content.offset)
            return count
        }
        let end = next < contents.count ? contents[next].offset : size
        let count = Int(min(Int64(buffer.count), end - offset))
        // Before content k the skeleton lacks the contents before it, and nothing else.
        let missing: Int64
        if next < contents.count {
            missing = contents[next].offset - contents[next].skeletonOffset
        } else if let last = contents.last {
            missing = last.offset - last.skeletonOffset + last.size
        } else {
            missing = 0
        }
        let slice = UnsafeMutableRawBufferPointer(rebasing: buffer[0..<count])
        let skeleton = skeleton
        let read = try DeltaError.wrap { () throws(FileSystemError) in
            try skeleton.read(into: slice, at: offset - missing)
        }
        guard read == count else { throw DeltaError(.missingBase, "the header list of \(root.path) is too short") }
        return count
    }

    private func firstContent(endingAfter offset: Int64) -> Int {
        var low = 0
        var high = contents.count
        while low < high {
            let middle = (low + high) >> 1
            if contents[middle].offset + contents[middle].size > offset { high = middle } else { low = middle + 1 }
        }
        return low
    }

    // MARK: Files

    private func readContent(_ index: Int, into buffer: UnsafeMutableRawBufferPointer, at offset: Int64)
        throws(DeltaError)
    {
        let descriptor = try file(index)
        var done = 0
        while done < buffer.count {
            let count = pread(
                descriptor, buffer.baseAddress.map { $0 + done }, buffer.count - done, off_t(offset + Int64(done)))
            if count < 0, errno == EINTR { continue }
            guard count > 0 else { throw DeltaError(.missingBase, "\(try text(index)) cannot be read or became shorter") }
            done += count
        }
    }

    /// The open file of a content; the one used last is at the end of the list.
    private func file(_ index: Int) throws(DeltaError) -> Int32 {
        if let position = openFiles.lastIndex(where: { $0.index == index }) {
            let found = openFiles[position]
            if position + 1 < openFiles.count {
                openFiles.remove(at: position)
                openFiles.append(found)
            }
            return found.descriptor
        }
        let path = try path(index)
        guard let descriptor = root.open(path, flags: O_RDONLY | O_NONBLOCK) else {
            throw DeltaError(.missingBase, "cannot open \(try text(index)): \(String(cString: strerror(errno)))")
        }
        var info = stat()
        guard fstat(descriptor, &info) == 0, info.st_mode & S_IFMT == S_IFREG,
            Int64(info.st_size) == contents[index].size
        else {
            close(descriptor)
            throw DeltaError(.wrongBase, "\(try text(index)) is no file of \(contents[index].size) bytes")
        }
        if openFiles.count == Self.openLimit { close(openFiles.removeFirst().descriptor) }
        openFiles.append(OpenFile(index: index, descriptor: descriptor))
        return descriptor
    }

    /// The path of a content, read from its header again: a layer's paths would take more memory than all else.
    private func path(_ index: Int) throws(DeltaError) -> [UInt8] {
        let content = contents[index]
        let start = content.skeletonOffset - content.headerSize
        let read = Self.reader(skeleton)
        var scanner = TarScanner(form: .tar, tarSize: content.headerSize + content.size) {
            (offset, count) throws(DeltaError) in try read(start + offset, count)
        }
        guard let member = try scanner.next() else {
            throw DeltaError(.wrongBase, "a header of \(root.path) changed")
        }
        var path = member.path[...]
        while path.first == 0x2F || path.starts(with: [0x2E, 0x2F]) { path = path.dropFirst() }
        return Array(path)
    }

    private func text(_ index: Int) throws(DeltaError) -> String {
        Path.join(root.path, String(decoding: try path(index), as: UTF8.self))
    }

    public func describe(_ run: DeltaHeader.Run) -> String {
        let first = firstContent(endingAfter: run.offset)
        guard first < contents.count, contents[first].offset < run.end else { return "a header of \(root.path)" }
        let last = firstContent(endingAfter: run.end - 1)
        let name = (try? text(first)) ?? root.path
        return last > first ? "\(name) or one of the \(last - first) files after it" : name
    }
}
