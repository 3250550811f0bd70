import AgentCore
import AgentHub
import Base
import Glibc
import Logging
import NIOCore
import NIOPosix
import OCI
import PlainHTTP
import WireGuard

/// Puts the device's side of a hub together.
struct HubWiring {
    let service: HubService
    let client: PlainHTTPClient
    let threads: NIOThreadPool

    init(
        config: AgentConfig, fileSystem: FileSystem, journal: Journal, importer: Importer, reconciler: Reconciler,
        store: BlobStore, eventLoops: any EventLoopGroup, clock: SystemClock, logger: Logger
    ) {
        client = PlainHTTPClient(group: eventLoops)
        threads = NIOThreadPool(numberOfThreads: 1)
        threads.start()
        service = HubService(
            HubEnvironment(
                settings: HubSettings(config), layout: config.layout, fileSystem: fileSystem, journal: journal,
                importer: importer, store: store, links: .live(threads: threads), transport: .plain(client),
                clock: clock, clockReading: { DeviceFacts.clockReading(clock, trust: config.clockTrust) },
                setClock: { try TimeFloor.setSystemClock($0) }, features: DeviceFacts.features,
                architecture: DeviceFacts.architecture, hostName: Self.hostName,
                buildTime: DeviceFacts.sourceDate,
                summary: {
                    guard let desired = try? await journal.desired() else { return nil }
                    return DeviceSummary.make(
                        await reconciler.currentReport(), desired, architecture: DeviceFacts.architecture)
                },
                isUpdating: { (try? await journal.desired().contains { $0.phase == .candidate }) ?? false },
                logger: logger))
    }

    var control: HubControl {
        let service = service
        return HubControl(
            status: { await service.status() }, reasons: { await service.reasons() },
            enrol: { try await service.enrol(token: $0, replace: $1) }, leave: { try await service.leave() },
            poll: { try await service.poll() })
    }

    func shutDown() async {
        client.closeAll()
        try? await threads.shutdownGracefully()
    }

    static var hostName: String {
        var name = utsname()
        guard uname(&name) == 0 else { return "" }
        return withUnsafeBytes(of: &name.nodename) { String(decoding: $0.prefix { $0 != 0 }, as: UTF8.self) }
    }
}
