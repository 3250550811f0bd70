import Base
import Model

/// Somebody a bundle is for, and what they have.
public struct Receiver: Sendable, Equatable {
    /// A device's name, or a release's.
    public var name: String
    /// Blobs that need not be sent.
    public var blobs: Set<Digest>
    /// Layers, by diffID, that need not be sent.
    public var held: Set<Digest>
    /// Layers, by diffID, that a delta can be applied to.
    public var bases: Set<Digest>

    /// A device by its inventory.
    public init(_ inventory: DeviceInventory) {
        name = inventory.device.isEmpty ? "a device without a name" : inventory.device
        blobs = Set(inventory.blobs)
        held = Set(inventory.layers.filter { $0.places.contains(DeviceInventory.HeldLayer.store) }.map(\.diffID))
        bases = Set(inventory.layers.map(\.diffID))
    }

    /// Any device that has a release.
    public init(_ name: ReleaseName, _ release: Release) {
        self.name = name.description
        blobs = Set(ReleaseBuilder.blobs(of: release).map(\.digest))
        held = Set(release.images.values.flatMap { $0.layers.map(\.diffID) })
        bases = held
    }
}

/// The fewest bytes of one release that serve all receivers: for each layer that some of them lack, the layer itself
/// or the cheapest set of deltas of which each of them can apply one.
public struct BundleSelection: Sendable, Equatable {
    /// Steps of the exact search for one layer; beyond them the best found so far is taken.
    static let searchLimit = 100_000
    /// Names given in a reason.
    private static let namesInReason = 3

    /// What was chosen for one layer.
    public struct Choice: Sendable, Equatable {
        public var layer: Digest
        /// Services that run on it.
        public var services: [String]
        /// The blobs that go in: none, the layer's own, or deltas.
        public var blobs: [Release.Blob]
        public var isWhole: Bool
        /// Bytes of the whole layer.
        public var wholeBytes: Int64
        /// Why, for a person.
        public var reason: String

        public var bytes: Int64 { blobs.reduce(0) { $0 + $1.size } }
    }

    /// Blobs that stay out.
    public private(set) var omitted: Set<Digest> = []
    /// Blobs of the deltas that go in.
    public private(set) var deltas: Set<Digest> = []
    public private(set) var choices: [Choice] = []

    public init(_ release: Release, for receivers: [Receiver]) {
        let layers = Dictionary(release.images.values.flatMap(\.layers).map { ($0.blob.digest, $0) }) { $1 }
        for blob in ReleaseBuilder.blobs(of: release) where layers[blob.digest] == nil {
            if receivers.allSatisfy({ $0.blobs.contains(blob.digest) }) { omitted.insert(blob.digest) }
        }
        for layer in layers.values.sorted(by: { $0.diffID < $1.diffID }) {
            let lacking = receivers.filter { !$0.blobs.contains(layer.blob.digest) && !$0.held.contains(layer.diffID) }
            var choice = Self.choose(layer, release.deltas.filter { $0.target == layer.diffID }, for: lacking)
            choice.services = release.services.filter { service in
                release.images[service.value.image]?.layers.contains { $0.diffID == layer.diffID } ?? false
            }.keys.sorted()
            choices.append(choice)
            if !choice.isWhole { omitted.insert(layer.blob.digest) }
            if !choice.isWhole { deltas.formUnion(choice.blobs.map(\.digest)) }
        }
    }

    private static func choose(
        _ layer: Release.Layer, _ deltas: [Release.LayerDelta], for lacking: [Receiver]
    ) -> Choice {
        func choice(_ blobs: [Release.Blob], whole: Bool, _ reason: String) -> Choice {
            Choice(
                layer: layer.diffID, services: [], blobs: blobs, isWhole: whole, wholeBytes: layer.blob.size,
                reason: reason)
        }
        guard !lacking.isEmpty else { return choice([], whole: false, "all have it") }
        let all = lacking.count == 1 ? lacking[0].name : "\(lacking.count) receivers"
        guard !deltas.isEmpty else { return choice([layer.blob], whole: true, "\(all) lack it, and no delta makes it") }
        let usable = lacking.map { receiver in
            deltas.indices.filter { receiver.bases.isSuperset(of: deltas[$0].base) }
        }
        let stranded = zip(lacking, usable).filter { $0.1.isEmpty }.map(\.0.name)
        guard stranded.isEmpty else {
            let names = stranded.prefix(namesInReason).joined(separator: ", ")
            let more = stranded.count > namesInReason ? " and \(stranded.count - namesInReason) more" : ""
            return choice([layer.blob], whole: true, "\(names)\(more): no base of a delta")
        }
        let cover = DeltaCover(costs: deltas.map(\.blob.size), options: Array(Set(usable)), limit: searchLimit).cheapest
        let blobs = cover.map { deltas[$0].blob }
        let bytes = blobs.reduce(Int64(0)) { $0 + $1.size }
        guard bytes < layer.blob.size else {
            return choice(
                [layer.blob], whole: true,
                "\(all) lack it, and the deltas that would serve have \(ByteCount(bytes))")
        }
        return choice(
            blobs, whole: false,
            "\(blobs.count) \(blobs.count == 1 ? "delta" : "deltas") for \(all), \(ByteCount(bytes)) instead of "
                + "\(ByteCount(layer.blob.size))")
    }
}

/// The cheapest set of deltas such that every receiver can apply one: weighted set cover, searched exactly (a release
/// has few deltas of one layer) and never for longer than `limit` steps.
struct DeltaCover {
    private let costs: [Int64]
    /// Per group of receivers the deltas it can apply, cheapest first; no group is without.
    private let options: [[Int]]
    private var steps: Int
    private var best: [Int] = []
    private var bestCost = Int64.max

    /// Indices, ascending.
    var cheapest: [Int] { best.sorted() }

    init(costs: [Int64], options: [[Int]], limit: Int) {
        self.costs = costs
        // Groups with few options decide most: they come first.
        self.options = options.map { $0.sorted { (costs[$0], $0) < (costs[$1], $1) } }
            .sorted { $0.count == $1.count ? $0.lexicographicallyPrecedes($1) : $0.count < $1.count }
        steps = limit
        greedy()
        search(0, chosen: [], cost: 0)
    }

    /// A first answer, which bounds the search: again and again the delta that serves most groups per byte.
    private mutating func greedy() {
        var open = options
        var chosen: [Int] = []
        while let group = open.first {
            let served = Dictionary(open.flatMap { $0 }.map { ($0, 1) }, uniquingKeysWith: +)
            let next = served.keys.min { left, right in
                let (a, b) = (served[left] ?? 1, served[right] ?? 1)
                return (Double(costs[left]) / Double(a), left) < (Double(costs[right]) / Double(b), right)
            }
            chosen.append(next ?? group[0])
            open.removeAll { $0.contains(chosen[chosen.count - 1]) }
        }
        best = chosen
        bestCost = chosen.reduce(0) { $0 + costs[$1] }
    }

    private mutating func search(_ group: Int, chosen: Set<Int>, cost: Int64) {
        steps -= 1
        guard steps > 0, cost < bestCost else { return }
        guard let next = options.indices.dropFirst(group).first(where: { chosen.isDisjoint(with: options[$0]) }) else {
            best = Array(chosen)
            bestCost = cost
            return
        }
        for option in options[next] { search(next + 1, chosen: chosen.union([option]), cost: cost + costs[option]) }
    }
}
