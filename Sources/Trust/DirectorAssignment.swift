import Base
import Model

/// One device's release, as a director has it.
public struct DirectorAssignment: Sendable, Equatable {
    public let device: String
    public let target: ReleaseTarget

    /// Bytes of a device's id.
    public static let deviceBytes = 256
}

/// A director's word: which device gets which release.
///
/// A device has at most one release of an application. Whoever keeps a director calls these, a person with keys at hand
/// or a hub with an online key; each call is one new version of the targets role.
extension Repository {
    /// Gives `devices` this release, in place of whichever they have of the same application.
    ///
    /// - Throws: `trust.repository-invalid` in a repository that is no director, and for an id that cannot be one.
    @discardableResult
    public func assign(
        _ target: ReleaseTarget, to devices: [String], signers: [any Signer]
    ) throws -> SigningReport {
        try checkDirector()
        let wanted = try Self.identifiers(devices)
        guard !wanted.isEmpty else { throw TrustError(.repositoryInvalid, target.path, "no device is named") }
        var held: [ExactText: Assigned] = [:]
        for entry in try assigned() where entry.target.app == target.app {
            held[ExactText(entry.target.path)] = Assigned(entry.target, entry.devices.subtracting(wanted))
        }
        let old = held[ExactText(target.path)]?.devices ?? []
        held[ExactText(target.path)] = Assigned(target, old.union(wanted))
        return try write(Array(held.values), signers: signers)
    }

    /// Takes releases from `devices`: of one application, or of all.
    ///
    /// - Throws: `trust.not-assigned` for a device that has none.
    @discardableResult
    public func unassign(_ devices: [String], app: String? = nil, signers: [any Signer]) throws -> SigningReport {
        try checkDirector()
        let unwanted = try Self.identifiers(devices)
        let entries = try assigned().filter { app == nil || $0.target.app == app }
        let known = entries.reduce(into: Set<ExactText>()) { $0.formUnion($1.devices) }
        if let stranger = unwanted.subtracting(known).min() {
            throw TrustError(
                .notAssigned, stranger.text, "the director assigns this device nothing\(app.map { " of \($0)" } ?? "")")
        }
        let changed = entries.filter { !$0.devices.isDisjoint(with: unwanted) }
            .map { Assigned($0.target, $0.devices.subtracting(unwanted)) }
        return try write(changed, signers: signers)
    }

    /// Every assignment, staged ones too, by device and then by path.
    public func assignments() throws -> [DirectorAssignment] {
        try assigned().flatMap { entry in
            entry.devices.map { DirectorAssignment(device: $0.text, target: entry.target) }
        }
        .sorted {
            ($0.device, $0.target.path) < ($1.device, $1.target.path)
        }
    }

    private struct Assigned {
        var target: ReleaseTarget
        var devices: Set<ExactText>

        init(_ target: ReleaseTarget, _ devices: Set<ExactText>) {
            self.target = target
            self.devices = devices
        }
    }

    private func assigned() throws -> [Assigned] {
        var found: [Assigned] = []
        func take(_ targets: JSONObject?, below folder: String) {
            for (path, entry) in targets ?? [:] {
                guard let target = ReleaseTarget(entry, path: path, below: folder), let devices = target.devices
                else { continue }
                found.append(Assigned(target, Set(devices.map { ExactText($0) })))
            }
        }
        guard let targets = try current(TopLevel.targets) else { return [] }
        guard let bins = DeviceBins(targets) else {
            return try releases().compactMap { target in
                target.devices.map { Assigned(target, Set($0.map { ExactText($0) })) }
            }
        }
        take(targets.signed["targets"]?.object, below: "")
        var operation = self
        operation.listing = try PublishedListing(self)
        for number in 0..<bins.count {
            let bin = DeviceBin(number: number)
            take(try operation.published(bin.role)?.signed["targets"]?.object, below: bin.folder)
        }
        return found
    }

    private func checkDirector() throws {
        guard name == .director else {
            throw TrustError(.repositoryInvalid, base, "only a director assigns releases to devices")
        }
        guard try current(TopLevel.targets).flatMap({ DeviceBins($0) }) == nil else {
            throw TrustError(
                .repositoryInvalid, base,
                "spreads its devices over bins, as a hub does: assign with holdfast hub assign")
        }
    }

    private static func identifiers(_ devices: [String]) throws(TrustError) -> Set<ExactText> {
        for device in devices where device.isEmpty || device.utf8.count > DirectorAssignment.deviceBytes {
            throw TrustError(
                .repositoryInvalid, "device \"\(device.prefix(64))\"",
                "a device's id is 1 to \(DirectorAssignment.deviceBytes) bytes long")
        }
        return Set(devices.map { ExactText($0) })
    }

    /// Lists each target for its devices; one that has none left is taken off.
    private func write(_ entries: [Assigned], signers: [any Signer]) throws -> SigningReport {
        for entry in entries where entry.devices.count > ReleaseTarget.deviceLimit {
            throw TrustError(
                .tooLarge, entry.target.path, "more than \(ReleaseTarget.deviceLimit) devices of one release")
        }
        return try edit(TopLevel.targets, signers: signers) { draft in
            var targets = draft.signed["targets"]?.object ?? [:]
            for entry in entries {
                let target = entry.target.assigned(to: entry.devices.map(\.text))
                if entry.devices.isEmpty {
                    targets.removeValue(forKey: target.path)
                } else {
                    targets[target.path] = Self.listing(of: target)
                }
            }
            draft.signed["targets"] = .object(targets)
        }
    }
}
