import Base
import Model

/// What was found on the device in one look.
public struct ObservedState: Sendable {
    public var containers: [ManagedContainer]
    /// By config digest; every image of the engine.
    public var images: [Digest: EngineImage]
    public var networks: [EngineResource]
    public var volumes: [EngineResource]
    /// Written config and secret files whose content and mode are right.
    public var soundFiles: Set<ConfigFileKey>
    /// Blobs that the store lacks, per release digest; absent means none.
    public var missingBlobs: [Digest: [Digest]]
    /// By container id: its fingerprint when the agent had made it.
    public var fingerprints: [String: String]
    /// Bytes free where the engine keeps its images; nil when unknown.
    public var engineFreeSpace: Int64?
    /// The agent's own program; nil where it cannot be replaced.
    public var agent: AgentSlots.View?

    public init(
        containers: [ManagedContainer] = [], images: [Digest: EngineImage] = [:], networks: [EngineResource] = [],
        volumes: [EngineResource] = [], soundFiles: Set<ConfigFileKey> = [],
        missingBlobs: [Digest: [Digest]] = [:], fingerprints: [String: String] = [:], engineFreeSpace: Int64? = nil,
        agent: AgentSlots.View? = nil
    ) {
        self.containers = containers
        self.images = images
        self.networks = networks
        self.volumes = volumes
        self.soundFiles = soundFiles
        self.missingBlobs = missingBlobs
        self.fingerprints = fingerprints
        self.engineFreeSpace = engineFreeSpace
        self.agent = agent
    }
}

/// The device's own rules, from the agent's configuration.
public struct PlanPolicy: Hashable, Sendable {
    /// Tries of a step of a candidate before the candidate is given up.
    public var stepAttempts: Int
    /// Restarts by the engine after which a service counts as crashing.
    public var crashLoopRestarts: Int
    /// Times an agent may begin the trial of one candidate.
    public var trialStarts: Int
    /// Bytes kept free where the engine keeps its images.
    public var engineReserve: Int64
    /// Remove images, files and networks that neither the target nor the release before needs.
    public var prune: Bool

    public init(
        stepAttempts: Int = 3, crashLoopRestarts: Int = 3, trialStarts: Int = 5,
        engineReserve: Int64 = 256 << 20, prune: Bool = true
    ) {
        self.stepAttempts = stepAttempts
        self.crashLoopRestarts = crashLoopRestarts
        self.trialStarts = trialStarts
        self.engineReserve = engineReserve
        self.prune = prune
    }
}

/// What happened to a step that failed, until it succeeds.
public struct StepFailure: Hashable, Sendable {
    public var attempts: Int
    public var failure: EngineFailure
    /// Monotonic nanoseconds before which it is not tried again.
    public var notBefore: UInt64
    public init(attempts: Int, failure: EngineFailure, notBefore: UInt64) {
        self.attempts = attempts
        self.failure = failure
        self.notBefore = notBefore
    }
}

/// What the planner remembers from look to look, on the monotonic clock. Lost when the process ends:
/// health windows then begin anew, and `trialStarts` bounds how often.
public struct PlanMemory: Hashable, Sendable {
    public struct Trial: Hashable, Sendable {
        /// The candidate's digest.
        public var release: Digest
        /// When each service was first seen started, by container name.
        public var startedAt: [String: UInt64]
        /// Since when all services have been up without a break.
        public var upSince: UInt64?
    }
    public var trials: [String: Trial]
    public init(trials: [String: Trial] = [:]) { self.trials = trials }
}

public struct PlanInput: Sendable {
    public var desired: [DesiredApp]
    public var observed: ObservedState
    public var policy: PlanPolicy
    public var memory: PlanMemory
    /// By app and ``Step/key``.
    public var failures: [String: [String: StepFailure]]
    /// By app.
    public var holds: [String: Hold]
    public var layout: StateLayout
    /// Monotonic nanoseconds.
    public var now: UInt64

    public init(
        desired: [DesiredApp], observed: ObservedState, policy: PlanPolicy = PlanPolicy(),
        memory: PlanMemory = PlanMemory(), failures: [String: [String: StepFailure]] = [:],
        holds: [String: Hold] = [:], layout: StateLayout, now: UInt64
    ) {
        self.desired = desired
        self.observed = observed
        self.policy = policy
        self.memory = memory
        self.failures = failures
        self.holds = holds
        self.layout = layout
        self.now = now
    }
}

/// The answer of the planner.
public struct Plan: Hashable, Sendable {
    public struct Item: Hashable, Sendable {
        public var app: String
        public var step: Step
        public init(app: String, step: Step) {
            self.app = app
            self.step = step
        }
    }
    /// In order. When one fails, the rest of the same app's are dropped, and a new look is taken.
    public var steps: [Item] = []
    public var blocked: [Blocked] = []
    public var memory = PlanMemory()
    /// Apps whose containers are all as desired and up.
    public var settled: Set<String> = []
    /// Nanoseconds after which something will be due without any event; nil when nothing will.
    public var wakeAfter: UInt64?

    public init() {}

    mutating func wake(after delay: UInt64) { wakeAfter = min(wakeAfter ?? .max, delay) }
}
