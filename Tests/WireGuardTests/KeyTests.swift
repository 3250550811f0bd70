import Base
import Glibc
import TestSupport
import Testing

@testable import WireGuard

@Suite struct KeyTests {
    /// The first is RFC 7748 section 6.1; the others come from `wg genkey` and `wg pubkey`.
    static let pairs = [
        ("dwdtCnMYpX08FsFyUbJmRd9ML4frwJkqsXf7pR25LCo=", "hSDwCYkwp1R0i33ctD73Wg2/Og0mOBr066SpjqqbTmo="),
        ("8GziLdsE8udMq8Kg4rjTH0XA/zoiCMeM+Ng4pSlA/Gk=", "0zMkYR2Q6UXc10bt5w1ki7m//OGjP+Nuzv3ho2TCz2A="),
        ("wCa2Egi3gwpcvSdULiRXe2FRZ6IWNMutbSXQ1TtLO0M=", "guTzKG51Dee5Sqb7KMTYLi5nQrOxgh8Kf7vXDuzaTVs="),
        ("oMvIOdaZ7Yn0ZiQPLJyVdOfZx1KQ9QO/1ATNY4u/71w=", "jg+/esHnsK8Ubna6fHGcEovfoH3LCvufc1dlV6PK2Fc="),
    ]

    @Test(arguments: pairs) func derivesThePublicKeyThatOthersDerive(secret: String, expected: String) throws {
        let key = try #require(SecretKey(base64: secret))
        #expect(try key.derivePublicKey().base64 == expected)
    }

    @Test func readsAndWritesEveryCharacterOfTheAlphabet() throws {
        var generator = SeededGenerator(seed: 1)
        var seen: Set<Character> = []
        for _ in 0..<500 {
            let key = PublicKey.random(&generator)
            seen.formUnion(key.base64)
            #expect(PublicKey(base64: key.base64) == key)
            #expect(PublicKey(hex: Hex.encode(key.bytes)) == key)
            #expect(PublicKey(hex: Hex.encode(key.bytes).uppercased()) == key)
            let secret = SecretKey.random(&generator)
            var text: [UInt8] = []
            secret.appendBase64(to: &text)
            #expect(SecretKey(base64: String(decoding: text, as: UTF8.self)) == secret)
            #expect(text.count == 44)
            var digits: [UInt8] = []
            secret.appendHex(to: &digits)
            #expect(digits.withUnsafeBytes { SecretKey(hexBytes: $0) } == secret)
        }
        #expect(seen.count == 65)
    }

    @Test func refusesEverySingleCharacterOutsideTheForm() {
        let good = Self.pairs[0].1
        for position in 0..<44 {
            for byte in UInt8(0)...255 {
                var characters = Array(good.utf8)
                let isAlphabet =
                    UInt8(ascii: "A")...UInt8(ascii: "Z") ~= byte || UInt8(ascii: "a")...UInt8(ascii: "z") ~= byte
                    || UInt8(ascii: "0")...UInt8(ascii: "9") ~= byte || byte == UInt8(ascii: "+")
                    || byte == UInt8(ascii: "/")
                characters[position] = byte
                let key = characters.withUnsafeBytes { SecretKey(base64Bytes: $0) }
                if position == 43 {
                    #expect((key != nil) == (byte == UInt8(ascii: "=")))
                } else if position < 42 {
                    #expect((key != nil) == isAlphabet, "byte \(byte) at \(position)")
                }
            }
        }
    }

    @Test(arguments: [
        "", "=", "hSDwCYkwp1R0i33ctD73Wg2/Og0mOBr066SpjqqbTmo", "hSDwCYkwp1R0i33ctD73Wg2/Og0mOBr066SpjqqbTmo=\n",
        "hSDwCYkwp1R0i33ctD73Wg2/Og0mOBr066SpjqqbTmp=", "hSDwCYkwp1R0i33ctD73Wg2_Og0mOBr066SpjqqbTmo=",
        "hSDwCYkwp1R0i33ctD73Wg2/Og0mOBr066SpjqqbTmoA",
    ])
    func refusesOtherForms(text: String) {
        #expect(PublicKey(base64: text) == nil)
        #expect(SecretKey(base64: text) == nil)
    }

    @Test func printsNoSecretAndNoWholeKey() throws {
        let secret = try #require(SecretKey(base64: Self.pairs[0].0))
        var dumped = ""
        dump(secret, to: &dumped)
        let state = DeviceState(name: "wg0", privateKey: secret)
        for text in ["\(secret)", String(reflecting: secret), dumped, "\(state)", String(reflecting: state)] {
            #expect(!text.contains("dwdtCnMY"))
            #expect(!text.contains(String(0x7da5_1873_0a6d_0777 as UInt64)))
        }
        let key = try secret.derivePublicKey()
        #expect("\(key)" == "hSDwCYkw…")
        #expect(!"\(PeerChange.remove(key))".contains(key.base64))
    }

    @Test func equalityLooksAtEveryBit() {
        let key = SecretKey.repeating(0x5A)
        let open = PublicKey.repeating(0x5A)
        for bit in 0..<256 {
            var bytes = [UInt8](repeating: 0x5A, count: 32)
            bytes[bit / 8] ^= 1 << (bit % 8)
            #expect(SecretKey(bytes: bytes) != key)
            #expect(PublicKey(bytes: bytes) != open)
        }
        #expect(SecretKey.repeating(0x5A) == key)
        #expect(PublicKey.repeating(0x5A) == open)
    }

    /// Looks through this process's own memory for the key, before and after the last reference goes.
    @Test func leavesNothingInMemoryWhenFreed() throws {
        // Kept inverted, so that the search pattern is no copy of the key.
        var inverted = [UInt8](repeating: 0, count: 32)
        func makeAndCount() throws -> Int {
            let key = try SecretKey.generatePreshared()
            key.withUnsafeBytes { for index in 0..<32 { inverted[index] = ~$0[index] } }
            let count = try Self.occurrences(ofInverted: inverted)
            withExtendedLifetime(key) {}
            return count
        }
        #expect(try makeAndCount() >= 1)
        #expect(try Self.occurrences(ofInverted: inverted) == 0)
    }

    /// How often the complement of the pattern stands in writable memory.
    private static func occurrences(ofInverted pattern: [UInt8]) throws -> Int {
        let maps = String(
            decoding: try ReadableFile(path: "/proc/self/maps").readAll(limit: 4 << 20), as: UTF8.self)
        let memory = open("/proc/self/mem", O_RDONLY | O_CLOEXEC)
        defer { close(memory) }
        var count = 0
        let block = 1 << 20
        let buffer = UnsafeMutablePointer<UInt8>.allocate(capacity: block + 32)
        defer { buffer.deallocate() }
        for line in maps.split(separator: "\n") {
            let fields = line.split(separator: " ", omittingEmptySubsequences: true)
            guard fields.count >= 2, fields[1].hasPrefix("rw") else { continue }
            let ends = fields[0].split(separator: "-").compactMap { UInt(String($0), radix: 16) }
            guard ends.count == 2 else { continue }
            var position = ends[0]
            while position < ends[1] {
                let got = pread(memory, buffer, min(block + 31, Int(ends[1] - position)), off_t(position))
                guard got > 0 else { break }
                // Our own read buffer is part of the memory; what it holds of itself is not a find.
                let own = UInt(bitPattern: buffer)
                for start in 0..<max(0, got - 31) where buffer[start] == ~pattern[0] && buffer[start + 1] == ~pattern[1]
                {
                    let address = position + UInt(start)
                    guard !(own..<(own + UInt(block + 32))).contains(address) else { continue }
                    if (0..<32).allSatisfy({ buffer[start + $0] == ~pattern[$0] }) { count += 1 }
                }
                position += UInt(block)
            }
        }
        return count
    }

    @Test func generatedPrivateKeysAreClampedAndDiffer() throws {
        let keys = try (0..<50).map { _ in try SecretKey.generatePrivate() }
        #expect(Set(keys).count == 50)
        for key in keys {
            key.withUnsafeBytes {
                #expect($0[0] & 7 == 0)
                #expect($0[31] & 0xC0 == 0x40)
            }
        }
    }
}

@Suite struct KeyFileTests {
    private func temporary() throws -> String {
        var template = Array("/tmp/holdfast-key-XXXXXX".utf8CString)
        guard mkdtemp(&template) != nil else { throw WireGuardError.invalidKey(source: "temporary directory") }
        return String(decoding: template.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }, as: UTF8.self)
    }

    @Test func writesModeSixHundredAndReadsBack() throws {
        let directory = try temporary()
        defer { try? FileSystem().removeTree(directory, op: "test") }
        let file = KeyFile(path: directory + "/key")
        let key = try file.readOrCreate()
        #expect(try file.read() == key)
        #expect(try file.readOrCreate() == key)
        #expect(try FileSystem().status(file.path)?.mode == 0o600)
        var text: [UInt8] = []
        key.appendBase64(to: &text)
        #expect(try FileSystem().read(file.path, limit: 100) == text + [0x0A])
        #expect(try FileSystem().list(directory) == ["key"])
    }

    @Test(arguments: [0o640, 0o604, 0o644, 0o660, 0o602, 0o700, 0o777] as [UInt32])
    func refusesAFileThatOthersMayTouch(mode: UInt32) throws {
        let directory = try temporary()
        defer { try? FileSystem().removeTree(directory, op: "test") }
        let file = KeyFile(path: directory + "/key")
        _ = try file.readOrCreate()
        chmod(file.path, mode_t(mode))
        #expect(throws: WireGuardError.keyFileExposed(path: file.path, mode: mode, owner: geteuid())) {
            try file.read()
        }
    }

    @Test func refusesASymlinkAnotherOwnerAndGarbage() throws {
        let directory = try temporary()
        defer { try? FileSystem().removeTree(directory, op: "test") }
        let file = KeyFile(path: directory + "/key")
        _ = try file.readOrCreate()
        symlink(file.path, directory + "/link")
        #expect(throws: WireGuardError.self) { try KeyFile(path: directory + "/link").read() }
        if geteuid() == 0 {
            chown(file.path, 12345, 12345)
            #expect(throws: WireGuardError.keyFileExposed(path: file.path, mode: 0o600, owner: 12345)) {
                try file.read()
            }
        }
        for content in ["", "\n", "short", String(repeating: "A", count: 200), KeyTests.pairs[0].0 + "x"] {
            try FileSystem().replace(directory + "/bad", with: Array(content.utf8), mode: 0o600, op: "test")
            #expect(throws: WireGuardError.invalidKey(source: directory + "/bad")) {
                try KeyFile(path: directory + "/bad").read()
            }
        }
        try FileSystem().replace(
            directory + "/padded", with: Array("  \(KeyTests.pairs[0].0)\r\n\n".utf8), mode: 0o600, op: "test")
        #expect(try KeyFile(path: directory + "/padded").read() == SecretKey(base64: KeyTests.pairs[0].0))
    }
}
