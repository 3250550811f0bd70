import Base
import Glibc
import Model
import Synchronization

/// What a long command is doing and how far it is, on standard error.
///
/// A bar on a terminal, a line now and then in a pipe, JSON lines under `--output json`, nothing when quiet.
/// Safe to call from any task; redraws at most every ``drawInterval`` ns.
public final class Progress: Sendable {
    public enum Unit: String, Sendable { case bytes, items }

    /// Nanoseconds between two redraws of a bar.
    static let drawInterval: UInt64 = 100_000_000
    /// Nanoseconds between two lines in a pipe.
    static let lineInterval: UInt64 = 2_000_000_000
    static let barWidth = 24

    private struct State {
        var task = ""
        var unit = Unit.bytes
        var total: Int64?
        var done: Int64 = 0
        var isActive = false
        var lastDrawn: UInt64 = 0
        var isBarShown = false
    }

    private let console: Console
    private let clock: SystemClock
    private let state = Mutex(State())

    public init(_ console: Console, clock: SystemClock = .live) {
        self.console = console
        self.clock = clock
    }

    deinit {
        if state.withLock({ $0.isBarShown }) { console.write(Array("\r\u{1B}[K".utf8), to: console.diagnostics) }
    }

    /// Begins a task; one that runs ends. `total` nil when unknown.
    public func start(_ task: String, total: Int64? = nil, unit: Unit = .bytes) {
        state.withLock { state in
            endTask(&state)
            let bar = state.isBarShown
            state = State(task: task, unit: unit, total: total, isActive: true, isBarShown: bar)
            draw(&state, event: "start")
        }
    }

    /// Adds to what is done of the running task.
    public func advance(by amount: Int64) {
        state.withLock { state in
            state.done += amount
            drawIfDue(&state)
        }
    }

    /// Sets what is done of the running task.
    public func update(_ done: Int64, total: Int64? = nil) {
        state.withLock { state in
            state.done = done
            if let total { state.total = total }
            drawIfDue(&state)
        }
    }

    /// Ends the running task, saying so.
    public func finish() {
        state.withLock { endTask(&$0) }
    }

    private func endTask(_ state: inout State) {
        guard state.isActive else { return }
        state.isActive = false
        draw(&state, event: "done")
    }

    private func drawIfDue(_ state: inout State) {
        guard state.isActive else { return }
        let now = clock.monotonic()
        let interval = console.format == .text && console.diagnosticsAreTerminal ? Self.drawInterval : Self.lineInterval
        guard now >= state.lastDrawn &+ interval else { return }
        draw(&state, event: "progress")
    }

    private func draw(_ state: inout State, event: String) {
        guard !console.quiet else { return }
        state.lastDrawn = clock.monotonic()
        switch console.format {
        case .json:
            var fields: [String: JSONValue] = [
                "event": .string(event), "task": .string(state.task), "done": .integer(state.done),
                "unit": .string(state.unit.rawValue),
            ]
            if let total = state.total { fields["total"] = .integer(total) }
            console.diagnostic(["progress": .object(fields)])
        case .text where console.diagnosticsAreTerminal:
            let end = event == "done" ? "\n" : ""
            let line = Self.barLine(
                task: state.task, done: state.done, total: state.total, unit: state.unit, isDone: event == "done")
            state.isBarShown = event != "done"
            console.write(Array("\r\u{1B}[K\(line)\(end)".utf8), to: console.diagnostics)
        case .text:
            guard event != "start" else { return }
            let amount = Self.amount(done: state.done, total: state.total, unit: state.unit)
            let tail = event == "done" ? "done" : "…"
            let line = "\(state.task): \([amount, tail].filter { !$0.isEmpty }.joined(separator: " "))"
            console.write(Array((TerminalText.sanitized(line) + "\n").utf8), to: console.diagnostics)
        }
    }

    /// `3.1 MiB of 6.2 MiB (50%)`, `2 of 4`, `3.1 MiB`; empty for nothing done of an unknown total.
    static func amount(done: Int64, total: Int64?, unit: Unit) -> String {
        func text(_ value: Int64) -> String { unit == .bytes ? ByteCount(value).description : String(value) }
        guard let total, total > 0 else { return done > 0 ? text(done) : "" }
        guard done < total else { return text(done) }
        return "\(text(done)) of \(text(total))" + (unit == .bytes ? " (\(percent(done, total))%)" : "")
    }

    /// One line of at most 79 columns for tasks of ordinary length.
    static func barLine(task: String, done: Int64, total: Int64?, unit: Unit, isDone: Bool) -> String {
        let name = String(TerminalText.sanitized(task).prefix(30))
        let amount = amount(done: done, total: total, unit: unit)
        guard !isDone else { return "\(name): \([amount, "done"].filter { !$0.isEmpty }.joined(separator: " "))" }
        guard let total, total > 0 else { return "\(name) \(amount)" }
        let filled = Int(percent(done, total)) * barWidth / 100
        let bar = String(repeating: "#", count: filled) + String(repeating: "-", count: barWidth - filled)
        return "\(name) [\(bar)] \(amount)"
    }

    private static func percent(_ done: Int64, _ total: Int64) -> Int64 {
        Int64(Double(min(max(done, 0), total)) / Double(total) * 100)
    }
}
