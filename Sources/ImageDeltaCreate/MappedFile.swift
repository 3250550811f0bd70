import Base
import Glibc
import ImageDelta

/// A file mapped read-only.
///
/// Unchecked Sendable: the mapping is never written, its address and size never change, and it is unmapped only
/// when the last reference goes, so any number of threads may read it at once.
final class MappedFile: @unchecked Sendable {
    let path: String
    let bytes: UnsafeRawBufferPointer
    /// What the pages of a file count against; memory of this program's own is in none.
    private let budget: PageBudget?

    init(path: String, budget: PageBudget) throws(DeltaError) {
        self.path = path
        self.budget = budget
        do throws(FileSystemError) {
            let file = try ReadableFile(path: path)
            let size = Int(try file.status().size)
            guard size > 0 else {
                bytes = UnsafeRawBufferPointer(start: nil, count: 0)
                return
            }
            guard let address = mmap(nil, size, PROT_READ, MAP_PRIVATE, file.descriptor, 0), address != MAP_FAILED
            else { throw FileSystemError(operation: "map", path: path, errno: errno) }
            bytes = UnsafeRawBufferPointer(start: address, count: size)
            budget.add(address, size)
        } catch {
            throw DeltaError(error)
        }
    }

    /// Bytes of this program's own.
    init(bytes own: [UInt8]) throws(DeltaError) {
        path = ""
        budget = nil
        guard !own.isEmpty else {
            bytes = UnsafeRawBufferPointer(start: nil, count: 0)
            return
        }
        let address = mmap(nil, own.count, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0)
        guard let address, address != MAP_FAILED else {
            throw DeltaError(.limit, "no memory for \(own.count) bytes")
        }
        own.withUnsafeBytes { address.copyMemory(from: $0.baseAddress ?? UnsafeRawPointer(address), byteCount: $0.count) }
        bytes = UnsafeRawBufferPointer(start: address, count: own.count)
    }

    deinit {
        guard let address = bytes.baseAddress else { return }
        budget?.remove(address)
        munmap(UnsafeMutableRawPointer(mutating: address), bytes.count)
    }

    var count: Int { bytes.count }

    func slice(_ offset: Int64, _ length: Int64) -> UnsafeBufferPointer<UInt8> {
        budget?.touch(Int(length))
        return UnsafeRawBufferPointer(rebasing: bytes[Int(offset)..<Int(offset + length)]).assumingMemoryBound(to: UInt8.self)
    }

    /// The whole file, piece by piece.
    func forEachPiece(_ body: (UnsafeBufferPointer<UInt8>) -> Void) {
        let piece: Int64 = 16 << 20
        for start in stride(from: Int64(0), to: Int64(count), by: Int(piece)) {
            body(slice(start, min(piece, Int64(count) - start)))
        }
    }

    func scan() throws(DeltaError) -> [TarMember] {
        var scanner = TarScanner(form: .tar, tarSize: Int64(count)) { [bytes] (offset, count) throws(DeltaError) in
            let start = min(Int(offset), bytes.count)
            return Array(bytes[start..<min(start + count, bytes.count)])
        }
        var members: [TarMember] = []
        while let member = try scanner.next() { members.append(member) }
        return members
    }
}

/// The base layers as one byte space in memory.
struct BaseSpace: Sendable {
    let files: [MappedFile]
    let starts: [Int64]
    let size: Int64

    init(_ files: [MappedFile]) {
        self.files = files
        var starts: [Int64] = []
        var total: Int64 = 0
        for file in files {
            starts.append(total)
            total += Int64(file.count)
        }
        self.starts = starts
        size = total
    }

    func layer(holding offset: Int64) -> Int {
        var low = 0
        var high = starts.count
        while high - low > 1 {
            let middle = (low + high) >> 1
            if starts[middle] <= offset { low = middle } else { high = middle }
        }
        return low
    }

    /// Bytes of a range that lies in one layer.
    func slice(_ offset: Int64, _ length: Int64) -> UnsafeBufferPointer<UInt8> {
        let index = layer(holding: offset)
        return files[index].slice(offset - starts[index], length)
    }
}
