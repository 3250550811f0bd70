import Testing

@testable import WireGuard

@Suite struct ConfigurationFileTests {
    private func parse(_ text: String) throws -> DeviceConfiguration {
        try Array(text.utf8).withUnsafeBytes { try ConfigurationFile.parse($0) }
    }

    @Test func readsEverySettingInAnyCaseAndWithComments() throws {
        let secret = KeyTests.pairs[0].0
        let configuration = try parse(
            """
            # a hub
            [Interface]
            PrivateKey = \(secret)
              listenport=51820\r
            FwMark = 0x2a

            [peer] # the first
            PublicKey=\(KeyTests.pairs[1].1)
            PRESHAREDKEY = \(secret)
            AllowedIPs = 10.0.0.0/8 , fd00::/64
            AllowedIPs = 192.0.2.1
            Endpoint = [2001:db8::1]:9
            PersistentKeepalive = 25
            [Peer]
            PublicKey = \(KeyTests.pairs[2].1)
            PersistentKeepalive = off
            """)
        #expect(
            configuration
                == DeviceConfiguration(
                    privateKey: SecretKey(base64: secret), listenPort: 51820, firewallMark: 42,
                    peers: [
                        PeerConfiguration(
                            publicKey: try #require(PublicKey(base64: KeyTests.pairs[1].1)),
                            presharedKey: SecretKey(base64: secret), endpoint: "[2001:db8::1]:9",
                            persistentKeepalive: 25,
                            allowedIPs: ["10.0.0.0/8", "fd00::/64", "192.0.2.1"]),
                        PeerConfiguration(publicKey: try #require(PublicKey(base64: KeyTests.pairs[2].1))),
                    ]))
    }

    @Test(arguments: [
        ("PrivateKey = x", 1), ("[Interface]\nPrivateKey = short", 2), ("[Interface]\nListenPort = 65536", 2),
        ("[Interface]\n\nAllowedIPs = ::/0", 3), ("[Peer]\nAllowedIPs = ::/129", 2),
        ("[Peer]\nEndpoint = host.example:1", 2),
        ("[Peer]\nPersistentKeepalive = -1", 2), ("[Other]", 1), ("[Peer]\nnonsense", 2),
        ("[Peer]\nAllowedIPs = ::/0", 1),
        ("[Interface]\nFwMark = blue", 2),
    ]) func namesTheLineThatIsWrong(text: String, line: Int) {
        let error = #expect(throws: WireGuardError.self) { try parse(text) }
        #expect(error?.message.contains("(line \(line))") == true, "\(String(describing: error))")
        #expect(error?.message.contains("short") == false)
    }
}
