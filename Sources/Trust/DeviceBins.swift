import Base
import Model

/// How a director of many devices spreads them: over 2^n targets roles, by the SHA-256 of their ids.
///
/// In one list every device would fetch all the others' ids. A bin is an ordinary delegated role that lists the releases of
/// its devices below a folder of its own (`03f/shop/1.4.0.release.json`, delegated as `03f/*/*`), so that any TUF client
/// can follow it; only that a device looks into its own bin alone is Holdfast's.
public struct DeviceBins: Sendable, Equatable {
    static let prefix = "devices-"
    /// Bits of a bin's number. Names are as wide as the most bits need, so that a director that grows keeps its roles:
    /// a snapshot may not lose one.
    static let bitRange = 1...12
    private static let digits = 3

    let bits: Int

    init?(bits: Int) {
        guard Self.bitRange.contains(bits) else { return nil }
        self.bits = bits
    }

    /// Of a targets role that says so; nil for one that lists all itself.
    init?(_ signed: JSONNode) {
        guard let bits = signed[RepositoryFields.deviceBits]?.integer else { return nil }
        self.init(bits: Int(clamping: bits))
    }

    init?(_ draft: MetadataDraft) {
        guard let bits = draft.signed[RepositoryFields.deviceBits]?.integer else { return nil }
        self.init(bits: Int(clamping: bits))
    }

    var count: Int { 1 << bits }

    /// The leftmost twelve bits of the SHA-256 of a device's id.
    public static func hash(_ device: some Sequence<UInt8>) -> UInt16 {
        let digest = Digest.sha256(Array(device)).bytes
        return UInt16(digest[0]) << 4 | UInt16(digest[1]) >> 4
    }

    func number(ofHash hash: UInt16) -> Int { Int(hash) >> (Self.bitRange.upperBound - bits) }

    func bin(of device: String) -> DeviceBin { DeviceBin(number: number(ofHash: Self.hash(device.utf8))) }

    static func name(_ number: Int) -> String {
        let text = String(number, radix: 16)
        return String(repeating: "0", count: max(0, digits - text.utf8.count)) + text
    }

    /// Whether metadata of a bin may have such a file name.
    public static func isFile(_ name: String) -> Bool {
        let parts = name.split(separator: ".", omittingEmptySubsequences: false)
        guard parts.count == 3, parts[2] == "json", parts[1].hasPrefix(prefix),
            parts[1].utf8.count == prefix.utf8.count + digits, parts[0].utf8.count <= 19,
            let version = Int64(parts[0]), version > 0, String(version) == parts[0]
        else { return false }
        return parts[1].utf8.suffix(digits).allSatisfy { (0x30...0x39).contains($0) || (0x61...0x66).contains($0) }
    }
}

/// One bin, as a role and as a folder of target paths.
struct DeviceBin: Sendable, Equatable {
    let role: String
    let folder: String

    init(number: Int) {
        let name = DeviceBins.name(number)
        role = DeviceBins.prefix + name
        folder = name + "/"
    }

    /// A path without the bin's folder; as it is when it lies elsewhere.
    func plain(_ path: String) -> String {
        path.utf8.starts(with: folder.utf8)
            ? String(decoding: path.utf8.dropFirst(folder.utf8.count), as: UTF8.self) : path
    }
}
