import Base
import HubCore
import HubEnrolment
import HubProtocol
import HubStore
import TransparencyLog
import Trust

extension Problem {
    static func malformed(_ detail: String) -> Problem {
        Problem("malformed", status: 400, title: "The request is malformed", detail: detail)
    }
    static func notFound(_ what: String) -> Problem {
        Problem("not-found", status: 404, title: "There is no such thing", detail: what)
    }
    static func conflict(_ detail: String) -> Problem {
        Problem("conflict", status: 409, title: "That is not possible now", detail: detail)
    }
    static func bodyTooLarge(_ limit: Int64) -> Problem {
        Problem("body-too-large", status: 413, title: "The body is too large", detail: "at most \(limit) bytes")
    }
    static let noTunnel = Problem("no-tunnel", status: 404, title: "This hub keeps no interface")
    static let precondition = Problem(
        "precondition", status: 412, title: "The record has changed", hint: "read it again and repeat the change")
    static let unauthorised = Problem(
        "unauthorised", status: 401, title: "A valid access token is needed", hint: "log in again")

    /// Any error as the management side tells it. Operators may know what failed; secrets are in no message.
    static func of(_ error: any Error, id: String) -> Problem {
        var problem = plain(error)
        problem.instance = id
        return problem
    }

    private static func plain(_ error: any Error) -> Problem {
        switch error {
        case let problem as Problem: return problem
        case let error as HubError: return of(error)
        case let error as HubStoreError: return of(error)
        case let error as EnrolmentRefused:
            return error.refusal == .unknownToken ? notFound(error.message) : conflict(error.message)
        case let error as TrustError:
            return Problem(
                "not-trusted", status: 422, title: "The metadata is not taken", detail: error.message,
                hint: error.hint ?? "")
        case is LogError:
            return Problem("no-such-proof", status: 404, title: "There is no such proof")
        default: return Problem("internal", status: 500, title: "The hub failed", hint: "see the hub's log")
        }
    }

    private static func of(_ error: HubError) -> Problem {
        switch error.reason {
        case .deviceState, .hubState: return conflict(error.message)
        case .notYours:
            return Problem(
                "not-yours", status: 403, title: "That is not yours to give", detail: error.message,
                hint: error.hint ?? "")
        case .crypto, .sealBroken, .recordMalformed, .recordSchema, .addressSpace:
            return Problem("internal", status: 500, title: "The hub failed", hint: "see the hub's log")
        default:
            return Problem(
                "invalid", status: 422, title: "The value is not taken", detail: error.message, hint: error.hint ?? "")
        }
    }

    private static func of(_ error: HubStoreError) -> Problem {
        switch error.reason {
        case .conflict: return conflict("another request changed the same record")
        case .busy, .leaseLost:
            return Problem("busy", status: 503, title: "The hub is busy", retryAfter: 5)
        case .blobMissing: return notFound(error.element)
        case .limit, .range: return malformed(error.message)
        default: return Problem("internal", status: 500, title: "The hub failed", hint: "see the hub's log")
        }
    }
}
