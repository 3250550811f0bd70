/// Reads the base for an apply: small pieces that follow each other come from a buffer, so that not every one of
/// thousands of short covers and blocks costs a system call.
///
/// It reads ahead only within the used runs, which were checked before; what lies between them may be missing.
final class BaseWindow {
    /// Bytes read at once where reading goes on from the last piece, and where it starts somewhere else.
    private static let aheadBytes = 32 << 10
    private static let nearBytes = 4 << 10
    /// Longer pieces are read straight to where they belong.
    private static let pieceLimit = 8 << 10
    /// Bytes between two pieces that follow each other.
    private static let gapLimit: Int64 = 4 << 10

    private let base: any BaseSource
    private let runs: [DeltaHeader.Run]
    private let starts: [Int64]
    private let buffer: UnsafeMutableRawBufferPointer
    private var start: Int64 = 0
    private var end: Int64 = 0

    init(_ base: any BaseSource, header: DeltaHeader) {
        self.base = base
        runs = header.usedRuns
        starts = header.usedRuns.map(\.offset)
        buffer = .allocate(byteCount: Self.aheadBytes, alignment: 16)
    }

    deinit { buffer.deallocate() }

    /// Fills `target` with the bytes at `offset`; the range lies inside the base space.
    @inline(__always)
    func read(into target: UnsafeMutableRawBufferPointer, at offset: Int64) throws(DeltaError) {
        if offset < start || offset + Int64(target.count) > end {
            guard target.count <= Self.pieceLimit, try fill(offset, target.count) else {
                return try base.read(into: target, at: offset)
            }
        }
        let from = Int(offset - start)
        target.copyMemory(from: UnsafeRawBufferPointer(rebasing: buffer[from..<from + target.count]))
    }

    /// Reads `count` bytes and more; false when they are not in one used run.
    private func fill(_ offset: Int64, _ count: Int) throws(DeltaError) -> Bool {
        guard !runs.isEmpty else { return false }
        let run = runs[starts.index(holding: offset)]
        guard offset >= run.offset, offset + Int64(count) <= run.end else { return false }
        let follows = offset >= start && offset <= end + Self.gapLimit
        let wanted = max(count, follows ? Self.aheadBytes : Self.nearBytes)
        let length = Int(min(Int64(wanted), run.end - offset))
        (start, end) = (0, 0)
        try base.read(into: UnsafeMutableRawBufferPointer(rebasing: buffer[0..<length]), at: offset)
        (start, end) = (offset, offset + Int64(length))
        return true
    }
}
