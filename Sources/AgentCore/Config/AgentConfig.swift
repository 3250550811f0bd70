import Base
import Model
import ServiceSupport

/// What `holdfast-agent run --config FILE` reads: one JSON object, every field optional.
public struct AgentConfig: Hashable, Sendable {
    public enum ClockTrust: String, Sendable, CaseIterable {
        /// As the kernel says: synchronised by NTP or PTP, or not.
        case kernel
        case always, never
    }
    public typealias LogLevel = ServiceSupport.LogLevel

    public var stateDirectory = "/var/lib/holdfast"
    public var socketPath = "/run/holdfast/agent.sock"
    public var socketGroup = ""
    public var groupMayChange = false
    public var engineSocket = "/var/run/docker.sock"
    public var engineReserve: Int64 = 256 << 20
    public var engineRestartProgram = ""
    public var stateReserve: Int64 = 16 << 20
    public var tickSeconds = 60
    public var retryCeilingSeconds = 300
    public var stepAttempts = 3
    public var crashLoopRestarts = 3
    public var trialStarts = 5
    public var watchdogSeconds = 600
    public var prune = true
    public var scrubHours = 168
    public var scrubBytesPerSecond: Int64 = 4 << 20
    public var windows = MaintenanceWindows()
    public var opensWithoutClock = false
    public var selfUpdateStarts = 3
    public var selfUpdateSeconds = 180
    public var clockTrust = ClockTrust.kernel
    public var logLevel = LogLevel.info
    public var hubInterface = "holdfast"
    public var hubTokenFile = "/boot/holdfast.token"
    public var hubRotationDays = 90
    public var hubKeepaliveSeconds = 0
    public var hubLongPollSeconds = 0
    public var hubSetsClock = false
    public var hubRequiresDirector = false

    public init() {}

    public var layout: StateLayout { StateLayout(root: stateDirectory) }
    public var planPolicy: PlanPolicy {
        PlanPolicy(
            stepAttempts: stepAttempts, crashLoopRestarts: crashLoopRestarts, trialStarts: trialStarts,
            engineReserve: engineReserve, prune: prune)
    }
    public var timing: Reconciler.Timing {
        Reconciler.Timing(
            tick: .seconds(tickSeconds),
            stepBackoff: Backoff(base: .seconds(1), ceiling: .seconds(retryCeilingSeconds)))
    }
}

extension AgentConfig: ServiceConfig {
    public static let title = "holdfast-agent configuration"

    public static let options: [ConfigOption<AgentConfig>] = [
        ConfigOption(
            path: ["stateDirectory"], kind: .path(\.stateDirectory),
            help: "Where the journal, the blob store, and config and secret files live. Absolute; made with mode 0700."),
        ConfigOption(
            path: ["socket", "path"], kind: .path(\.socketPath),
            help: "Unix socket of the local API, made with mode 0660."),
        ConfigOption(
            path: ["socket", "group"], kind: .text(\.socketGroup),
            help:
                "Group that owns the socket and may therefore read status and logs. Empty keeps the agent's own group."),
        ConfigOption(
            path: ["socket", "groupMayChange"], kind: .flag(\.groupMayChange),
            help: "Whether everyone who can open the socket may also import, roll back and provision. "
                + "Otherwise only root and the agent's own user may."),
        ConfigOption(
            path: ["engine", "socket"], kind: .path(\.engineSocket), help: "Unix socket of the container engine."),
        ConfigOption(
            path: ["engine", "reserveBytes"], kind: .size(\.engineReserve, 0...(1 << 50)),
            help: "Bytes kept free where the engine keeps its images: a load that would go below is not begun."),
        ConfigOption(
            path: ["engine", "restartProgram"], kind: .text(\.engineRestartProgram),
            help: "A program without arguments that restarts the engine, for a port that the engine holds after a power cut "
                + "and no container has. Run at most 3 times in a boot, 10 minutes apart, and only while nothing on the "
                + "host is bound to the port. It stops workloads unless the engine keeps them running. Empty: a person "
                + "does it."),
        ConfigOption(
            path: ["store", "reserveBytes"], kind: .size(\.stateReserve, 0...(1 << 40)),
            help: "Bytes held back on the disk of the state directory, given up when it is full so that a rollback "
                + "still works. 0 switches it off."),
        ConfigOption(
            path: ["store", "prune"], kind: .flag(\.prune),
            help: "Remove images, blobs and files that neither the present release nor the one before needs. "
                + "Volumes are never removed."),
        ConfigOption(
            path: ["reconcile", "tickSeconds"], kind: .integer(\.tickSeconds, 1...86_400),
            help: "Seconds between two looks at the engine when no event calls for one."),
        ConfigOption(
            path: ["reconcile", "retryCeilingSeconds"], kind: .integer(\.retryCeilingSeconds, 1...86_400),
            help: "Longest wait in seconds before a failed step is tried again; waits double from 1 s up to it."),
        ConfigOption(
            path: ["reconcile", "stepAttempts"], kind: .integer(\.stepAttempts, 1...100),
            help: "Tries of one step of a new release before the release is given up and the one before comes back."),
        ConfigOption(
            path: ["reconcile", "crashLoopRestarts"], kind: .integer(\.crashLoopRestarts, 1...1_000),
            help: "Restarts of a service by the engine after which a new release counts as crashing."),
        ConfigOption(
            path: ["reconcile", "trialStarts"], kind: .integer(\.trialStarts, 1...1_000),
            help:
                "Times that the agent or the device may restart during the trial of one release before it is given up."),
        ConfigOption(
            path: ["reconcile", "watchdogSeconds"], kind: .integer(\.watchdogSeconds, 10...86_400),
            help:
                "Seconds without progress of the reconciler after which the agent ends itself with status 70 and stops "
                + "answering systemd's watchdog; whatever started it starts it again. Workloads do not notice."),
        ConfigOption(
            path: ["scrub", "intervalHours"], kind: .integer(\.scrubHours, 0...8_784),
            help: "Hours between two scrubs, which compare store and engine with what was signed. 0 switches them off."),
        ConfigOption(
            path: ["scrub", "bytesPerSecond"], kind: .size(\.scrubBytesPerSecond, 0...(1 << 40)),
            help: "Bytes that a scrub reads in a second at most; 0 for no limit."),
        ConfigOption(
            path: ["windows", "timeZone"], kind: .text(\.windows.timeZone),
            help: "Time zone of the windows, by its name in the time zone database: Europe/Berlin."),
        ConfigOption(
            path: ["windows", "download"], kind: .windows(\.windows.download),
            help:
                "When releases may be fetched from a hub: minute, hour, day, month, weekday as cron has them, and how "
                + "long (m, h, d), \"0 22 * * * 6h\". Empty: at any time. What a person brings is not held back."),
        ConfigOption(
            path: ["windows", "apply"], kind: .windows(\.windows.apply),
            help: "When a release may take the place of the present one, written likewise. A release may have windows "
                + "of its own: both must be open."),
        ConfigOption(
            path: ["windows", "openWithoutClock"], kind: .flag(\.opensWithoutClock),
            help: "Whether windows count as open while the clock is not trusted. Otherwise an update then waits until "
                + "it is, or for: holdfast-agent update-now."),
        ConfigOption(
            path: ["selfUpdate", "starts"], kind: .integer(\.selfUpdateStarts, 1...100),
            help: "Starts that a new program of the agent has to come up healthy and be confirmed; then the one before "
                + "it comes back."),
        ConfigOption(
            path: ["selfUpdate", "windowSeconds"], kind: .integer(\.selfUpdateSeconds, 10...86_400),
            help: "Seconds within which each such start must have read the journal, seen the engine and answered on "
                + "the socket; the process is killed otherwise."),
        ConfigOption(
            path: ["clock", "trust"],
            kind: .choice(
                AgentConfig.ClockTrust.allCases.map(\.rawValue), get: { $0.clockTrust.rawValue },
                set: { $0.clockTrust = AgentConfig.ClockTrust(rawValue: $1) ?? .kernel }),
            help: "When the wall clock may say that metadata has expired: kernel (when the kernel calls it "
                + "synchronised), always, or never. The time floor counts in any case."),
        ConfigOption(
            path: ["hub", "interface"], kind: .text(\.hubInterface),
            help: "First part of the names of the tunnel's interfaces, at most 14 letters, digits or -: 0 and 1 follow for "
                + "the two keys, t while the device enrols."),
        ConfigOption(
            path: ["hub", "tokenFile"], kind: .path(\.hubTokenFile),
            help: "An enrolment token that an imaged device finds at its first start. Overwritten and removed once the "
                + "device is enrolled."),
        ConfigOption(
            path: ["hub", "rotationDays"], kind: .integer(\.hubRotationDays, 0...3_650),
            help: "Days after which the device changes its WireGuard key. 0 leaves it to the hub to ask."),
        ConfigOption(
            path: ["hub", "keepaliveSeconds"], kind: .integer(\.hubKeepaliveSeconds, 0...65_535),
            help: "Seconds between packets that keep a NAT's mapping open. 0 for none: a poll opens it again."),
        ConfigOption(
            path: ["hub", "longPollSeconds"], kind: .integer(\.hubLongPollSeconds, 0...60),
            help: "Seconds, at most 60, that the hub may hold a poll back until it has news: for the few devices that have to hear at "
                + "once. 0 for polls by the hub's schedule alone."),
        ConfigOption(
            path: ["hub", "setClock"], kind: .flag(\.hubSetsClock),
            help: "Whether the agent sets a wall clock that is behind the time floor forward to it before the tunnel comes "
                + "up: for devices that boot in 1970. Needs CAP_SYS_TIME."),
        ConfigOption(
            path: ["hub", "requireDirector"], kind: .flag(\.hubRequiresDirector),
            help: "Whether a device that enrols takes nothing without the hub's director from then on, from a stick "
                + "neither."),
        ConfigOption(
            path: ["log", "level"],
            kind: .choice(
                AgentConfig.LogLevel.allCases.map(\.rawValue), get: { $0.logLevel.rawValue },
                set: { $0.logLevel = AgentConfig.LogLevel(rawValue: $1) ?? .info }),
            help: "Least severe log line that is written. Logs are JSON lines on standard error."),
    ]
}

extension AgentConfig {
    public static func load(_ path: String, fileSystem: FileSystem = FileSystem()) throws(AgentError) -> AgentConfig {
        do throws(ConfigError) {
            return try read(path, fileSystem: fileSystem)
        } catch {
            throw AgentError(.configuration, error.message, hint: error.hint)
        }
    }

    public static func parse(_ bytes: [UInt8], name: String) throws(AgentError) -> AgentConfig {
        do throws(ConfigError) {
            return try decode(bytes, name: name)
        } catch {
            throw AgentError(.configuration, error.message, hint: error.hint)
        }
    }
}
