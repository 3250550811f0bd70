import Base
import HubAudit
import HubCore
import HubStore
import SQLite
import TestSupport
import Testing
import TransparencyLog
import Trust

private let now = Timestamp(seconds: 1_800_000_000)
private let origin = "hub.example.org/audit"

@Suite struct AuditLogTests {
    let directory: TemporaryDirectory
    let signer: Ed25519Signer

    init() throws {
        directory = try TemporaryDirectory()
        signer = try Ed25519Signer(seed: Array(repeating: 1, count: 32))
    }

    private func store() throws -> SQLiteMetadataStore { try SQLiteMetadataStore(path: directory.file("hub.db")) }

    private func add(_ count: Int, to store: some MetadataStore) async throws {
        try await store.commit(
            Commit(
                [], events: (0..<count).map { AuditEvent(.tokenMade, at: now, actor: "test", subject: "token:\($0)") }))
    }

    @Test func everyEventIsProvenAndEveryCheckpointContinuesTheLast() async throws {
        let store = try store()
        let log = try AuditLog(store: store, origin: origin, signer: signer)
        var witness = LogWitness(key: log.key)
        #expect(try await log.latest() == nil)
        try witness.accept(try await log.advance(), proof: [])
        #expect(witness.last?.size == 0)
        for count in [1, 2, 5, 250, 600] {
            let oldSize = witness.last?.size ?? 0
            try await add(count, to: store)
            let note = try await log.advance()
            try witness.accept(note, proof: try await log.consistencyProof(from: oldSize))
            #expect(witness.last?.size == oldSize + Int64(count))
        }
        let checkpoint = try #require(witness.last)
        for event in try await store.events(from: 0, limit: 1000) where event.index % 61 == 0 || event.index > 850 {
            try MerkleTree.verifyInclusion(
                leaf: MerkleTree.leafHash(event.bytes), index: event.index, size: checkpoint.size,
                proof: try await log.inclusionProof(of: event.index), root: checkpoint.root)
        }
        try await log.verify()
        // Nothing new: the same note.
        #expect(try await log.advance() == log.latest()?.note)
    }

    @Test func aRestartGoesOnWhereItWas() async throws {
        let first = try AuditLog(store: try store(), origin: origin, signer: signer)
        try await add(300, to: try store())
        var witness = LogWitness(key: first.key)
        try witness.accept(try await first.advance(), proof: [])
        try await add(300, to: try store())
        let second = try AuditLog(store: try store(), origin: origin, signer: signer)
        try witness.accept(try await second.advance(), proof: try await second.consistencyProof(from: 300))
        #expect(witness.last?.size == 600)
        try await second.verify()
    }

    @Test func twoProcessesMakeOneLog() async throws {
        let logs = try (0..<2).map { _ in try AuditLog(store: try store(), origin: origin, signer: signer) }
        var witness = LogWitness(key: logs[0].key)
        for round in 0..<6 {
            try await add(7, to: try store())
            let log = logs[round % 2]
            let note: [UInt8]
            do {
                note = try await log.advance()
            } catch let error as HubStoreError where error.reason == .conflict {
                note = try await log.advance()
            }
            let size = witness.last?.size ?? 0
            try witness.accept(note, proof: size == 0 ? [] : try await log.consistencyProof(from: size))
        }
        #expect(witness.last?.size == 42)
    }

    @Test func aChangedEventIsFoundOut() async throws {
        let log = try AuditLog(store: try store(), origin: origin, signer: signer)
        try await add(20, to: try store())
        try await log.advance()
        let raw = try Connection(path: directory.file("hub.db"))
        try raw.run("UPDATE event SET body = ? WHERE idx = 7", .blob(Array("forged".utf8)))
        let error = await #expect(throws: LogError.self) { try await log.verify() }
        #expect(error?.reason == .treeDamaged)
    }

    @Test func aRemovedEventIsFoundOut() async throws {
        let log = try AuditLog(store: try store(), origin: origin, signer: signer)
        try await add(20, to: try store())
        try await log.advance()
        let raw = try Connection(path: directory.file("hub.db"))
        try raw.run("DELETE FROM event WHERE idx = 7")
        let error = await #expect(throws: LogError.self) { try await log.verify() }
        #expect(error?.reason == .treeDamaged)
    }

    @Test func aChangedTileIsFoundOutAtTheNextStart() async throws {
        let log = try AuditLog(store: try store(), origin: origin, signer: signer)
        try await add(20, to: try store())
        try await log.advance()
        let raw = try Connection(path: directory.file("hub.db"))
        try raw.run("UPDATE record SET body = zeroblob(640) WHERE kind = 'audit-tile'")
        let restarted = try AuditLog(store: try store(), origin: origin, signer: signer)
        let error = await #expect(throws: LogError.self) { try await restarted.advance() }
        #expect(error?.reason == .treeDamaged)
    }

    @Test func aHistoryThatWasRewrittenDoesNotPassAWitness() async throws {
        let log = try AuditLog(store: try store(), origin: origin, signer: signer)
        try await add(20, to: try store())
        var witness = LogWitness(key: log.key)
        try witness.accept(try await log.advance(), proof: [])
        // A hub that starts again with other events, under the same key.
        let forked = try SQLiteMetadataStore(path: directory.file("forked.db"))
        try await forked.commit(
            Commit([], events: (0..<30).map { AuditEvent(.tokenMade, at: now, actor: "x", subject: "\($0)") }))
        let other = try AuditLog(store: forked, origin: origin, signer: signer)
        let note = try await other.advance()
        let proof = try await other.consistencyProof(from: 20)
        let error = #expect(throws: LogError.self) { try witness.accept(note, proof: proof) }
        #expect(error?.reason == .proofInvalid)
        #expect(witness.last?.size == 20)
        // Nor does a log that became shorter.
        let short = try SQLiteMetadataStore(path: directory.file("short.db"))
        try await short.commit(Commit([], events: [AuditEvent(.tokenMade, at: now, actor: "x", subject: "1")]))
        let shortNote = try await AuditLog(store: short, origin: origin, signer: signer).advance()
        #expect(throws: LogError.self) { try witness.accept(shortNote, proof: []) }
    }

    @Test func aPowerCutAtAnyOperationLeavesAnEarlierCheckpoint() async throws {
        for target in 1...6 {
            let directory = try TemporaryDirectory()
            let path = directory.file("hub.db")
            try await add(5, to: try SQLiteMetadataStore(path: path))
            let plan = CutAfter(target)
            var witness: LogWitness?
            if let store = try? SQLiteMetadataStore(path: path, monitor: plan.monitor) {
                let log = try AuditLog(store: store, origin: origin, signer: signer)
                witness = LogWitness(key: log.key)
                for _ in 0..<3 {
                    guard let note = try? await log.advance() else { break }
                    let size = witness?.last?.size ?? 0
                    let proof = size == 0 ? [] : try await log.consistencyProof(from: size)
                    try witness?.accept(note, proof: proof)
                    guard (try? await add(4, to: store)) != nil else { break }
                }
            }
            let store = try SQLiteMetadataStore(path: path)
            let log = try AuditLog(store: store, origin: origin, signer: signer)
            let note = try await log.advance()
            let size = witness?.last?.size ?? 0
            let proof = size == 0 ? [] : try await log.consistencyProof(from: size)
            try witness?.accept(note, proof: proof)
            try await log.verify()
        }
    }
}
