import Base
import Glibc
import Trust

/// Refreshes from a repository folder and looks up every path of a list; prints CPU seconds and peak memory in KiB,
/// as `Tests/Conformance/interop.py time` does for python-tuf. With a folder both keep there what they verified.
@main
struct TrustBench {
    static func main() async throws {
        let arguments = CommandLine.arguments
        guard (4...5).contains(arguments.count) else {
            print("usage: trust-bench REPO ROOT LIST [FOLDER]")
            exit(64)
        }
        let fileSystem = FileSystem()
        let root = try fileSystem.read(arguments[2], limit: 1 << 20)
        let listing = try fileSystem.read(arguments[3], limit: 64 << 20)
        let paths = listing.split(separator: 0x0A).map { String(decoding: $0, as: UTF8.self) }
        // CPU time, so that other work on the machine does not count; like python-tuf's, without starting the program.
        let start = clock()
        try await lookUp(
            paths, in: arguments[1] + "/metadata", trusting: root, keeping: arguments.dropFirst(4).first)
        print("\(Double(clock() - start) / Double(CLOCKS_PER_SEC)) \(peakKiB())")
    }

    private nonisolated static func lookUp(
        _ paths: [String], in folder: String, trusting root: [UInt8], keeping: String?
    ) async throws {
        var client = try UpdateClient(
            trusted: TrustedMetadata(root: root), fetcher: DirectoryFetcher(folder), now: SystemClock.live.now()
        ) { role, bytes in
            if let keeping, let bytes { try keep(bytes, as: "\(keeping)/\(MetadataName.encoded(role)).json") }
        }
        try await client.refresh()
        for path in paths {
            guard try await client.find(path) != nil else {
                print("\(path) is not found")
                exit(1)
            }
        }
    }

    /// As python-tuf keeps a file: written beside its name and renamed, without a sync.
    private nonisolated static func keep(_ bytes: [UInt8], as path: String) throws {
        let temporary = path + ".new"
        let descriptor = open(temporary, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0o600)
        guard descriptor >= 0, write(descriptor, bytes, bytes.count) == bytes.count, close(descriptor) == 0,
            rename(temporary, path) == 0
        else { throw FileSystemError(operation: "keep", path: path, errno: errno) }
    }

    /// `VmHWM`: the highest resident size of this process.
    private static func peakKiB() -> Int {
        let status = (try? ReadableFile(path: "/proc/self/status").readAll(limit: 1 << 16)) ?? []
        let line = String(decoding: status, as: UTF8.self).split(separator: "\n").first { $0.hasPrefix("VmHWM:") }
        return line.flatMap { Int($0.split(separator: " ").dropLast().last ?? "") } ?? 0
    }
}
