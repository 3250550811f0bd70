import Base
import CMnl
import Glibc
import Synchronization

@testable import WireGuard

/// A server that answers every TCP connection with one line, and clients that poll it: what a hub and its devices do.
enum PollTraffic {
    static let port: UInt16 = 8080
    /// A poll that takes longer is lost.
    static let timeoutSeconds = 5

    /// What the threads of a test share.
    final class Board: Sendable {
        let stop = Atomic(false)
        let stopPolling = Atomic(false)
        let slot = Atomic(0)
        let answered = Atomic(0)
        let lost = Atomic(0)
        let bySecondSlot = Atomic(0)

        var activeSlot: Slot { slot.load(ordering: .sequentiallyConsistent) == 0 ? .first : .second }
        func use(_ slot: Slot) { self.slot.store(slot == .first ? 0 : 1, ordering: .sequentiallyConsistent) }
    }

    private static func address(_ address: IPAddress) -> sockaddr_in6 {
        var result = sockaddr_in6()
        result.sin6_family = sa_family_t(AF_INET6)
        result.sin6_port = port.bigEndian
        withUnsafeMutableBytes(of: &result.sin6_addr) { $0.copyBytes(from: address.bytes) }
        return result
    }

    private static func withAddress(
        _ value: sockaddr_in6, _ body: (UnsafePointer<sockaddr>, socklen_t) -> Int32
    ) -> Int32 {
        withUnsafePointer(to: value) {
            $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                body($0, socklen_t(MemoryLayout<sockaddr_in6>.size))
            }
        }
    }

    /// Serves until the board says stop. A request that begins with `w` is answered a second later.
    static func serve(_ board: Board) throws {
        let listener = socket(AF_INET6, Int32(SOCK_STREAM.rawValue) | Int32(SOCK_CLOEXEC.rawValue), 0)
        defer { close(listener) }
        var on: Int32 = 1
        setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &on, socklen_t(MemoryLayout<Int32>.size))
        guard withAddress(address("::"), { bind(listener, $0, $1) }) == 0, listen(listener, 64) == 0 else {
            throw WireGuardError.failure("listen", "poll server", errno: errno)
        }
        var waiting: [(descriptor: Int32, due: UInt64)] = []
        defer { for entry in waiting { close(entry.descriptor) } }
        while !board.stop.load(ordering: .relaxed) {
            var ready = pollfd(fd: listener, events: Int16(POLLIN), revents: 0)
            if Glibc.poll(&ready, 1, 20) > 0 {
                let connection = accept(listener, nil, nil)
                guard connection >= 0 else { continue }
                setTimeout(connection)
                var request: UInt8 = 0
                guard recv(connection, &request, 1, 0) == 1 else {
                    close(connection)
                    continue
                }
                let delay: UInt64 = request == UInt8(ascii: "w") ? 1_000_000_000 : 0
                waiting.append((connection, SystemClock.live.monotonic() + delay))
            }
            let now = SystemClock.live.monotonic()
            for entry in waiting where entry.due <= now {
                _ = send(entry.descriptor, "ok", 2, Int32(MSG_NOSIGNAL))
                close(entry.descriptor)
            }
            waiting.removeAll { $0.due <= now }
        }
    }

    private static func setTimeout(_ descriptor: Int32) {
        var timeout = timeval(tv_sec: timeoutSeconds, tv_usec: 0)
        for option in [SO_RCVTIMEO, SO_SNDTIMEO] {
            setsockopt(descriptor, SOL_SOCKET, option, &timeout, socklen_t(MemoryLayout<timeval>.size))
        }
    }

    /// One request; true when it was answered.
    static func request(_ target: IPAddress, _ text: String = "p") -> Bool {
        let descriptor = socket(AF_INET6, Int32(SOCK_STREAM.rawValue) | Int32(SOCK_CLOEXEC.rawValue), 0)
        defer { close(descriptor) }
        setTimeout(descriptor)
        guard withAddress(address(target), { connect(descriptor, $0, $1) }) == 0,
            send(descriptor, text, 1, Int32(MSG_NOSIGNAL)) == 1
        else { return false }
        var answer: (UInt8, UInt8) = (0, 0)
        return recv(descriptor, &answer, 2, Int32(MSG_WAITALL)) == 2 && answer.0 == UInt8(ascii: "o")
    }

    /// Polls over the board's active slot until told to stop.
    static func poll(_ hub: DeviceAddresses, _ board: Board, text: String = "p", pause: useconds_t = 2_000) {
        while !board.stopPolling.load(ordering: .relaxed) {
            let slot = board.activeSlot
            if request(hub.address(slot), text) {
                board.answered.add(1, ordering: .relaxed)
                if slot == .second { board.bySecondSlot.add(1, ordering: .relaxed) }
            } else {
                board.lost.add(1, ordering: .relaxed)
            }
            usleep(pause)
        }
    }
}
