import Base
import CLinux
import Trust

/// What this machine and this build say of themselves.
public enum DeviceFacts {
    /// The day this source was released, 2026-11-01: no earlier time can be right. The first time floor.
    public static let sourceDate = Timestamp(seconds: 1_793_491_200)

    /// Abilities that a release may ask for.
    public static let features: Set<String> = ["update-strategies-1", "config-files-1", "layered-load-1"]

    /// OCI architecture name.
    public static var architecture: String {
        #if arch(x86_64)
            "amd64"
        #elseif arch(arm64)
            "arm64"
        #elseif arch(arm)
            "arm"
        #elseif arch(riscv64)
            "riscv64"
        #else
            "unknown"
        #endif
    }

    /// The clock and whether anything vouches for it.
    public static func clockReading(_ clock: SystemClock, trust: AgentConfig.ClockTrust) -> ClockReading {
        let isTrusted: Bool
        switch trust {
        case .always: isTrusted = true
        case .never: isTrusted = false
        case .kernel: isTrusted = holdfast_clock_is_synchronised() == 1
        }
        return ClockReading(now: clock.now(), isTrusted: isTrusted)
    }
}
