import Synchronization

/// The name of what is being done.
final class CurrentTask: Sendable {
    private let name = Mutex("")

    /// True when `task` is another than before.
    func change(to task: String) -> Bool {
        name.withLock {
            guard $0 != task else { return false }
            $0 = task
            return true
        }
    }
}
