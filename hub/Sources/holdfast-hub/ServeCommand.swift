import ArgumentParser
import Base
import CLISupport
import Glibc
import HubServer
import Logging
import ServiceSupport
import WireGuard

struct ServeCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "serve", abstract: "Run the hub until it is told to stop.",
        discussion: """
            SIGTERM and SIGINT let answers that are under way end, and stop. Logs are JSON lines on standard error.

            Example: holdfast-hub serve --config /etc/holdfast/hub.json
            """)

    @Option(help: ArgumentHelp("Configuration file; see holdfast-hub config schema.", valueName: "file"))
    var config: String

    /// A debug build's wall clock goes wrong by `HOLDFAST_CLOCK_AHEAD` seconds, so that tests see what is due in months.
    private static var clock: SystemClock {
        #if DEBUG
            let ahead = getenv("HOLDFAST_CLOCK_AHEAD").flatMap { Int64(String(cString: $0)) }
            return SystemClock.live.ahead(by: ahead ?? 0)
        #else
            return .live
        #endif
    }

    func run() async throws {
        let config = try HubConfig.read(config)
        let clock = Self.clock
        let logger = Logger(label: "holdfast-hub") { _ in JSONLogHandler(level: .init(config.logLevel), clock: clock) }
        let manager = ServiceManager.live
        let hub = HubProcess(config: config, clock: clock, logger: logger)
        let stop = StopSignals()
        try await withThrowingTaskGroup(of: Void.self) { group in
            group.addTask {
                try await hub.run { addresses in
                    logger.notice(
                        "hub ready",
                        metadata: [
                            "management": "\(config.managementAddress):\(addresses.management)",
                            "device": "\(addresses.device.map(\.description) ?? "off"):\(config.devicePort)",
                            "state": "\(config.stateDirectory)",
                        ])
                    manager.ready("ready")
                }
            }
            group.addTask {
                await stop.wait()
                manager.stopping()
            }
            // Whichever ends first ends the other.
            try await group.next()
            group.cancelAll()
            try await group.waitForAll()
        }
    }
}
