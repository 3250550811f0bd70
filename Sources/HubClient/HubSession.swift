import Base
import Model

/// An operator logged in at a hub: where it is, how its certificate is trusted, and the access token.
///
/// Kept in one file of mode 0600; a file that others may read is refused, since the token in it is a secret.
public struct HubSession: Sendable, Equatable {
    /// Bytes of the file.
    static let fileLimit = 256 << 10

    /// `https://host:port`, no path.
    public var url: String
    public var name: String
    public var token: String
    public var expires: Timestamp
    /// Certificates in PEM that are trusted for this hub alone; nil for those of the system.
    public var certificates: String?

    public init(url: String, name: String, token: String, expires: Timestamp, certificates: String?) {
        self.url = url
        self.name = name
        self.token = token
        self.expires = expires
        self.certificates = certificates
    }

    /// - Throws: `hub-client.session` without a file, `hub-client.session-file` for one that is no session or not private.
    public static func load(_ path: String, fileSystem: FileSystem = FileSystem()) throws -> HubSession {
        guard let status = try fileSystem.status(path) else {
            throw HubClientError(
                .session, "nobody has logged in at a hub here", hint: "holdfast hub login https://HUB:8443 --user NAME")
        }
        guard status.mode & 0o077 == 0 else {
            throw HubClientError(
                .sessionFile, "\(path) can be read by others", hint: "chmod 600 \(path), and log in again")
        }
        guard let value = try? JSONValue(parsing: try fileSystem.read(path, limit: fileLimit)),
            let url = value["url"]?.string, let name = value["name"]?.string, let token = value["token"]?.string,
            let expires = value["expires"]?.string.flatMap({ Timestamp(rfc3339: $0) })
        else {
            throw HubClientError(.sessionFile, "\(path) is no session", hint: "log in again")
        }
        return HubSession(
            url: url, name: name, token: token, expires: expires, certificates: value["certificates"]?.string)
    }

    public func save(_ path: String, fileSystem: FileSystem = FileSystem()) throws {
        var members: [String: JSONValue] = [
            "url": .string(url), "name": .string(name), "token": .string(token),
            "expires": .string(expires.description),
        ]
        members["certificates"] = certificates.map { .string($0) }
        try fileSystem.makeDirectories(Path.parent(path), mode: 0o700, op: "hub-session.save")
        try fileSystem.replace(
            path, with: try JSONValue.object(members).serialized(.pretty), mode: 0o600, op: "hub-session.save")
    }
}
