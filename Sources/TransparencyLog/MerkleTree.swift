import Base

/// The hashes of RFC 6962 section 2.1, and its proofs.
public enum MerkleTree {
    /// Hashes of a proof: a tree of 2^62 leaves has no longer ones.
    public static let proofLimit = 128

    /// `SHA-256(0x00 || leaf)`.
    public static func leafHash(_ leaf: [UInt8]) -> Digest {
        var hasher = SHA256Hasher()
        hasher.update([0])
        hasher.update(leaf)
        return hasher.finish()
    }

    /// `SHA-256(0x01 || left || right)`.
    public static func nodeHash(_ left: Digest, _ right: Digest) -> Digest {
        var hasher = SHA256Hasher()
        hasher.update([1])
        hasher.update(left.bytes)
        hasher.update(right.bytes)
        return hasher.finish()
    }

    /// The root of a tree without leaves: the hash of nothing.
    public static let emptyRoot = Digest.sha256([])

    // MARK: Verifying

    /// Checks that a leaf is number `index` of the tree of `size` leaves with this root.
    /// Source: RFC 9162 section 2.1.3.2.
    public static func verifyInclusion(
        leaf: Digest, index: Int64, size: Int64, proof: [Digest], root: Digest
    ) throws(LogError) {
        let invalid = LogError(.proofInvalid, "inclusion of leaf \(index)", "not in the tree of \(size) leaves")
        guard index >= 0, index < size, proof.count <= proofLimit else { throw invalid }
        var (node, last) = (index, size - 1)
        var hash = leaf
        for sibling in proof {
            guard last > 0 else { throw invalid }
            if node & 1 == 1 || node == last {
                hash = nodeHash(sibling, hash)
                while node & 1 == 0, node != 0 {
                    node >>= 1
                    last >>= 1
                }
            } else {
                hash = nodeHash(hash, sibling)
            }
            node >>= 1
            last >>= 1
        }
        guard last == 0, hash == root else { throw invalid }
    }

    /// Checks that the tree of `newSize` leaves begins with the tree of `oldSize`: nothing was changed or removed.
    /// Source: RFC 9162 section 2.1.4.2.
    public static func verifyConsistency(
        oldSize: Int64, oldRoot: Digest, newSize: Int64, newRoot: Digest, proof: [Digest]
    ) throws(LogError) {
        let invalid = LogError(
            .proofInvalid, "consistency", "the log of \(newSize) leaves does not begin with the log of \(oldSize)")
        guard oldSize >= 0, oldSize <= newSize, proof.count <= proofLimit else { throw invalid }
        if oldSize == newSize || oldSize == 0 {
            guard proof.isEmpty, oldSize == 0 ? oldRoot == emptyRoot : oldRoot == newRoot else { throw invalid }
            return
        }
        var rest = proof[...]
        var (node, last) = (oldSize - 1, newSize - 1)
        while node & 1 == 1 {
            node >>= 1
            last >>= 1
        }
        // The old tree is a whole subtree of the new one: its root is the first hash.
        var old: Digest
        if node == 0 {
            old = oldRoot
        } else {
            guard let first = rest.popFirst() else { throw invalid }
            old = first
        }
        var new = old
        for hash in rest {
            guard last > 0 else { throw invalid }
            if node & 1 == 1 || node == last {
                old = nodeHash(hash, old)
                new = nodeHash(hash, new)
                while node & 1 == 0, node != 0 {
                    node >>= 1
                    last >>= 1
                }
            } else {
                new = nodeHash(new, hash)
            }
            node >>= 1
            last >>= 1
        }
        guard last == 0, old == oldRoot, new == newRoot else { throw invalid }
    }

    // MARK: Proving

    /// A whole subtree: `level` 0 is a leaf, its first leaf is `index << level`.
    public struct Node: Hashable, Sendable {
        public var level: Int
        public var index: Int64

        public init(level: Int, index: Int64) {
            self.level = level
            self.index = index
        }
    }

    /// The whole subtrees that make up leaves `start..<end`, left to right, where `start` is a multiple of the
    /// largest power of two not above the length (as in every split that RFC 6962 makes).
    static func cover(_ start: Int64, _ end: Int64) -> [Node] {
        var nodes: [Node] = []
        var position = start
        while position < end {
            let level = Int64.bitWidth - 1 - (end - position).leadingZeroBitCount
            nodes.append(Node(level: level, index: position >> Int64(level)))
            position += 1 << Int64(level)
        }
        return nodes
    }

    /// The hash of leaves `start..<end` out of their subtrees, folded from the right as RFC 6962 has it.
    static func fold(_ hashes: [Digest]) -> Digest {
        guard var hash = hashes.last else { return emptyRoot }
        for left in hashes.dropLast().reversed() { hash = nodeHash(left, hash) }
        return hash
    }

    /// One entry of a proof: the subtrees whose fold it is.
    public typealias Part = [Node]

    /// What the inclusion proof of leaf `index` in a tree of `size` is made of. Source: RFC 6962 section 2.1.1.
    static func inclusionParts(index: Int64, size: Int64) -> [Part] {
        var parts: [Part] = []
        var (start, end) = (Int64(0), size)
        while end - start > 1 {
            let middle = start + split(end - start)
            if index < middle {
                parts.append(cover(middle, end))
                end = middle
            } else {
                parts.append(cover(start, middle))
                start = middle
            }
        }
        return parts.reversed()
    }

    /// What the consistency proof from `oldSize` to `newSize` is made of. Source: RFC 6962 section 2.1.2.
    static func consistencyParts(oldSize: Int64, newSize: Int64) -> [Part] {
        guard oldSize > 0, oldSize < newSize else { return [] }
        var parts: [Part] = []
        var (start, end) = (Int64(0), newSize)
        while oldSize != end {
            let middle = start + split(end - start)
            if oldSize <= middle {
                parts.append(cover(middle, end))
                end = middle
            } else {
                parts.append(cover(start, middle))
                start = middle
            }
        }
        // A whole old tree needs no hash of itself: the verifier has its root.
        if start > 0 { parts.append(cover(start, end)) }
        return parts.reversed()
    }

    /// The largest power of two below `count`.
    private static func split(_ count: Int64) -> Int64 {
        1 << Int64(Int64.bitWidth - 1 - (count - 1).leadingZeroBitCount)
    }
}
