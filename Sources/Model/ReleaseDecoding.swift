import Base

extension Release {
    /// Reads a document that nobody has vouched for: bounded before anything is allocated, no unknown field,
    /// no unknown major schema, and ``validate()`` passed.
    public init(decoding bytes: some Collection<UInt8>) throws(ReleaseError) {
        let value: JSONValue
        do {
            value = try JSONValue(
                parsing: bytes,
                limits: JSONLimits(
                    size: ReleaseLimits.documentSize, depth: ReleaseLimits.depth, count: ReleaseLimits.values,
                    literalControls: false))
        } catch {
            throw ReleaseError(.json, at: "", error.message)
        }
        self = try Release(unchecked: value)
        try validate()
    }

    private init(unchecked value: JSONValue) throws(ReleaseError) {
        var reader = try ObjectReader(value, path: "")
        // First of all: a later schema may give every other field another meaning.
        let schema: Int = try reader.integer("schema")
        guard schema == Self.currentSchema else {
            throw ReleaseError(
                .schema, at: "schema", "format version \(schema), this software reads \(Self.currentSchema)")
        }
        let versionText = try reader.text("version")
        guard let version = SemanticVersion(versionText) else {
            throw ReleaseError(.value, at: "version", "\"\(versionText)\" is no semantic version")
        }
        self.init(
            app: try reader.text("app"), version: version, ctr: try reader.integer("ctr"),
            epoch: try reader.integer("epoch"),
            requirements: try reader.take("requirements").map { value throws(ReleaseError) in
                try Requirements(value, path: "requirements")
            } ?? Requirements(),
            services: try reader.map("services", limit: ReleaseLimits.services, Service.init(_:path:)),
            networks: try reader.map("networks", limit: ReleaseLimits.networks, Network.init(_:path:)),
            volumes: try reader.map("volumes", limit: ReleaseLimits.volumes, Volume.init(_:path:)),
            files: try reader.map("files", limit: ReleaseLimits.files, ConfigFile.init(_:path:)),
            images: try reader.map("images", limit: ReleaseLimits.images, Image.init(_:path:)),
            update: try UpdatePolicy(try reader.require("update"), path: "update"),
            deltas: try reader.list("deltas", limit: ReleaseLimits.deltas, LayerDelta.init(_:path:)),
            agent: try reader.take("agent").map { value throws(ReleaseError) in
                try AgentProgram(value, path: "agent")
            })
        try reader.finish()
    }
}

extension Release.Requirements {
    fileprivate init(_ value: JSONValue, path: String) throws(ReleaseError) {
        var reader = try ObjectReader(value, path: path)
        self.init(
            architectures: try reader.texts("architectures"), labels: try reader.textMap("labels"),
            features: try reader.texts("features"))
        try reader.finish()
    }
}

extension Release.Blob {
    fileprivate init(_ value: JSONValue, path: String) throws(ReleaseError) {
        var reader = try ObjectReader(value, path: path)
        self.init(digest: try reader.digest("digest"), size: try reader.integer("size"))
        try reader.finish()
    }
}

extension Release.AgentProgram {
    fileprivate init(_ value: JSONValue, path: String) throws(ReleaseError) {
        var reader = try ObjectReader(value, path: path)
        self.init(binary: try Release.Blob(try reader.require("binary"), path: reader.place("binary")))
        try reader.finish()
    }
}

extension Release.Image {
    fileprivate init(_ value: JSONValue, path: String) throws(ReleaseError) {
        var reader = try ObjectReader(value, path: path)
        self.init(
            manifest: try Release.Blob(try reader.require("manifest"), path: reader.place("manifest")),
            config: try Release.Blob(try reader.require("config"), path: reader.place("config")),
            layers: try reader.list("layers", limit: ReleaseLimits.layersPerImage, Release.Layer.init(_:path:)),
            reference: try reader.text("reference"), architecture: try reader.text("architecture"))
        try reader.finish()
    }
}

extension Release.Layer {
    fileprivate init(_ value: JSONValue, path: String) throws(ReleaseError) {
        var reader = try ObjectReader(value, path: path)
        self.init(
            diffID: try reader.digest("diffID"),
            blob: try Release.Blob(try reader.require("blob"), path: reader.place("blob")),
            mediaType: try reader.text("mediaType"), uncompressedSize: try reader.integer("uncompressedSize"))
        try reader.finish()
    }
}

extension Release.LayerDelta {
    fileprivate init(_ value: JSONValue, path: String) throws(ReleaseError) {
        var reader = try ObjectReader(value, path: path)
        self.init(
            base: try reader.list("base", limit: ReleaseLimits.basesPerDelta, ObjectReader.digest(_:at:)),
            target: try reader.digest("target"),
            blob: try Release.Blob(try reader.require("blob"), path: reader.place("blob")))
        try reader.finish()
    }
}

extension Release.ConfigFile {
    fileprivate init(_ value: JSONValue, path: String) throws(ReleaseError) {
        var reader = try ObjectReader(value, path: path)
        self.init(
            blob: try Release.Blob(try reader.require("blob"), path: reader.place("blob")),
            secret: try reader.flag("secret"))
        try reader.finish()
    }
}

extension Release.Network {
    fileprivate init(_ value: JSONValue, path: String) throws(ReleaseError) {
        var reader = try ObjectReader(value, path: path)
        self.init(
            driver: try reader.optionalText("driver"), internal: try reader.flag("internal"),
            ipv6: try reader.flag("ipv6"), labels: try reader.textMap("labels"),
            driverOptions: try reader.textMap("driverOptions"),
            subnets: try reader.list("subnets") { (value, path) throws(ReleaseError) in
                var reader = try ObjectReader(value, path: path)
                let subnet = Subnet(subnet: try reader.text("subnet"), gateway: try reader.optionalText("gateway"))
                try reader.finish()
                return subnet
            })
        try reader.finish()
    }
}

extension Release.Volume {
    fileprivate init(_ value: JSONValue, path: String) throws(ReleaseError) {
        var reader = try ObjectReader(value, path: path)
        self.init(
            driver: try reader.optionalText("driver"), driverOptions: try reader.textMap("driverOptions"),
            labels: try reader.textMap("labels"))
        try reader.finish()
    }
}

extension Release.UpdatePolicy {
    fileprivate init(_ value: JSONValue, path: String) throws(ReleaseError) {
        var reader = try ObjectReader(value, path: path)
        self.init(
            healthWindowSeconds: try reader.integer("healthWindowSeconds"),
            stableSeconds: try reader.integer("stableSeconds"), rollback: try reader.flag("rollback"),
            locks: try reader.flag("ignoreLocks") ? .ignore : .respect,
            windows: try reader.take("windows").map { value throws(ReleaseError) in
                try MaintenanceWindows(value, path: "update.windows")
            })
        try reader.finish()
    }
}

extension MaintenanceWindows {
    fileprivate init(_ value: JSONValue, path: String) throws(ReleaseError) {
        var reader = try ObjectReader(value, path: path)
        self.init(timeZone: try reader.text("timeZone"))
        guard Self.isTimeZoneName(timeZone) else {
            throw ReleaseError(.value, at: "\(path).timeZone", "\"\(timeZone)\" is no time zone")
        }
        download = try Self.windows("download", &reader)
        apply = try Self.windows("apply", &reader)
        try reader.finish()
    }

    private static func windows(
        _ key: String, _ reader: inout ObjectReader
    ) throws(ReleaseError) -> [MaintenanceWindow] {
        try reader.list(key, limit: MaintenanceWindow.countLimit) { (value, path) throws(ReleaseError) in
            guard let window = value.string.flatMap(MaintenanceWindow.init) else {
                throw ReleaseError(.value, at: path, "no window: minute hour day month weekday duration")
            }
            return window
        }
    }
}

extension Service {
    fileprivate init(_ value: JSONValue, path: String) throws(ReleaseError) {
        var reader = try ObjectReader(value, path: path)
        self.init(image: try reader.text("image"))
        try readProcess(&reader)
        try readAttachments(&reader)
        try readHost(&reader)
        try reader.finish()
    }

    private mutating func readProcess(_ reader: inout ObjectReader) throws(ReleaseError) {
        command = try Self.optionalTexts("command", &reader)
        entrypoint = try Self.optionalTexts("entrypoint", &reader)
        environment = try reader.textMap("environment")
        user = try reader.optionalText("user")
        workingDirectory = try reader.optionalText("workingDirectory", limit: ReleaseLimits.pathLength)
        restart = try Restart(try reader.require("restart"), path: reader.place("restart"))
        if let value = reader.take("healthcheck") {
            healthcheck = try Healthcheck(value, path: reader.place("healthcheck"))
        }
        dependsOn = try reader.map("dependsOn", Dependency.init(_:path:))
        stopGracePeriod = try reader.integer("stopGracePeriod")
        stopSignal = try reader.optionalText("stopSignal")
        `init` = try reader.optionalFlag("init")
        labels = try reader.textMap("labels")
        strategy = try reader.choice("strategy")
        locks = try reader.flag("locks")
    }

    private mutating func readAttachments(_ reader: inout ObjectReader) throws(ReleaseError) {
        ports = try reader.list("ports", Port.init(_:path:))
        mounts = try reader.list("mounts", Mount.init(_:path:))
        networks = try reader.map("networks", Attachment.init(_:path:))
        networkMode = try reader.optionalText("networkMode")
        devices = try reader.list("devices", Device.init(_:path:))
        files = try reader.list("files", FileMount.init(_:path:))
        hostname = try reader.optionalText("hostname")
        extraHosts = try reader.texts("extraHosts", limit: ReleaseLimits.shortText)
        if let value = reader.take("logging") { logging = try Logging(value, path: reader.place("logging")) }
    }

    private mutating func readHost(_ reader: inout ObjectReader) throws(ReleaseError) {
        privileged = try reader.flag("privileged")
        capAdd = try reader.texts("capAdd", limit: ReleaseLimits.shortText)
        capDrop = try reader.texts("capDrop", limit: ReleaseLimits.shortText)
        if let value = reader.take("resources") { resources = try Resources(value, path: reader.place("resources")) }
        sysctls = try reader.textMap("sysctls")
        readOnly = try reader.flag("readOnly")
        shmSize = try reader.optionalInteger("shmSize")
        ulimits = try reader.map("ulimits") { (value, path) throws(ReleaseError) in
            var reader = try ObjectReader(value, path: path)
            let limit = Ulimit(soft: try reader.integer("soft"), hard: try reader.integer("hard"))
            try reader.finish()
            return limit
        }
        securityOpt = try reader.texts("securityOpt")
    }

    private static func optionalTexts(
        _ key: String, _ reader: inout ObjectReader
    ) throws(ReleaseError) -> [String]? {
        var present = reader
        guard present.take(key) != nil else { return nil }
        return try reader.texts(key)
    }
}

extension Service.Port {
    fileprivate init(_ value: JSONValue, path: String) throws(ReleaseError) {
        var reader = try ObjectReader(value, path: path)
        self.init(
            hostIP: try reader.optionalText("hostIP"), published: try reader.optionalInteger("published"),
            target: try reader.integer("target"), protocol: try reader.text("protocol"))
        try reader.finish()
    }
}

extension Service.Mount {
    fileprivate init(_ value: JSONValue, path: String) throws(ReleaseError) {
        var reader = try ObjectReader(value, path: path)
        self.init(
            kind: try reader.choice("kind"),
            source: try reader.optionalText("source", limit: ReleaseLimits.pathLength),
            target: try reader.text("target", limit: ReleaseLimits.pathLength),
            readOnly: try reader.flag("readOnly"), tmpfsSize: try reader.optionalInteger("tmpfsSize"),
            tmpfsMode: try reader.optionalInteger("tmpfsMode"), propagation: try reader.optionalText("propagation"),
            createHostPath: try reader.flag("createHostPath"), noCopy: try reader.flag("noCopy"))
        try reader.finish()
    }
}

extension Service.Attachment {
    fileprivate init(_ value: JSONValue, path: String) throws(ReleaseError) {
        var reader = try ObjectReader(value, path: path)
        self.init(
            aliases: try reader.texts("aliases", limit: ReleaseLimits.shortText),
            ipv4Address: try reader.optionalText("ipv4Address"), ipv6Address: try reader.optionalText("ipv6Address"))
        try reader.finish()
    }
}

extension Service.Device {
    fileprivate init(_ value: JSONValue, path: String) throws(ReleaseError) {
        var reader = try ObjectReader(value, path: path)
        self.init(
            host: try reader.text("host", limit: ReleaseLimits.pathLength),
            container: try reader.text("container", limit: ReleaseLimits.pathLength),
            permissions: try reader.text("permissions"))
        try reader.finish()
    }
}

extension Service.Restart {
    fileprivate init(_ value: JSONValue, path: String) throws(ReleaseError) {
        var reader = try ObjectReader(value, path: path)
        self.init(
            policy: try reader.choice("policy"), maximumRetries: try reader.optionalInteger("maximumRetries") ?? 0)
        try reader.finish()
    }
}

extension Service.Healthcheck {
    fileprivate init(_ value: JSONValue, path: String) throws(ReleaseError) {
        var reader = try ObjectReader(value, path: path)
        self.init(
            test: try reader.texts("test"), interval: try reader.optionalInteger("interval") ?? 0,
            timeout: try reader.optionalInteger("timeout") ?? 0,
            startPeriod: try reader.optionalInteger("startPeriod") ?? 0,
            retries: try reader.optionalInteger("retries") ?? 0)
        try reader.finish()
    }
}

extension Service.Dependency {
    fileprivate init(_ value: JSONValue, path: String) throws(ReleaseError) {
        var reader = try ObjectReader(value, path: path)
        self.init(
            condition: try reader.choice("condition"), restart: try reader.flag("restart"),
            required: try reader.optionalFlag("required") ?? true)
        try reader.finish()
    }
}

extension Service.Resources {
    fileprivate init(_ value: JSONValue, path: String) throws(ReleaseError) {
        var reader = try ObjectReader(value, path: path)
        self.init(
            nanoCPUs: try reader.optionalInteger("nanoCPUs"), memory: try reader.optionalInteger("memory"),
            memoryReservation: try reader.optionalInteger("memoryReservation"),
            pids: try reader.optionalInteger("pids"))
        try reader.finish()
    }
}

extension Service.Logging {
    fileprivate init(_ value: JSONValue, path: String) throws(ReleaseError) {
        var reader = try ObjectReader(value, path: path)
        self.init(driver: try reader.optionalText("driver"), options: try reader.textMap("options"))
        try reader.finish()
    }
}

extension Service.FileMount {
    fileprivate init(_ value: JSONValue, path: String) throws(ReleaseError) {
        var reader = try ObjectReader(value, path: path)
        self.init(
            file: try reader.text("file"), target: try reader.text("target", limit: ReleaseLimits.pathLength),
            mode: try reader.integer("mode"), uid: try reader.optionalInteger("uid"),
            gid: try reader.optionalInteger("gid"))
        try reader.finish()
    }
}
