import Synchronization

/// The next index that nobody has taken.
private final class Ticket: Sendable {
    private let next = Atomic<Int>(0)
    func take() -> Int { next.wrappingAdd(1, ordering: .relaxed).oldValue }
}

/// Runs `body` for 0..<count on `width` tasks, each taking the next index when free; results in index order.
/// The first error stops the rest at their next index.
func concurrentMap<Value: Sendable>(
    count: Int, width: Int, _ body: @escaping @Sendable (Int) throws -> Value
) async throws -> [Value] {
    let ticket = Ticket()
    return try await withThrowingTaskGroup(of: [(Int, Value)].self) { group in
        for _ in 0..<max(1, min(width, count)) {
            group.addTask {
                var results: [(Int, Value)] = []
                while true {
                    let index = ticket.take()
                    guard index < count else { return results }
                    try Task.checkCancellation()
                    results.append((index, try body(index)))
                }
            }
        }
        var slots = [Value?](repeating: nil, count: count)
        for try await part in group {
            for (index, value) in part { slots[index] = value }
        }
        return slots.compactMap { $0 }
    }
}
