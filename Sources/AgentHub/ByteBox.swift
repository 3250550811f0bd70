import Base
import Synchronization

/// Gathers bytes up to a bound.
final class ByteBox: Sendable {
    private let content = Mutex<[UInt8]>([])
    private let limit: Int

    init(limit: Int) { self.limit = limit }

    func append(_ piece: [UInt8]) throws(HubLinkError) {
        let fits = content.withLock { content in
            guard content.count + piece.count <= limit else { return false }
            content += piece
            return true
        }
        guard fits else { throw HubLinkError(.badAnswer, "the hub sent more than \(ByteCount(Int64(limit)))") }
    }

    var bytes: [UInt8] { content.withLock { $0 } }
}
