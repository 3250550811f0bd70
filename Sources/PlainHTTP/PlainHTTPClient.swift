import Glibc
import NIOCore
import NIOHTTP1
import NIOPosix
import Synchronization

/// HTTP/1.1 without TLS, for what needs none: a unix socket, and the inside of a WireGuard tunnel.
///
/// One connection per exchange: a new one costs some 50 µs on a unix socket, and an exchange can then never land on a
/// connection that the other side's restart has just broken. Redirects are not followed, bodies not decompressed, and
/// names not resolved, so that a bound on bytes is a bound on memory and an exchange goes where its caller said.
public final class PlainHTTPClient: Sendable {
    /// Exchanges at once, the long-lived ones (events, followed logs) among them.
    public static let exchangeLimit = 128
    /// Bounds of an answer's head, trailers included: fields, bytes of one field, bytes in all.
    public static let fieldCountLimit = 128
    public static let fieldSizeLimit = 16 << 10
    public static let headSizeLimit = 64 << 10

    private let group: any EventLoopGroup
    private let open = Mutex<[ObjectIdentifier: any Channel]>([:])

    /// - Parameter group: one thread is enough.
    public init(group: any EventLoopGroup) { self.group = group }

    /// Ends the exchanges that are under way; each fails as one whose connection was closed.
    public func closeAll() {
        for channel in open.withLock({ Array($0.values) }) { channel.close(promise: nil) }
    }

    /// Sends `request` and hands the answer to `consume` once its head has come; the connection ends when that returns.
    ///
    /// - Throws: ``HTTPError``, `CancellationError`, whatever `consume` or the producer of the request's body throws.
    public func perform<Value: Sendable>(
        _ request: HTTPRequest, at endpoint: HTTPEndpoint, limits: ExchangeLimits,
        _ consume: @escaping @Sendable (HTTPResponse) async throws -> Value
    ) async throws -> Value {
        do {
            return try await withWatchdog(total: limits.total, silence: limits.silence) { progress in
                let (channel, answer) = try await self.connect(endpoint, limits)
                defer { self.forget(channel) }
                let exchange = Exchange(
                    endpoint: endpoint, limits: limits, channel: channel, answer: answer, progress: progress)
                return try await exchange.run(request, consume)
            }
        } catch let error as OutOfTime {
            throw HTTPError(.timeout, at: endpoint, error.detail)
        }
    }

    // MARK: Connections

    private func connect(
        _ endpoint: HTTPEndpoint, _ limits: ExchangeLimits
    ) async throws -> (any Channel, NIOLoopBoundBox<AnswerHandler>) {
        let loop = group.next()
        let answer = NIOLoopBoundBox.makeBoxSendingValue(AnswerHandler(), eventLoop: loop)
        var bootstrap = ClientBootstrap(group: loop)
            .connectTimeout(TimeAmount(limits.connect))
            .channelOption(.autoRead, value: false)
        do {
            if case .tcp(let tcp) = endpoint, let source = tcp.source {
                bootstrap = bootstrap.bind(to: try SocketAddress(ipAddress: source, port: 0))
            }
            let address = try endpoint.socketAddress()
            let prepared = bootstrap.channelInitializer { channel in
                channel.eventLoop.makeCompletedFuture {
                    try self.admit(channel, endpoint)
                    try Self.configure(channel, endpoint, answer.value)
                }
            }
            let channel = try await withTaskCancellationHandler {
                try await prepared.connect(to: address).get()
            } onCancel: {
                loop.execute { answer.value.abandon() }
            }
            return (channel, answer)
        } catch {
            try Task.checkCancellation()
            throw Self.translate(error, endpoint)
        }
    }

    /// Runs on the channel's loop, before it connects.
    private static func configure(
        _ channel: any Channel, _ endpoint: HTTPEndpoint, _ answer: AnswerHandler
    ) throws {
        if case .tcp(let tcp) = endpoint, let interface = tcp.interface {
            do {
                // The loop runs this at once, since it is the channel's own; an error fails the connect below.
                try InterfaceBinding.tie(channel, to: interface).whenFailure { error in
                    channel.pipeline.fireErrorCaught(error)
                    channel.close(promise: nil)
                }
            } catch {
                throw HTTPError(.argument, at: endpoint, "\(error)")
            }
        }
        var limits = NIOHTTPDecoderLimitConfiguration()
        limits.maxHeaderFieldCount = fieldCountLimit
        limits.maxHeaderFieldSize = fieldSizeLimit
        limits.maxHeaderListSize = headSizeLimit
        let decoder = HTTPResponseDecoder(
            leftOverBytesStrategy: .dropBytes, informationalResponseStrategy: .drop, limitConfiguration: limits)
        let pipeline = channel.pipeline.syncOperations
        try pipeline.addHandler(HTTPRequestEncoder())
        try pipeline.addHandler(ByteToMessageHandler(decoder))
        try pipeline.addHandler(NIOHTTPRequestHeadersValidator())
        try pipeline.addHandler(answer)
    }

    private func admit(_ channel: any Channel, _ endpoint: HTTPEndpoint) throws(HTTPError) {
        let isAdmitted = open.withLock { open in
            guard open.count < Self.exchangeLimit else { return false }
            open[ObjectIdentifier(channel)] = channel
            return true
        }
        guard isAdmitted else {
            throw HTTPError(.busy, at: endpoint, "\(Self.exchangeLimit) exchanges are under way already")
        }
        channel.closeFuture.whenComplete { _ in self.forget(channel) }
    }

    private func forget(_ channel: any Channel) {
        _ = open.withLock { $0.removeValue(forKey: ObjectIdentifier(channel)) }
    }

    // MARK: Errors

    static func translate(_ error: any Error, _ endpoint: HTTPEndpoint) -> any Error {
        switch error {
        case is HTTPError, is CancellationError: error
        case let error as IOError:
            HTTPError(
                .connection, at: endpoint, String(cString: strerror(error.errnoCode)), errorNumber: error.errnoCode)
        case ChannelError.connectTimeout(_): HTTPError(.connectTimeout, at: endpoint, "no connection in time")
        case is ChannelError: HTTPError(.truncated, at: endpoint, "the connection was closed")
        case HTTPParserError.invalidEOFState:
            HTTPError(.truncated, at: endpoint, "the connection was closed before the end of the answer")
        case HTTPParserError.headerOverflow:
            HTTPError(.malformed, at: endpoint, "the head of the answer is larger than \(headSizeLimit) bytes")
        case is SocketAddressError: HTTPError(.argument, at: endpoint, "is no address: \(error)")
        default: HTTPError(.malformed, at: endpoint, "the answer is not HTTP/1.1: \(error)")
        }
    }
}
