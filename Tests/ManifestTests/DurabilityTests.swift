import TestSupport
import Testing

/// Keeps every change of the disk behind `Base.FileSystem` and `SQLite.Connection`, where crash tests can break it.
@Suite struct DurabilityTests {
    /// Calls that change files, by name.
    private static let calls: Set<String> = [
        "write", "pwrite", "writev", "pwritev", "fsync", "fdatasync", "sync_file_range", "rename", "renameat",
        "renameat2", "unlink", "unlinkat", "rmdir", "mkdir", "mkdirat", "ftruncate", "truncate", "link", "linkat",
        "symlink", "symlinkat", "creat", "fallocate", "posix_fallocate", "fopen", "fwrite", "remove", "mkstemp",
        "copy_file_range", "sendfile", "sqlite3_open", "sqlite3_open_v2",
    ]
    /// The modules whose work that is.
    private static let owners: Set<String> = [
        "Sources/Base/FileSystem.swift", "Sources/Base/Files.swift", "Sources/SQLite/Connection.swift",
    ]
    /// What writes to something that is no file on a disk: terminals, pipes, and names of sockets; and methods of the
    /// same name.
    private static let exempt: Set<String> = [
        "Sources/CLISupport/Console.swift: write", "Sources/CLISupport/ErrorReport.swift: write",
        "Sources/ImageDeltaCreate/DeltaCreate.swift: write", "Sources/CLISupport/Passphrase.swift: write",
        "Sources/ServiceSupport/JSONLogHandler.swift: write", "Sources/holdfast-agent/OrderCommands.swift: write",
        "Sources/holdfast-tuf/HoldfastTUF.swift: write", "Sources/AgentCore/Local/LocalServer.swift: unlink",
        "Sources/WireGuard/UserspaceDaemon.swift: unlink", "Sources/WireGuard/UserspaceDevice.swift: unlink",
        "hub/Sources/HubHTTP/HTTPConnection.swift: write",
        "Sources/PlainHTTP/Exchange.swift: write", "Sources/ImageDelta/DeflateWriter.swift: write",
        "hub/Sources/HubDevices/DeviceDirectory.swift: remove", "hub/Sources/HubReleases/Director.swift: write",
        "hub/Sources/HubServer/SelfSignedCertificate.swift: write",
    ]

    @Test func nothingChangesTheDiskBehindTheMonitorsBack() throws {
        var used: Set<String> = []
        for file in try ["Sources", "hub/Sources"].flatMap({ try Repository.files(under: $0, suffix: ".swift") })
        where !Self.owners.contains(file) {
            for (index, line) in try Repository.text(file).utf8.split(separator: 0x0A, omittingEmptySubsequences: false)
                .enumerated()
            {
                for call in Self.bareCalls(in: Array(line)) {
                    let place = "\(file): \(call)"
                    used.insert(place)
                    #expect(
                        Self.exempt.contains(place),
                        "\(file):\(index + 1) calls \(call)(2) itself; use FileSystem or Connection, with a label")
                }
            }
        }
        #expect(used == Self.exempt, "an exemption is no longer needed: \(Self.exempt.subtracting(used))")
    }

    /// Names that are called with nothing before them, or as `Glibc.…`. The C library's functions do not throw, so a
    /// name after `try` is a Swift function's.
    private static func bareCalls(in line: [UInt8]) -> [String] {
        var names: [String] = []
        for open in line.indices where line[open] == UInt8(ascii: "(") {
            let head = line[..<open]
            let length = head.reversed().prefix { isWord($0) }.count
            let name = String(decoding: head.suffix(length), as: UTF8.self)
            guard calls.contains(name) else { continue }
            let before = String(decoding: head.dropLast(length), as: UTF8.self)
            if before.contains("//") { break }
            guard !["func ", "try ", "case "].contains(where: { before.hasSuffix($0) }) else { continue }
            if before.hasSuffix("."), !before.hasSuffix("Glibc.") { continue }
            names.append(name)
        }
        return names
    }

    private static func isWord(_ byte: UInt8) -> Bool {
        (0x30...0x39).contains(byte) || (0x61...0x7A).contains(byte | 0x20) || byte == 0x5F
    }
}
