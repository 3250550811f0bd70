import Base
import HubCore
import HubStore

/// What only the hub's own machine may do to an account, while the hub is stopped: let an operator in again whose password
/// is lost, and give scopes that nobody holds who could give them.
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
        let hash = try PasswordHash(password)
        _ = try await change(name) { account, _, now in
            var (changed, event) = OperatorRules.changePassword(hash, of: account, actor: "hub", now: now)
            changed.isLocked = false
            return (changed, event)
        }
    }

    /// Takes scopes away and gives others; answers which the account then has.
    public func changeScopes(
        of name: String, adding: Set<OperatorScope>, removing: Set<OperatorScope> = []
    ) async throws -> Set<OperatorScope> {
        try await change(name) { account, all, now in
            let scopes = account.scopes.subtracting(removing).union(adding)
            guard scopes != account.scopes else { return nil }
            let change = OperatorRules.setScopes(scopes, of: account, actor: "hub", now: now)
            guard OperatorRules.leavesAnAdministrator(all, after: change.account) else {
                throw HubServerError(.lastOperator, "nobody would be left who may change accounts")
            }
            return change
        }.scopes
    }

    private func change(
        _ name: String,
        _ rule: (OperatorAccount, _ all: [OperatorAccount], Timestamp) throws -> OperatorRules.Change?
    ) async throws -> OperatorAccount {
        let lock = try HubLock(config.layout.lock)
        defer { lock.unlock() }
        let store = try SQLiteMetadataStore(path: config.layout.database, monitor: fileSystem.monitor)
        guard let (account, version) = try await store.record(OperatorAccount.self, try OperatorID(name).text) else {
            throw HubServerError(.noOperator, "the hub has no operator \(name)")
        }
        var all: [OperatorAccount] = []
        try await store.each(OperatorAccount.self) { all.append($0) }
        guard let (changed, event) = try rule(account, all, clock.now()) else { return account }
        try await store.commit(Commit([.put(changed, expecting: .version(version))], events: [event]))
        return changed
    }
}
