import Base
import Synchronization
import Testing

@testable import TransparencyLog

/// Leaves and roots of the Certificate Transparency reference implementations.
private let vectors: [(leaf: String, root: String)] = [
    ("", "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d"),
    ("00", "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125"),
    ("10", "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77"),
    ("2021", "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7"),
    ("3031", "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4"),
    ("40414243", "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef"),
    ("5051525354555657", "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c"),
    (
        "606162636465666768696a6b6c6d6e6f",
        "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328"
    ),
]

/// RFC 6962 section 2.1 as it stands there, recursive and slow: what the tiles are judged by.
private enum Reference {
    static func split(_ count: Int) -> Int {
        var size = 1
        while size * 2 < count { size *= 2 }
        return size
    }
    static func root(_ leaves: ArraySlice<Digest>) -> Digest {
        if leaves.isEmpty { return .sha256([]) }
        if leaves.count == 1 { return leaves[leaves.startIndex] }
        let middle = leaves.startIndex + split(leaves.count)
        return MerkleTree.nodeHash(root(leaves[..<middle]), root(leaves[middle...]))
    }
    static func path(_ index: Int, _ leaves: ArraySlice<Digest>) -> [Digest] {
        if leaves.count <= 1 { return [] }
        let size = split(leaves.count)
        let middle = leaves.startIndex + size
        return index < size
            ? path(index, leaves[..<middle]) + [root(leaves[middle...])]
            : path(index - size, leaves[middle...]) + [root(leaves[..<middle])]
    }
    static func subproof(_ old: Int, _ leaves: ArraySlice<Digest>, _ isWhole: Bool) -> [Digest] {
        if old == leaves.count { return isWhole ? [] : [root(leaves)] }
        let size = split(leaves.count)
        let middle = leaves.startIndex + size
        return old <= size
            ? subproof(old, leaves[..<middle], isWhole) + [root(leaves[middle...])]
            : subproof(old - size, leaves[middle...], false) + [root(leaves[..<middle])]
    }
}

/// Tiles in memory, filled by batches.
private struct MemoryLog {
    var tiles: [LogTiles.Position: [Digest]] = [:]
    var size: Int64 = 0

    mutating func append(_ leaves: [Digest]) {
        var last: [Int: [Digest]] = [:]
        for level in 0..<8 {
            let count = size >> Int64(level * LogTiles.height)
            guard count % LogTiles.width != 0 else { continue }
            last[level] = tiles[.init(level: level, index: count / LogTiles.width)]
        }
        tiles.merge(LogTiles.append(leaves, oldSize: size, last: last)) { $1 }
        size += Int64(leaves.count)
    }

    var reader: LogReader {
        let tiles = tiles
        return LogReader(size: size) { tiles[$0] ?? [] }
    }
}

private func leaves(_ count: Int) -> [Digest] {
    (0..<count).map { MerkleTree.leafHash(Array("leaf \($0)".utf8)) }
}

@Suite struct MerkleTreeTests {
    @Test func theRootsAreThoseOfTheReferenceVectors() async throws {
        var log = MemoryLog()
        #expect(try await log.reader.root() == Digest.sha256([]))
        for (leaf, root) in vectors {
            log.append([MerkleTree.leafHash(try #require(Hex.decode(leaf)))])
            #expect(try await log.reader.root().hex == root)
        }
    }

    /// Proofs of the same vectors, from the same implementations.
    @Test func theProofsAreThoseOfTheReferenceVectors() async throws {
        var log = MemoryLog()
        log.append(try vectors.map { MerkleTree.leafHash(try #require(Hex.decode($0.leaf))) })
        #expect(
            try await log.reader.inclusionProof(of: 5).map(\.hex) == [
                "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
                "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0",
                "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
            ])
        #expect(
            try await log.reader.consistencyProof(from: 6, to: 8).map(\.hex) == [
                "0ebc5d3437fbe2db158b9f126a1d118e308181031d0a949f8dededebc558ef6a",
                "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0",
                "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
            ])
    }

    @Test func everySmallTreeProvesWhatTheRFCProves() async throws {
        let all = leaves(20)
        var log = MemoryLog()
        log.append(all)
        for size in 1...20 {
            let tree = all[..<size]
            let root = try await log.reader.root(at: Int64(size))
            #expect(root == Reference.root(tree))
            for index in 0..<size {
                let proof = try await log.reader.inclusionProof(of: Int64(index), at: Int64(size))
                #expect(proof == Reference.path(index, tree))
                try MerkleTree.verifyInclusion(
                    leaf: all[index], index: Int64(index), size: Int64(size), proof: proof, root: root)
            }
            for old in 0...size {
                let proof = try await log.reader.consistencyProof(from: Int64(old), to: Int64(size))
                if old > 0 { #expect(proof == Reference.subproof(old, tree, true)) }
                try MerkleTree.verifyConsistency(
                    oldSize: Int64(old), oldRoot: Reference.root(all[..<old]), newSize: Int64(size), newRoot: root,
                    proof: proof)
            }
        }
    }

    @Test func batchesOfAnySizeMakeTheSameTiles() async throws {
        let all = leaves(1_500)
        var whole = MemoryLog()
        whole.append(all)
        var pieces = MemoryLog()
        var start = 0
        for length in [1, 254, 1, 1, 300, 511, 432] {
            pieces.append(Array(all[start..<(start + length)]))
            start += length
        }
        #expect(start == 1_500)
        #expect(pieces.tiles == whole.tiles)
        #expect(try await whole.reader.root() == Reference.root(all[...]))
        for (index, size) in [(0, 1_500), (255, 256), (256, 257), (700, 1_500), (1_499, 1_500), (3, 1_025)] {
            let proof = try await whole.reader.inclusionProof(of: Int64(index), at: Int64(size))
            #expect(proof == Reference.path(index, all[..<size]))
        }
        for (old, new) in [(255, 256), (256, 1_500), (511, 1_025), (1_024, 1_500), (1, 1_500)] {
            let proof = try await whole.reader.consistencyProof(from: Int64(old), to: Int64(new))
            #expect(proof == Reference.subproof(old, all[..<new], true))
        }
    }

    @Test func everyChangedProofIsRefused() async throws {
        let all = leaves(13)
        var log = MemoryLog()
        log.append(all)
        let root = try await log.reader.root()
        let proof = try await log.reader.inclusionProof(of: 6)
        func inclusion(_ leaf: Digest, _ index: Int64, _ size: Int64, _ proof: [Digest], _ root: Digest) -> Bool {
            (try? MerkleTree.verifyInclusion(leaf: leaf, index: index, size: size, proof: proof, root: root)) != nil
        }
        #expect(inclusion(all[6], 6, 13, proof, root))
        #expect(!inclusion(all[5], 6, 13, proof, root))
        #expect(!inclusion(all[6], 7, 13, proof, root))
        #expect(!inclusion(all[6], -1, 13, proof, root))
        #expect(!inclusion(all[6], 13, 13, proof, root))
        #expect(!inclusion(all[6], 6, 13, proof, all[0]))
        #expect(!inclusion(all[6], 6, 13, Array(proof.dropLast()), root))
        #expect(!inclusion(all[6], 6, 13, proof + [root], root))
        #expect(!inclusion(all[6], 6, 13, Array(repeating: root, count: 500), root))
        for index in proof.indices {
            var changed = proof
            changed[index] = all[0]
            #expect(!inclusion(all[6], 6, 13, changed, root))
        }
        let old = try await log.reader.root(at: 6)
        let consistency = try await log.reader.consistencyProof(from: 6)
        func consistent(_ oldSize: Int64, _ oldRoot: Digest, _ newSize: Int64, _ newRoot: Digest, _ proof: [Digest])
            -> Bool
        {
            (try? MerkleTree.verifyConsistency(
                oldSize: oldSize, oldRoot: oldRoot, newSize: newSize, newRoot: newRoot, proof: proof)) != nil
        }
        #expect(consistent(6, old, 13, root, consistency))
        #expect(!consistent(6, root, 13, root, consistency))
        #expect(!consistent(6, old, 13, old, consistency))
        #expect(!consistent(5, old, 13, root, consistency))
        // A size that makes a proof of another shape; within one shape it is the checkpoint that binds the size.
        #expect(!consistent(6, old, 8, root, consistency))
        #expect(!consistent(13, root, 6, old, consistency))
        #expect(!consistent(6, old, 13, root, []))
        #expect(!consistent(13, root, 13, old, []))
        #expect(!consistent(0, old, 13, root, []))
        for index in consistency.indices {
            var changed = consistency
            changed[index] = all[0]
            #expect(!consistent(6, old, 13, root, changed))
            changed.remove(at: index)
            #expect(!consistent(6, old, 13, root, changed))
        }
    }
}
