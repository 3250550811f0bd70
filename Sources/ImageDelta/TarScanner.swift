import Base

/// A member of a tar stream and where its bytes lie.
public struct TarMember: Sendable, Equatable {
    /// Name as the archive has it, pax and GNU long names resolved.
    public var path: [UInt8]
    public var type: UInt8
    /// Offset in the tar of the first of its headers (pax and long-name headers included).
    public var headerOffset: Int64
    /// Offset in the tar just after the headers.
    public var contentOffset: Int64
    /// Bytes of content in the tar, without padding.
    public var contentSize: Int64
    /// Whether the content is that of a plain file, byte for byte, so that an extracted file has it too.
    public var isPlainFile: Bool
    /// Offset in the skeleton just after the headers.
    public var skeletonOffset: Int64

    package init(
        path: [UInt8], type: UInt8, headerOffset: Int64, contentOffset: Int64, contentSize: Int64, isPlainFile: Bool,
        skeletonOffset: Int64
    ) {
        self.path = path
        self.type = type
        self.headerOffset = headerOffset
        self.contentOffset = contentOffset
        self.contentSize = contentSize
        self.isPlainFile = isPlainFile
        self.skeletonOffset = skeletonOffset
    }

    public var headerSize: Int64 { contentOffset - headerOffset }
    public var paddedSize: Int64 { (contentSize + 511) & ~511 }
}

/// Finds the members of a tar stream (ustar, pax, GNU), from the stream itself or from its skeleton.
///
/// A skeleton is the stream without the contents of plain files; since their sizes stand in the headers,
/// it can be scanned the same way. Where a stream stops being tar, the scan ends: the rest is mere bytes.
public struct TarScanner {
    public enum Form: Sendable { case tar, skeleton }

    /// Bytes of one pax or long-name record.
    public static let recordLimit: Int64 = 1 << 20
    /// Members of one layer.
    public static let memberLimit = 1 << 22

    private let form: Form
    private let tarSize: Int64
    private let read: (Int64, Int) throws(DeltaError) -> [UInt8]
    private var tarOffset: Int64 = 0
    private var skeletonOffset: Int64 = 0
    private var count = 0

    /// `read` gives bytes of the tar or of the skeleton, fewer only at the end. `tarSize` is the tar's in both forms.
    public init(form: Form, tarSize: Int64, read: @escaping (Int64, Int) throws(DeltaError) -> [UInt8]) {
        self.form = form
        self.tarSize = tarSize
        self.read = read
    }

    private struct Extensions {
        var path: [UInt8]?
        var size: Int64?
        var isSparse = false
    }

    public mutating func next() throws(DeltaError) -> TarMember? {
        let start = tarOffset
        var at = tarOffset
        var extensions = Extensions()
        // Each turn passes a header of at least 512 bytes, so the tar's size bounds the loop.
        while at + 512 <= tarSize, count < Self.memberLimit {
            let header = try bytes(at, 512)
            guard header.count == 512, header.contains(where: { $0 != 0 }), Self.hasChecksum(header),
                let size = Self.number(header[124..<136]), size >= 0, size <= tarSize - at - 512
            else { return nil }
            let type = header[156]
            if [0x78, 0x67, 0x4C, 0x4B].contains(type) {  // x, g, L, K
                guard size <= Self.recordLimit else { return nil }
                let record = try bytes(at + 512, Int(size))
                guard record.count == Int(size) else { return nil }
                Self.note(type, record, in: &extensions)
                at += 512 + ((size + 511) & ~511)
                continue
            }
            return member(header, type: type, size: size, start: start, at: at, extensions)
        }
        return nil
    }

    private mutating func member(
        _ header: [UInt8], type: UInt8, size: Int64, start: Int64, at: Int64, _ extensions: Extensions
    ) -> TarMember? {
        let isFile = type == 0x30 || type == 0 || type == 0x37
        let isHeaderOnly = (0x31...0x36).contains(type)
        let contentSize = isHeaderOnly ? 0 : (extensions.size ?? size)
        guard contentSize >= 0, contentSize <= tarSize - at - 512 else { return nil }
        let isPlain = isFile && !extensions.isSparse
        let member = TarMember(
            path: extensions.path ?? Self.name(header), type: type, headerOffset: start, contentOffset: at + 512,
            contentSize: contentSize, isPlainFile: isPlain, skeletonOffset: skeletonOffset + (at + 512 - start))
        let end = min(member.contentOffset + member.paddedSize, tarSize)
        skeletonOffset += end - start - (isPlain ? contentSize : 0)
        tarOffset = end
        count += 1
        return member
    }

    /// Bytes at a tar offset that belongs to the headers now scanned.
    private func bytes(_ offset: Int64, _ count: Int) throws(DeltaError) -> [UInt8] {
        switch form {
        case .tar: try read(offset, count)
        case .skeleton: try read(skeletonOffset + (offset - tarOffset), count)
        }
    }

    // MARK: Header fields

    private static func hasChecksum(_ header: [UInt8]) -> Bool {
        guard let stated = number(header[148..<156]) else { return false }
        var sum: Int64 = 8 * 0x20
        for index in 0..<512 where !(148..<156).contains(index) { sum += Int64(header[index]) }
        return sum == stated
    }

    /// Octal, or base 256 when the first bit is set; nil for anything else.
    package static func fieldValue(_ field: ArraySlice<UInt8>) -> Int64? { number(field) }

    static func number(_ field: ArraySlice<UInt8>) -> Int64? {
        guard let first = field.first else { return nil }
        if first & 0x80 != 0 {
            guard first == 0x80 else { return nil }
            var value: Int64 = 0
            for byte in field.dropFirst() {
                guard value < 1 << 54 else { return nil }
                value = value << 8 | Int64(byte)
            }
            return value
        }
        var value: Int64 = 0
        var started = false
        for byte in field {
            if byte == 0x20, !started { continue }
            if byte == 0 || byte == 0x20 { break }
            guard (0x30...0x37).contains(byte), value < 1 << 58 else { return nil }
            started = true
            value = value << 3 | Int64(byte - 0x30)
        }
        return value
    }

    private static func text(_ field: ArraySlice<UInt8>) -> [UInt8] { Array(field.prefix { $0 != 0 }) }

    private static func name(_ header: [UInt8]) -> [UInt8] {
        let name = text(header[0..<100])
        guard header[257..<263].elementsEqual(Array("ustar".utf8) + [0]), header[345] != 0 else { return name }
        return text(header[345..<500]) + [0x2F] + name
    }

    private static func note(_ type: UInt8, _ record: [UInt8], in extensions: inout Extensions) {
        if type == 0x4C { extensions.path = text(record[...]) }
        guard type == 0x78 else { return }
        var at = 0
        while at < record.count {
            guard let space = record[at...].firstIndex(of: 0x20),
                let length = Int(String(decoding: record[at..<space], as: UTF8.self)),
                length > space - at + 1, length <= record.count - at,
                let equals = record[space..<at + length].firstIndex(of: 0x3D)
            else { return }
            let key = String(decoding: record[space + 1..<equals], as: UTF8.self)
            let value = record[equals + 1..<at + length - 1]
            if key == "path" { extensions.path = Array(value) }
            if key == "size" { extensions.size = Int64(String(decoding: value, as: UTF8.self)) ?? -1 }
            if key.hasPrefix("GNU.sparse.") { extensions.isSparse = true }
            at += length
        }
    }
}
