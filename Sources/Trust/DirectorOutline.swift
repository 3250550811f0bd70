import Base

/// Which devices a director's snapshot gives cause to look: all of them, or those of a bin.
public struct DirectorOutline: Sendable, Equatable {
    /// Another text whenever all have to look.
    public var common: String
    private var bins: DeviceBins?
    /// Versions of the bins, by number.
    private var versions: [Int64] = []

    /// From published metadata; nil when that is not to be read.
    public init?(snapshot: [UInt8], targets: [UInt8]) {
        guard let signed = try? JSONTape(parsing: snapshot).root["signed"],
            let role = try? JSONTape(parsing: targets).root["signed"], let version = signed["version"]?.integer
        else { return nil }
        // Who writes another way says nothing of who is meant: then everybody is.
        common = signed[RepositoryFields.common]?.integer.map { "c\($0)" } ?? "v\(version)"
        guard let bins = DeviceBins(role), let meta = signed["meta"] else { return }
        self.bins = bins
        let index = JSONIndex(meta)
        versions = (0..<bins.count).map { number in
            index[DeviceBin(number: number).role + ".json"]?["version"]?.integer ?? 0
        }
    }

    /// The version of the list that `device` is looked for in, beside what all share; nil where there is one for all.
    public func version(for device: String) -> Int64? {
        bins.map { versions[$0.number(ofHash: DeviceBins.hash(device.utf8))] }
    }
}
