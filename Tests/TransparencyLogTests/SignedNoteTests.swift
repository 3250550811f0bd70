import Base
import Testing
import Trust

@testable import TransparencyLog

@Suite struct SignedNoteTests {
    /// The example of Go's golang.org/x/mod/sumdb/note: another author's key and signature.
    static let key = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW"
    static let note =
        "If you think cryptography is the answer to your problem,\nthen you don't know what your problem is.\n\n"
        + "— PeterNeumann x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM=\n"

    @Test func anotherAuthorsNoteVerifies() throws {
        let key = try LogKey(parsing: Self.key)
        #expect(key.text == Self.key)
        let note = try SignedNote(parsing: Array(Self.note.utf8))
        try note.verify(by: key)
        #expect(note.bytes == Array(Self.note.utf8))
    }

    @Test func everyChangedCharacterOfItIsRefused() throws {
        let key = try LogKey(parsing: Self.key)
        let bytes = Array(Self.note.utf8)
        for index in bytes.indices {
            var changed = bytes
            changed[index] ^= 1
            #expect(throws: LogError.self, "byte \(index)") {
                try SignedNote(parsing: changed).verify(by: key)
            }
        }
    }

    @Test(arguments: [
        "", "text\n", "text\n\n— name\n", "text\n\n— name AAAA\n", "text\n\n- name AAAAAAAA\n",
        "text\n\n— na+me AAAAAAAA\n", "text\n\n— name AAAAAAAA", "a\u{1}b\n\n— name AAAAAAAA\n",
        "text\n\n— name AAAAAAAA\nrubbish\n",
    ])
    func malformedNotesAreRefused(_ text: String) {
        let error = #expect(throws: LogError.self) { try SignedNote(parsing: Array(text.utf8)) }
        #expect(error?.reason == .noteMalformed)
    }

    @Test func sizesAreBounded() {
        let large = Array(String(repeating: "a", count: 70_000).utf8)
        #expect(throws: LogError.self) { try SignedNote(parsing: large) }
        let many = "t\n\n" + String(repeating: "— name AAAAAAAA\n", count: 65)
        #expect(throws: LogError.self) { try SignedNote(parsing: Array(many.utf8)) }
    }

    @Test func aCheckpointIsTheTextThatC2SPSays() throws {
        let signer = try Ed25519Signer(seed: Array(repeating: 5, count: 32))
        let checkpoint = Checkpoint(origin: "hub.example.org/audit", size: 20, root: .sha256([]))
        #expect(
            checkpoint.text == "hub.example.org/audit\n20\n47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=\n")
        let key = try LogKey(name: "hub.example.org/audit", publicKey: signer.publicKey)
        let note = try checkpoint.signed(by: signer)
        #expect(try Checkpoint(verifying: note.bytes, by: key) == checkpoint)
        // A witness's signature under it does no harm.
        var witnessed = note
        try witnessed.sign(as: "witness.example.org", with: Ed25519Signer(seed: Array(repeating: 6, count: 32)))
        #expect(try Checkpoint(verifying: witnessed.bytes, by: key) == checkpoint)
        let other = try LogKey(name: "other.example.org", publicKey: signer.publicKey)
        let missing = #expect(throws: LogError.self) { try Checkpoint(verifying: note.bytes, by: other) }
        #expect(missing?.reason == .signatureMissing)
    }

    @Test(arguments: [
        "o\n1\n", "o\n-1\n47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=\n",
        "o\n01\n47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=\n", "o\n1\nAAAA\n", "o\n+1\nAAAA\n", "\n1\nAAAA\n",
        "o\n99999999999999999999\n47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=\n",
    ])
    func malformedCheckpointsAreRefused(_ text: String) {
        let error = #expect(throws: LogError.self) { try Checkpoint(text: text) }
        #expect(error?.reason == .checkpointMalformed)
    }

    @Test(arguments: [
        "", "a", "a+00000000+AQ==", "PeterNeumann+c74f20a4+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW",
        "PeterNeumann+c74f20a3+AhpC2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW", "+c74f20a3+ARpc2QcU",
    ])
    func malformedKeysAreRefused(_ text: String) {
        let error = #expect(throws: LogError.self) { try LogKey(parsing: text) }
        #expect(error?.reason == .keyMalformed)
    }
}
