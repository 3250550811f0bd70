import Base
import Glibc
import Testing

@testable import WireGuard

/// Frames are given field by field, little-endian as on every machine we build for.
@Suite struct NetlinkFrameTests {
    private static func repeated(_ byte: String) -> String { String(repeating: byte, count: 32) }

    private func device(_ script: [[[UInt8]]], maxBytes: Int = 32 << 10) -> (KernelDevice, RecordedTransport) {
        let transport = RecordedTransport(script)
        // The transport stays on this test's thread; the closure only has to be of a Sendable type.
        nonisolated(unsafe) let shared = transport
        return (KernelDevice(name: "wg0", maxMessageBytes: maxBytes, open: { shared }), transport)
    }

    // MARK: What we send

    @Test func asksForTheFamilyAndThenForTheDevice() throws {
        let (device, transport) = device([
            [Answer.family(1), Answer.ack(1)], [Answer.device(2, hex("0800 0200 77673000")), Answer.done(2)],
        ])
        #expect(try device.read() == DeviceState(name: "wg0"))
        #expect(transport.sent.count == 2)
        #expect(
            transport.sent[0]
                == hex(
                    """
                    24000000 1000 0500 01000000 00000000
                    03 01 0000
                    0e00 0200 77697265677561726400 0000
                    """))
        #expect(
            transport.sent[1]
                == hex(
                    """
                    1c000000 1b00 0103 02000000 00000000
                    00 01 0000
                    0800 0200 77673000
                    """))
    }

    static let everything = DeviceDifference(
        privateKey: .repeating(0x11), listenPort: 51820, firewallMark: 42, replacePeers: true,
        peers: [
            PeerChange(
                publicKey: .repeating(0x22), action: .add, presharedKey: .set(.repeating(0x33)),
                endpoint: "192.0.2.1:51820", persistentKeepalive: 25,
                allowedIPs: .replace(["10.0.0.0/8", "fd00::/64"])),
            PeerChange(
                publicKey: .repeating(0x44), action: .update, presharedKey: .clear,
                endpoint: Endpoint(address: "fe80::1", port: 1, scope: 3), persistentKeepalive: 0),
            .remove(.repeating(0x55)),
        ])

    @Test func setsEveryFieldInItsForm() {
        var encoder = SetDeviceEncoder(name: "wg0", family: 0x1b, difference: Self.everything)
        let message = encoder.next(sequence: 7)
        #expect(
            message
                == hex(
                    """
                    c0010000 1b00 0500 07000000 00000000
                    01 01 0000
                    0800 0200 77673000
                    2400 0300 \(Self.repeated("11"))
                    0600 0600 6cca 0000
                    0800 0700 2a000000
                    0800 0500 01000000
                    6801 0880
                      b800 0080
                        2400 0100 \(Self.repeated("22"))
                        0800 0300 02000000
                        2400 0200 \(Self.repeated("33"))
                        1400 0400 0200 ca6c c0000201 0000000000000000
                        0600 0500 1900 0000
                        4800 0980
                          1c00 0080 0600 0100 0200 0000 0800 0200 0a000000 0500 0300 08 000000
                          2800 0080 0600 0100 0a00 0000 1400 0200 fd000000000000000000000000000000 0500 0300 40 000000
                      7c00 0080
                        2400 0100 \(Self.repeated("44"))
                        0800 0300 04000000
                        2400 0200 \(Self.repeated("00"))
                        2000 0400 0a00 0001 00000000 fe800000000000000000000000000001 03000000
                        0600 0500 0000 0000
                      3000 0080
                        2400 0100 \(Self.repeated("55"))
                        0800 0300 01000000
                    """))
        #expect(encoder.next(sequence: 8) == nil)
    }

    @Test func anEmptyPeerListMakesNoNest() {
        var encoder = SetDeviceEncoder(name: "wg0", family: 0x1b, difference: DeviceDifference(listenPort: 1))
        #expect(
            encoder.next(sequence: 1)
                == hex("24000000 1b00 0500 01000000 00000000 01010000 0800 0200 77673000 0600 0600 0100 0000"))
    }

    /// Feeds what the encoder sends to the decoder for what the kernel sends; the layouts are the same.
    @Test(arguments: [512, 700, 1024, 4096, 32 << 10, 1 << 20])
    func splitsByBytesAndSaysReplaceOnce(maxBytes: Int) throws {
        var generator = SeededGenerator(seed: UInt64(maxBytes))
        var peers: [PeerChange] = []
        for number in 0..<120 {
            let count = number == 7 ? 10_000 : Int.random(in: 0...40, using: &generator)
            let prefixes = (0..<count).map { index in
                IPPrefix(host: IPAddress(high: 0xFD00 << 48 | UInt64(number), low: UInt64(index)))
            }
            peers.append(
                PeerChange(
                    publicKey: .random(&generator), action: .add, presharedKey: .set(.random(&generator)),
                    endpoint: "[2001:db8::1]:9", persistentKeepalive: 5, allowedIPs: .replace(prefixes)))
        }
        var encoder = SetDeviceEncoder(
            name: "wg0", family: 0x1b,
            difference: DeviceDifference(privateKey: .repeating(1), replacePeers: true, peers: peers),
            maxBytes: maxBytes)
        var assembler = DeviceAssembler(name: "wg0")
        var audit = FlagAudit()
        var sequence: UInt32 = 0
        while let message = encoder.next(sequence: sequence) {
            #expect(message.count <= max(512, min(maxBytes, 65_532)))
            try message.span.bytes.withUnsafeBytes { (bytes) throws(WireGuardError) in
                let body = UnsafeRawBufferPointer(rebasing: bytes[16...])
                try assembler.consume(body)
                try audit.consume(body)
            }
            sequence += 1
            #expect(sequence < 20_000)
        }
        let state = assembler.finish()
        #expect(state.peers.map(\.publicKey) == peers.map(\.publicKey))
        for (peer, change) in zip(state.peers, peers) {
            #expect(change.allowedIPs == .replace(peer.allowedIPs))
            #expect(change.presharedKey == peer.presharedKey.map { .set($0) })
        }
        #expect(audit.deviceFlags == [1])
        #expect(audit.privateKeys == 1)
        #expect(audit.replacements.count == peers.count)
        #expect(audit.replacements.values.allSatisfy { $0 == 1 })
        #expect(audit.presharedKeys.values.allSatisfy { $0 == 1 })
        #expect(audit.fragments == audit.updateOnly)
    }

    /// Counts the flags and once-only values in SET messages.
    private struct FlagAudit {
        var deviceFlags: [UInt32] = []
        var privateKeys = 0
        var replacements: [[UInt8]: Int] = [:]
        var presharedKeys: [[UInt8]: Int] = [:]
        var fragments = 0
        var updateOnly = 0

        mutating func consume(_ body: UnsafeRawBufferPointer) throws(WireGuardError) {
            var attributes = try GenericNetlink.attributes(of: body)
            while let attribute = try attributes.next() {
                if attribute.type == 3 { privateKeys += 1 }
                if attribute.type == 5 { deviceFlags.append(try attribute.integer(as: UInt32.self, "flags")) }
                guard attribute.type == 8 else { continue }
                var peers = attribute.attributes
                while let peer = try peers.next() { try consume(peer: peer) }
            }
        }

        private mutating func consume(peer: NetlinkAttribute) throws(WireGuardError) {
            var rest = peer.attributes
            var key: [UInt8] = []
            var flags: UInt32 = 0
            while let attribute = try rest.next() {
                if attribute.type == 1 { key = Array(attribute.payload) }
                if attribute.type == 2 { presharedKeys[key, default: 0] += 1 }
                if attribute.type == 3 { flags = try attribute.integer(as: UInt32.self, "flags") }
            }
            if replacements[key] != nil { fragments += 1 }
            if flags & 2 != 0 { replacements[key, default: 0] += 1 }
            if flags & 4 != 0 { updateOnly += 1 }
        }
    }

    // MARK: What we read

    private static let firstPart = hex(
        """
        0800 0200 77673000
        2400 0300 \(repeated("11"))
        2400 0400 \(repeated("12"))
        0600 0600 6cca 0000
        0800 0700 2a000000
        c000 0880
          bc00 0080
            2400 0100 \(repeated("22"))
            2400 0200 \(repeated("00"))
            1400 0400 0200 ca6c c0000201 0000000000000000
            0600 0500 1900 0000
            1400 0600 0065cd1d00000000 d204000000000000
            0c00 0700 0807060504030201
            0c00 0800 0100000000000000
            2000 0980
              1c00 0080 0600 0100 0200 0000 0800 0200 0a000000 0500 0300 08 000000
            0800 0a00 01000000
        """)
    private static let secondPart = hex(
        """
        0800 0200 77673000
        a400 0880
          5400 0080
            2400 0100 \(repeated("22"))
            2c00 0980
              2800 0080 0600 0100 0a00 0000 1400 0200 fd000000000000000000000000000000 0500 0300 40 000000
          4c00 0080
            2400 0100 \(repeated("33"))
            2400 0200 \(repeated("44"))
        """)

    @Test func readsEveryFieldAndJoinsTheFragmentsOfAPeer() throws {
        let (device, _) = device([
            [Answer.family(1), Answer.ack(1)],
            [Answer.device(2, Self.firstPart), Answer.device(2, Self.secondPart) + Answer.done(2)],
        ])
        let state = try device.read()
        #expect(
            state
                == DeviceState(
                    name: "wg0", privateKey: .repeating(0x11), publicKey: .repeating(0x12), listenPort: 51820,
                    firewallMark: 42,
                    peers: [
                        Peer(
                            publicKey: .repeating(0x22), endpoint: "192.0.2.1:51820", persistentKeepalive: 25,
                            allowedIPs: ["10.0.0.0/8", "fd00::/64"],
                            lastHandshake: HandshakeTime(seconds: 500_000_000, nanoseconds: 1234),
                            receivedBytes: 0x0102_0304_0506_0708, sentBytes: 1),
                        Peer(publicKey: .repeating(0x33), presharedKey: .repeating(0x44)),
                    ]))
    }

    @Test func readsAgainWhenTheDumpWasInterrupted() throws {
        let half = hex("0800 0200 77673000 2c00 0880 2800 0080 2400 0100 \(Self.repeated("99"))")
        let (device, transport) = device([
            [Answer.family(1), Answer.ack(1)],
            [Answer.device(2, flags: 2 | 0x10, half), Answer.done(2)],
            [Answer.device(3, half), Answer.done(3, flags: 2 | 0x10)],
            [Answer.device(4, hex("0800 0200 77673000 0600 0600 0100 0000")), Answer.done(4)],
        ])
        #expect(try device.read() == DeviceState(name: "wg0", listenPort: 1))
        #expect(transport.sent.count == 4)
    }

    @Test func readsAgainWhenTheDumpEndsWithEINTR() throws {
        var interrupted = Answer.done(2)
        interrupted.replaceSubrange(16..<20, with: withUnsafeBytes(of: -EINTR) { Array($0) })
        let (device, transport) = device([
            [Answer.family(1), Answer.ack(1)], [interrupted],
            [Answer.device(3, hex("0800 0200 77673000")), Answer.done(3)],
        ])
        #expect(try device.read() == DeviceState(name: "wg0"))
        #expect(transport.sent.count == 3)
    }

    @Test func reportsADumpThatEndsWithAnError() {
        var failed = Answer.done(2)
        failed.replaceSubrange(16..<20, with: withUnsafeBytes(of: -ENOMEM) { Array($0) })
        let (device, _) = device([[Answer.family(1), Answer.ack(1)], [failed]])
        #expect(throws: WireGuardError.system(operation: "read", element: "wg0", errno: ENOMEM, detail: "")) {
            try device.read()
        }
    }

    @Test func givesUpOnADumpThatNeverHolds() {
        let attempts = NetlinkExchange.maxDumpAttempts
        let (device, _) = device(
            [[Answer.family(1), Answer.ack(1)]]
                + (0..<attempts).map { [Answer.done(UInt32($0) + 2, flags: 2 | 0x10)] })
        #expect(throws: WireGuardError.dumpInterrupted(device: "wg0", attempts: attempts)) { try device.read() }
    }

    @Test func skipsLateAnswersOfOtherSequences() throws {
        let (device, _) = device([
            [Answer.family(9), Answer.ack(9, errno: EIO), Answer.family(1), Answer.ack(1)],
            [Answer.device(1, Self.firstPart), Answer.device(2, hex("0800 0200 77673000")), Answer.done(2)],
        ])
        #expect(try device.read() == DeviceState(name: "wg0"))
    }

    @Test func namesWhatTheKernelRefused() {
        func outcome(_ code: Int32) -> WireGuardError? {
            let (device, _) = device([[Answer.family(1), Answer.ack(1)], [Answer.ack(2, errno: code)]])
            do throws(WireGuardError) { try device.apply(DeviceDifference(listenPort: 1)) } catch { return error }
            return nil
        }
        #expect(outcome(ENODEV) == .noSuchDevice(name: "wg0"))
        #expect(outcome(EPERM) == .permission(operation: "configure", element: "wg0"))
        #expect(
            outcome(EADDRINUSE)
                == .system(operation: "configure", element: "wg0", errno: EADDRINUSE, detail: ""))
        #expect(outcome(0) == nil)
        let (unknown, _) = device([[Answer.ack(1, errno: ENOENT)]])
        #expect(throws: WireGuardError.kernelUnsupported) { try unknown.read() }
    }

    @Test func quotesTheKernelsOwnSentence() {
        // NLM_F_ACK_TLVS | NLM_F_CAPPED: errno, the request's header, then NLMSGERR_ATTR_MSG.
        let answer = hex(
            """
            34000000 0200 0003 02000000 11470000
            eaffffff 24000000 1b00 0500 02000000 00000000
            0f00 0100 6261642076616c7565 0000 00
            """)
        let (device, _) = device([[Answer.family(1), Answer.ack(1)], [answer]])
        #expect(
            throws: WireGuardError.system(operation: "configure", element: "wg0", errno: EINVAL, detail: "bad value")
        ) { try device.apply(DeviceDifference(listenPort: 1)) }
    }

    @Test(arguments: [
        "ffff0000 1b00 0200 02000000 11470000", "08000000 1b00 0200 02000000 11470000", "10000000 1b00",
        "14000000 1b00 0200 02000000 11470000 000100", "12000000 1b00 0200 02000000 11470000 0001",
        "18000000 1b00 0200 02000000 11470000 00010000 0300 0200",
        "18000000 1b00 0200 02000000 11470000 00010000 0900 0200",
        "1c000000 1b00 0200 02000000 11470000 00010000 0600 0300 0000 0000",
        "1c000000 1b00 0200 02000000 11470000 00010000 0800 0200 41424344",
        "20000000 1b00 0200 02000000 11470000 00010000 0c00 0880 0800 0080 0400 0900",
    ])
    func refusesMalformedAnswers(frame: String) {
        let (device, _) = device([[Answer.family(1), Answer.ack(1)], [hex(frame), Answer.done(2)]])
        #expect(throws: WireGuardError.self) { try device.read() }
    }
}

@Suite struct RouteFrameTests {
    private func links(_ script: [[[UInt8]]]) -> (NetworkLinks, RecordedTransport) {
        let transport = RecordedTransport(script)
        // The transport stays on this test's thread; the closure only has to be of a Sendable type.
        nonisolated(unsafe) let shared = transport
        return (NetworkLinks(open: { shared }), transport)
    }

    @Test func createsALinkOfKindWireGuard() throws {
        let (links, transport) = links([[Answer.ack(1)]])
        try links.createWireGuard("wg0", mtu: 1420)
        #expect(
            transport.sent
                == [
                    hex(
                        """
                        44000000 1000 0506 01000000 00000000
                        00 00 0000 00000000 00000000 00000000
                        0800 0300 77673000
                        0800 0400 8c050000
                        1400 1280
                          0e00 0100 77697265677561726400 0000
                        """)
                ])
    }

    @Test func aKernelWithoutTheKindIsNamed() {
        let (links, _) = links([[Answer.ack(1, errno: EOPNOTSUPP)]])
        #expect(throws: WireGuardError.kernelUnsupported) { try links.createWireGuard("wg0") }
    }

    @Test func bringsALinkUpAndDown() throws {
        for (up, flags) in [(true, "01000000"), (false, "00000000")] {
            let (links, transport) = links([[Answer.ack(1)]])
            try links.set("wg0", up: up)
            #expect(
                transport.sent
                    == [
                        hex(
                            """
                            28000000 1000 0500 01000000 00000000
                            00 00 0000 00000000 \(flags) 01000000
                            0800 0300 77673000
                            """)
                    ])
        }
    }

    @Test func deletesALinkAndIsContentWithNone() throws {
        let (links, transport) = links([[Answer.ack(1, errno: ENODEV)]])
        try links.delete("wg0")
        #expect(
            transport.sent
                == [
                    hex(
                        """
                        28000000 1100 0500 01000000 00000000
                        00 00 0000 00000000 00000000 00000000
                        0800 0300 77673000
                        """)
                ])
    }

    /// Loopback is interface 1 in every namespace.
    @Test func addsAnAddressWithoutDuplicateDetection() throws {
        let (links, transport) = links([[Answer.ack(1)]])
        try links.add(InterfaceAddress(host: "fd00::1"), to: "lo")
        #expect(
            transport.sent
                == [
                    hex(
                        """
                        40000000 1400 0505 01000000 00000000
                        0a 80 02 00 01000000
                        1400 0200 fd000000000000000000000000000001
                        1400 0100 fd000000000000000000000000000001
                        """)
                ])
    }

    @Test func addsARouteThroughALink() throws {
        let (links, transport) = links([[Answer.ack(1)]])
        try links.addRoute("10.0.0.0/8", through: "lo")
        #expect(
            transport.sent
                == [
                    hex(
                        """
                        2c000000 1800 0505 01000000 00000000
                        02 08 00 00 fe 04 fd 01 00000000
                        0800 0100 0a000000
                        0800 0400 01000000
                        """)
                ])
    }

    @Test func readsALink() throws {
        let answer = hex(
            """
            44000000 1000 0000 01000000 11470000
            00 00 feff 05000000 d1000000 00000000
            0800 0300 77673000
            0800 0400 8c050000
            1400 1200 0e00 0100 77697265677561726400 0000
            """)
        let (links, _) = links([[answer, Answer.ack(1)]])
        #expect(
            try links.link("wg0") == NetworkLink(name: "wg0", index: 5, mtu: 1420, isUp: true, kind: "wireguard"))
    }
}
