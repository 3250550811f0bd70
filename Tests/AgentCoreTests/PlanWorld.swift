import AgentCore
import AgentTestSupport
import Base
import Model

/// A device in memory that looks, plans and acts as the reconciler does, without a journal.
final class PlanWorld {
    let clock = ManualClock()
    let engine: ModelEngine
    let layout = StateLayout(root: "/state")
    var desired: [String: DesiredApp] = [:]
    var files: Set<ConfigFileKey> = []
    var fingerprints: [String: String] = [:]
    var memory = PlanMemory()
    var failures: [String: [String: StepFailure]] = [:]
    var holds: [String: Hold] = [:]
    var policy = PlanPolicy()
    var missingBlobs: [Digest: [Digest]] = [:]
    /// What candidates were given up for.
    var failed: [Digest: TrialFailure] = [:]
    /// Said by ``check(_:in:)`` when a step breaks a promise.
    var violations: [String] = []

    init() { engine = ModelEngine(clock: clock) }

    func look() async throws -> ObservedState {
        let containers = try await engine.containers()
        for container in containers where fingerprints[container.id] == nil {
            fingerprints[container.id] = container.fingerprint
        }
        return ObservedState(
            containers: containers,
            images: Dictionary(try await engine.images().map { ($0.id, $0) }, uniquingKeysWith: { $1 }),
            networks: try await engine.networks(), volumes: try await engine.volumes(), soundFiles: files,
            missingBlobs: missingBlobs, fingerprints: fingerprints)
    }

    func input() async throws -> PlanInput {
        PlanInput(
            desired: Array(desired.values), observed: try await look(), policy: policy, memory: memory,
            failures: failures, holds: holds, layout: layout, now: clock.monotonic)
    }

    /// Until nothing is left to do and nothing is awaited; false when that does not come in time.
    func converge(limit: Int = 400) async throws -> Bool {
        for _ in 0..<limit {
            let input: PlanInput
            do {
                input = try await self.input()
            } catch is EngineFailure {
                clock.advance(1_000_000_000)
                continue
            }
            let plan = Planner.plan(input)
            if Planner.plan(input) != plan { violations.append("two plans of one input differ") }
            memory = plan.memory
            if plan.steps.isEmpty {
                guard let wait = plan.wakeAfter, wait < 3_600_000_000_000 else { return true }
                clock.advance(min(wait, 1_000_000_000))
                continue
            }
            var stopped: Set<String> = []
            for item in plan.steps where !stopped.contains(item.app) {
                check(item, in: input)
                do throws(EngineFailure) {
                    try await perform(item)
                    failures[item.app]?[item.step.key] = nil
                } catch {
                    let attempts = (failures[item.app]?[item.step.key]?.attempts ?? 0) + 1
                    failures[item.app, default: [:]][item.step.key] = StepFailure(
                        attempts: attempts, failure: error,
                        notBefore: clock.monotonic + UInt64(min(attempts, 10)) * 1_000_000_000)
                    stopped.insert(item.app)
                }
            }
        }
        return false
    }

    /// Never stop what runs before its successor is loaded, except where the strategy says so.
    private func check(_ item: Plan.Item, in input: PlanInput) {
        let id: String
        switch item.step {
        case .stopContainer(let container, _, _), .removeContainer(let container, _): id = container
        default: return
        }
        guard let app = desired[item.app],
            let old = engine.update({ $0.entries.values.first { $0.container.name == id }?.container })
        else { return }
        guard old.state == .running else { return }
        let images = engine.update { $0.images }
        let target = app.target.release
        let early: Set<Service.UpdateStrategy> = [.killThenDownload, .deleteThenDownload]
        for (name, service) in target.services {
            guard let image = target.images[service.image], images[image.config.digest] == nil else { continue }
            // Its own image may come later only if this very service, or one that shares its image, asked for it.
            let asked = target.services[old.service].map { early.contains($0.strategy) } ?? false
            if !asked || !early.contains(service.strategy) {
                violations.append("\(item.step) while the image of \(name) is not loaded")
            }
        }
    }

    private func perform(_ item: Plan.Item) async throws(EngineFailure) {
        switch item.step {
        case .writeFile(let file): files.insert(file)
        case .createNetwork(let spec): try await engine.createNetwork(spec)
        case .createVolume(let spec): try await engine.createVolume(spec)
        case .loadImage(let image, let tag):
            if engine.update({ $0.isDown }) {
                throw EngineFailure(.unavailable, operation: "load", detail: "down")
            }
            engine.update { state in
                state.images[image.config.digest] = EngineImage(
                    id: image.config.digest, tags: [tag], size: 1, diffIDs: image.layers.map(\.diffID))
            }
        case .tagImage(let id, let tag): try await engine.tagImage(id, as: tag)
        case .createContainer(let spec): _ = try await engine.createContainer(spec)
        case .startContainer(let id, _): try await engine.startContainer(id)
        case .unpauseContainer(let id, _): try await engine.unpauseContainer(id)
        case .stopContainer(let id, _, let grace): try await engine.stopContainer(id, grace: grace)
        case .renameContainer(let id, let name): try await engine.renameContainer(id, to: name)
        case .removeContainer(let id, _): try await engine.removeContainer(id)
        case .removeNetwork(let name): try await engine.removeNetwork(name)
        case .removeImage(let tag): try await engine.removeImage(tag: tag)
        case .switchAgent, .confirmAgent: return
        case .commit: desired[item.app]?.phase = .committed
        case .fail(let failure): giveUp(item.app, failure)
        }
    }

    private func giveUp(_ app: String, _ failure: TrialFailure) {
        guard let old = desired[app] else { return }
        failed[old.target.digest] = failure
        failures[app] = nil
        if let previous = old.previous, old.target.release.update.rollback {
            desired[app] = DesiredApp(app: app, target: previous, phase: .committed)
        } else {
            desired[app]?.phase = .degraded
            desired[app]?.detail = failure.description
        }
    }

    func adopt(_ release: Release) {
        let pinned = Releases.pinned(release)
        let old = desired[release.app]
        desired[release.app] = DesiredApp(
            app: release.app, target: pinned, phase: .candidate,
            previous: old?.phase == .committed ? old?.target : old?.previous)
    }

    func names() -> [String] { engine.running().map(\.service).sorted() }

    /// Every problem with what runs, given that the target should run.
    func mismatches(_ app: String) -> [String] {
        guard let target = desired[app]?.target, let specs = try? ReleaseSpecs(target, layout: layout) else {
            return ["no target"]
        }
        var problems: [String] = []
        let entries = engine.update { $0.entries.values.filter { $0.isManaged && $0.container.app == app } }
        for (service, spec) in specs.containers {
            let own = entries.filter {
                $0.container.service == service && $0.container.configHash == spec.hash.description
            }
            if own.count != 1 { problems.append("\(own.count) containers of \(service)") }
            for entry in own where entry.container.state != .running {
                let done =
                    entry.container.state == .exited && entry.container.exitCode == 0 && entry.restart != .unlessStopped
                if !done { problems.append("\(service) is \(entry.container.state) \(entry.container.exitCode)") }
            }
        }
        let extra = entries.filter { entry in
            !specs.containers.values.contains { $0.hash.description == entry.container.configHash }
        }
        if !extra.isEmpty { problems.append("left over: \(extra.map(\.container.name))") }
        return problems
    }
}
