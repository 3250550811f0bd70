import Base
import Glibc
import Testing

/// What the built agent asks the dynamic linker for. Full Foundation and its ICU add tens of megabytes on a device.
@Suite struct LinkTests {
    /// The executable beside the test bundle, whose path is among the arguments of whatever runs it.
    private static let agent: String? = {
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

    /// `DT_NEEDED` of a 64-bit little-endian ELF file. Source: System V ABI, "Object Files" and "Dynamic Linking".
    private static func neededLibraries(of path: String) throws -> [String] {
        let file = try ReadableFile(path: path)
        func number(_ bytes: [UInt8], _ offset: Int, _ count: Int) -> Int {
            bytes[offset..<offset + count].reversed().reduce(0) { $0 << 8 | Int($1) }
        }
        let header = try file.read(at: 0, count: 64)
        #expect(Array(header.prefix(6)) == [0x7F, 0x45, 0x4C, 0x46, 2, 1])
        let table = number(header, 40, 8)
        let entrySize = number(header, 58, 2)
        func section(_ index: Int) throws -> (type: Int, offset: Int, size: Int, link: Int) {
            let bytes = try file.read(at: Int64(table + index * entrySize), count: 64)
            return (number(bytes, 4, 4), number(bytes, 24, 8), number(bytes, 32, 8), number(bytes, 40, 4))
        }
        for index in 0..<number(header, 60, 2) {
            let dynamic = try section(index)
            guard dynamic.type == 6 else { continue }
            let names = try section(dynamic.link)
            let strings = try file.read(at: Int64(names.offset), count: names.size)
            let entries = try file.read(at: Int64(dynamic.offset), count: dynamic.size)
            return stride(from: 0, to: entries.count, by: 16).filter { number(entries, $0, 8) == 1 }.map { entry in
                String(decoding: strings[number(entries, entry + 8, 8)...].prefix { $0 != 0 }, as: UTF8.self)
            }
        }
        return []
    }
}
