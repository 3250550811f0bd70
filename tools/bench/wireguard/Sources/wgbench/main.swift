import Glibc
@_spi(Measuring) import WireGuard

// One operation per process, as `wg` has it, so that both are measured from outside in the same way.

func put(_ bytes: [UInt8], to descriptor: Int32) {
    var done = 0
    while done < bytes.count {
        let count = bytes[done...].withUnsafeBytes { write(descriptor, $0.baseAddress, $0.count) }
        guard count > 0 else { return }
        done += count
    }
}

func fail(_ message: String) -> Never {
    put(Array("wgbench: \(message)\n".utf8), to: 2)
    exit(64)
}

/// Seconds on the monotonic clock.
func now() -> Double {
    var time = timespec()
    clock_gettime(CLOCK_MONOTONIC, &time)
    return Double(time.tv_sec) + Double(time.tv_nsec) / 1e9
}

/// `wg show IF dump`, in the order the device gives.
func dump(_ state: DeviceState) {
    var output: [UInt8] = []
    output.reserveCapacity(1 << 20)
    func key(_ key: SecretKey?) {
        guard let key else { return output += "(none)".utf8 }
        output += key.exposedBase64()
    }
    key(state.privateKey)
    output += "\t\(state.publicKey?.base64 ?? "(none)")\t\(state.listenPort)\t".utf8
    output += (state.firewallMark == 0 ? "off" : "0x" + String(state.firewallMark, radix: 16)).utf8
    output.append(0x0A)
    for peer in state.peers {
        output += peer.publicKey.base64.utf8
        output.append(0x09)
        key(peer.presharedKey)
        output.append(0x09)
        output += (peer.endpoint?.description ?? "(none)").utf8
        output.append(0x09)
        if peer.allowedIPs.isEmpty { output += "(none)".utf8 }
        for (index, prefix) in peer.allowedIPs.enumerated() {
            if index > 0 { output.append(0x2C) }
            prefix.appendText(to: &output)
        }
        output += "\t\(peer.lastHandshake?.seconds ?? 0)\t\(peer.receivedBytes)\t\(peer.sentBytes)\t".utf8
        output += (peer.persistentKeepalive == 0 ? "off" : "\(peer.persistentKeepalive)").utf8
        output.append(0x0A)
        if output.count > 1 << 19 {
            put(output, to: 1)
            output.removeAll(keepingCapacity: true)
        }
    }
    put(output, to: 1)
}

let arguments = CommandLine.arguments
guard arguments.count >= 3, let name = InterfaceName(arguments[2]) else {
    fail("usage: wgbench setconf|syncconf IF FILE | dump IF | add IF COUNT")
}
do {
    let device = try WireGuardHost(daemon: nil).device(name)
    switch arguments[1] {
    case "setconf":
        let wanted = try ConfigurationFile.read(arguments[3])
        try device.apply(
            DeviceDifference(
                privateKey: wanted.privateKey, listenPort: wanted.listenPort, firewallMark: wanted.firewallMark,
                replacePeers: true, peers: wanted.peers.map { .add($0) }))
    case "syncconf":
        try device.synchronize(to: try ConfigurationFile.read(arguments[3]))
    case "dump":
        dump(try device.read())
    case "add":
        // Peers are added one at a time and taken away again; each addition is timed alone.
        var times: [Double] = []
        for index in 0..<(Int(arguments[3]) ?? 1) {
            let key = try SecretKey.generatePrivate().derivePublicKey()
            let address = IPAddress(high: 0xFDFF << 48, low: UInt64(index))
            let start = now()
            try device.apply(
                DeviceDifference(peers: [.add(PeerConfiguration(publicKey: key, allowedIPs: [IPPrefix(host: address)]))]
                ))
            times.append(now() - start)
            try device.apply(DeviceDifference(peers: [.remove(key)]))
        }
        times.sort()
        print("\(times[times.count / 2]) \(times[times.count - 1])")
    default:
        fail("no such operation: \(arguments[1])")
    }
} catch {
    fail("\(error)")
}
var usage = rusage()
getrusage(RUSAGE_SELF.rawValue, &usage)
put(Array("maxrss_kib \(usage.ru_maxrss)\n".utf8), to: 2)
