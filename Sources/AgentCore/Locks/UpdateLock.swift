import Base
import Model

/// Something on the device that asks for no update for a while: who, why, for how long.
public struct UpdateLock: Hashable, Sendable {
    /// Seconds that a person's lock may live.
    public static let lifetimeLimit: Int64 = 30 * 86_400
    /// Seconds that a container's lock may live; it can take it again.
    public static let serviceLifetimeLimit: Int64 = 86_400
    /// Locks on one device, and those of one service.
    public static let countLimit = 64
    /// Bytes of a holder's name and of a reason.
    public static let textLimit = 256

    public var id: Int64
    /// Empty: every app.
    public var app: String
    public var holder: String
    /// The service whose container took it; empty for a person.
    public var service: String
    public var reason: String
    public var secondsLeft: Int64
    public var takenAt: Timestamp

    /// What somebody asks for.
    public struct Request: Sendable {
        public var app: String
        public var holder: String
        public var service: String
        public var reason: String
        /// Seconds.
        public var lifetime: Int64

        /// - Throws: `agent.invalid-request`.
        public init(app: String = "", holder: String, service: String = "", reason: String, lifetime: Int64)
            throws(AgentError)
        {
            let limit = service.isEmpty ? UpdateLock.lifetimeLimit : UpdateLock.serviceLifetimeLimit
            for (text, name) in [(holder, "holder"), (reason, "reason")] {
                guard !text.isEmpty, text.utf8.count <= UpdateLock.textLimit, !text.utf8.contains(where: { $0 < 0x20 })
                else {
                    throw AgentError(
                        .invalidRequest, "a lock's \(name) is a text of 1 to \(UpdateLock.textLimit) bytes on one line")
                }
            }
            guard (1...limit).contains(lifetime) else {
                throw AgentError(.invalidRequest, "a lock lives 1 to \(limit) seconds, not \(lifetime)")
            }
            self.app = app
            self.holder = holder
            self.service = service
            self.reason = reason
            self.lifetime = lifetime
        }
    }

    public var json: JSONValue {
        [
            "id": .integer(id), "app": .string(app), "holder": .string(holder), "service": .string(service),
            "reason": .string(reason), "secondsLeft": .integer(secondsLeft), "takenAt": .string(takenAt.description),
        ]
    }
}

/// Where a lock's lifetime is counted: the time that this boot of the device has run. The wall clock has no say.
public struct BootClock: Hashable, Sendable {
    /// The kernel's name of this boot.
    public var boot: String
    /// Nanoseconds since it, suspended time included.
    public var now: UInt64

    public init(boot: String, now: UInt64) {
        self.boot = boot
        self.now = now
    }
}
