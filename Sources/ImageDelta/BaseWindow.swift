/// Reads the base for an apply: small pieces come from lines of a cache, so that not every one of hundreds of thousands
/// of short covers and blocks costs a system call. They jump about, but mostly come back to where they were.
///
/// It reads ahead only within the used runs, which were checked before; what lies between them may be missing.
package final class BaseWindow {
    /// Bytes of a line, as a power of two, and lines: 4 MiB in all. Measured on an executable of 120 MB: 270,000 pieces
    /// take 18,000 reads, against 125,000 with one buffer.
    private static let lineBits: Int64 = 14
    private static let lineBytes = 1 << 14
    private static let lineCount = 1 << 8
    /// Longer pieces are read straight to where they belong.
    private static let pieceLimit = 8 << 10

    /// What of the base a line holds; nothing at first.
    private struct Line {
        var start: Int64 = 0
        var end: Int64 = 0
    }

    private let base: any BaseSource
    private let runs: [DeltaHeader.Run]
    private let starts: [Int64]
    private let lines: UnsafeMutablePointer<Line>
    private let bytes: UnsafeMutableRawPointer

    package init(_ base: any BaseSource, header: DeltaHeader) {
        self.base = base
        runs = header.usedRuns
        starts = header.usedRuns.map(\.offset)
        lines = .allocate(capacity: Self.lineCount)
        lines.initialize(repeating: Line(), count: Self.lineCount)
        bytes = .allocate(byteCount: Self.lineCount * Self.lineBytes, alignment: 16)
    }

    deinit {
        lines.deallocate()
        bytes.deallocate()
    }

    /// Fills `target` with the bytes at `offset`; the range lies inside the base space.
    @inline(__always)
    package func read(into target: UnsafeMutableRawBufferPointer, at offset: Int64) throws(DeltaError) {
        let slot = Self.slot(offset)
        let line = lines[slot]
        if offset >= line.start, offset + Int64(target.count) <= line.end, let start = target.baseAddress {
            start.copyMemory(from: place(slot, offset), byteCount: target.count)
        } else {
            try readPieces(into: target, at: offset)
        }
    }

    @inline(__always)
    private static func slot(_ offset: Int64) -> Int { Int(offset >> lineBits) & (lineCount - 1) }

    @inline(__always)
    private func place(_ slot: Int, _ offset: Int64) -> UnsafeMutableRawPointer {
        bytes + slot * Self.lineBytes + Int(offset) & (Self.lineBytes - 1)
    }

    /// Line by line.
    private func readPieces(into target: UnsafeMutableRawBufferPointer, at offset: Int64) throws(DeltaError) {
        guard target.count <= Self.pieceLimit else { return try base.read(into: target, at: offset) }
        var done = 0
        while done < target.count {
            let at = offset + Int64(done)
            let slot = Self.slot(at)
            let rest = UnsafeMutableRawBufferPointer(rebasing: target[done...])
            if at < lines[slot].start || at >= lines[slot].end {
                guard try fill(slot, at) else { return try base.read(into: rest, at: at) }
            }
            let count = min(rest.count, Int(lines[slot].end - at))
            rest.copyMemory(from: UnsafeRawBufferPointer(start: place(slot, at), count: count))
            done += count
        }
    }

    /// Reads the line that holds `offset`, as far as its used run goes; false when that lies in none.
    private func fill(_ slot: Int, _ offset: Int64) throws(DeltaError) -> Bool {
        guard !runs.isEmpty else { return false }
        let run = runs[starts.index(holding: offset)]
        guard offset >= run.offset, offset < run.end else { return false }
        let start = offset & ~Int64(Self.lineBytes - 1)
        let line = Line(start: max(start, run.offset), end: min(start + Int64(Self.lineBytes), run.end))
        lines[slot] = Line()
        try base.read(
            into: UnsafeMutableRawBufferPointer(start: place(slot, line.start), count: Int(line.end - line.start)),
            at: line.start)
        lines[slot] = line
        return true
    }
}
