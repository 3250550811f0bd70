import Base
import Model

/// Reads one service of the file.
struct ServiceReader {
    let name: String
    let context: ComposeContext
    private(set) var service = Service(image: "")
    /// The image as written, nil when the file names none.
    private(set) var image: String?
    /// Whether the file says when to restart.
    private(set) var statesRestart = false
    /// Where each thing that other parts must agree with was written.
    private(set) var places: [String: SourceLocation] = [:]
    private var reader: FieldReader

    init(_ name: String, _ field: Field, _ context: ComposeContext) throws(ComposeError) {
        self.name = name
        self.context = context
        reader = try FieldReader(field)
        places[""] = field.location
        try readImage()
        try readProcess()
        try readEnvironment()
        try readNetworking()
        try readMounts()
        try readDependencies()
        try readSecurity()
        try readResources()
        try readExtension()
        try reader.finish(unsupported: UnsupportedFields.service)
    }

    private mutating func readImage() throws(ComposeError) {
        image = try reader.word("image")
        if let scale = reader.take("scale"), try scale.integer(0...1_000_000) != 1 {
            throw scale.fail(.unsupportedField, "one container runs per service", hint: "write the service twice")
        }
    }

    private mutating func readProcess() throws(ComposeError) {
        service.command = try reader.take("command")?.command()
        service.entrypoint = try reader.take("entrypoint")?.command()
        service.user = try reader.word("user")
        if let field = reader.take("working_dir") { service.workingDirectory = try containerPath(field) }
        if let field = reader.take("restart") { try readRestart(field) }
        if let field = reader.take("healthcheck") { service.healthcheck = try healthcheck(field) }
        if let field = reader.take("stop_grace_period") { service.stopGracePeriod = try field.duration() }
        service.stopSignal = try reader.word("stop_signal")
        service.`init` = try reader.bool("init")
        if let field = reader.take("labels") { service.labels = try labels(field) }
        service.hostname = try reader.word("hostname")
        if let field = reader.take("logging") { service.logging = try logging(field) }
        if let field = reader.take("extra_hosts") { service.extraHosts = try extraHosts(field) }
    }

    private mutating func readRestart(_ field: Field) throws(ComposeError) {
        statesRestart = true
        let text = try field.word()
        let parts = text.split(separator: ":", maxSplits: 1, omittingEmptySubsequences: false).map(String.init)
        guard let policy = Service.Restart.Policy(rawValue: parts[0]) else {
            let words = ["no", "always", "on-failure", "unless-stopped"]
            throw field.fail(
                .value, "\"\(text)\" is none of \(words.joined(separator: ", "))", hint: field.meant(parts[0], words))
        }
        guard parts.count == 2 else {
            service.restart = .init(policy: policy)
            return
        }
        guard policy == .onFailure, let retries = Int(parts[1]), (0...1_000_000).contains(retries) else {
            throw field.fail(.value, "\"\(text)\": only on-failure takes a number of retries")
        }
        service.restart = .init(policy: policy, maximumRetries: retries)
    }

    private func healthcheck(_ field: Field) throws(ComposeError) -> Service.Healthcheck {
        var reader = try FieldReader(field)
        var check = Service.Healthcheck(test: [])
        let test = reader.take("test")
        if let test { check.test = try healthTest(test) }
        if let interval = reader.take("interval") { check.interval = try engineDuration(interval) }
        if let timeout = reader.take("timeout") { check.timeout = try engineDuration(timeout) }
        if let period = reader.take("start_period") { check.startPeriod = try engineDuration(period) }
        if let retries = reader.take("retries") { check.retries = Int(try retries.integer(0...1_000_000)) }
        if let disable = reader.take("disable"), try disable.bool() {
            guard test == nil || check.test == ["NONE"] else {
                throw disable.fail(.duplicate, "disable goes without test")
            }
            check = Service.Healthcheck(test: ["NONE"])
        }
        try reader.finish(unsupported: UnsupportedFields.healthcheck)
        return check
    }

    private func healthTest(_ field: Field) throws(ComposeError) -> [String] {
        guard case .list = field.value.content else { return ["CMD-SHELL", try field.word()] }
        let words = try field.strings()
        switch (words.first, words.count) {
        case ("NONE", 1), ("CMD-SHELL", 2): return words
        case ("CMD", 2...): return words
        default:
            throw field.fail(
                .value, "a list starts with NONE, CMD or CMD-SHELL and what goes with it",
                hint: "write [\"CMD\", \"program\", \"argument\"] or one text for the shell")
        }
    }

    /// The engine takes nothing between 0 and one millisecond.
    private func engineDuration(_ field: Field) throws(ComposeError) -> Int64 {
        let duration = try field.duration()
        guard duration == 0 || duration >= 1_000_000 else { throw field.fail(.value, "shorter than one millisecond") }
        return duration
    }

    private func labels(_ field: Field) throws(ComposeError) -> [String: String] {
        let labels = try field.textMap()
        // The specification reserves the first; the second is how the agent knows its own containers.
        for key in labels.keys.sorted() where key.hasPrefix("com.docker.compose") || key.hasPrefix("io.holdfast.") {
            throw field.fail(.value, "labels that start with com.docker.compose or io.holdfast are reserved (\(key))")
        }
        return labels
    }

    private func logging(_ field: Field) throws(ComposeError) -> Service.Logging {
        var reader = try FieldReader(field)
        var logging = Service.Logging(driver: try reader.word("driver"))
        if let options = reader.take("options") {
            for (key, option) in try options.entries() { logging.options[key] = try option.mapValue() ?? "" }
        }
        try reader.finish()
        return logging
    }

    /// `host:address` as the engine takes them; Compose also writes `host=address`, and brackets IPv6.
    private func extraHosts(_ field: Field) throws(ComposeError) -> [String] {
        var result: [String] = []
        func add(_ host: String, _ address: String, _ field: Field) throws(ComposeError) {
            var address = address
            if address.hasPrefix("["), address.hasSuffix("]") { address = String(address.dropFirst().dropLast()) }
            guard !host.isEmpty, address == "host-gateway" || NetworkAddress.isAddress(address) else {
                throw field.fail(.value, "\"\(host)\" to \"\(address)\"", hint: "write host=address with an IP address")
            }
            result.append("\(host):\(address)")
        }
        if field.isMap {
            for (host, entry) in try field.entries() {
                for address in try entry.stringOrList() { try add(host, try address.word(), address) }
            }
            return result
        }
        for entry in try field.elements() {
            let text = try entry.word()
            guard let cut = text.firstIndex(of: "=") ?? text.firstIndex(of: ":") else {
                throw entry.fail(.value, "\"\(text)\" has no address", hint: "write host=address")
            }
            try add(String(text[..<cut]), String(text[text.index(after: cut)...]), entry)
        }
        return result
    }

    /// `environment` wins over `env_file`, a later file over an earlier.
    private mutating func readEnvironment() throws(ComposeError) {
        if let field = reader.take("env_file") {
            for entry in try field.stringOrList() {
                for (name, value) in try context.environmentFile(entry) { service.environment[name] = value }
            }
        }
        guard let field = reader.take("environment") else { return }
        for (name, value, entry) in try field.listOrMap() {
            guard !name.contains("=") else { throw entry.fail(.value, "the name \"\(name)\" holds '='") }
            // A name alone passes the builder's value on; without one the container has none.
            service.environment[name] = value ?? context.environment[name]
        }
    }

    private mutating func readNetworking() throws(ComposeError) {
        if let field = reader.take("ports") {
            for (port, location) in try PortReader.ports(field) {
                service.ports.append(port)
                if let published = port.published { places["port.\(published)/\(port.protocol)"] = location }
            }
        }
        if let field = reader.take("expose") { try PortReader.checkExposed(field) }
        let networks = reader.take("networks")
        if let field = reader.take("network_mode") {
            let mode = try field.word()
            guard mode == "none" || mode == "host" else {
                throw field.fail(
                    .value, "\"\(mode)\" is neither none nor host", hint: "put the services on one network")
            }
            guard networks == nil else { throw field.fail(.duplicate, "goes without networks") }
            guard service.ports.isEmpty else { throw field.fail(.duplicate, "goes without ports") }
            service.networkMode = mode
            return
        }
        guard let networks else {
            service.networks = ["default": .init()]
            return
        }
        try readAttachments(networks)
    }

    private mutating func readAttachments(_ field: Field) throws(ComposeError) {
        guard field.isMap else {
            for entry in try field.elements() {
                let network = try entry.word()
                guard service.networks.updateValue(.init(), forKey: network) == nil else {
                    throw entry.fail(.duplicate, "the network \"\(network)\" is there twice")
                }
                places["network.\(network)"] = entry.location
            }
            return
        }
        for (network, entry) in try field.entries() {
            places["network.\(network)"] = entry.location
            guard !entry.value.isNull else {
                service.networks[network] = .init()
                continue
            }
            var reader = try FieldReader(entry)
            var attachment = Service.Attachment(aliases: try reader.uniqueStrings("aliases"))
            if let address = reader.take("ipv4_address") {
                attachment.ipv4Address = try address.word()
                guard NetworkAddress.isIPv4(try address.word()) else { throw address.fail(.value, "no IPv4 address") }
            }
            if let address = reader.take("ipv6_address") {
                attachment.ipv6Address = try address.word()
                guard NetworkAddress.isIPv6(try address.word()) else { throw address.fail(.value, "no IPv6 address") }
            }
            try reader.finish(unsupported: UnsupportedFields.attachment)
            service.networks[network] = attachment
        }
    }

    private mutating func readMounts() throws(ComposeError) {
        var taken: [String: String] = [:]
        for field in try reader.take("volumes")?.elements() ?? [] {
            let mount = try MountReader.mount(field)
            try occupy(mount.target, field, &taken)
            if mount.kind == .volume, let source = mount.source { places["volume.\(source)"] = field.location }
            service.mounts.append(mount)
        }
        for field in try reader.take("tmpfs")?.stringOrList() ?? [] {
            let mount = try MountReader.tmpfs(field)
            try occupy(mount.target, field, &taken)
            service.mounts.append(mount)
        }
        for (key, isSecret) in [("configs", false), ("secrets", true)] {
            for field in try reader.take(key)?.elements() ?? [] {
                let file = try FileMountReader.mount(field, isSecret: isSecret)
                try occupy(file.target, field, &taken)
                places["\(isSecret ? "secret" : "config").\(file.file)"] = field.location
                fileMounts.append((file, isSecret))
            }
        }
    }

    /// Files by the names of the file; ``ComposeApplication`` gives them their keys in the release.
    private(set) var fileMounts: [(mount: Service.FileMount, isSecret: Bool)] = []

    private func occupy(_ target: String, _ field: Field, _ taken: inout [String: String]) throws(ComposeError) {
        let key = target.split(separator: "/").joined(separator: "/")
        if let other = taken.updateValue(field.path, forKey: key) {
            throw field.fail(.duplicate, "\"\(target)\" is taken by \(other)")
        }
    }

    private func containerPath(_ field: Field) throws(ComposeError) -> String {
        let path = try field.word()
        guard let clean = MountReader.absolutePath(path) else {
            throw field.fail(.value, "\"\(path)\" is no absolute path without \"..\"")
        }
        return clean
    }

    private mutating func readDependencies() throws(ComposeError) {
        guard let field = reader.take("depends_on") else { return }
        guard field.isMap else {
            for entry in try field.elements() {
                let other = try entry.word()
                places["depends.\(other)"] = entry.location
                guard service.dependsOn.updateValue(.init(), forKey: other) == nil else {
                    throw entry.fail(.duplicate, "\"\(other)\" is there twice")
                }
            }
            return
        }
        for (other, entry) in try field.entries() {
            places["depends.\(other)"] = entry.location
            guard !entry.value.isNull else {
                service.dependsOn[other] = .init()
                continue
            }
            var reader = try FieldReader(entry)
            var dependency = Service.Dependency()
            if let condition = reader.take("condition") {
                let text = try condition.word()
                guard let known = Service.Dependency.Condition(rawValue: text) else {
                    let words = ["service_started", "service_healthy", "service_completed_successfully"]
                    throw condition.fail(
                        .value, "\"\(text)\" is none of \(words.joined(separator: ", "))",
                        hint: condition.meant(text, words))
                }
                dependency.condition = known
            }
            dependency.restart = try reader.bool("restart") ?? false
            dependency.required = try reader.bool("required") ?? true
            try reader.finish()
            service.dependsOn[other] = dependency
        }
    }

    private mutating func readSecurity() throws(ComposeError) {
        service.privileged = try reader.bool("privileged") ?? false
        service.capAdd = try reader.uniqueStrings("cap_add")
        service.capDrop = try reader.uniqueStrings("cap_drop")
        service.securityOpt = try reader.uniqueStrings("security_opt")
        service.readOnly = try reader.bool("read_only") ?? false
        service.sysctls = try reader.textMap("sysctls")
        for field in try reader.take("devices")?.elements() ?? [] {
            service.devices.append(try DeviceReader.device(field))
        }
    }

    private mutating func readExtension() throws(ComposeError) {
        guard let field = reader.take("x-holdfast") else { return }
        var own = try FieldReader(field)
        if let strategy = own.take("strategy") {
            service.strategy = try strategy.choice()
            if service.strategy == .handOver { try refuseHandOverOfFixedPlaces(strategy) }
        }
        service.locks = try own.bool("locks") ?? false
        try own.finish(extensions: false)
    }

    /// Old and new run side by side for a while: what only one of them can hold would fail every update.
    private func refuseHandOverOfFixedPlaces(_ field: Field) throws(ComposeError) {
        let port = service.ports.compactMap(\.published).first.map { "host port \($0)" }
        let address = service.networks.values.compactMap { $0.ipv4Address ?? $0.ipv6Address }.first
        let host = service.networkMode == "host" ? "the host's network" : nil
        guard let place = port ?? address.map({ "the address \($0)" }) ?? host else { return }
        throw field.fail(
            .value, "hand-over runs the new container beside the old one, and both want \(place)",
            hint: "choose another strategy, or let a service that is not handed over hold it")
    }

    // MARK: Resources

    private mutating func readResources() throws(ComposeError) {
        if let field = reader.take("mem_limit") { service.resources.memory = try positiveBytes(field) }
        if let field = reader.take("mem_reservation") { service.resources.memoryReservation = try positiveBytes(field) }
        if let field = reader.take("cpus") { service.resources.nanoCPUs = try cpus(field) }
        if let field = reader.take("pids_limit") { service.resources.pids = try pids(field) }
        if let field = reader.take("shm_size") { service.shmSize = try positiveBytes(field) }
        if let field = reader.take("ulimits") { service.ulimits = try ulimits(field) }
        if let field = reader.take("deploy") { try readDeploy(field) }
        let resources = service.resources
        if let memory = resources.memory, let reservation = resources.memoryReservation, reservation > memory {
            throw ComposeError(
                .value, reader.field.location, path: reader.field.path,
                "the memory reservation (\(ByteCount(reservation))) is above the limit (\(ByteCount(memory)))")
        }
    }

    private mutating func readDeploy(_ field: Field) throws(ComposeError) {
        var deploy = try FieldReader(field)
        if let replicas = deploy.take("replicas"), try replicas.integer(0...1_000_000) != 1 {
            throw replicas.fail(.unsupportedField, "one container runs per service", hint: "write the service twice")
        }
        if let policy = deploy.take("restart_policy") { try readRestartPolicy(policy) }
        if let resources = deploy.take("resources") {
            var parts = try FieldReader(resources)
            if let limits = parts.take("limits") {
                var reader = try FieldReader(limits)
                if let field = reader.take("memory") { try set(\.memory, try positiveBytes(field), field) }
                if let field = reader.take("cpus") { try set(\.nanoCPUs, try cpus(field), field) }
                if let field = reader.take("pids") { try set(\.pids, try pids(field), field) }
                try reader.finish()
            }
            if let reservations = parts.take("reservations") {
                var reader = try FieldReader(reservations)
                if let field = reader.take("memory") { try set(\.memoryReservation, try positiveBytes(field), field) }
                try reader.finish(unsupported: UnsupportedFields.reservations)
            }
            try parts.finish()
        }
        try deploy.finish(unsupported: UnsupportedFields.deploy)
    }

    /// The specification lets both places say it when they say the same.
    private mutating func set(
        _ key: WritableKeyPath<Service.Resources, Int64?>, _ value: Int64?, _ field: Field
    ) throws(ComposeError) {
        if let other = service.resources[keyPath: key], other != value {
            throw field.fail(.duplicate, "differs from what the service itself says", hint: "say it here only")
        }
        service.resources[keyPath: key] = value
    }

    private mutating func readRestartPolicy(_ field: Field) throws(ComposeError) {
        var reader = try FieldReader(field)
        guard !statesRestart else { throw field.fail(.duplicate, "goes without restart") }
        statesRestart = true
        let condition = try reader.word("condition") ?? "any"
        let attempts = try reader.take("max_attempts")?.integer(0...1_000_000) ?? 0
        switch condition {
        case "none": service.restart = .init(policy: .no)
        case "on-failure": service.restart = .init(policy: .onFailure, maximumRetries: Int(attempts))
        case "any": service.restart = .init(policy: .always)
        default: throw field.fail(.value, "the condition \"\(condition)\" is none of none, on-failure, any")
        }
        guard attempts == 0 || condition == "on-failure" else {
            throw field.fail(.value, "max_attempts goes with the condition on-failure only")
        }
        try reader.finish(unsupported: UnsupportedFields.restartPolicy)
    }

    private func positiveBytes(_ field: Field) throws(ComposeError) -> Int64 {
        let bytes = try field.bytes()
        guard (1...ReleaseLimits.blobSize).contains(bytes) else {
            throw field.fail(.value, "\(field.shown) is out of range")
        }
        return bytes
    }

    private func cpus(_ field: Field) throws(ComposeError) -> Int64 {
        guard case .scalar(let text, _) = field.value.content, let cpus = Quantity.billionths(text),
            (1...1_000_000_000_000).contains(cpus)
        else {
            throw field.fail(.value, "\(field.shown) is no number of CPUs", hint: "write a number such as 0.5 or 2")
        }
        return cpus
    }

    /// -1 is no limit.
    private func pids(_ field: Field) throws(ComposeError) -> Int64? {
        let pids = try field.integer(-1...4_194_304)
        guard pids != 0 else { throw field.fail(.value, "0 leaves no process") }
        return pids == -1 ? nil : pids
    }

    private func ulimits(_ field: Field) throws(ComposeError) -> [String: Service.Ulimit] {
        var result: [String: Service.Ulimit] = [:]
        let range = -1...ReleaseLimits.counter
        for (name, entry) in try field.entries() {
            guard entry.isMap else {
                let value = try entry.integer(range)
                result[name] = .init(soft: value, hard: value)
                continue
            }
            var reader = try FieldReader(entry)
            let limit = Service.Ulimit(
                soft: try reader.require("soft").integer(range), hard: try reader.require("hard").integer(range))
            try reader.finish()
            guard limit.hard == -1 || (limit.soft != -1 && limit.soft <= limit.hard) else {
                throw entry.fail(.value, "soft \(limit.soft) is above hard \(limit.hard)")
            }
            result[name] = limit
        }
        return result
    }
}
