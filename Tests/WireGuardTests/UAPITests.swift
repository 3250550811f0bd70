import Base
import Glibc
import Testing

@testable import WireGuard

@Suite struct UAPITests {
    private static let zeros = String(repeating: "00", count: 32)
    private static func repeated(_ byte: String) -> String { String(repeating: byte, count: 32) }

    private func written(_ difference: DeviceDifference) throws -> String {
        var output: [UInt8] = []
        var writer = UAPIWriter { (bytes) throws(WireGuardError) in output += bytes }
        try writer.write(difference)
        return String(decoding: output, as: UTF8.self)
    }

    @Test func writesEveryFieldInItsForm() throws {
        var difference = NetlinkFrameTests.everything
        difference.peers[1].endpoint = "[fe80::1%lo]:1"
        #expect(
            try written(difference) == """
                set=1
                private_key=\(Self.repeated("11"))
                listen_port=51820
                fwmark=42
                replace_peers=true
                public_key=\(Self.repeated("22"))
                preshared_key=\(Self.repeated("33"))
                endpoint=192.0.2.1:51820
                persistent_keepalive_interval=25
                replace_allowed_ips=true
                allowed_ip=10.0.0.0/8
                allowed_ip=fd00::/64
                public_key=\(Self.repeated("44"))
                update_only=true
                preshared_key=\(Self.zeros)
                endpoint=[fe80::1%lo]:1
                persistent_keepalive_interval=0
                public_key=\(Self.repeated("55"))
                remove=true


                """)
    }

    @Test func writesLargeStatesInBoundedPieces() throws {
        var generator = SeededGenerator(seed: 3)
        let peers = (0..<2000).map { index in
            PeerChange.add(
                PeerConfiguration(
                    publicKey: .random(&generator), presharedKey: .random(&generator),
                    allowedIPs: [IPPrefix(host: IPAddress(high: 0, low: UInt64(index)))]))
        }
        var pieces: [Int] = []
        var whole: [UInt8] = []
        var writer = UAPIWriter { (bytes) throws(WireGuardError) in
            pieces.append(bytes.count)
            whole += bytes
        }
        try writer.write(DeviceDifference(peers: peers))
        #expect(pieces.count > 4)
        #expect(pieces.allSatisfy { $0 < UAPIWriter.chunkBytes + 256 })
        #expect(whole.suffix(2) == [0x0A, 0x0A])
    }

    static let answer = """
        private_key=\(repeated("11"))
        listen_port=51820
        fwmark=42
        some_new_key=whatever
        public_key=\(repeated("22"))
        preshared_key=\(zeros)
        protocol_version=1
        endpoint=192.0.2.1:51820
        last_handshake_time_sec=500000000
        last_handshake_time_nsec=1234
        tx_bytes=1
        rx_bytes=72623859790382856
        persistent_keepalive_interval=25
        allowed_ip=10.0.0.0/8
        allowed_ip=fd00::/64
        public_key=\(repeated("33"))
        preshared_key=\(repeated("44"))
        last_handshake_time_sec=0
        last_handshake_time_nsec=0
        some_new_peer_key=1
        errno=0


        """

    @Test(arguments: [1, 2, 7, 64, 1000, 100_000])
    func readsEveryFieldWhereverThePiecesEnd(size: Int) throws {
        var parser = UAPIParser(name: "wg0")
        let bytes = Array(Self.answer.utf8)
        for start in stride(from: 0, to: bytes.count, by: size) {
            try bytes[start..<min(bytes.count, start + size)].withUnsafeBytes { try parser.consume($0) }
        }
        #expect(parser.errno == 0)
        let state = try parser.finish()
        #expect(
            state
                == DeviceState(
                    name: "wg0", privateKey: .repeating(0x11),
                    publicKey: try SecretKey.repeating(0x11).derivePublicKey(),
                    listenPort: 51820, firewallMark: 42,
                    peers: [
                        Peer(
                            publicKey: .repeating(0x22), endpoint: "192.0.2.1:51820", persistentKeepalive: 25,
                            allowedIPs: ["10.0.0.0/8", "fd00::/64"],
                            lastHandshake: HandshakeTime(seconds: 500_000_000, nanoseconds: 1234),
                            receivedBytes: 0x0102_0304_0506_0708, sentBytes: 1),
                        Peer(publicKey: .repeating(0x33), presharedKey: .repeating(0x44)),
                    ]))
    }

    @Test(arguments: [
        "\n", "errno\n", "errno=\n\n", "errno=x\n\n", "errno=0\nlisten_port=1\n\n", "errno=0\n\nmore",
        "private_key=11\nerrno=0\n\n", "private_key=\(String(repeating: "g", count: 64))\nerrno=0\n\n",
        "listen_port=65536\nerrno=0\n\n", "fwmark=-1\nerrno=0\n\n", "public_key=\(repeated("2"))\nerrno=0\n\n",
        "public_key=\(repeated("22"))\nendpoint=1\nerrno=0\n\n",
        "public_key=\(repeated("22"))\nallowed_ip=1.2.3.4/33\nerrno=0\n\n",
        "public_key=\(repeated("22"))\nrx_bytes=18446744073709551616\nerrno=0\n\n",
        "public_key=\(repeated("22"))\npersistent_keepalive_interval=70000\nerrno=0\n\n",
        "x=\(String(repeating: "y", count: 2000))\nerrno=0\n\n", "listen_port=1\n\n", "errno=0\n",
    ])
    func refusesMalformedAnswers(text: String) {
        #expect(throws: WireGuardError.self) {
            var parser = UAPIParser(name: "wg0")
            try Array(text.utf8).withUnsafeBytes { try parser.consume($0) }
            _ = try parser.finish()
        }
    }

    @Test func readsAnErrorOfEitherSign() throws {
        for text in ["errno=22\n\n", "errno=-22\n\n"] {
            var parser = UAPIParser(name: "wg0")
            try Array(text.utf8).withUnsafeBytes { try parser.consume($0) }
            #expect(parser.errno == 22)
        }
    }

    @Test func aSocketThatNobodyServesIsNoDevice() {
        let device = UserspaceDevice(name: "hfnone0", directory: "/nonexistent")
        #expect(throws: WireGuardError.noSuchDevice(name: "hfnone0")) { try device.read() }
        #expect(!device.isServed())
    }
}
