import Base
import Trust

/// A text with signatures under it, as the Go checksum database and C2SP have it.
///
/// Source: C2SP signed-note v1.0.0. Text and signatures are parted by a blank line; a signature is
/// `— <name> <base64(key hash of 4 bytes || signature)>`. Only ed25519 (type 0x01) is known; others are kept
/// and ignored, as the specification asks.
public struct SignedNote: Sendable, Equatable {
    /// Bytes of a note, and signatures on it.
    public static let sizeLimit = 64 << 10
    public static let signatureLimit = 64

    public struct Signature: Sendable, Equatable {
        public var name: String
        /// The first four bytes of the key's hash.
        public var keyHash: [UInt8]
        public var bytes: [UInt8]
    }

    /// Ends with a newline.
    public let text: String
    public private(set) var signatures: [Signature]

    /// Nil unless `text` ends with a newline and is made of printable characters and newlines.
    public init?(text: String) {
        guard text.hasSuffix("\n"), text.utf8.count <= Self.sizeLimit / 2, Self.isPlain(text) else { return nil }
        self.text = text
        signatures = []
    }

    public init(parsing bytes: [UInt8]) throws(LogError) {
        func malformed(_ detail: String) -> LogError { LogError(.noteMalformed, "signed note", detail) }
        guard bytes.count <= Self.sizeLimit else { throw malformed("more than \(Self.sizeLimit) bytes") }
        guard let whole = String(validating: bytes, as: UTF8.self), Self.isPlain(whole) else {
            throw malformed("not UTF-8, or has control characters")
        }
        // The last blank line: the text may have others.
        guard whole.hasSuffix("\n"), let gap = whole.ranges(of: "\n\n").last else {
            throw malformed("no blank line between text and signatures")
        }
        text = String(whole[..<gap.lowerBound]) + "\n"
        signatures = []
        let lines = whole[gap.upperBound...].dropLast().split(separator: "\n", omittingEmptySubsequences: false)
        guard lines.count <= Self.signatureLimit else { throw malformed("more than \(Self.signatureLimit) signatures") }
        for line in lines {
            let words = line.split(separator: " ", omittingEmptySubsequences: false)
            guard words.count == 3, words[0] == "—", LogKey.isName(String(words[1])),
                let raw = Base64.decode(words[2]), raw.count > 4
            else { throw malformed("a signature line that is none") }
            signatures.append(
                Signature(name: String(words[1]), keyHash: Array(raw.prefix(4)), bytes: Array(raw.dropFirst(4))))
        }
    }

    public var bytes: [UInt8] {
        Array(text.utf8) + [0x0A]
            + signatures.flatMap { Array("— \($0.name) \(Base64.encode($0.keyHash + $0.bytes))\n".utf8) }
    }

    /// Adds a signature; one by the same key is replaced.
    public mutating func sign(as name: String, with signer: some Signer) throws {
        let key = try LogKey(name: name, publicKey: signer.publicKey)
        let signature = Signature(
            name: name, keyHash: key.hash, bytes: try signer.sign(Array(text.utf8)))
        signatures.removeAll { $0.name == name && $0.keyHash == key.hash }
        signatures.append(signature)
    }

    /// Throws unless this key signed the text. A signature by it that does not verify refuses the note.
    public func verify(by key: LogKey) throws(LogError) {
        let candidates = signatures.filter { $0.name == key.name && $0.keyHash == key.hash }
        guard !candidates.isEmpty else {
            throw LogError(.signatureMissing, "signed note", "no signature by \(key.name)")
        }
        for signature in candidates where !key.publicKey.verifies(signature.bytes, over: Array(text.utf8)) {
            throw LogError(.signatureInvalid, "signed note", "the signature by \(key.name) does not verify")
        }
    }

    private static func isPlain(_ text: String) -> Bool {
        text.unicodeScalars.allSatisfy { $0 == "\n" || $0.value >= 0x20 && $0.value != 0x7F }
    }
}

/// A log's public key under its name: `<name>+<hash>+<base64(0x01 || key)>`.
public struct LogKey: Sendable, Hashable {
    static let ed25519Type: UInt8 = 1
    public let name: String
    public let publicKey: Trust.PublicKey
    /// `SHA-256(name || "\n" || 0x01 || key)`, its first four bytes.
    public let hash: [UInt8]

    public init(name: String, publicKey: Trust.PublicKey) throws(LogError) {
        guard Self.isName(name), publicKey.scheme == Trust.PublicKey.Scheme.ed25519.rawValue,
            let raw = Hex.decode(publicKey.value), raw.count == 32
        else { throw LogError(.keyMalformed, "log key \(name)", "needs a name without spaces or + and an ed25519 key") }
        self.name = name
        self.publicKey = publicKey
        hash = Array(Digest.sha256(Array("\(name)\n".utf8) + [Self.ed25519Type] + raw).bytes.prefix(4))
    }

    public init(parsing text: String) throws(LogError) {
        let malformed = LogError(.keyMalformed, "log key", "expected name+hash+base64")
        let parts = text.split(separator: "+", maxSplits: 2, omittingEmptySubsequences: false)
        guard text.utf8.count <= 512, parts.count == 3, let raw = Base64.decode(parts[2]), raw.count == 33,
            raw[0] == Self.ed25519Type
        else { throw malformed }
        try self.init(name: String(parts[0]), publicKey: Trust.PublicKey(ed25519: Array(raw.dropFirst())))
        guard Hex.encode(hash) == parts[1] else { throw malformed }
    }

    public var text: String {
        "\(name)+\(Hex.encode(hash))+\(Base64.encode([Self.ed25519Type] + (Hex.decode(publicKey.value) ?? [])))"
    }

    /// Not empty, no white space, no `+`.
    static func isName(_ text: String) -> Bool {
        !text.isEmpty && text.utf8.count <= 255 && text.allSatisfy { !$0.isWhitespace && $0 != "+" }
    }
}
