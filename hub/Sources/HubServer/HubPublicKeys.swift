import Base
public import Model
import Trust

/// Public parts of a hub's keys that others have to name.
public struct HubPublicKeys {
    private let config: HubConfig
    private let fileSystem: FileSystem

    public init(config: HubConfig, fileSystem: FileSystem = FileSystem()) {
        self.config = config
        self.fileSystem = fileSystem
    }

    /// Of the key that signs freshness tickets. Devices believe them when the release repository's root names it.
    ///
    /// - Returns: its keyid, and the key as TUF writes it.
    /// - Throws: `hub-server.not-initialised`.
    public func freshness() throws -> (keyID: String, document: JSONValue) {
        let keys = config.layout.keys
        guard try fileSystem.status(keys) != nil else {
            throw HubServerError(
                .notInitialised, "there is no hub in \(config.stateDirectory)", hint: "make one with: holdfast-hub init")
        }
        let store = KeyStore(directory: keys, fileSystem: fileSystem)
        let key = try store.entry(HubKeys.Name.freshness.rawValue).publicKey
        return (key.keyID, key.json)
    }
}
