import AgentCore
import Base
import DockerEngine
import EngineTestSupport
import Model
import Synchronization
import TestSupport
import Testing

/// A device with a real engine, through everything that happens to one: install, update, failure and its rollback,
/// drift, engine restarts, power cuts, agent deaths. Verification, journal, planner and reconciler are the agent's own.
@Suite(
    .serialized, .privateEngine, .enabled(if: PrivateEngine.isAvailable, PrivateEngine.skipMessage),
    .timeLimit(.minutes(8)))
struct ReleaseLifeTests {
    private actor Images {
        static let shared = Images()
        private var base: [UInt8]?
        /// Busybox and one file that names the version.
        func image(_ version: String) async throws -> TestImage {
            let bottom: [UInt8]
            if let base { bottom = base } else { bottom = try await PrivateEngine.busyboxTar() }
            base = bottom
            return try TestImage(layers: [bottom, try await TestImage.layer(["www/index.html": "\(version)\n"])])
        }
    }

    private func web(_ change: (inout Service) -> Void = { _ in }) -> Service {
        var service = Service(image: "")
        service.command = ["httpd", "-f", "-p", "80", "-h", "/www"]
        service.stopSignal = "SIGKILL"
        service.ports = [.init(published: 7080, target: 80)]
        service.healthcheck = .init(
            test: ["CMD", "wget", "-qO", "/dev/null", "http://127.0.0.1/"], interval: 300_000_000,
            timeout: 2_000_000_000, retries: 2)
        change(&service)
        return service
    }

    private func worker(_ strategy: Service.UpdateStrategy = .downloadThenKill) -> Service {
        var service = Service(image: "")
        service.command = ["/bin/sh", "-c", "echo working; exec sleep 10000"]
        service.stopSignal = "SIGKILL"
        service.strategy = strategy
        service.dependsOn = ["web": .init(condition: .healthy)]
        return service
    }

    private func publish(
        _ device: Device, _ version: String, _ services: [String: Service],
        _ update: Release.UpdatePolicy = .init(healthWindowSeconds: 8, stableSeconds: 0)
    ) async throws {
        _ = try device.publisher.publish(
            version, image: try await Images.shared.image(version), services: services, update: update)
    }

    /// A device that serves 1.0.0.
    private func serving(_ service: Service? = nil) async throws -> Device {
        let device = try await Device.make(try PrivateEngine.current)
        try await publish(device, "1.0.0", ["web": service ?? web(), "worker": worker()])
        try await device.boot()
        try await device.adopt("1.0.0")
        try await device.eventually("1.0.0 is committed") { try await device.committed() == "1.0.0" }
        return device
    }

    private func with(_ device: Device, _ body: (Device) async throws -> Void) async throws {
        do { try await body(device) } catch {
            try? await device.wipe()
            if error is Device.NeverHappened { return }
            throw error
        }
        try await device.wipe()
    }

    @Test func installsServesAndLogs() async throws {
        try await with(try await serving()) { device in
            #expect(try await device.answer() == "1.0.0")
            let worker = try #require(try await device.running("worker").first)
            var text = ""
            for try await chunk in try await device.docker.logs(worker.id, tail: 5, follow: false) {
                text += String(decoding: chunk.bytes, as: UTF8.self)
            }
            #expect(text == "working\n")
            // A settled device changes nothing.
            let steps = try await device.journal.steps(limit: 100).count
            try await Task.sleep(for: .milliseconds(600))
            #expect(try await device.journal.steps(limit: 100).count == steps)
        }
    }

    @Test(arguments: Service.UpdateStrategy.allCases)
    func updatesByEachStrategy(_ strategy: Service.UpdateStrategy) async throws {
        // With hand-over two containers live at once, which a fixed host port forbids.
        let change: (inout Service) -> Void = { service in
            service.strategy = strategy
            if strategy == .handOver { service.ports = [] }
        }
        try await with(try await serving(web(change))) { device in
            let old = try #require(try await device.running("web").first)
            let events = Mutex<[String]>([])
            let watcher = Task {
                try await device.engine.client.events(filters: ["type": ["container", "image"]]) { event in
                    let service = event.attributes[Labels.service] ?? event.kind
                    if service == "web" || event.kind == "image" {
                        events.withLock { $0.append("\(service) \(event.action) \(event.subject.prefix(12))") }
                    }
                }
            }
            // Both run the same image, so both must allow that it comes late.
            try await publish(device, "2.0.0", ["web": web(change), "worker": worker(strategy)])
            try await Task.sleep(for: .milliseconds(200))
            try await device.adopt("2.0.0")
            try await device.eventually("2.0.0 is committed") { try await device.committed() == "2.0.0" }
            let new = try #require(try await device.running("web").first)
            #expect(new.id != old.id)
            if strategy != .handOver { #expect(try await device.answer() == "2.0.0") }
            watcher.cancel()
            let order = events.withLock { $0 }
            let stopped = try #require(order.firstIndex { $0 == "web die \(old.id.prefix(12))" })
            let loaded = try #require(order.firstIndex { $0.hasPrefix("image load") || $0.hasPrefix("image tag") })
            let started = try #require(order.firstIndex { $0 == "web start \(new.id.prefix(12))" })
            switch strategy {
            case .downloadThenKill: #expect(loaded < stopped && stopped < started)
            case .killThenDownload, .deleteThenDownload: #expect(stopped < loaded && loaded < started)
            case .handOver: #expect(loaded < started && started < stopped)
            }
        }
    }

    struct Failure: Sendable, CustomTestStringConvertible {
        var testDescription: String
        /// Part of the reason that the journal keeps.
        var words: String
        var change: @Sendable (inout Service) -> Void
    }

    static let failures = [
        Failure(testDescription: "create fails", words: "bind source path does not exist") {
            $0.mounts = [.init(kind: .bind, source: "/absent/folder", target: "/x")]
        },
        Failure(testDescription: "start fails", words: "no such file or directory") {
            $0.command = ["/no/such/program"]
        },
        Failure(testDescription: "unhealthy", words: "web is unhealthy: broken") {
            $0.healthcheck?.test = ["CMD-SHELL", "echo broken; exit 1"]
        },
        Failure(testDescription: "never healthy", words: "more than 4 s") {
            $0.healthcheck = .init(test: ["CMD", "sleep", "60"], interval: 60_000_000_000, timeout: 60_000_000_000)
        },
        Failure(testDescription: "crash loop", words: "web keeps crashing") {
            $0.command = ["/bin/sh", "-c", "exit 9"]
            $0.healthcheck = nil
        },
        Failure(testDescription: "a port that is taken", words: "port is already allocated") {
            $0.ports = [.init(published: 7099, target: 80)]
        },
    ]

    @Test(arguments: failures) func rollsBackWhen(_ failure: Failure) async throws {
        try await with(try await serving()) { device in
            // A container that is not ours holds a port.
            var holder = DockerEngine.ContainerSpec(image: try await Images.shared.image("1.0.0").id.description)
            holder.command = ["sleep", "1000"]
            holder.ports = [.init(published: 7099, target: 1)]
            let foreign = try await device.engine.client.createContainer(name: "holder", holder)
            try await device.engine.client.startContainer(foreign)
            let update = Release.UpdatePolicy(healthWindowSeconds: 4, stableSeconds: 0)
            try await publish(device, "2.0.0", ["web": web(failure.change), "worker": worker()], update)
            try await device.adopt("2.0.0")
            try await device.eventually("2.0.0 is marked as failed") {
                try await device.journal.releases().contains { $0.version == "2.0.0" && $0.role == .failed }
            }
            try await device.eventually("1.0.0 is back") { try await device.committed() == "1.0.0" }
            try await device.eventually("1.0.0 answers") { try await device.answer() == "1.0.0" }
            let reasons = try await device.journal.desiredHistory(limit: 5).map(\.detail)
            #expect(reasons.contains { $0.contains(failure.words) }, "\(reasons)")
            await #expect(throws: AgentError.self) { try await device.adopt("2.0.0") }
            #expect(try await device.engine.client.inspectContainer(foreign).state == .running)
            try await device.engine.client.removeContainer(foreign, force: true)
        }
    }

    @Test(arguments: ["killed", "removed", "changed", "paused", "stopped"])
    func repairsAContainerThatWas(_ word: String) async throws {
        try await with(try await serving()) { device in
            let client = device.engine.client
            let before = try #require(try await device.running("web").first)
            let isMadeAnew = word == "removed" || word == "changed"
            switch word {
            case "killed": try await client.killContainer(before.id)
            case "removed": try await client.removeContainer(before.id, force: true)
            case "changed": try await client.updateRestartPolicy(before.id, .no)
            case "paused": try await client.pauseContainer(before.id)
            default: try await client.stopContainer(before.id, grace: .zero)
            }
            try await device.eventually("web is as it was made") {
                let after = try await device.running("web").first
                guard let after, try await device.answer() == "1.0.0" else { return false }
                // What was changed or removed is made anew, the rest is started or thawed.
                return after.configHash == before.configHash && (after.id != before.id) == isMadeAnew
            }
            #expect(try await device.committed() == "1.0.0")
        }
    }

    @Test func whatItDidNotMakeIsLeftAlone() async throws {
        let engine = try PrivateEngine.current
        let image = try await Images.shared.image("foreign")
        _ = try await engine.client.loadImage(BodyProducer(try await image.archive()))
        try await engine.client.tagImage(image.id.description, repository: "foreign/tool", tag: "1")
        var spec = DockerEngine.ContainerSpec(image: "foreign/tool:1")
        spec.command = ["sleep", "1000"]
        spec.mounts = [.init(kind: .volume, source: "foreign-volume", target: "/data")]
        let running = try await engine.client.createContainer(name: "foreign-running", spec)
        try await engine.client.startContainer(running)
        let stopped = try await engine.client.createContainer(name: "foreign-stopped", spec)
        let network = try await engine.client.createNetwork(name: "foreign", .init(), labels: [:])
        try await with(try await serving()) { device in
            for version in ["2.0.0", "3.0.0"] {
                try await publish(device, version, ["web": web(), "worker": worker()])
                try await device.adopt(version)
                try await device.eventually("\(version) is committed") { try await device.committed() == version }
            }
            #expect(try await engine.client.inspectContainer(running).state == .running)
            #expect(try await engine.client.inspectContainer(stopped).state == .created)
            #expect(try await engine.client.inspectNetwork(network).name == "foreign")
            #expect(try await engine.client.inspectVolume("foreign-volume").name == "foreign-volume")
            #expect(try await engine.client.inspectImage("foreign/tool:1").id == image.id.description)
            // The release before the present one stays for a rollback, the one before that goes.
            try await device.eventually("1.0.0's image is pruned") {
                try await device.docker.image(try await Images.shared.image("1.0.0").id) == nil
            }
            #expect(try await device.docker.image(try await Images.shared.image("2.0.0").id) != nil)
        }
        for id in [running, stopped] { try await engine.client.removeContainer(id, force: true) }
        try await engine.client.removeNetwork(network)
        try await engine.client.removeVolume("foreign-volume")
        try await engine.client.removeImage("foreign/tool:1")
    }

    @Test func rollsBackByCommand() async throws {
        try await with(try await serving()) { device in
            try await publish(device, "2.0.0", ["web": web(), "worker": worker()])
            try await device.adopt("2.0.0")
            try await device.eventually("2.0.0 is committed") { try await device.committed() == "2.0.0" }
            _ = try await device.journal.rollBack(Publisher.app)
            try await device.reconciler.wake()
            try await device.eventually("1.0.0 is back") { try await device.committed() == "1.0.0" }
            #expect(try await device.answer() == "1.0.0")
        }
    }

    @Test(arguments: ["restarted", "killed", "hung"]) func survivesAnEngineThatIs(_ word: String) async throws {
        try await with(try await serving()) { device in
            try await publish(device, "2.0.0", ["web": web(), "worker": worker()])
            try await device.adopt("2.0.0")
            // Somewhere between load and commit.
            try await Task.sleep(for: .milliseconds(250))
            switch word {
            case "restarted": try await device.engine.restart()
            case "killed":
                try await device.engine.kill()
                try await device.eventually("the silence is reported") {
                    if case .silent = try await device.reconciler.currentReport().engine { return true }
                    return false
                }
                try await device.engine.up()
            default:
                try await device.engine.pause()
                try await Task.sleep(for: .seconds(2))
                try await device.engine.resume()
            }
            try await device.eventually("2.0.0 is committed", within: .seconds(60)) {
                try await device.committed() == "2.0.0"
            }
            try await device.eventually("2.0.0 answers") { try await device.answer() == "2.0.0" }
        }
    }

    @Test func comesBackAfterAPowerCutWithNoNetwork() async throws {
        try await with(try await serving()) { device in
            await device.halt()
            try await device.engine.powerCut()
            try await device.engine.up()
            try await device.boot()
            try await device.eventually("1.0.0 serves again") { try await device.answer() == "1.0.0" }
            try await device.eventually("the worker runs") { try await device.running("worker").count == 1 }
            #expect(try await device.committed() == "1.0.0")
        }
    }

    @Test func anAgentThatDiesAtAnyEngineCallOfAnUpdateFinishesItLater() async throws {
        // A dry run counts the calls; then the agent is cut off before each of them in turn.
        let engine = try PrivateEngine.current
        let count = Mutex(0)
        let counting = try await Device.make(engine)
        try await publish(counting, "1.0.0", ["web": web(), "worker": worker()])
        try await publish(counting, "2.0.0", ["web": web(), "worker": worker()])
        try await counting.boot()
        try await counting.adopt("1.0.0")
        try await counting.eventually("1.0.0 is committed") { try await counting.committed() == "1.0.0" }
        await counting.halt()
        try await counting.boot(
            monitor: DurabilityMonitor { _ in
                count.withLock { $0 += 1 }
                return .perform
            })
        try await counting.adopt("2.0.0")
        try await counting.eventually("2.0.0 is committed") { try await counting.committed() == "2.0.0" }
        try await counting.wipe()
        let calls = count.withLock { $0 }
        #expect(calls >= 6)
        for cut in 1...max(1, calls) { try await dieAndRecover(engine, cut: cut) }
    }

    private func dieAndRecover(_ engine: PrivateEngine, cut: Int) async throws {
        try await with(try await serving()) { device in
            await device.halt()
            let seen = Mutex(0)
            try await device.boot(
                monitor: DurabilityMonitor { _ in
                    seen.withLock { value in
                        value += 1
                        // From this call on nothing reaches the engine any more, as after SIGKILL.
                        return value >= cut ? .fail(errno: 4) : .perform
                    }
                })
            try await publish(device, "2.0.0", ["web": web(), "worker": worker()])
            try await device.adopt("2.0.0")
            try await device.eventually("call \(cut) is reached") { seen.withLock { $0 } >= cut }
            await device.halt()
            try await device.boot()
            try await device.eventually("2.0.0 is committed after a death before call \(cut)") {
                try await device.committed() == "2.0.0"
            }
            #expect(try await device.answer() == "2.0.0")
            #expect(try await device.running("web").count == 1)
        }
    }
}
