import NIOCore
import NIOHTTP1
import Synchronization

/// One request and its answer over one connection, which is closed after it.
final class Exchange: Sendable {
    let endpoint: HTTPEndpoint
    private let limits: ExchangeLimits
    private let channel: any Channel
    private let answer: NIOLoopBoundBox<AnswerHandler>
    private let progress: Progress
    private let pace = Mutex(Pace())

    private struct Pace {
        var received: Int64 = 0
        var waited: Duration = .zero
        var producerFailure: (any Error)?
    }

    init(
        endpoint: HTTPEndpoint, limits: ExchangeLimits, channel: any Channel,
        answer: NIOLoopBoundBox<AnswerHandler>, progress: Progress
    ) {
        self.endpoint = endpoint
        self.limits = limits
        self.channel = channel
        self.answer = answer
        self.progress = progress
    }

    /// Sends the request and, meanwhile, reads the answer: a server may refuse an upload before it has all of it.
    func run<Value: Sendable>(
        _ request: HTTPRequest, _ consume: @Sendable (HTTPResponse) async throws -> Value
    ) async throws -> Value {
        // Ended by closing the channel, whichever way this function is left.
        async let _ = send(request)
        defer { close() }
        do {
            guard case .head(let head)? = try await part() else {
                throw failed(.truncated, "the connection was closed before an answer")
            }
            guard head.status != .switchingProtocols else {
                throw failed(.malformed, "the answer changes the protocol, which nobody asked for")
            }
            progress.mark()
            let value = try await consume(
                HTTPResponse(status: Int(head.status.code), headers: head.headers, exchange: self))
            if let failure = pace.withLock({ $0.producerFailure }) { throw failure }
            return value
        } catch {
            throw pace.withLock { $0.producerFailure } ?? error
        }
    }

    func close() { channel.close(promise: nil) }

    // MARK: The request

    private func send(_ request: HTTPRequest) async {
        do {
            try await write(.head(request.head(for: endpoint)))
            switch request.body {
            case .none: break
            case .bytes(let bytes): try await write(.body(.byteBuffer(ByteBuffer(bytes: bytes))))
            case .stream(let length, let next): try await produce(length, next)
            }
            try await write(.end(nil))
        } catch let error as ProducerFailed {
            pace.withLock { $0.producerFailure = error.underlying }
            close()
        } catch {
            // Whoever reads finds out what became of the connection: an early answer is an answer all the same.
        }
    }

    private func produce(_ length: Int64?, _ next: @Sendable () async throws -> [UInt8]?) async throws {
        var sent: Int64 = 0
        while true {
            let piece: [UInt8]?
            do {
                progress.mark()
                piece = try await next()
                progress.mark()
            } catch {
                throw ProducerFailed(underlying: error)
            }
            guard let piece else { break }
            sent += Int64(piece.count)
            guard sent <= length ?? .max else { break }
            try await write(.body(.byteBuffer(ByteBuffer(bytes: piece))))
            progress.mark()
        }
        guard sent == length ?? sent else {
            throw ProducerFailed(underlying: failed(.producer, "the request's body is not as long as was said"))
        }
    }

    /// Returns once the socket has taken it, which is the back-pressure on producers.
    private func write(_ part: HTTPClientRequestPart) async throws {
        try await channel.writeAndFlush(part).get()
    }

    // MARK: The answer

    /// The next piece of the body; nil after the last.
    func piece() async throws -> ByteBuffer? {
        progress.mark()
        let start = ContinuousClock.now
        let part = try await part()
        progress.mark()
        switch part {
        case .body(let buffer)?:
            try checkPace(buffer.readableBytes, waited: ContinuousClock.now - start)
            return buffer
        case .end?: return nil
        case .head?: throw failed(.malformed, "the answer has two heads")
        case nil: throw failed(.truncated, "the connection was closed before the end of the answer")
        }
    }

    private func checkPace(_ count: Int, waited: Duration) throws(HTTPError) {
        let (received, total) = pace.withLock { pace in
            pace.received += Int64(count)
            pace.waited += waited
            return (pace.received, pace.waited)
        }
        guard limits.minimumRate > 0, total > limits.grace else { return }
        let seconds = total.components.seconds
        guard received >= seconds.multipliedReportingOverflow(by: limits.minimumRate).partialValue else {
            throw failed(
                .tooSlow, "\(received) bytes in \(seconds) s, at least \(limits.minimumRate) a second are asked")
        }
    }

    private func part() async throws -> HTTPClientResponsePart? {
        let promise = channel.eventLoop.makePromise(of: HTTPClientResponsePart?.self)
        do {
            let part = try await withTaskCancellationHandler {
                channel.eventLoop.execute { [answer] in answer.value.next(promise) }
                return try await promise.futureResult.get()
            } onCancel: {
                close()
            }
            if part == nil { try Task.checkCancellation() }
            return part
        } catch {
            try Task.checkCancellation()
            throw PlainHTTPClient.translate(error, endpoint)
        }
    }

    func failed(_ reason: HTTPError.Reason, _ detail: String) -> HTTPError {
        HTTPError(reason, at: endpoint, detail)
    }
}

/// Keeps a producer's own error apart from the connection's.
private struct ProducerFailed: Error { var underlying: any Error }
