import Archive
import Base
import TestSupport
import Testing

/// Archives that someone made to hurt. Each is refused with its own code, and within its limits.
@Suite struct HostileTarTests {
    struct Case: CustomTestStringConvertible, Sendable {
        var name: String
        var reason: ArchiveError.Reason
        var limits = TarLimits()
        var make: @Sendable () throws -> [UInt8]
        var testDescription: String { name }
    }

    /// A member's header block with some bytes replaced and the checksum made right again.
    static func block(
        _ header: TarHeader = TarHeader(path: "f"), edit: (inout [UInt8]) -> Void = { _ in }
    ) throws -> [UInt8] {
        var bytes = try TarEncoder.header(header)
        edit(&bytes)
        reseal(&bytes)
        return bytes
    }

    static func reseal(_ bytes: inout [UInt8]) {
        bytes.replaceSubrange(148..<156, with: Array(repeating: 0x20, count: 8))
        let sum = String(bytes[..<512].reduce(0) { $0 + Int($1) }, radix: 8)
        bytes.replaceSubrange(
            148..<156, with: Array((String(repeating: "0", count: 6 - sum.count) + sum).utf8) + [0, 0x20])
    }

    static func pax(_ payload: [UInt8], flag: Character = "x", declared: Int64? = nil) throws -> [UInt8] {
        var header = TarHeader(path: "pax", size: declared ?? Int64(payload.count))
        header.kind = .other(flag.asciiValue ?? 0)
        return try TarEncoder.header(header) + payload + TarEncoder.padding(Int64(payload.count))
    }

    static let zeros = TarEncoder.trailer

    static let cases: [Case] = [
        Case(name: "empty input", reason: .truncated) { [] },
        Case(name: "half a header", reason: .truncated) { Array(try block()[..<300]) },
        Case(name: "no end-of-archive marker", reason: .truncated) { try block() },
        Case(name: "one zero block only", reason: .truncated) { try block() + Array(repeating: 0, count: 512) },
        Case(name: "content cut short", reason: .truncated) {
            try block(TarHeader(path: "f", size: 4000)) + [1, 2, 3]
        },
        Case(name: "padding cut short", reason: .truncated) {
            try block(TarHeader(path: "f", size: 10)) + Array(repeating: 1, count: 100)
        },
        Case(name: "checksum off by one", reason: .checksum) {
            var bytes = try block()
            bytes[0] += 1
            return bytes + zeros
        },
        Case(name: "size that is no number", reason: .number) {
            try block { $0.replaceSubrange(124..<128, with: Array("9zz ".utf8)) } + zeros
        },
        Case(name: "octal digits after the end of a number", reason: .number) {
            try block { $0.replaceSubrange(124..<130, with: Array("12 012".utf8)) } + zeros
        },
        Case(name: "negative base-256 size", reason: .negativeSize) {
            try block { $0.replaceSubrange(124..<136, with: Array(repeating: 0xFF, count: 12)) } + zeros
        },
        Case(name: "base-256 size beyond 63 bits", reason: .number) {
            try block { $0.replaceSubrange(124..<136, with: [0x80, 1] + Array(repeating: 0, count: 10)) } + zeros
        },
        Case(name: "size of 8 EiB", reason: .entryTooLarge) {
            try block {
                $0.replaceSubrange(124..<136, with: [0x80, 0, 0, 0, 0x7F] + Array(repeating: 0xFF, count: 7))
            } + zeros
        },
        Case(name: "pax size of 8 EiB", reason: .entryTooLarge) {
            try pax(Array("28 size=9223372036854775807\n".utf8)) + block() + zeros
        },
        Case(name: "negative pax size", reason: .negativeSize) {
            try pax(Array("11 size=-1\n".utf8)) + block() + zeros
        },
        Case(name: "member beyond the total", reason: .totalTooLarge, limits: TarLimits(totalBytes: 10_000)) {
            try block(TarHeader(path: "f", size: 20_000)) + zeros
        },
        Case(name: "zeros without end", reason: .totalTooLarge, limits: TarLimits(totalBytes: 10_000)) {
            try block() + Array(repeating: 0, count: 20_000)
        },
        Case(name: "pax payload beyond the limit", reason: .extendedHeaderTooLarge) {
            try pax([], declared: 2 << 20) + zeros
        },
        Case(name: "pax payloads that exceed the limit together", reason: .extendedHeaderTooLarge,
            limits: TarLimits(extendedBytes: 40)) {
            try pax(Array("30 comment=aaaaaaaaaaaaaaaaaa\n".utf8)) + pax(Array("30 comment=aaaaaaaaaaaaaaaaaa\n".utf8))
                + block() + zeros
        },
        Case(name: "global headers that exceed the limit together", reason: .extendedHeaderTooLarge,
            limits: TarLimits(extendedBytes: 40)) {
            try pax(Array("30 comment=aaaaaaaaaaaaaaaaaa\n".utf8), flag: "g")
                + pax(Array("30 comment=aaaaaaaaaaaaaaaaaa\n".utf8), flag: "g") + block() + zeros
        },
        Case(name: "seventeen extended headers in a row", reason: .extendedHeader) {
            try (0..<17).flatMap { _ in try pax([]) } + block() + zeros
        },
        Case(name: "extended header without a member", reason: .extendedHeader) { try pax([]) + zeros },
        Case(name: "pax record longer than its header", reason: .extendedHeader) {
            try pax(Array("99 path=x\n".utf8)) + block() + zeros
        },
        Case(name: "pax record of length zero", reason: .extendedHeader) {
            try pax(Array("0 path=x\n".utf8)) + block() + zeros
        },
        Case(name: "pax record length of twenty digits", reason: .extendedHeader) {
            try pax(Array("99999999999999999999 path=x\n".utf8)) + block() + zeros
        },
        Case(name: "pax record without newline", reason: .extendedHeader) {
            try pax(Array("10 path=xy".utf8)) + block() + zeros
        },
        Case(name: "NUL in a pax path", reason: .extendedHeader) {
            try pax(Array("11 path=a\0b\n".utf8)) + block() + zeros
        },
        Case(name: "pax path beyond the limit", reason: .nameTooLong) {
            try block(TarHeader(path: String(repeating: "p", count: 5000))) + zeros
        },
        Case(name: "GNU long name beyond the limit", reason: .nameTooLong) {
            try pax(Array(repeating: 0x61, count: 5000), flag: "L") + block() + zeros
        },
        Case(name: "GNU sparse member", reason: .sparse) { try block { $0[156] = UInt8(ascii: "S") } + zeros },
        Case(name: "pax sparse member", reason: .sparse) {
            try pax(Array("22 GNU.sparse.major=1\n".utf8)) + block() + zeros
        },
        Case(name: "more entries than the limit", reason: .tooManyEntries, limits: TarLimits(entries: 100)) {
            try (0..<101).flatMap { _ in try block() } + zeros
        },
        Case(name: "member after the end", reason: .trailingData) { try zeros + block() },
        Case(name: "member after a single zero block", reason: .trailingData) {
            try Array(repeating: 0, count: 512) + block() + zeros
        },
    ]

    @Test(arguments: cases)
    func isRefused(_ item: Case) throws {
        let bytes = try item.make()
        for step in [1, 512, 1 << 20] {
            let error = #expect(throws: ArchiveError.self) {
                _ = try readAll(DripSource(bytes, step: step), limits: item.limits)
            }
            #expect(error?.reason == item.reason, "step \(step): \(String(describing: error))")
        }
    }

    @Test func aMillionEntriesAreRefusedAtTheLimit() throws {
        let block = try Self.block()
        var remaining = 1_000_001
        let source = ClosureSource { buffer in
            guard remaining > 0, buffer.count >= 512 else { return 0 }
            let count = min(buffer.count / 512, remaining)
            for index in 0..<count {
                UnsafeMutableRawBufferPointer(rebasing: buffer[(index * 512)...]).copyBytes(from: block)
            }
            remaining -= count
            return count * 512
        }
        let reader = TarReader(source, limits: TarLimits(entries: 20_000))
        let error = #expect(throws: ArchiveError.self) { while try reader.next() != nil {} }
        #expect(error?.reason == .tooManyEntries)
    }

    /// Seeded, so that a failure can be played again: the parser answers every mutation with members or
    /// a coded error, and terminates.
    @Test func mutatedArchivesNeverCrashTheParser() throws {
        let original = try archive(TarTests.sample)
        var generator = SplitMix64(seed: 0x5EED_7A12)
        var refused = 0
        for _ in 0..<400 {
            var bytes = original
            for _ in 0..<Int.random(in: 1...6, using: &generator) {
                let position = Int.random(in: 0..<bytes.count, using: &generator)
                switch Int.random(in: 0..<4, using: &generator) {
                case 0: bytes[position] = UInt8.random(in: 0...255, using: &generator)
                case 1: bytes.removeSubrange(position..<min(bytes.count, position + 200))
                case 2: bytes.insert(contentsOf: bytes[0..<512], at: position)
                default:
                    // A changed header with a right checksum gets past the first gate.
                    let start = position / 512 * 512
                    guard start + 512 <= bytes.count else { continue }
                    var block = Array(bytes[start..<start + 512])
                    block[Int.random(in: 0..<512, using: &generator)] = UInt8.random(in: 0...255, using: &generator)
                    Self.reseal(&block)
                    bytes.replaceSubrange(start..<start + 512, with: block)
                }
            }
            do {
                _ = try readAll(MemorySource(bytes), limits: TarLimits(entries: 1000, totalBytes: 1 << 24))
            } catch is ArchiveError {
                refused += 1
            }
        }
        #expect(refused > 150)
    }
}
