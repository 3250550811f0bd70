import AgentTestSupport
import Base
import Glibc
import Model
import TestSupport

/// A folder with a Compose file, images and the `holdfast` binary at hand: what an operator has.
final class Bench: Sendable {
    let folder: TemporaryDirectory
    let fileSystem = FileSystem()

    init() throws { folder = try TemporaryDirectory() }

    func path(_ name: String) -> String { folder.file(name) }

    func write(_ name: String, _ text: String) throws {
        try fileSystem.makeDirectories(Path.parent(path(name)), op: "test")
        try fileSystem.replace(path(name), with: Array(text.utf8), op: "test")
    }

    // MARK: The binary

    /// Built beside the test bundle.
    static var binary: String {
        var buffer = [CChar](repeating: 0, count: 4096)
        let count = readlink("/proc/self/exe", &buffer, buffer.count - 1)
        let own = String(decoding: buffer.prefix(max(0, count)).map { UInt8(bitPattern: $0) }, as: UTF8.self)
        return Path.join(Path.parent(own), "holdfast")
    }

    /// Runs `holdfast` with words that name files of the bench as `@NAME`.
    func run(_ line: String, keys: String = "keys", environment: [String: String] = [:]) async throws -> Command {
        let words = line.split(separator: " ").map { word in
            word.split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false)
                .map { $0.hasPrefix("@") ? path(String($0.dropFirst())) : expand(String($0)) }.joined(separator: "=")
        }
        var variables = ["XDG_CONFIG_HOME": path("config"), "DOCKER_HOST": "unix://" + path("no-engine.sock")]
        variables.merge(environment) { $1 }
        let hasKeys =
            ["keys", "repo", "director", "ticket"].contains(words[0]) || (words[0] == "release" && words[1] == "build")
        let word = words.count > 1 ? words[1] : ""
        let readsKeys = hasKeys && !["status", "lint"].contains(word) && !(words[0] == "director" && word == "list")
        let arguments = [Self.binary] + words + (readsKeys ? ["--keys", path(keys)] : [])
        return try await Command.run(arguments, environment: variables, limit: .seconds(120))
    }

    /// `oci:@image` and the like.
    private func expand(_ word: String) -> String {
        guard let at = word.firstIndex(of: "@"), at != word.startIndex, word[..<at].hasSuffix(":") else { return word }
        return word[..<at] + path(String(word[word.index(after: at)...]))
    }

    /// Runs and throws unless it ends with 0.
    @discardableResult
    func succeed(_ line: String, keys: String = "keys", environment: [String: String] = [:]) async throws -> String {
        let result = try await run(line, keys: keys, environment: environment)
        guard result.status == 0 else {
            throw Unexpected(description: "\(line) ended with \(result.status): \(result.errorOutput)\(result.output)")
        }
        return result.output
    }

    func json(_ line: String, keys: String = "keys") async throws -> JSONValue {
        try JSONValue(parsing: Array(try await succeed(line + " --output json", keys: keys).utf8))
    }

    // MARK: Material

    /// An OCI layout with one image of one layer per text.
    func makeImage(_ name: String, layers texts: [String], architecture: String = "amd64") throws {
        try ImageFolder.make(path(name), layers: texts.map { Array($0.utf8) }, architecture: architecture)
    }

    static let compose = """
        services:
          web:
            image: example/web
            command: serve --port 80
            ports: ["8080:80"]
            environment: {NAME: "${NAME:-nobody}"}
            configs: [site]
            depends_on: [worker]
          worker:
            image: example/worker
            volumes: ["data:/data"]
        configs: {site: {content: "hello\\n"}}
        volumes: {data: }
        """

    static let images = "--image web=oci:@web --image worker=oci:@worker"

    /// A lab repository `repo`, a Compose file and two images.
    func prepare() async throws {
        try write("compose.yaml", Self.compose)
        try makeImage("web", layers: ["base layer", "web 1"])
        try makeImage("worker", layers: ["base layer", "worker"])
        try await succeed("repo init @repo --lab")
    }

    func build(_ version: String, _ more: String = "") async throws -> JSONValue {
        try await json(
            "release build @compose.yaml --app shop --version \(version) --repo @repo \(Self.images)"
                + (more.isEmpty ? "" : " " + more))
    }
}

struct Unexpected: Error, CustomStringConvertible {
    var description: String
}
