import AgentCore
import AgentHub
import AgentTestSupport
import Base
import Logging
import Model
import OCI
import Synchronization
import TestSupport
import Testing
import Trust
import WireGuard

/// A clock on which a second lasts a few real milliseconds: loops of the service run as they do, only sooner.
final class QuickClock: Sendable {
    /// Virtual seconds in a real one.
    static let speed = 200.0
    private let begun = ContinuousClock.now
    private let wall = Mutex<Int64>(1_800_000_000)

    private var elapsed: Double { Double((ContinuousClock.now - begun) / .milliseconds(1)) / 1_000 * Self.speed }

    /// Moves the wall clock alone.
    func jump(by seconds: Int64) { wall.withLock { $0 += seconds } }

    var clock: SystemClock {
        SystemClock(
            now: { Timestamp(seconds: self.wall.withLock { $0 } + Int64(self.elapsed)) },
            monotonic: { UInt64(self.elapsed * 1e9) },
            sleep: { try await Task.sleep(for: $0 / Self.speed) })
    }
}

/// One device with a real journal, importer and hub service, on a model engine and remembered interfaces.
final class HubDevice: Sendable {
    let lab: LabDevice
    let links: RememberedLinks
    let hub: ScriptedHub
    let clock: QuickClock
    let settings: HubSettings
    let isClockTrusted: Bool
    let windows: MaintenanceWindows
    let clockSettings = Mutex<[Timestamp]>([])
    private let running = Mutex<Running?>(nil)

    struct Running: Sendable {
        var process: LabDevice.Process
        var service: HubService
        var task: Task<Void, Never>
    }

    init(
        path: String, hub: ScriptedHub, links: RememberedLinks, clock: QuickClock, tokenFile: String = "",
        setsClock: Bool = false, isClockTrusted: Bool = true, windows: MaintenanceWindows = MaintenanceWindows(),
        rotationDays: Int = 0, longPoll: Int = 0
    ) {
        self.windows = windows
        lab = LabDevice(path: path)
        self.hub = hub
        self.links = links
        self.clock = clock
        self.isClockTrusted = isClockTrusted
        settings = HubSettings(
            interface: "hf", tokenFile: tokenFile, rotationDays: rotationDays, longPoll: longPoll,
            setsClock: setsClock)
    }

    func make(_ process: LabDevice.Process) -> HubService {
        let (clock, isTrusted) = (clock.clock, isClockTrusted)
        return HubService(
            HubEnvironment(
                settings: settings, layout: lab.layout, fileSystem: FileSystem(monitor: lab.faults.monitor),
                journal: process.journal, importer: process.importer, store: process.store, links: links.links,
                transport: hub.transport, clock: clock,
                clockReading: { ClockReading(now: clock.now(), isTrusted: isTrusted) },
                setClock: { time in self.clockSettings.withLock { $0.append(time) } }, features: [],
                architecture: "amd64", hostName: "box", buildTime: Timestamp(seconds: 1_700_000_000),
                summary: { ["agent": "test"] }, isUpdating: { false },
                logger: Logger(label: "test") { _ in SwiftLogNoOpLogHandler() }))
    }

    /// Starts an agent's hub side.
    @discardableResult
    func start() async throws -> HubService {
        let (clock, isTrusted) = (clock.clock, isClockTrusted)
        let process = try await lab.boot(
            gate: UpdateGate(windows: windows) { ClockReading(now: clock.now(), isTrusted: isTrusted) })
        let service = make(process)
        let task = Task { await service.run() }
        running.withLock { $0 = Running(process: process, service: service, task: task) }
        return service
    }

    var present: Running { get throws { try #require(running.withLock { $0 }) } }
    var service: HubService { get throws { try present.service } }
    var journal: Journal { get throws { try present.process.journal } }

    /// Ends it, as a restart does.
    func stop() async {
        let present = running.withLock { value in
            defer { value = nil }
            return value
        }
        present?.task.cancel()
        await present?.task.value
    }

    func status(_ path: String...) async throws -> JSONValue? {
        var value: JSONValue? = try await service.status()
        for name in path { value = value?[name] }
        return value
    }

    func target(_ app: String = "shop") async throws -> String? {
        try await journal.desired().first { $0.app == app }?.target.release.version.description
    }

    func eventually(
        _ what: String, sourceLocation: SourceLocation = #_sourceLocation, _ condition: () async throws -> Bool
    ) async throws {
        let deadline = ContinuousClock.now + .seconds(60)
        while ContinuousClock.now < deadline {
            if (try? await condition()) == true { return }
            try await Task.sleep(for: .milliseconds(10))
        }
        let status = try? await service.status().serialized(.pretty)
        Issue.record(
            "never: \(what); \(String(decoding: status ?? [], as: UTF8.self)); \(await hub.requests.suffix(20))",
            sourceLocation: sourceLocation)
        throw NeverHappened(what: what)
    }

    struct NeverHappened: Error { var what: String }
}

/// A hub, an operator and devices in one folder.
struct HubWorld {
    let directory: TemporaryDirectory
    let operatorLab: Lab
    let hub: ScriptedHub
    let links = RememberedLinks()
    let clock = QuickClock()

    init(hubFaults: FaultPlan? = nil) throws {
        directory = try TemporaryDirectory()
        operatorLab = try Lab(path: directory.file("repo"), clock: clock.clock)
        hub = try ScriptedHub(
            path: directory.path, lab: operatorLab, links: links, clock: clock.clock,
            monitor: hubFaults?.monitor ?? .passthrough)
    }

    func device(
        tokenFile: String = "", setsClock: Bool = false, isClockTrusted: Bool = true,
        windows: MaintenanceWindows = MaintenanceWindows(), rotationDays: Int = 0, longPoll: Int = 0
    ) -> HubDevice {
        HubDevice(
            path: directory.file("state"), hub: hub, links: links, clock: clock, tokenFile: tokenFile,
            setsClock: setsClock, isClockTrusted: isClockTrusted, windows: windows, rotationDays: rotationDays,
            longPoll: longPoll)
    }

    func release(_ version: String, ctr: Int64) throws -> Release {
        let release = try operatorLab.release(version, ctr: ctr, services: ["web": "web-\(version)"])
        try operatorLab.publish(release)
        return release
    }

    /// A device that the hub knows and that has polled.
    func enrolled(
        isClockTrusted: Bool = true, setsClock: Bool = false, windows: MaintenanceWindows = MaintenanceWindows(),
        rotationDays: Int = 0, longPoll: Int = 0
    ) async throws -> (HubDevice, String) {
        let device = device(
            setsClock: setsClock, isClockTrusted: isClockTrusted, windows: windows, rotationDays: rotationDays,
            longPoll: longPoll)
        let service = try await device.start()
        try await service.enrol(token: try await hub.token())
        try await device.eventually("a poll") { try await device.status("lastPoll") != nil }
        try await device.eventually("trust") { try await device.journal.trustState() != nil }
        let id = try #require(try await device.status("device")?.string)
        return (device, id)
    }
}
