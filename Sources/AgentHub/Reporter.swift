import AgentCore
import Base
import Logging
import HubProtocol
import Model
import Trust

/// Tells the hub what happened here: gathers, numbers, signs and sends, until the hub says that it is durable there.
actor Reporter {
    /// Entries and bytes of one segment; an envelope is larger by a third and its head.
    static let entries = 500
    static let bytes = 96 << 10

    private let environment: HubEnvironment
    private let client: HubClient
    private let signer: Ed25519Signer
    private var lastSummary: JSONValue?
    /// Segments that the hub will never take, since this process began.
    private(set) var lost = 0

    init(environment: HubEnvironment, client: HubClient, signer: Ed25519Signer) {
        self.environment = environment
        self.client = client
        self.signer = signer
    }

    /// Numbers are counted in the standing's epoch; a journal that knows another one lost its count.
    func begin(_ epoch: Int64) async throws {
        if try await environment.journal.reportEpoch() != epoch {
            try await environment.journal.beginReports(epoch: epoch)
        }
    }

    /// Takes in what is new; also while there is no hub. Answers whether anything waits.
    func gather() async throws -> Bool {
        let summary = await environment.summary()
        let isNew = summary != nil && summary != lastSummary
        var entry: JSONValue?
        if isNew, let members = summary?.object {
            entry = .object(
                members.merging(["kind": "state", "at": .string(environment.clock.now().description)]) { $1 })
        }
        let waits = try await environment.journal.gatherReports(state: entry)
        if isNew { lastSummary = summary }
        return waits
    }

    /// Sends what waits, at most one batch; answers whether more waits.
    func send(_ device: String, _ end: HubEnd) async throws -> Bool {
        let signer = signer
        try await environment.journal.cutSegment(entries: Self.entries, bytes: Self.bytes) {
            epoch, sequence, dropped, entries in
            try ReportEnvelope(
                device: device, epoch: epoch, sequence: sequence, dropped: dropped, content: entries
            ).signed(by: signer)
        }
        let segments = try await environment.journal.segments()
        guard !segments.isEmpty else { return false }
        let answer = try await client.report(segments.map(\.envelope), end)
        try await environment.journal.acknowledge(answer.acknowledged)
        var final: [QueuedSegment] = []
        for (place, refusal) in answer.refused where segments.indices.contains(place) && refusal != .ahead {
            final.append(segments[place])
        }
        if !final.isEmpty {
            lost += final.count
            try await environment.journal.discard(final)
            let numbers = final.map { "\($0.epoch)/\($0.sequence)" }.joined(separator: ", ")
            environment.logger.error("the hub refuses report segments for good", metadata: ["segments": "\(numbers)"])
        }
        return try await environment.journal.reportBacklog().segments > 0
    }
}
