import Base
import Model

/// One reason of `why`.
public struct LocalReason: Sendable {
    public var code: String
    public var message: String
    public var hint: String?
    /// On its way to be well by itself.
    public var isProgress: Bool

    public init(code: String, message: String, hint: String?, isProgress: Bool) {
        self.code = code
        self.message = message
        self.hint = hint
        self.isProgress = isProgress
    }

    public init(_ error: any CodedError, isProgress: Bool = false) {
        self.init(code: error.code, message: error.message, hint: error.hint, isProgress: isProgress)
    }
}

/// What the local API knows of the device's hub, and may ask of it. A device without one has none.
public struct HubControl: Sendable {
    public var status: @Sendable () async -> JSONValue
    public var reasons: @Sendable () async -> [LocalReason]
    /// Takes a token in. Durable when it returns; the hub is asked afterwards.
    public var enrol: @Sendable (_ token: String, _ replace: Bool) async throws -> Void
    public var leave: @Sendable () async throws -> Void
    /// Polls now; throws when there is no hub to poll.
    public var poll: @Sendable () async throws -> Void

    public init(
        status: @escaping @Sendable () async -> JSONValue, reasons: @escaping @Sendable () async -> [LocalReason],
        enrol: @escaping @Sendable (_ token: String, _ replace: Bool) async throws -> Void,
        leave: @escaping @Sendable () async throws -> Void, poll: @escaping @Sendable () async throws -> Void
    ) {
        self.status = status
        self.reasons = reasons
        self.enrol = enrol
        self.leave = leave
        self.poll = poll
    }
}
