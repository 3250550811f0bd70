import Base
import HubProtocol
import Testing
import WireGuard

@Suite struct EnrolmentTokenTests {
    /// Written by an independent program (Python's hmac and `wg pubkey`).
    static let golden =
        "HF1-AEAACAQD-AQCQMBYI-BEFAWDAN-BYHRAEIS-CMKBKFQX-DAMRUGY4-DUPB6EIR-CEIRCEIR-CEIRCEIR-CEIRCEIR-CEIRCEIR-"
        + "CEIRCEIR-CEIRCEIR-JAJUSTIT-PYLDDO5D-AHK2ZK3O-PO32U5GO-CGC5IVSW-L32R243W-O6ZP2AIC-AMCALSTM-B5UHKYRO-"
        + "MV4GC3LQ-NRSS433S-M4W3B2B4"

    @Test func theGoldenTokenReadsAndWritesItself() throws {
        let token = try EnrolmentToken(text: Self.golden)
        #expect(token.seed == Array(0..<32))
        #expect(token.hubPublicKey.bytes == Array(repeating: 0x11, count: 32))
        #expect(token.host == "hub.example.org")
        #expect(token.port == 51820)
        #expect(token.rootDigest == Digest.sha256(Array("root".utf8)))
        #expect(token.network.description == "fd01:203:405::/48")
        #expect(token.network.hub.description == "fd01:203:405::1")
        #expect(token.text == Self.golden)
    }

    @Test func derivesTheKeysThatAnotherProgramDerives() throws {
        let credential = try EnrolmentToken(text: Self.golden).credential()
        #expect(credential.privateKey == SecretKey(base64: "6CqD16UzPNCpnggTJV2t8YWNWnamK5t9L6o93vLmq1s="))
        #expect(credential.publicKey.base64 == "BRVY/2Lnbh8SMsbqFYq+QOCk4NQa7cs/82ksN86Vb24=")
        #expect(credential.presharedKey == SecretKey(base64: "LheSoiNPBuBOa23gj7kC+1RyzkmI2zs1qPtde5LGPio="))
        #expect(credential.id.description == "bc3261b790b0e6dc0109a5959129848b")
    }

    @Test func caseDashesAndWhiteSpaceDoNotMatter() throws {
        let plain = Self.golden.filter { $0 != "-" }
        let spaced = Self.golden.lowercased().replacing("-", with: " \n")
        #expect(try EnrolmentToken(text: plain) == EnrolmentToken(text: Self.golden))
        #expect(try EnrolmentToken(text: spaced) == EnrolmentToken(text: Self.golden))
    }

    @Test func everySingleWrongCharacterIsNoticed() {
        let characters = Array(Self.golden)
        for index in 4..<characters.count where characters[index] != "-" {
            var wrong = characters
            wrong[index] = characters[index] == "A" ? "B" : "A"
            #expect(throws: HubProtocolError.self) { try EnrolmentToken(text: String(wrong)) }
        }
    }

    @Test func everyTruncationIsRefused() {
        for count in 0..<Self.golden.count {
            #expect(throws: HubProtocolError.self) { try EnrolmentToken(text: String(Self.golden.prefix(count))) }
        }
    }

    @Test(arguments: [
        ("", "hub-protocol.token-malformed"), ("hello", "hub-protocol.token-malformed"),
        ("HF2-AEAACAQD", "hub-protocol.token-version"), ("hf-nonsense", "hub-protocol.token-malformed"),
        ("HF1-10", "hub-protocol.token-malformed"),
        ("HF1-AEAACAQD", "hub-protocol.token-checksum"),
        (String(repeating: "A", count: 5000), "hub-protocol.token-malformed"),
    ])
    func refusesWithTheRightCode(_ text: String, _ code: String) {
        let error = #expect(throws: HubProtocolError.self) { try EnrolmentToken(text: text) }
        #expect(error?.code == code)
    }

    @Test func aDescriptionNeverHoldsTheSeed() throws {
        let token = try EnrolmentToken(text: Self.golden)
        #expect("\(token)" == "enrolment token for hub.example.org:51820")
    }

    @Test func aTextForAQRCodeHasNoOtherCharacters() {
        #expect(Self.golden.allSatisfy { ("A"..."Z").contains($0) || ("0"..."9").contains($0) || $0 == "-" })
    }

    @Test func addressesOfSitesAndSlotsAreApart() throws {
        let network = try #require(TunnelNetwork(bytes: [0xFD, 1, 2, 3, 4, 5]))
        #expect(network.device(site: 7, index: 1, slot: .even)?.description == "fd01:203:405:7::2")
        #expect(network.device(site: 7, index: 1, slot: .odd)?.description == "fd01:203:405:7::3")
        #expect(network.device(site: 0, index: 1, slot: .odd) == nil)
        #expect(network.device(site: 0xFFFF, index: 1, slot: .odd) == nil)
        #expect(network.device(site: 1, index: 0, slot: .odd) == nil)
        #expect(network.device(site: 1, index: 1 << 62, slot: .odd) == nil)
        #expect(TunnelNetwork(bytes: [0xFC, 1, 2, 3, 4, 5]) == nil)
        let id = try EnrolmentToken(text: Self.golden).credential().id
        #expect(network.temporary(id).description == "fd01:203:405:ffff:bc32:61b7:90b0:e6dc")
    }
}
