import AgentCore
import Base
import Glibc
import Logging
import NIOPosix

/// Watches a program of the agent on trial until it has shown that it works: its journal is open, it has seen the
/// engine, and it answers on its socket. Then the launcher's alarm is switched off.
struct AgentTrial: Sendable {
    let slots: AgentSlots
    let reconciler: Reconciler
    let socketPath: String
    let clock: SystemClock
    let threads: NIOThreadPool
    let logger: Logger

    func run() async {
        guard slots.view().isOnTrial else { return }
        while !Task.isCancelled {
            if await isHealthy() {
                alarm(0)
                slots.noteHealthy()
                logger.notice("the agent on trial is healthy")
                return await reconciler.wake()
            }
            do { try await clock.sleep(.milliseconds(500)) } catch { return }
        }
    }

    private func isHealthy() async -> Bool {
        let report = await reconciler.currentReport()
        guard case .answering = report.engine, report.lastLook != nil, report.journalTrouble == nil else {
            return false
        }
        let client = LocalClient(path: socketPath)
        // The client blocks, and the answer needs the threads that tasks run on.
        return (try? await threads.runIfActive { try client.document("GET", "/v1/status") }) != nil
    }
}
