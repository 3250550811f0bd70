import Model

/// Networks, volumes, configs, secrets and the top-level extension.
enum TopLevelReader {
    static func network(_ field: Field) throws(ComposeError) -> Release.Network {
        guard !field.value.isNull else { return Release.Network() }
        var reader = try FieldReader(field)
        var network = Release.Network(
            driver: try reader.word("driver"), internal: try reader.bool("internal") ?? false,
            ipv6: try reader.bool("enable_ipv6") ?? false, labels: try reader.textMap("labels"),
            driverOptions: try reader.textMap("driver_opts"))
        // Only means something in a cluster.
        _ = try reader.bool("attachable")
        if let ipam = reader.take("ipam") {
            var parts = try FieldReader(ipam)
            if let driver = parts.take("driver"), try driver.word() != "default" {
                throw driver.fail(.unsupportedField, "only the default IPAM driver is supported")
            }
            for entry in try parts.take("config")?.elements() ?? [] { network.subnets.append(try subnet(entry)) }
            try parts.finish(unsupported: UnsupportedFields.ipam)
        }
        try reader.finish(unsupported: UnsupportedFields.network)
        return network
    }

    private static func subnet(_ field: Field) throws(ComposeError) -> Release.Network.Subnet {
        var reader = try FieldReader(field)
        let subnet = try reader.require("subnet")
        guard NetworkAddress.isSubnet(try subnet.word()) else {
            throw subnet.fail(.value, "\(subnet.shown) is no subnet", hint: "write it as 10.5.0.0/24")
        }
        let gateway = reader.take("gateway")
        if let gateway, !NetworkAddress.isAddress(try gateway.word()) {
            throw gateway.fail(.value, "\(gateway.shown) is no IP address")
        }
        try reader.finish(unsupported: UnsupportedFields.subnet)
        return .init(subnet: try subnet.word(), gateway: try gateway?.word())
    }

    static func volume(_ field: Field) throws(ComposeError) -> Release.Volume {
        guard !field.value.isNull else { return Release.Volume() }
        var reader = try FieldReader(field)
        let volume = Release.Volume(
            driver: try reader.word("driver"), driverOptions: try reader.textMap("driver_opts"),
            labels: try reader.textMap("labels"))
        try reader.finish(unsupported: UnsupportedFields.volume)
        return volume
    }

    /// The content of a config or secret: from a file, a variable, or (configs) written in place.
    static func content(_ field: Field, isSecret: Bool, _ context: ComposeContext) throws(ComposeError) -> [UInt8] {
        var reader = try FieldReader(field)
        let file = reader.take("file")
        let variable = reader.take("environment")
        let content = isSecret ? nil : reader.take("content")
        try reader.finish(unsupported: UnsupportedFields.file)
        let given = [file, variable, content].compactMap { $0 }
        guard given.count == 1, let only = given.first else {
            let words = isSecret ? "file or environment" : "file, content or environment"
            throw field.fail(.missing, given.isEmpty ? "one of \(words) is missing" : "only one of \(words) may stand")
        }
        if file != nil {
            return try context.contents(only, of: try only.word(), limit: Int(ReleaseLimits.fileSize))
        }
        if variable != nil {
            let name = try only.word()
            guard let value = context.environment[name] else {
                throw only.fail(.variable, "the variable \(name) is not set")
            }
            return Array(value.utf8)
        }
        return Array(try only.string().utf8)
    }

    /// `x-holdfast` at the top level.
    struct Extension {
        var update = Release.UpdatePolicy()
        var requirements = Release.Requirements()
        var epoch: Int64?

        init() {}

        init(_ field: Field) throws(ComposeError) {
            var reader = try FieldReader(field)
            if let field = reader.take("update") { update = try Self.update(field) }
            if let field = reader.take("requirements") {
                var parts = try FieldReader(field)
                requirements.architectures = try parts.uniqueStrings("architectures")
                requirements.labels = try parts.textMap("labels")
                requirements.features = try parts.uniqueStrings("features")
                try parts.finish(extensions: false)
            }
            epoch = try reader.take("epoch")?.integer(0...ReleaseLimits.counter)
            try reader.finish(extensions: false)
        }

        private static func update(_ field: Field) throws(ComposeError) -> Release.UpdatePolicy {
            var policy = Release.UpdatePolicy()
            var reader = try FieldReader(field)
            if let window = reader.take("health_window") { policy.healthWindowSeconds = try seconds(window, from: 1) }
            if let stable = reader.take("stable_time") { policy.stableSeconds = try seconds(stable, from: 0) }
            policy.rollback = try reader.bool("rollback") ?? policy.rollback
            if let locks = reader.take("locks") { policy.locks = try locks.choice() }
            if let windows = reader.take("windows") { policy.windows = try Self.windows(windows) }
            try reader.finish(extensions: false)
            return policy
        }

        private static func windows(_ field: Field) throws(ComposeError) -> MaintenanceWindows {
            var windows = MaintenanceWindows()
            var reader = try FieldReader(field)
            if let zone = reader.take("time_zone") {
                windows.timeZone = try zone.word()
                guard MaintenanceWindows.isTimeZoneName(windows.timeZone) else {
                    throw zone.fail(.value, "\(zone.shown) is no time zone", hint: "write it as Europe/Berlin")
                }
            }
            windows.download = try Self.windowList(reader.take("download"))
            windows.apply = try Self.windowList(reader.take("apply"))
            try reader.finish(extensions: false)
            return windows
        }

        private static func windowList(_ field: Field?) throws(ComposeError) -> [MaintenanceWindow] {
            guard let field else { return [] }
            var windows: [MaintenanceWindow] = []
            for element in try field.elements() {
                guard let window = MaintenanceWindow(try element.string()) else {
                    throw element.fail(
                        .value, "\(element.shown) is no window",
                        hint: "minute hour day month weekday duration: \"0 2 * * 1-5 3h\"")
                }
                windows.append(window)
            }
            guard windows.count <= MaintenanceWindow.countLimit else {
                throw field.fail(.value, "\(windows.count) windows, at most \(MaintenanceWindow.countLimit)")
            }
            return windows
        }

        private static func seconds(_ field: Field, from least: Int) throws(ComposeError) -> Int {
            let duration = try field.duration()
            let seconds = Int(duration / 1_000_000_000)
            guard duration % 1_000_000_000 == 0, seconds >= least else {
                throw field.fail(.value, "\(field.shown) is not whole seconds, at least \(least)")
            }
            return seconds
        }
    }
}
