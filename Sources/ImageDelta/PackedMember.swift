import CZlib

/// A deflate stream in the output that is made from its content: the record that announces it.
///
/// The content is made like any output, from covers and literals, then compressed again. Its covers lie in the
/// base space, or in the content of one deflate stream there.
package struct PackedMember {
    /// A deflate stream in the base space.
    struct Base {
        var offset: Int64
        var length: Int64
        var contentLength: Int64
    }

    /// Bytes of the checksum and length that end a gzip member (RFC 1952).
    package static let trailerBytes: Int64 = 8

    let contentLength: Int64
    /// Bytes of the stream, without the trailer.
    let length: Int64
    let hasTrailer: Bool
    let base: Base?
    let recipe: DeflateRecipe

    /// The work that is known before the search.
    var fixedWork: Int {
        PackedWork.fixed(
            content: Int(contentLength), base: Int(base?.contentLength ?? 0), blocks: recipe.blocks.count)
    }

    var outputLength: Int64 { length + (hasTrailer ? Self.trailerBytes : 0) }

    /// `room` is the output still to come in the chapter.
    init(control: StreamDecoder, room: Int64, position: Int64, baseSize: Int64) throws(DeltaError) {
        let flags = try control.number("flags of a packed member", limit: 3)
        hasTrailer = flags & 2 != 0
        contentLength = try control.number("content of a packed member", limit: DeflateRecipe.contentLimit)
        let room = room - (flags & 2 != 0 ? Self.trailerBytes : 0)
        length = try control.number("length of a packed member", limit: min(room, DeflateRecipe.contentLimit))
        guard contentLength > 0, length > 0, contentLength <= length * DeflateRecipe.expansionLimit else {
            throw DeltaError(.limit, "a packed member of \(length) bytes has \(contentLength) of content")
        }
        base = flags & 1 == 0 ? nil : try Self.base(control, position: position, baseSize: baseSize)
        recipe = try DeflateRecipe(control: control)
    }

    private static func base(
        _ control: StreamDecoder, position: Int64, baseSize: Int64
    ) throws(DeltaError) -> Base {
        let offset = position + (try control.signed())
        guard offset >= 0, offset < baseSize else { throw DeltaError(.limit, "a packed base lies outside the base") }
        let length = try control.number(
            "length of a packed base", limit: min(baseSize - offset, DeflateRecipe.contentLimit))
        let content = try control.number("content of a packed base", limit: DeflateRecipe.contentLimit)
        guard content > 0, length > 0 else { throw DeltaError(.malformed, "a packed base is empty") }
        return Base(offset: offset, length: length, contentLength: content)
    }

    /// The checksum (CRC-32) and length that follow the stream in a gzip member.
    package static func trailer(of content: UnsafeBufferPointer<UInt8>) -> [UInt8] {
        let sum = UInt32(truncatingIfNeeded: crc32(0, content.baseAddress, UInt32(content.count)))
        let size = UInt32(content.count)
        return (0..<4).map { UInt8(truncatingIfNeeded: sum >> ($0 * 8)) }
            + (0..<4).map { UInt8(truncatingIfNeeded: size >> ($0 * 8)) }
    }
}

/// The content of a deflate stream.
package enum Inflater {
    private static let inputBytes = 64 << 10

    /// Exactly `contentLength` bytes out of exactly `length`; `read` fills a buffer from an offset in the stream.
    package static func content(
        length: Int, contentLength: Int,
        read: (UnsafeMutableRawBufferPointer, Int64) throws(DeltaError) -> Void
    ) throws(DeltaError) -> [UInt8] {
        // zlib keeps the address of its stream.
        let stream = UnsafeMutablePointer<z_stream>.allocate(capacity: 1)
        stream.initialize(to: z_stream())
        defer { stream.deallocate() }
        guard inflateInit2_(stream, -MAX_WBITS, ZLIB_VERSION, Int32(MemoryLayout<z_stream>.size)) == Z_OK else {
            throw DeltaError(.limit, "no memory to unpack")
        }
        defer { inflateEnd(stream) }
        let input = UnsafeMutableRawBufferPointer.allocate(byteCount: Self.inputBytes, alignment: 16)
        let output = UnsafeMutablePointer<UInt8>.allocate(capacity: max(contentLength, 1))
        defer {
            input.deallocate()
            output.deallocate()
        }
        stream.pointee.next_out = output
        stream.pointee.avail_out = UInt32(contentLength)
        var offset = 0
        var status = Z_OK
        while status == Z_OK, offset < length {
            let part = UnsafeMutableRawBufferPointer(rebasing: input[0..<min(Self.inputBytes, length - offset)])
            try read(part, Int64(offset))
            offset += part.count
            stream.pointee.next_in = part.baseAddress?.assumingMemoryBound(to: UInt8.self)
            stream.pointee.avail_in = UInt32(part.count)
            status = inflate(stream, Z_NO_FLUSH)
        }
        guard status == Z_STREAM_END, stream.pointee.avail_in == 0, stream.pointee.avail_out == 0, offset == length else {
            throw DeltaError(.wrongBase, "a packed file of the base does not unpack to \(contentLength) bytes")
        }
        return Array(UnsafeBufferPointer(start: output, count: contentLength))
    }
}
