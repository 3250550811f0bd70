import Base

/// The decoder of one run: streams, the cover under way, and the output buffer.
final class ApplySession {
    private static let bufferBytes = 128 << 10
    /// Bytes before the output buffer: room for the base bytes before a predicted block.
    private static let slack = MemoryLayout<UInt64>.size

    private let base: BaseWindow
    private let baseSize: Int64
    private let sink: DeltaApply.Sink
    private var hasher: SHA256Hasher
    private let streams: [StreamDecoder]
    private let control: StreamDecoder
    private let literals: StreamDecoder
    private var differences: SparseDifferences
    private let modes: StreamDecoder

    private let output: UnsafeMutablePointer<UInt8>
    private var filled = 0

    private let targetSize: Int64
    private var produced: Int64 = 0
    /// Output still missing from the current chapter.
    private var chapterLeft: Int64 = 0
    private var skipping = false

    /// The plain cover and literal under way; they may run on into the next chapter.
    private var coverLeft: Int64 = 0
    private var literalLeft: Int64 = 0
    private var basePosition: Int64 = 0
    private var predicted: PredictedFile?
    private let targets = TargetMemory()
    private var packedWork = PackedWork()

    init(
        file: ReadableFile, header: DeltaHeader, base: any BaseSource, hasher: consuming SHA256Hasher,
        sink: DeltaApply.Sink
    ) {
        self.base = BaseWindow(base, header: header)
        self.sink = sink
        self.hasher = hasher
        baseSize = header.baseSize
        targetSize = header.targetSize
        streams = DeltaFormat.Stream.allCases.map { StreamDecoder(file: file, stream: $0) }
        control = streams[DeltaFormat.Stream.control.rawValue]
        literals = streams[DeltaFormat.Stream.literal.rawValue]
        modes = streams[DeltaFormat.Stream.mode.rawValue]
        differences = SparseDifferences(
            gaps: streams[DeltaFormat.Stream.gap.rawValue], runs: streams[DeltaFormat.Stream.run.rawValue],
            values: streams[DeltaFormat.Stream.value.rawValue])
        output = .allocate(capacity: Self.slack + Self.bufferBytes) + Self.slack
    }

    deinit {
        (output - Self.slack).deallocate()
    }

    /// The digest of the whole output.
    func finish() -> Digest { hasher.digestSoFar() }

    // MARK: Chapters

    /// Makes one chapter. A skipped one is only decoded, so that what follows has its context:
    /// neither base nor output is touched.
    func apply(_ chapter: Chapter, number: Int, skipping: Bool) throws(DeltaError) {
        self.skipping = skipping
        var offset = chapter.bodyOffset
        for (stream, length) in zip(streams, chapter.streamLengths) {
            try stream.begin(offset: offset, length: length)
            offset += length
        }
        differences.beginChapter()
        targets.forget()
        packedWork = PackedWork()
        chapterLeft = chapter.outputLength
        while chapterLeft > 0 { try advance() }
        for (stream, kind) in zip(streams, DeltaFormat.Stream.allCases) {
            guard try stream.isExhausted() else {
                throw DeltaError(.malformed, "chapter \(number + 1) leaves bytes of the \(kind) stream unused")
            }
        }
        guard !skipping else { return }
        try flush()
        guard hasher.digestSoFar().bytes.prefix(DeltaFormat.shortDigestBytes).elementsEqual(chapter.digest) else {
            throw DeltaError(.outputMismatch, "chapter \(number + 1) does not have its digest")
        }
        try sink.chapterDone(produced)
    }

    /// One step: at least one byte of output, or the start of a predicted file.
    private func advance() throws(DeltaError) {
        if predicted != nil { return try advancePredicted() }
        if coverLeft > 0 {
            let count = Int(min(coverLeft, chapterLeft, Int64(Self.bufferBytes)))
            try produceCover(count)
            coverLeft -= Int64(count)
        } else if literalLeft > 0 {
            let count = Int(min(literalLeft, chapterLeft, Int64(Self.bufferBytes)))
            try produceLiteral(count)
            literalLeft -= Int64(count)
        } else {
            try readControl()
        }
    }

    private func readControl() throws(DeltaError) {
        let remaining = targetSize - produced
        coverLeft = try control.number("a cover", limit: remaining)
        literalLeft = try control.number("a literal", limit: remaining - coverLeft)
        if coverLeft > 0 {
            basePosition += try control.signed()
            guard basePosition >= 0, basePosition <= baseSize, coverLeft <= baseSize - basePosition else {
                throw DeltaError(.limit, "a cover lies outside the base")
            }
        } else if literalLeft == 0 {
            switch try control.number("a special record", limit: 1) {
            case 0:
                let file = try PredictedFile(
                    control: control, remaining: remaining, position: basePosition, baseSize: baseSize,
                    targets: targets)
                basePosition = file.baseStart
                predicted = file
            default: try producePacked()
            }
        }
    }

    // MARK: Packed members

    /// Makes a whole packed member; a chapter never ends inside one.
    private func producePacked() throws(DeltaError) {
        let member = try PackedMember(
            control: control, room: chapterLeft, position: basePosition, baseSize: baseSize)
        try packedWork.spend(member.fixedWork)
        let content = UnsafeMutableBufferPointer<UInt8>.allocate(capacity: Int(member.contentLength))
        defer { content.deallocate() }
        var source: [UInt8] = []
        if let packed = member.base, !skipping {
            source = try Inflater.content(length: Int(packed.length), contentLength: Int(packed.contentLength)) {
                (buffer, offset) throws(DeltaError) in try base.read(into: buffer, at: packed.offset + offset)
            }
        }
        try makeContent(content, of: member, from: source)
        if let packed = member.base { basePosition = packed.offset + packed.length }
        if !skipping {
            let bytes = UnsafeBufferPointer(content)
            try DeflateWriter.write(bytes, recipe: member.recipe, length: Int(member.length), work: &packedWork) {
                (stream) throws(DeltaError) in try append(stream)
            }
            if member.hasTrailer {
                let trailer = PackedMember.trailer(of: bytes)
                try room(trailer.count).update(from: trailer, count: trailer.count)
                filled += trailer.count
            }
        }
        didProduce(Int(member.outputLength))
    }

    /// Fills `content` from covers and literals. Covers lie in `source` when the member has a packed base.
    private func makeContent(
        _ content: UnsafeMutableBufferPointer<UInt8>, of member: PackedMember, from source: [UInt8]
    ) throws(DeltaError) {
        guard let start = content.baseAddress else { return }
        let size = member.base?.contentLength ?? baseSize
        var position = member.base == nil ? basePosition : 0
        var made: Int64 = 0
        while made < member.contentLength {
            let cover = try control.number("a cover", limit: member.contentLength - made)
            let literal = try control.number("a literal", limit: member.contentLength - made - cover)
            guard cover + literal > 0 else { throw DeltaError(.malformed, "a cover is empty") }
            if cover > 0 {
                position += try control.signed()
                guard position >= 0, position <= size, cover <= size - position else {
                    throw DeltaError(.limit, "a cover of a packed member lies outside its base")
                }
                if skipping {
                    try differences.skip(Int(cover))
                } else {
                    let target = UnsafeMutableRawBufferPointer(start: start + Int(made), count: Int(cover))
                    if member.base == nil {
                        try base.read(into: target, at: position)
                    } else {
                        source.withUnsafeBytes {
                            target.copyMemory(from: .init(rebasing: $0[Int(position)..<Int(position + cover)]))
                        }
                    }
                    _ = try differences.add(to: start + Int(made), count: Int(cover))
                }
                position += cover
            }
            if skipping {
                try literals.skip(Int(literal))
            } else {
                try literals.copy(to: start + Int(made + cover), count: Int(literal))
            }
            made += cover + literal
        }
        if member.base == nil { basePosition = position }
    }

    private func append(_ bytes: UnsafeRawBufferPointer) throws(DeltaError) {
        var rest = bytes[...]
        while !rest.isEmpty {
            let part = rest.prefix(Self.bufferBytes)
            UnsafeMutableRawBufferPointer(start: try room(part.count), count: part.count)
                .copyMemory(from: UnsafeRawBufferPointer(rebasing: part))
            filled += part.count
            rest = rest.dropFirst(part.count)
        }
    }

    // MARK: Plain covers and literals

    private func produceCover(_ count: Int) throws(DeltaError) {
        if skipping {
            try differences.skip(count)
        } else {
            try copyBase(count, at: basePosition)
        }
        basePosition += Int64(count)
        didProduce(count)
    }

    /// Base bytes, corrected.
    private func copyBase(_ count: Int, at offset: Int64) throws(DeltaError) {
        let target = try room(count)
        try base.read(into: UnsafeMutableRawBufferPointer(start: target, count: count), at: offset)
        _ = try differences.add(to: target, count: count)
        filled += count
    }

    private func produceLiteral(_ count: Int) throws(DeltaError) {
        if skipping {
            try literals.skip(count)
        } else {
            try literals.copy(to: try room(count), count: count)
            filled += count
        }
        didProduce(count)
    }

    private func didProduce(_ count: Int) {
        produced += Int64(count)
        chapterLeft -= Int64(count)
    }

    // MARK: Predicted files

    private func advancePredicted() throws(DeltaError) {
        guard var file = predicted.take() else { return }
        try file.advance(control: control)
        if file.coverLeft > 0 {
            let count = Int(min(file.coverLeft, Int64(DeltaFormat.blockBytes)))
            guard Int64(count) <= chapterLeft else {
                throw DeltaError(.malformed, "a chapter ends inside a predicted block")
            }
            try produceBlock(count, of: file)
            file.didProduceCover(count)
        } else {
            let count = Int(min(file.literalLeft, chapterLeft, Int64(Self.bufferBytes)))
            try produceLiteral(count)
            file.didProduceLiteral(count)
        }
        if !file.isComplete { predicted = file }
    }

    private func produceBlock(_ count: Int, of file: PredictedFile) throws(DeltaError) {
        guard let mode = ReferencePredictor.Mode(rawValue: try modes.byte()) else {
            throw DeltaError(.malformed, "a block has an unknown prediction")
        }
        let start = file.baseStart + file.basePosition
        if skipping {
            try differences.skip(count)
        } else if mode == .none {
            // Nothing is predicted, so nothing can be learnt.
            try copyBase(count, at: start)
        } else {
            let target = try room(count)
            let before = Int(min(Int64(DeltaFormat.blockContext), file.basePosition))
            // For a moment the base bytes before the block stand where the output before it is.
            let kept = UnsafeMutableRawPointer(target - Self.slack)
            let made = kept.loadUnaligned(as: UInt64.self)
            kept.storeBytes(of: 0, as: UInt64.self)
            try base.read(
                into: UnsafeMutableRawBufferPointer(start: target - before, count: before + count),
                at: start - Int64(before))
            file.predictor.predict(
                target, count: count, baseOffset: file.basePosition, newOffset: file.produced, mode: mode)
            kept.storeBytes(of: made, as: UInt64.self)
            if try differences.add(to: target, count: count) { targets.learn(from: target) }
            filled += count
        }
        didProduce(count)
    }

    // MARK: Output

    /// Room for `count` bytes in the output buffer, which is emptied when they do not fit.
    private func room(_ count: Int) throws(DeltaError) -> UnsafeMutablePointer<UInt8> {
        if filled + count > Self.bufferBytes { try flush() }
        return output + filled
    }

    private func flush() throws(DeltaError) {
        guard filled > 0 else { return }
        let bytes = UnsafeRawBufferPointer(start: output, count: filled)
        hasher.update(bytes)
        try sink.write(bytes)
        filled = 0
    }
}
