import ArgumentParser
import Base
import CLISupport
import Glibc
import ImageDelta
import ImageDeltaCreate
import Model
import Synchronization

/// `holdfast delta`: image deltas on plain layer tars.
struct DeltaCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "delta",
        abstract: "Make, apply and look into image deltas.",
        discussion: """
            A delta turns the layers a device has into a new layer, byte for byte. Layers are uncompressed tar files; \
            to apply, the folder a layer was extracted to does as well.

            Examples:
              holdfast delta create old.tar new.tar -o update.hfdelta
              holdfast delta apply update.hfdelta --base old.tar -o new.tar
              holdfast delta inspect update.hfdelta
            """,
        subcommands: [DeltaCreateCommand.self, DeltaApplyCommand.self, DeltaInspectCommand.self])
}

struct DeltaCreateCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "create", abstract: "Make a delta from old layers to a new one.",
        discussion: """
            Efforts 1 to 3 are quick, 4 to 9 find every match. Up to 7 a gzip file that costs a device much time to make \
            from its content and saves little is sent as it is; 8 and 9 always take the smaller delta.

            Example: holdfast delta create base.tar app-1.tar app-2.tar -o app-2.hfdelta --effort 9
            """)

    @OptionGroup var output: OutputOptions
    @Argument(help: "Old layers as tar files, lowest first, then the new layer.")
    var layers: [String]
    @Option(name: [.customShort("o"), .customLong("out")], help: "The delta to write.")
    var destination: String
    @Option(help: "1 (fast) to 9 (small).")
    var effort = 7
    @Flag(help: "Leave out what rebuilds tar headers from extracted files.")
    var withoutHeaders = false

    func validate() throws {
        guard !layers.isEmpty else { throw ValidationError("name the new layer") }
        guard Effort(effort) != nil else { throw ValidationError("--effort is 1 to 9, not \(effort)") }
    }

    func run() async throws {
        let console = output.console
        let progress = DeltaProgress(Progress(console))
        let processors = max(1, min(16, Int(sysconf(Int32(_SC_NPROCESSORS_ONLN)))))
        let creator = DeltaCreate(
            effort: Effort(effort) ?? .standard, width: processors, carriesHeaders: !withoutHeaders,
            progress: { progress.show($0) })
        let result = try await creator.run(
            bases: Array(layers.dropLast()), new: layers[layers.count - 1], output: destination)
        progress.finish()
        let full = result.header.targetSize
        console.result(
            .object([
                "delta": .string(destination), "size": .integer(result.size),
                "target": .string(result.header.targetDiffID.description), "targetSize": .integer(full),
                "bases": .array(result.header.bases.map { .string($0.diffID.description) }),
            ])
        ) {
            "\(destination): \(ByteCount(result.size)) for a layer of \(ByteCount(full)) "
                + "(\(result.header.targetDiffID.short))"
        }
    }
}

/// Shows the stages of a creation.
private final class DeltaProgress: Sendable {
    private let progress: Progress
    private let stage = Mutex(0)

    init(_ progress: Progress) { self.progress = progress }

    func show(_ event: DeltaCreate.Stage) {
        switch event {
        case .matching: progress.start("matching files")
        case .aligning(let done, let count):
            begin(1, "aligning files", total: Int64(count), unit: .items)
            progress.update(Int64(done))
        case .encoding(let done, let total):
            begin(2, "encoding", total: total, unit: .bytes)
            progress.update(done)
        }
    }

    private func begin(_ number: Int, _ name: String, total: Int64, unit: Progress.Unit) {
        stage.withLock { current in
            guard current < number else { return }
            current = number
            progress.start(name, total: total, unit: unit)
        }
    }

    func finish() { progress.finish() }
}

struct DeltaApplyCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "apply", abstract: "Make the new layer from a delta and the old layers.",
        discussion: """
            An interrupted run goes on where it stopped when it is started again with the same arguments.

            Example: holdfast delta apply app-2.hfdelta --base base.tar --base /var/lib/layers/app-1 -o app-2.tar
            """)

    @OptionGroup var output: OutputOptions
    @Argument(help: "The delta.")
    var delta: String
    @Option(name: .customLong("base"), parsing: .upToNextOption, help: "Old layers, lowest first: tar files or folders.")
    var bases: [String] = []
    @Option(
        name: .customLong("headers"), parsing: .upToNextOption,
        help: "Header lists for the folders among the old layers, in their order, when the delta has none.")
    var headers: [String] = []
    @Option(name: [.customShort("o"), .customLong("out")], help: "The layer to write.")
    var destination: String

    func run() async throws {
        let console = output.console
        let progress = Progress(console)
        let opened = try DeltaApply(path: delta)
        let fileSystem = FileSystem()
        let scratch = destination + ".headers"
        try fileSystem.makeDirectories(scratch, mode: 0o700, op: "delta.apply")
        defer { try? fileSystem.removeTree(scratch, op: "delta.apply") }
        let base = try BaseAssembly(delta: opened, scratch: scratch).open(try locations(fileSystem))
        progress.start("checking the base", total: opened.header.usedSize)
        try BaseCheck(header: opened.header).verify(base) { progress.update($0) }
        progress.start("applying", total: opened.header.targetSize)
        let outcome = try DeltaFileOutput(path: destination).run(opened, base: base) { progress.update($0) }
        progress.finish()
        console.result(
            .object([
                "layer": .string(destination), "size": .integer(outcome.size),
                "diffID": .string(opened.header.targetDiffID.description),
                "resumedBytes": .integer(outcome.resumedBytes),
            ])
        ) {
            let resumed =
                outcome.resumedChapters > 0 ? ", \(ByteCount(outcome.resumedBytes)) of it from an earlier run" : ""
            return "\(destination): \(ByteCount(outcome.size)), \(opened.header.targetDiffID)\(resumed)"
        }
    }

    private func locations(_ fileSystem: FileSystem) throws -> [BaseAssembly.Location] {
        var lists = headers[...]
        return try bases.map { path in
            guard try fileSystem.status(path)?.kind == .directory else { return .tar(path: path) }
            return .tree(path: path, skeleton: lists.popFirst())
        }
    }
}

struct DeltaInspectCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "inspect", abstract: "Say what a delta makes, from what, and where its bytes go.",
        discussion: "Example: holdfast delta inspect app-2.hfdelta --output json")

    @OptionGroup var output: OutputOptions
    @Argument(help: "The delta.")
    var delta: String

    func run() async throws {
        let summary = try DeltaSummary(delta: try DeltaApply(path: delta))
        output.console.result(json(summary)) { text(summary) }
    }

    private func json(_ summary: DeltaSummary) -> JSONValue {
        let header = summary.header
        let streams = zip(DeltaFormat.Stream.allCases, summary.streamBytes).map { ("\($0)", JSONValue.integer($1)) }
        return .object([
            "formatVersion": .integer(Int64(DeltaFormat.version)),
            "size": .integer(summary.size),
            "target": .object([
                "diffID": .string(header.targetDiffID.description), "size": .integer(header.targetSize),
            ]),
            "bases": .array(
                header.bases.map {
                    .object([
                        "diffID": .string($0.diffID.description), "size": .integer($0.size),
                        "headerRecipeBytes": .integer($0.recipe.byteCount),
                        "appliesToExtractedFiles": .bool($0.recipe != .absent),
                    ])
                }),
            "usedBaseBytes": .integer(header.usedSize),
            "chapters": .integer(Int64(summary.chapters)),
            "largestChapterBytes": .integer(summary.largestChapter),
            "streams": .object(Dictionary(uniqueKeysWithValues: streams)),
        ])
    }

    private func text(_ summary: DeltaSummary) -> String {
        let header = summary.header
        var lines = [
            "Delta     \(ByteCount(summary.size)), format \(DeltaFormat.version), \(summary.chapters) chapters",
            "Makes     \(header.targetDiffID), \(ByteCount(header.targetSize))",
        ]
        for base in header.bases {
            let note = base.recipe == .absent ? ", as a tar or with its headers" : ", as a tar or extracted"
            lines.append("From      \(base.diffID), \(ByteCount(base.size))\(note)")
        }
        lines.append("Reads     \(ByteCount(header.usedSize)) of the base")
        for (stream, bytes) in zip(DeltaFormat.Stream.allCases, summary.streamBytes) where bytes > 0 {
            lines.append("\(stream)".prefix(1).uppercased() + "\(stream)".dropFirst()
                + String(repeating: " ", count: 10 - "\(stream)".count) + ByteCount(bytes).description)
        }
        return lines.joined(separator: "\n")
    }
}
