import AgentCore
import AgentTestSupport
import Base
import Model
import OCI
import Synchronization
import Testing

/// An import may come at any moment of a reconciler's pass, and the pass may end in a pruning of the store.
@Suite struct ImportMaintenanceTests {
    /// Moments at which an import is let loose.
    private enum Moment: CaseIterable {
        /// The pass has read the desired state and looks at the engine: the import comes and goes meanwhile.
        case whileLooking
        /// The import begins while the pass looks, and goes on beside it.
        case fromWithinALook
        /// The pass prunes.
        case whilePruning
        case betweenPasses
    }

    @Test(arguments: UInt64(1)...12) func noPruningTakesWhatAnImportBrought(seed: UInt64) async throws {
        var generator = SeededGenerator(seed: seed)
        let bench = try Bench()
        let gate = Gate()
        let process = try await bench.device.boot { stored in
            var content = stored
            content.prune = { kept in
                await gate.pass(.pruning)
                return try await stored.prune(kept)
            }
            return content
        }
        bench.device.engine.duringLook.withLock { $0 = { await gate.pass(.looking) } }
        try await bench.provision(process)
        let source = bench.lab.source()
        for number in 1...6 {
            let services = ["web": "web-\(number)", "worker": generator.pick(["worker-1", "worker-2"])]
            try bench.lab.publish(try bench.lab.release("\(number).0.0", ctr: Int64(number), services: services))
            let failure = Mutex<(any Error)?>(nil)
            let take: @Sendable () async -> Void = {
                do { try await process.importer.importRelease(from: source) { _ in } } catch {
                    failure.withLock { $0 = error }
                }
            }
            let skipped = Int.random(in: 0...2, using: &generator)
            let moment = number == 1 ? .betweenPasses : generator.pick(Moment.allCases)
            switch moment {
            case .betweenPasses: await take()
            case .whileLooking: gate.arm(.looking, after: skipped) { await take() }
            case .fromWithinALook: gate.arm(.looking, after: skipped) { await gate.spawn(take, wait: .zero) }
            case .whilePruning: gate.arm(.pruning, after: 0) { await gate.spawn(take, wait: .milliseconds(20)) }
            }
            // Commits and imports that ended make a pruning due; some rounds begin with one that is.
            if generator.chance(50) { await process.reconciler.importBegan(); await process.reconciler.importEnded() }
            for _ in 0..<200 where gate.isArmed {
                _ = await process.reconciler.tick()
                bench.device.clock.advance(1_000_000_000)
            }
            if gate.isArmed {
                // Nothing was pruned in this round.
                gate.disarm()
                await take()
            }
            await gate.settle()
            if let error = failure.withLock({ $0 }) { throw error }
            try await expectWhole(process, "after import \(number), \(moment), seed \(seed)")
            #expect(try await bench.device.converge(process), "\(number), \(moment), seed \(seed)")
            #expect(try await bench.version(process) == "\(number).0.0", "\(moment), seed \(seed)")
            try await expectWhole(process, "after commit \(number), \(moment), seed \(seed)")
        }
        #expect(gate.pruned > 0)
    }

    /// Everything that the target and the release before it need lies in the store.
    private func expectWhole(_ process: LabDevice.Process, _ when: String) async throws {
        for app in try await process.journal.desired() {
            for release in [app.target, app.previous].compactMap({ $0 }) {
                let missing = try process.store.missing(release.release.contentBlobs)
                #expect(missing.isEmpty, "\(release) lacks \(missing.count) blobs \(when)")
            }
        }
    }
}

/// Runs something once, when the reconciler has come so far.
private final class Gate: Sendable {
    enum Point { case looking, pruning }
    private struct State {
        var point = Point.looking
        var skip = 0
        var action: (@Sendable () async -> Void)?
        var running: Task<Void, Never>?
        var pruned = 0
    }
    private let state = Mutex(State())

    var isArmed: Bool { state.withLock { $0.action != nil } }
    var pruned: Int { state.withLock { $0.pruned } }

    func arm(_ point: Point, after skip: Int, _ action: @escaping @Sendable () async -> Void) {
        state.withLock {
            $0.point = point
            $0.skip = skip
            $0.action = action
        }
    }
    func disarm() { state.withLock { $0.action = nil } }

    func pass(_ point: Point) async {
        let action = state.withLock { state -> (@Sendable () async -> Void)? in
            if point == .pruning { state.pruned += 1 }
            guard state.point == point, state.action != nil else { return nil }
            guard state.skip == 0 else {
                state.skip -= 1
                return nil
            }
            defer { state.action = nil }
            return state.action
        }
        await action?()
    }

    /// Lets `work` run beside the caller, which goes on after `wait` at the latest: the work may be waiting for it.
    func spawn(_ work: @escaping @Sendable () async -> Void, wait: Duration) async {
        let task = Task { await work() }
        state.withLock { $0.running = task }
        try? await Task.sleep(for: wait)
    }

    func settle() async { await state.withLock { $0.running }?.value }
}
