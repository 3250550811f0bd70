import Base
import HubCore
import HubStore

/// Lets an operator in again whose password is lost, from the hub's own machine while the hub is stopped.
public struct AccountRecovery {
    let config: HubConfig
    let fileSystem: FileSystem
    let clock: SystemClock

    public init(config: HubConfig, fileSystem: FileSystem = FileSystem(), clock: SystemClock = .live) {
        self.config = config
        self.fileSystem = fileSystem
        self.clock = clock
    }

    /// Sets the password and takes a lock away. Scopes stay as they are.
    public func setPassword(_ password: String, of name: String) async throws {
        let lock = try HubLock(config.layout.lock)
        defer { lock.unlock() }
        let store = try SQLiteMetadataStore(path: config.layout.database, monitor: fileSystem.monitor)
        guard let (account, version) = try await store.record(OperatorAccount.self, try OperatorID(name).text) else {
            throw HubServerError(.noOperator, "the hub has no operator \(name)")
        }
        var (changed, event) = OperatorRules.changePassword(
            try PasswordHash(password), of: account, actor: "hub", now: clock.now())
        changed.isLocked = false
        try await store.commit(Commit([.put(changed, expecting: .version(version))], events: [event]))
    }
}
