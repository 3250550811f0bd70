import Base

/// A device's two tunnels: brings a slot up, whole and again if need be, and takes it away.
///
/// Slot n talks from the device's address n to the hub's address n through interface n. Both slots can therefore carry
/// traffic at once without a rule on sources, and what is under way on the old one ends there.
public struct SlotTunnels: Sendable {
    /// Bytes: 1500 less IPv6, UDP and WireGuard's own.
    public static let defaultMTU: UInt32 = 1420

    public var host: WireGuardHost
    /// Two different names.
    public var interfaces: (first: InterfaceName, second: InterfaceName)
    /// Folder of the key files, `first.key` and `second.key`, mode 0700.
    public var keyDirectory: String
    public var device: DeviceAddresses
    public var hub: DeviceAddresses
    public var presharedKey: SecretKey?
    public var mtu: UInt32
    public var timeFloor: TimeFloor?
    public var fileSystem: FileSystem

    public init(
        host: WireGuardHost = WireGuardHost(), interfaces: (first: InterfaceName, second: InterfaceName),
        keyDirectory: String, device: DeviceAddresses, hub: DeviceAddresses, presharedKey: SecretKey? = nil,
        mtu: UInt32 = Self.defaultMTU, timeFloor: TimeFloor? = nil, fileSystem: FileSystem = FileSystem()
    ) {
        self.host = host
        self.interfaces = interfaces
        self.keyDirectory = keyDirectory
        self.device = device
        self.hub = hub
        self.presharedKey = presharedKey
        self.mtu = mtu
        self.timeFloor = timeFloor
        self.fileSystem = fileSystem
    }

    public func interface(_ slot: Slot) -> InterfaceName { slot == .first ? interfaces.first : interfaces.second }

    func keyFile(_ slot: Slot) -> KeyFile {
        KeyFile(path: Path.join(keyDirectory, slot.rawValue + ".key"), fileSystem: fileSystem)
    }

    /// The slot's public key; its private key is made and stored when there is none.
    public func publicKey(_ slot: Slot) throws(WireGuardError) -> PublicKey {
        try mappingFileErrors { () throws(FileSystemError) in
            try fileSystem.makeDirectories(keyDirectory, mode: 0o700, op: "wireguard.keys")
        }
        return try keyFile(slot).readOrCreate().derivePublicKey()
    }

    /// Brings the slot up: clock first, then the interface, its key and peer, its address, and the route to the hub.
    /// What is there already stays. Returns what the time floor did, nil without one.
    @discardableResult
    public func bringUp(_ slot: Slot, to end: HubDescriptor.End) throws(WireGuardError) -> TimeFloor.Outcome? {
        let outcome = try timeFloor?.apply()
        let key = try keyFile(slot).read()
        let name = interface(slot)
        let wireguard = try host.create(name, mtu: mtu)
        let target = IPPrefix(host: hub.address(slot))
        try wireguard.synchronize(
            to: DeviceConfiguration(
                privateKey: key,
                peers: [
                    PeerConfiguration(
                        publicKey: end.publicKey, presharedKey: presharedKey, endpoint: end.endpoint,
                        allowedIPs: [target])
                ]))
        try host.links.setAddresses([InterfaceAddress(host: device.address(slot))], of: name)
        try host.links.set(name, up: true, mtu: mtu)
        try host.links.setRoutes([target], through: name)
        return outcome
    }

    /// Removes the slot's interface and its key.
    public func retire(_ slot: Slot) throws(WireGuardError) {
        try host.delete(interface(slot))
        try mappingFileErrors { () throws(FileSystemError) in
            try fileSystem.unlink(keyFile(slot).path, op: "wireguard.retire")
        }
    }
}
