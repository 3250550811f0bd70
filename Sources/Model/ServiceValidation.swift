import Base

extension Service {
    func validate(name: String, in release: Release) throws(ReleaseError) {
        let path = "services.\(name)"
        guard release.images[image] != nil else {
            throw ReleaseError(.reference, at: "\(path).image", "the release has no image \(image)")
        }
        try validateProcess(path)
        try validateNetworks(path, release)
        try validatePlaces(path, release)
        try validateHost(path)
        for dependency in dependsOn.keys.sorted() {
            guard dependency != name else {
                throw ReleaseError(.cycle, at: "\(path).dependsOn", "the service waits for itself")
            }
            guard release.services[dependency] != nil else {
                throw ReleaseError(.reference, at: "\(path).dependsOn", "the release has no service \"\(dependency)\"")
            }
        }
    }

    private func validateProcess(_ path: String) throws(ReleaseError) {
        try Check.texts(command ?? [], at: "\(path).command")
        try Check.texts(entrypoint ?? [], at: "\(path).entrypoint")
        try Check.texts(environment, at: "\(path).environment")
        for key in environment.keys where key.contains("=") {
            throw ReleaseError(.value, at: "\(path).environment", "the name \"\(key)\" holds '='")
        }
        for (value, key) in [(user, "user"), (stopSignal, "stopSignal"), (hostname, "hostname")] {
            if let value { try Check.text(value, at: "\(path).\(key)") }
        }
        if let workingDirectory { try Check.absolutePath(workingDirectory, at: "\(path).workingDirectory") }
        try Check.range(stopGracePeriod, 0...ReleaseLimits.duration, at: "\(path).stopGracePeriod")
        try Check.range(Int64(restart.maximumRetries), 0...1_000_000, at: "\(path).restart.maximumRetries")
        guard restart.maximumRetries == 0 || restart.policy == .onFailure else {
            throw ReleaseError(.value, at: "\(path).restart", "maximumRetries goes with on-failure only")
        }
        try validateHealthcheck(path + ".healthcheck")
        try Check.texts(labels, at: "\(path).labels")
    }

    private func validateHealthcheck(_ path: String) throws(ReleaseError) {
        guard let healthcheck else { return }
        try Check.texts(healthcheck.test, at: "\(path).test")
        switch healthcheck.test.first {
        case nil: break
        case "NONE" where healthcheck.test.count == 1: break
        case "CMD" where healthcheck.test.count > 1: break
        case "CMD-SHELL" where healthcheck.test.count == 2: break
        default:
            throw ReleaseError(
                .value, at: "\(path).test", "expected NONE, CMD and arguments, or CMD-SHELL and one text")
        }
        for (value, key) in [
            (healthcheck.interval, "interval"), (healthcheck.timeout, "timeout"),
            (healthcheck.startPeriod, "startPeriod"),
        ] {
            // The engine takes 0 (inherit) or at least one millisecond.
            guard value == 0 || (1_000_000...ReleaseLimits.duration).contains(value) else {
                throw ReleaseError(.value, at: "\(path).\(key)", "\(value) ns is not 0 or 1 ms to 1 week")
            }
        }
        try Check.range(Int64(healthcheck.retries), 0...1_000_000, at: "\(path).retries")
    }

    private func validateNetworks(_ path: String, _ release: Release) throws(ReleaseError) {
        try Check.count(ports.count, at: "\(path).ports")
        for network in networks.keys.sorted() where release.networks[network] == nil {
            throw ReleaseError(.reference, at: "\(path).networks", "the release has no network \"\(network)\"")
        }
        if let networkMode {
            guard networkMode == "none" || networkMode == "host" else {
                throw ReleaseError(.value, at: "\(path).networkMode", "\"\(networkMode)\" is neither none nor host")
            }
            guard networks.isEmpty, ports.isEmpty else {
                throw ReleaseError(.conflict, at: "\(path).networkMode", "goes with neither networks nor ports")
            }
        }
        for (network, attachment) in networks {
            let place = "\(path).networks.\(network)"
            try Check.texts(attachment.aliases, at: "\(place).aliases", limit: ReleaseLimits.shortText)
            if let address = attachment.ipv4Address { try Check.text(address, at: "\(place).ipv4Address") }
            if let address = attachment.ipv6Address { try Check.text(address, at: "\(place).ipv6Address") }
        }
        for (index, port) in ports.enumerated() {
            let place = "\(path).ports[\(index)]"
            guard ["tcp", "udp", "sctp"].contains(port.protocol) else {
                throw ReleaseError(.value, at: "\(place).protocol", "\"\(port.protocol)\" is not tcp, udp or sctp")
            }
            guard port.target > 0, port.published != 0 else {
                throw ReleaseError(.value, at: place, "port 0")
            }
            if let address = port.hostIP { try Check.text(address, at: "\(place).hostIP") }
        }
        try Check.texts(extraHosts, at: "\(path).extraHosts", limit: ReleaseLimits.shortText)
        for (index, entry) in extraHosts.enumerated() {
            let parts = entry.split(separator: ":", maxSplits: 1)
            guard parts.count == 2 else {
                throw ReleaseError(.value, at: "\(path).extraHosts[\(index)]", "expected host:address")
            }
        }
    }

    /// Mounts and files: where they come from exists, and no two go to the same place.
    private func validatePlaces(_ path: String, _ release: Release) throws(ReleaseError) {
        try Check.count(mounts.count, at: "\(path).mounts")
        try Check.count(files.count, at: "\(path).files")
        var taken: [String: String] = [:]
        func occupy(_ target: String, _ place: String) throws(ReleaseError) {
            try Check.absolutePath(target, at: "\(place).target")
            let key = "/" + Path.components(target).filter { $0 != "." }.joined(separator: "/")
            guard key != "/" else { throw ReleaseError(.value, at: "\(place).target", "cannot mount over /") }
            if let other = taken.updateValue(place, forKey: key) {
                throw ReleaseError(.conflict, at: "\(place).target", "\"\(target)\" is taken by \(other)")
            }
        }
        for (index, mount) in mounts.enumerated() {
            let place = "\(path).mounts[\(index)]"
            try occupy(mount.target, place)
            try mount.validate(at: place, release)
        }
        for (index, file) in files.enumerated() {
            let place = "\(path).files[\(index)]"
            guard release.files[file.file] != nil else {
                throw ReleaseError(.reference, at: "\(place).file", "the release has no file \"\(file.file)\"")
            }
            try occupy(file.target, place)
            try Check.range(Int64(file.mode), 0...0o7777, at: "\(place).mode")
        }
    }

    private func validateHost(_ path: String) throws(ReleaseError) {
        try Check.count(devices.count, at: "\(path).devices")
        for (index, device) in devices.enumerated() {
            let place = "\(path).devices[\(index)]"
            try Check.absolutePath(device.host, at: "\(place).host")
            try Check.absolutePath(device.container, at: "\(place).container")
            let letters = Set(device.permissions)
            guard !letters.isEmpty, letters.isSubset(of: "rwm"), letters.count == device.permissions.count else {
                throw ReleaseError(
                    .value, at: "\(place).permissions", "\"\(device.permissions)\" is not a choice of r, w and m")
            }
        }
        try Check.texts(capAdd, at: "\(path).capAdd", limit: ReleaseLimits.shortText)
        try Check.texts(capDrop, at: "\(path).capDrop", limit: ReleaseLimits.shortText)
        try Check.texts(sysctls, at: "\(path).sysctls")
        try Check.texts(securityOpt, at: "\(path).securityOpt")
        if let shmSize { try Check.range(shmSize, 1...ReleaseLimits.blobSize, at: "\(path).shmSize") }
        try Check.count(ulimits.count, at: "\(path).ulimits")
        for (name, limit) in ulimits {
            try Check.text(name, at: "\(path).ulimits")
            guard limit.soft >= -1, limit.hard >= -1,
                limit.hard == -1 || (limit.soft != -1 && limit.soft <= limit.hard)
            else {
                throw ReleaseError(
                    .value, at: "\(path).ulimits.\(name)", "soft \(limit.soft) is above hard \(limit.hard)")
            }
        }
        for (value, key) in [
            (resources.nanoCPUs, "nanoCPUs"), (resources.memory, "memory"),
            (resources.memoryReservation, "memoryReservation"), (resources.pids, "pids"),
        ] {
            if let value { try Check.range(value, 1...ReleaseLimits.counter, at: "\(path).resources.\(key)") }
        }
        if let logging {
            if let driver = logging.driver { try Check.text(driver, at: "\(path).logging.driver") }
            try Check.texts(logging.options, at: "\(path).logging.options")
        }
    }
}

extension Service.Mount {
    static let propagations: Set<String> = ["private", "rprivate", "shared", "rshared", "slave", "rslave"]

    func validate(at path: String, _ release: Release) throws(ReleaseError) {
        switch kind {
        case .volume:
            if let source, release.volumes[source] == nil {
                throw ReleaseError(.reference, at: "\(path).source", "the release has no volume \"\(source)\"")
            }
        case .bind:
            guard let source else { throw ReleaseError(.missingField, at: "\(path).source", "a bind mount needs one") }
            try Check.absolutePath(source, at: "\(path).source")
        case .tmpfs:
            guard source == nil else { throw ReleaseError(.value, at: "\(path).source", "a tmpfs has none") }
        }
        guard kind == .tmpfs || (tmpfsSize == nil && tmpfsMode == nil) else {
            throw ReleaseError(.value, at: path, "tmpfsSize and tmpfsMode go with tmpfs only")
        }
        guard kind == .bind || (propagation == nil && !createHostPath) else {
            throw ReleaseError(.value, at: path, "propagation and createHostPath go with bind only")
        }
        guard kind == .volume || !noCopy else { throw ReleaseError(.value, at: path, "noCopy goes with volume only") }
        if let propagation, !Self.propagations.contains(propagation) {
            throw ReleaseError(.value, at: "\(path).propagation", "unknown value \"\(propagation)\"")
        }
        if let tmpfsSize { try Check.range(tmpfsSize, 0...ReleaseLimits.blobSize, at: "\(path).tmpfsSize") }
        if let tmpfsMode { try Check.range(Int64(tmpfsMode), 0...0o7777, at: "\(path).tmpfsMode") }
    }
}
