import Glibc

/// Finds and makes WireGuard interfaces in this network namespace, in the kernel first, else in userspace.
public struct WireGuardHost: Sendable {
    public var links: NetworkLinks
    /// Where a userspace daemon's socket is.
    public var directory: String
    /// Nil when no daemon may be started.
    public var daemon: UserspaceDaemon?

    public init(
        links: NetworkLinks = NetworkLinks(), directory: String = UserspaceDevice.defaultDirectory,
        daemon: UserspaceDaemon? = .installed()
    ) {
        self.links = links
        self.directory = directory
        self.daemon = daemon
    }

    /// The device of an interface that is there: by its UAPI socket if one answers, else by the kernel.
    public func device(_ name: InterfaceName) throws(WireGuardError) -> any WireGuardDevice {
        let userspace = UserspaceDevice(name: name, directory: directory)
        // The socket alone is not enough: it may serve an interface in another namespace.
        guard let link = try links.link(name) else { throw .noSuchDevice(name: name.text) }
        if link.kind == "wireguard" { return KernelDevice(name: name) }
        guard userspace.isServed() else { throw .noSuchDevice(name: name.text) }
        return userspace
    }

    /// Names of all WireGuard interfaces here, sorted.
    public func deviceNames() throws(WireGuardError) -> [InterfaceName] {
        try links.list()
            .filter {
                $0.kind == "wireguard"
                    || ($0.kind == "tun" && UserspaceDevice(name: $0.name, directory: directory).isServed())
            }
            .map(\.name)
            .sorted { $0.text < $1.text }
    }

    /// The device of an interface, made if there is none: in the kernel, or by the daemon where the kernel has none.
    /// The interface is left down; an existing one is left as it is.
    public func create(_ name: InterfaceName, mtu: UInt32? = nil) throws(WireGuardError) -> any WireGuardDevice {
        if try links.link(name) == nil {
            do {
                try links.createWireGuard(name, mtu: mtu)
            } catch .kernelUnsupported {
                guard let daemon else { throw .kernelUnsupported }
                try daemon.start(name)
                if let mtu { try links.set(name, mtu: mtu) }
            }
        }
        return try device(name)
    }

    /// Removes the interface, which ends a daemon that serves it.
    public func delete(_ name: InterfaceName) throws(WireGuardError) {
        try links.delete(name)
    }
}
