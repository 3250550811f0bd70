import Base
import Dispatch
import HubCore

/// scrypt takes memory and time: one password at a time, off the cooperative threads.
struct PasswordWork: Sendable {
    private let queue = DispatchQueue(label: "holdfast-hub.passwords")

    /// The work is done without a hash too, so that time does not tell which names exist.
    func matches(_ password: String, _ hash: PasswordHash?) async -> Bool {
        await run {
            if let hash { return hash.matches(password) }
            _ = try? PasswordHash("twelve characters at least")
            return false
        }
    }

    func hash(_ password: String) async throws -> PasswordHash {
        try await run { Result { try PasswordHash(password) } }.get()
    }

    private func run<Value: Sendable>(_ work: @escaping @Sendable () -> Value) async -> Value {
        await withCheckedContinuation { continuation in queue.async { continuation.resume(returning: work()) } }
    }
}
