import Base

/// A name of an image: `[host[:port]/]path[:tag][@sha256:…]`. Source: distribution/reference grammar.
public struct ImageReference: Hashable, Sendable, CustomStringConvertible {
    /// Bytes of the name without tag and digest.
    public static let nameBytes = 255
    /// Bytes of a tag.
    public static let tagBytes = 128

    /// Nil when the name starts with no host, as in `busybox`.
    public var host: String?
    public var path: String
    public var tag: String?
    public var digest: Digest?

    public init(_ text: String) throws(OCIError) {
        func refuse(_ why: String) -> OCIError { OCIError(.reference, "image reference \"\(text)\"", why) }
        var rest = Substring(text)
        if let at = rest.firstIndex(of: "@") {
            guard let digest = Digest(String(rest[rest.index(after: at)...])) else {
                throw refuse("after @ comes sha256: and 64 lowercase hex digits")
            }
            self.digest = digest
            rest = rest[..<at]
        }
        let lastSlash = rest.lastIndex(of: "/")
        if let colon = rest.lastIndex(of: ":"), lastSlash.map({ colon > $0 }) ?? true {
            let tag = String(rest[rest.index(after: colon)...])
            guard Self.isTag(tag) else { throw refuse("the tag has characters a tag may not have") }
            self.tag = tag
            rest = rest[..<colon]
        }
        guard rest.utf8.count <= Self.nameBytes else { throw refuse("longer than \(Self.nameBytes) bytes") }
        var components = rest.split(separator: "/", omittingEmptySubsequences: false)
        if components.count > 1, let first = components.first,
            first.contains(where: { $0 == "." || $0 == ":" }) || first == "localhost"
        {
            guard Self.isHost(first) else { throw refuse("the host is malformed") }
            host = String(first)
            components.removeFirst()
        }
        guard !components.isEmpty, components.allSatisfy(Self.isPathComponent) else {
            throw refuse("a path has lowercase letters, digits and single separators . _ __ -")
        }
        path = components.joined(separator: "/")
    }

    /// Letters, digits, `_`, `.`, `-`; no `.` or `-` first.
    public static func isTag(_ text: some StringProtocol) -> Bool {
        guard let first = text.utf8.first, first != 0x2E, first != 0x2D, text.utf8.count <= tagBytes else {
            return false
        }
        return text.utf8.allSatisfy { isAlphanumeric($0) || $0 == 0x5F || $0 == 0x2E || $0 == 0x2D }
    }

    private static func isHost(_ text: some StringProtocol) -> Bool {
        let parts = text.split(separator: ":", maxSplits: 1, omittingEmptySubsequences: false)
        guard let name = parts.first, !name.isEmpty,
            name.utf8.allSatisfy({ isAlphanumeric($0) || $0 == 0x2E || $0 == 0x2D })
        else { return false }
        guard parts.count == 2 else { return true }
        return UInt16(parts[1]).map { $0 > 0 } ?? false
    }

    private static func isPathComponent(_ text: some StringProtocol) -> Bool {
        let bytes = Array(text.utf8)
        func isPlain(_ byte: UInt8) -> Bool { (0x61...0x7A).contains(byte) || (0x30...0x39).contains(byte) }
        guard let first = bytes.first, let last = bytes.last, isPlain(first), isPlain(last) else { return false }
        var index = 0
        while index < bytes.count {
            if isPlain(bytes[index]) {
                index += 1
                continue
            }
            let start = index
            while index < bytes.count, bytes[index] == bytes[start], !isPlain(bytes[index]) { index += 1 }
            switch (bytes[start], index - start) {
            case (0x2E, 1), (0x5F, 1), (0x5F, 2), (0x2D, _): break
            default: return false
            }
            guard index < bytes.count, isPlain(bytes[index]) else { return false }
        }
        return true
    }

    private static func isAlphanumeric(_ byte: UInt8) -> Bool {
        (0x61...0x7A).contains(byte) || (0x41...0x5A).contains(byte) || (0x30...0x39).contains(byte)
    }

    /// The short form that the engine shows: `docker.io` and `library/` left out, the tag `latest` written out.
    public var familiar: ImageReference {
        var result = self
        if host == "docker.io" || host == "index.docker.io" { result.host = nil }
        if result.host == nil, path.hasPrefix("library/") { result.path = String(path.dropFirst(8)) }
        if tag == nil, digest == nil { result.tag = "latest" }
        return result
    }

    public var description: String {
        (host.map { $0 + "/" } ?? "") + path + (tag.map { ":" + $0 } ?? "") + (digest.map { "@\($0)" } ?? "")
    }
}
