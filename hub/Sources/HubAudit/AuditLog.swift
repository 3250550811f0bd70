import Base
import HubCore
import HubStore
import TransparencyLog
import Trust

/// The hub's audit log: the store's events as leaves of a Merkle tree, with signed checkpoints.
///
/// Events are committed together with what they tell of; the tree follows them. Its tiles and its checkpoint
/// are one commit, so a checkpoint never covers an event or a hash that could be lost, and a crash leaves the
/// log at an earlier checkpoint, from which it goes on.
public actor AuditLog {
    /// Events of one step.
    static let batch = 1_000
    static let checkpointKey = RecordKey(.checkpoint, "latest")

    private let store: any MetadataStore
    private let signer: any Signer
    public nonisolated let key: LogKey
    private var state: State?

    private struct State {
        var note: [UInt8]
        var checkpoint: Checkpoint
        /// Version of the checkpoint's record; nil while there is none.
        var version: Int64?
    }

    /// - Parameter origin: the log's name, a URL without scheme such as `hub.example.org/audit`.
    public init(store: any MetadataStore, origin: String, signer: some Signer) throws {
        self.store = store
        self.signer = signer
        key = try LogKey(name: origin, publicKey: signer.publicKey)
    }

    /// Takes in every event that the store has, and signs a checkpoint of them. Answers the signed note.
    ///
    /// - Throws: `log.tree-damaged` when stored hashes do not make the signed root, or events that were covered
    ///   are gone; `hub-store.conflict` when another hub process did the same at this moment (call again).
    @discardableResult
    public func advance() async throws -> [UInt8] {
        var current = try await load()
        while true {
            let events = try await store.events(from: current.checkpoint.size, limit: Self.batch)
            guard !events.isEmpty else {
                if current.version != nil { return current.note }
                current = try await save([:], size: 0, root: MerkleTree.emptyRoot, over: current)
                return current.note
            }
            guard events.enumerated().allSatisfy({ $1.index == current.checkpoint.size + Int64($0) }) else {
                throw LogError(.treeDamaged, "events from \(current.checkpoint.size)", "are not all there")
            }
            let leaves = events.map { MerkleTree.leafHash($0.bytes) }
            let size = current.checkpoint.size
            let changed = LogTiles.append(leaves, oldSize: size, last: try await lastTiles(size: size))
            let reader = LogReader(size: size + Int64(leaves.count)) { [store] position in
                if let tile = changed[position] { return tile }
                return try await Self.tile(position, in: store)
            }
            current = try await save(changed, size: reader.size, root: try await reader.root(), over: current)
        }
    }

    private func save(
        _ tiles: [LogTiles.Position: [Digest]], size: Int64, root: Digest, over current: State
    ) async throws -> State {
        let checkpoint = Checkpoint(origin: key.name, size: size, root: root)
        let note = try checkpoint.signed(by: signer).bytes
        var writes = tiles.sorted { $0.key < $1.key }.map { position, hashes in
            Commit.Write.put(Self.key(position), body: hashes.flatMap(\.bytes), expecting: .any)
        }
        // The checkpoint's version guards the tiles: of two writers one finds it changed.
        writes.append(
            .put(Self.checkpointKey, body: note, expecting: current.version.map { .version($0) } ?? .absent))
        do {
            let receipt = try await store.commit(Commit(writes))
            let next = State(note: note, checkpoint: checkpoint, version: receipt.sequence)
            state = next
            return next
        } catch {
            // Whether it was written or not, the next call reads what is there.
            state = nil
            throw error
        }
    }

    private func load() async throws -> State {
        if let state { return state }
        guard let record = try await store.get([Self.checkpointKey])[Self.checkpointKey] else {
            let empty = Checkpoint(origin: key.name, size: 0, root: MerkleTree.emptyRoot)
            return State(note: [], checkpoint: empty, version: nil)
        }
        let checkpoint = try Checkpoint(verifying: record.body, by: key)
        guard try await reader(size: checkpoint.size).root() == checkpoint.root else {
            throw LogError(.treeDamaged, "audit tree", "its hashes do not make the signed root")
        }
        let loaded = State(note: record.body, checkpoint: checkpoint, version: record.version)
        state = loaded
        return loaded
    }

    // MARK: Reading

    /// The last signed note; nil before the first ``advance()``.
    public func latest() async throws -> (note: [UInt8], checkpoint: Checkpoint)? {
        let current = try await load()
        return current.version == nil ? nil : (current.note, current.checkpoint)
    }

    /// That event `index` is in the log of `size` events (nil: of the last checkpoint).
    public func inclusionProof(of index: Int64, at size: Int64? = nil) async throws -> [Digest] {
        try await reader(size: load().checkpoint.size).inclusionProof(of: index, at: size)
    }

    /// That the log of `newSize` events (nil: of the last checkpoint) begins with the log of `oldSize`.
    public func consistencyProof(from oldSize: Int64, to newSize: Int64? = nil) async throws -> [Digest] {
        try await reader(size: load().checkpoint.size).consistencyProof(from: oldSize, to: newSize)
    }

    /// Reads every covered event again and throws unless they make the signed root.
    public func verify() async throws {
        let checkpoint = try await load().checkpoint
        var tiles: [LogTiles.Position: [Digest]] = [:]
        var size: Int64 = 0
        while size < checkpoint.size {
            let limit = Int(min(Int64(Self.batch), checkpoint.size - size))
            let events = try await store.events(from: size, limit: limit)
            guard !events.isEmpty, events.enumerated().allSatisfy({ $1.index == size + Int64($0) }) else {
                throw LogError(.treeDamaged, "event \(size)", "is missing")
            }
            let last = Self.lastPositions(size: size).compactMapValues { tiles[$0] }
            tiles.merge(
                LogTiles.append(events.map { MerkleTree.leafHash($0.bytes) }, oldSize: size, last: last)
            ) { $1 }
            size += Int64(events.count)
        }
        let whole = tiles
        guard try await LogReader(size: size, tile: { whole[$0] ?? [] }).root() == checkpoint.root else {
            throw LogError(.treeDamaged, "audit events", "were changed: they do not make the signed root")
        }
    }

    // MARK: Tiles

    private func reader(size: Int64) -> LogReader {
        LogReader(size: size) { [store] position in try await Self.tile(position, in: store) }
    }

    /// The tiles that are neither empty nor full at a size, by level.
    private static func lastPositions(size: Int64) -> [Int: LogTiles.Position] {
        var positions: [Int: LogTiles.Position] = [:]
        var (count, level) = (size, 0)
        while count > 0 {
            if count % LogTiles.width != 0 {
                positions[level] = LogTiles.Position(level: level, index: count / LogTiles.width)
            }
            count /= LogTiles.width
            level += 1
        }
        return positions
    }

    private func lastTiles(size: Int64) async throws -> [Int: [Digest]] {
        var tiles: [Int: [Digest]] = [:]
        for (level, position) in Self.lastPositions(size: size) {
            let count = Int((size >> Int64(level * LogTiles.height)) % LogTiles.width)
            let tile = try await Self.tile(position, in: store)
            guard tile.count >= count else {
                throw LogError(.treeDamaged, "tile \(level)/\(position.index)", "is too short")
            }
            tiles[level] = Array(tile.prefix(count))
        }
        return tiles
    }

    private static func key(_ position: LogTiles.Position) -> RecordKey {
        RecordKey(.auditTile, "\(position.level)/\(position.index)")
    }

    private static func tile(_ position: LogTiles.Position, in store: any MetadataStore) async throws -> [Digest] {
        let key = key(position)
        let body = try await store.get([key])[key]?.body ?? []
        return stride(from: 0, to: body.count, by: Digest.byteCount).compactMap {
            Digest(bytes: Array(body[$0..<min($0 + Digest.byteCount, body.count)]))
        }
    }
}
