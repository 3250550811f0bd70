import Base
import ImageDelta
import Synchronization

/// The members of all base layers, and what each layer is besides file contents.
struct BaseLayout: Sendable {
    private(set) var members: [BaseMember] = []
    /// The members of each layer.
    private(set) var scanned: [[TarMember]] = []
    private(set) var skeletonSizes: [Int64] = []
    /// Short digests of the layers' skeletons.
    private(set) var skeletonDigests: [[UInt8]] = []
    /// Offsets in the base space of contents that a later member of the same layer hides, ascending.
    private(set) var hidden: [Int64] = []

    init(_ space: BaseSpace) throws(DeltaError) {
        for (file, start) in zip(space.files, space.starts) {
            let layer = try file.scan()
            scanned.append(layer)
            var last: [[UInt8]: Int] = [:]
            for (index, member) in layer.enumerated() { last[ModelTree.normal(member.path)] = index }
            var hasher = SHA256Hasher()
            var size: Int64 = 0
            var at: Int64 = 0
            for (index, member) in layer.enumerated() {
                let isLast = last[ModelTree.normal(member.path)] == index
                let isExtractable = member.isPlainFile && isLast
                if member.isPlainFile, member.contentSize > 0 {
                    let skeleton = file.slice(at, member.contentOffset - at)
                    hasher.update(UnsafeRawBufferPointer(skeleton))
                    size += Int64(skeleton.count)
                    at = member.contentOffset + member.contentSize
                    if !isLast { hidden.append(start + member.contentOffset) }
                }
                members.append(BaseMember(member: member, layerStart: start, isExtractable: isExtractable))
            }
            let tail = file.slice(at, Int64(file.count) - at)
            hasher.update(UnsafeRawBufferPointer(tail))
            skeletonSizes.append(size + Int64(tail.count))
            skeletonDigests.append(Array(hasher.finish().bytes.prefix(DeltaFormat.shortDigestBytes)))
        }
    }
}

/// Counts finished jobs over several tasks.
final class Counter: Sendable {
    private let value = Atomic<Int>(0)
    func increment() -> Int { value.wrappingAdd(1, ordering: .relaxed).newValue }
}
