import Base
import CrashTestSupport
import Glibc
import Synchronization

/// Plays every operation of every scenario with every fault against the engine in memory, for `tools/crash-matrix`.
///
///     crash-matrix RUNS WORKERS
///
/// Appends each run to the file RUNS, and leaves out what is in it already. Ends with 1 when a run failed.
@main struct CrashMatrixProgram {
    private struct Job: Sendable {
        let number: Int
        let scenario: Scenario
        let kind: CrashMatrix.FaultKind
    }

    private static let jobs: [Job] = Scenario.all.flatMap { scenario in
        CrashMatrix.FaultKind.allCases.map { (scenario, $0) }
    }.enumerated().map { Job(number: $0 + 1, scenario: $1.0, kind: $1.1) }

    static func main() async throws {
        let arguments = CommandLine.arguments
        guard arguments.count == 3, let workers = Int(arguments[2]), (1...64).contains(workers) else {
            say("usage: crash-matrix RUNS WORKERS, from tools/crash-matrix --full")
            exit(64)
        }
        let failures = try await playAll(CrashLog(path: arguments[1]), workers: workers)
        exit(failures == 0 ? 0 : 1)
    }

    /// Answers how many runs failed.
    private static func playAll(_ log: CrashLog, workers: Int) async throws -> Int {
        let done = try log.done()
        let queue = Queue()
        return try await withThrowingTaskGroup(of: Int.self) { group in
            for _ in 0..<workers {
                group.addTask {
                    var failures = 0
                    while let job = queue.next() { failures += try await play(job, log, done) }
                    return failures
                }
            }
            return try await group.reduce(0, +)
        }
    }

    /// The cells that no worker has taken yet.
    private final class Queue: Sendable {
        private let rest = Mutex(CrashMatrixProgram.jobs[...])
        func next() -> Job? { rest.withLock { $0.popFirst() } }
    }

    /// Answers how many runs of the cell failed.
    private static func play(_ job: Job, _ log: CrashLog, _ done: Set<CrashLog.Key>) async throws -> Int {
        let begun = ContinuousClock.now
        let cell = try await CrashCell(job.scenario, job.kind)
        let name = "\(job.scenario.name), \(job.kind.rawValue)"
        guard cell.problems.isEmpty else {
            say("\(name) FAILED without a fault: \(cell.problems.joined(separator: "; "))")
            return 1
        }
        var (played, failures) = (0, 0)
        for index in 0..<cell.operations {
            let key = CrashLog.Key(
                scenario: job.scenario.name, fault: job.kind.rawValue, operations: cell.operations, index: index)
            if done.contains(key) { continue }
            let run = try await cell.play(at: index)
            try log.append(run)
            played += 1
            guard run.hasFailed else { continue }
            failures += 1
            say("FAILED: \(run.description)")
        }
        let seconds = (ContinuousClock.now - begun).components.seconds
        say("cell \(job.number) of \(jobs.count): \(name): \(played) runs, \(failures) failed, \(seconds) s")
        return failures
    }

    private static func say(_ line: String) {
        // To a terminal or a log: what cannot be shown is lost, and the runs are in the file.
        _ = Array((line + "\n").utf8).withUnsafeBytes { write(STDERR_FILENO, $0.baseAddress, $0.count) }
    }
}
