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

    /// The same for a service that starts again: takes over what a killed process left, or replaces it.
    ///
    /// A daemon outlives who started it. One that serves the interface here is taken over. A link that its daemon died
    /// under is made anew, and a daemon whose interface is not here, in another network namespace or on its way out, is
    /// ended when it has no key or one of ours: sockets are named by interface alone, so it stands in our way, and with
    /// our key nobody else can be using it.
    ///
    /// - Throws: ``WireGuardError/heldElsewhere(name:socket:)`` for a daemon with a stranger's key.
    public func recover(
        _ name: InterfaceName, mtu: UInt32? = nil, isOurs: (SecretKey) -> Bool
    ) throws(WireGuardError) -> any WireGuardDevice {
        if let link = try links.link(name) {
            do {
                return try device(name)
            } catch .noSuchDevice where link.kind == "tun" {
                try links.delete(name)
            }
        }
        let left = UserspaceDevice(name: name, directory: directory)
        if left.isServed() {
            // One that goes between two questions is what is wanted.
            if let key = (try? left.read())?.privateKey, !isOurs(key) {
                throw .heldElsewhere(name: name.text, socket: left.socketPath)
            }
            try left.endDaemon()
        }
        return try create(name, mtu: mtu)
    }

    /// Removes the interface, which ends a daemon that serves it.
    public func delete(_ name: InterfaceName) throws(WireGuardError) {
        try links.delete(name)
    }
}
