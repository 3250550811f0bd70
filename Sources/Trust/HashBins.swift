import Base
import Model

/// Writing hash bins: succinct roles of the specification (4.5, TAP 15).
///
/// A targets role with very many targets makes every client fetch all of them for one. Spread over 2^n bins by the hash
/// of their paths, each is found with one file of a 2^n-th of the size, and the delegation is as long as one key.
extension Repository {
    /// Bits of a bin's number that this writer makes bins for: 4,096 bins are as many roles as one delegator may name.
    public static let binBits = 1...12

    /// Spreads what `delegator` lists, now and later, over 2^`bits` bins named `<prefix>-<number>`.
    ///
    /// Called again with the same prefix and bits it changes who may sign the bins.
    /// - Throws: `trust.delegation-invalid` when the role delegates otherwise already.
    @discardableResult
    public func delegateToBins(
        prefix: String, bits: Int, plan: RolePlan, delegator: String = "targets", signers: [any Signer]
    ) throws -> SigningReport {
        try Self.checkRoleName(prefix)
        try plan.check(prefix)
        guard Self.binBits.contains(bits) else {
            throw TrustError(
                .delegationInvalid, prefix, "2^\(bits) bins; 2 to \(1 << Self.binBits.upperBound) are possible")
        }
        guard let draft = try current(delegator) else { throw missing(delegator) }
        if let bins = draft.bins, bins.prefix.isExactly(prefix), bins.bitLength == bits {
            return try edit(delegator, signers: signers) { Self.delegate(&$0, prefix, bits, plan) }
        }
        guard draft.signed["delegations"]?["succinct_roles"] == nil,
            draft.signed["delegations"]?["roles"]?.array?.isEmpty ?? true
        else { throw TrustError(.delegationInvalid, delegator, "delegates already, which cannot be mixed with bins") }
        var bins = [JSONObject](repeating: JSONObject(), count: 1 << bits)
        for (path, target) in draft.signed["targets"]?.object ?? [:] {
            bins[SuccinctRoles.number(of: TargetPath(path), bitLength: bits)][path] = target
        }
        for (number, targets) in bins.enumerated() {
            let name = SuccinctRoles.name(number, prefix: prefix, bitLength: bits)
            guard try current(name) == nil else { throw TrustError(.roleName, name, "there is such a role already") }
            var bin = MetadataDraft(type: TopLevel.targets, fields: ["targets": .object(targets)])
            bin.renew(version: 1, now: clock.now(), days: plan.days)
            try stage(name, bin)
        }
        return try edit(delegator, signers: signers) { draft in
            Self.delegate(&draft, prefix, bits, plan)
            draft.signed["targets"] = [:]
        }
    }

    private static func delegate(_ draft: inout MetadataDraft, _ prefix: String, _ bits: Int, _ plan: RolePlan) {
        var entry = plan.json.object ?? [:]
        entry["bit_length"] = .integer(Int64(bits))
        entry["name_prefix"] = .string(prefix)
        var keys = JSONObject()
        for key in plan.keys { keys[key.keyID] = key.json }
        draft.signed["delegations"] = ["keys": .object(keys), "succinct_roles": .object(entry)]
    }

    /// The role that lists `path` when `role` is told to: itself, or the path's bin.
    func lister(of path: String, below role: String) throws -> String {
        guard let bins = try current(role)?.bins else { return role }
        return SuccinctRoles.name(
            SuccinctRoles.number(of: TargetPath(path), bitLength: bins.bitLength), prefix: bins.prefix,
            bitLength: bins.bitLength)
    }
}

extension MetadataDraft {
    /// The bins that this role delegates to, if it does.
    var bins: (prefix: String, bitLength: Int)? {
        guard let node = signed["delegations"]?["succinct_roles"], let prefix = node["name_prefix"]?.string,
            let bits = node["bit_length"]?.integer, Repository.binBits.contains(Int(clamping: bits))
        else { return nil }
        return (prefix, Int(bits))
    }

    /// Names of the roles that this role delegates to, in order.
    var delegatedNames: [String] {
        if let bins {
            return (0..<(1 << bins.bitLength)).map {
                SuccinctRoles.name($0, prefix: bins.prefix, bitLength: bins.bitLength)
            }
        }
        return signed["delegations"]?["roles"]?.array?.compactMap { $0["name"]?.string } ?? []
    }
}
