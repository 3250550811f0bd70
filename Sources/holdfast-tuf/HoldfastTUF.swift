import ArgumentParser
import Base
import Glibc
import HTTPFetch
import Trust
import TrustHTTP

/// A TUF client by itself, with the command line that the conformance suite for TUF clients drives.
@main
struct HoldfastTUF: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "holdfast-tuf",
        abstract: "Fetch metadata and files from a TUF repository, trusting nothing else.",
        discussion: """
            Exits with 0 when all of it succeeded, else with 1.

            Examples:
              holdfast-tuf --metadata-dir m init root.json
              holdfast-tuf --metadata-dir m --metadata-url https://example.org/m refresh
              holdfast-tuf --metadata-dir m --metadata-url https://example.org/m \\
                  --target-name shop/file --target-base-url https://example.org/t \\
                  --target-dir files download
            """)

    enum Action: String, ExpressibleByArgument, CaseIterable {
        case `init`, refresh, download
    }

    @Option(help: "Folder of trusted metadata.")
    var metadataDir: String

    @Option(help: "Base URL of the repository's metadata.")
    var metadataURL: String?

    @Option(name: .customLong("target-name"), help: "Target path to download; may be repeated.")
    var targetNames: [String] = []

    @Option(name: .customLong("target-base-url"), help: "Base URL of the repository's target files.")
    var targetBaseURL: String?

    @Option(help: "Folder for downloaded files.")
    var targetDir: String?

    @Argument(help: "What to do: init, refresh or download.")
    var action: Action

    @Argument(help: "For init: a file with the root metadata to trust.")
    var trustedRoot: String?

    static func main() async {
        do {
            let command = try parse()
            try await command.perform()
        } catch {
            // Asking for help is no failure; every other way to get here is 1, usage errors too.
            if exitCode(for: error) == .success {
                print(fullMessage(for: error))
                Glibc.exit(0)
            }
            let text = (error as? any CodedError).map(\.description) ?? fullMessage(for: error)
            let line = Array("holdfast-tuf: \(text)\n".utf8)
            _ = write(STDERR_FILENO, line, line.count)
            Glibc.exit(1)
        }
    }

    private func perform() async throws {
        let folder = MetadataFolder(metadataDir)
        switch action {
        case .`init`:
            guard let trustedRoot else { throw ValidationError("init takes the file of the root to trust") }
            try folder.initialize(root: trustedRoot)
        case .refresh: try await withClient(folder) { _, _ in }
        case .download:
            guard !targetNames.isEmpty, let targetBaseURL, let targetDir else {
                throw ValidationError("download takes --target-name, --target-base-url and --target-dir")
            }
            try await withClient(folder) { client, fetcher in
                let targets = TargetFolder(targetDir)
                for name in targetNames {
                    guard let target = try await client.find(name) else {
                        throw TrustError(.targetNotFound, name, "no role of the repository lists it")
                    }
                    if targets.has(target) { continue }
                    let location = target.location(consistentSnapshots: client.usesConsistentSnapshots)
                    let url = URLPath.join(targetBaseURL, MetadataName.encodedPath(location))
                    try await targets.download(target, from: url, by: fetcher)
                }
            }
        }
    }

    /// Refreshes, then hands the client on; the connections are closed whatever happens.
    private func withClient(
        _ folder: MetadataFolder, then body: (inout UpdateClient, HTTPFetcher) async throws -> Void
    ) async throws {
        guard let metadataURL else { throw ValidationError("--metadata-url is needed") }
        let trusted = try folder.load()
        var policy = FetchPolicy()
        policy.userAgent = "holdfast-tuf/1"
        let fetcher = HTTPFetcher(policy: policy)
        do {
            // 5.1: one time for the whole refresh, from the wall clock.
            var client = try UpdateClient(
                trusted: trusted, fetcher: HTTPMetadata(fetcher: fetcher, base: metadataURL),
                now: SystemClock.live.now()
            ) { role, bytes in try folder.keep(role, bytes) }
            try await client.refresh()
            try await body(&client, fetcher)
        } catch {
            try? await fetcher.shutdown()
            throw error
        }
        try await fetcher.shutdown()
    }
}
