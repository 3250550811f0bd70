import Base
import Model

/// Reads one JSON document of an image: bounded, strict in what it knows, deaf to what it does not.
struct DocumentReader {
    let subject: String
    let value: JSONValue

    init(_ bytes: [UInt8], limit: Int, subject: String) throws(OCIError) {
        self.subject = subject
        do {
            value = try JSONValue(
                parsing: bytes,
                limits: JSONLimits(size: limit, depth: OCILimits.jsonDepth, count: OCILimits.jsonValues))
        } catch {
            throw OCIError(error.reason == .size || error.reason == .count ? .limit : .document, subject, error.message)
        }
        guard value.object != nil else { throw OCIError(.document, subject, "not an object") }
    }

    func fail(_ place: String, _ what: String) -> OCIError { OCIError(.document, subject, "\(place): \(what)") }

    func text(_ value: JSONValue?, _ place: String) throws(OCIError) -> String? {
        guard let value else { return nil }
        guard let text = value.string else { throw fail(place, "expected a string") }
        return text
    }

    func list(_ value: JSONValue?, _ place: String, limit: Int) throws(OCIError) -> [JSONValue] {
        guard let list = value?.array else { throw fail(place, "expected an array") }
        guard list.count <= limit else {
            throw OCIError(.limit, subject, "\(place): \(list.count) elements, at most \(limit)")
        }
        return list
    }

    func descriptor(_ value: JSONValue?, _ place: String) throws(OCIError) -> Descriptor {
        guard let object = value, object.object != nil else { throw fail(place, "expected a descriptor") }
        guard let mediaType = object["mediaType"]?.string else { throw fail("\(place).mediaType", "missing") }
        guard let digest = object["digest"]?.string.flatMap({ Digest($0) }) else {
            throw fail("\(place).digest", "expected sha256:<64 lowercase hex digits>")
        }
        guard let size = object["size"]?.integer, size >= 0 else { throw fail("\(place).size", "expected a size") }
        var annotations: [String: String] = [:]
        if let members = object["annotations"] {
            guard let members = members.object else { throw fail("\(place).annotations", "expected an object") }
            for (key, value) in members { annotations[key] = try text(value, "\(place).annotations") }
        }
        var platform: Platform?
        if let value = object["platform"], value != .null {
            guard let architecture = value["architecture"]?.string, let system = value["os"]?.string else {
                throw fail("\(place).platform", "expected architecture and os")
            }
            platform = Platform(
                architecture: architecture, os: system, variant: try text(value["variant"], "\(place).platform.variant"))
        }
        return Descriptor(
            mediaType: mediaType, blob: Release.Blob(digest: digest, size: size), annotations: annotations,
            platform: platform)
    }

    /// `schemaVersion` is 2, and `mediaType`, where there is one, is accepted.
    func requireSchema(_ accepts: (String) -> Bool) throws(OCIError) {
        guard value["schemaVersion"]?.integer == 2 else { throw fail("schemaVersion", "expected 2") }
        if let type = try text(value["mediaType"], "mediaType"), !accepts(type) {
            throw OCIError(.mediaType, subject, type)
        }
    }
}

/// A content descriptor. Source: OCI image-spec, descriptor.md.
public struct Descriptor: Hashable, Sendable {
    public var mediaType: String
    public var blob: Release.Blob
    public var annotations: [String: String]
    public var platform: Platform?

    public init(
        mediaType: String, blob: Release.Blob, annotations: [String: String] = [:], platform: Platform? = nil
    ) {
        self.mediaType = mediaType
        self.blob = blob
        self.annotations = annotations
        self.platform = platform
    }

    var json: JSONValue {
        var members: [String: JSONValue] = [
            "mediaType": .string(mediaType), "digest": .string(blob.digest.description), "size": .integer(blob.size),
        ]
        if !annotations.isEmpty { members["annotations"] = .object(annotations.mapValues { .string($0) }) }
        if let platform {
            var value: [String: JSONValue] = ["architecture": .string(platform.architecture), "os": .string(platform.os)]
            if let variant = platform.variant { value["variant"] = .string(variant) }
            members["platform"] = .object(value)
        }
        return .object(members)
    }
}

public struct Platform: Hashable, Sendable, CustomStringConvertible {
    public var architecture: String
    public var os: String
    public var variant: String?

    public init(architecture: String, os: String, variant: String? = nil) {
        self.architecture = architecture
        self.os = os
        self.variant = variant
    }

    public var description: String { "\(os)/\(architecture)" + (variant.map { "/\($0)" } ?? "") }
}

/// An image manifest: a config and layers from the bottom up. OCI, or Docker schema 2.
public struct ImageManifest: Hashable, Sendable {
    public var config: Descriptor
    public var layers: [Descriptor]

    public init(config: Descriptor, layers: [Descriptor]) {
        self.config = config
        self.layers = layers
    }

    /// - Parameter subject: what to call the document in errors.
    public init(decoding bytes: [UInt8], subject: String = "image manifest") throws(OCIError) {
        let reader = try DocumentReader(bytes, limit: OCILimits.manifestBytes, subject: subject)
        try reader.requireSchema(MediaType.isManifest)
        config = try reader.descriptor(reader.value["config"], "config")
        guard MediaType.isConfig(config.mediaType) else {
            throw OCIError(.mediaType, subject, "config: \(config.mediaType)")
        }
        guard config.blob.size <= OCILimits.configBytes else {
            throw OCIError(.limit, subject, "config of \(config.blob.size) bytes")
        }
        layers = []
        for (index, value) in try reader.list(reader.value["layers"], "layers", limit: OCILimits.layers).enumerated() {
            let layer = try reader.descriptor(value, "layers[\(index)]")
            guard MediaType.layerCompression(layer.mediaType) != nil else {
                throw OCIError(.mediaType, subject, "layers[\(index)]: \(layer.mediaType)")
            }
            guard layer.blob.size <= OCILimits.layerBytes else {
                throw OCIError(.limit, subject, "layers[\(index)] of \(layer.blob.size) bytes")
            }
            layers.append(layer)
        }
    }

    /// The document's bytes: the same manifest always gives the same.
    public func encoded() throws -> [UInt8] {
        try JSONValue.object([
            "schemaVersion": 2, "mediaType": .string(MediaType.manifest), "config": config.json,
            "layers": .array(layers.map(\.json)),
        ]).serialized(.compact)
    }
}

/// A list of manifests, by platform or by name.
public struct ImageIndex: Hashable, Sendable {
    public var manifests: [Descriptor]
    public var annotations: [String: String]

    public init(manifests: [Descriptor], annotations: [String: String] = [:]) {
        self.manifests = manifests
        self.annotations = annotations
    }

    public init(decoding bytes: [UInt8], subject: String = "image index") throws(OCIError) {
        let reader = try DocumentReader(bytes, limit: OCILimits.manifestBytes, subject: subject)
        try reader.requireSchema(MediaType.isIndex)
        manifests = []
        let list = try reader.list(reader.value["manifests"], "manifests", limit: OCILimits.manifests)
        for (index, value) in list.enumerated() {
            manifests.append(try reader.descriptor(value, "manifests[\(index)]"))
        }
        annotations = [:]
        if let members = reader.value["annotations"]?.object {
            for (key, value) in members { annotations[key] = try reader.text(value, "annotations") }
        }
    }

    public func encoded() throws -> [UInt8] {
        var members: [String: JSONValue] = [
            "schemaVersion": 2, "mediaType": .string(MediaType.index), "manifests": .array(manifests.map(\.json)),
        ]
        if !annotations.isEmpty { members["annotations"] = .object(annotations.mapValues { .string($0) }) }
        return try JSONValue.object(members).serialized(.pretty)
    }
}

/// What an image config says that matters for storing and running it. Its bytes are kept as they are:
/// their digest is the image's ID.
public struct ImageConfig: Hashable, Sendable {
    public var platform: Platform
    /// From the bottom up.
    public var diffIDs: [Digest]

    public init(platform: Platform, diffIDs: [Digest]) {
        self.platform = platform
        self.diffIDs = diffIDs
    }

    public init(decoding bytes: [UInt8], subject: String = "image config") throws(OCIError) {
        let reader = try DocumentReader(bytes, limit: OCILimits.configBytes, subject: subject)
        guard let architecture = reader.value["architecture"]?.string, !architecture.isEmpty else {
            throw reader.fail("architecture", "missing")
        }
        guard let system = reader.value["os"]?.string, !system.isEmpty else { throw reader.fail("os", "missing") }
        platform = Platform(
            architecture: architecture, os: system, variant: try reader.text(reader.value["variant"], "variant"))
        guard let rootfs = reader.value["rootfs"], rootfs["type"]?.string == "layers" else {
            throw reader.fail("rootfs.type", "expected \"layers\"")
        }
        diffIDs = []
        if rootfs["diff_ids"] == nil || rootfs["diff_ids"] == .null { return }
        let list = try reader.list(rootfs["diff_ids"], "rootfs.diff_ids", limit: OCILimits.layers)
        for (index, value) in list.enumerated() {
            guard let digest = value.string.flatMap({ Digest($0) }) else {
                throw reader.fail("rootfs.diff_ids[\(index)]", "expected sha256:<64 lowercase hex digits>")
            }
            diffIDs.append(digest)
        }
    }
}
