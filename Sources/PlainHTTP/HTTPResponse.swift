import Base
import NIOCore
import NIOHTTP1

/// An answer whose head has come. Its body is read from the socket as it is asked for, which is the back-pressure.
public struct HTTPResponse: Sendable {
    public let status: Int
    public let headers: HTTPHeaders
    let exchange: Exchange

    /// The next piece of the body as it came, at most some 64 KiB; nil after the last. One caller at a time.
    public func next() async throws -> ByteBuffer? { try await exchange.piece() }

    /// The whole body.
    ///
    /// - Throws: `http.too-large` past `maximum` bytes.
    public func collect(maximum: Int) async throws -> ByteBuffer {
        var body = ByteBuffer()
        while let piece = try await next() {
            guard body.readableBytes + piece.readableBytes <= maximum else {
                throw exchange.failed(.tooLarge, "the answer is larger than \(ByteCount(maximum))")
            }
            body.writeImmutableBuffer(piece)
        }
        return body
    }
}
