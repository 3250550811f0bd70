import Base
import Model
import TestSupport

@testable import Compose

/// Reads a document with the variables given.
func compose(_ text: String, _ environment: [String: String] = [:], folder: String = "/nonexistent")
    throws(ComposeError)
    -> ComposeApplication
{
    try ComposeApplication(
        parsing: Array(text.utf8), file: "compose.yaml", folder: folder, environment: environment)
}

/// A file with one service `web` that has the given lines, each of which is indented as a field of the service.
func service(_ lines: String, top: String = "") -> String {
    let body = lines.split(separator: "\n", omittingEmptySubsequences: false).map { "    \($0)" }.joined(
        separator: "\n")
    return "services:\n  web:\n    image: example/web:1\n\(body)\n\(top)\n"
}

/// The service `web` of such a file.
func web(_ lines: String, _ environment: [String: String] = [:], top: String = "") throws -> Service {
    guard let service = try compose(service(lines, top: top), environment).services["web"] else {
        throw MissingService()
    }
    return service
}

struct MissingService: Error {}
