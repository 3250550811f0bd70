public import Base
public import Model

/// A Compose file, read: everything a release needs but the images.
public struct ComposeApplication: Sendable {
    /// `name` of the file, if it has one.
    public var name: String?
    /// Services by name. ``Service/image`` is empty; ``images`` holds what the file says.
    public var services: [String: Service]
    /// The `image` of each service that has one, as written.
    public var images: [String: String]
    public var networks: [String: Release.Network]
    public var volumes: [String: Release.Volume]
    /// Configs and secrets, by the key their mounts use.
    public var files: [String: FileContent]
    public var update: Release.UpdatePolicy
    public var requirements: Release.Requirements
    /// `x-holdfast.epoch`, nil when the file says none.
    public var epoch: Int64?
    /// Variables that were empty because nothing set them, and fields that mean nothing any more.
    public var warnings: [ComposeWarning]
    /// Where each service stands, for errors that come up later.
    public var locations: [String: SourceLocation]

    public struct FileContent: Hashable, Sendable {
        public var bytes: [UInt8]
        public var isSecret: Bool
    }

    /// Reads a Compose file.
    ///
    /// - Parameters:
    ///   - path: the file; relative paths in it start from its folder.
    ///   - environment: variables, which win over those of files.
    ///   - environmentFiles: nil for `.env` beside the file if there is one; a later file wins.
    public static func load(
        path: String, environment: [String: String], environmentFiles: [String]? = nil,
        fileSystem: FileSystem = FileSystem()
    ) throws(ComposeError) -> ComposeApplication {
        let folder = Path.parent(path)
        var variables: [String: String] = [:]
        let context = ComposeContext(folder: ".", environment: environment, fileSystem: fileSystem)
        for file in environmentFiles ?? [Path.join(folder, ".env")] {
            let place = SourceLocation(file: file, line: 1, column: 0)
            let field = Field(value: YAMLValue(content: .scalar(file, isPlain: false), location: place), path: "")
            if environmentFiles == nil, (try? fileSystem.status(file)) == nil { continue }
            let bytes = try context.contents(field, of: file, limit: ComposeLimits.environmentFileSize)
            let known = variables
            let parsed = try EnvironmentFile(bytes, file: file) { environment[$0] ?? known[$0] }
            for (name, value) in parsed.entries { variables[name] = value ?? variables[name] }
        }
        variables.merge(environment) { $1 }
        let place = SourceLocation(file: path, line: 1, column: 0)
        let field = Field(value: YAMLValue(content: .scalar(path, isPlain: false), location: place), path: "")
        let bytes = try context.contents(field, of: path, limit: ComposeLimits.fileSize)
        return try ComposeApplication(
            parsing: bytes, file: path, folder: folder, environment: variables, fileSystem: fileSystem)
    }

    /// Reads a document that is in memory; `environment` is complete.
    public init(
        parsing bytes: [UInt8], file: String, folder: String, environment: [String: String],
        fileSystem: FileSystem = FileSystem()
    ) throws(ComposeError) {
        var warnings: [ComposeWarning] = []
        var yaml = YAMLReader(file: file) { (text, location) throws(ComposeError) in
            var interpolation = Interpolation { environment[$0] }
            do throws(Interpolation.Failure) {
                let result = try interpolation.substitute(text)
                for name in interpolation.unset {
                    let warning = ComposeWarning(
                        location: location, message: "the variable \(name) is not set and counts as empty")
                    if !warnings.contains(warning) { warnings.append(warning) }
                }
                return result
            } catch {
                throw ComposeError(error, location, path: "")
            }
        }
        let root = Field(value: try yaml.read(bytes), path: "")
        let context = ComposeContext(folder: folder, environment: environment, fileSystem: fileSystem)
        var document = try Document(root, context)
        if let version = document.version {
            warnings.append(
                ComposeWarning(location: version, message: "version means nothing any more and can be removed"))
        }
        try document.resolve()
        name = document.name
        services = document.services.mapValues { $0.service }
        images = document.services.compactMapValues { $0.image }
        networks = document.networks
        volumes = document.volumes
        files = document.files
        update = document.own.update
        requirements = document.own.requirements
        epoch = document.own.epoch
        locations = document.services.compactMapValues { $0.places[""] }
        self.warnings = warnings
    }
}
