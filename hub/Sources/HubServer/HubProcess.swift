import Base
import Glibc
import HubAudit
import HubCore
import HubDevices
import HubEnrolment
import HubHTTP
import HubManagement
import HubProtocol
import HubStore
import HubTokens
import HubTunnel
import Logging
import NIOCore
import NIOPosix
import NIOSSL
import ServiceSupport
import Trust
import WireGuard

/// A running hub. This file is where everything it is made of is put together.
public struct HubProcess: Sendable {
    let config: HubConfig
    let clock: SystemClock
    let logger: Logger
    let fileSystem: FileSystem

    public init(
        config: HubConfig, clock: SystemClock = .live, logger: Logger, fileSystem: FileSystem = FileSystem()
    ) {
        self.config = config
        self.clock = clock
        self.logger = logger
        self.fileSystem = fileSystem
    }

    /// Where a hub that runs can be reached.
    public struct Addresses: Sendable {
        public var management: UInt16
        /// Nil without an interface.
        public var device: IPAddress?
    }

    /// Serves until the task is cancelled. `onReady` is called when both sides answer.
    public func run(onReady: @escaping @Sendable (Addresses) -> Void) async throws {
        let layout = config.layout
        let lock = try HubLock(layout.lock)
        defer { lock.unlock() }
        let identity = try HubIdentityFile.read(layout, fileSystem)
        let keys = try HubKeys.make(layout, fileSystem)
        let group = MultiThreadedEventLoopGroup(numberOfThreads: config.threads)
        do {
            let parts = try await HubParts(
                config: config, identity: identity, keys: keys, clock: clock, logger: logger, fileSystem: fileSystem)
            try await serve(parts, on: group, onReady)
        } catch {
            try? await group.shutdownGracefully()
            throw error
        }
        try? await group.shutdownGracefully()
    }

    private func serve(
        _ parts: HubParts, on group: any EventLoopGroup, _ onReady: @Sendable (Addresses) -> Void
    ) async throws {
        guard let address = IPAddress(config.managementAddress) else {
            throw HubServerError(.invalid, "management.address \(config.managementAddress) is no address")
        }
        let management = try await listen(
            "management", on: address, port: config.managementPort, tls: try tls(), group, parts.managementResponder())
        if let ends = parts.ends {
            let responder = parts.deviceResponder()
            try await ends.start { interface in
                try await listen(
                    "device", on: parts.network.hub, port: config.devicePort, interface: interface.text, tls: nil,
                    group,
                    responder)
            }
        }
        onReady(
            Addresses(management: management.port, device: parts.ends == nil ? nil : parts.network.hub))
        await withTaskGroup(of: Void.self) { tasks in
            parts.loops().forEach { loop in tasks.addTask { await loop() } }
            await tasks.waitForAll()
        }
        logger.notice("hub stops; devices keep running what they have")
        await management.stop()
        await parts.ends?.stop()
    }

    private func listen(
        _ what: String, on address: IPAddress, port: Int, interface: String? = nil, tls: NIOSSLContext?,
        _ group: any EventLoopGroup, _ responder: some HTTPResponder
    ) async throws -> HTTPListener {
        do {
            return try await HTTPListener.start(
                on: address, port: UInt16(port), interface: interface, tls: tls, group: group, clock: clock,
                logger: logger,
                responder: responder)
        } catch {
            throw HubServerError(
                .listen, "the \(what) side cannot listen on \(address) port \(port): \(error)",
                hint: "is another hub running, or the port taken?")
        }
    }

    private func tls() throws -> NIOSSLContext {
        let layout = config.layout
        let certificate = config.certificate.isEmpty ? layout.certificate : config.certificate
        let key = config.certificateKey.isEmpty ? layout.certificateKey : config.certificateKey
        do {
            let chain = try NIOSSLCertificate.fromPEMFile(certificate).map { NIOSSLCertificateSource.certificate($0) }
            var configuration = TLSConfiguration.makeServerConfiguration(
                certificateChain: chain, privateKey: .privateKey(try NIOSSLPrivateKey(file: key, format: .pem)))
            configuration.minimumTLSVersion = .tlsv12
            configuration.applicationProtocols = ["http/1.1"]
            return try NIOSSLContext(configuration: configuration)
        } catch {
            throw HubServerError(
                .certificate, "the certificate \(certificate) or its key \(key) cannot be used: \(error)",
                hint: "give PEM files, or leave both empty for the self-signed one")
        }
    }
}

/// One hub a state directory: the lock goes with the process.
struct HubLock {
    private let descriptor: Int32

    init(_ path: String) throws {
        descriptor = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0o600)
        guard descriptor >= 0 else {
            throw errno == ENOENT
                ? HubServerError(
                    .notInitialised, "\(Path.parent(path)) holds no hub", hint: "make one with: holdfast-hub init")
                : FileSystemError(operation: "open", path: path, errno: errno)
        }
        guard flock(descriptor, LOCK_EX | LOCK_NB) == 0 else {
            close(descriptor)
            throw HubServerError(.alreadyRunning, "another hub runs on \(Path.parent(path))")
        }
    }

    func unlock() { close(descriptor) }
}
