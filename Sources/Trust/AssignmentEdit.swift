import Base

/// What devices shall have from now on, gathered one by one and packed: a fleet may have a million of them.
public struct AssignmentEdit: Sendable {
    /// Sets of releases that one edit may tell apart.
    public static let setLimit = Int(UInt16.max)

    struct Entry {
        var start: UInt32
        var length: UInt16
        /// Into `sets`.
        var set: UInt16
    }

    /// Whether devices that are not named shall have nothing.
    public let isWhole: Bool
    private(set) var sets: [[ReleaseTarget]] = []
    private(set) var entries: [Entry] = []
    private var ids: [UInt8] = []
    private var numbers: [[ReleaseTarget.Key]: UInt16] = [:]

    public init(isWhole: Bool) { self.isWhole = isWhole }

    public var count: Int { entries.count }

    /// The number of a set of releases, of different applications, for ``set(_:to:)``.
    public mutating func number(of releases: [ReleaseTarget]) throws(TrustError) -> UInt16 {
        let sorted = releases.sorted { $0.path < $1.path }
        let key = sorted.map(\.key)
        if let known = numbers[key] { return known }
        guard sets.count < Self.setLimit else {
            throw TrustError(.tooLarge, "director", "more than \(Self.setLimit) different sets of releases")
        }
        let number = UInt16(sets.count)
        sets.append(sorted)
        numbers[key] = number
        return number
    }

    /// Gives a device exactly the releases of a set. Of two words on one device the later counts.
    public mutating func set(_ device: some Collection<UInt8>, to number: UInt16) throws(TrustError) {
        guard (1...DirectorAssignment.deviceBytes).contains(device.count), ids.count < Int(UInt32.max) / 2 else {
            throw TrustError(
                .repositoryInvalid, "device", "a device's id is 1 to \(DirectorAssignment.deviceBytes) bytes long")
        }
        if isWhole, sets[Int(number)].isEmpty { return }
        entries.append(Entry(start: UInt32(ids.count), length: UInt16(device.count), set: number))
        ids.append(contentsOf: device)
    }

    public mutating func set(_ device: String, to releases: [ReleaseTarget]) throws(TrustError) {
        try set(device.utf8, to: number(of: releases))
    }

    func device(_ entry: Entry) -> ArraySlice<UInt8> {
        ids[Int(entry.start)..<Int(entry.start) + Int(entry.length)]
    }

    /// Entries by bin, each bin's in their order.
    func byBin(_ bins: DeviceBins?) -> [Int: [Entry]] {
        guard let bins else { return entries.isEmpty && !isWhole ? [:] : [0: entries] }
        var result: [Int: [Entry]] = [:]
        for entry in entries {
            result[bins.number(ofHash: DeviceBins.hash(device(entry))), default: []].append(entry)
        }
        if isWhole { for number in 0..<bins.count where result[number] == nil { result[number] = [] } }
        return result
    }
}

extension ReleaseTarget {
    /// Which release, and which bytes of it.
    struct Key: Hashable {
        let path: String
        let digest: Digest
    }
    var key: Key { Key(path: path, digest: digest) }
}
