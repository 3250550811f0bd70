import Base
import CLinux
import Trust

/// What this machine and this build say of themselves.
public enum DeviceFacts {
    /// The day this source was released, 2026-11-01: no earlier time can be right. The first time floor.
    public static let sourceDate = Timestamp(seconds: 1_793_491_200)

    /// Version of this source; an agent that came as a release goes by the release's.
    public static let version = "1.0.0"

    /// Abilities that a release may ask for.
    public static let features: Set<String> = [
        "update-strategies-1", "config-files-1", "layered-load-1", "self-update-1",
    ]

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

    /// The kernel's name of this boot; empty where it cannot be told, and then every process counts as a boot.
    public static func bootID(fileSystem: FileSystem = FileSystem()) -> String {
        guard let file = try? ReadableFile(path: "/proc/sys/kernel/random/boot_id"),
            let bytes = try? file.readAll(limit: 64)
        else { return "" }
        return String(decoding: bytes.prefix { $0 != 0x0A }, as: UTF8.self)
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
