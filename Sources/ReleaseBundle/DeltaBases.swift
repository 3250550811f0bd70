import Archive
import Base
import ImageDelta

/// Where this machine has the bytes of one base layer of a delta.
public enum LayerPlace: Sendable, Hashable {
    /// The layer's extracted files, in a directory at a relative path below a folder of the engine.
    case tree(path: String, below: String)
    /// The agent's own store.
    case stored
    /// An export of the engine, of which the needed bytes were kept.
    case exported
}

/// Kinds of places, in the order in which they are tried: the first costs nothing to open, the last makes the engine
/// pack an image.
public enum LayerPlaceKind: String, Sendable, CaseIterable, Comparable {
    case tree = "engine-layers"
    case store
    case export = "engine-export"

    public static func < (lhs: LayerPlaceKind, rhs: LayerPlaceKind) -> Bool { lhs.rank < rhs.rank }

    private var rank: Int {
        switch self {
        case .tree: 0
        case .store: 1
        case .export: 2
        }
    }

    /// For a person.
    public var words: String {
        switch self {
        case .tree: "the engine's extracted layers"
        case .store: "the store"
        case .export: "an export of the engine"
        }
    }
}

extension LayerPlace {
    public var kind: LayerPlaceKind {
        switch self {
        case .tree: .tree
        case .stored: .store
        case .exported: .export
        }
    }
}

extension DeltaHeader {
    /// The used runs that lie in base layer `index`, their offsets counted from the layer's start.
    func usedRuns(ofLayer index: Int) -> [Run] {
        let start = bases[..<index].reduce(Int64(0)) { $0 + $1.size }
        let end = start + bases[index].size
        return usedRuns.compactMap { run in
            let from = max(run.offset, start)
            let to = min(run.end, end)
            return from < to ? Run(offset: from - start, length: to - from) : nil
        }
    }

    /// Layers of which an apply reads anything.
    public var usedLayers: [Int] { bases.indices.filter { !usedRuns(ofLayer: $0).isEmpty } }
}

/// Keeps, of a layer's tar as it streams by, the bytes that a delta uses, end to end in one file.
struct RunSpool {
    private static let bufferBytes = 256 << 10

    private let runs: [DeltaHeader.Run]
    private let file: WritableFile
    private var position: Int64 = 0
    private var next = 0
    private var buffer: [UInt8] = []

    init(runs: [DeltaHeader.Run], file: WritableFile) {
        self.runs = runs
        self.file = file
    }

    mutating func write(_ bytes: UnsafeRawBufferPointer) throws(FileSystemError) {
        let end = position + Int64(bytes.count)
        while next < runs.count, runs[next].offset < end {
            let from = max(runs[next].offset, position)
            let to = min(runs[next].end, end)
            if from < to { buffer += bytes[Int(from - position)..<Int(to - position)] }
            guard runs[next].end <= end else { break }
            next += 1
        }
        position = end
        if buffer.count >= Self.bufferBytes { try flush() }
    }

    mutating func finish() throws(FileSystemError) { try flush() }

    private mutating func flush() throws(FileSystemError) {
        try file.write(buffer)
        buffer.removeAll(keepingCapacity: true)
    }
}

/// A base layer of which only the used runs are there, end to end in a file; without runs no file is needed.
final class SpooledBase: BaseSource {
    private let size: Int64
    private let runs: [DeltaHeader.Run]
    /// Where each run starts in the file.
    private var starts: [Int64] = []
    private let file: ReadableFile?

    var layerSizes: [Int64] { [size] }

    init(size: Int64, runs: [DeltaHeader.Run] = [], file: ReadableFile? = nil) {
        self.size = size
        self.runs = runs
        self.file = file
        var start: Int64 = 0
        for run in runs {
            starts.append(start)
            start += run.length
        }
    }

    func read(into buffer: UnsafeMutableRawBufferPointer, at offset: Int64) throws(DeltaError) {
        var done = 0
        while done < buffer.count {
            let at = offset + Int64(done)
            guard let index = index(holding: at), let file else {
                throw DeltaError(.malformed, "it reads base bytes at \(at) that its header does not name")
            }
            let run = runs[index]
            let count = Int(min(Int64(buffer.count - done), run.end - at))
            let slice = UnsafeMutableRawBufferPointer(rebasing: buffer[done..<done + count])
            let place = starts[index] + at - run.offset
            let read: Int
            do throws(FileSystemError) {
                read = try file.read(into: slice, at: place)
            } catch {
                throw DeltaError(.inputOutput, error.message)
            }
            guard read == count else { throw DeltaError(.missingBase, "\(file.path) is too short") }
            done += count
        }
    }

    private func index(holding offset: Int64) -> Int? {
        var low = 0
        var high = runs.count
        while low < high {
            let middle = (low + high) >> 1
            if runs[middle].end > offset { high = middle } else { low = middle + 1 }
        }
        return low < runs.count && runs[low].offset <= offset ? low : nil
    }

    func describe(_ run: DeltaHeader.Run) -> String { file?.path ?? "a layer that is not used" }
}

/// A base layer that this machine made earlier, read at random in its compressed form.
final class MadeLayerBase: BaseSource {
    private let reader: SeekableZstdReader

    init(_ reader: SeekableZstdReader) { self.reader = reader }

    var layerSizes: [Int64] { [reader.contentSize] }

    func read(into buffer: UnsafeMutableRawBufferPointer, at offset: Int64) throws(DeltaError) {
        do {
            try reader.read(into: buffer, at: offset)
        } catch {
            throw DeltaError(.missingBase, (error as? any CodedError)?.message ?? String(describing: error))
        }
    }

    func describe(_ run: DeltaHeader.Run) -> String { reader.file.path }
}
