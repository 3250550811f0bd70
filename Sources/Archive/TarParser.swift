/// Reads a tar archive (V7, ustar, pax, GNU) from buffers that the caller supplies; does no I/O.
///
/// Memory is one header block, the extended headers of one member and the global records, all bounded by
/// ``TarLimits``. Formats: POSIX.1-2017 pax "ustar Interchange Format", GNU tar manual "Basic Tar Format".
public struct TarParser {
    public enum Event: Equatable {
        /// All input is consumed; call again with more, or ``finish()`` at its end.
        case needsInput
        case header(TarHeader)
        /// The next `count` bytes of the current member's content: the last `count` bytes consumed.
        case content(count: Int)
        /// The end-of-archive marker was read; what follows must be zero and is consumed silently.
        case end
    }

    private enum State: Equatable {
        case header
        case extended(UInt8, remaining: Int64, padding: Int64)
        case content(remaining: Int64, padding: Int64)
        case padding(Int64)
        case firstZeroBlock
        case end
    }

    /// Extended headers before one member; more is a stalling attack.
    private static let maximumExtensions = 16

    public let limits: TarLimits
    public let subject: String
    /// Bytes of the archive consumed so far.
    public private(set) var offset: Int64 = 0
    public private(set) var entries = 0

    private var state = State.header
    private var block: [UInt8] = []
    private var payload: [UInt8] = []
    private var memberStart: Int64 = 0
    private var extensions = 0
    private var extendedBytes: Int64 = 0
    private var local: [String: [UInt8]] = [:]
    private var global: [String: [UInt8]] = [:]
    private var globalBytes = 0
    private var longPath: [UInt8]?
    private var longLink: [UInt8]?

    public init(limits: TarLimits = TarLimits(), subject: String = "tar") {
        self.limits = limits
        self.subject = subject
        block.reserveCapacity(Tar.blockSize)
    }

    /// Consumes bytes from the front of `input` until there is something to report.
    public mutating func next(
        _ input: UnsafeRawBufferPointer, consumed: inout Int
    ) throws(ArchiveError) -> Event {
        consumed = 0
        while true {
            switch state {
            case .header, .firstZeroBlock:
                guard take(from: input, consumed: &consumed) else { return .needsInput }
                if let event = try headerBlock() { return event }
            case .extended(let flag, let remaining, let padding):
                let count = min(Int64(input.count - consumed), remaining)
                payload += input[consumed..<consumed + Int(count)]
                try advance(count, &consumed)
                guard count == remaining else {
                    state = .extended(flag, remaining: remaining - count, padding: padding)
                    return .needsInput
                }
                try applyExtended(flag)
                state = .padding(padding)
            case .content(let remaining, let padding):
                let count = min(Int64(input.count - consumed), remaining)
                guard count > 0 || remaining == 0 else { return .needsInput }
                try advance(count, &consumed)
                state = count == remaining ? .padding(padding) : .content(remaining: remaining - count, padding: padding)
                if count > 0 { return .content(count: Int(count)) }
            case .padding(let remaining):
                let count = min(Int64(input.count - consumed), remaining)
                try advance(count, &consumed)
                guard count == remaining else {
                    state = .padding(remaining - count)
                    return .needsInput
                }
                state = .header
            case .end:
                guard consumed < input.count else { return .needsInput }
                for index in consumed..<input.count where input[index] != 0 {
                    throw fail(.trailingData)
                }
                try advance(Int64(input.count - consumed), &consumed)
                return .needsInput
            }
        }
    }

    /// Call at the end of the input. Throws when the archive is not complete there.
    public func finish() throws(ArchiveError) {
        if state == .end { return }
        let atBoundary = (state == .header || state == .firstZeroBlock || state == .padding(0)) && block.isEmpty
        guard atBoundary, extensions == 0, !limits.requireTrailer else { throw fail(.truncated) }
    }

    /// Leaves the rest of the current member unread; the caller must skip the returned number of bytes
    /// of its input. Only sensible directly after a header or content event.
    public mutating func skipMember() throws(ArchiveError) -> Int64 {
        let count: Int64 =
            switch state {
            case .content(let remaining, let padding): remaining + padding
            case .padding(let remaining): remaining
            default: 0
            }
        offset += count
        guard offset <= limits.totalBytes else { throw fail(.totalTooLarge) }
        if count > 0 || state == .padding(0) { state = .header }
        return count
    }

    // MARK: Blocks

    private func fail(_ reason: ArchiveError.Reason, _ detail: String = "") -> ArchiveError {
        ArchiveError(reason, subject: subject, offset: offset, detail: detail)
    }

    private mutating func advance(_ count: Int64, _ consumed: inout Int) throws(ArchiveError) {
        offset += count
        consumed += Int(count)
        guard offset <= limits.totalBytes else { throw fail(.totalTooLarge) }
    }

    /// Fills `block`; false when the input ran out first.
    private mutating func take(from input: UnsafeRawBufferPointer, consumed: inout Int) -> Bool {
        let count = min(Tar.blockSize - block.count, input.count - consumed)
        block += input[consumed..<consumed + count]
        consumed += count
        offset += Int64(count)
        return block.count == Tar.blockSize
    }

    private mutating func headerBlock() throws(ArchiveError) -> Event? {
        defer { block.removeAll(keepingCapacity: true) }
        guard offset <= limits.totalBytes else { throw fail(.totalTooLarge) }
        if block.allSatisfy({ $0 == 0 }) {
            guard extensions == 0 else { throw fail(.extendedHeader, "no member follows it") }
            guard state == .firstZeroBlock else {
                state = .firstZeroBlock
                return nil
            }
            state = .end
            return .end
        }
        guard state == .header else { throw fail(.trailingData) }
        try verifyChecksum()
        if extensions == 0 { memberStart = offset - Int64(Tar.blockSize) }
        let flag = block[156]
        switch flag {
        case UInt8(ascii: "x"), UInt8(ascii: "g"), UInt8(ascii: "L"), UInt8(ascii: "K"):
            try beginExtended(flag)
            return nil
        default:
            return .header(try member(flag))
        }
    }

    private func verifyChecksum() throws(ArchiveError) {
        let stored = try number(148..<156)
        var unsigned: Int64 = 0
        var signed: Int64 = 0
        for (index, byte) in block.enumerated() {
            let value = (148..<156).contains(index) ? 0x20 : byte
            unsigned += Int64(value)
            signed += Int64(Int8(bitPattern: value))
        }
        // Old writers summed signed characters.
        guard stored == unsigned || stored == signed else { throw fail(.checksum) }
    }

    private func number(_ range: Range<Int>) throws(ArchiveError) -> Int64 {
        guard let value = TarNumber.parse(block[range]) else { throw fail(.number) }
        return value
    }

    private func text(_ range: Range<Int>) -> [UInt8] {
        Array(block[range].prefix { $0 != 0 })
    }

    // MARK: Extended headers

    private mutating func beginExtended(_ flag: UInt8) throws(ArchiveError) {
        extensions += 1
        guard extensions <= Self.maximumExtensions else { throw fail(.extendedHeader, "too many in a row") }
        let size = try number(124..<136)
        guard size >= 0 else { throw fail(.negativeSize) }
        // Checked one by one first, so that the sum cannot overflow.
        guard size <= limits.extendedBytes, extendedBytes + size <= limits.extendedBytes else {
            throw fail(.extendedHeaderTooLarge)
        }
        extendedBytes += size
        payload.removeAll(keepingCapacity: false)
        state = .extended(flag, remaining: size, padding: Tar.padding(size))
    }

    private mutating func applyExtended(_ flag: UInt8) throws(ArchiveError) {
        defer { payload.removeAll(keepingCapacity: false) }
        switch flag {
        case UInt8(ascii: "L"): longPath = try longName()
        case UInt8(ascii: "K"): longLink = try longName()
        case UInt8(ascii: "g"):
            globalBytes += payload.count
            guard globalBytes <= limits.extendedBytes else { throw fail(.extendedHeaderTooLarge) }
            try parseRecords(into: &global)
            // A global header stands by itself: the next member starts after it.
            extensions -= 1
            extendedBytes -= Int64(payload.count)
        default: try parseRecords(into: &local)
        }
    }

    private func longName() throws(ArchiveError) -> [UInt8] {
        let name = Array(payload.prefix { $0 != 0 })
        guard name.count <= limits.nameBytes else { throw fail(.nameTooLong) }
        guard !name.isEmpty else { throw fail(.extendedHeader, "empty long name") }
        return name
    }

    /// Records of the form `<decimal length> <key>=<value>\n`, the length counting the whole record.
    private func parseRecords(into records: inout [String: [UInt8]]) throws(ArchiveError) {
        var rest = payload[...]
        while !rest.isEmpty {
            guard let space = rest.prefix(20).firstIndex(of: 0x20), space > rest.startIndex,
                let length = Int(String(decoding: rest[..<space], as: UTF8.self)),
                length > space - rest.startIndex + 2, length <= rest.count
            else { throw fail(.extendedHeader, "record length") }
            let record = rest[(space + 1)..<(rest.startIndex + length)]
            guard record.last == 0x0A, let equals = record.firstIndex(of: 0x3D), equals > record.startIndex,
                let key = String(validating: record[..<equals], as: UTF8.self)
            else { throw fail(.extendedHeader, "record") }
            guard !key.hasPrefix("GNU.sparse.") else { throw fail(.sparse) }
            let value = Array(record[(equals + 1)...].dropLast())
            // An empty value takes a record back.
            records[key] = value.isEmpty ? nil : value
            rest = rest[(rest.startIndex + length)...]
        }
    }

    // MARK: Members

    private mutating func member(_ flag: UInt8) throws(ArchiveError) -> TarHeader {
        entries += 1
        guard entries <= limits.entries else { throw fail(.tooManyEntries, "limit \(limits.entries)") }
        guard flag != UInt8(ascii: "S") else { throw fail(.sparse) }
        var header = TarHeader(path: "")
        header.records = global.isEmpty ? local : global.merging(local) { $1 }
        header.path = try path()
        header.linkPath = longLink ?? text(157..<257)
        header.kind = Self.kind(flag, path: header.path)
        header.mode = UInt32(truncatingIfNeeded: try number(100..<108)) & 0o7777
        header.uid = try number(108..<116)
        header.gid = try number(116..<124)
        header.size = try number(124..<136)
        header.modified = try number(136..<148)
        if isUstar {
            header.userName = text(265..<297)
            header.groupName = text(297..<329)
            header.deviceMajor = try number(329..<337)
            header.deviceMinor = try number(337..<345)
        }
        if !header.records.isEmpty { try apply(header.records, to: &header) }
        guard header.path.count <= limits.nameBytes, header.linkPath.count <= limits.nameBytes else {
            throw fail(.nameTooLong)
        }
        guard header.size >= 0 else { throw fail(.negativeSize) }
        guard header.size <= limits.entryBytes else { throw fail(.entryTooLarge, "\(header.size) bytes") }
        switch header.kind {
        // These have no content whatever their size field says, as GNU tar and Go's archive/tar read them.
        case .hardLink, .symlink, .characterDevice, .blockDevice, .directory, .fifo: header.size = 0
        case .file, .other: break
        }
        let padding = Tar.padding(header.size)
        guard header.size + padding <= limits.totalBytes - offset else { throw fail(.totalTooLarge) }
        header.span = TarHeader.Span(
            start: memberStart, block: offset - Int64(Tar.blockSize), content: offset,
            contentEnd: offset + header.size, end: offset + header.size + padding)
        state = .content(remaining: header.size, padding: padding)
        local = [:]
        longPath = nil
        longLink = nil
        extensions = 0
        extendedBytes = 0
        return header
    }

    private var isUstar: Bool { block[257..<262].elementsEqual("ustar".utf8) }

    private func path() throws(ArchiveError) -> [UInt8] {
        if let longPath { return longPath }
        let name = text(0..<100)
        // GNU archives ("ustar  ") use the prefix field for other things.
        guard isUstar, block[262] == 0, block[345] != 0 else { return name }
        return text(345..<500) + [0x2F] + name
    }

    private func apply(_ records: [String: [UInt8]], to header: inout TarHeader) throws(ArchiveError) {
        func integer(_ key: String) throws(ArchiveError) -> Int64? {
            guard let value = records[key] else { return nil }
            // Times may carry a fraction, which is dropped towards the past.
            let text = String(decoding: value, as: UTF8.self)
            let whole = text.prefix { $0 != "." }
            guard let number = Int64(whole) else { throw fail(.extendedHeader, key) }
            let fraction = text.dropFirst(whole.count).contains { ("1"..."9").contains($0) }
            return whole.hasPrefix("-") && fraction ? number &- 1 : number
        }
        if let path = records["path"] { header.path = path }
        if let link = records["linkpath"] { header.linkPath = link }
        guard !header.path.contains(0), !header.linkPath.contains(0) else { throw fail(.extendedHeader, "NUL in path") }
        if let size = try integer("size") { header.size = size }
        if let uid = try integer("uid") { header.uid = uid }
        if let gid = try integer("gid") { header.gid = gid }
        if let modified = try integer("mtime") { header.modified = modified }
        if let user = records["uname"] { header.userName = user }
        if let group = records["gname"] { header.groupName = group }
    }

    private static func kind(_ flag: UInt8, path: [UInt8]) -> TarHeader.Kind {
        switch flag {
        // V7 archives mark a directory by its trailing slash alone.
        case 0, UInt8(ascii: "0"), UInt8(ascii: "7"): path.last == 0x2F ? .directory : .file
        case UInt8(ascii: "1"): .hardLink
        case UInt8(ascii: "2"): .symlink
        case UInt8(ascii: "3"): .characterDevice
        case UInt8(ascii: "4"): .blockDevice
        case UInt8(ascii: "5"): .directory
        case UInt8(ascii: "6"): .fifo
        default: .other(flag)
        }
    }
}

/// Numeric tar fields: octal text, or base-256 when the top bit of the first byte is set.
enum TarNumber {
    static func parse(_ field: ArraySlice<UInt8>) -> Int64? {
        guard let first = field.first else { return nil }
        if first & 0x80 != 0 { return binary(field, first) }
        var value: Int64 = 0
        var started = false
        var ended = false
        for byte in field {
            switch byte {
            case 0x20 where !started: continue
            case 0x20, 0: ended = true
            case 0x30...0x37:
                guard !ended, value >> 60 == 0 else { return nil }
                started = true
                value = value << 3 | Int64(byte - 0x30)
            default: return nil
            }
        }
        return value
    }

    private static func binary(_ field: ArraySlice<UInt8>, _ first: UInt8) -> Int64? {
        let negative = first & 0x40 != 0
        var value: Int64 = negative ? -1 : 0
        for (index, byte) in field.enumerated() {
            let digit = index == 0 ? (negative ? byte | 0x80 : byte & 0x7F) : byte
            // The sign must survive each shift.
            guard value >> 55 == (negative ? -1 : 0) else { return nil }
            value = value << 8 | Int64(digit)
        }
        return value
    }

    /// Octal digits filling `width - 1` bytes and a NUL; nil when it does not fit.
    static func octal(_ value: Int64, width: Int) -> [UInt8]? {
        guard value >= 0 else { return nil }
        let digits = Array(String(value, radix: 8).utf8)
        guard digits.count < width else { return nil }
        return Array(repeating: 0x30, count: width - 1 - digits.count) + digits + [0]
    }
}
