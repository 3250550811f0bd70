import Base
import Model

/// One idempotent action. Doing it again after a crash finds it done or does it.
public enum Step: Hashable, Sendable {
    case writeFile(ConfigFileKey)
    case createNetwork(NetworkSpec)
    case createVolume(VolumeSpec)
    /// Loads an image of a release from the store into the engine, checks it, and tags it.
    case loadImage(Release.Image, tag: String)
    case tagImage(Digest, tag: String)
    case createContainer(ContainerSpec)
    /// By name, as all steps on containers.
    case startContainer(String, service: String)
    case unpauseContainer(String, service: String)
    case stopContainer(String, service: String, grace: Duration)
    case renameContainer(String, to: String)
    case removeContainer(String, service: String)
    case removeNetwork(String)
    case removeImage(tag: String)
    /// Puts another program of the agent itself on trial; the process makes way for it afterwards.
    case switchAgent(Release.AgentProgram, version: String)
    /// The agent's program on trial stays.
    case confirmAgent
    /// Makes the candidate the release to come back to.
    case commit
    /// Gives the candidate up: the release before becomes the target, or the app is degraded.
    case fail(TrialFailure)

    /// Names the step in the journal and for backoff: equal for a repetition of the same step.
    public var key: String {
        switch self {
        case .writeFile(let file): "write-file \(file.name)"
        case .createNetwork(let spec): "create-network \(spec.name)"
        case .createVolume(let spec): "create-volume \(spec.name)"
        case .loadImage(let image, _): "load-image \(image.config.digest)"
        case .tagImage(_, let tag): "tag-image \(tag)"
        case .createContainer(let spec): "create-container \(spec.name)"
        case .startContainer(let id, _): "start-container \(id)"
        case .unpauseContainer(let id, _): "unpause-container \(id)"
        case .stopContainer(let id, _, _): "stop-container \(id)"
        case .renameContainer(let id, _): "rename-container \(id)"
        case .removeContainer(let id, _): "remove-container \(id)"
        case .removeNetwork(let name): "remove-network \(name)"
        case .removeImage(let tag): "remove-image \(tag)"
        case .switchAgent(let program, _): "switch-agent \(program.binary.digest)"
        case .confirmAgent: "confirm-agent"
        case .commit: "commit"
        case .fail: "fail"
        }
    }

    /// True for steps that only clean up: their failure never fails a release.
    public var isCleanup: Bool {
        switch self {
        case .removeContainer, .removeNetwork, .removeImage: true
        default: false
        }
    }
}

extension Step: CustomStringConvertible {
    public var description: String {
        switch self {
        case .loadImage(let image, _): "load image \(image.reference) (\(image.config.digest.short))"
        case .createContainer(let spec): "create container \(spec.name)"
        case .switchAgent(let program, let version): "switch to agent \(version) (\(program.binary.digest.short))"
        case .fail(let failure): "give up: \(failure)"
        case .writeFile(let file): "write \(file.secret ? "secret" : "config") file \(file.blob.digest.short)"
        default: key
        }
    }
}

/// Why a candidate is given up.
public enum TrialFailure: Hashable, Sendable {
    case stepFailed(step: String, code: String, message: String)
    case unhealthy(service: String, output: String)
    case exited(service: String, code: Int, outOfMemory: Bool)
    case crashLoop(service: String, restarts: Int, lastExit: Int)
    case notHealthyInTime(service: String, seconds: Int)
    case dependencyNotInTime(service: String, dependency: String, seconds: Int)
    case restartedTooOften(times: Int)
    /// The new agent did not come up, and the one before it did.
    case agentReturned(reason: String)

    /// Stable, for the journal and scripts.
    public var code: String {
        switch self {
        case .stepFailed(_, let code, _): code
        case .unhealthy: "trial.unhealthy"
        case .exited: "trial.exited"
        case .crashLoop: "trial.crash-loop"
        case .notHealthyInTime: "trial.not-healthy-in-time"
        case .dependencyNotInTime: "trial.dependency-not-in-time"
        case .restartedTooOften: "trial.restarted-too-often"
        case .agentReturned: "trial.agent-returned"
        }
    }
}

extension TrialFailure: CustomStringConvertible {
    public var description: String {
        switch self {
        case .stepFailed(let step, _, let message): "\(step) failed: \(message)"
        case .unhealthy(let service, let output):
            "service \(service) is unhealthy" + (output.isEmpty ? "" : ": \(output)")
        case .exited(let service, let code, let outOfMemory):
            "service \(service) ended with exit code \(code)" + (outOfMemory ? ", out of memory" : "")
        case .crashLoop(let service, let restarts, let lastExit):
            "service \(service) keeps crashing: \(restarts) restarts, last exit code \(lastExit)"
        case .notHealthyInTime(let service, let seconds):
            "service \(service) was not healthy within \(seconds) s of its start"
        case .dependencyNotInTime(let service, let dependency, let seconds):
            "service \(service) waited more than \(seconds) s for \(dependency)"
        case .restartedTooOften(let times):
            "the agent or the device restarted \(times) times during the trial"
        case .agentReturned(let reason): "the new agent was given up: \(reason)"
        }
    }
}
