import Base
import NIOCore
import NIOPosix
import Synchronization
import TestSupport

/// Something on a unix socket that answers as a test scripts it, byte for byte.
final class FakeEngine: Sendable {
    enum Step: Sendable {
        case bytes([UInt8])
        case pause(TimeAmount)
        case close
        /// Take nothing more from the client.
        case stopReading
        /// Go on sending this until the client goes away.
        case forever([UInt8])

        static func text(_ text: String) -> Step { .bytes(Array(text.utf8)) }
    }

    static let version = answer(#"{"Version":"1.2.3","ApiVersion":"1.41","MinAPIVersion":"1.12"}"#)

    /// A whole answer with its length.
    static func answer(_ body: String, status: String = "200 OK") -> String {
        "HTTP/1.1 \(status)\r\nContent-Type: application/json\r\nContent-Length: \(body.utf8.count)\r\n\r\n\(body)"
    }

    let socketPath: String
    private let directory: TemporaryDirectory
    private let channel: any Channel
    private let log: RequestLog

    /// - Parameter answer: given `METHOD TARGET`; asked for `/version` the fake answers `version`.
    init(version: String = FakeEngine.version, answer: @escaping @Sendable (String) -> [Step]) async throws {
        directory = try TemporaryDirectory()
        socketPath = directory.file("fake.sock")
        let log = RequestLog()
        self.log = log
        channel = try await ServerBootstrap(group: testGroup)
            .childChannelInitializer { child in
                child.eventLoop.makeCompletedFuture {
                    let handler = ScriptedHandler { request in
                        log.add(request)
                        return request.hasSuffix(" /version") ? [.text(version), .close] : answer(request)
                    }
                    try child.pipeline.syncOperations.addHandler(handler)
                }
            }
            .bind(unixDomainSocketPath: socketPath).get()
    }

    /// `GET /v1.41/info`: what the client asked, in order.
    var requests: [String] { log.all }

    func stop() async throws { try await channel.close() }
}

private final class RequestLog: Sendable {
    private let requests = Mutex<[String]>([])
    func add(_ request: String) { requests.withLock { $0.append(request) } }
    var all: [String] { requests.withLock { $0 } }
}

private final class ScriptedHandler: ChannelInboundHandler {
    typealias InboundIn = ByteBuffer
    typealias OutboundOut = ByteBuffer

    private let script: @Sendable (String) -> [FakeEngine.Step]
    private var head: [UInt8] = []
    private var answered = false

    init(script: @escaping @Sendable (String) -> [FakeEngine.Step]) { self.script = script }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        guard !answered else { return }
        head += Array(unwrapInboundIn(data).readableBytesView)
        let text = String(decoding: head, as: UTF8.self)
        guard let line = text.firstRange(of: "\r\n"), text.contains("\r\n\r\n") else { return }
        answered = true
        let request = text[..<line.lowerBound].split(separator: " ").prefix(2).joined(separator: " ")
        Self.play(script(request)[...], context.channel)
    }

    private static func play(_ steps: ArraySlice<FakeEngine.Step>, _ channel: any Channel) {
        guard let step = steps.first else { return }
        let rest = steps.dropFirst()
        switch step {
        case .bytes(let bytes):
            channel.writeAndFlush(ByteBuffer(bytes: bytes)).whenSuccess { play(rest, channel) }
        case .pause(let time):
            channel.eventLoop.scheduleTask(in: time) { play(rest, channel) }
        case .close:
            channel.close(promise: nil)
        case .stopReading:
            channel.setOption(.autoRead, value: false).whenSuccess { play(rest, channel) }
        case .forever(let bytes):
            channel.writeAndFlush(ByteBuffer(bytes: bytes)).whenSuccess { play(steps, channel) }
        }
    }
}
