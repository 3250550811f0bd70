import Base

/// Tells before any work whether a base is the one a delta was made from.
public struct BaseCheck: Sendable {
    private static let bufferBytes = 256 << 10

    public let header: DeltaHeader

    public init(header: DeltaHeader) { self.header = header }

    /// Compares the layers' sizes, then the digest of every span of base bytes that the delta uses.
    public func verify(_ base: any BaseSource, progress: (Int64) -> Void = { _ in }) throws(DeltaError) {
        let sizes = base.layerSizes
        guard sizes.count == header.bases.count else {
            throw DeltaError(.wrongBase, "it needs \(header.bases.count) layers, \(sizes.count) are given")
        }
        for (index, size) in sizes.enumerated() where size != header.bases[index].size {
            throw DeltaError(
                .wrongBase,
                "layer \(index + 1) (\(header.bases[index].diffID)) has \(header.bases[index].size) bytes, "
                    + "the one given has \(size)")
        }
        let buffer = UnsafeMutableRawBufferPointer.allocate(byteCount: Self.bufferBytes, alignment: 16)
        defer { buffer.deallocate() }
        let spanLength = DeltaHeader.spanLength(used: header.usedSize)
        var spans = SpanHasher(length: spanLength)
        var read: Int64 = 0
        for run in header.usedRuns {
            var at = run.offset
            while at < run.end {
                let room = min(Int64(buffer.count), spans.room)
                let slice = UnsafeMutableRawBufferPointer(rebasing: buffer[0..<Int(min(run.end - at, room))])
                try base.read(into: slice, at: at)
                at += Int64(slice.count)
                read += Int64(slice.count)
                progress(read)
                if let digest = spans.update(UnsafeRawBufferPointer(slice)) { try compare(digest, spans.count - 1, base) }
            }
        }
        if let digest = spans.finish() { try compare(digest, spans.count, base) }
    }

    private func compare(_ digest: [UInt8], _ index: Int, _ base: any BaseSource) throws(DeltaError) {
        guard index >= header.spanDigests.count || digest != header.spanDigests[index] else { return }
        throw DeltaError(.wrongBase, "\(base.describe(firstRun(ofSpan: index))) does not have the expected bytes")
    }

    /// The first run of base bytes in a span.
    private func firstRun(ofSpan index: Int) -> DeltaHeader.Run {
        let spanLength = DeltaHeader.spanLength(used: header.usedSize)
        var before = Int64(index) * spanLength
        for run in header.usedRuns {
            if before < run.length {
                return DeltaHeader.Run(offset: run.offset + before, length: min(spanLength, run.length - before))
            }
            before -= run.length
        }
        return DeltaHeader.Run(offset: 0, length: 0)
    }
}
