import Base

/// The clock and the durability monitor that a process works with.
///
/// A release build has the live clock and a monitor that lets everything through. A debug build takes a fault from the
/// environment (`FaultPoint`), which is how crash tests break a real agent at a chosen operation.
public struct Surroundings: Sendable {
    public var clock: SystemClock
    public var monitor: DurabilityMonitor

    public static let live = Surroundings(clock: .live, monitor: .passthrough)

    public static func ofProcess() throws -> Surroundings {
        #if DEBUG
            return try FaultPoint.fromEnvironment()?.surroundings ?? .live
        #else
            return .live
        #endif
    }
}
