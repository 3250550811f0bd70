import Base
import COpenSSL
import Model

/// Where a passphrase comes from. Never the command line: arguments are readable by every user of the machine.
public struct Passphrase: Sendable {
    /// Asked once per key; nil when the person gives none.
    public var read: @Sendable (_ keyName: String) throws -> [UInt8]?

    public init(read: @escaping @Sendable (_ keyName: String) throws -> [UInt8]?) { self.read = read }

    /// Keys are kept in the clear: for a lab.
    public static let none = Passphrase { _ in nil }
}

/// Signing keys in a directory of mode 0700, a file each of mode 0600.
///
/// A private key is encrypted with AES-256-GCM under a key that scrypt (RFC 7914) derives from a passphrase;
/// the public part is authenticated with it. Nothing here ever prints a private key.
public struct KeyStore: Sendable {
    public let directory: String
    private let fileSystem: FileSystem

    /// Bytes of one key file.
    public static let fileLimit = 64 << 10
    public static let suffix = ".key.json"

    /// What there is to know of a key without unlocking it.
    public struct Entry: Sendable, Equatable {
        public enum Protection: String, Sendable, Codable { case passphrase, plain, token }
        public let name: String
        public let publicKey: PublicKey
        public let protection: Protection
        public var keyID: String { publicKey.keyID }
    }

    public init(directory: String, fileSystem: FileSystem = FileSystem()) {
        self.directory = directory
        self.fileSystem = fileSystem
    }

    /// Makes an ed25519 key. With a passphrase it is encrypted; without, kept in the clear and said to be `plain`.
    ///
    /// - Throws: `trust.key-exists`; `trust.key-name`; `trust.key-permission` when the directory is open to others.
    @discardableResult
    public func generate(_ name: String, passphrase: Passphrase) throws -> Entry {
        let seed = try SecureRandom.bytes(Ed25519Signer.seedBytes)
        let signer = try Ed25519Signer(seed: seed)
        let secret = try passphrase.read(name)
        let key = secret.map { PrivateKeyFile.Secret.encrypted(seed: seed, passphrase: $0) } ?? .plain(seed: seed)
        return try store(name, signer.publicKey, key)
    }

    /// Records a key that lives in a PKCS#11 token.
    @discardableResult
    public func add(_ name: String, token: TokenReference, publicKey: PublicKey) throws -> Entry {
        try store(name, publicKey, .token(token))
    }

    private func store(_ name: String, _ publicKey: PublicKey, _ secret: PrivateKeyFile.Secret) throws -> Entry {
        try checkName(name)
        try fileSystem.makeDirectories(directory, mode: 0o700, op: "keys.directory")
        try checkDirectory()
        guard try fileSystem.status(path(name)) == nil else {
            throw TrustError(.keyExists, name, "there is a key of this name in \(directory)")
        }
        let file = try PrivateKeyFile.make(name: name, publicKey: publicKey, secret: secret)
        try fileSystem.replace(path(name), with: file.serialized(.pretty), mode: 0o600, op: "keys.store")
        return try entry(name)
    }

    /// Every key, by name.
    public func list() throws -> [Entry] {
        guard try fileSystem.status(directory) != nil else { return [] }
        try checkDirectory()
        return try fileSystem.list(directory).filter { $0.hasSuffix(Self.suffix) }
            .map { try entry(String($0.dropLast(Self.suffix.count))) }
    }

    /// A key's public part.
    public func entry(_ name: String) throws -> Entry { try load(name).entry }

    /// Unlocks a key.
    ///
    /// - Throws: `trust.key-not-found`, `trust.key-permission`, `trust.key-locked` for a wrong or missing passphrase.
    public func signer(_ name: String, passphrase: Passphrase) throws -> any Signer {
        let file = try load(name)
        switch file.entry.protection {
        case .plain: return try file.unlock(with: nil)
        case .passphrase: return try file.unlock(with: passphrase.read(name))
        case .token:
            let pin = try passphrase.read("\(name) (its token's PIN)")
            return try TokenSigner(file.token(), publicKey: file.entry.publicKey, pin: pin)
        }
    }

    private func path(_ name: String) -> String { Path.join(directory, name + Self.suffix) }

    private func checkName(_ name: String) throws(TrustError) {
        let plain = name.utf8.allSatisfy {
            (0x30...0x39).contains($0) || (0x61...0x7A).contains($0 | 0x20) || $0 == 0x2D || $0 == 0x5F || $0 == 0x2E
        }
        guard plain, !name.isEmpty, name.utf8.count <= 64, !name.hasPrefix(".") else {
            throw TrustError(.keyName, name, "a key's name is 1 to 64 letters, digits, \"-\", \"_\" or \".\"")
        }
    }

    private func checkDirectory() throws {
        guard let status = try fileSystem.status(directory), status.kind == .directory else {
            throw TrustError(.keyNotFound, directory, "is no directory")
        }
        guard status.mode & 0o022 == 0 else {
            throw TrustError(.keyPermission, directory, "others may write to the key directory")
        }
    }

    private func load(_ name: String) throws -> PrivateKeyFile {
        try checkName(name)
        guard let named = try fileSystem.status(path(name)) else {
            throw TrustError(.keyNotFound, name, "no such key in \(directory)")
        }
        guard named.kind == .file else { throw TrustError(.keyPermission, path(name), "is no plain file") }
        try checkDirectory()
        // The mode of the very file that is read, whatever takes its name meanwhile.
        let file = try ReadableFile(path: path(name))
        let mode = try file.status().mode
        guard mode & 0o077 == 0 else {
            throw TrustError(
                .keyPermission, path(name),
                "mode is 0\(String(mode, radix: 8)): a key file must be readable by its owner only")
        }
        return try PrivateKeyFile(parsing: file.readAll(limit: Self.fileLimit), name: name)
    }
}

/// A key file's content.
struct PrivateKeyFile {
    enum Secret {
        case encrypted(seed: [UInt8], passphrase: [UInt8])
        case plain(seed: [UInt8])
        case token(TokenReference)
    }

    let entry: KeyStore.Entry
    private let node: JSONNode

    init(parsing bytes: [UInt8], name: String) throws(TrustError) {
        guard let node = try? JSONTape(parsing: bytes).root, node["schema"]?.integer == 1,
            let type = node["keytype"]?.string, let scheme = node["scheme"]?.string, let text = node["public"]?.string,
            let protection = node["protection"]?.string.flatMap(KeyStore.Entry.Protection.init(rawValue:))
        else { throw TrustError(.keyMalformed, name, "the key file is damaged or of an unknown schema") }
        self.node = node
        entry = KeyStore.Entry(
            name: name, publicKey: PublicKey(keyType: type, scheme: scheme, value: text), protection: protection)
    }

    static func make(name: String, publicKey: PublicKey, secret: Secret) throws(TrustError) -> JSONValue {
        var fields: [String: JSONValue] = [
            "schema": 1, "keytype": .string(publicKey.keyType), "scheme": .string(publicKey.scheme),
            "public": .string(publicKey.value), "keyid": .string(publicKey.keyID),
        ]
        switch secret {
        case .plain(let seed):
            fields["protection"] = "plain"
            fields["private"] = .string(Hex.encode(seed))
        case .encrypted(let seed, let passphrase):
            let salt = try SecureRandom.bytes(KeyEncryption.saltBytes)
            let nonce = try SecureRandom.bytes(KeyEncryption.nonceBytes)
            let cost = KeyEncryption.Cost.standard
            let key = try KeyEncryption.derive(passphrase, salt: salt, cost: cost)
            let sealed = try KeyEncryption.seal(
                seed, key: key, nonce: nonce, authenticated: Array(publicKey.value.utf8))
            fields["protection"] = "passphrase"
            fields["kdf"] = [
                "name": "scrypt", "n": .integer(cost.n), "r": .integer(cost.r), "p": .integer(cost.p),
                "salt": .string(Hex.encode(salt)),
            ]
            fields["cipher"] = ["name": "aes-256-gcm", "nonce": .string(Hex.encode(nonce))]
            fields["private"] = .string(Hex.encode(sealed))
        case .token(let token):
            fields["protection"] = "token"
            fields["token"] = [
                "module": .string(token.module), "label": .string(token.tokenLabel), "key": .string(token.keyLabel),
            ]
        }
        return .object(fields)
    }

    func unlock(with passphrase: [UInt8]?) throws(TrustError) -> Ed25519Signer {
        guard let stored = node["private"]?.string.flatMap({ Hex.decode($0) }) else { throw damaged }
        let seed: [UInt8]
        if entry.protection == .plain {
            seed = stored
        } else {
            guard let passphrase else { throw TrustError(.keyLocked, entry.name, "is locked with a passphrase") }
            guard let kdf = node["kdf"], kdf["name"]?.string == "scrypt", let cipher = node["cipher"],
                cipher["name"]?.string == "aes-256-gcm", let cost = KeyEncryption.Cost(kdf),
                let salt = kdf["salt"]?.string.flatMap({ Hex.decode($0) }),
                let nonce = cipher["nonce"]?.string.flatMap({ Hex.decode($0) })
            else { throw damaged }
            let key = try KeyEncryption.derive(passphrase, salt: salt, cost: cost)
            guard
                let opened = KeyEncryption.open(
                    stored, key: key, nonce: nonce, authenticated: Array(entry.publicKey.value.utf8))
            else { throw TrustError(.keyLocked, entry.name, "the passphrase does not open this key") }
            seed = opened
        }
        let signer = try Ed25519Signer(seed: seed)
        guard signer.publicKey == entry.publicKey else { throw damaged }
        return signer
    }

    func token() throws(TrustError) -> TokenReference {
        guard let token = node["token"], let module = token["module"]?.string, let label = token["label"]?.string,
            let key = token["key"]?.string
        else { throw damaged }
        return TokenReference(module: module, tokenLabel: label, keyLabel: key)
    }

    private var damaged: TrustError { TrustError(.keyMalformed, entry.name, "the key file is damaged") }
}

/// scrypt and AES-256-GCM by libcrypto.
enum KeyEncryption {
    static let saltBytes = 32
    static let nonceBytes = 12
    static let tagBytes = 16
    static let keyBytes = 32

    /// scrypt's parameters. Memory is 128·n·r bytes.
    struct Cost {
        var n: Int64
        var r: Int64
        var p: Int64
        /// 128 MiB and about half a second on a laptop.
        static let standard = Cost(n: 1 << 17, r: 8, p: 1)
        /// Bytes of memory: what a key file may ask for.
        static let memoryLimit: Int64 = 1 << 30

        init(n: Int64, r: Int64, p: Int64) {
            self.n = n
            self.r = r
            self.p = p
        }

        /// Nil for parameters that no key file of ours has: memory comes from the file's own word.
        init?(_ node: JSONNode) {
            guard let n = node["n"]?.integer, let r = node["r"]?.integer, let p = node["p"]?.integer,
                (1024...(1 << 20)).contains(n), n & (n - 1) == 0, (1...32).contains(r), (1...16).contains(p),
                128 * n * r <= Self.memoryLimit
            else { return nil }
            self.init(n: n, r: r, p: p)
        }
    }

    static func derive(_ passphrase: [UInt8], salt: [UInt8], cost: Cost) throws(TrustError) -> [UInt8] {
        var key = [UInt8](repeating: 0, count: keyBytes)
        let done = passphrase.withUnsafeBytes { text in
            EVP_PBE_scrypt(
                text.bindMemory(to: CChar.self).baseAddress, text.count, salt, salt.count, UInt64(cost.n),
                UInt64(cost.r), UInt64(cost.p), UInt64(2 * Cost.memoryLimit), &key, key.count)
        }
        guard done == 1 else { throw TrustError(.crypto, "scrypt", "libcrypto cannot derive the key") }
        return key
    }

    /// Ciphertext followed by the tag.
    static func seal(
        _ plain: [UInt8], key: [UInt8], nonce: [UInt8], authenticated: [UInt8]
    ) throws(TrustError) -> [UInt8] {
        guard let context = EVP_CIPHER_CTX_new() else { throw TrustError(.crypto, "aes-256-gcm", "out of memory") }
        defer { EVP_CIPHER_CTX_free(context) }
        var output = [UInt8](repeating: 0, count: plain.count)
        var tag = [UInt8](repeating: 0, count: tagBytes)
        var scratch = [UInt8](repeating: 0, count: tagBytes)
        var length: Int32 = 0
        guard EVP_EncryptInit_ex(context, EVP_aes_256_gcm(), nil, key, nonce) == 1,
            EVP_EncryptUpdate(context, nil, &length, authenticated, Int32(authenticated.count)) == 1,
            EVP_EncryptUpdate(context, &output, &length, plain, Int32(plain.count)) == 1, length == plain.count,
            EVP_EncryptFinal_ex(context, &scratch, &length) == 1,
            EVP_CIPHER_CTX_ctrl(context, EVP_CTRL_AEAD_GET_TAG, Int32(tagBytes), &tag) == 1
        else { throw TrustError(.crypto, "aes-256-gcm", "libcrypto cannot encrypt") }
        return output + tag
    }

    /// Nil when the key is wrong or anything was changed.
    static func open(_ sealed: [UInt8], key: [UInt8], nonce: [UInt8], authenticated: [UInt8]) -> [UInt8]? {
        guard sealed.count >= tagBytes, nonce.count == nonceBytes, let context = EVP_CIPHER_CTX_new() else {
            return nil
        }
        defer { EVP_CIPHER_CTX_free(context) }
        let cipher = Array(sealed.dropLast(tagBytes))
        var tag = Array(sealed.suffix(tagBytes))
        var output = [UInt8](repeating: 0, count: cipher.count)
        var scratch = [UInt8](repeating: 0, count: tagBytes)
        var length: Int32 = 0
        guard EVP_DecryptInit_ex(context, EVP_aes_256_gcm(), nil, key, nonce) == 1,
            EVP_DecryptUpdate(context, nil, &length, authenticated, Int32(authenticated.count)) == 1,
            EVP_DecryptUpdate(context, &output, &length, cipher, Int32(cipher.count)) == 1, length == cipher.count,
            EVP_CIPHER_CTX_ctrl(context, EVP_CTRL_AEAD_SET_TAG, Int32(tagBytes), &tag) == 1,
            EVP_DecryptFinal_ex(context, &scratch, &length) == 1
        else { return nil }
        return output
    }
}
