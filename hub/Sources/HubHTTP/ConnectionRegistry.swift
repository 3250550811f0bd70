import NIOConcurrencyHelpers
import NIOCore
import WireGuard

/// The connections of one listener: how many each address has, and a way to end them all.
final class ConnectionRegistry: Sendable {
    private struct State {
        var channels: [ObjectIdentifier: any Channel] = [:]
        var perPeer: [IPAddress: Int] = [:]
        var isClosing = false
    }
    private let state = NIOLockedValueBox(State())
    private let bounds: HTTPBounds

    init(bounds: HTTPBounds) { self.bounds = bounds }

    /// False when the listener, or this address, has as many as it may.
    func add(_ channel: any Channel, from peer: IPAddress) -> Bool {
        state.withLockedValue { state in
            let count = state.perPeer[peer, default: 0]
            guard !state.isClosing, state.channels.count < bounds.connections, count < bounds.connectionsPerPeer else {
                return false
            }
            state.perPeer[peer] = count + 1
            state.channels[ObjectIdentifier(channel)] = channel
            return true
        }
    }

    func remove(_ channel: any Channel, from peer: IPAddress) {
        state.withLockedValue { state in
            guard state.channels.removeValue(forKey: ObjectIdentifier(channel)) != nil else { return }
            let count = state.perPeer[peer, default: 1] - 1
            state.perPeer[peer] = count == 0 ? nil : count
        }
    }

    var count: Int { state.withLockedValue { $0.channels.count } }

    /// Ends idle connections now and tells busy ones to end with their answer.
    func quiesce() {
        let channels = state.withLockedValue { state in
            state.isClosing = true
            return Array(state.channels.values)
        }
        for channel in channels { channel.pipeline.fireUserInboundEventTriggered(QuiesceEvent()) }
    }

    func closeAll() {
        for channel in state.withLockedValue({ Array($0.channels.values) }) { channel.close(promise: nil) }
    }
}

struct QuiesceEvent: Sendable {}
