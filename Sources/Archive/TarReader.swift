/// Pulls a tar archive from a ``ByteSource``: ask for the next member, then read its content or not.
public final class TarReader: ByteSource {
    private let source: any ByteSource
    private var parser: TarParser
    private let buffer: UnsafeMutableRawBufferPointer
    private var start = 0
    private var end = 0
    private var sourceEnded = false
    private var pendingHeader: TarHeader?
    /// Content bytes of the current member, lying in the buffer before `start`.
    private var content = 0
    private var inMember = false
    private var finished = false

    /// - Parameter chunk: bytes of input buffered; at least one block.
    public init(
        _ source: any ByteSource, limits: TarLimits = TarLimits(), subject: String = "tar",
        chunk: Int = ByteSources.chunkSize
    ) {
        self.source = source
        parser = TarParser(limits: limits, subject: subject)
        buffer = .allocate(byteCount: max(chunk, Tar.blockSize), alignment: 16)
    }

    deinit { buffer.deallocate() }

    /// The next member, the rest of the current one being skipped; nil at a complete archive's end.
    public func next() throws -> TarHeader? {
        while content > 0 || inMember { try skipContent() }
        if let header = pendingHeader {
            pendingHeader = nil
            inMember = true
            return header
        }
        guard !finished else { return nil }
        guard case .header(let header)? = try step() else {
            finished = true
            return nil
        }
        inMember = true
        return header
    }

    /// Content of the current member.
    public func read(into target: UnsafeMutableRawBufferPointer) throws -> Int {
        guard target.count > 0 else { return 0 }
        if content == 0 {
            guard inMember else { return 0 }
            try advanceContent()
            guard content > 0 else { return 0 }
        }
        let count = min(content, target.count)
        target.copyMemory(from: UnsafeRawBufferPointer(rebasing: buffer[(start - content)..<(start - content + count)]))
        content -= count
        return count
    }

    private func skipContent() throws {
        content = 0
        if inMember { try advanceContent() }
    }

    private func advanceContent() throws {
        switch try step() {
        case .content(let count)?: content = count
        case .header(let header)?:
            pendingHeader = header
            inMember = false
        default:
            finished = true
            inMember = false
        }
    }

    /// The next header or content event; nil at the end of the archive.
    private func step() throws -> TarParser.Event? {
        while true {
            var consumed = 0
            let event = try parser.next(
                UnsafeRawBufferPointer(rebasing: buffer[start..<end]), consumed: &consumed)
            start += consumed
            switch event {
            case .header, .content: return event
            case .end: continue
            case .needsInput:
                if sourceEnded {
                    try parser.finish()
                    return nil
                }
                start = 0
                end = try source.read(into: buffer)
                if end == 0 { sourceEnded = true }
            }
        }
    }
}
