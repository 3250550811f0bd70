import Base
import HTTPFetch
import Trust

/// Downloaded and verified files.
struct TargetFolder {
    let path: String
    private let fileSystem = FileSystem()
    /// Bytes of a file name, below what file systems allow with room for a temporary's suffix.
    private static let nameLimit = 200

    init(_ path: String) { self.path = path }

    /// A target path is untrusted: it becomes one file name, never a path.
    private func file(_ target: TargetDescription) -> String {
        let name = MetadataName.encoded(target.path)
        let isUsable = name.utf8.count <= Self.nameLimit && name != "." && name != ".."
        return Path.join(path, isUsable ? name : Digest.sha256(Array(target.path.utf8)).hex)
    }

    /// Whether the file is there already, with the right length and hashes.
    func has(_ target: TargetDescription) -> Bool {
        guard let file = try? ReadableFile(path: file(target)), let check = try? target.check() else { return false }
        do {
            var offset: Int64 = 0
            while true {
                let piece = try file.read(at: offset, count: 1 << 20)
                if piece.isEmpty { break }
                try check.update(piece)
                offset += Int64(piece.count)
            }
            try check.finish()
            return true
        } catch {
            return false
        }
    }

    /// Downloads beside the final name; only what verified takes that name.
    func download(_ target: TargetDescription, from url: String, by fetcher: HTTPFetcher) async throws {
        try fileSystem.makeDirectories(path, op: "target.folder")
        let final = file(target)
        let temporary = Path.join(Path.parent(final), ".download-" + Digest.sha256(Array(final.utf8)).short)
        do {
            let output = try fileSystem.create(temporary, truncate: true, op: "target.download")
            let check = try target.check()
            let found = try await fetcher.stream(url, maxLength: target.length) { piece in
                try check.update(piece)
                try output.write(piece)
            }
            guard found else { throw TrustError(.fetchFailed, target.path, "\(url) is not there") }
            try check.finish()
            try output.sync()
            try fileSystem.rename(temporary, to: final, op: "target.download")
        } catch {
            try? fileSystem.unlink(temporary, op: "target.download")
            throw error
        }
    }
}
