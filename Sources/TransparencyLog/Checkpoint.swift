import Base
import Trust

/// What a log says of itself at one moment: its name, its size and its root.
///
/// Source: C2SP tlog-checkpoint v1.0.0; carried as a ``SignedNote``.
public struct Checkpoint: Sendable, Equatable {
    public var origin: String
    public var size: Int64
    public var root: Digest

    public init(origin: String, size: Int64, root: Digest) {
        self.origin = origin
        self.size = size
        self.root = root
    }

    public var text: String { "\(origin)\n\(size)\n\(Base64.encode(root.bytes))\n" }

    /// The text of a note; extension lines behind the root are allowed and ignored.
    public init(text: String) throws(LogError) {
        func malformed(_ detail: String) -> LogError { LogError(.checkpointMalformed, "checkpoint", detail) }
        let lines = text.split(separator: "\n", omittingEmptySubsequences: false)
        guard lines.count >= 4, lines.last == "", lines.dropLast().allSatisfy({ !$0.isEmpty }) else {
            throw malformed("expected origin, size and root, each on a line")
        }
        guard let size = Int64(lines[1]), size >= 0, String(size) == lines[1] else {
            throw malformed("\"\(lines[1].prefix(32))\" is no tree size")
        }
        guard let root = Base64.decode(lines[2]).flatMap({ Digest(bytes: $0) }) else {
            throw malformed("the root is no SHA-256 in base64")
        }
        self.init(origin: String(lines[0]), size: size, root: root)
    }

    /// The note that carries it, signed under the origin's name.
    public func signed(by signer: some Signer) throws -> SignedNote {
        guard var note = SignedNote(text: text) else {
            throw LogError(.checkpointMalformed, "checkpoint", "the origin has a control character")
        }
        try note.sign(as: origin, with: signer)
        return note
    }

    /// Reads a note, refused unless `key` signed it and its origin is the key's name.
    public init(verifying bytes: [UInt8], by key: LogKey) throws(LogError) {
        let note = try SignedNote(parsing: bytes)
        try note.verify(by: key)
        try self.init(text: note.text)
        guard origin == key.name else {
            throw LogError(.checkpointMalformed, "checkpoint", "of log \(origin), this key is of \(key.name)")
        }
    }
}
