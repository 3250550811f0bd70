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
        var waiters: [UInt64: CheckedContinuation<Void, Never>] = [:]
        var nextWaiter: UInt64 = 0
    }
    private let state: NIOLockedValueBox<State>
    /// Long polls held at once.
    private let hotSet: Int

    public init(_ content: Content = Content(), hotSet: Int) {
        self.hotSet = hotSet
        state = NIOLockedValueBox(State(content: content, tag: content.tag))
    }

    public var current: (content: Content, tag: String) { state.withLockedValue { ($0.content, $0.tag) } }

    /// Changes the content; long polls end when the change is one that devices shall see.
    public func update(_ change: @Sendable (inout Content) -> Void) {
        let woken = state.withLockedValue { state in
            let outline = state.content.outline
            change(&state.content)
            let tag = state.content.tag
            guard tag != state.tag || state.content.outline != outline else {
                return [CheckedContinuation<Void, Never>]()
            }
            state.tag = tag
            defer { state.waiters = [:] }
            return Array(state.waiters.values)
        }
        for waiter in woken { waiter.resume() }
    }

    /// Ends every long poll: something of single devices changed.
    public func wake() {
        let woken = state.withLockedValue { state in
            defer { state.waiters = [:] }
            return Array(state.waiters.values)
        }
        for waiter in woken { waiter.resume() }
    }

    /// Waits for a change, at most so long. Returns at once when the hot set is full, or `tag` is not the present one.
    public func wait(for duration: Duration, tag: String) async {
        let number: UInt64? = state.withLockedValue { state in
            guard state.tag == tag, state.waiters.count < hotSet else { return nil }
            state.nextWaiter += 1
            return state.nextWaiter
        }
        guard let number else { return }
        let timer = Task {
            try? await Task.sleep(for: duration)
            cancel(number)
        }
        await withTaskCancellationHandler {
            await withCheckedContinuation { continuation in
                let isLate = state.withLockedValue { state in
                    guard state.tag == tag, state.waiters.count < hotSet, !Task.isCancelled else { return true }
                    state.waiters[number] = continuation
                    return false
                }
                if isLate { continuation.resume() }
            }
        } onCancel: {
            cancel(number)
        }
        timer.cancel()
    }

    private func cancel(_ number: UInt64) {
        state.withLockedValue { $0.waiters.removeValue(forKey: number) }?.resume()
    }

    /// Long polls held now.
    public var waiting: Int { state.withLockedValue { $0.waiters.count } }
}
