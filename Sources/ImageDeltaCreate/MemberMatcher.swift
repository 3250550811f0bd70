import ImageDelta

/// A base member together with its place in the base space.
struct BaseMember: Sendable {
    var member: TarMember
    /// Offset of the layer's first byte in the base space.
    var layerStart: Int64
    /// False when a later member of the same layer takes its name, so that no extracted file has its bytes.
    var isExtractable: Bool

    var headerOffset: Int64 { layerStart + member.headerOffset }
    var contentOffset: Int64 { layerStart + member.contentOffset }
}

/// Says for each new member which base member its bytes probably come from.
struct MemberMatcher {
    struct Match: Sendable {
        /// Base member with the very same content.
        var copy: Int?
        /// Base member to align the content with.
        var base: Int?
        /// Base member whose header is probably like the new one.
        var header: Int?
    }

    /// Base members that may share one sketch hash; beyond this the hash says little.
    private static let sketchFanOut = 32
    /// Shared hashes that make two contents alike.
    private static let sketchThreshold = 3

    let space: BaseSpace
    let bases: [BaseMember]
    let new: MappedFile
    let members: [TarMember]
    let effort: Effort
    let width: Int

    /// What tells one content from another. Two that are mistaken for each other cost bytes and nothing else: what a
    /// cover gets wrong is sent as differences.
    private struct Fingerprint: Hashable, Sendable {
        var size: Int
        var hash: UInt64

        init(_ bytes: UnsafeBufferPointer<UInt8>) {
            size = bytes.count
            hash = SpanHasher.hash(UnsafeRawBufferPointer(bytes))
        }
    }

    private struct Index: Sendable {
        var byContent: [Fingerprint: Int] = [:]
        var byPath: [[UInt8]: Int] = [:]
        var byFoldedPath: [[UInt8]: Int] = [:]
        var byFoldedName: [[UInt8]: [Int]] = [:]
        var bySketch: [UInt64: [Int32]] = [:]
    }

    func run() async throws -> [Match] {
        let baseContents = try await fingerprints(bases.count) { [bases, space] index in
            space.slice(bases[index].contentOffset, bases[index].member.contentSize)
        }
        let newContents = try await fingerprints(members.count) { [members, new] index in
            new.slice(members[index].contentOffset, members[index].contentSize)
        }
        var index = Index()
        for (number, base) in bases.enumerated() {
            // A member in a higher layer hides one of the same name below it.
            index.byPath[base.member.path] = number
            guard base.isExtractable, base.member.contentSize > 0 else { continue }
            if index.byContent[baseContents[number]] == nil { index.byContent[baseContents[number]] = number }
            index.byFoldedPath[FoldedPath.fold(base.member.path)] = number
            index.byFoldedName[FoldedPath.fold(FoldedPath.baseName(base.member.path)), default: []].append(number)
        }
        var copies: [Int?] = []
        for (number, member) in members.enumerated() {
            // Of several base members with this content the one of the same name: its neighbours are the same too.
            let named = basedByPath(number, index).flatMap { baseContents[$0] == newContents[number] ? $0 : nil }
            copies.append(member.contentSize > 0 ? named ?? index.byContent[newContents[number]] : nil)
        }
        let wanted = members.indices.filter { wantsSketch($0, copies[$0], index) }
        if !wanted.isEmpty { try await addSketches(to: &index) }
        let sketches = try await concurrentMap(count: wanted.count, width: width) { [members, new] position in
            let member = members[wanted[position]]
            return Sketch.make(new.slice(member.contentOffset, member.contentSize))
        }
        let sketchOf = Dictionary(uniqueKeysWithValues: zip(wanted, sketches))
        return members.indices.map { match($0, copy: copies[$0], sketch: sketchOf[$0] ?? [], index) }
    }

    private func fingerprints(
        _ count: Int, _ slice: @escaping @Sendable (Int) -> UnsafeBufferPointer<UInt8>
    ) async throws -> [Fingerprint] {
        try await concurrentMap(count: count, width: width) { Fingerprint(slice($0)) }
    }

    private func wantsSketch(_ number: Int, _ copy: Int?, _ index: Index) -> Bool {
        guard copy == nil, members[number].contentSize >= Sketch.shortest else { return false }
        return effort.comparesAllByLikeness || basedByPath(number, index) == nil
    }

    private func basedByPath(_ number: Int, _ index: Index) -> Int? {
        guard let found = index.byPath[members[number].path], bases[found].isExtractable,
            bases[found].member.contentSize > 0
        else { return nil }
        return found
    }

    private func addSketches(to index: inout Index) async throws {
        let candidates = bases.indices.filter {
            bases[$0].isExtractable && bases[$0].member.contentSize >= Sketch.shortest
        }
        let sketches = try await concurrentMap(count: candidates.count, width: width) { [bases, space] position in
            let base = bases[candidates[position]]
            return Sketch.make(space.slice(base.contentOffset, base.member.contentSize))
        }
        for (number, sketch) in zip(candidates, sketches) {
            for hash in sketch {
                if index.bySketch[hash, default: []].count < Self.sketchFanOut {
                    index.bySketch[hash, default: []].append(Int32(number))
                }
            }
        }
    }

    private func match(_ number: Int, copy: Int?, sketch: [UInt64], _ index: Index) -> Match {
        let member = members[number]
        var result = Match(copy: copy)
        if copy == nil, member.contentSize > 0 {
            let byPath = basedByPath(number, index)
            result.base = byPath ?? index.byFoldedPath[FoldedPath.fold(member.path)]
            preferAlike(&result, keepsBase: byPath != nil, size: member.contentSize, sketch: sketch, index)
            if result.base == nil {
                let named = index.byFoldedName[FoldedPath.fold(FoldedPath.baseName(member.path))] ?? []
                result.base = named.min { distance($0, member.contentSize) < distance($1, member.contentSize) }
            }
        }
        result.header = index.byPath[member.path] ?? result.copy ?? result.base
        return result
    }

    /// Takes the member that shares most chunks when it shares clearly more than the one found by name.
    private func preferAlike(
        _ result: inout Match, keepsBase: Bool, size: Int64, sketch: [UInt64], _ index: Index
    ) {
        var shared: [Int32: Int] = [:]
        for hash in sketch {
            for candidate in index.bySketch[hash] ?? [] { shared[candidate, default: 0] += 1 }
        }
        let best = shared.max { left, right in
            if left.value != right.value { return left.value < right.value }
            let (a, b) = (distance(Int(left.key), size), distance(Int(right.key), size))
            return a != b ? a > b : left.key > right.key
        }
        guard let best, best.value >= Self.sketchThreshold, Int(best.key) != result.base else { return }
        let own = result.base.flatMap { shared[Int32($0)] } ?? 0
        guard best.value > own + sketch.count / 8, !(keepsBase && own > 0) else { return }
        result.base = Int(best.key)
    }

    private func distance(_ number: Int, _ size: Int64) -> Int64 { abs(bases[number].member.contentSize - size) }
}
