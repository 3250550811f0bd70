import Base
import COpenSSL

/// A file that verified metadata vouches for.
public struct TargetDescription: Sendable {
    public let path: String
    /// Bytes.
    public let length: Int64
    let hashes: FileHashes

    init(_ file: TargetFile) {
        path = file.path
        length = file.length
        hashes = file.hashes
    }

    /// The path below the repository's target store: with consistent snapshots the file's name carries its hash.
    public func location(consistentSnapshots: Bool) -> String {
        guard consistentSnapshots else { return path }
        let prefix = hashes.sha256?.hex ?? hashes.sha512.map { Hex.encode($0) } ?? ""
        // Scalars, not characters: a slash before a combining mark still parts the path.
        let scalars = path.unicodeScalars
        guard let slash = scalars.lastIndex(of: "/") else { return "\(prefix).\(path)" }
        let name = String(scalars[scalars.index(after: slash)...])
        return "\(String(scalars[..<slash]))/\(prefix).\(name)"
    }

    /// A check that the file's bytes pass through.
    public func check() throws(TrustError) -> TargetCheck { try TargetCheck(self) }
}

/// Checks a file against its description as its bytes come. One task owns it.
public final class TargetCheck {
    private let target: TargetDescription
    private let sha256: OpaquePointer
    private let sha512: OpaquePointer
    private var received: Int64 = 0

    init(_ target: TargetDescription) throws(TrustError) {
        guard target.hashes.sha256 != nil || target.hashes.sha512 != nil else {
            throw TrustError(.hashUnsupported, target.path, "neither a sha256 nor a sha512 to check by")
        }
        guard let first = EVP_MD_CTX_new() else { throw TrustError(.crypto, target.path, "out of memory") }
        guard let second = EVP_MD_CTX_new() else {
            EVP_MD_CTX_free(first)
            throw TrustError(.crypto, target.path, "out of memory")
        }
        sha256 = first
        sha512 = second
        self.target = target
        guard EVP_DigestInit_ex(sha256, EVP_sha256(), nil) == 1, EVP_DigestInit_ex(sha512, EVP_sha512(), nil) == 1
        else { throw TrustError(.crypto, target.path, "libcrypto offers no SHA-2") }
    }

    deinit {
        EVP_MD_CTX_free(sha256)
        EVP_MD_CTX_free(sha512)
    }

    /// Throws as soon as the file is longer than it may be.
    public func update(_ bytes: [UInt8]) throws(TrustError) {
        received += Int64(bytes.count)
        guard received <= target.length else {
            throw TrustError(.lengthMismatch, target.path, "more than the \(target.length) bytes signed for")
        }
        if target.hashes.sha256 != nil { EVP_DigestUpdate(sha256, bytes, bytes.count) }
        if target.hashes.sha512 != nil { EVP_DigestUpdate(sha512, bytes, bytes.count) }
    }

    /// 5.7.2, 5.7.3: length and every known hash.
    public func finish() throws(TrustError) {
        guard received == target.length else {
            throw TrustError(.lengthMismatch, target.path, "\(received) bytes, \(target.length) were signed for")
        }
        if let expected = target.hashes.sha256, final(sha256, 32) != expected.bytes {
            throw TrustError(.hashMismatch, target.path, "the content's sha256 is not \(expected.hex)")
        }
        if let expected = target.hashes.sha512, final(sha512, 64) != expected {
            throw TrustError(.hashMismatch, target.path, "the content's sha512 is not \(Hex.encode(expected))")
        }
    }

    private func final(_ context: OpaquePointer, _ count: Int) -> [UInt8] {
        var output = [UInt8](repeating: 0, count: count)
        return EVP_DigestFinal_ex(context, &output, nil) == 1 ? output : []
    }
}
