import Base
import Glibc
import Testing

/// What the built agent carries. Full Foundation and its ICU add tens of megabytes on a device; an HTTP client with TLS
/// and HTTP/2, which neither the engine's socket nor the tunnel needs, added five.
@Suite struct LinkTests {
    /// The executable beside the test bundle, whose path is among the arguments of whatever runs it.
    static let agent: String? = {
        let link = realpath("/proc/self/exe", nil)
        defer { free(link) }
        let candidates = (link.map { [String(cString: $0)] } ?? []) + CommandLine.arguments
        return candidates.lazy.map { Path.join(Path.parent($0), "holdfast-agent") }.first { access($0, X_OK) == 0 }
    }()

    @Test(
        .enabled(if: LinkTests.agent != nil, "holdfast-agent is not built beside the tests: swift build --build-tests"))
    func theAgentLinksNoFullFoundation() throws {
        let needed = try Self.neededLibraries(of: try #require(Self.agent))
        // A static binary needs none of Swift's; a dynamic one shows that the reading works.
        #expect(needed.contains("libc.so.6"))
        for library in ["libFoundation.so", "lib_FoundationICU.so", "libFoundationInternationalization.so"] {
            #expect(!needed.contains(library))
        }
    }

    @Test(
        .enabled(if: LinkTests.agent != nil, "holdfast-agent is not built beside the tests: swift build --build-tests"))
    func theAgentLinksNoTLSAndNoSecondHTTPClient() throws {
        let names = try Self.symbolNames(of: try #require(Self.agent))
        func contains(_ name: String) -> Bool { names.firstRange(of: Array(name.utf8)) != nil }
        // A module's name within Swift symbols, after its length. The first shows that the reading works.
        #expect(contains("$s9PlainHTTP"))
        for module in ["AsyncHTTPClient", "NIOSSL", "NIOHTTP2", "NIOHPACK", "NIOTLS"] {
            #expect(!contains("$s\(module.utf8.count)\(module)"), "the agent links \(module)")
        }
        #expect(!contains("CNIOBoringSSL_"))
    }

    /// `DT_NEEDED` of an executable.
    private static func neededLibraries(of path: String) throws -> [String] {
        let file = try ELFSections(path: path)
        guard let dynamic = file.sections.first(where: { $0.type == ELFSections.dynamic }) else { return [] }
        let strings = try file.bytes(of: file.sections[dynamic.link])
        let entries = try file.bytes(of: dynamic)
        return stride(from: 0, to: entries.count, by: 16).filter { ELFSections.number(entries, $0, 8) == 1 }.map {
            entry in
            String(
                decoding: strings[ELFSections.number(entries, entry + 8, 8)...].prefix { $0 != 0 }, as: UTF8.self)
        }
    }

    /// All symbols' names, end to end.
    private static func symbolNames(of path: String) throws -> [UInt8] {
        let file = try ELFSections(path: path)
        let symbols = try #require(file.sections.first { $0.type == ELFSections.symbolTable })
        return try file.bytes(of: file.sections[symbols.link])
    }
}

/// The sections of a 64-bit little-endian ELF file. Source: System V ABI, "Object Files" and "Dynamic Linking".
private struct ELFSections {
    static let symbolTable = 2
    static let dynamic = 6

    struct Section {
        var type: Int
        var offset: Int
        var size: Int
        var link: Int
    }
    let sections: [Section]
    private let file: ReadableFile

    init(path: String) throws {
        let file = try ReadableFile(path: path)
        let header = try file.read(at: 0, count: 64)
        #expect(Array(header.prefix(6)) == [0x7F, 0x45, 0x4C, 0x46, 2, 1])
        let table = Self.number(header, 40, 8)
        let entrySize = Self.number(header, 58, 2)
        sections = try (0..<Self.number(header, 60, 2)).map { index in
            let bytes = try file.read(at: Int64(table + index * entrySize), count: 64)
            return Section(
                type: Self.number(bytes, 4, 4), offset: Self.number(bytes, 24, 8), size: Self.number(bytes, 32, 8),
                link: Self.number(bytes, 40, 4))
        }
        self.file = file
    }

    func bytes(of section: Section) throws -> [UInt8] {
        try file.read(at: Int64(section.offset), count: section.size)
    }

    static func number(_ bytes: [UInt8], _ offset: Int, _ count: Int) -> Int {
        bytes[offset..<offset + count].reversed().reduce(0) { $0 << 8 | Int($1) }
    }
}
