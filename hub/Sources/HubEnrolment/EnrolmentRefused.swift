import Base
import HubCore

/// The hub said no to an enrolment. What the device is told is the code alone; the event has the rest.
public struct EnrolmentRefused: CodedError, Equatable {
    public var refusal: EnrolmentRules.Refusal

    public init(_ refusal: EnrolmentRules.Refusal) { self.refusal = refusal }

    public var code: String { "hub-enrolment.\(refusal.rawValue)" }
    public var message: String {
        let why =
            switch refusal {
            case .unknownToken: "the hub does not know this token"
            case .tokenRevoked: "the token was revoked"
            case .tokenExpired: "the token has expired"
            case .tokenUsed: "the token was used for another device"
            case .keyBound: "a key of this device was bound before, to another device or by another token"
            case .deviceRemoved: "this device was deleted, rejected or revoked"
            case .siteFull: "the token's site has no free address"
            }
        return "enrolment refused: \(why)"
    }
    public var hint: String? {
        switch refusal {
        case .keyBound, .deviceRemoved: "remove the device's keys, then enrol it with a new token"
        case .siteFull: "make a token for another site"
        default: "make a new token with: holdfast hub token create"
        }
    }
    public var exitStatus: ExitStatus { .noPermission }
}
