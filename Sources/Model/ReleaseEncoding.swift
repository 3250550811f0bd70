import Base

extension Release {
    /// The document's bytes: RFC 8259 JSON on one line, keys in UTF-8 order. The same release always gives
    /// the same bytes. Fields that are empty, false or absent are left out.
    /// Throws what ``validate()`` throws, so that nothing is written that a reader refuses.
    public func encoded() throws(ReleaseError) -> [UInt8] {
        try validate()
        let bytes: [UInt8]
        do {
            bytes = try json.serialized(.compact)
        } catch {
            throw ReleaseError(.json, at: "", error.message)
        }
        guard bytes.count <= ReleaseLimits.documentSize else {
            throw ReleaseError(.limit, at: "", "\(bytes.count) bytes, at most \(ReleaseLimits.documentSize)")
        }
        return bytes
    }

    /// The document as JSON, unchecked.
    public var json: JSONValue {
        var object = JSONObject()
        object["schema"] = .integer(Int64(schema))
        object["app"] = .string(app)
        object["version"] = .string(version.description)
        object["ctr"] = .integer(ctr)
        object["epoch"] = .integer(epoch)
        object["requirements"] = .some(requirements.json, unless: requirements == Requirements())
        object["services"] = .object(services.mapValues(\.json))
        object["networks"] = .map(networks) { $0.json }
        object["volumes"] = .map(volumes) { $0.json }
        object["files"] = .map(files) { $0.json }
        object["images"] = .map(images) { $0.json }
        object["update"] = update.json
        object["deltas"] = .list(deltas) { $0.json }
        if let agent { object["agent"] = .object(["binary": agent.binary.json]) }
        return .object(object)
    }
}

extension JSONValue {
    /// Absent rather than null: `nil` alone would be read as the JSON value.
    fileprivate static func some(_ value: JSONValue, unless isDefault: Bool) -> JSONValue? {
        isDefault ? Optional<JSONValue>.none : Optional(value)
    }
    fileprivate static func text(_ value: String?) -> JSONValue? { value.map { .string($0) } }
    fileprivate static func number<T: BinaryInteger>(_ value: T?) -> JSONValue? { value.map { .integer(Int64($0)) } }
    fileprivate static func flag(_ value: Bool) -> JSONValue? { some(.bool(true), unless: !value) }
    fileprivate static func texts(_ values: [String]) -> JSONValue? { list(values) { .string($0) } }
    fileprivate static func texts(_ values: [String: String]) -> JSONValue? { map(values) { .string($0) } }
    fileprivate static func list<T>(_ values: [T], _ encode: (T) -> JSONValue) -> JSONValue? {
        some(.array(values.map(encode)), unless: values.isEmpty)
    }
    fileprivate static func map<T>(_ values: [String: T], _ encode: (T) -> JSONValue) -> JSONValue? {
        some(.object(values.mapValues(encode)), unless: values.isEmpty)
    }
    fileprivate static func fields(_ fields: KeyValuePairs<String, JSONValue?>) -> JSONValue {
        var object = JSONObject()
        for (key, value) in fields { object[key] = value }
        return .object(object)
    }
}

extension Release.Requirements {
    fileprivate var json: JSONValue {
        .fields(["architectures": .texts(architectures), "labels": .texts(labels), "features": .texts(features)])
    }
}

extension Release.Blob {
    fileprivate var json: JSONValue { .fields(["digest": .string(digest.description), "size": .integer(size)]) }
}

extension Release.Image {
    fileprivate var json: JSONValue {
        .fields([
            "manifest": manifest.json, "config": config.json, "layers": .array(layers.map(\.json)),
            "reference": .string(reference), "architecture": .string(architecture),
        ])
    }
}

extension Release.Layer {
    fileprivate var json: JSONValue {
        .fields([
            "diffID": .string(diffID.description), "blob": blob.json, "mediaType": .string(mediaType),
            "uncompressedSize": .integer(uncompressedSize),
        ])
    }
}

extension Release.LayerDelta {
    fileprivate var json: JSONValue {
        .fields([
            "base": .array(base.map { .string($0.description) }), "target": .string(target.description),
            "blob": blob.json,
        ])
    }
}

extension Release.ConfigFile {
    fileprivate var json: JSONValue { .fields(["blob": blob.json, "secret": .flag(secret)]) }
}

extension Release.Network {
    fileprivate var json: JSONValue {
        .fields([
            "driver": .text(driver), "internal": .flag(`internal`), "ipv6": .flag(ipv6), "labels": .texts(labels),
            "driverOptions": .texts(driverOptions),
            "subnets": .list(subnets) {
                .fields(["subnet": .string($0.subnet), "gateway": .text($0.gateway)])
            },
        ])
    }
}

extension Release.Volume {
    fileprivate var json: JSONValue {
        .fields(["driver": .text(driver), "driverOptions": .texts(driverOptions), "labels": .texts(labels)])
    }
}

extension Release.UpdatePolicy {
    fileprivate var json: JSONValue {
        .fields([
            "healthWindowSeconds": .number(healthWindowSeconds), "stableSeconds": .number(stableSeconds),
            "rollback": .bool(rollback), "ignoreLocks": .flag(locks == .ignore), "windows": windows?.json,
        ])
    }
}

extension MaintenanceWindows {
    fileprivate var json: JSONValue {
        .fields([
            "timeZone": .string(timeZone), "download": .list(download) { .string($0.text) },
            "apply": .list(apply) { .string($0.text) },
        ])
    }
}

extension Service {
    fileprivate var json: JSONValue {
        .fields([
            "image": .string(image),
            "command": command.map { .array($0.map { .string($0) }) },
            "entrypoint": entrypoint.map { .array($0.map { .string($0) }) },
            "environment": .texts(environment),
            "ports": .list(ports) { $0.json },
            "mounts": .list(mounts) { $0.json },
            "networks": .map(networks) { $0.json },
            "networkMode": .text(networkMode),
            "devices": .list(devices) { $0.json },
            "privileged": .flag(privileged),
            "capAdd": .texts(capAdd),
            "capDrop": .texts(capDrop),
            "user": .text(user),
            "workingDirectory": .text(workingDirectory),
            "restart": restart.json,
            "healthcheck": healthcheck?.json,
            "dependsOn": .map(dependsOn) { $0.json },
            "stopGracePeriod": .integer(stopGracePeriod),
            "stopSignal": .text(stopSignal),
            "resources": .some(resources.json, unless: resources == Resources()),
            "logging": logging?.json,
            "labels": .texts(labels),
            "hostname": .text(hostname),
            "extraHosts": .texts(extraHosts),
            "sysctls": .texts(sysctls),
            "files": .list(files) { $0.json },
            "readOnly": .flag(readOnly),
            "init": `init`.map { .bool($0) },
            "shmSize": .number(shmSize),
            "ulimits": .map(ulimits) { .fields(["soft": .integer($0.soft), "hard": .integer($0.hard)]) },
            "securityOpt": .texts(securityOpt),
            "strategy": .string(strategy.rawValue), "locks": .flag(locks),
        ])
    }
}

extension Service.Port {
    fileprivate var json: JSONValue {
        .fields([
            "hostIP": .text(hostIP), "published": .number(published), "target": .number(target),
            "protocol": .string(`protocol`),
        ])
    }
}

extension Service.Mount {
    fileprivate var json: JSONValue {
        .fields([
            "kind": .string(kind.rawValue), "source": .text(source), "target": .string(target),
            "readOnly": .flag(readOnly), "tmpfsSize": .number(tmpfsSize), "tmpfsMode": .number(tmpfsMode),
            "propagation": .text(propagation), "createHostPath": .flag(createHostPath), "noCopy": .flag(noCopy),
        ])
    }
}

extension Service.Attachment {
    fileprivate var json: JSONValue {
        .fields([
            "aliases": .texts(aliases), "ipv4Address": .text(ipv4Address), "ipv6Address": .text(ipv6Address),
        ])
    }
}

extension Service.Device {
    fileprivate var json: JSONValue {
        .fields([
            "host": .string(host), "container": .string(container), "permissions": .string(permissions),
        ])
    }
}

extension Service.Restart {
    fileprivate var json: JSONValue {
        .fields([
            "policy": .string(policy.rawValue),
            "maximumRetries": .some(.integer(Int64(maximumRetries)), unless: maximumRetries == 0),
        ])
    }
}

extension Service.Healthcheck {
    fileprivate var json: JSONValue {
        func positive(_ value: Int64) -> JSONValue? { .some(.integer(value), unless: value == 0) }
        return .fields([
            "test": .texts(test), "interval": positive(interval), "timeout": positive(timeout),
            "startPeriod": positive(startPeriod), "retries": positive(Int64(retries)),
        ])
    }
}

extension Service.Dependency {
    fileprivate var json: JSONValue {
        .fields([
            "condition": .string(condition.rawValue), "restart": .flag(restart), "required": .bool(required),
        ])
    }
}

extension Service.Resources {
    fileprivate var json: JSONValue {
        .fields([
            "nanoCPUs": .number(nanoCPUs), "memory": .number(memory), "memoryReservation": .number(memoryReservation),
            "pids": .number(pids),
        ])
    }
}

extension Service.Logging {
    fileprivate var json: JSONValue { .fields(["driver": .text(driver), "options": .texts(options)]) }
}

extension Service.FileMount {
    fileprivate var json: JSONValue {
        .fields([
            "file": .string(file), "target": .string(target), "mode": .number(mode), "uid": .number(uid),
            "gid": .number(gid),
        ])
    }
}
