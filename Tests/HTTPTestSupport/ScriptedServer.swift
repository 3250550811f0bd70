import NIOCore
import NIOPosix
import Synchronization

/// Something that answers HTTP as a test scripts it, byte for byte, on a unix socket or on TCP.
public final class ScriptedServer: Sendable {
    public enum Step: Sendable {
        case bytes([UInt8])
        case pause(TimeAmount)
        case close
        /// Take nothing more from the client.
        case stopReading
        /// Go on sending this until the client goes away.
        case forever([UInt8])

        public static func text(_ text: String) -> Step { .bytes(Array(text.utf8)) }
        /// `forever`, some 4 KiB at a time.
        public static func endless(_ text: String) -> Step {
            .forever(Array(String(repeating: text, count: 1 + 4096 / text.utf8.count).utf8))
        }
    }

    public enum Listener: Sendable {
        case unixSocket(path: String)
        /// A port that the kernel picks.
        case tcp(address: String)
    }

    /// A whole answer with its length.
    public static func answer(_ body: String, status: String = "200 OK") -> String {
        "HTTP/1.1 \(status)\r\nContent-Type: application/json\r\nContent-Length: \(body.utf8.count)\r\n\r\n\(body)"
    }

    private let channel: any Channel
    private let log: RequestLog

    /// - Parameters:
    ///   - group: one thread is enough.
    ///   - answer: given the request's head as it came.
    public init(
        _ listener: Listener, group: any EventLoopGroup, answer: @escaping @Sendable (String) -> [Step]
    ) async throws {
        let log = RequestLog()
        self.log = log
        let bootstrap = ServerBootstrap(group: group)
            .childChannelInitializer { child in
                child.eventLoop.makeCompletedFuture {
                    let handler = ScriptedHandler(answer: answer, log: log)
                    try child.pipeline.syncOperations.addHandler(handler)
                }
            }
        switch listener {
        case .unixSocket(let path): channel = try await bootstrap.bind(unixDomainSocketPath: path).get()
        case .tcp(let address): channel = try await bootstrap.bind(host: address, port: 0).get()
        }
    }

    /// The port, on TCP.
    public var port: Int { channel.localAddress?.port ?? 0 }
    /// The heads of the requests, in order, each with what came of its body.
    public var requests: [String] { log.texts }
    /// Where the clients came from, in order.
    public var clients: [String] { log.clients }

    public func stop() async throws { try await channel.close() }
}

private final class RequestLog: Sendable {
    private struct Entry {
        var client: String
        var text: String
    }
    private let entries = Mutex<[Entry]>([])
    func begin(_ client: String) -> Int {
        entries.withLock { entries in
            entries.append(Entry(client: client, text: ""))
            return entries.count - 1
        }
    }
    func set(_ text: String, at index: Int) { entries.withLock { $0[index].text = text } }
    var texts: [String] { entries.withLock { $0.map(\.text) } }
    var clients: [String] { entries.withLock { $0.map(\.client) } }
}

private final class ScriptedHandler: ChannelInboundHandler {
    typealias InboundIn = ByteBuffer
    typealias OutboundOut = ByteBuffer

    /// Bytes of a request that are kept for the test to look at.
    private static let keptLimit = 1 << 20

    private let script: @Sendable (String) -> [ScriptedServer.Step]
    private let log: RequestLog
    private var entry: Int?
    private var received: [UInt8] = []
    private var answered = false

    init(answer: @escaping @Sendable (String) -> [ScriptedServer.Step], log: RequestLog) {
        script = answer
        self.log = log
    }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        guard received.count < Self.keptLimit else { return }
        received += Array(unwrapInboundIn(data).readableBytesView)
        let text = String(decoding: received, as: UTF8.self)
        guard let end = text.firstRange(of: "\r\n\r\n") else { return }
        let index = entry ?? log.begin(context.channel.remoteAddress?.ipAddress ?? "")
        entry = index
        log.set(text, at: index)
        guard !answered else { return }
        answered = true
        Self.play(script(String(text[..<end.lowerBound]))[...], context.channel)
    }

    private static func play(_ steps: ArraySlice<ScriptedServer.Step>, _ channel: any Channel) {
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
            // Never at once: a write that the socket takes whole would make this a recursion without end.
            channel.writeAndFlush(ByteBuffer(bytes: bytes)).whenSuccess {
                channel.eventLoop.execute { play(steps, channel) }
            }
        }
    }
}
