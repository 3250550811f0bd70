import Base

/// A rule of the hub that something or someone does not keep.
public struct HubError: CodedError, Equatable {
    public enum Reason: String, Sendable, CaseIterable {
        case name, label, selector, limit, cursor
        case idempotencyKey = "idempotency-key"
        case recordMalformed = "record-malformed"
        case recordSchema = "record-schema"
        case sealBroken = "seal-broken"
        case tokenOptions = "token-options"
        case deviceState = "device-state"
        /// Right in itself, and to be asked again later.
        case tooSoon = "too-soon"
        case addressSpace = "address-space"
        /// What the hub itself is in does not allow it now.
        case hubState = "hub-state"
        /// A right that is not the caller's to give.
        case notYours = "not-yours"
        case crypto
    }
    public var reason: Reason
    /// What was refused: `selector`, `label site`, `device d-1f…`.
    public var element: String
    public var detail: String

    public init(_ reason: Reason, _ element: String, _ detail: String) {
        self.reason = reason
        self.element = element
        self.detail = detail
    }

    public var code: String { "hub.\(reason.rawValue)" }
    public var message: String { "\(element): \(detail)" }
    public var hint: String? {
        switch reason {
        case .selector: "write key=value, key!=value, key in (a,b), key notin (a,b), key or !key, joined by commas"
        case .sealBroken: "restore the hub's sealing key that goes with this database"
        case .notYours: "ask somebody who holds them"
        case .recordSchema: "run a hub of the version that wrote this database, or a later one"
        default: nil
        }
    }
    public var exitStatus: ExitStatus {
        switch reason {
        case .crypto: .software
        case .sealBroken: .configuration
        case .notYours: .noPermission
        default: .dataError
        }
    }
}
