import Base
import DockerEngine
import Model

extension ManagedContainer {
    /// From the engine's inspection; nil when the container is not managed or the answer lacks what identifies it.
    init?(_ document: JSONValue) {
        guard let config = document["Config"], let host = document["HostConfig"], let status = document["State"],
            let labels = config["Labels"]?.object?.compactMapValues(\.string),
            labels[Labels.managed] == Labels.managedValue, let id = document["Id"]?.string,
            let name = document["Name"]?.string, let image = document["Image"]?.string.flatMap({ Digest($0) }),
            let word = status["Status"]?.string, let state = State(rawValue: word)
        else { return nil }
        let health = status["Health"]
        self.init(
            id: id, name: name.hasPrefix("/") ? String(name.dropFirst()) : name, app: labels[Labels.app] ?? "",
            service: labels[Labels.service] ?? "", configHash: labels[Labels.config] ?? "",
            release: labels[Labels.release] ?? "", imageID: image, state: state,
            health: Self.health(health), exitCode: Int(status["ExitCode"]?.integer ?? 0),
            outOfMemory: status["OOMKilled"]?.bool ?? false,
            restartCount: Int(document["RestartCount"]?.integer ?? 0),
            startedAt: Self.nanoseconds(status["StartedAt"]?.string ?? ""),
            publishedPorts: Self.publishedPorts(host), fingerprint: Self.fingerprint(document, config, host),
            error: Self.tail(status["Error"]?.string ?? ""),
            healthOutput: Self.tail(health?["Log"]?.array?.last?["Output"]?.string ?? ""))
    }

    /// Longest text kept from the engine, in bytes; the end of it says most.
    private static let textLimit = 1000

    private static func tail(_ text: String) -> String {
        var bytes = Array(text.utf8).suffix(textLimit)
        while let last = bytes.last, last == 0x0A || last == 0x0D || last == 0x20 { bytes.removeLast() }
        return String(decoding: bytes, as: UTF8.self)
    }

    private static func health(_ value: JSONValue?) -> Health {
        value?["Status"]?.string.flatMap { Health(rawValue: $0) } ?? .none
    }

    /// RFC 3339 with up to nine decimals, in UTC; 0 for the engine's "never" and for anything else.
    static func nanoseconds(_ text: String) -> Int64 {
        let whole = text.prefix(19) + "Z"
        guard let time = Timestamp(rfc3339: String(whole)), time.seconds > 0 else { return 0 }
        var fraction: Int64 = 0
        var scale: Int64 = 1_000_000_000
        if text.dropFirst(19).first == "." {
            for digit in text.dropFirst(20) {
                guard let value = digit.wholeNumberValue, scale > 1 else { break }
                scale /= 10
                fraction += Int64(value) * scale
            }
        }
        let (nanoseconds, overflow) = time.seconds.multipliedReportingOverflow(by: 1_000_000_000)
        return overflow ? 0 : nanoseconds + fraction
    }

    private static func publishedPorts(_ host: JSONValue) -> [String] {
        var output: [String] = []
        for (key, bindings) in host["PortBindings"]?.object ?? [:] {
            let transport = key.split(separator: "/").last ?? "tcp"
            for binding in bindings.array ?? [] {
                guard let port = binding["HostPort"]?.string, !port.isEmpty else { continue }
                let address = binding["HostIp"]?.string ?? ""
                output.append("\(address.isEmpty ? "0.0.0.0" : address):\(port)/\(transport)")
            }
        }
        return output.sorted()
    }

    // MARK: Fingerprint

    private static let configFields = [
        "Cmd", "Entrypoint", "Env", "User", "WorkingDir", "Hostname", "Healthcheck", "StopSignal",
    ]
    /// All that `docker update` can change, and what decides how the container is confined. Listed by name, because
    /// a newer engine adds fields of its own, which must not look like a change.
    private static let hostFields = [
        "Binds", "Mounts", "PortBindings", "RestartPolicy", "NetworkMode", "Memory", "MemoryReservation", "MemorySwap",
        "NanoCpus", "CpuShares", "CpuPeriod", "CpuQuota", "CpusetCpus", "CpusetMems", "PidsLimit", "BlkioWeight",
        "Privileged", "CapAdd", "CapDrop", "Devices", "ReadonlyRootfs", "SecurityOpt", "Sysctls", "Ulimits", "ShmSize",
        "Init", "ExtraHosts", "LogConfig",
    ]

    private static func fingerprint(_ document: JSONValue, _ config: JSONValue, _ host: JSONValue) -> String {
        var members: [String: JSONValue] = ["Image": document["Image"] ?? .null]
        for field in configFields { members["Config." + field] = meaningful(config[field]) }
        for field in hostFields { members["HostConfig." + field] = meaningful(host[field]) }
        let networks = document["NetworkSettings"]?["Networks"]?.object?.keys.sorted() ?? []
        members["Networks"] = .array(networks.map { .string($0) })
        // None of these fields holds a fraction, the one thing that canonical JSON refuses.
        return Digest.sha256((try? JSONValue.object(members).serialized(.canonical)) ?? []).description
    }

    /// Nil for what engines write differently for "not set": null, 0, false, and what is empty.
    private static func meaningful(_ value: JSONValue?) -> JSONValue? {
        switch value {
        case nil, .null?, .integer(0)?, .bool(false)?, .string("")?: nil
        case .array(let elements)? where elements.isEmpty: nil
        case .object(let members)?:
            members.compactMapValues { meaningful($0) }.isEmpty
                ? nil : .object(members.compactMapValues { meaningful($0) })
        default: value
        }
    }
}
