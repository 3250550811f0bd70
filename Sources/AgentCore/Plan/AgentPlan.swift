import Base
import Model

/// The plan for a release of the agent itself: no containers, one program.
extension AppPlanner {
    mutating func planAgent(_ program: Release.AgentProgram) {
        let version = app.target.release.version.description
        guard let agent = input.observed.agent else {
            block(.agentNotRunning(version: version, reason: "this agent cannot replace itself"))
            return giveUp(.agentReturned(reason: "this agent cannot replace itself"))
        }
        if app.phase == .degraded { return block(.degraded(detail: app.detail)) }
        if agent.isRestarting { return block(.agentStarting(version: version)) }
        guard agent.running == program.binary.digest else { return switchAgent(to: program, from: agent) }
        guard agent.isHealthy else { return block(.agentStarting(version: version)) }
        isSettled = true
        if app.phase == .candidate {
            awaitStability(allUp: true)
        } else if agent.isOnTrial {
            emit(.confirmAgent)
        }
    }

    private mutating func switchAgent(to program: Release.AgentProgram, from agent: AgentSlots.View) {
        let version = app.target.release.version.description
        if let failed = agent.failed, failed.digest == program.binary.digest {
            block(.agentNotRunning(version: version, reason: failed.reason))
            return giveUp(.agentReturned(reason: failed.reason))
        }
        if app.phase == .candidate, app.trialStarts > input.policy.trialStarts {
            return giveUp(.restartedTooOften(times: app.trialStarts))
        }
        // One trial at a time: whose fault a failure is must be clear, and a return must lose nothing.
        let others = input.desired.filter { $0.app != app.app && $0.phase == .candidate }.map(\.app).sorted()
        guard others.isEmpty else { return block(.waitingForApps(others)) }
        if app.phase == .candidate, let hold = input.holds[app.app] { return wait(for: hold) }
        emit(.switchAgent(program, version: version))
    }
}
