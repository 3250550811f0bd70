import Base
import Model
import Trust

// The documents of the local API. Field names are stable: scripts read them.
extension AgentService {
    func status() async throws -> JSONValue {
        let report = await reconciler.currentReport()
        let device = try await journal.device()
        var document: [String: JSONValue] = [
            "device": .object([
                "provisioned": .bool(device != nil), "id": .string(device?.id ?? ""),
                "labels": .object((device?.labels ?? [:]).mapValues { .string($0) }),
            ]),
            "engine": Self.engine(report.engine),
            "journal": Self.condition(condition, trouble: report.journalTrouble),
        ]
        if let hub { document["hub"] = await hub.status() }
        if let slots = reconciler.environment.selfUpdate?.slots {
            document["agent"] = slots.json(built: DeviceFacts.version)
        }
        if let look = report.lastLook { document["lastLook"] = .string(look.description) }
        let desired = try await journal.desired()
        document["apps"] = .array(desired.map { app(status: $0, report) })
        document["locks"] = .array(report.locks.map(\.json))
        document["healthy"] = .bool(
            device != nil && report.settled.count == desired.count && report.journalTrouble == nil
                && report.blocked.isEmpty)
        return .object(document)
    }

    private func app(status app: DesiredApp, _ report: ReconcilerReport) -> JSONValue {
        let release = app.target.release
        let specs = try? ReleaseSpecs(app.target, layout: config.layout)
        var services: [JSONValue] = []
        for name in release.services.keys.sorted() {
            let spec = specs?.containers[name]
            let container = report.containers.first {
                $0.app == app.app && $0.service == name && $0.configHash == spec?.hash.description
            }
            let old = report.containers.first { $0.app == app.app && $0.service == name && $0.state == .running }
            services.append(Self.service(name, container ?? old, isCurrent: container != nil))
        }
        var document: [String: JSONValue] = [
            "app": .string(app.app), "version": .string(release.version.description),
            "digest": .string(app.target.digest.description), "phase": .string(app.phase.rawValue),
            "settled": .bool(report.settled.contains(app.app)), "services": .array(services),
        ]
        if let previous = app.previous {
            document["previous"] = [
                "version": .string(previous.release.version.description),
                "digest": .string(previous.digest.description),
            ]
        }
        if !app.detail.isEmpty { document["detail"] = .string(app.detail) }
        return .object(document)
    }

    private static func service(_ name: String, _ container: ManagedContainer?, isCurrent: Bool) -> JSONValue {
        guard let container else { return ["service": .string(name), "state": "absent"] }
        return [
            "service": .string(name), "state": .string(container.state.rawValue),
            "health": .string(container.health.rawValue),
            "container": .string(container.name), "restarts": .integer(Int64(container.restartCount)),
            "exitCode": .integer(Int64(container.exitCode)), "current": .bool(isCurrent),
        ]
    }

    private static func engine(_ condition: EngineCondition) -> JSONValue {
        switch condition {
        case .unknown: ["state": "unknown"]
        case .answering(let version):
            [
                "state": "answering", "version": .string(version.version), "api": .string(version.apiVersion),
                "storage": .string(version.storageDriver),
            ]
        case .silent(let failure, let since, let attempts):
            [
                "state": "silent", "code": .string(failure.code), "message": .string(failure.message),
                "since": .string(since.description), "attempts": .integer(Int64(attempts)),
            ]
        }
    }

    private static func condition(_ condition: JournalCondition, trouble: String?) -> JSONValue {
        var document: [String: JSONValue]
        switch condition {
        case .sound: document = ["opened": "sound"]
        case .new: document = ["opened": "new"]
        case .returned(let moved): document = ["opened": "returned", "movedTo": .string(moved)]
        case .restored(let problem, let moved):
            document = ["opened": "restored", "problem": .string(problem), "movedTo": .string(moved)]
        case .lost(let problem, let moved):
            document = ["opened": "lost", "problem": .string(problem), "movedTo": .string(moved)]
        }
        if let trouble { document["trouble"] = .string(trouble) }
        return .object(document)
    }

    /// Every reason why the device is not as it should be, worst first; empty when there is none.
    func why() async throws -> JSONValue {
        let report = await reconciler.currentReport()
        var reasons: [JSONValue] = []
        switch condition {
        case .sound, .new, .returned: break
        case .restored(let problem, let moved):
            reasons.append(
                Self.reason(
                    "journal.restored",
                    "the journal was damaged (\(problem)) and its last copy put in place; the damaged file is \(moved)",
                    hint: "check the disk; import the newest release again", app: ""))
        case .lost(let problem, let moved):
            reasons.append(
                Self.reason(
                    "journal.lost",
                    "the journal was damaged (\(problem)) and there was no copy; the damaged file is \(moved). "
                        + "Running containers were left as they are",
                    hint: "provision the device again and import its release",
                    app: ""))
        }
        if let trouble = report.journalTrouble {
            reasons.append(Self.reason("journal.trouble", trouble, hint: "free space or check the disk", app: ""))
        }
        if try await journal.device() == nil {
            reasons.append(
                Self.reason(
                    AgentError(.notProvisioned, "").code, "this device trusts no root yet",
                    hint: "holdfast-agent provision --root root.json --device-id NAME", app: ""))
        }
        for reason in await hub?.reasons() ?? [] {
            reasons.append(
                Self.reason(
                    reason.code, reason.message, hint: reason.hint, app: "", progress: reason.isProgress))
        }
        for blocked in report.blocked {
            reasons.append(
                Self.reason(
                    blocked.code, blocked.description, hint: blocked.hint, app: blocked.app,
                    retry: blocked.retryInSeconds, progress: blocked.isProgress))
        }
        for finding in await scrubber?.last?.findings ?? [] where finding.repairedFrom == nil {
            reasons.append(
                Self.reason(
                    "scrub.\(finding.kind.rawValue)", "\(finding.digest.short) of \(finding.of): \(finding.detail)",
                    hint: "holdfast-agent scrub --from BUNDLE --restart", app: ""))
        }
        for release in try await journal.releases() where release.role == .failed {
            reasons.append(
                Self.reason(
                    "release.failed",
                    "\(release.app) \(release.version) (\(release.digest.short)) was tried and given up: \(release.failure)",
                    hint: "it is not tried again until a person says --retry or another release comes",
                    app: release.app,
                    progress: true))
        }
        if let refusal = try await journal.refusal() {
            reasons.append(
                Self.reason(
                    refusal.code, "the last import was refused: \(refusal.message)", hint: refusal.hint, app: "",
                    progress: true))
        }
        var document: [String: JSONValue] = ["reasons": .array(reasons)]
        document["lastImport"] = try await journal.lastSupply()
        return .object(document)
    }

    private static func reason(
        _ code: String, _ message: String, hint: String?, app: String, retry: Int? = nil, progress: Bool = false
    ) -> JSONValue {
        var document: [String: JSONValue] = [
            "code": .string(code), "message": .string(message), "fault": .bool(!progress),
        ]
        if !app.isEmpty { document["app"] = .string(app) }
        if let hint { document["hint"] = .string(hint) }
        if let retry { document["retryInSeconds"] = .integer(Int64(retry)) }
        return .object(document)
    }

    func releases() async throws -> JSONValue {
        [
            "releases": .array(
                try await journal.releases().map { release in
                    var document: [String: JSONValue] = [
                        "app": .string(release.app), "version": .string(release.version),
                        "digest": .string(release.digest.description),
                        "ctr": .integer(release.ctr), "epoch": .integer(release.epoch),
                        "freshness": .string(release.freshness),
                        "verifiedAt": .string(release.verifiedAt.description), "role": .string(release.role.rawValue),
                    ]
                    if !release.failure.isEmpty { document["failure"] = .string(release.failure) }
                    return .object(document)
                })
        ]
    }

    func journalRows(_ request: LocalRequest) async throws -> JSONValue {
        let limit = min(max(1, request.query["limit"].flatMap { Int($0) } ?? 50), Self.rowLimit)
        let desired = try await journal.desiredHistory(limit: limit).map { row in
            JSONValue.object([
                "id": .integer(row.id), "app": .string(row.app), "version": .string(row.version),
                "release": .string(row.release.description), "phase": .string(row.phase), "cause": .string(row.cause),
                "detail": .string(row.detail), "adoptedAt": .string(row.adoptedAt.description),
                "settledAt": row.settledAt.map { .string($0.description) } ?? .null, "active": .bool(row.isActive),
            ])
        }
        let steps = try await journal.steps(limit: limit).map { row in
            JSONValue.object([
                "id": .integer(row.id), "app": .string(row.app), "release": .string(row.release),
                "step": .string(row.description),
                "startedAt": .string(row.startedAt.description),
                "finishedAt": row.finishedAt.map { .string($0.description) } ?? .null,
                "outcome": row.outcome.map { .string($0) } ?? .null, "code": row.code.map { .string($0) } ?? .null,
                "message": row.message.map { .string($0) } ?? .null,
            ])
        }
        let events = try await journal.events(limit: limit).map { row in
            JSONValue.object([
                "id": .integer(row.id), "at": .string(row.at.description), "app": .string(row.app),
                "code": .string(row.code),
                "message": .string(row.message),
            ])
        }
        return ["desired": .array(desired), "steps": .array(steps), "events": .array(events)]
    }
}
