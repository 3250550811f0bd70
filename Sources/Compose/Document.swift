import Model

/// The whole document: its parts, and that they agree.
struct Document {
    var name: String?
    var version: SourceLocation?
    var services: [String: ServiceResult] = [:]
    var networks: [String: Release.Network] = [:]
    var volumes: [String: Release.Volume] = [:]
    var files: [String: ComposeApplication.FileContent] = [:]
    var own = TopLevelReader.Extension()
    private var configKeys: [String: String] = [:]
    private var secretKeys: [String: String] = [:]
    private let field: Field

    struct ServiceResult {
        var service: Service
        var image: String?
        var statesRestart: Bool
        var fileMounts: [(mount: Service.FileMount, isSecret: Bool)]
        var places: [String: SourceLocation]
    }

    init(_ field: Field, _ context: ComposeContext) throws(ComposeError) {
        self.field = field
        var reader = try FieldReader(field)
        version = reader.take("version")?.location
        name = try reader.word("name")
        if let own = reader.take("x-holdfast") { self.own = try TopLevelReader.Extension(own) }
        for (name, entry) in try Self.named(&reader, "networks", ReleaseLimits.networks) {
            networks[name] = try TopLevelReader.network(entry)
        }
        for (name, entry) in try Self.named(&reader, "volumes", ReleaseLimits.volumes) {
            volumes[name] = try TopLevelReader.volume(entry)
        }
        for (name, entry) in try Self.named(&reader, "configs", ReleaseLimits.files) {
            configKeys[name] = name
            files[name] = .init(bytes: try TopLevelReader.content(entry, isSecret: false, context), isSecret: false)
        }
        for (name, entry) in try Self.named(&reader, "secrets", ReleaseLimits.files) {
            // Configs and secrets are two name spaces in the file and one in the release.
            let key = files[name] == nil ? name : "secret.\(name)"
            guard files[key] == nil else { throw entry.fail(.duplicate, "a config has this name already") }
            secretKeys[name] = key
            files[key] = .init(bytes: try TopLevelReader.content(entry, isSecret: true, context), isSecret: true)
        }
        let entries = try Self.named(&reader, "services", ReleaseLimits.services)
        guard !entries.isEmpty else { throw field.fail(.missing, "no services") }
        for (name, entry) in entries {
            let read = try ServiceReader(name, entry, context)
            services[name] = ServiceResult(
                service: read.service, image: read.image, statesRestart: read.statesRestart,
                fileMounts: read.fileMounts, places: read.places)
        }
        try reader.finish(unsupported: UnsupportedFields.top)
    }

    private static func named(
        _ reader: inout FieldReader, _ key: String, _ limit: Int
    ) throws(ComposeError) -> [(key: String, field: Field)] {
        guard let field = reader.take(key) else { return [] }
        let entries = try field.entries(limit: limit)
        for (name, entry) in entries where !Release.isElementName(name) && !name.hasPrefix("x-") {
            throw ComposeError(
                .value, entry.location, path: key, "\"\(name.prefix(80))\" is no name",
                hint: "use letters, digits, '.', '_' and '-'")
        }
        return entries.filter { !$0.key.hasPrefix("x-") }
    }

    // MARK: Agreement

    mutating func resolve() throws(ComposeError) {
        for name in services.keys.sorted() {
            guard var result = services[name] else { continue }
            try resolveReferences(name, &result)
            services[name] = result
        }
        applyRestartDefaults()
        try refuseSharedHostPorts()
        try refuseCycles()
    }

    private mutating func resolveReferences(_ name: String, _ result: inout ServiceResult) throws(ComposeError) {
        let path = "services.\(name)"
        func unknown(_ kind: String, _ missing: String, _ key: String, in known: [String], _ field: String)
            -> ComposeError
        {
            ComposeError(
                .reference, result.places[key] ?? self.field.location, path: "\(path).\(field)",
                "the file has no \(kind) \"\(missing)\"",
                hint: Suggestion.nearest(to: missing, in: known).map { "did you mean \($0)?" }
                    ?? (kind == "service" ? nil : "define it at the top level under \(field)"))
        }
        for network in result.service.networks.keys.sorted() where networks[network] == nil {
            guard network == "default" else {
                throw unknown("network", network, "network.\(network)", in: Array(networks.keys), "networks")
            }
            networks["default"] = Release.Network()
        }
        for mount in result.service.mounts where mount.kind == .volume {
            guard let source = mount.source, volumes[source] == nil else { continue }
            throw unknown("volume", source, "volume.\(source)", in: Array(volumes.keys), "volumes")
        }
        for other in result.service.dependsOn.keys.sorted() where services[other] == nil {
            throw unknown("service", other, "depends.\(other)", in: Array(services.keys), "depends_on")
        }
        result.service.files = []
        for (mount, isSecret) in result.fileMounts {
            let keys = isSecret ? secretKeys : configKeys
            guard let key = keys[mount.file] else {
                let kind = isSecret ? "secret" : "config"
                throw unknown(kind, mount.file, "\(kind).\(mount.file)", in: Array(keys.keys), "\(kind)s")
            }
            var mount = mount
            mount.file = key
            result.service.files.append(mount)
        }
    }

    /// A service that another waits to complete is a job and runs once; all others keep running.
    /// Compose's own default is `no`, which would leave a device dark after a crash.
    private mutating func applyRestartDefaults() {
        var jobs: Set<String> = []
        for result in services.values {
            for (name, dependency) in result.service.dependsOn where dependency.condition == .completed {
                jobs.insert(name)
            }
        }
        for name in jobs where services[name]?.statesRestart == false {
            services[name]?.service.restart = .init(policy: .no)
        }
    }

    private func refuseSharedHostPorts() throws(ComposeError) {
        var taken: [String: [(address: String?, service: String)]] = [:]
        for name in services.keys.sorted() {
            for port in services[name]?.service.ports ?? [] {
                guard let published = port.published else { continue }
                let key = "\(published)/\(port.protocol)"
                func isAny(_ address: String?) -> Bool { address == nil || address == "0.0.0.0" || address == "::" }
                for other in taken[key] ?? []
                where other.address == port.hostIP || isAny(other.address) || isAny(port.hostIP) {
                    throw ComposeError(
                        .duplicate, services[name]?.places["port.\(key)"] ?? field.location,
                        path: "services.\(name).ports",
                        "host port \(key) is taken by services.\(other.service)")
                }
                taken[key, default: []].append((port.hostIP, name))
            }
        }
    }

    /// What never becomes free of dependencies waits for itself.
    private func refuseCycles() throws(ComposeError) {
        var waiting = services.mapValues { Set($0.service.dependsOn.keys) }
        while true {
            let free = waiting.filter { $0.value.isEmpty }.keys
            if free.isEmpty { break }
            for name in free { waiting[name] = nil }
            for name in waiting.keys { waiting[name]?.subtract(free) }
        }
        guard let first = waiting.keys.min(), let other = waiting[first]?.min() else { return }
        throw ComposeError(
            .cycle, services[first]?.places["depends.\(other)"] ?? field.location, path: "services.\(first).depends_on",
            "these services wait for one another: \(waiting.keys.sorted().joined(separator: ", "))")
    }
}
