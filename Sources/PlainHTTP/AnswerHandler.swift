import NIOCore
import NIOHTTP1

/// The end of a connection's pipeline: holds the parts of the answer until they are asked for, and reads from the
/// socket only when one is asked for that is not there.
///
/// What can pile up is one read of the socket, or the kernel's receive buffer when the other side closes.
final class AnswerHandler: ChannelInboundHandler {
    typealias InboundIn = HTTPClientResponsePart

    private var parts = CircularBuffer<HTTPClientResponsePart>()
    private var waiting: EventLoopPromise<HTTPClientResponsePart?>?
    private var context: ChannelHandlerContext?
    private var isClosed = false
    private var failure: (any Error)?

    /// The next part; nil once the connection has ended.
    func next(_ promise: EventLoopPromise<HTTPClientResponsePart?>) {
        if let part = parts.popFirst() { return promise.succeed(part) }
        if let failure { return promise.fail(failure) }
        guard !isClosed, waiting == nil else { return promise.succeed(nil) }
        waiting = promise
        context?.read()
    }

    /// Closes the connection, or has it closed as soon as there is one.
    func abandon() {
        end()
        context?.close(promise: nil)
    }

    func handlerAdded(context: ChannelHandlerContext) {
        self.context = context
        if isClosed { context.close(promise: nil) }
    }

    func handlerRemoved(context: ChannelHandlerContext) {
        self.context = nil
        end()
    }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        let part = unwrapInboundIn(data)
        guard let promise = waiting else { return parts.append(part) }
        waiting = nil
        promise.succeed(part)
    }

    func channelReadComplete(context: ChannelHandlerContext) {
        if waiting != nil { context.read() }
    }

    func channelInactive(context: ChannelHandlerContext) { end() }

    func errorCaught(context: ChannelHandlerContext, error: any Error) {
        if failure == nil { failure = error }
        if let promise = waiting {
            waiting = nil
            promise.fail(error)
        }
        context.close(promise: nil)
    }

    private func end() {
        isClosed = true
        guard let promise = waiting else { return }
        waiting = nil
        promise.succeed(nil)
    }
}
