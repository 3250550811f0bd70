import ArgumentParser
import Base
import CLISupport
import HubClient
import Model
import OCI
import Operator
import Trust

struct HubReleasesCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "releases", abstract: "List the releases of the hub, and push new ones.",
        discussion: "Example: holdfast hub releases push fleet",
        subcommands: [List.self, Push.self], defaultSubcommand: List.self)

    struct List: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "List the releases that the hub holds.",
            discussion: "Example: holdfast hub releases --output json")
        @OptionGroup var hub: HubOptions
        func run() async throws {
            let items = try await hub.withClient { try await $0.list("/v1/releases") }
            let table = HubText.table(
                items,
                [
                    "app": "app", "version": "version", "ctr": "ctr", "epoch": "epoch", "digest": "digest",
                    "added": "added_at",
                ])
            hub.console.table(table, json: .array(items), empty: "no release")
        }
    }

    struct Push: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Send a repository's releases and signed metadata to the hub.",
            discussion: """
                Only blobs that the hub lacks are sent, and one that was cut short goes on where it stopped. The metadata
                comes last: the hub verifies it and lists nothing that is not whole. No device gets anything by this; that
                is what assign does.

                Example: holdfast hub releases push fleet
                """)

        /// Bytes of one metadata file, and files of one repository.
        static let metadataLimit = 16 << 20
        static let metadataFiles = 2_000

        @OptionGroup var hub: HubOptions
        @Argument(help: ArgumentHelp("The repository's folder.", valueName: "repo")) var repository: String

        func run() async throws {
            let workspace = try Workspace(repository)
            let files = try metadata()
            let (sent, answer) = try await hub.withClient { client -> ((blobs: Int, bytes: Int64), JSONValue) in
                var sent = try await send(try workspace.blobs.list(), of: workspace, client)
                for target in try workspace.repository.publishedReleases() {
                    let path = Self.path(target.digest)
                    guard try await client.uploadOffset(path) != nil else { continue }
                    let document = try workspace.repository.document(of: target)
                    try await client.upload(path, document)
                    sent.blobs += 1
                    sent.bytes += Int64(document.count)
                }
                let answer = try await client.send(
                    .POST, "/v1/repositories/release/metadata", .init(body: ["files": .object(files)]))
                return (sent, answer)
            }
            let added = answer["added"]?.array ?? []
            hub.console.result(
                [
                    "blobs": .integer(Int64(sent.blobs)), "bytes": .integer(sent.bytes),
                    "timestamp": answer["timestamp"] ?? .null, "added": .array(added),
                ]
            ) {
                let names = added.map { "\(HubText.text($0["app"]))/\(HubText.text($0["version"]))" }
                return "pushed \(sent.blobs) blobs, \(ByteCount(sent.bytes)); new releases: "
                    + (names.isEmpty ? "none" : names.joined(separator: ", "))
            }
        }

        private static func path(_ digest: Digest) -> String { "/v1/blobs/sha256/\(digest.hex)" }

        /// The repository's signed metadata as it lies in its folder.
        private func metadata() throws -> [String: JSONValue] {
            let fileSystem = FileSystem()
            let folder = Path.join(repository, "metadata")
            let names = try fileSystem.list(folder, limit: Self.metadataFiles).filter { $0.hasSuffix(".json") }
            var files: [String: JSONValue] = [:]
            for name in names {
                let bytes = try fileSystem.read(Path.join(folder, name), limit: Self.metadataLimit)
                guard let text = String(validating: bytes, as: UTF8.self) else {
                    throw OperatorError(.value, "\(Path.join(folder, name)) is no text")
                }
                files[name] = .string(text)
            }
            return files
        }

        private func send(
            _ blobs: [Release.Blob], of workspace: Workspace, _ client: HubClient
        ) async throws -> (blobs: Int, bytes: Int64) {
            let progress = Progress(hub.console)
            var (count, bytes) = (0, Int64(0))
            for blob in blobs {
                let path = Self.path(blob.digest)
                guard let offered = try await client.uploadOffset(path) else { continue }
                // More than the blob has cannot be the same upload.
                let start = offered < blob.size ? offered : 0
                progress.start("Sending \(blob.digest.short)", total: blob.size)
                let pieces = try FilePieces(workspace.blobs.path(blob.digest), from: start) { done in
                    progress.update(done, total: blob.size)
                }
                try await client.upload(path, pieces, from: start, size: blob.size)
                count += 1
                bytes += blob.size - start
            }
            progress.finish()
            return (count, bytes)
        }
    }
}
