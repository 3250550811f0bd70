import Base
import Glibc

/// Lets a test make the agent hang for real: in debug builds only, every durable operation blocks for as long as the
/// file exists that `HOLDFAST_HANG_FILE` names.
enum HangFile {
    static var monitor: DurabilityMonitor? {
        #if DEBUG
            guard let path = getenv("HOLDFAST_HANG_FILE").map({ String(cString: $0) }) else { return nil }
            return DurabilityMonitor { _ in
                while access(path, F_OK) == 0 { usleep(50_000) }
                return .perform
            }
        #else
            return nil
        #endif
    }
}
