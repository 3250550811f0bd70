import Base
import HubCore
import HubEnrolment
import HubHTTP
import HubProtocol
import HubStore
import HubTokens
import TransparencyLog

/// Errors as devices are told them: the code as the problem's type, never what a stranger could use.
enum DeviceProblem {
    static func of(_ error: any Error, id: String) -> Problem {
        switch error {
        case var problem as Problem:
            problem.instance = id
            return problem
        case let error as EnrolmentRefused:
            return Problem(
                error.refusal.rawValue, status: 403, title: "Enrolment refused", detail: error.message, instance: id,
                hint: error.hint ?? "")
        case let error as HubProtocolError: return of(error, id: id)
        case is TokenError: return unauthorised(id)
        case let error as LogError where error.reason == .proofInvalid || error.reason == .range:
            return Problem("no-such-proof", status: 404, title: "There is no such proof", instance: id)
        case let error as HubStoreError where error.exitStatus == .temporaryFailure:
            return Problem(
                "busy", status: 503, title: "The hub is busy", detail: error.message, instance: id, retryAfter: 5)
        case let error as HubError where error.reason == .tooSoon:
            return Problem(
                "too-soon", status: 429, title: "Not yet", detail: error.message, instance: id,
                retryAfter: DeviceRules.stagingInterval)
        case let error as HubError where error.reason == .deviceState:
            return Problem(
                "device-state", status: 403, title: "The device may not", detail: error.message, instance: id)
        default: return Problem("internal", status: 500, title: "The hub failed", instance: id)
        }
    }

    private static func of(_ error: HubProtocolError, id: String) -> Problem {
        switch error.reason {
        case .documentTooLarge:
            return Problem("body-too-large", status: 413, title: "Too large", detail: error.message, instance: id)
        case .proofInvalid, .signatureInvalid:
            return Problem("proof-invalid", status: 403, title: "Not proven", detail: error.message, instance: id)
        default: return Problem("malformed", status: 400, title: "Malformed", detail: error.message, instance: id)
        }
    }

    static func unauthorised(_ id: String) -> Problem {
        Problem(
            "token-refused", status: 401, title: "The access token is not taken", instance: id,
            hint: "ask for a new one")
    }
}
