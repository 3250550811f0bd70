import Archive
import Base
import TestSupport
import Testing

/// Collects what a writer writes.
final class Collector {
    var bytes: [UInt8] = []
    func write(_ buffer: UnsafeRawBufferPointer) { bytes += buffer }
}

/// A source that hands out at most `step` bytes at a time, so that every boundary falls somewhere.
final class DripSource: ByteSource {
    private let inner: MemorySource
    private let step: Int
    init(_ bytes: [UInt8], step: Int) {
        inner = MemorySource(bytes)
        self.step = step
    }
    func read(into buffer: UnsafeMutableRawBufferPointer) throws -> Int {
        try inner.read(into: UnsafeMutableRawBufferPointer(rebasing: buffer.prefix(step)))
    }
}

func archive(_ members: [(TarHeader, [UInt8])]) throws -> [UInt8] {
    let collector = Collector()
    let writer = TarWriter { collector.write($0) }
    for (header, content) in members {
        var header = header
        header.size = Int64(content.count)
        try writer.add(header, content: content)
    }
    try writer.finish()
    return collector.bytes
}

func readAll(_ source: any ByteSource, limits: TarLimits = TarLimits()) throws -> [(TarHeader, [UInt8])] {
    let reader = TarReader(source, limits: limits)
    var members: [(TarHeader, [UInt8])] = []
    while let header = try reader.next() {
        var content: [UInt8] = []
        try reader.forEachChunk(of: 1000) { content += $0 }
        members.append((header, content))
    }
    return members
}

@Suite struct TarTests {
    static let sample: [(TarHeader, [UInt8])] = [
        (TarHeader(kind: .directory, path: "etc/", mode: 0o755), []),
        (TarHeader(path: "etc/empty"), []),
        (TarHeader(path: "etc/hosts", uid: 5, gid: 6, modified: 1_700_000_000), Array("127.0.0.1\n".utf8)),
        (TarHeader(path: "block", mode: 0o4755), [UInt8](repeating: 7, count: 512)),
        (TarHeader(kind: .symlink, path: "link", linkPath: "etc/hosts"), []),
        (TarHeader(kind: .hardLink, path: "hard", linkPath: "etc/hosts"), []),
        (TarHeader(path: String(repeating: "d/", count: 90) + "deep"), [1, 2, 3]),
        (TarHeader(path: String(repeating: "x", count: 300)), [4]),
        (TarHeader(path: "big-ids", uid: 1 << 31, gid: 1 << 30, modified: -5), [5]),
        (TarHeader(kind: .symlink, path: "long-link", linkPath: String(repeating: "t/", count: 120)), []),
    ]

    @Test(arguments: [1, 7, 511, 512, 513, 100_000])
    func whatIsWrittenIsReadBackHoweverTheBytesFall(step: Int) throws {
        let bytes = try archive(Self.sample)
        let members = try readAll(DripSource(bytes, step: step))
        #expect(members.count == Self.sample.count)
        for ((header, content), (expected, expectedContent)) in zip(members, Self.sample) {
            #expect(header.path == expected.path)
            #expect(header.kind == expected.kind)
            #expect(header.linkPath == expected.linkPath)
            #expect(header.mode == expected.mode)
            #expect(header.uid == expected.uid)
            #expect(header.gid == expected.gid)
            #expect(header.modified == expected.modified)
            #expect(content == expectedContent)
        }
    }

    @Test func spansAddressTheBytesOfEachMember() throws {
        let bytes = try archive(Self.sample)
        var position: Int64 = 0
        for (header, content) in try readAll(MemorySource(bytes)) {
            #expect(header.span.start == position)
            #expect(header.span.content - header.span.block == 512)
            #expect(Array(bytes[Int(header.span.content)..<Int(header.span.contentEnd)]) == content)
            #expect(header.span.end % 512 == 0)
            position = header.span.end
        }
        #expect(position == Int64(bytes.count) - 1024)
    }

    @Test func membersCanBeSkipped() throws {
        let bytes = try archive(Self.sample)
        let reader = TarReader(DripSource(bytes, step: 300), chunk: 512)
        var count = 0
        while let header = try reader.next() {
            count += 1
            if header.path == Array("block".utf8) { #expect(try reader.read(count: 3) == [7, 7, 7]) }
        }
        #expect(count == Self.sample.count)
    }

    @Test func theSameMembersMakeTheSameBytes() throws {
        #expect(try archive(Self.sample) == archive(Self.sample))
    }

    @Test(.enabled(if: Tool.isInstalled("tar"), "GNU tar is not installed"))
    func gnuTarReadsWhatWeWrite() throws {
        let directory = try TemporaryDirectory()
        let path = directory.file("a.tar")
        try FileSystem().replace(path, with: try archive(Self.sample), op: "test")
        let listing = try Tool.run(["tar", "--quoting-style=literal", "--numeric-owner", "-tvf", path])
        #expect(listing.status == 0, "\(listing.output)")
        for (header, _) in Self.sample { #expect(listing.output.contains(header.name ?? "?")) }
        #expect(listing.output.contains("2147483648/1073741824"))
    }

    @Test(.enabled(if: Tool.isInstalled("tar"), "GNU tar is not installed"), arguments: ["gnu", "pax", "ustar", "v7"])
    func weReadWhatGnuTarWrites(format: String) throws {
        let directory = try TemporaryDirectory()
        let fileSystem = FileSystem()
        let tree = directory.file("tree")
        try fileSystem.makeDirectories(tree + "/sub", op: "test")
        let long = String(repeating: "n", count: format == "gnu" || format == "pax" ? 180 : 60)
        try fileSystem.replace("\(tree)/sub/\(long)", with: Array("content".utf8), op: "test")
        try fileSystem.link("\(tree)/sub/\(long)", to: "\(tree)/sub/z-hard", op: "test")
        let path = directory.file("a.tar")
        let made = try Tool.run(["tar", "--format=\(format)", "--sort=name", "-C", tree, "-cf", path, "."])
        #expect(made.status == 0, "\(made.output)")
        let members = try readAll(FileSource(try ReadableFile(path: path)))
        #expect(members.map { $0.0.name } == ["./", "./sub/", "./sub/\(long)", "./sub/z-hard"])
        #expect(members[2].1 == Array("content".utf8))
        #expect(members[3].0.kind == .hardLink)
        #expect(members[3].0.linkPath == members[2].0.path)
    }
}
