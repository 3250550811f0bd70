import Base

/// A refusal by the container engine, sorted by what the reconciler can do about it.
public struct EngineFailure: CodedError, Hashable {
    public enum Reason: String, Sendable, CaseIterable {
        /// No socket, connection refused or cut: the engine is down or restarting.
        case unavailable
        /// The engine accepted the call and did not answer in time.
        case timeout
        case notFound = "not-found"
        /// The name is taken, or the object is in a state that forbids the call.
        case conflict
        /// A host port that the container publishes is taken by something else.
        case portInUse = "port-in-use"
        /// The engine holds the request to be wrong; the same request will be refused again.
        case invalid
        /// The command in the image cannot be executed, a device or a host path is missing, …
        case cannotStart = "cannot-start"
        case noSpace = "no-space"
        /// What was loaded does not have the digest that was signed.
        case digestMismatch = "digest-mismatch"
        /// The engine's API is older than the oldest that this agent speaks, or the engine is of another kind.
        case unsupported
        /// The engine answered with a server error.
        case server
        case cancelled
        /// A file or a blob on this device could not be read or written; not the engine's fault.
        case local
    }
    public var reason: Reason
    /// What was tried, on which object: `create container web-1f2e`.
    public var operation: String
    /// The engine's own words.
    public var detail: String

    public init(_ reason: Reason, operation: String, detail: String) {
        self.reason = reason
        self.operation = operation
        self.detail = detail
    }

    public enum Disposition: String, Sendable { case retryable, final }

    /// `final`: the same call with the same arguments is not expected to succeed.
    public var disposition: Disposition {
        switch reason {
        case .unavailable, .timeout, .server, .noSpace, .cancelled, .conflict, .portInUse, .local: .retryable
        case .notFound, .invalid, .cannotStart, .digestMismatch, .unsupported: .final
        }
    }

    /// True when the failure says nothing about the release: the engine itself is in trouble.
    public var isEngineTrouble: Bool {
        switch reason {
        case .unavailable, .timeout, .server, .cancelled: true
        default: false
        }
    }

    public var code: String { reason == .local ? "agent.local-io" : "engine.\(reason.rawValue)" }
    public var message: String { "cannot \(operation): \(detail)" }
    public var hint: String? {
        switch reason {
        case .unavailable: "start the container engine: systemctl start docker"
        case .timeout: "the engine hangs; see its own log, and restart it if it stays so"
        // Docker Engine can keep a port taken that no container has, after a power cut: moby/moby#20486.
        case .portInUse:
            "find what holds the port: ss -ltnp; if nothing does, restart the engine: systemctl restart docker"
        case .noSpace: "free space where the engine keeps its data"
        case .unsupported: "let engine.socket name a Docker Engine with API 1.41 or newer that keeps its own layers"
        default: nil
        }
    }
    public var exitStatus: ExitStatus {
        switch reason {
        case .unavailable, .timeout: .unavailable
        case .digestMismatch: .notTrusted
        case .server, .noSpace, .conflict, .portInUse, .cancelled: .temporaryFailure
        case .local: .ioError
        default: .failure
        }
    }
}
