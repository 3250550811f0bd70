import AgentCore
import AgentTestSupport
import Base
import Glibc
import Model
import Testing

/// Random desired and observed states against the model engine. `HOLDFAST_SEED` runs one seed again.
@Suite struct PlannerPropertyTests {
    static let seeds: [UInt64] = {
        if let text = getenv("HOLDFAST_SEED"), let seed = UInt64(String(cString: text)) { return [seed] }
        return Array(1...200)
    }()

    @Test func everySeedConvergesKeepsItsPromisesAndIsIdempotent() async throws {
        for seed in Self.seeds {
            var scenario = Scenario(seed: seed)
            let problems = try await scenario.run()
            #expect(problems.isEmpty, "HOLDFAST_SEED=\(seed): \(problems.joined(separator: "; "))")
        }
    }
}

private struct Scenario {
    var random: SeededGenerator
    let world = PlanWorld()
    private let bad: [(String, ModelEngine.Behavior)] = [
        ("unhealthy", .unhealthy), ("never-healthy", .neverHealthy), ("crashes", .exits(1)),
        ("no-create", .createFails),
        ("no-start", .startFails),
    ]

    init(seed: UInt64) { random = SeededGenerator(seed: seed) }

    mutating func run() async throws -> [String] {
        addForeigners()
        var hasPrevious = false
        if random.chance(85) {
            world.adopt(release(version: "1.0.0", ctr: 1, badPercent: 0))
            guard try await world.converge() else { return ["v1 did not converge"] }
            guard world.desired["shop"]?.phase == .committed else { return ["v1 was not committed"] }
            hasPrevious = true
            if random.chance(70) { perturb() }
        }
        let candidate = release(version: "2.0.0", ctr: 2, badPercent: 20)
        let pinned = Releases.pinned(candidate)
        let works = isExpectedToWork(candidate)
        world.adopt(candidate)
        addFaults()
        if random.chance(30) { perturb() }
        guard try await world.converge() || !works && !hasPrevious else { return ["v2 did not converge"] }
        var problems = world.violations
        let phase = world.desired["shop"]?.phase
        if works {
            if phase != .committed || world.desired["shop"]?.target != pinned {
                problems.append("a good release was not committed: \(String(describing: world.failed[pinned.digest]))")
            }
            problems += world.mismatches("shop")
        } else if hasPrevious {
            if world.failed[pinned.digest] == nil { problems.append("a bad release did not fail") }
            if world.desired["shop"]?.target.release.version.major != 1 { problems.append("no rollback") }
            problems += world.mismatches("shop")
        } else if phase != .degraded {
            problems.append("a bad first release is \(String(describing: phase))")
        }
        if phase == .committed {
            let again = Planner.plan(try await world.input())
            if !again.steps.isEmpty { problems.append("not idempotent: \(again.steps.map(\.step.description))") }
        }
        problems += foreignersTouched()
        return problems
    }

    // MARK: Making

    private mutating func release(version: String, ctr: Int64, badPercent: Int) -> Release {
        let names = ["a", "b", "c", "d"].filter { _ in random.chance(70) }
        var services: [String: String] = [:]
        for name in names.isEmpty ? ["a"] : names {
            let isBad = random.chance(badPercent)
            if isBad {
                let kind = random.pick(bad)
                services[name] = kind.0
                world.engine.behave(Releases.image(kind.0).config.digest, kind.1)
            } else if random.chance(15) {
                services[name] = "job"
                world.engine.behave(Releases.image("job").config.digest, .exits(0))
            } else {
                services[name] = "good-\(Int.random(in: 1...4, using: &random))"
            }
        }
        var release = Releases.release(version: version, ctr: ctr, services: services)
        var ports: [UInt16] = [8001, 8002, 8003, 8004].shuffled(using: &random)
        for name in services.keys.sorted() {
            guard var service = release.services[name] else { continue }
            service.strategy = random.pick(Service.UpdateStrategy.allCases)
            service.environment = ["V": random.chance(50) ? "same" : version]
            if random.chance(60) { service.healthcheck = .init(test: ["CMD", "true"]) }
            if services[name] == "job" {
                service.restart = .init(policy: .no)
                service.healthcheck = nil
            } else if services[name] == "crashes", random.chance(50) {
                service.restart = .init(policy: .no)
            }
            if random.chance(50), let port = ports.popLast() { service.ports = [.init(published: port, target: 80)] }
            for earlier in services.keys.sorted() where earlier < name && random.chance(40) {
                let condition: Service.Dependency.Condition =
                    services[earlier] == "job"
                    ? random.pick([.started, .completed]) : random.pick([.started, .healthy])
                service.dependsOn[earlier] = .init(condition: condition, restart: random.chance(20))
            }
            if random.chance(40) {
                release.networks["net"] = .init()
                service.networks["net"] = .init()
            }
            if random.chance(40) {
                release.volumes["data"] = .init()
                service.mounts = [.init(kind: .volume, source: "data", target: "/data")]
            }
            if random.chance(30) {
                let file = "file-\(Int.random(in: 1...3, using: &random))"
                release.files[file] = .init(
                    blob: .init(digest: Releases.digest(file), size: 10), secret: random.chance(50))
                service.files = [.init(file: file, target: "/etc/\(file)")]
            }
            release.services[name] = service
        }
        return release
    }

    private func isExpectedToWork(_ release: Release) -> Bool {
        release.services.values.allSatisfy { service in
            switch release.images[service.image]?.reference ?? "" {
            case "unhealthy", "never-healthy": service.healthcheck == nil
            case "crashes", "no-create", "no-start": false
            default: true
            }
        }
    }

    // MARK: Disturbing

    private mutating func perturb() {
        let names = world.engine.update {
            $0.entries.values.map(\.container).filter { $0.app == "shop" }.map(\.name).sorted()
        }
        for name in names where random.chance(40) {
            switch Int.random(in: 0..<6, using: &random) {
            case 0: world.engine.kill(name)
            case 1:
                world.engine.update { state in state.entries = state.entries.filter { $0.value.container.name != name }
                }
            case 2:
                world.engine.update { state in
                    for (id, entry) in state.entries
                    where entry.container.name == name && entry.container.state == .running {
                        state.entries[id]?.container.state = .paused
                    }
                }
            case 3:
                world.engine.update { state in
                    for (id, entry) in state.entries where entry.container.name == name {
                        state.entries[id]?.container.fingerprint += " changed"
                    }
                }
            case 4:
                world.engine.update { state in
                    for (id, entry) in state.entries where entry.container.name == name {
                        state.entries[id]?.container.name += "-renamed"
                    }
                }
            default: world.engine.restart()
            }
        }
        if random.chance(20) { world.engine.update { $0.images = $0.images.filter { $0.value.tags == ["foreign:1"] } } }
        if random.chance(20) { world.engine.update { $0.networks = $0.networks.filter { $0.value.app != "shop" } } }
        if random.chance(20) { world.files = [] }
    }

    private mutating func addFaults() {
        for operation in ["create", "start", "stop", "tag", "containers", "images", "remove"] where random.chance(20) {
            let count = Int.random(in: 1...2, using: &random)
            let failure = EngineFailure(
                random.pick([.unavailable, .timeout, .server, .conflict]), operation: operation, detail: "injected")
            world.engine.update { $0.faults[operation] = Array(repeating: failure, count: count) }
        }
    }

    private func addForeigners() {
        let image = Releases.digest("foreign image")
        world.engine.update { state in
            state.images[image] = EngineImage(id: image, tags: ["foreign:1"], size: 1)
            state.networks["foreign"] = EngineResource(name: "foreign", app: "", configHash: "")
            let container = ManagedContainer(
                id: "foreign", name: "a", app: "", service: "", configHash: "", release: "", imageID: image,
                state: .running)
            state.entries["foreign"] = ModelEngine.Entry(
                container: container, restart: .no, hasHealthcheck: false, startedAt: 0, isManaged: false)
            // Managed by an agent that this journal does not know of.
            var unknown = container
            unknown.id = "unknown"
            unknown.name = "unknown"
            unknown.app = "elsewhere"
            state.entries["unknown"] = ModelEngine.Entry(
                container: unknown, restart: .unlessStopped, hasHealthcheck: false, startedAt: 0, isManaged: true)
        }
    }

    private func foreignersTouched() -> [String] {
        world.engine.update { state in
            var problems: [String] = []
            if state.entries["foreign"] == nil || state.entries["unknown"]?.container.state != .running {
                problems.append("a foreign container was touched")
            }
            if state.images[Releases.digest("foreign image")]?.tags != ["foreign:1"] {
                problems.append("a foreign image was touched")
            }
            if state.networks["foreign"] == nil { problems.append("a foreign network was removed") }
            if state.log.contains(where: { $0.hasPrefix("remove-volume") }) { problems.append("a volume was removed") }
            if state.log.contains(where: { $0.contains("foreign") || $0.contains("unknown") }) {
                problems.append("a call named a foreign object")
            }
            return problems
        }
    }
}
