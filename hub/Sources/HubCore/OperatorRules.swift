import Base

/// What people may do to the accounts of people. Each answers the record to commit and its event.
///
/// Nobody gives away what is not theirs: who makes an account, gives it scopes or sets its password has to hold every
/// scope that it has and gets, or `operators:write` alone would be all scopes.
public enum OperatorRules {
    public typealias Change = (account: OperatorAccount, event: AuditEvent)

    /// The person who acts, as the token says.
    public struct Caller: Sendable {
        /// `operator:ana`.
        public var actor: String
        public var scopes: Set<OperatorScope>

        public init(actor: String, scopes: Set<OperatorScope>) {
            self.actor = actor
            self.scopes = scopes
        }

        fileprivate func require(_ wanted: Set<OperatorScope>, of account: OperatorID) throws(HubError) {
            let lacking = wanted.subtracting(scopes).sorted().map(\.rawValue)
            guard lacking.isEmpty else {
                throw HubError(
                    .notYours, "operator \(account)",
                    "takes scopes that you do not hold: \(lacking.joined(separator: " "))")
            }
        }
    }

    public static func make(
        _ id: OperatorID, scopes: Set<OperatorScope>, password: PasswordHash, by caller: Caller, now: Timestamp
    ) throws(HubError) -> Change {
        try caller.require(scopes, of: id)
        let account = OperatorAccount(id: id, scopes: scopes, password: password, madeAt: now)
        return (account, event(.operatorMade, account, caller.actor, now, ["scopes": Self.text(scopes)]))
    }

    /// Nil when it has exactly these.
    public static func give(
        _ scopes: Set<OperatorScope>, to account: OperatorAccount, by caller: Caller, now: Timestamp
    ) throws(HubError) -> Change? {
        guard scopes != account.scopes else { return nil }
        try caller.require(scopes.union(account.scopes), of: account.id)
        return setScopes(scopes, of: account, actor: caller.actor, now: now)
    }

    /// On the hub's own machine, where all rights are: also those that a hub knows since an update and nobody holds yet.
    public static func setScopes(
        _ scopes: Set<OperatorScope>, of account: OperatorAccount, actor: String, now: Timestamp
    ) -> Change {
        var changed = account
        changed.scopes = scopes
        changed.generation += 1
        return (changed, event(.operatorScopesChanged, account, actor, now, ["scopes": text(scopes)]))
    }

    /// Ends the account's tokens and takes no more logins, or takes them again. Whoever may write accounts may lock any.
    public static func setLock(
        _ isLocked: Bool, of account: OperatorAccount, by caller: Caller, now: Timestamp
    ) throws(HubError) -> Change? {
        guard isLocked != account.isLocked else { return nil }
        if !isLocked { try caller.require(account.scopes, of: account.id) }
        var changed = account
        changed.isLocked = isLocked
        changed.generation += 1
        return (changed, event(isLocked ? .operatorLocked : .operatorUnlocked, account, caller.actor, now))
    }

    public static func setPassword(
        _ password: PasswordHash, of account: OperatorAccount, by caller: Caller, now: Timestamp
    ) throws(HubError) -> Change {
        try caller.require(account.scopes, of: account.id)
        return changePassword(password, of: account, actor: caller.actor, now: now)
    }

    /// By the person, who has proved to know the old one; or on the hub's own machine.
    public static func changePassword(
        _ password: PasswordHash, of account: OperatorAccount, actor: String, now: Timestamp
    ) -> Change {
        var changed = account
        changed.password = password
        changed.generation += 1
        return (changed, event(.operatorPasswordChanged, account, actor, now))
    }

    /// Whether somebody would be left who may write accounts once `change` is made.
    public static func leavesAnAdministrator(_ accounts: [OperatorAccount], after change: OperatorAccount) -> Bool {
        accounts.contains { account in
            let account = account.id == change.id ? change : account
            return !account.isLocked && account.scopes.contains(.operatorsWrite)
        }
    }

    private static func text(_ scopes: Set<OperatorScope>) -> String {
        scopes.sorted().map(\.rawValue).joined(separator: " ")
    }

    private static func event(
        _ kind: AuditEvent.Kind, _ account: OperatorAccount, _ actor: String, _ now: Timestamp,
        _ fields: [String: String] = [:]
    ) -> AuditEvent {
        AuditEvent(kind, at: now, actor: actor, subject: "operator:\(account.id)", fields: fields)
    }
}
