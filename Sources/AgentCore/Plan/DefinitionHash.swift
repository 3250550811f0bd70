import Base
import Model

// What a container is made from, in one canonical form. A field at its default is left out, so that an agent
// that knows a new field gives the containers of old releases the hash they have: an agent update
// restarts nothing.

private struct Form {
    private var members: [String: JSONValue] = [:]

    mutating func add(_ key: String, _ value: String?) { members[key] = value.map { .string($0) } }
    mutating func add(_ key: String, _ value: Int64?) { members[key] = value.map { .integer($0) } }
    mutating func add(_ key: String, flag: Bool?) { members[key] = flag.map { .bool($0) } }
    mutating func add(_ key: String, _ value: [String]?) {
        members[key] = value.map { .array($0.map { .string($0) }) }
    }
    mutating func add(unlessEmpty key: String, _ value: [String]) { if !value.isEmpty { add(key, value) } }
    mutating func add(unlessEmpty key: String, _ value: [String: String]) {
        if !value.isEmpty { members[key] = .object(value.mapValues { .string($0) }) }
    }
    mutating func add(unlessEmpty key: String, _ value: [JSONValue]) {
        if !value.isEmpty { members[key] = .array(value) }
    }
    mutating func add(_ key: String, _ form: Form) { if !form.members.isEmpty { members[key] = .object(form.members) } }
    mutating func add(unlessEmpty key: String, _ forms: [String: Form]) {
        if !forms.isEmpty { members[key] = .object(forms.mapValues(\.value)) }
    }

    var value: JSONValue { .object(members) }

    var digest: Digest {
        // The form has no floats, the one thing that canonical JSON refuses.
        Digest.sha256((try? value.serialized(.canonical)) ?? [])
    }
}

extension Release.Network {
    var definitionHash: Digest {
        var form = Form()
        form.add("driver", driver)
        if self.internal { form.add("internal", flag: true) }
        if ipv6 { form.add("ipv6", flag: true) }
        form.add(unlessEmpty: "labels", labels)
        form.add(unlessEmpty: "options", driverOptions)
        form.add(
            unlessEmpty: "subnets",
            subnets.map { subnet in
                var part = Form()
                part.add("subnet", subnet.subnet)
                part.add("gateway", subnet.gateway)
                return part.value
            })
        return form.digest
    }
}

extension ContainerSpec {
    func definitionHash(restartWith: [Digest]) -> Digest {
        var form = Form()
        form.add("image", imageID.description)
        form.add("hostname", hostname)
        form.add(unlessEmpty: "files", files.map { .array([.string($0.source), .string($0.target)]) })
        form.add(unlessEmpty: "networks", networks.mapValues(Self.form))
        form.add(unlessEmpty: "mounts", mounts.map { Self.form($0).value })
        form.add(unlessEmpty: "restartWith", restartWith.map(\.description))
        form.add("service", Self.form(service))
        return form.digest
    }

    private static func form(_ attachment: Service.Attachment) -> Form {
        var form = Form()
        form.add(unlessEmpty: "aliases", attachment.aliases)
        form.add("ipv4", attachment.ipv4Address)
        form.add("ipv6", attachment.ipv6Address)
        return form
    }

    private static func form(_ mount: Service.Mount) -> Form {
        var form = Form()
        form.add("kind", mount.kind.rawValue)
        form.add("source", mount.source)
        form.add("target", mount.target)
        if mount.readOnly { form.add("readOnly", flag: true) }
        form.add("tmpfsSize", mount.tmpfsSize)
        form.add("tmpfsMode", mount.tmpfsMode.map { Int64($0) })
        form.add("propagation", mount.propagation)
        if mount.createHostPath { form.add("createHostPath", flag: true) }
        if mount.noCopy { form.add("noCopy", flag: true) }
        return form
    }

    /// What of the service itself makes the container; how it is updated and what it waits for does not.
    private static func form(_ service: Service) -> Form {
        var form = Form()
        form.add("command", service.command)
        form.add("entrypoint", service.entrypoint)
        form.add(unlessEmpty: "environment", service.environment)
        form.add(
            unlessEmpty: "ports",
            service.ports.map { port in
                .string(
                    "\(port.hostIP ?? ""):\(port.published.map { String($0) } ?? ""):\(port.target)/\(port.protocol)")
            })
        form.add("networkMode", service.networkMode)
        form.add(
            unlessEmpty: "devices",
            service.devices.map { .array([.string($0.host), .string($0.container), .string($0.permissions)]) })
        if service.privileged { form.add("privileged", flag: true) }
        form.add(unlessEmpty: "capAdd", service.capAdd)
        form.add(unlessEmpty: "capDrop", service.capDrop)
        form.add("user", service.user)
        form.add("workingDirectory", service.workingDirectory)
        form.add("restart", "\(service.restart.policy.rawValue):\(service.restart.maximumRetries)")
        if let check = service.healthcheck {
            var part = Form()
            part.add("test", check.test)
            part.add("interval", check.interval)
            part.add("timeout", check.timeout)
            part.add("startPeriod", check.startPeriod)
            part.add("retries", Int64(check.retries))
            form.add("healthcheck", part)
        }
        form.add("stopSignal", service.stopSignal)
        form.add("stopGracePeriod", service.stopGracePeriod)
        var resources = Form()
        resources.add("nanoCPUs", service.resources.nanoCPUs)
        resources.add("memory", service.resources.memory)
        resources.add("memoryReservation", service.resources.memoryReservation)
        resources.add("pids", service.resources.pids)
        form.add("resources", resources)
        if let logging = service.logging {
            var part = Form()
            part.add("driver", logging.driver)
            part.add(unlessEmpty: "options", logging.options)
            form.add("logging", part)
        }
        form.add(unlessEmpty: "labels", service.labels)
        form.add(unlessEmpty: "extraHosts", service.extraHosts)
        form.add(unlessEmpty: "sysctls", service.sysctls)
        if service.readOnly { form.add("readOnly", flag: true) }
        form.add("init", flag: service.`init`)
        form.add("shmSize", service.shmSize)
        form.add(unlessEmpty: "ulimits", service.ulimits.mapValues { "\($0.soft):\($0.hard)" })
        form.add(unlessEmpty: "securityOpt", service.securityOpt)
        return form
    }
}
