import ArgumentParser
import Base
import CLISupport
import HubClient
import Model
import TransparencyLog

struct HubPeersCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "peers", abstract: "List the peers of the hub's tunnel.", discussion: "Example: holdfast hub peers"
    )
    @OptionGroup var hub: HubOptions
    func run() async throws {
        let items = try await hub.withClient { try await $0.list("/v1/peers") }
        hub.console.table(HubText.peers(items), json: .array(items), empty: "no peer")
    }
}

struct HubEventsCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "events", abstract: "Follow what happens, an event a line.",
        discussion: """
            Goes on until it is interrupted, or for --count events. A stream that broke off is taken up after the last
            event that was shown.

            Example: holdfast hub events --from 0 --count 20
            """)

    /// Tries to take a broken stream up again, one after the other.
    private static let tries = 10

    @OptionGroup var hub: HubOptions
    @Option(help: ArgumentHelp("Begin with the event of this number; without it, with the next.", valueName: "number"))
    var from: Int64?
    @Option(help: ArgumentHelp("End after so many events.", valueName: "number")) var count: Int?

    func run() async throws {
        let console = hub.console
        let limit = count ?? .max
        try await hub.withClient { client in
            var (shown, failures) = (0, 0)
            var last: String?
            while shown < limit {
                do {
                    var event = ServerSentEvent()
                    try await client.lines("/v1/events", content(after: last)) { line in
                        guard let complete = event.take(line) else { return }
                        failures = 0
                        last = complete.id
                        Self.show(complete, on: console)
                        shown += 1
                        if shown >= limit { throw CancellationError() }
                    }
                } catch is CancellationError where shown >= limit {
                    return
                } catch let error as HubClientError where error.reason == .connect && failures < Self.tries {
                    console.note("\(error.message); trying again")
                    failures += 1
                    try await SystemClock.live.sleep(.seconds(min(failures, 5)))
                }
            }
        }
    }

    private func content(after last: String?) -> HubClient.Content {
        if let last { return .init(headers: [("Last-Event-ID", last)]) }
        return .init(query: from.map { [("from", String($0))] } ?? [])
    }

    private static func show(_ event: ServerSentEvent.Complete, on console: Console) {
        let document = (try? JSONValue(parsing: Array(event.data.utf8))) ?? .string(event.data)
        console.event(["index": Int64(event.id).map { .integer($0) } ?? .null, "event": document]) {
            HubText.event(event.id, document)
        }
    }
}

/// Puts the lines of a server-sent event together (WHATWG HTML, section 9.2).
struct ServerSentEvent {
    struct Complete: Equatable {
        var id: String
        var data: String
    }
    private var id = ""
    private var data: [String] = []

    /// The whole event, at the empty line that ends it.
    mutating func take(_ line: String) -> Complete? {
        if line.isEmpty {
            defer { data = [] }
            return data.isEmpty ? nil : Complete(id: id, data: data.joined(separator: "\n"))
        }
        func value(_ name: String) -> String? {
            guard line.hasPrefix("\(name):") else { return nil }
            let rest = line.dropFirst(name.count + 1)
            return String(rest.first == " " ? rest.dropFirst() : rest)
        }
        if let value = value("id") { id = value }
        if let value = value("data") { data.append(value) }
        return nil
    }
}

struct HubAuditCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "audit", abstract: "Read the audit log and check that nothing was taken back.",
        discussion: "Example: holdfast hub audit verify --checkpoint last.note",
        subcommands: [Events.self, Checkpoint.self, Verify.self], defaultSubcommand: Events.self)

    struct Events: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "List the events, oldest first.", discussion: "Example: holdfast hub audit events --from 100")
        @OptionGroup var hub: HubOptions
        @Option(help: ArgumentHelp("Begin with the event of this number.", valueName: "number")) var from: Int64 = 0
        func run() async throws {
            try await hub.withClient { client in
                try await AuditPages(client).each(from: from) { index, event in
                    hub.console.event(["index": .integer(index), "event": event]) { HubText.event("\(index)", event) }
                }
            }
        }
    }

    struct Checkpoint: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Print the log's signed checkpoint (C2SP tlog-checkpoint).",
            discussion: "Example: holdfast hub audit checkpoint > last.note")
        @OptionGroup var hub: HubOptions
        func run() async throws {
            let note = String(
                decoding: try await hub.withClient { try await $0.data(.GET, "/v1/audit/checkpoint") }, as: UTF8.self)
            hub.console.result(["checkpoint": .string(note)]) { note }
        }
    }

    struct Verify: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Read all events again and check them against the signed checkpoint.",
            discussion: """
                Computes the log's root from the events themselves. With an earlier checkpoint it is also checked that the
                log begins with what that one covered; the file is then replaced by the new one. Exit status 76 when the
                log does not hold.

                Example: holdfast hub audit verify --checkpoint last.note
                """)
        @OptionGroup var hub: HubOptions
        @Option(help: ArgumentHelp("The checkpoint of the last time; made when it is not there.", valueName: "file"))
        var checkpoint: String?
        @Option(help: ArgumentHelp("The log's verifier key; without it the hub is asked.", valueName: "key"))
        var key: String?

        func run() async throws {
            let fileSystem = FileSystem()
            let (note, size, root) = try await hub.withClient { client in
                let key = try LogKey(parsing: try await key(client))
                let note = try await client.data(.GET, "/v1/audit/checkpoint")
                let current = try TransparencyLog.Checkpoint(verifying: note, by: key)
                try await checkEvents(client, current)
                if let checkpoint, try fileSystem.status(checkpoint) != nil {
                    let earlier = try TransparencyLog.Checkpoint(
                        verifying: try fileSystem.read(checkpoint, limit: SignedNote.sizeLimit), by: key)
                    var witness = LogWitness(key: key, last: earlier)
                    try witness.accept(note, proof: try await proof(client, earlier.size, current.size))
                }
                return (note, current.size, current.root)
            }
            if let checkpoint { try fileSystem.replace(checkpoint, with: note, op: "audit.checkpoint") }
            hub.console.result(["size": .integer(size), "root": .string(root.hex), "verified": true]) {
                "verified: \(size) events, root \(root.hex.prefix(16))"
            }
        }

        private func key(_ client: HubClient) async throws -> String {
            if let key { return key }
            guard let text = try await client.send(.GET, "/v1/audit/key")["key"]?.string else {
                throw HubClientError(.answer, "the hub names no key of its log")
            }
            hub.console.note("the log's key is \(text); give it with --key from now on")
            return text
        }

        private func proof(_ client: HubClient, _ from: Int64, _ to: Int64) async throws -> [Digest] {
            guard from > 0, from < to else { return [] }
            let answer = try await client.send(
                .GET, "/v1/audit/consistency", .init(query: [("from", "\(from)"), ("to", "\(to)")]))
            return try (answer["proof"]?.array ?? []).map { value in
                guard let digest = value.string.flatMap({ Hex.decode($0) }).flatMap({ Digest(bytes: $0) }) else {
                    throw HubClientError(.answer, "the proof has an entry that is no SHA-256")
                }
                return digest
            }
        }

        /// The root, computed from every event. A proof by the hub would only say what the hub says.
        private func checkEvents(_ client: HubClient, _ checkpoint: TransparencyLog.Checkpoint) async throws {
            let progress = Progress(hub.console)
            progress.start("Reading the log", total: checkpoint.size, unit: .items)
            var range = CompactRange()
            try await AuditPages(client).each(from: 0, to: checkpoint.size) { index, event in
                guard index == range.size else {
                    throw LogError(.proofInvalid, "audit log", "event \(range.size) is missing")
                }
                range.append(MerkleTree.leafHash(try event.serialized(.canonical)))
                progress.update(range.size, total: checkpoint.size)
            }
            progress.finish()
            guard range.size == checkpoint.size, range.root == checkpoint.root else {
                throw LogError(
                    .proofInvalid, "audit log",
                    "its \(range.size) events do not make the root that the hub signed for \(checkpoint.size)")
            }
        }
    }
}

/// The audit log's events, page after page.
struct AuditPages {
    private static let page: Int64 = 500
    private let client: HubClient

    init(_ client: HubClient) { self.client = client }

    func each(from start: Int64, to end: Int64 = .max, _ take: (Int64, JSONValue) throws -> Void) async throws {
        var next = start
        while next < end {
            let answer = try await client.send(
                .GET, "/v1/audit/events",
                .init(query: [("from", "\(next)"), ("limit", "\(min(Self.page, end - next))")]))
            let items = answer["items"]?.array ?? []
            for item in items {
                guard let index = item["index"]?.integer, index >= next, let event = item["event"] else {
                    throw HubClientError(.answer, "the hub's log goes backwards")
                }
                try take(index, event)
                next = index + 1
            }
            if items.isEmpty || answer["next"]?.integer == nil { return }
        }
    }
}

/// The roots of the complete subtrees that a growing Merkle tree (RFC 6962) is made of.
struct CompactRange {
    private(set) var size: Int64 = 0
    private var roots: [Digest] = []

    mutating func append(_ leaf: Digest) {
        var node = leaf
        var rest = size
        while rest & 1 == 1, let left = roots.popLast() {
            node = MerkleTree.nodeHash(left, node)
            rest >>= 1
        }
        roots.append(node)
        size += 1
    }

    var root: Digest {
        guard var node = roots.last else { return MerkleTree.emptyRoot }
        for left in roots.dropLast().reversed() { node = MerkleTree.nodeHash(left, node) }
        return node
    }
}
