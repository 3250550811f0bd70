import AgentCore
import Base
import WireGuard

/// What the configuration says of the hub.
public struct HubSettings: Sendable {
    /// The base of the interfaces' names: `<base>0` and `<base>1` for the two key slots, `<base>t` while enrolling.
    public var interface: String
    /// Read, and wiped once the device is enrolled; empty for none.
    public var tokenFile: String
    /// Days after which the WireGuard key is changed; 0 for only when the hub asks.
    public var rotationDays: Int
    /// Seconds between packets that keep a NAT's mapping; 0 for none.
    public var keepalive: UInt16
    /// Seconds that the hub may hold a poll back until there is news; 0 for none.
    public var longPoll: Int
    /// Whether the wall clock may be set forward to the time floor.
    public var setsClock: Bool
    /// Whether this device takes nothing without the hub's director, from a stick neither.
    public var requiresDirector: Bool

    public init(
        interface: String, tokenFile: String = "", rotationDays: Int = 0, keepalive: UInt16 = 0,
        longPoll: Int = 0, setsClock: Bool = false, requiresDirector: Bool = false
    ) {
        self.interface = interface
        self.tokenFile = tokenFile
        self.rotationDays = rotationDays
        self.keepalive = keepalive
        self.longPoll = longPoll
        self.setsClock = setsClock
        self.requiresDirector = requiresDirector
    }

    public init(_ config: AgentConfig) {
        self.init(
            interface: config.hubInterface, tokenFile: config.hubTokenFile, rotationDays: config.hubRotationDays,
            keepalive: UInt16(config.hubKeepaliveSeconds), longPoll: config.hubLongPollSeconds,
            setsClock: config.hubSetsClock, requiresDirector: config.hubRequiresDirector)
    }

    func name(_ suffix: String) throws(HubLinkError) -> InterfaceName {
        guard let name = InterfaceName(interface + suffix) else {
            throw HubLinkError(
                .tunnel, "\(interface)\(suffix) is no interface name", hint: "set hub.interface to at most 14 letters")
        }
        return name
    }

    func name(_ slot: Slot) throws(HubLinkError) -> InterfaceName { try name(slot == .first ? "0" : "1") }
    func temporaryName() throws(HubLinkError) -> InterfaceName { try name("t") }
}
