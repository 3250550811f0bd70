import Base
import Model

/// What changes from one release to another, and what a device must fetch for it.
public struct ReleaseDifference: Sendable {
    public struct Change: Sendable, Equatable {
        /// `services.web.ports[0].published`.
        public var path: String
        /// Nil for what was not there.
        public var from: JSONValue?
        public var to: JSONValue?
    }

    public var changes: [Change]
    /// Blobs of the new release that the old one has not.
    public var added: [Release.Blob]
    /// Blobs of the old release that the new one no longer needs.
    public var removed: [Release.Blob]
    /// Blobs of the new release in all.
    public var total: [Release.Blob]

    public init(from old: Release, to new: Release) {
        // Images are named by digest; what a person looks for is the service's image by its reference.
        let oldFields = Self.flatten(Self.readable(old))
        let newFields = Self.flatten(Self.readable(new))
        changes = Set(oldFields.keys).union(newFields.keys).sorted().compactMap { path in
            let (from, to) = (oldFields[path], newFields[path])
            return from == to ? nil : Change(path: path, from: from, to: to)
        }
        let before = Set(ReleaseBuilder.blobs(of: old))
        total = ReleaseBuilder.blobs(of: new)
        added = total.filter { !before.contains($0) }
        removed = before.subtracting(total).sorted { $0.digest < $1.digest }
    }

    /// The document with each service's image written out as reference and short digest.
    private static func readable(_ release: Release) -> JSONValue {
        guard var document = release.json.object, var services = document["services"]?.object else { return .null }
        for (name, service) in release.services {
            guard var fields = services[name]?.object, let image = release.images[service.image] else { continue }
            fields["image"] = .string("\(image.reference)@\(image.manifest.digest.short)")
            services[name] = .object(fields)
        }
        document["services"] = .object(services)
        document["images"] = nil as JSONValue?
        return .object(document)
    }

    /// Leaves by path. The format's own depth bounds the walk.
    private static func flatten(_ value: JSONValue) -> [String: JSONValue] {
        var leaves: [String: JSONValue] = [:]
        var pending: [(path: String, value: JSONValue)] = [("", value)]
        while let (path, value) = pending.popLast() {
            switch value {
            case .object(let members) where !members.isEmpty:
                for (key, member) in members { pending.append((path.isEmpty ? key : "\(path).\(key)", member)) }
            case .array(let elements) where !elements.isEmpty:
                for (index, element) in elements.enumerated() { pending.append(("\(path)[\(index)]", element)) }
            default: leaves[path] = value
            }
        }
        return leaves
    }
}
