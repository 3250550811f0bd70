import Base

/// Puts the base of a delta together from what a machine has, layer by layer.
public struct BaseAssembly {
    /// Where one base layer is.
    public enum Location: Sendable {
        case tar(path: String)
        /// An extracted tree; `skeleton` is a file with its headers, nil when the delta must supply them.
        case tree(path: String, skeleton: String?)
    }

    private let delta: DeltaApply
    /// Header lists that come from the delta are written here, and belong to the caller.
    private let scratch: String
    private let fileSystem: FileSystem

    public init(delta: DeltaApply, scratch: String, fileSystem: FileSystem = FileSystem()) {
        self.delta = delta
        self.scratch = scratch
        self.fileSystem = fileSystem
    }

    /// The base space; `locations` are the layers in the delta's order.
    public func open(_ locations: [Location]) throws(DeltaError) -> any BaseSource {
        guard locations.count == delta.header.bases.count else {
            throw DeltaError(
                .wrongBase, "it needs \(delta.header.bases.count) layers, \(locations.count) are given")
        }
        var parts: [any BaseSource] = []
        for (index, location) in locations.enumerated() {
            switch location {
            case .tar(let path): parts.append(try TarFileBase(paths: [path]))
            case .tree(let path, let given):
                parts.append(try tree(index, root: try TreeRoot(path: path), skeleton: given))
            }
        }
        return parts.count == 1 ? parts[0] : JoinedBase(parts)
    }

    /// Base layer `index` from an extracted tree. Headers that are made here stay in ``skeletonPath(_:)``, for another
    /// run to be given.
    public func tree(_ index: Int, root: TreeRoot, skeleton given: String?) throws(DeltaError) -> any BaseSource {
        let skeleton = try skeleton(of: index, root: root, given: given)
        return try TreeBase(root: root, skeleton: skeleton, tarSize: delta.header.bases[index].size)
    }

    public func skeletonPath(_ index: Int) -> String { Path.join(scratch, "headers-\(index)") }

    private func skeleton(of index: Int, root: TreeRoot, given: String?) throws(DeltaError) -> ReadableFile {
        if let given {
            let file = try DeltaError.wrap { () throws(FileSystemError) in try ReadableFile(path: given) }
            try check(file, index: index, root: root)
            return file
        }
        let base = delta.header.bases[index]
        var offset = delta.skeletonOffset
        for before in delta.header.bases[..<index] { offset += before.recipe.byteCount }
        let steps = StreamDecoder(file: delta.file, stream: .literal)
        try steps.begin(offset: offset, length: base.recipe.byteCount)
        let path = skeletonPath(index)
        let output = try DeltaError.wrap { () throws(FileSystemError) in
            try fileSystem.create(path, mode: 0o600, truncate: true, op: "delta.headers")
        }
        let writer = BufferedOutput(output)
        switch base.recipe {
        case .absent:
            throw DeltaError(
                .missingBase, "\(root.path) is an extracted tree, and neither this delta nor this machine has its headers")
        case .stored:
            var left = base.skeletonSize
            while left > 0 {
                let part = Int(min(left, 64 << 10))
                var bytes = [UInt8](repeating: 0, count: part)
                for at in 0..<part { bytes[at] = try steps.byte() }
                try writer.write(bytes)
                left -= Int64(part)
            }
        case .regenerated:
            var builder = SkeletonBuilder(
                steps: steps, tree: DiskTree(root: root), limit: base.skeletonSize,
                write: { (bytes) throws(DeltaError) in try writer.write(bytes) })
            try builder.run()
        }
        try writer.flush()
        let file = try DeltaError.wrap { () throws(FileSystemError) in try ReadableFile(path: path) }
        try check(file, index: index, root: root)
        return file
    }

    /// Whether a header list is the one of base layer `index`.
    private func check(_ file: ReadableFile, index: Int, root: TreeRoot) throws(DeltaError) {
        let base = delta.header.bases[index]
        var hasher = SHA256Hasher()
        var at: Int64 = 0
        while true {
            let offset = at
            let bytes = try DeltaError.wrap { () throws(FileSystemError) in
                try file.read(at: offset, count: 256 << 10)
            }
            if bytes.isEmpty { break }
            hasher.update(bytes)
            at += Int64(bytes.count)
        }
        guard at == base.skeletonSize,
            hasher.finish().bytes.prefix(DeltaFormat.shortDigestBytes).elementsEqual(base.skeletonDigest)
        else {
            throw DeltaError(
                .wrongBase,
                "the names, sizes, modes or times in \(root.path) are not those of layer \(index + 1) (\(base.diffID))")
        }
    }
}

/// Gathers small writes.
final class BufferedOutput {
    private static let bytes = 64 << 10
    private let file: WritableFile
    private var buffer: [UInt8] = []

    init(_ file: WritableFile) { self.file = file }

    func write(_ bytes: [UInt8]) throws(DeltaError) {
        buffer += bytes
        if buffer.count >= Self.bytes { try flush() }
    }

    func flush() throws(DeltaError) {
        let (file, pending) = (file, buffer)
        try DeltaError.wrap { () throws(FileSystemError) in try file.write(pending) }
        buffer.removeAll(keepingCapacity: true)
    }
}
