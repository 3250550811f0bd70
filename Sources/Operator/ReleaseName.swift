import Model

/// A release as people name it: `APP/VERSION`.
public struct ReleaseName: Hashable, Sendable, CustomStringConvertible {
    public var app: String
    public var version: SemanticVersion

    public init(app: String, version: SemanticVersion) {
        self.app = app
        self.version = version
    }

    public init(_ text: String) throws(OperatorError) {
        let parts = text.split(separator: "/", maxSplits: 1, omittingEmptySubsequences: false).map(String.init)
        guard parts.count == 2, Release.isAppName(parts[0]), let version = SemanticVersion(parts[1]) else {
            throw OperatorError(
                .releaseName, "\"\(text)\" names no release", hint: "write APP/VERSION, such as shop/1.4.0")
        }
        self.init(app: parts[0], version: version)
    }

    public var description: String { "\(app)/\(version)" }
}
