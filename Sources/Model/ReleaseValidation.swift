import Base

extension Release {
    /// Checks everything that types cannot: names, ranges, references, cycles and conflicts.
    /// A release that passes can be acted on without looking twice.
    public func validate() throws(ReleaseError) {
        guard schema == Self.currentSchema else {
            throw ReleaseError(.schema, at: "schema", "format version \(schema) cannot be written or run")
        }
        guard Self.isAppName(app) else {
            throw ReleaseError(
                .value, at: "app", "\"\(app)\" is not 1-\(ReleaseLimits.appLength) of a-z, 0-9 and -, a letter first")
        }
        try Check.range(ctr, 1...ReleaseLimits.counter, at: "ctr")
        try Check.range(epoch, 0...ReleaseLimits.counter, at: "epoch")
        try Check.range(
            Int64(update.healthWindowSeconds), 1...Int64(ReleaseLimits.windowSeconds), at: "update.healthWindowSeconds")
        try Check.range(Int64(update.stableSeconds), 0...Int64(ReleaseLimits.windowSeconds), at: "update.stableSeconds")
        try validateRequirements()
        try validateCounts()
        try validateNames()
        for (name, image) in images { try image.validate(key: name, at: "images.\(name)") }
        for (name, file) in files {
            try Check.range(file.blob.size, 0...ReleaseLimits.fileSize, at: "files.\(name).blob.size")
        }
        for (name, network) in networks { try network.validate(at: "networks.\(name)") }
        for (name, volume) in volumes {
            try Check.texts(volume.driverOptions, at: "volumes.\(name).driverOptions")
            try Check.texts(volume.labels, at: "volumes.\(name).labels")
        }
        try validateDeltas()
        for name in services.keys.sorted() {
            guard let service = services[name] else { continue }
            try service.validate(name: name, in: self)
        }
        try validateHostPorts()
        try validateDependencyOrder()
    }

    /// 1-63 characters of `a-z`, `0-9` and `-`, starting with a letter.
    public static func isAppName(_ text: String) -> Bool {
        guard let first = text.utf8.first, (0x61...0x7A).contains(first) else { return false }
        return text.utf8.count <= ReleaseLimits.appLength
            && text.utf8.allSatisfy { (0x61...0x7A).contains($0) || (0x30...0x39).contains($0) || $0 == 0x2D }
    }

    /// The Compose Specification's names: letters, digits, `.`, `_`, `-`; the engine wants no `.` or `-` first.
    public static func isElementName(_ text: String) -> Bool {
        guard let first = text.utf8.first, first != 0x2E, first != 0x2D else { return false }
        return text.utf8.count <= ReleaseLimits.nameLength
            && text.utf8.allSatisfy {
                (0x61...0x7A).contains($0) || (0x41...0x5A).contains($0) || (0x30...0x39).contains($0)
                    || $0 == 0x2D || $0 == 0x2E || $0 == 0x5F
            }
    }

    private func validateRequirements() throws(ReleaseError) {
        for (index, name) in requirements.architectures.enumerated() where !Self.isElementName(name) {
            throw ReleaseError(.value, at: "requirements.architectures[\(index)]", "\"\(name)\" is no architecture")
        }
        for (index, name) in requirements.features.enumerated() where !Self.isElementName(name) {
            throw ReleaseError(.value, at: "requirements.features[\(index)]", "\"\(name)\" is no feature name")
        }
        try Check.texts(requirements.labels, at: "requirements.labels")
    }

    private func validateCounts() throws(ReleaseError) {
        if let agent { return try validate(agent) }
        guard !services.isEmpty else { throw ReleaseError(.value, at: "services", "a release without services") }
        for (count, limit, path) in [
            (services.count, ReleaseLimits.services, "services"), (networks.count, ReleaseLimits.networks, "networks"),
            (volumes.count, ReleaseLimits.volumes, "volumes"), (files.count, ReleaseLimits.files, "files"),
            (images.count, ReleaseLimits.images, "images"), (deltas.count, ReleaseLimits.deltas, "deltas"),
        ] where count > limit {
            throw ReleaseError(.limit, at: path, "\(count) entries, at most \(limit)")
        }
    }

    /// A release of the agent is nothing but a program for one architecture.
    private func validate(_ agent: AgentProgram) throws(ReleaseError) {
        try Check.range(agent.binary.size, 1...ReleaseLimits.agentSize, at: "agent.binary.size")
        guard requirements.architectures.count == 1 else {
            throw ReleaseError(.value, at: "requirements.architectures", "an agent is for exactly one architecture")
        }
        let isAlone =
            services.isEmpty && networks.isEmpty && volumes.isEmpty && files.isEmpty && images.isEmpty && deltas.isEmpty
        guard isAlone else {
            throw ReleaseError(.conflict, at: "agent", "a release of the agent holds nothing else")
        }
    }

    private func validateNames() throws(ReleaseError) {
        for (names, path) in [
            (Array(services.keys), "services"), (Array(networks.keys), "networks"), (Array(volumes.keys), "volumes"),
            (Array(files.keys), "files"),
        ] {
            for name in names.sorted() where !Self.isElementName(name) {
                throw ReleaseError(
                    .value, at: path,
                    "\"\(name)\" is not 1-\(ReleaseLimits.nameLength) letters, digits, '.', '_' or '-'")
            }
        }
    }

    private func validateDeltas() throws(ReleaseError) {
        let layers = Set(images.values.flatMap { $0.layers.map(\.diffID) })
        for (index, delta) in deltas.enumerated() {
            guard layers.contains(delta.target) else {
                throw ReleaseError(.reference, at: "deltas[\(index)].target", "no image has the layer \(delta.target)")
            }
            guard !delta.base.contains(delta.target) else {
                throw ReleaseError(.cycle, at: "deltas[\(index)].base", "the delta's target is its own base")
            }
            try Check.range(delta.blob.size, 1...ReleaseLimits.blobSize, at: "deltas[\(index)].blob.size")
        }
    }

    /// No two services may want the same port of the device.
    private func validateHostPorts() throws(ReleaseError) {
        struct Key: Hashable {
            var port: UInt16
            var `protocol`: String
        }
        var taken: [Key: [(address: String?, path: String)]] = [:]
        for name in services.keys.sorted() {
            for (index, port) in (services[name]?.ports ?? []).enumerated() {
                guard let published = port.published else { continue }
                let key = Key(port: published, protocol: port.protocol)
                let path = "services.\(name).ports[\(index)]"
                for other in taken[key] ?? [] where Self.overlap(other.address, port.hostIP) {
                    throw ReleaseError(
                        .conflict, at: path, "host port \(published)/\(port.protocol) is taken by \(other.path)")
                }
                taken[key, default: []].append((port.hostIP, path))
            }
        }
    }

    private static func overlap(_ left: String?, _ right: String?) -> Bool {
        func isAny(_ address: String?) -> Bool { address == nil || address == "0.0.0.0" || address == "::" }
        return left == right || isAny(left) || isAny(right)
    }

    /// Kahn's algorithm, no recursion: what never becomes free is a cycle.
    private func validateDependencyOrder() throws(ReleaseError) {
        var waiting = services.mapValues { Set($0.dependsOn.keys) }
        while true {
            let free = waiting.filter { $0.value.isEmpty }.keys
            if free.isEmpty { break }
            for name in free { waiting[name] = nil }
            for name in waiting.keys { waiting[name]?.subtract(free) }
        }
        guard let first = waiting.keys.min() else { return }
        throw ReleaseError(
            .cycle, at: "services.\(first).dependsOn",
            "these services wait for one another: \(waiting.keys.sorted().joined(separator: ", "))")
    }
}

/// Checks shared by the parts of a release.
enum Check {
    static func range(_ value: Int64, _ range: ClosedRange<Int64>, at path: String) throws(ReleaseError) {
        guard range.contains(value) else {
            throw ReleaseError(.value, at: path, "\(value) is not within \(range.lowerBound) to \(range.upperBound)")
        }
    }

    /// What reaches the engine or a path may hold no NUL.
    static func text(
        _ text: String, at path: String, limit: Int = ReleaseLimits.shortText, mayBeEmpty: Bool = false
    ) throws(ReleaseError) {
        guard text.utf8.count <= limit else {
            throw ReleaseError(.limit, at: path, "\(text.utf8.count) bytes, at most \(limit)")
        }
        guard mayBeEmpty || !text.isEmpty else { throw ReleaseError(.value, at: path, "empty") }
        guard !text.utf8.contains(0) else { throw ReleaseError(.value, at: path, "holds a NUL") }
    }

    static func texts(_ texts: [String], at path: String, limit: Int = ReleaseLimits.longText) throws(ReleaseError) {
        try count(texts.count, at: path)
        for (index, value) in texts.enumerated() {
            try text(value, at: "\(path)[\(index)]", limit: limit, mayBeEmpty: true)
        }
    }

    /// Keys that are not empty and hold no NUL; values that hold none.
    static func texts(_ texts: [String: String], at path: String) throws(ReleaseError) {
        try count(texts.count, at: path)
        for (key, value) in texts {
            try text(key, at: path)
            try text(value, at: "\(path).\(key)", limit: ReleaseLimits.longText, mayBeEmpty: true)
        }
    }

    static func count(_ count: Int, at path: String) throws(ReleaseError) {
        guard count <= ReleaseLimits.entries else {
            throw ReleaseError(.limit, at: path, "\(count) entries, at most \(ReleaseLimits.entries)")
        }
    }

    /// An absolute path without `..`: it cannot lead out of where it points.
    static func absolutePath(_ path: String, at place: String) throws(ReleaseError) {
        try text(path, at: place, limit: ReleaseLimits.pathLength)
        guard Path.isAbsolute(path), !Path.components(path).contains("..") else {
            throw ReleaseError(.value, at: place, "\"\(path)\" is no absolute path without \"..\"")
        }
    }
}

extension Release.Image {
    static let layerMediaTypes: Set<String> = [
        "application/vnd.oci.image.layer.v1.tar", "application/vnd.oci.image.layer.v1.tar+gzip",
        "application/vnd.oci.image.layer.v1.tar+zstd", "application/vnd.docker.image.rootfs.diff.tar.gzip",
        "application/vnd.docker.image.rootfs.diff.tar",
    ]

    func validate(key: String, at path: String) throws(ReleaseError) {
        guard key == manifest.digest.description else {
            throw ReleaseError(.reference, at: path, "the key is not the manifest's digest \(manifest.digest)")
        }
        try Check.text(reference, at: "\(path).reference", mayBeEmpty: true)
        try Check.text(architecture, at: "\(path).architecture")
        try Check.range(manifest.size, 1...ReleaseLimits.fileSize, at: "\(path).manifest.size")
        try Check.range(config.size, 1...ReleaseLimits.fileSize, at: "\(path).config.size")
        guard layers.count <= ReleaseLimits.layersPerImage else {
            throw ReleaseError(.limit, at: "\(path).layers", "\(layers.count) layers")
        }
        for (index, layer) in layers.enumerated() {
            let place = "\(path).layers[\(index)]"
            try Check.range(layer.blob.size, 1...ReleaseLimits.blobSize, at: "\(place).blob.size")
            try Check.range(layer.uncompressedSize, 0...ReleaseLimits.blobSize, at: "\(place).uncompressedSize")
            guard Self.layerMediaTypes.contains(layer.mediaType) else {
                throw ReleaseError(.value, at: "\(place).mediaType", "\"\(layer.mediaType)\" is no known layer type")
            }
        }
    }
}

extension Release.Network {
    func validate(at path: String) throws(ReleaseError) {
        if let driver { try Check.text(driver, at: "\(path).driver") }
        try Check.texts(labels, at: "\(path).labels")
        try Check.texts(driverOptions, at: "\(path).driverOptions")
        try Check.count(subnets.count, at: "\(path).subnets")
        for (index, subnet) in subnets.enumerated() {
            try Check.text(subnet.subnet, at: "\(path).subnets[\(index)].subnet")
            if let gateway = subnet.gateway { try Check.text(gateway, at: "\(path).subnets[\(index)].gateway") }
        }
    }
}
