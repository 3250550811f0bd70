import Base

/// The base image as one byte space: its layers' tar streams, end to end.
///
/// Whatever a machine has (tar files, extracted trees with a header list, a spooled blob) is read
/// through this, at random and in small pieces. Used by one thread at a time.
public protocol BaseSource: AnyObject {
    /// Bytes of each layer's tar stream, in order.
    var layerSizes: [Int64] { get }

    /// Fills `buffer` with the bytes at `offset`; the range lies inside the space.
    func read(into buffer: UnsafeMutableRawBufferPointer, at offset: Int64) throws(DeltaError)

    /// What lies in a range, for a person: file names or a layer.
    func describe(_ run: DeltaHeader.Run) -> String
}

/// Base layers that are there as plain tar files.
public final class TarFileBase: BaseSource {
    private let files: [ReadableFile]
    private let starts: [Int64]
    public let layerSizes: [Int64]

    public init(files: [ReadableFile]) throws(DeltaError) {
        self.files = files
        var sizes: [Int64] = []
        var starts: [Int64] = []
        var total: Int64 = 0
        for file in files {
            let size = try DeltaError.wrap { () throws(FileSystemError) in try file.status().size }
            starts.append(total)
            sizes.append(size)
            total += size
        }
        self.starts = starts
        layerSizes = sizes
    }

    public convenience init(paths: [String]) throws(DeltaError) {
        var files: [ReadableFile] = []
        for path in paths {
            files.append(try DeltaError.wrap { () throws(FileSystemError) in try ReadableFile(path: path) })
        }
        try self.init(files: files)
    }

    public func read(into buffer: UnsafeMutableRawBufferPointer, at offset: Int64) throws(DeltaError) {
        var layer = starts.index(holding: offset)
        var done = 0
        while done < buffer.count {
            let at = offset + Int64(done) - starts[layer]
            let part = Int(min(Int64(buffer.count - done), layerSizes[layer] - at))
            if part > 0 {
                let slice = UnsafeMutableRawBufferPointer(rebasing: buffer[done..<done + part])
                let file = files[layer]
                let read = try DeltaError.wrap { () throws(FileSystemError) in try file.read(into: slice, at: at) }
                guard read == part else { throw DeltaError(.missingBase, "\(file.path) became shorter") }
                done += part
            }
            layer += 1
        }
    }

    public func describe(_ run: DeltaHeader.Run) -> String {
        guard !files.isEmpty else { return "an empty base" }
        return files[starts.index(holding: run.offset)].path
    }
}

extension Array where Element == Int64 {
    /// Index of the last element that is not above `offset`; the array ascends and starts at 0.
    func index(holding offset: Int64) -> Int {
        var low = 0
        var high = count
        while high - low > 1 {
            let middle = (low + high) >> 1
            if self[middle] <= offset { low = middle } else { high = middle }
        }
        return low
    }
}

/// Several sources as one space, for a base whose layers are found in different places.
public final class JoinedBase: BaseSource {
    private let parts: [any BaseSource]
    private let starts: [Int64]
    private let sizes: [Int64]
    public let layerSizes: [Int64]

    public init(_ parts: [any BaseSource]) {
        self.parts = parts
        var starts: [Int64] = []
        var total: Int64 = 0
        for part in parts {
            starts.append(total)
            total += part.layerSizes.reduce(0, +)
        }
        self.starts = starts
        sizes = parts.map { $0.layerSizes.reduce(0, +) }
        layerSizes = parts.flatMap(\.layerSizes)
    }

    public func read(into buffer: UnsafeMutableRawBufferPointer, at offset: Int64) throws(DeltaError) {
        var index = starts.index(holding: offset)
        var done = 0
        while done < buffer.count {
            let at = offset + Int64(done) - starts[index]
            let part = Int(min(Int64(buffer.count - done), sizes[index] - at))
            if part > 0 {
                try parts[index].read(
                    into: UnsafeMutableRawBufferPointer(rebasing: buffer[done..<done + part]), at: at)
                done += part
            }
            index += 1
        }
    }

    public func describe(_ run: DeltaHeader.Run) -> String {
        guard !parts.isEmpty else { return "an empty base" }
        let index = starts.index(holding: run.offset)
        let inside = DeltaHeader.Run(
            offset: run.offset - starts[index], length: min(run.length, starts[index] + sizes[index] - run.offset))
        return parts[index].describe(inside)
    }
}
