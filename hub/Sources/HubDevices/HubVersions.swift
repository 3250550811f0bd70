import Base
import HubProtocol
import Trust
import NIOConcurrencyHelpers

/// What is the same in every device's state answer, and who waits for it to change.
public final class HubVersions: Sendable {
    public struct Content: Sendable, Equatable {
        public var release = DeviceStateAnswer.Versions.none
        public var director = DeviceStateAnswer.Versions.none
        /// Who has to look at the director; nil where every change concerns all.
        public var outline: DirectorOutline?
        public var descriptor: Int64 = 0
        public var auditKey = ""
        public var auditSize: Int64 = 0
        /// Of the release repository; what freshness tickets vouch for.
        public var releaseSnapshot: Int64 = 0

        public init() {}

        /// The part of the entity tag that all devices share.
        var tag: String {
            let common = outline?.common ?? String(director.timestamp)
            let text =
                "\(release.root) \(release.timestamp) \(director.root) \(common) \(descriptor) \(auditKey)"
            return String(Digest.sha256(Array(text.utf8)).hex.prefix(16))
        }
    }

    private struct State {
        var content = Content()
        var tag = ""
        /// Each is told whether its poll was held.
        var waiters: [UInt64: CheckedContinuation<Bool, Never>] = [:]
        var nextWaiter: UInt64 = 0
        /// Counts what ends long polls.
        var generation: UInt64 = 0

        mutating func takeWaiters() -> [CheckedContinuation<Bool, Never>] {
            generation &+= 1
            defer { waiters = [:] }
            return Array(waiters.values)
        }
    }
    private let state: NIOLockedValueBox<State>
    /// Long polls held at once.
    private let hotSet: Int

    public init(_ content: Content = Content(), hotSet: Int) {
        self.hotSet = hotSet
        state = NIOLockedValueBox(State(content: content, tag: content.tag))
    }

    /// - Returns: Also what ``wait(for:since:)`` needs, to miss nothing that comes between the two.
    public var current: (content: Content, tag: String, generation: UInt64) {
        state.withLockedValue { ($0.content, $0.tag, $0.generation) }
    }

    /// Changes the content; long polls end when the change is one that devices shall see.
    public func update(_ change: @Sendable (inout Content) -> Void) {
        let woken = state.withLockedValue { state in
            let outline = state.content.outline
            change(&state.content)
            let tag = state.content.tag
            guard tag != state.tag || state.content.outline != outline else {
                return [CheckedContinuation<Bool, Never>]()
            }
            state.tag = tag
            return state.takeWaiters()
        }
        for waiter in woken { waiter.resume(returning: true) }
    }

    /// Ends every long poll: something of single devices changed.
    public func wake() {
        for waiter in state.withLockedValue({ $0.takeWaiters() }) { waiter.resume(returning: true) }
    }

    /// Waits for a change, at most so long; not at all when there was one since `generation`.
    ///
    /// - Returns: False at once when the hot set is full.
    public func wait(for duration: Duration, since generation: UInt64) async -> Bool {
        let number: UInt64 = state.withLockedValue { state in
            state.nextWaiter += 1
            return state.nextWaiter
        }
        let timer = Task {
            try? await Task.sleep(for: duration)
            cancel(number)
        }
        defer { timer.cancel() }
        return await withTaskCancellationHandler {
            await withCheckedContinuation { continuation in
                // What is known at once; nil for a poll that waits.
                let answer: Bool? = state.withLockedValue { state in
                    guard state.generation == generation, !Task.isCancelled else { return true }
                    guard state.waiters.count < hotSet else { return false }
                    state.waiters[number] = continuation
                    return nil
                }
                if let answer { continuation.resume(returning: answer) }
            }
        } onCancel: {
            cancel(number)
        }
    }

    private func cancel(_ number: UInt64) {
        state.withLockedValue { $0.waiters.removeValue(forKey: number) }?.resume(returning: true)
    }

    /// Long polls held now.
    public var waiting: Int { state.withLockedValue { $0.waiters.count } }
}
