import Glibc
import Synchronization

/// Keeps the pages of mapped files that are in memory near a limit.
///
/// Who reads a mapping says how much; when the sum passes the limit, all pages are given back to the kernel, and
/// those still needed come again from its cache. So an input may be larger than memory.
final class PageBudget: Sendable {
    /// Bytes that may be read before all pages are given back.
    private static let limit = 192 << 20

    private struct Mapping {
        var address: UInt
        var count: Int
    }

    private let touched = Atomic<Int>(0)
    private let mappings = Mutex<[Mapping]>([])

    func add(_ address: UnsafeRawPointer, _ count: Int) {
        mappings.withLock { $0.append(Mapping(address: UInt(bitPattern: address), count: count)) }
    }

    func remove(_ address: UnsafeRawPointer) {
        mappings.withLock { $0.removeAll { $0.address == UInt(bitPattern: address) } }
    }

    /// Counts `count` bytes that are about to be read.
    func touch(_ count: Int) {
        guard touched.wrappingAdd(count, ordering: .relaxed).newValue > Self.limit else { return }
        mappings.withLock { mappings in
            guard touched.load(ordering: .relaxed) > Self.limit else { return }
            touched.store(0, ordering: .relaxed)
            for mapping in mappings {
                madvise(UnsafeMutableRawPointer(bitPattern: mapping.address), mapping.count, MADV_DONTNEED)
            }
        }
    }
}
