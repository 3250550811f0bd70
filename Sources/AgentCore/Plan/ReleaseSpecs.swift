import Base
import Model

/// What the engine is to be told for one release on this device. Pure: same release and layout, same specs.
public struct ReleaseSpecs: Sendable {
    public var pinned: PinnedRelease
    /// Services so that each comes after those it depends on; ties by name.
    public var order: [String]
    public var containers: [String: ContainerSpec]
    public var networks: [NetworkSpec]
    public var volumes: [VolumeSpec]
    public var files: Set<ConfigFileKey>

    public var app: String { pinned.release.app }

    /// Bounds on what a signed release may ask of a device.
    public static let serviceLimit = 128
    /// Bytes of one config or secret.
    public static let configFileLimit: Int64 = 4 << 20

    /// Refuses (`agent.invalid-release`) a release whose parts do not fit together.
    public init(_ pinned: PinnedRelease, layout: StateLayout) throws(AgentError) {
        let release = pinned.release
        self.pinned = pinned
        guard release.services.count <= Self.serviceLimit else {
            throw Self.refuse(pinned, "it has more than \(Self.serviceLimit) services")
        }
        order = try Self.dependencyOrder(pinned)
        networks = Self.networks(pinned)
        volumes = Self.volumes(pinned)
        containers = [:]
        files = []
        for name in order {
            guard let service = release.services[name] else { continue }
            let (spec, keys) = try Self.container(name, service, pinned, layout, made: containers)
            containers[name] = spec
            files.formUnion(keys)
        }
    }

    private static func refuse(_ pinned: PinnedRelease, _ why: String) -> AgentError {
        AgentError(.invalidRelease, "release \(pinned) cannot run here: \(why)")
    }

    /// Kahn's algorithm; what is left over is a cycle.
    private static func dependencyOrder(_ pinned: PinnedRelease) throws(AgentError) -> [String] {
        var waiting = pinned.release.services.mapValues { Set($0.dependsOn.keys) }
        for (name, dependencies) in waiting {
            for dependency in dependencies where waiting[dependency] == nil {
                throw refuse(pinned, "service \(name) depends on \(dependency), which it does not have")
            }
        }
        var order: [String] = []
        while !waiting.isEmpty {
            let ready = waiting.filter { $0.value.isEmpty }.keys.sorted()
            guard !ready.isEmpty else {
                throw refuse(
                    pinned,
                    "its services depend on each other in a circle: \(waiting.keys.sorted().joined(separator: ", "))")
            }
            order += ready
            for name in ready { waiting[name] = nil }
            for name in waiting.keys { waiting[name]?.subtract(ready) }
        }
        return order
    }

    private static func labels(_ pinned: PinnedRelease, name: String, hash: Digest) -> [String: String] {
        [
            Labels.managed: Labels.managedValue, Labels.app: pinned.release.app, Labels.name: name,
            Labels.release: pinned.digest.description, Labels.config: hash.description,
        ]
    }

    private static func networks(_ pinned: PinnedRelease) -> [NetworkSpec] {
        pinned.release.networks.sorted { $0.key < $1.key }.map { name, network in
            let hash = network.definitionHash
            return NetworkSpec(
                name: EngineName.network(app: pinned.release.app, name: name), network: network,
                labels: network.labels.merging(labels(pinned, name: name, hash: hash)) { $1 })
        }
    }

    private static func volumes(_ pinned: PinnedRelease) -> [VolumeSpec] {
        pinned.release.volumes.sorted { $0.key < $1.key }.map { name, volume in
            // A volume outlives releases: its content matters more than how it was once defined.
            let hash = Digest.sha256(Array(name.utf8))
            return VolumeSpec(
                name: EngineName.volume(app: pinned.release.app, name: name), volume: volume,
                labels: volume.labels.merging(labels(pinned, name: name, hash: hash)) { $1 })
        }
    }

    private static func container(
        _ name: String, _ service: Service, _ pinned: PinnedRelease, _ layout: StateLayout,
        made: [String: ContainerSpec]
    ) throws(AgentError) -> (ContainerSpec, [ConfigFileKey]) {
        let release = pinned.release
        guard let image = release.images[service.image] else {
            throw refuse(pinned, "service \(name) names image \(service.image), which it does not list")
        }
        var keys: [ConfigFileKey] = []
        var binds: [ContainerSpec.FileBind] = []
        for mount in service.files {
            guard let file = release.files[mount.file] else {
                throw refuse(pinned, "service \(name) mounts file \(mount.file), which it does not list")
            }
            guard file.blob.size <= configFileLimit else {
                throw refuse(pinned, "file \(mount.file) is larger than \(ByteCount(configFileLimit))")
            }
            let key = ConfigFileKey(
                blob: file.blob, mode: mount.mode & 0o777, uid: mount.uid ?? 0, gid: mount.gid ?? 0,
                secret: file.secret)
            keys.append(key)
            binds.append(ContainerSpec.FileBind(source: layout.path(key), target: mount.target))
        }
        if service.locks {
            let directory = layout.lockDirectory(LockingService(app: release.app, service: name))
            binds.append(ContainerSpec.FileBind(source: directory, target: LockingService.containerDirectory))
        }
        var mounts = service.mounts
        for index in mounts.indices where mounts[index].kind == .volume {
            guard let source = mounts[index].source else { continue }
            guard release.volumes[source] != nil else {
                throw refuse(pinned, "service \(name) mounts volume \(source), which it does not list")
            }
            mounts[index].source = EngineName.volume(app: release.app, name: source)
        }
        var networks: [String: Service.Attachment] = [:]
        for (network, var attachment) in service.networks where service.networkMode == nil {
            guard release.networks[network] != nil else {
                throw refuse(pinned, "service \(name) joins network \(network), which it does not list")
            }
            if !attachment.aliases.contains(name) { attachment.aliases.append(name) }
            networks[EngineName.network(app: release.app, name: network)] = attachment
        }
        var spec = ContainerSpec(
            name: "", service: service, hostname: service.hostname, imageID: image.config.digest, labels: [:],
            files: binds, networks: networks, mounts: mounts, hash: image.config.digest)
        // Made again when a dependency that asks for it is: its hash then holds the dependency's.
        let restartWith = service.dependsOn.filter(\.value.restart).keys.sorted().compactMap { made[$0]?.hash }
        spec.hash = spec.definitionHash(restartWith: restartWith)
        spec.name = EngineName.container(app: release.app, service: name, hash: spec.hash)
        spec.labels = service.labels.merging(labels(pinned, name: name, hash: spec.hash)) { $1 }
        spec.labels[Labels.service] = name
        return (spec, keys)
    }
}
