import NIOCore
import NIOHTTP1

/// Bounds of one listener. Sizes are bytes, times seconds.
public struct HTTPBounds: Sendable {
    /// Of one header field and of all fields together; more is answered with 431.
    public var fieldSize = 8 << 10
    public var headerSize = 16 << 10
    public var fieldCount = 64
    /// Connections at once: of the listener and of one address.
    public var connections = 20_000
    public var connectionsPerPeer = 16
    /// From a connection's start to its first request's head, and from one answer to the next head.
    public var firstHead: Int64 = 10
    public var idle: Int64 = 75
    /// For the whole body of a request that is held in memory.
    public var body: Int64 = 60
    /// Without a byte of progress, in a streamed body or an answer.
    public var stall: Int64 = 60
    /// For the work behind one answer.
    public var work: Int64 = 120
    /// Bytes of a streamed body that wait for their reader.
    public var waiting = 1 << 20
    /// Bytes handed to the socket at once.
    public var piece = 1 << 20

    public init() {}

    var decoder: NIOHTTPDecoderLimitConfiguration {
        var configuration = NIOHTTPDecoderLimitConfiguration()
        configuration.maxHeaderFieldSize = fieldSize
        configuration.maxHeaderListSize = headerSize
        configuration.maxHeaderFieldCount = fieldCount
        return configuration
    }
}
