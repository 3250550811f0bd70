import Base
import Glibc

/// A secret key on disk in the field's form: 44 characters of base64 and a newline, mode 0600.
public struct KeyFile: Sendable {
    /// A key, a newline, and room for the white space that people leave.
    public static let maxBytes = 128

    public var path: String
    public var fileSystem: FileSystem

    public init(path: String, fileSystem: FileSystem = FileSystem()) {
        self.path = path
        self.fileSystem = fileSystem
    }

    /// Reads the key. A symlink, a file of another owner, or one that group or others may touch is refused:
    /// the key may be known already, and a change of mode would not make it secret again.
    public func read() throws(WireGuardError) -> SecretKey {
        let file = try mappingFileErrors { () throws(FileSystemError) in try ReadableFile(path: path) }
        let status = try mappingFileErrors { () throws(FileSystemError) in try file.status() }
        guard status.mode & 0o177 == 0, status.owner == geteuid() else {
            throw .keyFileExposed(path: path, mode: status.mode, owner: status.owner)
        }
        let scratch = UnsafeMutableRawBufferPointer.allocate(byteCount: Self.maxBytes + 1, alignment: 8)
        defer {
            if let base = scratch.baseAddress { explicit_bzero(base, scratch.count) }
            scratch.deallocate()
        }
        let count = try mappingFileErrors { () throws(FileSystemError) in try file.read(into: scratch, at: 0) }
        let text = UnsafeRawBufferPointer(rebasing: scratch[..<count])
        let isSpace: (UInt8) -> Bool = { $0 == 0x20 || $0 == 0x0A || $0 == 0x0D || $0 == 0x09 }
        guard count <= Self.maxBytes, let start = text.firstIndex(where: { !isSpace($0) }),
            let end = text.lastIndex(where: { !isSpace($0) }),
            let key = SecretKey(base64Bytes: UnsafeRawBufferPointer(rebasing: text[start...end]))
        else { throw .invalidKey(source: path) }
        return key
    }

    /// Writes the key whole or not at all, mode 0600 from its first byte.
    public func write(_ key: SecretKey) throws(WireGuardError) {
        var bytes: [UInt8] = []
        bytes.reserveCapacity(Base64Key.characterCount + 1)
        defer { bytes.wipe() }
        key.appendBase64(to: &bytes)
        bytes.append(0x0A)
        try mappingFileErrors { () throws(FileSystemError) in
            try fileSystem.replace(path, with: bytes, mode: 0o600, op: "wireguard.key")
        }
    }

    /// Reads the key, or makes, writes and returns one when there is no file.
    public func readOrCreate() throws(WireGuardError) -> SecretKey {
        let status = try mappingFileErrors { () throws(FileSystemError) in try fileSystem.status(path) }
        if status != nil { return try read() }
        let key = try SecretKey.generatePrivate()
        try write(key)
        return key
    }
}
