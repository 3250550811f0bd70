import Base
import DockerEngine
import EngineTestSupport
import Model
import Synchronization
import TestSupport
import Testing

/// Every call once against a real engine.
@Suite(
    .serialized, .privateEngine, .enabled(if: PrivateEngine.isAvailable, PrivateEngine.skipMessage),
    .timeLimit(.minutes(2)))
struct RealEngineTests {
    private func ready() async throws -> PrivateEngine {
        let engine = try PrivateEngine.current
        if try await engine.client.findImage("test/box:1") == nil {
            try await engine.makeBusyboxImage("test/box", "1", changes: ["LABEL made=here"])
        }
        return engine
    }

    private func script(_ text: String) -> ContainerSpec {
        var spec = ContainerSpec(image: "test/box:1")
        spec.command = ["/bin/sh", "-c", text]
        spec.stopSignal = "SIGKILL"
        return spec
    }

    /// A signal that comes before the shell has set its trap is lost on a container's first process.
    private func awaitOutput(_ client: EngineClient, _ container: String, _ words: String) async throws {
        let seen = Mutex("")
        let deadline = ContinuousClock.now + .seconds(10)
        while seen.withLock({ !$0.contains(words) }), ContinuousClock.now < deadline {
            try await client.containerLogs(container) { chunk in
                seen.withLock { $0 += String(decoding: chunk.bytes, as: UTF8.self) }
            }
        }
        try #require(seen.withLock { $0.contains(words) })
    }

    @Test func agreesOnAVersionAndDescribesItself() async throws {
        let engine = try PrivateEngine.current
        try await engine.client.ping()
        let version = try await engine.client.version()
        #expect(version.newestAPI >= .oldestSupported)
        #expect(version.operatingSystem == "linux")
        #expect(try await engine.client.apiVersion() <= .newestSupported)
        let info = try await engine.client.info()
        #expect(info.dataRoot.hasPrefix(engine.directory))
        #expect(info.cpus > 0 && info.memoryTotal > 0)
        #expect(info.loadAcceptsMissingLayers == (info.storageDriver == "overlay2"))
    }

    @Test func aContainerLivesFromCreateToRemove() async throws {
        let client = try await ready().client
        var spec = script("trap 'exit 7' TERM; echo ready; while true; do sleep 0.05; done")
        spec.labels = ["io.test.role": "life"]
        spec.stopSignal = "SIGTERM"
        let id = try await client.createContainer(name: "life", spec)
        #expect(try await client.inspectContainer("life").state == .created)
        try await client.startContainer(id)
        try await client.startContainer(id)
        try await awaitOutput(client, id, "ready")
        let running = try await client.inspectContainer(id)
        #expect(running.state == .running && running.pid > 0 && running.health == .none)
        #expect(running.labels["io.test.role"] == "life")
        let listed = try await client.listContainers(labels: ["io.test.role=life"])
        #expect(listed.map(\.name) == ["life"] && listed.map(\.state) == [.running])
        #expect(try await client.listContainers(labels: ["io.test.role=other"]).isEmpty)
        try await client.renameContainer(id, to: "living")
        let stats = try await client.containerStats("living")
        #expect(stats.processes >= 1 && stats.memory > 0)
        try await client.pauseContainer(id)
        #expect(try await client.inspectContainer(id).state == .paused)
        try await client.unpauseContainer(id)
        try await client.stopContainer(id, grace: .seconds(5))
        try await client.stopContainer(id, grace: .seconds(5))
        let stopped = try await client.inspectContainer(id)
        #expect(stopped.state == .exited && stopped.exitCode == 7)
        #expect(try await client.waitContainer(id, limit: .seconds(5)) == 7)
        try await client.removeContainer(id, volumes: true)
        await expectEngineError(.notFound) { _ = try await client.inspectContainer(id) }
    }

    @Test func stopUsesTheSignalItIsGiven() async throws {
        let client = try await ready().client
        let id = try await client.createContainer(
            name: "signal", script("trap 'exit 3' USR1; echo ready; while true; do sleep 0.05; done"))
        try await client.startContainer(id)
        try await awaitOutput(client, id, "ready")
        try await client.stopContainer(id, grace: .seconds(5), signal: "SIGUSR1")
        #expect(try await client.inspectContainer(id).exitCode == 3)
        try await client.removeContainer(id)
    }

    @Test func outputComesApartByStream() async throws {
        let client = try await ready().client
        let id = try await client.createContainer(
            name: "talk",
            script("for i in 1 2 3; do echo out$i; echo err$i >&2; done; dd if=/dev/zero bs=1024 count=300"))
        try await client.startContainer(id)
        _ = try await client.waitContainer(id, limit: .seconds(10))
        let output = Mutex<[LogChunk.Stream: [UInt8]]>([:])
        try await client.containerLogs(id) { chunk in
            output.withLock { $0[chunk.stream, default: []] += chunk.bytes }
        }
        let collected = output.withLock { $0 }
        let out = try #require(collected[.stdout])
        #expect(out.starts(with: Array("out1\nout2\nout3\n".utf8)))
        #expect(out.count == 15 + 300 * 1024)
        #expect(String(decoding: collected[.stderr] ?? [], as: UTF8.self).hasPrefix("err1\nerr2\nerr3\n"))
        try await client.removeContainer(id)
    }

    @Test func followedOutputEndsWithTheContainerOrTheTask() async throws {
        let client = try await ready().client
        let id = try await client.createContainer(name: "follow", script("echo first; sleep 0.5; echo last"))
        try await client.startContainer(id)
        let seen = Mutex("")
        try await client.containerLogs(id, LogOptions(follow: true)) { chunk in
            seen.withLock { $0 += String(decoding: chunk.bytes, as: UTF8.self) }
        }
        #expect(seen.withLock { $0 } == "first\nlast\n")
        let endless = try await client.createContainer(
            name: "endless", script("while true; do echo x; sleep 0.1; done"))
        try await client.startContainer(endless)
        let task = Task { try await client.containerLogs(endless, LogOptions(follow: true)) { _ in } }
        try await Task.sleep(for: .milliseconds(300))
        task.cancel()
        await #expect(throws: (any Error).self) { try await task.value }
        try await client.removeContainer(id)
        try await client.removeContainer(endless, force: true)
    }

    @Test func refusalsCarryTheEnginesWords() async throws {
        let client = try await ready().client
        await expectEngineError(.notFound, "No such image") {
            _ = try await client.createContainer(name: "none", ContainerSpec(image: "test/absent:1"))
        }
        let id = try await client.createContainer(name: "taken", script("true"))
        await expectEngineError(.conflict, "already in use") {
            _ = try await client.createContainer(name: "taken", self.script("true"))
        }
        await expectEngineError(.conflict, "is not running") { try await client.killContainer(id) }
        try await client.removeContainer(id)
        var broken = ContainerSpec(image: "test/box:1")
        broken.command = ["/no/such/program"]
        let second = try await client.createContainer(name: "broken", broken)
        await expectEngineError(.badRequest, "no such file or directory") { try await client.startContainer(second) }
        try await client.removeContainer(second)
        await expectEngineError(.argument) { _ = try await client.inspectContainer("../images") }
        await expectEngineError(.badRequest) {
            _ = try await client.createContainer(name: "bad name", self.script("true"))
        }
    }

    @Test func healthIsReportedWithItsOutput() async throws {
        let client = try await ready().client
        var spec = script("sleep 60")
        spec.healthcheck = Service.Healthcheck(
            test: ["CMD-SHELL", "echo sick; exit 1"], interval: 200_000_000, timeout: 1_000_000_000, retries: 1)
        let id = try await client.createContainer(name: "sick", spec)
        try await client.startContainer(id)
        var details = try await client.inspectContainer(id)
        let deadline = ContinuousClock.now + .seconds(10)
        while details.health != .unhealthy, ContinuousClock.now < deadline {
            try await Task.sleep(for: .milliseconds(50))
            details = try await client.inspectContainer(id)
        }
        #expect(details.health == .unhealthy && details.healthOutput == "sick")
        try await client.removeContainer(id, force: true)
    }

    @Test func imagesAreTaggedSavedRemovedAndLoaded() async throws {
        let client = try await ready().client
        try await client.tagImage("test/box:1", repository: "test/copy", tag: "a")
        let details = try await client.inspectImage("test/copy:a")
        #expect(details.layers.count == 1 && details.labels["made"] == "here" && details.operatingSystem == "linux")
        if details.storageDriver == "overlay2" {
            #expect(details.layerDirectories.count == 1)
            #expect(try FileSystem().status(details.layerDirectories[0] + "/bin/busybox") != nil)
        }
        #expect(
            try await client.listImages(references: ["test/copy"]).map(\.tags).first?.contains("test/copy:a") == true)
        #expect(try await client.listImages(labels: ["made=here"]).count == 1)
        let saved = Mutex<[[UInt8]]>([])
        try await client.saveImage("test/copy:a") { piece in saved.withLock { $0.append(piece) } }
        try await client.removeImage("test/copy:a")
        #expect(try await client.findImage("test/copy:a") == nil)
        let pieces = saved.withLock { $0 }
        let position = Mutex(0)
        let loaded = try await client.loadImage(
            BodyProducer(length: nil) {
                position.withLock { index in
                    defer { index += 1 }
                    return index < pieces.count ? pieces[index] : nil
                }
            })
        #expect(loaded == ["test/copy:a"])
        #expect(try await client.inspectImage("test/copy:a").id == details.id)
        try await client.removeImage("test/copy:a")
    }

    @Test func aBrokenArchiveIsRefusedAndLeavesNothing() async throws {
        let client = try await ready().client
        await expectEngineError(.failed) { _ = try await client.loadImage(BodyProducer(Array("not a tar".utf8))) }
        struct Gone: Error {}
        await expectEngineError(.producer, "Gone") {
            _ = try await client.loadImage(BodyProducer(length: 1 << 20) { throw Gone() })
        }
        #expect(try await client.listImages().count == 1)
    }

    @Test func networksJoinContainersByAlias() async throws {
        let engine = try await ready()
        let client = engine.client
        let network = Release.Network(subnets: [.init(subnet: "10.99.7.0/24", gateway: "10.99.7.1")])
        let id = try await client.createNetwork(name: "net", network, labels: ["io.test.role": "net"])
        #expect(try await client.listNetworks(labels: ["io.test.role=net"]).map(\.id) == [id])
        var web = script("mkdir -p /www; echo hello > /www/index.html; exec httpd -f -p 80 -h /www")
        web.endpoint = .init(network: "net", aliases: ["site"], ipv4Address: "10.99.7.20")
        web.ports = [.init(published: 8081, target: 80)]
        let server = try await client.createContainer(name: "server", web)
        try await client.startContainer(server)
        let details = try await client.inspectContainer(server)
        #expect(details.networks["net"]?.ipAddress == "10.99.7.20")
        #expect(details.networks["net"]?.aliases.contains("site") == true)
        #expect(details.ports["80/tcp"]?.contains { $0.hostPort == "8081" } == true)
        var asking = script("wget -qO- http://site/")
        asking.endpoint = .init(network: "net")
        let caller = try await client.createContainer(name: "caller", asking)
        try await client.startContainer(caller)
        #expect(try await client.waitContainer(caller, limit: .seconds(10)) == 0)
        #expect(try await Command.succeed(["curl", "-sf", "http://\(engine.address):8081/"]) == "hello\n")
        try await client.disconnect(server, from: "net")
        try await client.connect(server, to: .init(network: "net", aliases: ["again"]))
        #expect(try await client.inspectContainer(server).networks["net"]?.aliases.contains("again") == true)
        try await client.removeContainer(server, force: true)
        try await client.removeContainer(caller)
        try await client.removeNetwork("net")
        await expectEngineError(.notFound) { try await client.removeNetwork("net") }
    }

    @Test func volumesOutliveContainers() async throws {
        let client = try await ready().client
        let volume = try await client.createVolume(name: "keep", .init(), labels: ["io.test.role": "volume"])
        #expect(volume.name == "keep" && !volume.mountPoint.isEmpty)
        for text in ["echo kept > /data/file", "grep kept /data/file"] {
            var spec = script(text)
            spec.mounts = [.init(kind: .volume, source: "keep", target: "/data")]
            let id = try await client.createContainer(name: "writer", spec)
            try await client.startContainer(id)
            #expect(try await client.waitContainer(id, limit: .seconds(10)) == 0)
            #expect(try await client.inspectContainer(id).mounts.first?.name == "keep")
            await expectEngineError(.conflict) { try await client.removeVolume("keep") }
            try await client.removeContainer(id)
        }
        #expect(try await client.listVolumes(labels: ["io.test.role=volume"]).map(\.name) == ["keep"])
        try await client.removeVolume("keep")
        await expectEngineError(.notFound) { _ = try await client.inspectVolume("keep") }
    }

    @Test func eventsAreSeenAsTheyHappen() async throws {
        let client = try await ready().client
        let actions = Mutex<[String]>([])
        let watcher = Task {
            try await client.events(filters: ["type": ["container"], "container": ["noisy"]]) { event in
                actions.withLock { $0.append(event.action) }
            }
        }
        try await Task.sleep(for: .milliseconds(300))
        let id = try await client.createContainer(name: "noisy", script("true"))
        try await client.startContainer(id)
        _ = try await client.waitContainer(id, limit: .seconds(10))
        try await client.removeContainer(id)
        let deadline = ContinuousClock.now + .seconds(5)
        while actions.withLock({ !$0.contains("destroy") }), ContinuousClock.now < deadline {
            try await Task.sleep(for: .milliseconds(20))
        }
        watcher.cancel()
        #expect(actions.withLock { $0 } == ["create", "start", "die", "destroy"])
    }

    @Test func everyFieldOfASpecReachesTheContainer() async throws {
        let client = try await ready().client
        var spec = script(
            """
            test "$A" = 1 && test "$(hostname)" = box && test "$(id -u)" = 7 && test "$(pwd)" = /tmp \
            && ! touch /etc/x 2>/dev/null && test "$(cat /proc/sys/net/ipv4/ip_unprivileged_port_start)" = 99 \
            && grep -q 'far 10.9.8.7\\|10.9.8.7.*far' /etc/hosts && test -c /dev/given && test "$(ulimit -n)" = 77 \
            && stat -f /scratch >/dev/null && test "$(cat /conf)" = "A Base"
            """)
        spec.environment = ["A=1"]
        spec.hostname = "box"
        spec.user = "7"
        spec.workingDirectory = "/tmp"
        spec.readOnly = true
        spec.sysctls = ["net.ipv4.ip_unprivileged_port_start": "99"]
        spec.extraHosts = ["far:10.9.8.7"]
        spec.devices = [.init(host: "/dev/null", container: "/dev/given")]
        spec.ulimits = ["nofile": .init(soft: 77, hard: 80)]
        spec.initProcess = false
        spec.mounts = [.init(kind: .tmpfs, source: nil, target: "/scratch", tmpfsSize: 1 << 20, tmpfsMode: 0o700)]
        spec.capDrop = ["NET_RAW"]
        spec.securityOpt = ["no-new-privileges"]
        spec.shmSize = 1 << 20
        spec.logging = .init(driver: "json-file", options: ["max-size": "1m"])
        spec.restart = .init(policy: .onFailure, maximumRetries: 1)
        spec.resources = .init(memory: 64 << 20, pids: 50)
        let folder = try TemporaryDirectory()
        try FileSystem().replace(folder.file("conf"), with: Array("A Base".utf8), op: "test")
        spec.binds = ["\(folder.file("conf")):/conf:ro"]
        let id = try await client.createContainer(name: "full", spec)
        try await client.startContainer(id)
        let code = try await client.waitContainer(id, limit: .seconds(10))
        if code != 0 {
            try await client.containerLogs(id) { print(String(decoding: $0.bytes, as: UTF8.self)) }
        }
        #expect(code == 0)
        let document = try await client.inspectContainerDocument(id)
        let host = try #require(document["HostConfig"])
        #expect(host["Memory"] == .integer(64 << 20) && host["PidsLimit"] == 50 && host["ShmSize"] == .integer(1 << 20))
        #expect(host["CapDrop"] == ["NET_RAW"] && host["SecurityOpt"] == ["no-new-privileges"])
        #expect(host["LogConfig"]?["Config"]?["max-size"] == "1m")
        #expect(host["RestartPolicy"] == ["Name": "on-failure", "MaximumRetryCount": 1])
        try await client.removeContainer(id, force: true)
    }

    @Test(.enabled(if: PrivateEngine.isOwn, "SKIPPED: somebody else's engine is not to be killed"))
    func anEngineThatGoesAwayIsToldApartFromOneThatHangs() async throws {
        let engine = try PrivateEngine.current
        try await engine.pause()
        let hurried = EngineClient(
            socketPath: engine.socketPath, timeouts: .init(query: .milliseconds(300)), group: testGroup)
        await expectEngineError(.timeout) { try await hurried.ping() }
        try await engine.resume()
        try await hurried.ping()
        try await engine.kill()
        await expectEngineError(.unreachable) { try await hurried.ping() }
        try await engine.up()
        try await hurried.ping()
        await hurried.shutdown()
    }
}
