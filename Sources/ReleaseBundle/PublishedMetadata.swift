import Base
import Model
import Trust

/// The metadata files in force of a published repository: all roots, and what the timestamp leads to.
/// Earlier snapshots and targets, which no client asks for, are left out.
struct PublishedMetadata {
    let folder: String
    let fileSystem: FileSystem

    init(folder: String, fileSystem: FileSystem) {
        self.folder = folder
        self.fileSystem = fileSystem
    }

    func files() throws -> [(String, [UInt8])] {
        let limits = TrustLimits.standard
        guard try fileSystem.status(folder)?.kind == .directory else {
            throw BundleError(.metadata, folder, "the folder is missing")
        }
        var files: [(String, [UInt8])] = []
        for name in try fileSystem.list(folder) where name.hasSuffix(".root.json") || name == "root.json" {
            files.append((name, try fileSystem.read(Path.join(folder, name), limit: limits.rootBytes)))
        }
        guard !files.isEmpty else { throw BundleError(.metadata, folder, "no root") }
        let timestamp = try require("timestamp.json", version: nil, limit: limits.timestampBytes)
        let snapshot = try require(
            "snapshot.json", version: try version(of: "snapshot.json", in: timestamp), limit: limits.snapshotBytes)
        files += [timestamp, snapshot]
        for name in try listed(in: snapshot).keys.sorted() {
            files.append(try require(name, version: try version(of: name, in: snapshot), limit: limits.targetsBytes))
        }
        guard files.count <= BundleFormat.maximumMetadataFiles else {
            throw BundleError(.limit, folder, "\(files.count) metadata files")
        }
        return files
    }

    /// A file under its consistent-snapshot name, or its plain one.
    private func require(_ name: String, version: Int64?, limit: Int) throws -> (String, [UInt8]) {
        let names = version.map { ["\($0).\(name)", name] } ?? [name]
        for candidate in names {
            let stored = MetadataName.encoded(candidate)
            let path = Path.join(folder, stored)
            if try fileSystem.status(path) != nil { return (stored, try fileSystem.read(path, limit: limit)) }
        }
        throw BundleError(.metadata, folder, "\(names[0]) is missing")
    }

    private func listed(in file: (name: String, bytes: [UInt8])) throws -> JSONObject {
        guard let meta = try JSONValue(parsing: file.bytes)["signed"]?["meta"]?.object else {
            throw BundleError(.metadata, Path.join(folder, file.name), "no signed.meta")
        }
        return meta
    }

    private func version(of name: String, in file: (name: String, bytes: [UInt8])) throws -> Int64 {
        guard let version = try listed(in: file)[name]?["version"]?.integer, version > 0 else {
            throw BundleError(.metadata, Path.join(folder, file.name), "no version of \(name)")
        }
        return version
    }
}
