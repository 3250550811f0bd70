import CMnl

/// What the fuzz targets and the corpus test feed. Traps when a property does not hold; errors are expected.
@_spi(Fuzzing) public enum WireGuardFuzzing {
    /// Bytes as the payload of a netlink dump, header by header, and each body as a device message.
    /// What is understood must survive being encoded and read again.
    public static func netlink(_ bytes: UnsafeRawBufferPointer) {
        guard let name = InterfaceName("wg0") else { return }
        var assembler = DeviceAssembler(name: name)
        do throws(WireGuardError) {
            var messages = NetlinkMessages(bytes)
            while let (header, body) = try messages.next() {
                _ = NetlinkVerdict(header, body)
                _ = try? RouteStructures.parseLink(body)
                _ = try? RouteStructures.parseAddress(body, index: 1)
                _ = try? RouteStructures.parseRoute(body, index: 1)
                _ = try? GenericNetlink.familyID(in: body)
                try assembler.consume(body)
            }
        } catch {
            return
        }
        let state = assembler.finish()
        let peers = state.peers.map { peer in
            PeerChange(
                publicKey: peer.publicKey, action: .add, presharedKey: peer.presharedKey.map { .set($0) } ?? .keep,
                endpoint: peer.endpoint, persistentKeepalive: peer.persistentKeepalive,
                allowedIPs: .replace(peer.allowedIPs))
        }
        var encoder = SetDeviceEncoder(
            name: state.name, family: 1, difference: DeviceDifference(privateKey: state.privateKey, peers: peers),
            maxBytes: SetDeviceEncoder.minMaxBytes)
        var again = DeviceAssembler(name: state.name)
        while let message = encoder.next(sequence: 0) {
            precondition(message.count <= SetDeviceEncoder.minMaxBytes, "a message above its limit")
            let read = message.withUnsafeBytes { buffer in
                Result { () throws(WireGuardError) in
                    try again.consume(UnsafeRawBufferPointer(rebasing: buffer[NetlinkWriter.headerBytes...]))
                }
            }
            guard case .success = read else { preconditionFailure("own message not understood") }
        }
        let second = again.finish()
        precondition(second.peers.map(\.publicKey) == state.peers.map(\.publicKey), "a peer lost in encoding")
        precondition(second.peers.map(\.allowedIPs) == state.peers.map(\.allowedIPs), "an allowed IP lost in encoding")
        precondition(second.peers.map(\.endpoint) == state.peers.map(\.endpoint), "an endpoint lost in encoding")
    }

    /// Bytes as the answer of a UAPI daemon: whole, and in pieces whose sizes the first byte gives.
    /// Both ways must come to the same.
    public static func uapi(_ bytes: UnsafeRawBufferPointer) {
        guard let name = InterfaceName("wg0"), let first = bytes.first else { return }
        let answer = UnsafeRawBufferPointer(rebasing: bytes.dropFirst())
        let whole = parse(answer, pieces: max(1, answer.count), name: name)
        let pieces = parse(answer, pieces: Int(first) + 1, name: name)
        precondition(whole == pieces, "the result depends on where the pieces end")
        guard let state = whole else { return }
        for peer in state.peers {
            for prefix in peer.allowedIPs {
                precondition(IPPrefix(prefix.description) == prefix, "an allowed IP reads back differently")
            }
            if let endpoint = peer.endpoint {
                precondition(Endpoint(endpoint.description) == endpoint, "an endpoint reads back differently")
            }
        }
    }

    private static func parse(_ answer: UnsafeRawBufferPointer, pieces: Int, name: InterfaceName) -> DeviceState? {
        var parser = UAPIParser(name: name)
        do throws(WireGuardError) {
            for start in stride(from: 0, to: answer.count, by: pieces) {
                let end = min(answer.count, start + pieces)
                try parser.consume(UnsafeRawBufferPointer(rebasing: answer[start..<end]))
            }
            return try parser.finish()
        } catch {
            return nil
        }
    }
}
