import Base
import Glibc
import Trust

/// Refreshes from a repository folder and looks up every path of a list; prints CPU seconds and peak memory in KiB,
/// as `Tests/Conformance/interop.py time` does for python-tuf.
@main
struct TrustBench {
    static func main() async throws {
        let arguments = CommandLine.arguments
        guard arguments.count == 4 else {
            print("usage: trust-bench REPO ROOT LIST")
            exit(64)
        }
        let fileSystem = FileSystem()
        let root = try fileSystem.read(arguments[2], limit: 1 << 20)
        let listing = try fileSystem.read(arguments[3], limit: 64 << 20)
        let paths = String(decoding: listing, as: UTF8.self).split(separator: "\n").map(String.init)
        try await lookUp(paths, in: arguments[1] + "/metadata", trusting: root)
        // CPU time of the whole process, so that other work on the machine does not count.
        print("\(Double(clock()) / Double(CLOCKS_PER_SEC)) \(peakKiB())")
    }

    private nonisolated static func lookUp(_ paths: [String], in folder: String, trusting root: [UInt8]) async throws {
        var client = try UpdateClient(
            trusted: TrustedMetadata(root: root), fetcher: DirectoryFetcher(folder), now: SystemClock.live.now()
        ) { _, _ in }
        try await client.refresh()
        for path in paths {
            guard try await client.find(path) != nil else {
                print("\(path) is not found")
                exit(1)
            }
        }
    }

    /// `VmHWM`: the highest resident size of this process.
    private static func peakKiB() -> Int {
        let status = (try? ReadableFile(path: "/proc/self/status").readAll(limit: 1 << 16)) ?? []
        let line = String(decoding: status, as: UTF8.self).split(separator: "\n").first { $0.hasPrefix("VmHWM:") }
        return line.flatMap { Int($0.split(separator: " ").dropLast().last ?? "") } ?? 0
    }
}
