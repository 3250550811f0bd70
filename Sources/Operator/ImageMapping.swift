import Base
import Compose
import Model
import OCI

/// Which source each service's image comes from, as given with `--image NAME=SOURCE`.
public struct ImageMapping: Sendable {
    /// Service name, or the `image` of the Compose file, to source.
    public var sources: [String: ImageSource]

    /// Parses `NAME=SOURCE` texts. The first `=` separates, since a source may hold more.
    public init(_ texts: [String]) throws {
        sources = [:]
        for text in texts {
            guard let cut = text.firstIndex(of: "="), cut != text.startIndex else {
                throw OperatorError(
                    .imageSource, "\"\(text)\" maps no image",
                    hint: "write SERVICE=SOURCE, such as web=oci:build/web or web=docker:example/web:1")
            }
            let name = String(text[..<cut])
            guard sources[name] == nil else { throw OperatorError(.imageSource, "\(name) has two sources") }
            sources[name] = try ImageSource(String(text[text.index(after: cut)...]))
        }
    }

    /// The source of every service: by its name, else by its image. Each given source must be of use.
    func resolve(_ application: ComposeApplication) throws(OperatorError) -> [String: ImageSource] {
        var result: [String: ImageSource] = [:]
        var used: Set<String> = []
        for name in application.services.keys.sorted() {
            let image = application.images[name]
            guard let key = [name, image].compactMap({ $0 }).first(where: { sources[$0] != nil }),
                let source = sources[key]
            else {
                let place = application.locations[name].map { "\($0): " } ?? ""
                throw OperatorError(
                    .imageSource, "\(place)the service \(name) has no image source",
                    hint: "add --image \(name)=" + (image.map { "docker:\($0)" } ?? "SOURCE")
                        + ", or another of oci:DIR, oci-archive:FILE, docker-archive:FILE")
            }
            used.insert(key)
            result[name] = source
        }
        if let unused = sources.keys.sorted().first(where: { !used.contains($0) }) {
            throw OperatorError(
                .imageSource, "--image \(unused)=… goes with no service",
                hint: "the services are \(application.services.keys.sorted().joined(separator: ", "))")
        }
        return result
    }
}
