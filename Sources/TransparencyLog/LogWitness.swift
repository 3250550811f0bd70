import Base

/// Remembers the last checkpoint it saw and takes only those whose log begins with that one.
///
/// Each device that polls is one: a log that shows different histories to different readers, or that takes
/// something back, is found out by whoever remembers.
public struct LogWitness: Sendable, Equatable {
    public let key: LogKey
    /// Nil before the first checkpoint, which is taken on trust.
    public private(set) var last: Checkpoint?

    public init(key: LogKey, last: Checkpoint? = nil) {
        self.key = key
        self.last = last
    }

    /// Takes a later checkpoint with the proof that it continues the last one. What is refused changes nothing.
    @discardableResult
    public mutating func accept(_ note: [UInt8], proof: [Digest]) throws(LogError) -> Checkpoint {
        let next = try Checkpoint(verifying: note, by: key)
        if let last {
            guard next.size >= last.size else {
                throw LogError(
                    .proofInvalid, "checkpoint of \(next.size) leaves", "the log had \(last.size) leaves before")
            }
            try MerkleTree.verifyConsistency(
                oldSize: last.size, oldRoot: last.root, newSize: next.size, newRoot: next.root, proof: proof)
        }
        last = next
        return next
    }
}
