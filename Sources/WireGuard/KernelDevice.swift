import CMnl
import Glibc

/// An interface that the kernel's WireGuard serves, by generic netlink.
public struct KernelDevice: WireGuardDevice {
    public let name: InterfaceName
    private let maxMessageBytes: Int
    private let open: @Sendable () throws(WireGuardError) -> any NetlinkTransport

    public init(name: InterfaceName) {
        self.init(name: name, open: Self.openGenericNetlink)
    }

    init(
        name: InterfaceName, maxMessageBytes: Int = SetDeviceEncoder.defaultMaxBytes,
        open: @escaping @Sendable () throws(WireGuardError) -> any NetlinkTransport
    ) {
        self.name = name
        self.maxMessageBytes = maxMessageBytes
        self.open = open
    }

    private static func openGenericNetlink() throws(WireGuardError) -> any NetlinkTransport {
        try NetlinkSocket(protocol: NETLINK_GENERIC)
    }

    /// True when this kernel serves WireGuard; loads the module if there is one.
    public static func isSupported() -> Bool {
        guard let transport = try? openGenericNetlink() else { return false }
        var exchange = NetlinkExchange(transport: transport)
        return (try? GenericNetlink.resolve(WG_GENL_NAME, over: &exchange)) != nil
    }

    public func read() throws(WireGuardError) -> DeviceState {
        var exchange = NetlinkExchange(transport: try open())
        let family = try GenericNetlink.resolve(WG_GENL_NAME, over: &exchange)
        var assembler = DeviceAssembler(name: name)
        do {
            try exchange.dump(operation: "read", element: name.text) { sequence in
                assembler.restart()
                return Self.getRequest(name: name, family: family, sequence: sequence)
            } _: { (_, body) throws(WireGuardError) in
                try assembler.consume(body)
            }
        } catch .system(_, _, EOPNOTSUPP, _) {
            // The kernel's word for an interface of another kind.
            throw .noSuchDevice(name: name.text)
        }
        return assembler.finish()
    }

    static func getRequest(name: InterfaceName, family: UInt16, sequence: UInt32) -> [UInt8] {
        var writer = GenericNetlink.message(
            family: family, command: UInt8(WG_CMD_GET_DEVICE.rawValue), version: UInt8(WG_GENL_VERSION),
            flags: NLM_F_REQUEST | Int32(NLM_F_DUMP), sequence: sequence)
        writer.attribute(UInt16(WGDEVICE_A_IFNAME.rawValue), string: name.text)
        return writer.finish()
    }

    public func apply(_ difference: DeviceDifference) throws(WireGuardError) {
        guard !difference.isEmpty else { return }
        var exchange = NetlinkExchange(transport: try open())
        let family = try GenericNetlink.resolve(WG_GENL_NAME, over: &exchange)
        var encoder = SetDeviceEncoder(
            name: name, family: family, difference: difference, maxBytes: maxMessageBytes)
        while var message = encoder.next(sequence: exchange.nextSequence()) {
            defer { message.wipe() }
            try exchange.request(message, operation: "configure", element: name.text)
        }
    }
}
