import AgentCore
import Base
import DockerEngine
import EngineTestSupport
import Model
import Synchronization
import TestSupport
import Testing

/// The reconciler's view of a real Docker Engine.
@Suite(
    .serialized, .privateEngine, .enabled(if: PrivateEngine.isAvailable, PrivateEngine.skipMessage),
    .timeLimit(.minutes(3)))
struct DockerContainerEngineTests {
    private struct Bench {
        var engine: PrivateEngine
        var docker: DockerContainerEngine
        var image: TestImage
    }

    private static let busybox = Slot()

    /// Builds the base layer once for the suite.
    private actor Slot {
        private var bytes: [UInt8]?
        func layer() async throws -> [UInt8] {
            if let bytes { return bytes }
            let made = try await PrivateEngine.busyboxTar()
            bytes = made
            return made
        }
    }

    private func bench() async throws -> Bench {
        let engine = try PrivateEngine.current
        let docker = DockerContainerEngine(engine.client)
        let image = try TestImage(layers: [await Self.busybox.layer()])
        if try await docker.image(image.id) == nil {
            try await docker.loadImage(pieces(try await image.archive()))
        }
        return Bench(engine: engine, docker: docker, image: image)
    }

    private func spec(
        _ bench: Bench, _ name: String, _ script: String, networks: [String: Service.Attachment] = [:],
        _ change: (inout Service) -> Void = { _ in }
    ) -> AgentCore.ContainerSpec {
        var service = Service(image: "unused")
        service.command = ["/bin/sh", "-c", script]
        service.stopSignal = "SIGKILL"
        change(&service)
        let hash = Digest.sha256(Array("\(service)".utf8))
        return ContainerSpec(
            name: name, service: service, hostname: nil, imageID: bench.image.id,
            labels: [
                Labels.managed: Labels.managedValue, Labels.app: "app", Labels.service: name,
                Labels.config: hash.description, Labels.release: "release",
            ], files: [], networks: networks, mounts: service.mounts, hash: hash)
    }

    private func expectFailure(
        _ reason: EngineFailure.Reason, sourceLocation: SourceLocation = #_sourceLocation,
        _ body: () async throws -> Void
    ) async {
        do {
            try await body()
            Issue.record("no failure where \(reason) was expected", sourceLocation: sourceLocation)
        } catch let failure as EngineFailure {
            #expect(failure.reason == reason, "\(failure)", sourceLocation: sourceLocation)
        } catch {
            Issue.record("\(error) where \(reason) was expected", sourceLocation: sourceLocation)
        }
    }

    private func eventually(
        _ what: String, sourceLocation: SourceLocation = #_sourceLocation, _ condition: () async throws -> Bool
    ) async throws {
        let deadline = ContinuousClock.now + .seconds(15)
        while ContinuousClock.now < deadline {
            if try await condition() { return }
            try await Task.sleep(for: .milliseconds(50))
        }
        Issue.record("never: \(what)", sourceLocation: sourceLocation)
    }

    @Test func saysWhoAnswers() async throws {
        let bench = try await bench()
        let version = try await bench.docker.version()
        #expect(version.apiVersion == "1.41" || version.apiVersion > "1.41")
        #expect(version.dataRoot == bench.engine.directory + "/data" && version.architecture == "amd64")
    }

    @Test func creatingTwiceMeetsItsOwnFirstResult() async throws {
        let bench = try await bench()
        let spec = spec(bench, "twice", "sleep 60")
        let id = try await bench.docker.createContainer(spec)
        #expect(try await bench.docker.createContainer(spec) == id)
        var other = spec
        other.labels[Labels.config] = Digest.sha256([1]).description
        await expectFailure(.conflict) { _ = try await bench.docker.createContainer(other) }
        let seen = try #require(try await bench.docker.container("twice"))
        #expect(seen.id == id && seen.state == .created && seen.configHash == spec.hash.description)
        #expect(seen.imageID == bench.image.id && seen.service == "twice" && seen.app == "app")
        try await bench.docker.removeContainer(id)
        try await bench.docker.removeContainer(id)
        #expect(try await bench.docker.container(id) == nil)
    }

    @Test func whatItDidNotMakeIsInvisibleAndItsNamesAreTaken() async throws {
        let bench = try await bench()
        let client = bench.engine.client
        var foreign = DockerEngine.ContainerSpec(image: bench.image.id.description)
        foreign.labels = [Labels.managed: "no", "other": "1"]
        let id = try await client.createContainer(name: "foreign", foreign)
        _ = try await client.createNetwork(name: "foreign-net", .init(), labels: [:])
        #expect(try await bench.docker.containers().allSatisfy { $0.id != id })
        #expect(try await bench.docker.container(id) == nil)
        await expectFailure(.conflict) {
            _ = try await bench.docker.createContainer(self.spec(bench, "foreign", "true"))
        }
        await expectFailure(.conflict) {
            try await bench.docker.createNetwork(.init(name: "foreign-net", network: .init(), labels: [:]))
        }
        #expect(try await client.inspectContainer(id).name == "foreign")
        try await client.removeContainer(id)
        try await client.removeNetwork("foreign-net")
    }

    @Test func joinsAllItsNetworksUnderItsAliases() async throws {
        let bench = try await bench()
        let labels = [Labels.managed: Labels.managedValue, Labels.app: "app"]
        for name in ["front", "back"] {
            let network = NetworkSpec(name: name, network: .init(), labels: labels)
            try await bench.docker.createNetwork(network)
            try await bench.docker.createNetwork(network)
        }
        #expect(Set(try await bench.docker.networks().map(\.name)) == ["front", "back"])
        let both = [
            "front": Service.Attachment(aliases: ["web"]), "back": Service.Attachment(aliases: ["web", "api"]),
        ]
        let id = try await bench.docker.createContainer(spec(bench, "joined", "sleep 60", networks: both))
        // As after a crash between create and connect.
        try await bench.engine.client.disconnect(id, from: "front")
        try await bench.docker.startContainer(id)
        let details = try await bench.engine.client.inspectContainer(id)
        #expect(Set(details.networks.keys) == ["front", "back"])
        #expect(details.networks["back"]?.aliases.contains("api") == true)
        await expectFailure(.conflict) { try await bench.docker.removeNetwork("back") }
        try await bench.docker.removeContainer(id)
        for name in ["front", "back", "back"] { try await bench.docker.removeNetwork(name) }
    }

    @Test func startFailuresSayWhoseFaultTheyAre() async throws {
        let bench = try await bench()
        let holder = try await bench.docker.createContainer(
            spec(bench, "holder", "sleep 60") { $0.ports = [.init(published: 7001, target: 1)] })
        try await bench.docker.startContainer(holder)
        try await bench.docker.startContainer(holder)
        let second = try await bench.docker.createContainer(
            spec(bench, "second", "sleep 60") { $0.ports = [.init(published: 7001, target: 1)] })
        await expectFailure(.portInUse) { try await bench.docker.startContainer(second) }
        #expect(try await bench.docker.container(second)?.publishedPorts == ["0.0.0.0:7001/tcp"])
        let broken = try await bench.docker.createContainer(
            spec(bench, "broken", "") { $0.command = ["/no/such/program"] })
        await expectFailure(.cannotStart) { try await bench.docker.startContainer(broken) }
        let device = try await bench.docker.createContainer(
            spec(bench, "device", "true") { $0.devices = [.init(host: "/dev/absent", container: "/dev/x")] })
        await expectFailure(.cannotStart) { try await bench.docker.startContainer(device) }
        await expectFailure(.invalid) {
            _ = try await bench.docker.createContainer(
                self.spec(bench, "missing", "true") {
                    $0.mounts = [.init(kind: .bind, source: "/absent/folder", target: "/x")]
                })
        }
        var unknown = spec(bench, "unknown", "true")
        unknown.imageID = Digest.sha256([9])
        await expectFailure(.notFound) { _ = try await bench.docker.createContainer(unknown) }
        await expectFailure(.notFound) { try await bench.docker.startContainer("absent") }
        for id in [holder, second, broken, device] { try await bench.docker.removeContainer(id) }
    }

    @Test func theFingerprintSeesHandsButNotRestarts() async throws {
        let bench = try await bench()
        let id = try await bench.docker.createContainer(
            spec(bench, "marked", "sleep 60") { $0.resources.memory = 64 << 20 })
        let made = try #require(try await bench.docker.container(id)).fingerprint
        try await bench.docker.startContainer(id)
        #expect(try await bench.docker.container(id)?.fingerprint == made)
        try await bench.engine.restart()
        try await eventually("the container runs again") { try await bench.docker.container(id)?.state == .running }
        #expect(try await bench.docker.container(id)?.fingerprint == made)
        try await bench.engine.client.updateRestartPolicy(id, .no)
        #expect(try await bench.docker.container(id)?.fingerprint != made)
        try await bench.docker.removeContainer(id)
    }

    @Test func stopsWhatIsPausedAndLeavesWhatIsGone() async throws {
        let bench = try await bench()
        let id = try await bench.docker.createContainer(spec(bench, "frozen", "sleep 60"))
        try await bench.docker.startContainer(id)
        try await bench.engine.client.pauseContainer(id)
        #expect(try await bench.docker.container(id)?.state == .paused)
        try await bench.docker.stopContainer(id, grace: .seconds(1))
        #expect(try await bench.docker.container(id)?.state == .exited)
        #expect(try await bench.docker.waitForExit(id, limit: .seconds(5)) == 137)
        try await bench.docker.stopContainer(id, grace: .seconds(1))
        try await bench.docker.renameContainer(id, to: "thawed")
        try await bench.docker.removeContainer("thawed")
        try await bench.docker.stopContainer(id, grace: .seconds(1))
    }

    @Test func healthAndCrashLoopsAreReported() async throws {
        let bench = try await bench()
        let sick = try await bench.docker.createContainer(
            spec(bench, "sick", "sleep 60") {
                $0.healthcheck = .init(test: ["CMD-SHELL", "echo feverish; exit 1"], interval: 100_000_000, retries: 1)
            })
        let looping = try await bench.docker.createContainer(spec(bench, "looping", "exit 4"))
        for id in [sick, looping] { try await bench.docker.startContainer(id) }
        try await eventually("unhealthy with its words") {
            let seen = try await bench.docker.container(sick)
            return seen?.health == .unhealthy && seen?.healthOutput.contains("feverish") == true
        }
        try await eventually("restarts are counted") {
            let seen = try await bench.docker.container(looping)
            return (seen?.restartCount ?? 0) > 1 && seen?.exitCode == 4
        }
        for id in [sick, looping] { try await bench.docker.removeContainer(id) }
    }

    @Test func outputIsPulled() async throws {
        let bench = try await bench()
        let id = try await bench.docker.createContainer(
            spec(bench, "talker", "echo one; echo two >&2; sleep 0.3; echo three") { $0.restart = .init(policy: .no) })
        try await bench.docker.startContainer(id)
        var text: [AgentCore.LogChunk.Stream: String] = [:]
        for try await chunk in try await bench.docker.logs(id, tail: nil, follow: true) {
            text[chunk.stream, default: ""] += String(decoding: chunk.bytes, as: UTF8.self)
        }
        #expect(text == [.stdout: "one\nthree\n", .stderr: "two\n"])
        var last = ""
        for try await chunk in try await bench.docker.logs(id, tail: 1, follow: false) {
            last += String(decoding: chunk.bytes, as: UTF8.self)
        }
        #expect(last == "three\n")
        await expectFailure(.notFound) { _ = try await bench.docker.logs("absent", tail: 1, follow: false) }
        try await bench.docker.removeContainer(id)
    }

    @Test func eventsWakeUntilTheEngineGoes() async throws {
        let bench = try await bench()
        let actions = Mutex<[String]>([])
        let events = try await bench.docker.events()
        let watcher = Task {
            for try await event in events { actions.withLock { $0.append("\(event.kind) \(event.action)") } }
        }
        try await Task.sleep(for: .milliseconds(300))
        let id = try await bench.docker.createContainer(spec(bench, "noisy", "true"))
        try await eventually("the creation is seen") { actions.withLock { $0.contains("container create") } }
        try await bench.docker.removeContainer(id)
        try await bench.engine.kill()
        // Ends or throws; both say that the engine is gone.
        _ = await watcher.result
        await expectFailure(.unavailable) { _ = try await bench.docker.containers() }
        await expectFailure(.unavailable) { _ = try await bench.docker.events() }
        try await bench.engine.up()
        _ = try await bench.docker.version()
    }

    @Test func layersThatTheEngineHoldsCanBeLeftOut() async throws {
        let bench = try await bench()
        let upper = try await TestImage.layer(["etc/release": "two"])
        let image = try TestImage(layers: bench.image.layers + [upper])
        let absent = Digest.sha256([1])
        #expect(try await bench.docker.presentLayers(of: image.diffIDs) == [image.diffIDs[0]])
        #expect(try await bench.docker.presentLayers(of: [absent, image.diffIDs[0]]).isEmpty)
        try await bench.docker.loadImage(pieces(try await image.archive(omitting: [0]), size: 1000))
        let loaded = try #require(try await bench.docker.image(image.id))
        #expect(loaded.diffIDs == image.diffIDs && loaded.tags.isEmpty)
        try await bench.docker.tagImage(image.id, as: "holdfast.local/app:two")
        try await bench.docker.tagImage(image.id, as: "holdfast.local/app:two")
        #expect(try await bench.docker.images().first { $0.id == image.id }?.tags == ["holdfast.local/app:two"])
        try await bench.docker.removeImage(tag: "holdfast.local/app:two")
        try await bench.docker.removeImage(tag: "holdfast.local/app:two")
        #expect(try await bench.docker.image(image.id) == nil)
        #expect(try await bench.docker.image(bench.image.id) != nil)
    }

    @Test func alteredLayersAreRefusedAndLeaveNothing() async throws {
        let bench = try await bench()
        let layer = try await TestImage.layer(["etc/release": "altered"])
        let before = try await bench.docker.images().count
        let image = try TestImage(
            layers: bench.image.layers + [layer], diffIDs: bench.image.diffIDs + [Digest.sha256([2])])
        await expectFailure(.digestMismatch) {
            try await bench.docker.loadImage(pieces(try await image.archive()))
        }
        let truncated = try await TestImage(layers: bench.image.layers + [layer]).archive()
        await #expect(throws: EngineFailure.self) {
            try await bench.docker.loadImage(pieces(Array(truncated.prefix(truncated.count / 2))))
        }
        #expect(try await bench.docker.images().count == before)
        #expect(try await bench.docker.image(image.id) == nil)
    }

    @Test func volumesKeepTheirContentUnderANewDefinition() async throws {
        let bench = try await bench()
        let labels = [Labels.managed: Labels.managedValue, Labels.app: "app"]
        try await bench.docker.createVolume(.init(name: "app_data", volume: .init(), labels: labels))
        try await bench.docker.createVolume(
            .init(name: "app_data", volume: .init(labels: ["new": "1"]), labels: labels))
        #expect(try await bench.docker.volumes().map(\.name) == ["app_data"])
        for script in ["echo kept > /data/f", "grep kept /data/f"] {
            let id = try await bench.docker.createContainer(
                spec(bench, "user", script) {
                    $0.mounts = [.init(kind: .volume, source: "app_data", target: "/data")]
                    $0.restart = .init(policy: .no)
                })
            try await bench.docker.startContainer(id)
            #expect(try await bench.docker.waitForExit(id, limit: .seconds(10)) == 0)
            try await bench.docker.removeContainer(id)
        }
        try await bench.docker.removeVolume("app_data")
        try await bench.docker.removeVolume("app_data")
    }
}
