import Base
import HubProtocol
import Logging
import NIOCore
import NIOHTTP1
import WireGuard

/// One connection: takes requests one after the other and bounds each in time and bytes.
final class HTTPConnection: ChannelInboundHandler {
    typealias InboundIn = HTTPServerRequestPart
    typealias OutboundOut = HTTPServerResponsePart

    private enum Phase {
        /// Waiting for a head.
        case idle
        case collecting([UInt8], limit: Int, work: @Sendable ([UInt8]) async -> HTTPAnswer)
        case streaming(HTTPBody)
        /// The request is whole, or its rest is not wanted: the answer is being made or sent.
        case answering
    }

    private let responder: any HTTPResponder
    private let peer: IPAddress
    private let bounds: HTTPBounds
    private let date: HTTPDate
    private let canSendFile: Bool
    private let logger: Logger

    private var phase = Phase.idle
    private var head: HTTPRequestHead?
    private var requestID = ""
    private var keepsAlive = true
    /// Whether all of the present request has been read.
    private var isWhole = true
    private var isPaused = false
    private var isQuiescing = false
    private var deadline = NIODeadline.distantFuture
    private var timer: Scheduled<Void>?
    private var work: Task<Void, Never>?
    private var served: UInt32 = 0
    private let connectionName = Hex.encode(UInt32.random(in: .min ... .max).bigEndianBytes)

    init(
        responder: any HTTPResponder, peer: IPAddress, bounds: HTTPBounds, date: HTTPDate, canSendFile: Bool,
        logger: Logger
    ) {
        self.responder = responder
        self.peer = peer
        self.bounds = bounds
        self.date = date
        self.canSendFile = canSendFile
        self.logger = logger
    }

    // MARK: Time

    func channelActive(context: ChannelHandlerContext) {
        expect(within: bounds.firstHead, context)
        context.fireChannelActive()
    }

    func channelInactive(context: ChannelHandlerContext) {
        timer?.cancel()
        work?.cancel()
        if case .streaming(let body) = phase { body.end(.failure(.incomplete)) }
        context.fireChannelInactive()
    }

    /// Moves the deadline; the timer looks at it when it rings, so that a request does not cost a timer.
    private func expect(within seconds: Int64, _ context: ChannelHandlerContext) {
        deadline = .now() + .seconds(seconds)
        guard timer == nil else { return }
        schedule(context)
    }

    private func schedule(_ context: ChannelHandlerContext) {
        let bound = NIOLoopBound((self, context), eventLoop: context.eventLoop)
        timer = context.eventLoop.scheduleTask(deadline: deadline) {
            let (connection, context) = bound.value
            connection.timer = nil
            guard connection.deadline <= .now() else { return connection.schedule(context) }
            connection.expired(context)
        }
    }

    private func expired(_ context: ChannelHandlerContext) {
        switch phase {
        case .collecting:
            refuse(
                Problem("request-timeout", status: 408, title: "The request came too slowly", instance: requestID),
                context)
            expect(within: bounds.firstHead, context)
        default: context.close(promise: nil)
        }
    }

    // MARK: Reading

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        switch unwrapInboundIn(data) {
        case .head(let head): begin(head, context)
        case .body(let piece): take(piece, context)
        case .end: end(context)
        }
    }

    private func begin(_ head: HTTPRequestHead, _ context: ChannelHandlerContext) {
        self.head = head
        isWhole = false
        keepsAlive = head.isKeepAlive && !isQuiescing
        nameRequest()
        // RFC 9112 section 3.2.
        guard head.version == .http1_0 || head.headers["Host"].count == 1 else {
            return refuse(
                Problem("malformed-request", status: 400, title: "There is not one Host", instance: requestID), context)
        }
        let acceptance = responder.accept(
            HTTPRequest(method: head.method, target: head.uri, headers: head.headers, peer: peer, id: requestID))
        switch acceptance {
        case .answer(let answer):
            phase = .answering
            if Self.hasBody(head) { keepsAlive = false }
            send(answer, context)
        case .collect(let limit, let work):
            if let length = head.headers.first(name: "Content-Length").flatMap({ Int($0) }), length > limit {
                return refuse(.bodyTooLarge(limit, requestID), context)
            }
            phase = .collecting([], limit: limit, work: work)
            expect(within: bounds.body, context)
            invite(head, context)
        case .stream(let work):
            let channel = context.channel
            let bound = NIOLoopBound((self, context), eventLoop: context.eventLoop)
            let eventLoop = context.eventLoop
            let body = HTTPBody { eventLoop.execute { bound.value.0.resume(bound.value.1) } }
            phase = .streaming(body)
            expect(within: bounds.stall, context)
            invite(head, context)
            run(context, channel) { await work(body) }
        }
    }

    private func nameRequest() {
        served &+= 1
        requestID = "\(connectionName)-\(served)"
    }

    private static func hasBody(_ head: HTTPRequestHead) -> Bool {
        head.headers.contains(name: "Transfer-Encoding")
            || head.headers.first(name: "Content-Length").map { $0 != "0" } ?? false
    }

    private func invite(_ head: HTTPRequestHead, _ context: ChannelHandlerContext) {
        guard head.headers.first(name: "Expect")?.lowercased() == "100-continue" else { return }
        context.writeAndFlush(
            wrapOutboundOut(.head(HTTPResponseHead(version: .http1_1, status: .continue))), promise: nil)
    }

    private func take(_ piece: ByteBuffer, _ context: ChannelHandlerContext) {
        switch phase {
        case .collecting(var body, let limit, let work):
            // Emptied first, so that the append does not copy.
            phase = .answering
            guard body.count + piece.readableBytes <= limit else {
                return refuse(.bodyTooLarge(limit, requestID), context)
            }
            body.append(contentsOf: piece.readableBytesView)
            phase = .collecting(body, limit: limit, work: work)
        case .streaming(let body):
            expect(within: bounds.stall, context)
            if body.offer(piece) > bounds.waiting, !isPaused {
                isPaused = true
                context.channel.setOption(.autoRead, value: false).whenFailure { _ in }
            }
        case .idle, .answering: break
        }
    }

    private func resume(_ context: ChannelHandlerContext) {
        guard case .streaming(let body) = phase, isPaused, body.waiting <= bounds.waiting / 2 else { return }
        unpause(context)
        expect(within: bounds.stall, context)
    }

    private func unpause(_ context: ChannelHandlerContext) {
        guard isPaused else { return }
        isPaused = false
        context.channel.setOption(.autoRead, value: true).whenFailure { _ in }
    }

    private func end(_ context: ChannelHandlerContext) {
        isWhole = true
        switch phase {
        case .collecting(let body, _, let work):
            phase = .answering
            expect(within: bounds.work, context)
            run(context, context.channel) { await work(body) }
        case .streaming(let body):
            phase = .answering
            // What was ahead of its reader is here to the end; nobody but this would let the next request be read.
            unpause(context)
            expect(within: bounds.work, context)
            body.end(.success(()))
        case .idle, .answering: break
        }
    }

    private func run(
        _ context: ChannelHandlerContext, _ channel: any Channel, _ body: @escaping @Sendable () async -> HTTPAnswer
    ) {
        let bound = NIOLoopBound((self, context), eventLoop: context.eventLoop)
        let eventLoop = context.eventLoop
        work = Task {
            let answer = await body()
            guard !Task.isCancelled else { return }
            eventLoop.execute {
                let (connection, context) = bound.value
                guard channel.isActive else { return }
                connection.finish(answer, context)
            }
        }
    }

    /// Of work that a request started. Work that does not want the rest of its body ends the connection.
    private func finish(_ answer: HTTPAnswer, _ context: ChannelHandlerContext) {
        if !isWhole {
            keepsAlive = false
            phase = .answering
            unpause(context)
        }
        send(answer, context)
    }

    private func refuse(_ problem: Problem, _ context: ChannelHandlerContext) {
        keepsAlive = false
        phase = .answering
        send(HTTPAnswer(problem), context)
    }

    // MARK: Answering

    private func send(_ answer: HTTPAnswer, _ context: ChannelHandlerContext) {
        var headers = answer.headers
        headers.add(name: "Date", value: date.text)
        headers.add(name: DeviceHeader.requestID, value: requestID)
        if let length = answer.length {
            if answer.status != .notModified, answer.status != .noContent, !headers.contains(name: "Content-Length") {
                headers.add(name: "Content-Length", value: String(length))
            }
        } else {
            keepsAlive = false
            // The end of the connection is the end of the body: RFC 9112 section 6.3.
        }
        if !keepsAlive { headers.add(name: "Connection", value: "close") }
        log(answer)
        let response = HTTPResponseHead(version: .http1_1, status: answer.status, headers: headers)
        context.write(wrapOutboundOut(.head(response)), promise: nil)
        guard head?.method != .HEAD else { return complete(context) }
        expect(within: bounds.stall, context)
        switch answer.body {
        case .none: complete(context)
        case .bytes(let buffer):
            if buffer.readableBytes > 0 { context.write(wrapOutboundOut(.body(.byteBuffer(buffer))), promise: nil) }
            complete(context)
        case .file(let file, let range, let pace): startFile(file, range, pace, context)
        case .stream(let pieces): startStream(pieces, context)
        }
    }

    private func log(_ answer: HTTPAnswer) {
        let level: Logger.Level = answer.status.code >= 500 && answer.status.code != 503 ? .error : .debug
        logger.log(
            level: level, "answered",
            metadata: [
                "id": "\(requestID)", "peer": "\(peer)", "method": "\(head?.method.rawValue ?? "")",
                "target": "\(head?.uri.prefix(200) ?? "")", "status": "\(answer.status.code)",
            ])
    }

    private func complete(_ context: ChannelHandlerContext) {
        let isLast = !keepsAlive || isQuiescing
        head = nil
        work = nil
        phase = .idle
        guard isLast else {
            context.writeAndFlush(wrapOutboundOut(.end(nil)), promise: nil)
            return expect(within: bounds.idle, context)
        }
        let bound = NIOLoopBound(context, eventLoop: context.eventLoop)
        context.writeAndFlush(wrapOutboundOut(.end(nil))).whenComplete { _ in bound.value.close(promise: nil) }
    }

    // MARK: Files

    private func startFile(
        _ file: OpenedFile, _ range: Range<Int64>, _ pace: Pace?, _ context: ChannelHandlerContext
    ) {
        do throws(FileSystemError) {
            let transfer = FileTransfer(
                file: file, handle: canSendFile ? try file.handle() : nil, range: range, pace: pace)
            proceed(transfer, context)
        } catch {
            logger.error("cannot send a file", metadata: ["id": "\(requestID)", "error": "\(error.message)"])
            context.close(promise: nil)
        }
    }

    /// One piece after the other, each once the socket has taken the one before.
    private func proceed(_ transfer: FileTransfer, _ context: ChannelHandlerContext) {
        guard context.channel.isActive else { return transfer.close() }
        guard let count = transfer.next(bounds.piece) else {
            transfer.close()
            return complete(context)
        }
        expect(within: bounds.stall, context)
        let bound = NIOLoopBound((self, transfer, context), eventLoop: context.eventLoop)
        let seconds = transfer.pace?.delay(count) ?? 0
        guard seconds > 0 else { return write(transfer, count, bound) }
        context.eventLoop.scheduleTask(in: .milliseconds(Int64(min(seconds, 30) * 1_000) + 1)) {
            let (connection, transfer, context) = bound.value
            guard context.channel.isActive else { return transfer.close() }
            connection.write(transfer, count, bound)
        }
    }

    private func write(
        _ transfer: FileTransfer, _ count: Int,
        _ bound: NIOLoopBound<(HTTPConnection, FileTransfer, ChannelHandlerContext)>
    ) {
        let context = bound.value.2
        let data: IOData
        do throws(FileSystemError) {
            data = try transfer.take(count)
        } catch {
            logger.error("cannot read a file", metadata: ["id": "\(requestID)", "error": "\(error.message)"])
            transfer.close()
            return context.close(promise: nil)
        }
        context.writeAndFlush(wrapOutboundOut(.body(data))).whenComplete { result in
            let (connection, transfer, context) = bound.value
            switch result {
            case .success: connection.proceed(transfer, context)
            case .failure:
                transfer.close()
                context.close(promise: nil)
            }
        }
    }

    // MARK: Streams

    private func startStream(_ pieces: AsyncStream<[UInt8]>, _ context: ChannelHandlerContext) {
        context.flush()
        let bound = NIOLoopBound((self, context), eventLoop: context.eventLoop)
        let eventLoop = context.eventLoop
        let channel = context.channel
        // Progress is the stream's own business: it sends something now and then or ends.
        deadline = .distantFuture
        work = Task {
            for await piece in pieces {
                let written = eventLoop.flatSubmit {
                    let (connection, context) = bound.value
                    guard channel.isActive else {
                        return eventLoop.makeFailedFuture(ChannelError.ioOnClosedChannel) as EventLoopFuture<Void>
                    }
                    return context.writeAndFlush(
                        connection.wrapOutboundOut(.body(.byteBuffer(ByteBuffer(bytes: piece)))))
                }
                guard (try? await written.get()) != nil else { return }
            }
            eventLoop.execute {
                let (connection, context) = bound.value
                if channel.isActive { connection.complete(context) }
            }
        }
    }

    // MARK: Ends and errors

    func userInboundEventTriggered(context: ChannelHandlerContext, event: Any) {
        guard event is QuiesceEvent else { return context.fireUserInboundEventTriggered(event) }
        isQuiescing = true
        keepsAlive = false
        if case .idle = phase { context.close(promise: nil) }
    }

    func errorCaught(context: ChannelHandlerContext, error: any Error) {
        guard let error = error as? HTTPParserError else { return context.close(promise: nil) }
        guard case .idle = phase else {
            // Bad framing in the middle of a body: there is no telling where the next request begins.
            if case .streaming(let body) = phase { body.end(.failure(.incomplete)) }
            return context.close(promise: nil)
        }
        let isTooLarge = error == .headerOverflow
        nameRequest()
        refuse(
            isTooLarge
                ? Problem(
                    "header-too-large", status: 431, title: "The header is too large",
                    detail: "at most \(bounds.headerSize) bytes in \(bounds.fieldCount) fields", instance: requestID)
                : Problem(
                    "malformed-request", status: 400, title: "The request is no HTTP/1.1", instance: requestID), context
        )
    }
}

/// A file on its way out.
private final class FileTransfer {
    let file: OpenedFile
    let pace: Pace?
    private var handle: NIOFileHandle?
    private var offset: Int64
    private let end: Int64

    init(file: OpenedFile, handle: NIOFileHandle?, range: Range<Int64>, pace: Pace?) {
        self.file = file
        self.handle = handle
        self.pace = pace
        offset = range.lowerBound
        end = range.upperBound
    }

    /// Bytes of the next piece; nil at the end.
    func next(_ limit: Int) -> Int? { offset < end ? Int(min(Int64(limit), end - offset)) : nil }

    func take(_ count: Int) throws(FileSystemError) -> IOData {
        defer { offset += Int64(count) }
        if let handle {
            return .fileRegion(FileRegion(fileHandle: handle, readerIndex: Int(offset), endIndex: Int(offset) + count))
        }
        return .byteBuffer(ByteBuffer(bytes: try file.read(at: offset, count: count)))
    }

    func close() {
        try? handle?.close()
        handle = nil
    }
}

extension UInt32 {
    fileprivate var bigEndianBytes: [UInt8] { withUnsafeBytes(of: bigEndian) { Array($0) } }
}

extension Problem {
    static func bodyTooLarge(_ limit: Int, _ id: String) -> Problem {
        Problem(
            "body-too-large", status: 413, title: "The body is too large", detail: "at most \(limit) bytes",
            instance: id)
    }
}
