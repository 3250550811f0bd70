import Base
import Model

/// (desired, observed, policy, clock) to steps. Pure: no I/O, no clock of its own, same input, same plan.
///
/// A plan holds only steps that are safe as things were observed; after they are done the caller looks
/// again and plans again, until a plan has no steps. Whatever a step was meant to bring about is
/// therefore seen before anything relies on it: nothing stops before its successor was observed loaded.
public enum Planner {
    public static func plan(_ input: PlanInput) -> Plan {
        var plan = Plan()
        let byApp = Dictionary(grouping: input.observed.containers, by: \.app)
        for app in input.desired.sorted(by: { $0.app < $1.app }) {
            var planner = AppPlanner(app: app, containers: byApp[app.app] ?? [], input: input)
            planner.run()
            planner.pour(into: &plan)
        }
        // A lost journal must not cost a running workload: what it does not know, it leaves.
        let known = Set(input.desired.map(\.app))
        for (app, containers) in byApp.sorted(by: { $0.key < $1.key }) where !known.contains(app) {
            plan.blocked.append(Blocked(app: app, reason: .unknownApp(containers: containers.count)))
        }
        return plan
    }
}

/// The plan of one app.
struct AppPlanner {
    let app: DesiredApp
    let input: PlanInput
    let containers: [ManagedContainer]
    var steps: [Step] = []
    var blocked: [Blocked] = []
    var trial: PlanMemory.Trial?
    var wakeAfter: UInt64?
    var isSettled = false
    /// Set when a step that later ones build on cannot be done now.
    var isStalled = false
    /// Off for a release that only stands in for one that is held back.
    var cleansUp = true

    init(app: DesiredApp, containers: [ManagedContainer], input: PlanInput) {
        self.app = app
        self.containers = containers.sorted { $0.name < $1.name }
        self.input = input
        if app.phase != .committed {
            let known = input.memory.trials[app.app]
            trial =
                known?.release == app.target.digest
                ? known : PlanMemory.Trial(release: app.target.digest, startedAt: [:], upSince: nil)
        }
    }

    func pour(into plan: inout Plan) {
        plan.steps += steps.map { Plan.Item(app: app.app, step: $0) }
        plan.blocked += blocked
        plan.memory.trials[app.app] = trial
        if isSettled { plan.settled.insert(app.app) }
        if let wakeAfter { plan.wake(after: wakeAfter) }
    }

    mutating func run() {
        if let program = app.target.release.agent { return planAgent(program) }
        let specs: ReleaseSpecs
        do throws(AgentError) {
            specs = try ReleaseSpecs(app.target, layout: input.layout)
        } catch {
            block(.invalidRelease(error.message))
            return giveUp(.stepFailed(step: "read release", code: error.code, message: error.message))
        }
        if app.phase == .candidate, app.trialStarts > input.policy.trialStarts {
            return giveUp(.restartedTooOften(times: app.trialStarts))
        }
        if app.phase == .degraded { block(.degraded(detail: app.detail)) }
        let hold = app.phase == .candidate && !hasBegun(specs) ? input.holds[app.app] : nil
        prepare(specs, isHeld: hold != nil)
        // Everything prepared is observed before anything is made from it.
        guard steps.isEmpty else { return }
        if let hold {
            wait(for: hold)
            return keepPrevious()
        }
        guard !isStalled else { return }
        create(specs)
        guard steps.isEmpty, !isStalled else { return }
        switchOver(specs)
        guard steps.isEmpty, !isStalled else { return }
        conclude(specs)
    }

    // MARK: Holding back

    /// Says what holds the candidate back, and has the plan made again when that ends by itself.
    mutating func wait(for hold: Hold) {
        let seconds = hold.secondsLeft.map { UInt64(min(max(0, $0), 86_400)) }
        block(.held(hold), retryAfter: seconds.map { $0 * 1_000_000_000 })
    }

    /// A container that only the candidate has was started: stopping half way would be worse than going on.
    private func hasBegun(_ specs: ReleaseSpecs) -> Bool {
        let before = app.previous.flatMap { try? ReleaseSpecs($0, layout: input.layout) }
        let kept = Set((before?.containers.values).map { $0.map(\.name) } ?? [])
        return specs.containers.values.contains { spec in
            !kept.contains(spec.name) && container(of: spec).map { $0.startedAt > 0 || isAlive($0) } == true
        }
    }

    /// While a candidate is held back, the release before it is kept as a committed one is, but for the clean-up,
    /// which would take away what was prepared.
    private mutating func keepPrevious() {
        guard let previous = app.previous else { return }
        var standIn = AppPlanner(
            app: DesiredApp(app: app.app, target: previous, phase: .committed), containers: containers, input: input)
        standIn.cleansUp = false
        standIn.run()
        steps += standIn.steps
        blocked += standIn.blocked
        if let wake = standIn.wakeAfter { wakeAfter = min(wakeAfter ?? .max, wake) }
    }

    // MARK: Emitting

    mutating func block(_ reason: Blocked.Reason, retryAfter delay: UInt64? = nil) {
        let seconds = delay.map { Int($0 / 1_000_000_000) + 1 }
        blocked.append(Blocked(app: app.app, reason: reason, retryInSeconds: seconds))
        if let delay { wakeAfter = min(wakeAfter ?? .max, delay) }
    }

    /// The candidate has failed: nothing else is done in this plan.
    mutating func giveUp(_ failure: TrialFailure) {
        guard app.phase == .candidate else { return }
        steps = [.fail(failure)]
        isStalled = true
    }

    /// Adds a step unless it failed and waits for its next try, or has used up a candidate's patience.
    mutating func emit(_ step: Step) {
        guard !isStalled else { return }
        guard let failure = input.failures[app.app]?[step.key] else { return steps.append(step) }
        let spent = failure.failure.disposition == .final || failure.attempts >= input.policy.stepAttempts
        if app.phase == .candidate, !step.isCleanup, spent, !failure.failure.isEngineTrouble {
            return giveUp(
                .stepFailed(step: step.description, code: failure.failure.code, message: failure.failure.detail))
        }
        guard input.now < failure.notBefore else { return steps.append(step) }
        block(
            .retrying(
                step: step.description, attempts: failure.attempts, code: failure.failure.code,
                message: failure.failure.detail, hint: failure.failure.hint),
            retryAfter: failure.notBefore - input.now)
        // A clean-up that cannot be done now holds nothing up.
        if !step.isCleanup { isStalled = true }
    }

    // MARK: Prepare: files, networks, volumes, images

    private mutating func prepare(_ specs: ReleaseSpecs, isHeld: Bool) {
        for file in specs.files.sorted(by: { $0.name < $1.name }) where !input.observed.soundFiles.contains(file) {
            emit(.writeFile(file))
        }
        let networks = Set(input.observed.networks.map(\.name))
        for network in specs.networks where !networks.contains(network.name) { emit(.createNetwork(network)) }
        let volumes = Set(input.observed.volumes.map(\.name))
        for volume in specs.volumes where !volumes.contains(volume.name) { emit(.createVolume(volume)) }
        prepareImages(specs, isHeld: isHeld)
    }

    private mutating func prepareImages(_ specs: ReleaseSpecs, isHeld: Bool) {
        let release = app.target.release
        var missing: [(manifest: String, image: Release.Image)] = []
        for (manifest, image) in release.images.sorted(by: { $0.key < $1.key })
        where release.services.values.contains(where: { $0.image == manifest }) {
            let tag = EngineName.imageTag(app: app.app, manifest: image.manifest.digest)
            if let present = input.observed.images[image.config.digest] {
                // The tag keeps the engine's own clean-up away from it.
                if !present.tags.contains(tag) { emit(.tagImage(image.config.digest, tag: tag)) }
            } else {
                missing.append((manifest, image))
            }
        }
        guard !missing.isEmpty, !isStalled else { return }
        if let blobs = input.observed.missingBlobs[app.target.digest], !blobs.isEmpty {
            block(.missingContent(release: app.target.description, blobs: blobs))
            isStalled = true
            return
        }
        // What frees memory or disk first is loaded last, when all else is safe in the engine.
        let early = missing.filter { !stopsFirst($0.manifest) }
        if early.isEmpty {
            // Making room stops what runs.
            if isHeld { return }
            for entry in missing where makeRoom(for: entry.manifest, specs) { return }
        }
        for entry in early.isEmpty ? missing : early {
            let needed = entry.image.layers.reduce(0) { $0 + $1.uncompressedSize }
            if let free = input.observed.engineFreeSpace, free < needed + input.policy.engineReserve {
                block(
                    .insufficientSpace(needed: needed, free: free, reserve: input.policy.engineReserve),
                    retryAfter: 60_000_000_000)
                isStalled = true
                return
            }
            emit(
                .loadImage(
                    entry.image, tag: EngineName.imageTag(app: app.app, manifest: entry.image.manifest.digest)))
        }
    }

    /// True when every service of this image asked to be stopped before it is loaded.
    private func stopsFirst(_ manifest: String) -> Bool {
        let users = app.target.release.services.values.filter { $0.image == manifest }
        return !users.isEmpty
            && users.allSatisfy { $0.strategy == .killThenDownload || $0.strategy == .deleteThenDownload }
    }

    /// Emits the stops (and removals) that a service's strategy wants before the load; false when there is nothing to do.
    private mutating func makeRoom(for manifest: String, _ specs: ReleaseSpecs) -> Bool {
        let before = steps.count
        for (name, service) in app.target.release.services.sorted(by: { $0.key < $1.key })
        where service.image == manifest {
            for old in others(than: specs.containers[name], of: name) {
                if isAlive(old) {
                    emit(.stopContainer(old.name, service: name, grace: grace(of: old)))
                }
                guard service.strategy == .deleteThenDownload else { continue }
                emit(.removeContainer(old.name, service: name))
            }
            guard service.strategy == .deleteThenDownload else { continue }
            for tag in oldTags(of: name, keeping: specs) { emit(.removeImage(tag: tag)) }
        }
        return steps.count > before || isStalled
    }

    /// Own tags of the image that the release before gave this service, unless another service runs on it.
    private func oldTags(of service: String, keeping specs: ReleaseSpecs) -> [String] {
        guard let previous = app.previous?.release, let manifest = previous.services[service]?.image,
            let image = previous.images[manifest], let present = input.observed.images[image.config.digest]
        else { return [] }
        let digest = image.config.digest
        let isUsed =
            specs.containers.values.contains { $0.imageID == digest }
            || containers.contains { $0.imageID == digest && $0.service != service }
        let own = "\(Labels.imageRepository)/\(app.app):"
        return isUsed ? [] : present.tags.filter { $0.hasPrefix(own) }.sorted()
    }

    // MARK: Create

    private mutating func create(_ specs: ReleaseSpecs) {
        for name in specs.order {
            guard let spec = specs.containers[name] else { continue }
            guard let own = container(of: spec) else {
                emit(.createContainer(spec))
                continue
            }
            if own.state == .dead || own.state == .removing {
                emit(.removeContainer(own.name, service: name))
            } else if let made = input.observed.fingerprints[own.id], made != own.fingerprint {
                // Changed by hand. The name is freed first, so that its successor is made before it stops.
                emit(.renameContainer(own.name, to: "\(own.name)-changed-\(own.id.prefix(8))"))
            }
        }
    }

    /// The container that is exactly this spec.
    private func container(of spec: ContainerSpec) -> ManagedContainer? {
        containers.first { $0.name == spec.name && $0.configHash == spec.hash.description }
    }

    private func others(than spec: ContainerSpec?, of service: String) -> [ManagedContainer] {
        let own = spec.flatMap { container(of: $0)?.id }
        return containers.filter { $0.service == service && $0.id != own }
    }

    private func isAlive(_ container: ManagedContainer) -> Bool {
        switch container.state {
        case .running, .paused, .restarting: true
        case .created, .exited, .dead, .removing: false
        }
    }

    private func grace(of container: ManagedContainer) -> Duration {
        let service =
            app.previous?.release.services[container.service] ?? app.target.release.services[container.service]
        return .nanoseconds(service?.stopGracePeriod ?? 10_000_000_000)
    }

    // MARK: Switch over

    private mutating func switchOver(_ specs: ReleaseSpecs) {
        let release = app.target.release
        var started: Set<String> = []
        for old in containers where release.services[old.service] == nil && isAlive(old) {
            emit(.stopContainer(old.name, service: old.service, grace: grace(of: old)))
        }
        for name in specs.order {
            guard let service = release.services[name], let spec = specs.containers[name], let own = container(of: spec)
            else { continue }
            let condition = Condition(own, service: service, target: app.target, policy: input.policy)
            let living = others(than: spec, of: name).filter(isAlive)
            if case .stopped = condition {
                guard dependenciesAllow(name, service, specs, started: started) else { continue }
                if service.strategy != .handOver {
                    for old in living { emit(.stopContainer(old.name, service: name, grace: grace(of: old))) }
                }
                freePorts(of: own, specs)
                emit(.startContainer(own.name, service: name))
                started.insert(name)
            } else if case .paused = condition {
                emit(.unpauseContainer(own.name, service: name))
            } else if service.strategy != .handOver || condition.isUp || condition == .completed {
                for old in living { emit(.stopContainer(old.name, service: name, grace: grace(of: old))) }
            }
        }
    }

    /// Stops containers of this app that are not part of the target and hold a host port that `own` publishes.
    private mutating func freePorts(of own: ManagedContainer, _ specs: ReleaseSpecs) {
        let wanted = Set(own.publishedPorts.map(Self.portKey))
        let current = Set(specs.containers.values.compactMap { container(of: $0)?.id })
        for old in containers where isAlive(old) && !current.contains(old.id) {
            guard !wanted.isDisjoint(with: old.publishedPorts.map(Self.portKey)) else { continue }
            let stop = Step.stopContainer(old.name, service: old.service, grace: grace(of: old))
            if !steps.contains(stop) { emit(stop) }
        }
    }

    /// Port and protocol without the address: a wildcard collides with every address.
    private static func portKey(_ port: String) -> String {
        port.lastIndex(of: ":").map { String(port[port.index(after: $0)...]) } ?? port
    }

    private mutating func dependenciesAllow(
        _ name: String, _ service: Service, _ specs: ReleaseSpecs, started: Set<String>
    ) -> Bool {
        for (dependency, wanted) in service.dependsOn.sorted(by: { $0.key < $1.key }) where wanted.required {
            guard let spec = specs.containers[dependency], let other = app.target.release.services[dependency]
            else { continue }
            let condition = container(of: spec).map {
                Condition($0, service: other, target: app.target, policy: input.policy)
            }
            let isMet =
                switch wanted.condition {
                case .started: started.contains(dependency) || condition?.hasStarted == true
                case .healthy: condition?.isUp == true && !started.contains(dependency)
                case .completed: condition == .completed
                }
            if isMet { continue }
            // On a settled device a dependency that fell ill does not keep its dependents from coming back.
            if app.phase == .committed, wanted.condition != .completed, condition?.hasStarted == true { continue }
            block(.waitingForDependency(service: name, dependency: dependency, condition: wanted.condition))
            return checkWindow(
                spec.name, failure: { .dependencyNotInTime(service: name, dependency: dependency, seconds: $0) })
        }
        return true
    }

    /// Fails the candidate when `container` has been started for longer than the health window; always false.
    private mutating func checkWindow(_ container: String, failure: (Int) -> TrialFailure) -> Bool {
        guard app.phase == .candidate, let since = trial?.startedAt[container] else { return false }
        let window = app.target.release.update.healthWindowSeconds
        let end = since + UInt64(max(0, window)) * 1_000_000_000
        if input.now >= end {
            giveUp(failure(window))
        } else {
            wakeAfter = min(wakeAfter ?? .max, end - input.now)
        }
        return false
    }

    // MARK: Conclude

    private mutating func conclude(_ specs: ReleaseSpecs) {
        var allUp = true
        for name in specs.order {
            guard let service = app.target.release.services[name], let spec = specs.containers[name],
                let own = container(of: spec)
            else { continue }
            let condition = Condition(own, service: service, target: app.target, policy: input.policy)
            if condition.hasStarted, trial?.startedAt[spec.name] == nil { trial?.startedAt[spec.name] = input.now }
            if condition.isUp || condition == .completed { continue }
            allUp = false
            report(name, own, condition)
            if isStalled { return }
        }
        isSettled = allUp
        switch app.phase {
        case .candidate, .degraded: awaitStability(allUp: allUp)
        case .committed: if cleansUp { cleanUp(specs, allUp: allUp) }
        }
    }

    /// Says why a service is not up, and gives a candidate up for what will not heal by waiting.
    private mutating func report(_ name: String, _ own: ManagedContainer, _ condition: Condition) {
        switch condition {
        case .starting:
            block(.waitingForHealth(service: name, health: own.health))
            _ = checkWindow(own.name, failure: { .notHealthyInTime(service: name, seconds: $0) })
        case .unhealthy:
            let output = Self.firstLine(own.healthOutput)
            block(.unhealthy(service: name, output: output))
            giveUp(.unhealthy(service: name, output: output))
        case .failed:
            block(.exited(service: name, code: own.exitCode, outOfMemory: own.outOfMemory))
            giveUp(.exited(service: name, code: own.exitCode, outOfMemory: own.outOfMemory))
        case .crashing:
            block(.crashLoop(service: name, restarts: own.restartCount, lastExit: own.exitCode))
            giveUp(.crashLoop(service: name, restarts: own.restartCount, lastExit: own.exitCode))
        case .up, .completed, .stopped, .paused: return
        }
    }

    private static func firstLine(_ text: String) -> String {
        text.split(whereSeparator: \.isNewline).first.map { String($0.prefix(200)) } ?? ""
    }

    mutating func awaitStability(allUp: Bool) {
        guard allUp else {
            trial?.upSince = nil
            return
        }
        let since = trial?.upSince ?? input.now
        trial?.upSince = since
        let due = since + UInt64(max(0, app.target.release.update.stableSeconds)) * 1_000_000_000
        if input.now >= due {
            emit(.commit)
        } else {
            block(.waitingForStability(secondsLeft: Int((due - input.now + 999_999_999) / 1_000_000_000)))
            wakeAfter = min(wakeAfter ?? .max, due - input.now)
        }
    }

    /// Removes what neither the target nor the release before needs. Never a volume.
    private mutating func cleanUp(_ specs: ReleaseSpecs, allUp: Bool) {
        let current = Set(specs.containers.values.compactMap { container(of: $0)?.id })
        for old in containers where !current.contains(old.id) && !isAlive(old) {
            emit(.removeContainer(old.name, service: old.service))
        }
        guard input.policy.prune, allUp, steps.isEmpty else { return }
        let previous = app.previous.flatMap { try? ReleaseSpecs($0, layout: input.layout) }
        let kept = [app.target.release, app.previous?.release].compactMap { $0 }
        let tags = Set(
            kept.flatMap { $0.images.values.map { EngineName.imageTag(app: app.app, manifest: $0.manifest.digest) } })
        let own = "\(Labels.imageRepository)/\(app.app):"
        for image in input.observed.images.values.sorted(by: { $0.id < $1.id }) {
            for tag in image.tags.sorted() where tag.hasPrefix(own) && !tags.contains(tag) {
                emit(.removeImage(tag: tag))
            }
        }
        let networks = Set((specs.networks + (previous?.networks ?? [])).map(\.name))
        for network in input.observed.networks where network.app == app.app && !networks.contains(network.name) {
            emit(.removeNetwork(network.name))
        }
    }
}

/// What a container's state means for its service.
private enum Condition: Equatable {
    case up, completed, starting, unhealthy, paused
    /// Does not run and is to be started.
    case stopped
    /// Ended by itself with a failure, and its restart policy leaves it so.
    case failed
    case crashing

    init(_ container: ManagedContainer, service: Service, target: PinnedRelease, policy: PlanPolicy) {
        switch container.state {
        case .created, .dead, .removing: self = .stopped
        case .paused: self = .paused
        case .exited: self = Self.ended(container, service)
        case .restarting, .running:
            // A container kept from an earlier release brings its old restarts along.
            let isOfTarget = container.release == target.digest.description
            if isOfTarget, container.restartCount >= policy.crashLoopRestarts {
                self = .crashing
            } else if container.state == .restarting {
                self = .starting
            } else {
                switch container.health {
                case .none, .healthy: self = .up
                case .starting: self = .starting
                case .unhealthy: self = .unhealthy
                }
            }
        }
    }

    private static func ended(_ container: ManagedContainer, _ service: Service) -> Condition {
        switch service.restart.policy {
        case .always, .unlessStopped: return .stopped
        case .no, .onFailure:
            if container.exitCode == 0 { return .completed }
            // Stopped from outside (SIGKILL, SIGTERM, engine or power gone), not ended by itself.
            let outside = [137, 143, 255].contains(container.exitCode) && !container.outOfMemory
            return outside ? .stopped : .failed
        }
    }

    var isUp: Bool { self == .up }

    /// Runs or has run to its end.
    var hasStarted: Bool {
        switch self {
        case .up, .completed, .starting, .unhealthy, .crashing: true
        case .stopped, .failed, .paused: false
        }
    }
}
