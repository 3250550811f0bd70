import NIOConcurrencyHelpers
import NIOCore

/// A request's body as its reader pulls it; the connection is not read further than ``HTTPBounds/waiting`` ahead.
public final class HTTPBody: Sendable {
    public enum Failure: Error, Sendable {
        /// The sender went away before the end.
        case incomplete
    }

    private struct State {
        var pieces: [ByteBuffer] = []
        var waitingBytes = 0
        var ended: Result<Void, Failure>?
        var reader: CheckedContinuation<ByteBuffer?, any Error>?
    }
    private let state = NIOLockedValueBox(State())
    private let resume: @Sendable () -> Void

    init(resume: @escaping @Sendable () -> Void) { self.resume = resume }

    /// The next bytes; nil at the end. One reader at a time.
    public func next() async throws -> ByteBuffer? {
        try await withCheckedThrowingContinuation { continuation in
            let answer: Result<ByteBuffer?, any Error>? = state.withLockedValue { state in
                if !state.pieces.isEmpty {
                    let piece = state.pieces.removeFirst()
                    state.waitingBytes -= piece.readableBytes
                    return .success(piece)
                }
                switch state.ended {
                case .success: return .success(nil)
                case .failure(let failure): return .failure(failure)
                case nil:
                    state.reader = continuation
                    return nil
                }
            }
            if let answer { continuation.resume(with: answer) }
            resume()
        }
    }

    /// Bytes that wait after this piece.
    func offer(_ piece: ByteBuffer) -> Int {
        let reader: CheckedContinuation<ByteBuffer?, any Error>? = state.withLockedValue { state in
            if let reader = state.reader {
                state.reader = nil
                return reader
            }
            state.pieces.append(piece)
            state.waitingBytes += piece.readableBytes
            return nil
        }
        reader?.resume(returning: piece)
        return waiting
    }

    var waiting: Int { state.withLockedValue { $0.waitingBytes } }

    func end(_ result: Result<Void, Failure>) {
        let reader: CheckedContinuation<ByteBuffer?, any Error>? = state.withLockedValue { state in
            guard state.ended == nil else { return nil }
            state.ended = result
            defer { state.reader = nil }
            return state.reader
        }
        switch result {
        case .success: reader?.resume(returning: nil)
        case .failure(let failure): reader?.resume(throwing: failure)
        }
    }
}
