import Base

/// A log's hashes in tiles of 256, as C2SP tlog-tiles has them: tile (L, N) holds the hashes of the subtrees of
/// level 8·L numbered from 256·N on. A full tile never changes; only the last of each level grows.
public enum LogTiles {
    public static let height = 8
    public static let width: Int64 = 1 << Int64(height)

    public struct Position: Hashable, Sendable, Comparable {
        /// Tree level divided by 8.
        public var level: Int
        public var index: Int64

        public init(level: Int, index: Int64) {
            self.level = level
            self.index = index
        }
        public static func < (lhs: Self, rhs: Self) -> Bool { (lhs.level, lhs.index) < (rhs.level, rhs.index) }
    }

    /// The tile that a subtree's hash comes from, and which of its hashes.
    static func place(_ node: MerkleTree.Node) -> (tile: Position, range: Range<Int>) {
        let (level, rest) = (node.level / height, node.level % height)
        // First hash of the subtree at the tile's own level.
        let first = node.index << Int64(rest)
        let start = Int(first & (width - 1))
        return (Position(level: level, index: first >> Int64(height)), start..<(start + 1 << rest))
    }

    /// The hash of a whole subtree out of 2^n hashes below it.
    static func root(of hashes: ArraySlice<Digest>) -> Digest {
        var row = Array(hashes)
        while row.count > 1 {
            row = stride(from: 0, to: row.count, by: 2).map { MerkleTree.nodeHash(row[$0], row[$0 + 1]) }
        }
        return row.first ?? MerkleTree.emptyRoot
    }

    /// The tiles that leaves `oldSize..<oldSize + leaves.count` change, whole as they are then.
    ///
    /// - Parameter last: the last tile of each level as it was at `oldSize`, where it was not full.
    public static func append(
        _ leaves: [Digest], oldSize: Int64, last: [Int: [Digest]]
    ) -> [Position: [Digest]] {
        var changed: [Position: [Digest]] = [:]
        var hashes = leaves
        var count = oldSize
        var level = 0
        while !hashes.isEmpty {
            var tile = last[level] ?? []
            var position = Position(level: level, index: count >> Int64(height))
            var above: [Digest] = []
            for hash in hashes {
                tile.append(hash)
                changed[position] = tile
                guard tile.count == Int(width) else { continue }
                above.append(root(of: tile[...]))
                tile = []
                position.index += 1
            }
            hashes = above
            count >>= Int64(height)
            level += 1
        }
        return changed
    }
}

/// Reads a log's hashes and makes proofs of them.
public struct LogReader: Sendable {
    public let size: Int64
    /// The hashes of a tile, at least as many as a tree of ``size`` has there.
    public let tile: @Sendable (LogTiles.Position) async throws -> [Digest]

    public init(size: Int64, tile: @escaping @Sendable (LogTiles.Position) async throws -> [Digest]) {
        self.size = size
        self.tile = tile
    }

    public func root(at size: Int64? = nil) async throws -> Digest {
        let size = size ?? self.size
        guard size >= 0, size <= self.size else { throw LogError(.range, "tree size \(size)", "the log has \(self.size)") }
        return try await hash(MerkleTree.cover(0, size))
    }

    public func inclusionProof(of index: Int64, at size: Int64? = nil) async throws -> [Digest] {
        let size = size ?? self.size
        guard index >= 0, index < size, size <= self.size else {
            throw LogError(.range, "leaf \(index)", "the tree has \(min(size, self.size)) leaves")
        }
        return try await hashes(MerkleTree.inclusionParts(index: index, size: size))
    }

    public func consistencyProof(from oldSize: Int64, to newSize: Int64? = nil) async throws -> [Digest] {
        let newSize = newSize ?? size
        guard oldSize >= 0, oldSize <= newSize, newSize <= size else {
            throw LogError(.range, "tree sizes \(oldSize) and \(newSize)", "the log has \(size)")
        }
        return try await hashes(MerkleTree.consistencyParts(oldSize: oldSize, newSize: newSize))
    }

    private func hashes(_ parts: [MerkleTree.Part]) async throws -> [Digest] {
        var result: [Digest] = []
        for part in parts { result.append(try await hash(part)) }
        return result
    }

    private func hash(_ part: MerkleTree.Part) async throws -> Digest {
        var nodes: [Digest] = []
        for node in part {
            let (position, range) = LogTiles.place(node)
            let hashes = try await tile(position)
            guard range.upperBound <= hashes.count else {
                throw LogError(.treeDamaged, "tile \(position.level)/\(position.index)", "is too short")
            }
            nodes.append(LogTiles.root(of: hashes[range]))
        }
        return MerkleTree.fold(nodes)
    }
}
