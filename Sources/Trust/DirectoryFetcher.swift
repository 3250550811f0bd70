import Base
import Glibc

/// Metadata from a folder: a stick, a checkout, a repository on this machine.
public struct DirectoryFetcher: MetadataFetcher {
    private let directory: String
    private let fileSystem: FileSystem

    public init(_ directory: String, fileSystem: FileSystem = FileSystem()) {
        self.directory = directory
        self.fileSystem = fileSystem
    }

    public func fetchMetadata(_ name: String, maxLength: Int) async throws -> [UInt8]? {
        // A role name is untrusted: encoded, it has no separator and cannot leave the folder.
        let file = Path.join(directory, MetadataName.encoded(name))
        do throws(FileSystemError) {
            return try fileSystem.read(file, limit: maxLength)
        } catch {
            switch error.errno {
            case ENOENT, ENOTDIR: return nil
            case ELOOP, EINVAL: throw TrustError(.metadataMalformed, name, "is no regular file")
            case EFBIG: throw TrustError(.tooLarge, name, "has more than the \(maxLength) bytes that are read")
            default: throw error
            }
        }
    }
}
