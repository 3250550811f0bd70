import Base
import Model

/// Something the planner would do and cannot now, with the reason a person reads in `why`.
public struct Blocked: Hashable, Sendable {
    public enum Reason: Hashable, Sendable {
        case engineSilent(EngineFailure)
        case missingContent(release: String, blobs: [Digest])
        case invalidRelease(String)
        case insufficientSpace(needed: Int64, free: Int64, reserve: Int64)
        /// A step failed and is tried again later.
        case retrying(step: String, attempts: Int, code: String, message: String, hint: String?)
        case waitingForDependency(service: String, dependency: String, condition: Service.Dependency.Condition)
        case waitingForHealth(service: String, health: ManagedContainer.Health)
        case waitingForStability(secondsLeft: Int)
        /// Committed and yet not as it should be.
        case unhealthy(service: String, output: String)
        case exited(service: String, code: Int, outOfMemory: Bool)
        case crashLoop(service: String, restarts: Int, lastExit: Int)
        /// A lock or a closed maintenance window.
        case held(Hold)
        /// The agent's own update waits for the candidates of these apps.
        case waitingForApps([String])
        /// The agent is about to make way for its new program, or the new one is coming up.
        case agentStarting(version: String)
        /// The agent that should run could not be kept running.
        case agentNotRunning(version: String, reason: String)
        case degraded(detail: String)
        /// Managed containers of an app that the journal does not know: left as they are.
        case unknownApp(containers: Int)
    }
    public var app: String
    public var reason: Reason
    /// Seconds until the agent looks again by itself; nil when only an event can change it.
    public var retryInSeconds: Int?

    public init(app: String, reason: Reason, retryInSeconds: Int? = nil) {
        self.app = app
        self.reason = reason
        self.retryInSeconds = retryInSeconds
    }

    /// Stable, for scripts.
    public var code: String {
        switch reason {
        case .engineSilent(let failure): failure.code
        case .missingContent: "agent.missing-content"
        case .invalidRelease: "agent.invalid-release"
        case .insufficientSpace: "agent.no-space"
        case .retrying(_, _, let code, _, _): code
        case .waitingForDependency: "wait.dependency"
        case .waitingForHealth: "wait.health"
        case .waitingForStability: "wait.stability"
        case .unhealthy: "run.unhealthy"
        case .exited: "run.exited"
        case .crashLoop: "run.crash-loop"
        case .held(let hold): hold.code
        case .waitingForApps: "wait.apps"
        case .agentStarting: "wait.agent"
        case .agentNotRunning: "run.agent-returned"
        case .degraded: "run.degraded"
        case .unknownApp: "agent.unknown-app"
        }
    }

    /// True while this is a normal moment of an update, not a fault.
    public var isProgress: Bool {
        switch reason {
        case .waitingForDependency, .waitingForHealth, .waitingForStability, .waitingForApps, .agentStarting,
            .held:
            true
        default: false
        }
    }

    public var hint: String? {
        switch reason {
        case .engineSilent(let failure): failure.hint
        case .missingContent: "import a bundle that holds this release again"
        case .insufficientSpace: "free space on the device, or update with strategy delete-then-download"
        case .retrying(_, _, _, _, let hint): hint
        case .unhealthy(let service, _), .exited(let service, _, _), .crashLoop(let service, _, _):
            "holdfast-agent logs \(service)"
        case .degraded, .agentNotRunning: "import a release that works"
        case .held(let hold): hold.hint
        case .unknownApp: "import the app's release again, or remove the containers by hand"
        default: nil
        }
    }
}

extension Blocked: CustomStringConvertible {
    public var description: String {
        switch reason {
        case .engineSilent(let failure):
            failure.reason == .unsupported
                ? "the container engine cannot be used: \(failure.detail)"
                : "the container engine does not answer: \(failure.detail)"
        case .missingContent(let release, let blobs):
            "\(blobs.count) blobs of \(release) are missing from the store, first \(blobs.first?.short ?? "-")"
        case .invalidRelease(let words): words
        case .insufficientSpace(let needed, let free, let reserve):
            "loading needs \(ByteCount(needed)), \(ByteCount(free)) are free and \(ByteCount(reserve)) stay in reserve"
        case .retrying(let step, let attempts, _, let message, _):
            "\(step) failed \(attempts) \(attempts == 1 ? "time" : "times"): \(message)"
        case .waitingForDependency(let service, let dependency, let condition):
            switch condition {
            case .started: "\(service) waits until \(dependency) has started"
            case .healthy: "\(service) waits until \(dependency) is healthy"
            case .completed: "\(service) waits until \(dependency) has completed"
            }
        case .waitingForHealth(let service, let health): "\(service) is \(health.rawValue), not yet healthy"
        case .waitingForStability(let left): "all services are healthy; commit in \(left) s if they stay so"
        case .unhealthy(let service, let output):
            "\(service) is unhealthy" + (output.isEmpty ? "" : ": \(output)")
        case .exited(let service, let code, let outOfMemory):
            "\(service) ended with exit code \(code)" + (outOfMemory ? ", out of memory" : "")
        case .crashLoop(let service, let restarts, let lastExit):
            "\(service) keeps crashing: \(restarts) restarts, last exit code \(lastExit)"
        case .held(let hold): hold.description
        case .waitingForApps(let apps): "the agent's update waits for \(apps.joined(separator: ", "))"
        case .agentStarting(let version): "agent \(version) is coming up"
        case .agentNotRunning(let version, let reason): "agent \(version) does not run: \(reason)"
        case .degraded(let detail): "the release failed and there is none to go back to: \(detail)"
        case .unknownApp(let count): "\(count) managed containers belong to an app that the journal does not know"
        }
    }
}
