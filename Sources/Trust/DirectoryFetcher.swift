import Base

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
        guard let status = try fileSystem.status(file) else { return nil }
        guard status.kind == .file else {
            throw TrustError(.metadataMalformed, name, "is no regular file")
        }
        guard status.size <= maxLength else {
            throw TrustError(.tooLarge, name, "has \(status.size) bytes, at most \(maxLength) are read")
        }
        return try fileSystem.read(file, limit: maxLength)
    }
}
