import Base
import Model

/// Who answers on the engine's socket.
public struct EngineVersion: Hashable, Sendable, Codable {
    /// `20.10.24`.
    public var version: String
    /// The API version agreed on: `1.41`.
    public var apiVersion: String
    /// OCI name: `amd64`, `arm64`.
    public var architecture: String
    /// `overlay2`, …
    public var storageDriver: String
    /// Where images and containers live on this host, for free space; nil when it is not on this host.
    public var dataRoot: String?

    public init(
        version: String, apiVersion: String, architecture: String, storageDriver: String, dataRoot: String? = nil
    ) {
        self.version = version
        self.apiVersion = apiVersion
        self.architecture = architecture
        self.storageDriver = storageDriver
        self.dataRoot = dataRoot
    }
}

/// A container that carries ``Labels/managed``, as the engine reports it.
public struct ManagedContainer: Hashable, Sendable, Codable {
    public enum State: String, Hashable, Sendable, Codable {
        case created, running, paused, restarting, removing, exited, dead
    }
    /// `none`: no health check is defined.
    public enum Health: String, Hashable, Sendable, Codable { case none, starting, healthy, unhealthy }

    public var id: String
    /// Without the leading slash.
    public var name: String
    public var app: String
    public var service: String
    /// The label ``Labels/config``; empty when it is missing.
    public var configHash: String
    /// The label ``Labels/release``.
    public var release: String
    /// The image's config digest.
    public var imageID: Digest
    public var state: State
    public var health: Health
    public var exitCode: Int
    public var outOfMemory: Bool
    /// Restarts by the engine since the start that was asked for.
    public var restartCount: Int
    /// Nanoseconds since 1970 by the engine's clock; 0 when it never started. Compared only with another
    /// container's, never with the agent's clock.
    public var startedAt: Int64
    /// Host ports that the container publishes: `0.0.0.0:80/tcp`, an absent address written as `0.0.0.0`.
    public var publishedPorts: [String]
    /// Digest over all that a hand can change on a made container (image, command, environment, mounts,
    /// ports, resources, restart policy, networks by name). Stable over restarts of container and engine.
    public var fingerprint: String
    /// The engine's words for why it does not run; empty when there is nothing to say.
    public var error: String
    /// The last lines of the health check's output, bounded; empty when there is none.
    public var healthOutput: String

    public init(
        id: String, name: String, app: String, service: String, configHash: String, release: String,
        imageID: Digest, state: State, health: Health = .none, exitCode: Int = 0, outOfMemory: Bool = false,
        restartCount: Int = 0, startedAt: Int64 = 0, publishedPorts: [String] = [], fingerprint: String = "",
        error: String = "", healthOutput: String = ""
    ) {
        self.id = id
        self.name = name
        self.app = app
        self.service = service
        self.configHash = configHash
        self.release = release
        self.imageID = imageID
        self.state = state
        self.health = health
        self.exitCode = exitCode
        self.outOfMemory = outOfMemory
        self.restartCount = restartCount
        self.startedAt = startedAt
        self.publishedPorts = publishedPorts
        self.fingerprint = fingerprint
        self.error = error
        self.healthOutput = healthOutput
    }
}

/// An image in the engine.
public struct EngineImage: Hashable, Sendable, Codable {
    /// The image's config digest (also where the engine itself names images by manifest digest).
    public var id: Digest
    /// `repository:tag`, every one.
    public var tags: [String]
    /// Bytes, as the engine counts them.
    public var size: Int64
    /// Bottom up. Empty in a listing; set by ``ContainerEngine/image(_:)``.
    public var diffIDs: [Digest]
    public init(id: Digest, tags: [String], size: Int64, diffIDs: [Digest] = []) {
        self.id = id
        self.tags = tags
        self.size = size
        self.diffIDs = diffIDs
    }
}

/// A network or a volume that carries ``Labels/managed``.
public struct EngineResource: Hashable, Sendable, Codable {
    /// The engine's name, ``EngineName``.
    public var name: String
    public var app: String
    /// The label ``Labels/config``: digest over the definition it was made from.
    public var configHash: String
    public init(name: String, app: String, configHash: String) {
        self.name = name
        self.app = app
        self.configHash = configHash
    }
}

/// A change in the engine that may need the reconciler.
public struct EngineEvent: Hashable, Sendable {
    public enum Kind: String, Sendable { case container, image, network, volume, daemon }
    public var kind: Kind
    /// `die`, `start`, `destroy`, `health_status: unhealthy`, …
    public var action: String
    public var id: String
    public init(kind: Kind, action: String, id: String) {
        self.kind = kind
        self.action = action
        self.id = id
    }
}

/// One piece of a container's output, as it came.
public struct LogChunk: Hashable, Sendable {
    public enum Stream: String, Sendable { case stdout, stderr }
    public var stream: Stream
    public var bytes: [UInt8]
    public init(stream: Stream, bytes: [UInt8]) {
        self.stream = stream
        self.bytes = bytes
    }
}

/// A pulled sequence: the producer does nothing until the next element is asked for.
public struct PullSequence<Element: Sendable>: AsyncSequence, Sendable {
    private let makeNext: @Sendable () -> (@Sendable () async throws -> Element?)

    /// `makeNext` is called once per iteration and answers the function that yields element after element, then nil.
    public init(makeNext: @escaping @Sendable () -> (@Sendable () async throws -> Element?)) {
        self.makeNext = makeNext
    }

    /// Begins one iteration: the function yields element after element, then nil.
    public func pull() -> @Sendable () async throws -> Element? { makeNext() }

    public struct AsyncIterator: AsyncIteratorProtocol {
        let nextElement: @Sendable () async throws -> Element?
        public mutating func next() async throws -> Element? { try await nextElement() }
    }

    public func makeAsyncIterator() -> AsyncIterator { AsyncIterator(nextElement: makeNext()) }
}
