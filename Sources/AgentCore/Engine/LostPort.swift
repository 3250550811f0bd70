import Base

/// A host port that the engine says is taken while no container has it and nothing listens on it: Docker Engine can
/// keep one so after a power cut, until it is restarted (moby/moby#20486).
struct LostPort: Hashable, Sendable {
    var port: UInt16

    /// Nil unless the engine itself holds the port: "Bind for 0.0.0.0:80 failed: port is already allocated". Another
    /// program's port reads otherwise ("address already in use").
    init?(_ failure: EngineFailure) {
        guard failure.reason == .portInUse, failure.detail.contains("port is already allocated"),
            let bind = failure.detail.split(separator: " ").drop(while: { $0 != "for" }).dropFirst().first,
            let port = bind.split(separator: ":").last.flatMap({ UInt16($0) })
        else { return nil }
        self.port = port
    }

    /// Whether a container that runs publishes it.
    func isPublished(by containers: [ManagedContainer]) -> Bool {
        containers.contains { container in
            [.running, .paused, .restarting].contains(container.state)
                && container.publishedPorts.contains { key in
                    key.split(separator: "/").first?.split(separator: ":").last.flatMap { UInt16($0) } == port
                }
        }
    }

    /// Whether a socket of this host is bound to it, by the kernel's tables (proc(5)): an engine binds every port that a
    /// container publishes.
    static func isBound(_ port: UInt16, tables: String = "/proc/net") -> Bool {
        let wanted = Hex.encode([UInt8(port >> 8), UInt8(port & 0xFF)]).uppercased()
        for name in ["tcp", "tcp6", "udp", "udp6"] {
            // A table that cannot be read proves nothing: the port counts as bound.
            guard let file = try? ReadableFile(path: Path.join(tables, name)),
                let bytes = try? file.readAll(limit: tableLimit)
            else {
                if name.hasSuffix("6") { continue }
                return true
            }
            for line in bytes.split(separator: 0x0A).dropFirst() {
                let fields = line.split(separator: 0x20)
                guard fields.count > 3 else { continue }
                let local = String(decoding: fields[1], as: UTF8.self).split(separator: ":")
                // 0A: listening. A datagram socket has no such state.
                let counts = name.hasPrefix("udp") || fields[3].elementsEqual("0A".utf8)
                if counts, local.last.map({ $0 == wanted }) == true { return true }
            }
        }
        return false
    }

    /// Bytes of one of the kernel's tables.
    private static let tableLimit = 16 << 20
}
