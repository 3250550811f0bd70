import Base
import Glibc
import Model
import Testing

@testable import Trust

@Suite struct KeyStoreTests {
    private func secret(_ text: String) -> Passphrase { Passphrase { _ in Array(text.utf8) } }

    @Test func anEncryptedKeySignsAfterUnlockingOnly() async throws {
        let store = KeyStore(directory: try Scratch().sub("keys"))
        let entry = try store.generate("root-1", passphrase: secret("correct horse"))
        #expect(entry.protection == .passphrase)
        let key = try store.signer("root-1", passphrase: secret("correct horse"))
        #expect(key.publicKey == entry.publicKey)
        let keys = RoleKeys(keyIDs: [key.keyID], threshold: 1, keys: [key.keyID: key.publicKey])
        try keys.verify([Signature(keyID: key.keyID, bytes: try key.sign([1]))], over: [1], element: "x")
        #expect(await code { _ = try store.signer("root-1", passphrase: secret("wrong")) } == "trust.key-locked")
        #expect(await code { _ = try store.signer("root-1", passphrase: .none) } == "trust.key-locked")
    }

    @Test func noPrivateKeyStandsInAnEncryptedFile() throws {
        let scratch = try Scratch()
        let seed = [UInt8](repeating: 0xAB, count: 32)
        let file = try PrivateKeyFile.make(
            name: "k", publicKey: Ed25519Signer(seed: seed).publicKey,
            secret: .encrypted(seed: seed, passphrase: [1, 2, 3]))
        let text = String(decoding: try file.serialized(.pretty), as: UTF8.self)
        #expect(!text.contains(Hex.encode(seed)))
        _ = scratch
    }

    @Test func filesAreReadableByTheirOwnerOnly() async throws {
        let scratch = try Scratch()
        let store = KeyStore(directory: scratch.sub("keys"))
        try store.generate("a", passphrase: .none)
        let file = scratch.sub("keys/a.key.json")
        #expect(try FileSystem().status(file)?.mode == 0o600)
        #expect(try FileSystem().status(scratch.sub("keys"))?.mode == 0o700)
        for mode: mode_t in [0o640, 0o604, 0o644, 0o660] {
            chmod(file, mode)
            #expect(await code { _ = try store.signer("a", passphrase: .none) } == "trust.key-permission")
        }
        chmod(file, 0o600)
        chmod(scratch.sub("keys"), 0o777)
        #expect(await code { _ = try store.list() } == "trust.key-permission")
    }

    @Test func namesAreTakenOnceAndNeverPaths() async throws {
        let store = KeyStore(directory: try Scratch().sub("keys"))
        try store.generate("a", passphrase: .none)
        #expect(await code { try store.generate("a", passphrase: .none) } == "trust.key-exists")
        for name in ["../a", "a/b", "", ".hidden", "a b"] {
            #expect(await code { try store.generate(name, passphrase: .none) } == "trust.key-name")
        }
        #expect(try store.list().map(\.name) == ["a"])
        #expect(try store.entry("a").protection == .plain)
    }

    @Test func aChangedKeyFileIsRefused() async throws {
        let scratch = try Scratch()
        let store = KeyStore(directory: scratch.sub("keys"))
        let first = try store.generate("a", passphrase: secret("p"))
        let second = try store.generate("b", passphrase: .none)
        let path = scratch.sub("keys/a.key.json")
        let text = String(decoding: try FileSystem().read(path, limit: 1 << 16), as: UTF8.self)
        // Another public key over the same secret.
        let swapped = text.replacing(first.publicKey.value, with: second.publicKey.value)
        try FileSystem().replace(path, with: Array(swapped.utf8), mode: 0o600, op: "test")
        #expect(await code { _ = try store.signer("a", passphrase: secret("p")) } == "trust.key-locked")
        // Parameters that would take all memory.
        let greedy = text.replacing("131072", with: "1099511627776")
        try FileSystem().replace(path, with: Array(greedy.utf8), mode: 0o600, op: "test")
        #expect(await code { _ = try store.signer("a", passphrase: secret("p")) } == "trust.key-malformed")
    }
}
