import Synchronization

/// A sum that several tasks may add to.
final class Counter: Sendable {
    private let value = Mutex<Int64>(0)
    func add(_ amount: Int64) -> Int64 {
        value.withLock {
            $0 += amount
            return $0
        }
    }
}
