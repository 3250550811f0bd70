import Base
import Model

/// What the reconciler drives. The Docker Engine is one; tests have a model of one.
///
/// Every call ends within a bounded time, by an ``EngineFailure`` if need be; only ``events()`` and a
/// following ``logs(_:tail:follow:)`` are open-ended, and those end when the connection does.
/// Calls that change something are idempotent where said. Listings hold managed objects only.
public protocol ContainerEngine: Sendable {
    // MARK: The engine

    /// Answers when the engine is alive; negotiates the API version anew when the engine was restarted.
    func version() async throws(EngineFailure) -> EngineVersion

    /// Container, image, network and volume events from now on. Ends or throws when the connection breaks.
    func events() async throws(EngineFailure) -> PullSequence<EngineEvent>

    // MARK: Containers

    /// Every container with ``Labels/managed``, stopped ones too, inspected.
    func containers() async throws(EngineFailure) -> [ManagedContainer]

    /// Nil when there is none of that id or name, or it is not managed.
    func container(_ id: String) async throws(EngineFailure) -> ManagedContainer?

    /// Makes a container without starting it and answers its id. A container of that name which carries the same
    /// ``Labels/config`` is the answer, not an error; any other of that name is `conflict`.
    func createContainer(_ spec: ContainerSpec) async throws(EngineFailure) -> String

    /// Starts it; one that runs is left as it is. A refusal by the runtime is `cannotStart` or `portInUse`.
    func startContainer(_ id: String) async throws(EngineFailure)

    /// Sends the stop signal, and SIGKILL after `grace`; returns when it has stopped. One that is stopped or
    /// gone is left.
    func stopContainer(_ id: String, grace: Duration) async throws(EngineFailure)

    func unpauseContainer(_ id: String) async throws(EngineFailure)

    /// Removes it with force, never its volumes; one that is gone is no error.
    func removeContainer(_ id: String) async throws(EngineFailure)

    func renameContainer(_ id: String, to name: String) async throws(EngineFailure)

    /// Exit code once the container has stopped; `timeout` when it still runs after `limit`.
    func waitForExit(_ id: String, limit: Duration) async throws(EngineFailure) -> Int

    /// The last `tail` lines (all kept when nil), then, with `follow`, what comes.
    func logs(_ id: String, tail: Int?, follow: Bool) async throws(EngineFailure) -> PullSequence<LogChunk>

    // MARK: Images

    /// All images of the engine, managed or not: the reconciler looks for digests, and touches own tags only.
    func images() async throws(EngineFailure) -> [EngineImage]

    /// The image of that config digest with its diffIDs; nil when the engine lacks it.
    func image(_ id: Digest) async throws(EngineFailure) -> EngineImage?

    /// Those of `candidates` that the engine can do without in a load archive, from its present layers.
    /// An engine that cannot leave any out answers the empty set.
    ///
    /// A layer is only usable together with those under it, so the answer is counted in whole chains from the bottom.
    func presentLayers(of candidates: [Digest]) async throws(EngineFailure) -> Set<Digest>

    /// Streams a `docker load` archive. The engine checks each layer against its diffID; nothing is tagged when
    /// one does not match (`digestMismatch`).
    func loadImage(_ archive: PullSequence<[UInt8]>) async throws(EngineFailure)

    /// Adds `repository:tag` to an image; the same again is no error.
    func tagImage(_ id: Digest, as reference: String) async throws(EngineFailure)

    /// Removes one tag, and the image with its last one. A missing tag is no error; an image in use by a
    /// container is `conflict`.
    func removeImage(tag reference: String) async throws(EngineFailure)

    // MARK: Networks and volumes

    func networks() async throws(EngineFailure) -> [EngineResource]
    /// A network of that name that is managed is the answer, not an error; a foreign one is `conflict`.
    func createNetwork(_ spec: NetworkSpec) async throws(EngineFailure)
    /// A missing one is no error; one in use is `conflict`.
    func removeNetwork(_ name: String) async throws(EngineFailure)

    func volumes() async throws(EngineFailure) -> [EngineResource]
    /// A volume of that name is left with its content.
    func createVolume(_ spec: VolumeSpec) async throws(EngineFailure)
    /// Only on a person's explicit request, never by the planner.
    func removeVolume(_ name: String) async throws(EngineFailure)
}
