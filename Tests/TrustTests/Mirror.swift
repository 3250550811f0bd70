import Base
import HTTPFetch
import Model
import NIOCore
import NIOPosix
import Trust
import TrustHTTP

/// A web server on the loopback interface that serves a stage as it is told, over real sockets.
struct Mirror: Sendable {
    private let channel: any NIOCore.Channel
    private let fetcher: HTTPFetcher

    init(_ stage: Stage, documents: [String: [UInt8]]) async throws {
        let content = Content(stage: stage, documents: documents)
        channel = try await ServerBootstrap(group: MultiThreadedEventLoopGroup.singleton)
            .childChannelInitializer { channel in
                channel.eventLoop.makeCompletedFuture {
                    try channel.pipeline.syncOperations.addHandler(Responder(content))
                }
            }
            .bind(host: "127.0.0.1", port: 0).get()
        var policy = FetchPolicy()
        // Only where slowness is the attack: on a busy machine an honest answer may take its time.
        if stage.isSlow { policy.grace = .seconds(1) }
        fetcher = HTTPFetcher(policy: policy)
    }

    private var base: String { "http://127.0.0.1:\(channel.localAddress?.port ?? 0)" }
    var metadata: HTTPMetadata { HTTPMetadata(fetcher: fetcher, base: base + "/metadata") }
    var documents: HTTPDocuments { HTTPDocuments(fetcher: fetcher, base: base + "/targets/") }

    func close() async throws {
        try await fetcher.shutdown()
        try await channel.close()
    }
}

/// What a mirror has, by the path of a URL.
private struct Content: Sendable {
    enum Answer {
        case whole([UInt8])
        /// Spaces without an end.
        case endless
        /// A byte now and then of a body that was announced as longer.
        case drip
        case none
    }

    private let files: [String: [UInt8]]
    private let isSlow: Bool
    private let isEndless: Bool

    init(stage: Stage, documents: [String: [UInt8]]) {
        var files: [String: [UInt8]] = [:]
        for (name, bytes) in stage.served { files["/metadata/" + MetadataName.encoded(name)] = bytes }
        for (path, bytes) in documents { files["/targets/" + MetadataName.encodedPath(path)] = bytes }
        self.files = files
        isSlow = stage.isSlow
        isEndless = stage.isEndless
    }

    func answer(_ path: String) -> Answer {
        if path == "/metadata/timestamp.json" {
            if isSlow { return .drip }
            if isEndless { return .endless }
        }
        return files[path].map { .whole($0) } ?? .none
    }
}

/// HTTP/1.1, one request a connection. Lives on its channel's event loop.
private final class Responder: ChannelInboundHandler {
    typealias InboundIn = ByteBuffer
    typealias OutboundOut = ByteBuffer

    private let content: Content
    private var request: [UInt8] = []
    private var isEndless = false
    private static let endlessPiece = 64 << 10
    private static let headLimit = 16 << 10
    private static let dripPause = TimeAmount.milliseconds(50)

    init(_ content: Content) { self.content = content }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        request += unwrapInboundIn(data).readableBytesView
        let head = String(decoding: request, as: UTF8.self)
        guard request.count < Self.headLimit else { return context.close(promise: nil) }
        guard head.contains("\r\n\r\n") else { return }
        let words = head.split(separator: " ", maxSplits: 2)
        guard words.count == 3, words[0] == "GET" else { return context.close(promise: nil) }
        switch content.answer(String(words[1])) {
        case .none: finish("HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n", [], context)
        case .whole(let bytes):
            finish("HTTP/1.1 200 OK\r\nContent-Length: \(bytes.count)\r\nConnection: close\r\n\r\n", bytes, context)
        case .endless:
            isEndless = true
            send("HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n", [], context)
            pour(context)
        case .drip:
            send("HTTP/1.1 200 OK\r\nContent-Length: 10000\r\nConnection: close\r\n\r\n", [], context)
            drip(context)
        }
    }

    func channelWritabilityChanged(context: ChannelHandlerContext) { pour(context) }
    func errorCaught(context: ChannelHandlerContext, error: any Error) { context.close(promise: nil) }

    private func send(_ head: String, _ body: [UInt8], _ context: ChannelHandlerContext) {
        var buffer = context.channel.allocator.buffer(capacity: head.utf8.count + body.count)
        buffer.writeString(head)
        buffer.writeBytes(body)
        context.writeAndFlush(wrapOutboundOut(buffer), promise: nil)
    }

    private func finish(_ head: String, _ body: [UInt8], _ context: ChannelHandlerContext) {
        send(head, body, context)
        context.close(promise: nil)
    }

    /// Never ahead of what the client takes.
    private func pour(_ context: ChannelHandlerContext) {
        guard isEndless, context.channel.isActive, context.channel.isWritable else { return }
        send("", [UInt8](repeating: 0x20, count: Self.endlessPiece), context)
        context.eventLoop.assumeIsolated().execute { [self] in pour(context) }
    }

    private func drip(_ context: ChannelHandlerContext) {
        guard context.channel.isActive else { return }
        send(" ", [], context)
        _ = context.eventLoop.assumeIsolated().scheduleTask(in: Self.dripPause) { [self] in drip(context) }
    }
}
