import Base
import DockerEngine
import Model

/// A ``ContainerSpec`` in the Docker Engine's terms.
struct DockerSpec {
    var container: DockerEngine.ContainerSpec

    /// Networks that the container joins after its creation, as JSON.
    static let endpointsLabel = "io.holdfast.endpoints"

    init(_ spec: ContainerSpec) {
        let service = spec.service
        container = DockerEngine.ContainerSpec(image: spec.imageID.description)
        container.hostname = spec.hostname
        container.user = service.user
        container.workingDirectory = service.workingDirectory
        container.environment = service.environment.map { "\($0.key)=\($0.value)" }.sorted()
        container.entrypoint = service.entrypoint
        container.command = service.command
        container.labels = spec.labels
        container.healthcheck = service.healthcheck
        container.stopSignal = service.stopSignal
        container.stopTimeout = Self.seconds(nanoseconds: service.stopGracePeriod)
        container.ports = service.ports
        container.privileged = service.privileged
        container.capAdd = service.capAdd
        container.capDrop = service.capDrop
        container.devices = service.devices
        container.restart = spec.engineRestart
        container.resources = service.resources
        container.logging = service.logging
        container.extraHosts = service.extraHosts
        container.sysctls = service.sysctls
        container.readOnly = service.readOnly
        container.initProcess = service.`init`
        container.shmSize = service.shmSize
        container.ulimits = service.ulimits
        container.securityOpt = service.securityOpt
        container.networkMode = service.networkMode
        addMounts(spec)
        addNetworks(spec)
    }

    /// Rounded up: a grace period of 1 ns is not none.
    private static func seconds(nanoseconds: Int64) -> Int {
        let (seconds, rest) = max(0, nanoseconds).quotientAndRemainder(dividingBy: 1_000_000_000)
        return Int(seconds) + (rest > 0 ? 1 : 0)
    }

    private mutating func addMounts(_ spec: ContainerSpec) {
        for mount in spec.mounts {
            if mount.kind == .bind, mount.createHostPath, let source = mount.source {
                // Only the older form of a bind makes a missing host directory.
                let options = [mount.readOnly ? "ro" : "rw", mount.propagation].compactMap(\.self)
                container.binds.append("\(source):\(mount.target):\(options.joined(separator: ","))")
                continue
            }
            container.mounts.append(
                DockerEngine.ContainerSpec.Mount(
                    kind: mount.kind, source: mount.source, target: mount.target, readOnly: mount.readOnly,
                    tmpfsSize: mount.tmpfsSize, tmpfsMode: mount.tmpfsMode, propagation: mount.propagation,
                    noCopy: mount.noCopy))
        }
        for file in spec.files {
            container.mounts.append(
                DockerEngine.ContainerSpec.Mount(
                    kind: .bind, source: file.source, target: file.target, readOnly: true))
        }
    }

    private mutating func addNetworks(_ spec: ContainerSpec) {
        guard spec.service.networkMode == nil else { return }
        let endpoints = spec.networks.sorted { $0.key < $1.key }.map { network, attachment in
            DockerEngine.ContainerSpec.Endpoint(
                network: network, aliases: attachment.aliases, ipv4Address: attachment.ipv4Address,
                ipv6Address: attachment.ipv6Address)
        }
        container.endpoint = endpoints.first
        guard endpoints.count > 1 else { return }
        container.labels[Self.endpointsLabel] = Self.text(Array(endpoints.dropFirst()))
    }

    // MARK: The endpoints label

    private static func text(_ endpoints: [DockerEngine.ContainerSpec.Endpoint]) -> String {
        let list = JSONValue.array(
            endpoints.map { endpoint in
                var object: [String: JSONValue] = [
                    "network": .string(endpoint.network), "aliases": .array(endpoint.aliases.map { .string($0) }),
                ]
                object["ipv4"] = endpoint.ipv4Address.map { .string($0) }
                object["ipv6"] = endpoint.ipv6Address.map { .string($0) }
                return .object(object)
            })
        // Strings and lists only, which every style can write.
        return String(decoding: (try? list.serialized(.canonical)) ?? [], as: UTF8.self)
    }

    static func endpoints(_ text: String) -> [DockerEngine.ContainerSpec.Endpoint] {
        let list = (try? JSONValue(parsing: text.utf8, limits: JSONLimits(size: 64 << 10)))?.array ?? []
        return list.compactMap { item in
            guard let network = item["network"]?.string else { return nil }
            return DockerEngine.ContainerSpec.Endpoint(
                network: network, aliases: (item["aliases"]?.array ?? []).compactMap(\.string),
                ipv4Address: item["ipv4"]?.string, ipv6Address: item["ipv6"]?.string)
        }
    }
}
