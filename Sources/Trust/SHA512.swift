import COpenSSL

enum SHA512 {
    /// 64 bytes.
    static func hash(_ bytes: [UInt8]) -> [UInt8] {
        var output = [UInt8](repeating: 0, count: 64)
        var length: UInt32 = 0
        let done = EVP_Digest(bytes, bytes.count, &output, &length, EVP_sha512(), nil)
        precondition(done == 1 && length == 64, "libcrypto offers no SHA-512")
        return output
    }
}
