import Base
import Glibc
import ImageDelta
import ImageDeltaCreate
import TestSupport

/// A folder in which one test makes and applies deltas.
struct Workshop {
    let directory: TemporaryDirectory

    init() throws { directory = try TemporaryDirectory() }

    func put(_ name: String, _ bytes: [UInt8]) throws -> String {
        let path = directory.file(name)
        try FileSystem().replace(path, with: bytes, op: "test")
        return path
    }

    func bytes(_ name: String) throws -> [UInt8] { try FileSystem().read(directory.file(name), limit: 1 << 30) }

    /// Creates `delta` from the given base layers and new layer.
    func create(bases: [[UInt8]], new: [UInt8], effort: Int = 7) async throws -> (delta: String, bases: [String]) {
        var paths: [String] = []
        for (index, base) in bases.enumerated() { paths.append(try put("base\(index).tar", base)) }
        let target = try put("new.tar", new)
        let delta = directory.file("delta")
        _ = try await DeltaCreate(effort: Effort(effort) ?? .standard)
            .run(bases: paths, new: target, output: delta)
        return (delta, paths)
    }

    func apply(_ delta: String, bases: [String]) throws -> [UInt8] {
        try Self.apply(try DeltaApply(path: delta), base: try TarFileBase(paths: bases))
    }

    static func apply(_ delta: DeltaApply, base: any BaseSource) throws -> [UInt8] {
        try BaseCheck(header: delta.header).verify(base)
        let output = Output()
        try delta.run(base: base, resumption: delta.fromStart(), sink: output.sink())
        return output.bytes
    }
}

/// Keeps what an apply writes.
final class Output {
    private(set) var bytes: [UInt8] = []
    private(set) var chapterEnds: [Int64] = []

    func sink(failingAfter limit: Int = .max) -> DeltaApply.Sink {
        DeltaApply.Sink(
            write: { [self] (buffer) throws(DeltaError) in
                bytes.append(contentsOf: buffer)
                if bytes.count > limit { throw DeltaError(.cancelled, "by the test") }
            },
            chapterDone: { [self] (end) throws(DeltaError) in chapterEnds.append(end) })
    }
}

extension SplitMix64 {
    mutating func bytes(_ count: Int) -> [UInt8] {
        var output: [UInt8] = []
        output.reserveCapacity(count + 8)
        while output.count < count {
            var word = next()
            for _ in 0..<8 {
                output.append(UInt8(truncatingIfNeeded: word))
                word >>= 8
            }
        }
        return Array(output.prefix(count))
    }

    /// Bytes that compress: words from a small vocabulary.
    mutating func text(_ count: Int) -> [UInt8] {
        let words = ["layer ", "cover ", "delta ", "base ", "device\n", "stream ", "0", "17", "{", "}\n"]
        var output: [UInt8] = []
        while output.count < count { output += Array(words[Int.random(in: 0..<words.count, using: &self)].utf8) }
        return Array(output.prefix(count))
    }

    /// The bytes after a few random insertions, deletions, changes and moves.
    mutating func edited(_ bytes: [UInt8], edits: Int) -> [UInt8] {
        var result = bytes
        for _ in 0..<edits {
            let at = Int.random(in: 0...result.count, using: &self)
            let length = Int.random(in: 0...min(300, result.count - at), using: &self)
            switch Int.random(in: 0..<5, using: &self) {
            case 0: result.insert(contentsOf: self.bytes(Int.random(in: 0..<200, using: &self)), at: at)
            case 1: result.removeSubrange(at..<at + length)
            case 2: for index in at..<at + length where index % 7 == 0 { result[index] &+= 1 }
            case 3: result.replaceSubrange(at..<at + length, with: self.text(length))
            default:
                let part = Array(result[at..<at + length])
                result.removeSubrange(at..<at + length)
                result.insert(contentsOf: part, at: Int.random(in: 0...result.count, using: &self))
            }
        }
        return result
    }
}
