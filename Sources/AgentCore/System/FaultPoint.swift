#if DEBUG
    import Base
    import Glibc
    import Synchronization

    /// One fault at one durable operation of a real agent process, for crash tests. Debug builds only.
    ///
    /// `HOLDFAST_FAULT` is `KIND@INDEX`, the index counted from 0 over every operation that the monitor sees:
    ///
    /// - `kill`: SIGKILL before the operation
    /// - `tear`: half of a write reaches the file, then SIGKILL; before any other operation it is `kill`
    /// - `stop`: SIGSTOP before the operation, so that a test can do something to the machine, and send SIGCONT
    /// - `enospc`, `eio`: that operation fails
    /// - `wall=SECONDS`: from there on the wall clock reads SECONDS since 1970, and goes on from that
    ///
    /// `HOLDFAST_FAULT_LOG` names a file to which each operation is appended, one a line.
    public final class FaultPoint: Sendable {
        public static let variable = "HOLDFAST_FAULT"
        public static let logVariable = "HOLDFAST_FAULT_LOG"

        enum Kind: Equatable {
            case kill, tear, stop
            case fail(errno: Int32)
            case wall(seconds: Int64)
        }

        private let kind: Kind?
        private let index: Int
        private let log: WritableFile?
        private let state = Mutex(State())
        private struct State {
            var count = 0
            /// The next operation is one too many: a torn write was the last.
            var isEnding = false
            /// Added to the live wall clock.
            var wallOffset: Int64 = 0
        }

        static func fromEnvironment() throws -> FaultPoint? {
            let fault = getenv(variable).map { String(cString: $0) }
            let path = getenv(logVariable).map { String(cString: $0) }
            guard fault != nil || path != nil else { return nil }
            return try FaultPoint(fault ?? "", log: path)
        }

        init(_ text: String, log path: String?) throws {
            let parts = text.split(separator: "@", maxSplits: 1)
            if text.isEmpty {
                (kind, index) = (nil, 0)
            } else if parts.count == 2, let kind = Self.kind(String(parts[0])), let index = Int(parts[1]) {
                (self.kind, self.index) = (kind, index)
            } else {
                throw AgentError(.configuration, "\(Self.variable)=\(text) is not KIND@INDEX")
            }
            log = try path.map { try FileSystem().append($0, op: "fault.log") }
        }

        private static func kind(_ text: String) -> Kind? {
            switch text {
            case "kill": .kill
            case "tear": .tear
            case "stop": .stop
            case "enospc": .fail(errno: ENOSPC)
            case "eio": .fail(errno: EIO)
            default: text.hasPrefix("wall=") ? Int64(text.dropFirst(5)).map { .wall(seconds: $0) } : nil
            }
        }

        var surroundings: Surroundings {
            var clock = SystemClock.live
            let live = clock.now
            clock.now = { live() + self.state.withLock { $0.wallOffset } }
            return Surroundings(clock: clock, monitor: DurabilityMonitor { self.willPerform($0) })
        }

        private func willPerform(_ operation: DurableOperation) -> DurabilityVerdict {
            state.withLock { state in
                if state.isEnding { end(SIGKILL) }
                try? log?.write(Array("\(operation)\n".utf8))
                defer { state.count += 1 }
                guard state.count == index, let kind else { return .perform }
                switch kind {
                case .kill: end(SIGKILL)
                case .stop: end(SIGSTOP)
                case .tear:
                    guard operation.kind == .write else {
                        end(SIGKILL)
                        break
                    }
                    state.isEnding = true
                    return .tear(count: Self.tornBytes)
                case .fail(let errno): return .fail(errno: errno)
                case .wall(let seconds): state.wallOffset = seconds - SystemClock.live.now().seconds
                }
                return .perform
            }
        }

        /// Bytes of a torn write that reach the file: less than most writes have.
        private static let tornBytes = 40

        private func end(_ signal: Int32) {
            kill(getpid(), signal)
        }
    }
#endif
