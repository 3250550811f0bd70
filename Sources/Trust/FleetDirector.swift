import Base
import Model

/// A director as a hub keeps it, with all its keys at hand: what an edit touches is signed and nothing else, so that a
/// change costs what it changes, however large the fleet.
///
/// A fleet that fits one list has one. A larger one is spread over ``DeviceBins``; the number of bins only grows. Bins come
/// first, then the snapshot and the timestamp that name them: whatever a crash leaves, the last whole set stays in force.
public struct FleetDirector: Sendable {
    /// Devices of one list, and of one bin on average, when it is made; at twice as many the fleet is spread anew.
    public static let devicesPerBin = 1_024
    /// Versions of a bin, and of snapshot and targets, that stay for clients in the middle of a look.
    static let binsKept: Int64 = 3
    static let versionsKept: Int64 = 16
    /// Part of a role's life after which it is signed anew.
    static let renewal = 0.5
    private static let op = "director.publish"

    private let repository: Repository
    private let signers: [any Signer]
    private let most: Int

    /// - Parameter devicesPerBin: for tests.
    public init(
        path: String, signers: [any Signer], fileSystem: FileSystem = FileSystem(), clock: SystemClock = .live,
        devicesPerBin: Int = FleetDirector.devicesPerBin
    ) {
        repository = Repository(path: path, name: .director, fileSystem: fileSystem, clock: clock)
        self.signers = signers
        most = devicesPerBin
    }

    // MARK: What is in force

    /// The director as its timestamp names it, and what is about to take its place.
    private struct Work {
        let root: RootMetadata
        var timestamp: MetadataDraft
        var snapshot: MetadataDraft
        var targets: MetadataDraft
        var meta: JSONObject
        var bins: DeviceBins?
        /// File names without number and what their versions became.
        var written: [String: Int64] = [:]
        /// Whether every device shall look, not those of the written bins alone.
        var isCommon = false

        func version(of role: String) -> Int64 { meta[role + ".json"]?["version"]?.integer ?? 0 }
    }

    private func open() throws -> Work {
        let root = try repository.publishedOrStagedRoot()
        guard root.consistentSnapshot else {
            throw TrustError(.repositoryInvalid, repository.base, "has no consistent snapshots, which a hub needs")
        }
        guard let timestamp = try read("timestamp.json", TopLevel.timestamp),
            let version = timestamp.signed["meta"]?["snapshot.json"]?["version"]?.integer,
            let snapshot = try read("\(version).snapshot.json", TopLevel.snapshot),
            let meta = snapshot.signed["meta"]?.object
        else { throw repository.missing(TopLevel.snapshot) }
        let listed = meta["targets.json"]?["version"]?.integer ?? 0
        guard let targets = try read("\(listed).targets.json", TopLevel.targets) else {
            throw repository.missing(TopLevel.targets)
        }
        return Work(
            root: root, timestamp: timestamp, snapshot: snapshot, targets: targets, meta: meta,
            bins: DeviceBins(targets))
    }

    private func read(_ name: String, _ role: String) throws -> MetadataDraft? {
        let file = Path.join(repository.metadataDirectory, name)
        guard try repository.fileSystem.status(file) != nil else { return nil }
        return try MetadataDraft(
            parsing: repository.fileSystem.read(file, limit: repository.limits.targetsBytes), element: role,
            limits: repository.limits)
    }

    /// A list of devices: of a bin, or of the whole fleet.
    private func list(_ number: Int, _ work: Work) throws -> MetadataDraft? {
        guard work.bins != nil else { return work.targets }
        let role = DeviceBin(number: number).role
        let version = work.version(of: role)
        guard version > 0 else { return nil }
        guard let draft = try read("\(version).\(role).json", role) else { throw repository.missing(role) }
        return draft
    }

    // MARK: Editing

    /// Makes the director say what `edit` says; false when it does already.
    ///
    /// - Throws: `trust.threshold-not-met` when the signers are too few for the roles that a director needs.
    @discardableResult
    public func apply(_ edit: AssignmentEdit) throws -> Bool {
        var work = try open()
        // What is much for the lists there are is spread before it is written: they might not hold it.
        if edit.isWhole || edit.count > 2 * most * (work.bins?.count ?? 1) {
            let whole = edit.isWhole ? edit : try gather(work, with: edit)
            if let bins = Self.bins(whole.count, most, work.bins), bins != work.bins {
                try spread(whole, over: bins, &work)
                return try publish(&work)
            }
        }
        var fullest = 0
        for (number, entries) in edit.byBin(work.bins).sorted(by: { $0.key < $1.key }) {
            fullest = max(fullest, try change(number, edit, entries, &work))
        }
        // A quarter more than the mean that asks for more bins: then the others are full enough, too.
        if fullest > 2 * most + most / 4 {
            let whole = try gather(work, with: edit)
            if let bins = Self.bins(whole.count, most, work.bins), bins != work.bins {
                work = try open()
                try spread(whole, over: bins, &work)
            }
        }
        return try publish(&work)
    }

    /// The bins that so many devices should have; nil for one list, and never fewer than there are.
    private static func bins(_ devices: Int, _ most: Int, _ now: DeviceBins?) -> DeviceBins? {
        guard devices > 2 * most * (now?.count ?? 1) else { return now }
        let range = DeviceBins.bitRange
        let bits = range.first { devices <= most << $0 } ?? range.upperBound
        return DeviceBins(bits: max(bits, now?.bits ?? 0))
    }

    /// Changes one list; answers how many devices it has then.
    private func change(
        _ number: Int, _ edit: AssignmentEdit, _ entries: [AssignmentEdit.Entry], _ work: inout Work
    ) throws -> Int {
        let folder = work.bins == nil ? "" : DeviceBin(number: number).folder
        let draft = try list(number, work)
        let old = draft?.signed["targets"]?.object ?? [:]
        var holders = Holders()
        if !edit.isWhole { holders.read(old, folder) }
        for entry in entries {
            holders.set(String(decoding: edit.device(entry), as: UTF8.self), to: edit.sets[Int(entry.set)])
        }
        let (targets, devices) = try holders.targets(folder, besides: old)
        guard targets != old else { return devices }
        if work.bins == nil {
            work.targets.signed["targets"] = .object(targets)
            try write(TopLevel.targets, work.targets, &work)
        } else {
            try write(bin: number, targets, &work)
        }
        return devices
    }

    /// Writes every bin anew, and the delegations to them.
    private func spread(_ edit: AssignmentEdit, over bins: DeviceBins, _ work: inout Work) throws {
        work.bins = bins
        let days = try repository.lifetime(of: TopLevel.targets)
        work.targets.signed[RepositoryFields.deviceBits] = .integer(Int64(bins.bits))
        work.targets.signed["targets"] = [:]
        work.targets.signed["delegations"] = try Self.delegations(bins, work.root, days: days)
        for (number, entries) in edit.byBin(bins).sorted(by: { $0.key < $1.key }) {
            var holders = Holders()
            for entry in entries {
                holders.set(String(decoding: edit.device(entry), as: UTF8.self), to: edit.sets[Int(entry.set)])
            }
            let (targets, _) = try holders.targets(DeviceBin(number: number).folder, besides: [:])
            try write(bin: number, targets, &work)
        }
        try write(TopLevel.targets, work.targets, &work)
    }

    /// All that the director says, with `edit` over it.
    private func gather(_ work: Work, with edit: AssignmentEdit) throws -> AssignmentEdit {
        var whole = AssignmentEdit(isWhole: true)
        let changed = edit.byBin(work.bins)
        for number in 0..<(work.bins?.count ?? 1) {
            var holders = Holders()
            if !edit.isWhole, let draft = try list(number, work) {
                let folder = work.bins == nil ? "" : DeviceBin(number: number).folder
                holders.read(draft.signed["targets"]?.object ?? [:], folder)
            }
            for entry in changed[number] ?? [] {
                holders.set(String(decoding: edit.device(entry), as: UTF8.self), to: edit.sets[Int(entry.set)])
            }
            try holders.each { try whole.set($0, to: $1) }
        }
        return whole
    }

    /// Each bin to the keys of the targets role, for the paths below its number.
    private static func delegations(_ bins: DeviceBins, _ root: RootMetadata, days: Int) throws -> JSONValue {
        let role = try root.keys(of: TopLevel.targets)
        var keys = JSONObject()
        for keyID in role.keyIDs { if let key = role.keys[keyID] { keys[keyID] = key.json } }
        let roles = (0..<bins.count).map { number -> JSONValue in
            let bin = DeviceBin(number: number)
            return [
                "name": .string(bin.role), "keyids": .array(role.keyIDs.map { .string($0) }),
                "threshold": .integer(role.threshold), "terminating": true, "paths": [.string(bin.folder + "*/*")],
                RepositoryFields.days: .integer(Int64(days)),
            ]
        }
        return ["keys": .object(keys), "roles": .array(roles)]
    }

    // MARK: Renewal

    /// Signs what is over half of its life, and all that no longer bears the keys that root names; false when nothing is.
    @discardableResult
    public func renew() throws -> Bool {
        var work = try open()
        if let bins = work.bins {
            let days = try repository.lifetime(of: TopLevel.targets)
            let delegations = try Self.delegations(bins, work.root, days: days)
            if work.targets.signed["delegations"] != delegations {
                work.targets.signed["delegations"] = delegations
                try write(TopLevel.targets, work.targets, &work)
            }
            let isRekeyed = !work.written.isEmpty
            for number in 0..<bins.count {
                guard let draft = try list(number, work), try isRekeyed || isDue(TopLevel.targets, draft) else {
                    continue
                }
                try write(bin: number, draft.signed["targets"]?.object ?? [:], &work)
            }
        }
        if work.written[TopLevel.targets] == nil, try isDue(TopLevel.targets, work.targets) {
            try write(TopLevel.targets, work.targets, &work)
        }
        if try isDue(TopLevel.snapshot, work.snapshot) || isDue(TopLevel.timestamp, work.timestamp) {
            work.isCommon = true
        }
        return try publish(&work)
    }

    private func isDue(_ role: String, _ draft: MetadataDraft) throws -> Bool {
        guard let expires = draft.expires else { return true }
        let life = Double(try repository.lifetime(of: role)) * 86_400
        return Double(expires - repository.clock.now()) < life * Self.renewal
    }

    // MARK: Writing

    private func write(bin number: Int, _ targets: JSONObject, _ work: inout Work) throws {
        try write(
            DeviceBin(number: number).role,
            MetadataDraft(type: TopLevel.targets, fields: ["targets": .object(targets)]),
            &work)
    }

    /// Signs and writes the next version of a targets role. Nothing leads to it before ``publish(_:)``.
    private func write(_ role: String, _ draft: MetadataDraft, _ work: inout Work) throws {
        var draft = draft
        let version = try next(work.version(of: role), role)
        let bytes = try sign(role, &draft, version, work.root)
        try replace("\(version).\(role).json", bytes)
        var entry: JSONObject = ["version": .integer(version)]
        if role == TopLevel.targets {
            entry["length"] = .integer(Int64(bytes.count))
            entry["hashes"] = ["sha256": .string(Digest.sha256(bytes).hex)]
            work.isCommon = true
        }
        // Of a bin the version alone, which keeps the snapshot of a thousand bins small; its bytes are signed.
        work.meta[role + ".json"] = .object(entry)
        work.written[role] = version
    }

    private func publish(_ work: inout Work) throws -> Bool {
        guard !work.written.isEmpty || work.isCommon else { return false }
        let named = work.timestamp.signed["meta"]?["snapshot.json"]?["version"]?.integer ?? 0
        let version = try next(named, TopLevel.snapshot)
        work.snapshot.signed["meta"] = .object(work.meta)
        if work.isCommon {
            let common = work.snapshot.signed[RepositoryFields.common]?.integer ?? 0
            work.snapshot.signed[RepositoryFields.common] = .integer(common &+ 1)
        }
        let snapshot = try sign(TopLevel.snapshot, &work.snapshot, version, work.root)
        try replace("\(version).snapshot.json", snapshot)
        work.timestamp.signed["meta"] = [
            "snapshot.json": [
                "version": .integer(version), "length": .integer(Int64(snapshot.count)),
                "hashes": ["sha256": .string(Digest.sha256(snapshot).hex)],
            ]
        ]
        let timestamp = try sign(
            TopLevel.timestamp, &work.timestamp, next(work.timestamp.version, TopLevel.timestamp), work.root)
        try replace("timestamp.json", timestamp)
        // What nobody can be on the way to any more.
        work.written[TopLevel.snapshot] = version
        for (role, version) in work.written {
            let kept = role.hasPrefix(DeviceBins.prefix) ? Self.binsKept : Self.versionsKept
            let old = Path.join(repository.metadataDirectory, "\(version - kept).\(role).json")
            try repository.fileSystem.unlink(old, op: Self.op)
        }
        return true
    }

    private func next(_ version: Int64, _ role: String) throws(TrustError) -> Int64 {
        guard version < Int64.max else {
            throw TrustError(
                .repositoryInvalid, role, "its version is the highest there is: rotate its key and begin anew")
        }
        return version + 1
    }

    /// The file of a role's new version. Bins bear the keys of the targets role.
    private func sign(
        _ role: String, _ draft: inout MetadataDraft, _ version: Int64, _ root: RootMetadata
    ) throws -> [UInt8] {
        let ruling = TopLevel.all.contains(role) ? role : TopLevel.targets
        draft.renew(version: version, now: repository.clock.now(), days: try repository.lifetime(of: ruling))
        let keys = try root.keys(of: ruling)
        let signed = try draft.sign(role, by: signers, allowed: Set(keys.keyIDs))
        guard signed.count >= Int(clamping: keys.threshold) else {
            throw TrustError(.thresholdNotMet, role, "the hub has \(signed.count) of the \(keys.threshold) keys needed")
        }
        return try draft.compactBytes(role)
    }

    private func replace(_ name: String, _ bytes: [UInt8]) throws {
        try repository.fileSystem.replace(
            Path.join(repository.metadataDirectory, name), with: bytes, op: Self.op)
    }
}

/// Who has what, while one list is changed.
private struct Holders {
    private var releases: [ReleaseTarget] = []
    private var numbers: [ReleaseTarget.Key: Int] = [:]
    private var byDevice: [ExactText: [Int]] = [:]

    private mutating func number(of target: ReleaseTarget) -> Int {
        if let known = numbers[target.key] { return known }
        releases.append(target)
        numbers[target.key] = releases.count - 1
        return releases.count - 1
    }

    /// Takes in what a list says of devices.
    mutating func read(_ targets: JSONObject, _ folder: String) {
        for (path, entry) in targets {
            guard let target = ReleaseTarget(entry, path: path, below: folder), let devices = target.devices else {
                continue
            }
            let number = number(of: target.assigned(to: []))
            for device in devices { byDevice[ExactText(device), default: []].append(number) }
        }
    }

    mutating func set(_ device: String, to targets: [ReleaseTarget]) {
        byDevice[ExactText(device)] = targets.isEmpty ? nil : targets.map { number(of: $0) }
    }

    func each(_ body: (String, [ReleaseTarget]) throws -> Void) rethrows {
        for (device, numbers) in byDevice { try body(device.text, numbers.map { releases[$0] }) }
    }

    /// The list that says so, with what `others` lists for no devices, and how many devices it names.
    func targets(_ folder: String, besides others: JSONObject) throws -> (JSONObject, devices: Int) {
        var devices = [[String]](repeating: [], count: releases.count)
        for (device, numbers) in byDevice { for number in numbers { devices[number].append(device.text) } }
        var list = others.filter { path, entry in
            ReleaseTarget(entry, path: path, below: folder)?.devices == nil
        }
        for (number, named) in devices.enumerated() where !named.isEmpty {
            let target = releases[number]
            guard named.count <= ReleaseTarget.deviceLimit else {
                throw TrustError(.tooLarge, target.path, "more than \(ReleaseTarget.deviceLimit) devices of one list")
            }
            // One path can stand for one set of bytes only.
            list[folder + target.path] = Repository.listing(of: target.assigned(to: named))
        }
        return (list, byDevice.count)
    }
}
