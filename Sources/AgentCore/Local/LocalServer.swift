import Base
import Glibc
import Logging
import Model
import NIOCore
import NIOHTTP1
import NIOPosix

/// The local API's listener: HTTP/1.1 on a unix socket, one request per connection.
public struct LocalServer: Sendable {
    /// Connections served at once; more wait in the listen queue.
    public static let connectionLimit = 32
    /// Seconds within which a request must have been sent whole.
    public static let requestSeconds: Int64 = 30

    public typealias Handler = @Sendable (LocalRequest) async throws -> LocalResponse

    private let path: String
    private let group: String
    /// Of the socket.
    private let mode: UInt32
    private let logger: Logger
    private let handler: Handler

    public init(path: String, group: String, mode: UInt32 = 0o660, logger: Logger, handler: @escaping Handler) {
        self.path = path
        self.group = group
        self.mode = mode
        self.logger = logger
        self.handler = handler
    }

    private typealias Inbound = NIOAsyncChannel<HTTPServerRequestPart, HTTPServerResponsePart>

    /// Serves until the task is cancelled. `onReady` is called once connections are accepted.
    public func run(on eventLoops: any EventLoopGroup, onReady: @Sendable () -> Void = {}) async throws {
        let listener = try makeListener()
        let server = try await ServerBootstrap(group: eventLoops)
            .bind(
                listener,
                serverBackPressureStrategy: .init(lowWatermark: 1, highWatermark: Self.connectionLimit)
            ) { channel in
                channel.eventLoop.makeCompletedFuture {
                    try channel.pipeline.syncOperations.configureHTTPServerPipeline(withPipeliningAssistance: false)
                    return try Inbound(wrappingChannelSynchronously: channel)
                }
            }
        onReady()
        defer { unlink(path) }
        try await server.executeThenClose { connections in
            try await withThrowingDiscardingTaskGroup { tasks in
                for try await connection in connections {
                    tasks.addTask { await serve(connection) }
                }
            }
        }
    }

    /// The socket with its mode and owner before anyone can connect to it.
    private func makeListener() throws -> NIOBSDSocket.Handle {
        var address = sockaddr_un()
        address.sun_family = sa_family_t(AF_UNIX)
        let bytes = Array(path.utf8)
        let capacity = MemoryLayout.size(ofValue: address.sun_path)
        guard bytes.count < capacity else {
            throw AgentError(.configuration, "socket path \(path) is longer than \(capacity - 1) bytes")
        }
        withUnsafeMutableBytes(of: &address.sun_path) { $0.copyBytes(from: bytes) }
        let descriptor = socket(AF_UNIX, Int32(SOCK_STREAM.rawValue) | Int32(SOCK_CLOEXEC.rawValue), 0)
        guard descriptor >= 0 else { throw FileSystemError(operation: "open socket", path: path, errno: errno) }
        // A socket left by an agent that was killed; two live agents are kept apart by the lock file.
        unlink(path)
        // The name gets the mode that the socket had before it (unix(7)). Never by umask(2), which is the whole process's:
        // what another thread makes meanwhile would lack the same bits.
        let bound =
            fchmod(descriptor, mode & 0o600) == 0
            && withUnsafePointer(to: &address) {
                $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                    bind(descriptor, $0, socklen_t(MemoryLayout<sockaddr_un>.size))
                }
            } == 0
        guard bound else {
            let code = errno
            close(descriptor)
            throw FileSystemError(operation: "bind socket", path: path, errno: code)
        }
        if chmod(path, mode) != 0 {
            let code = errno
            close(descriptor)
            throw FileSystemError(operation: "change mode of", path: path, errno: code)
        }
        if !group.isEmpty {
            guard let entry = getgrnam(group) else {
                close(descriptor)
                throw AgentError(
                    .configuration, "there is no group \(group) to own \(path)", hint: "addgroup --system \(group)")
            }
            guard chown(path, uid_t.max, entry.pointee.gr_gid) == 0 else {
                close(descriptor)
                throw FileSystemError(operation: "change group of", path: path, errno: errno)
            }
        }
        return descriptor
    }

    private func serve(_ connection: Inbound) async {
        do {
            let peer = try await Self.peer(of: connection.channel)
            let timeout = connection.channel.eventLoop.scheduleTask(in: .seconds(Self.requestSeconds)) {
                connection.channel.close(promise: nil)
            }
            try await connection.executeThenClose { inbound, outbound in
                defer { timeout.cancel() }
                let request: LocalRequest?
                do {
                    request = try await Self.read(inbound, peer: peer)
                } catch let error as AgentError {
                    try await Self.send(RemoteError(error), status: .badRequest, outbound)
                    return try await Self.flush(connection.channel)
                }
                guard let request else { return }
                timeout.cancel()
                try await answer(request, outbound)
                try await Self.flush(connection.channel)
            }
        } catch {
            logger.debug("local connection ended", metadata: ["error": "\(error)"])
        }
    }

    /// Returns when the socket has taken everything: closing drops what it has not, and a caller that reads more slowly
    /// than the agent writes would miss the end of its answer.
    private static func flush(_ channel: any Channel) async throws {
        let timeout = channel.eventLoop.scheduleTask(in: .seconds(requestSeconds)) { channel.close(promise: nil) }
        defer { timeout.cancel() }
        try await channel.close(mode: .output).get()
    }

    /// Nil when the peer went away before it had asked.
    private static func read(
        _ inbound: NIOAsyncChannelInboundStream<HTTPServerRequestPart>, peer: LocalRequest.Peer
    ) async throws -> LocalRequest? {
        var head: HTTPRequestHead?
        var body: [UInt8] = []
        for try await part in inbound {
            switch part {
            case .head(let value): head = value
            case .body(let buffer):
                guard body.count + buffer.readableBytes <= LocalRequest.bodyLimit else {
                    throw AgentError(.invalidRequest, "the request body is larger than \(LocalRequest.bodyLimit) bytes")
                }
                body += buffer.readableBytesView
            case .end:
                guard let head else { return nil }
                guard
                    let request = LocalRequest(
                        method: head.method.rawValue, target: head.uri, body: body, peer: peer)
                else { throw AgentError(.invalidRequest, "the request target cannot be read") }
                return request
            }
        }
        return nil
    }

    private typealias Writer = NIOAsyncChannelOutboundWriter<HTTPServerResponsePart>

    private func answer(_ request: LocalRequest, _ outbound: Writer) async throws {
        do {
            switch try await handler(request) {
            case .document(let value): try await Self.send(value, status: .ok, outbound)
            case .stream(let values): try await stream(values, outbound)
            }
        } catch let error as any CodedError {
            try await Self.send(RemoteError(error), status: Self.status(of: error), outbound)
        }
    }

    private static func status(of error: any CodedError) -> HTTPResponseStatus {
        switch error.exitStatus {
        case .usage, .dataError: .badRequest
        case .noPermission: .forbidden
        case .noInput: .notFound
        case .unavailable, .temporaryFailure: .serviceUnavailable
        default: .unprocessableEntity
        }
    }

    private static func send(_ error: RemoteError, status: HTTPResponseStatus, _ outbound: Writer) async throws {
        try await send(["error": error.json], status: status, outbound)
    }

    private static func send(_ value: JSONValue, status: HTTPResponseStatus, _ outbound: Writer) async throws {
        let bytes = try value.serialized(.compact)
        let headers: HTTPHeaders = [
            "content-type": "application/json", "content-length": "\(bytes.count)", "connection": "close",
        ]
        try await outbound.write(.head(HTTPResponseHead(version: .http1_1, status: status, headers: headers)))
        try await outbound.write(.body(.byteBuffer(ByteBuffer(bytes: bytes))))
        try await outbound.write(.end(nil))
    }

    /// The head has gone out when something fails, so the error is the last line.
    private func stream(_ values: PullSequence<JSONValue>, _ outbound: Writer) async throws {
        let headers: HTTPHeaders = [
            "content-type": "application/jsonl", "transfer-encoding": "chunked", "connection": "close",
        ]
        try await outbound.write(.head(HTTPResponseHead(version: .http1_1, status: .ok, headers: headers)))
        do {
            for try await value in values { try await Self.write(value, outbound) }
        } catch let error as any CodedError {
            try await Self.write(["error": RemoteError(error).json], outbound)
        }
        try await outbound.write(.end(nil))
    }

    private static func write(_ value: JSONValue, _ outbound: Writer) async throws {
        let bytes = try value.serialized(.compact) + [0x0A]
        try await outbound.write(.body(.byteBuffer(ByteBuffer(bytes: bytes))))
    }

    private static func peer(of channel: any Channel) async throws -> LocalRequest.Peer {
        guard let options = channel as? any SocketOptionProvider else {
            throw AgentError(.forbidden, "the caller cannot be told")
        }
        let credentials: PeerCredentials = try await options.unsafeGetSocketOption(
            level: .socket, name: NIOBSDSocket.Option(rawValue: SO_PEERCRED)
        ).get()
        return LocalRequest.Peer(pid: credentials.pid, uid: credentials.uid, gid: credentials.gid)
    }
}

/// `struct ucred` of socket(7), which Glibc declares for GNU sources only.
private struct PeerCredentials: BitwiseCopyable {
    var pid: Int32
    var uid: UInt32
    var gid: UInt32
}
