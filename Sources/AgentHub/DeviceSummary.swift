import AgentCore
import Base
import Model

/// What the hub is told of the device's state: versions and how they fare, in a few hundred bytes an app.
public enum DeviceSummary {
    /// Applications, and services of each, that are told of.
    static let applications = 64
    static let services = 64

    public static func make(
        _ report: ReconcilerReport, _ desired: [DesiredApp], architecture: String
    ) -> JSONValue {
        let apps = desired.prefix(applications).map { app -> JSONValue in
            let running = report.containers.filter { $0.app == app.app }
            let services = app.target.release.services.keys.sorted().prefix(services).map { name -> JSONValue in
                let container = running.first { $0.service == name && $0.state == .running }
                return [
                    "service": .string(name), "state": .string(container?.state.rawValue ?? "absent"),
                    "health": .string(container?.health.rawValue ?? "none"),
                ]
            }
            return [
                "app": .string(app.app), "version": .string(app.target.release.version.description),
                "digest": .string(app.target.digest.description), "ctr": .integer(app.target.release.ctr),
                "phase": .string(app.phase.rawValue), "settled": .bool(report.settled.contains(app.app)),
                "detail": .string(String(app.detail.prefix(500))), "services": .array(Array(services)),
            ]
        }
        // Why something is not as it should be; what is merely on its way changes with each look.
        let why = report.blocked.filter { !$0.isProgress }.prefix(20).map { blocked -> JSONValue in
            [
                "app": .string(blocked.app), "code": .string(blocked.code),
                "message": .string(String(blocked.description.prefix(500))),
            ]
        }
        var engine: JSONValue = ["state": "unknown"]
        switch report.engine {
        case .unknown: break
        case .answering(let version): engine = ["state": "answering", "version": .string(version.version)]
        case .silent(let failure, _, _): engine = ["state": "silent", "code": .string(failure.code)]
        }
        return [
            "architecture": .string(architecture), "engine": engine, "apps": .array(Array(apps)),
            "why": .array(Array(why)),
        ]
    }
}
