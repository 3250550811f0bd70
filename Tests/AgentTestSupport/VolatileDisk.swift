import Base
import Glibc
import Synchronization

/// A folder as a disk with a write cache sees it: what was synced, and what only seems to be there.
///
/// It is told of each operation before it happens and looks at the folder in between, so it knows which names
/// appeared or went since their directory was synced and which files differ from what was last synced. A power cut
/// keeps a seeded choice of these: names in any combination (a rename whole or not at all), files as old pages, new
/// pages and zeros in any mixture, with any length in between.
public final class VolatileDisk: Sendable {
    private let contents: Mutex<DiskContents>

    /// Everything that is in `root` now counts as synced.
    public init(_ root: String) throws { contents = Mutex(try DiskContents(root)) }

    deinit { contents.withLock { $0.closeFiles() } }

    func willPerform(_ operation: DurableOperation) { contents.withLock { $0.willPerform(operation) } }

    /// Replaces the folder by what the power cut leaves of it. The object is of no use afterwards.
    public func cutPower(seed: UInt64) throws { try contents.withLock { try $0.cutPower(seed: seed) } }
}

private struct DiskContents {
    /// Bytes that a disk writes whole or not at all.
    private static let sector = 512
    private static let page = 4096

    private struct Node {
        var isDirectory: Bool
        /// Kept open, so that a name's removal can be undone and no number is used again.
        var descriptor: Int32
        /// What was last synced; nil for a file that never was.
        var durable: [UInt8]?
    }
    private struct Change {
        /// Changes seen at once are one operation.
        var group: Int
        var directory: UInt64
        var name: String
        var node: UInt64?
    }

    private let root: String
    private let rootNode: UInt64
    private var nodes: [UInt64: Node] = [:]
    private var names: [UInt64: [String: UInt64]] = [:]
    private var durableNames: [UInt64: [String: UInt64]] = [:]
    private var pending: [Change] = []
    private var group = 0

    init(_ root: String) throws {
        self.root = root
        guard let inode = try FileSystem().status(root)?.inode else {
            throw FileSystemError(operation: "stat", path: root, errno: ENOENT)
        }
        rootNode = inode
        observe()
        pending = []
        durableNames = names
        nodes = nodes.mapValues { node in
            var node = node
            if !node.isDirectory { node.durable = Self.content(node) }
            return node
        }
    }

    func closeFiles() { for node in nodes.values where node.descriptor >= 0 { close(node.descriptor) } }

    mutating func willPerform(_ operation: DurableOperation) {
        observe()
        guard let inode = (try? FileSystem().status(operation.subject))??.inode, let node = nodes[inode] else { return }
        switch operation.kind {
        case .sync: nodes[inode]?.durable = Self.content(node)
        case .syncDirectory: syncNames(inode)
        default: return
        }
    }

    private mutating func syncNames(_ directory: UInt64) {
        durableNames[directory] = names[directory]
        // A name that went from here by a rename is at its new place too: one operation is one record of the disk's log.
        let groups = Set(pending.filter { $0.directory == directory && $0.node == nil }.map(\.group))
        for change in pending where groups.contains(change.group) {
            durableNames[change.directory, default: [:]][change.name] = change.node
        }
        pending.removeAll { $0.directory == directory || groups.contains($0.group) }
    }

    // MARK: Looking

    private mutating func observe() {
        group += 1
        scan(root, rootNode)
    }

    private mutating func scan(_ path: String, _ inode: UInt64) {
        let fileSystem = FileSystem()
        if nodes[inode] == nil { nodes[inode] = Node(isDirectory: true, descriptor: -1) }
        var seen: [String: UInt64] = [:]
        for name in (try? fileSystem.list(path)) ?? [] {
            let child = Path.join(path, name)
            // SQLite's shared memory is not on the disk in any sense that a power cut leaves.
            guard !name.hasSuffix("-shm"), let status = (try? fileSystem.status(child)) ?? nil else { continue }
            seen[name] = status.inode
            if status.kind == .directory {
                scan(child, status.inode)
            } else if nodes[status.inode] == nil {
                nodes[status.inode] = Node(isDirectory: false, descriptor: open(child, O_RDONLY | O_CLOEXEC))
            }
        }
        let before = names[inode] ?? [:]
        for (name, node) in seen where before[name] != node {
            pending.append(Change(group: group, directory: inode, name: name, node: node))
        }
        for name in before.keys where seen[name] == nil {
            pending.append(Change(group: group, directory: inode, name: name, node: nil))
        }
        names[inode] = seen
    }

    private static func content(_ node: Node) -> [UInt8] {
        guard node.descriptor >= 0 else { return [] }
        var bytes: [UInt8] = []
        while true {
            var chunk = [UInt8](repeating: 0, count: 1 << 16)
            let count = pread(node.descriptor, &chunk, chunk.count, off_t(bytes.count))
            guard count > 0 else { return bytes }
            bytes += chunk.prefix(count)
        }
    }

    // MARK: The cut

    mutating func cutPower(seed: UInt64) throws {
        var generator = SeededGenerator(seed: seed)
        observe()
        var surviving = durableNames
        for group in Set(pending.map(\.group)).sorted() where generator.chance(50) {
            for change in pending where change.group == group {
                surviving[change.directory, default: [:]][change.name] = change.node
            }
        }
        let next = root + ".next"
        try FileSystem().makeDirectories(next, op: "test.disk")
        try build(next, rootNode, surviving, &generator)
        try FileSystem().removeTree(root, op: "test.disk")
        try FileSystem().rename(next, to: root, op: "test.disk")
    }

    private func build(
        _ path: String, _ inode: UInt64, _ surviving: [UInt64: [String: UInt64]], _ generator: inout SeededGenerator
    ) throws {
        let fileSystem = FileSystem()
        for (name, child) in (surviving[inode] ?? [:]).sorted(by: { $0.key < $1.key }) {
            guard let node = nodes[child] else { continue }
            let place = Path.join(path, name)
            if node.isDirectory {
                try fileSystem.makeDirectories(place, mode: 0o700, op: "test.disk")
                try build(place, child, surviving, &generator)
            } else {
                let file = try fileSystem.create(place, op: "test.disk")
                try file.write(remains(of: node, &generator))
                var info = stat()
                if fstat(node.descriptor, &info) == 0 {
                    fchmod(file.descriptor, info.st_mode & 0o7777)
                    _ = fchown(file.descriptor, info.st_uid, info.st_gid)
                }
            }
        }
    }

    private func remains(of node: Node, _ generator: inout SeededGenerator) -> [UInt8] {
        let new = Self.content(node)
        let old = node.durable ?? []
        guard new != old else { return old }
        switch Int.random(in: 0..<4, using: &generator) {
        case 0: return old
        case 1: return new
        default: return Self.mixture(old, new, &generator)
        }
    }

    private static func mixture(_ old: [UInt8], _ new: [UInt8], _ generator: inout SeededGenerator) -> [UInt8] {
        let bounds = (min(old.count, new.count), max(old.count, new.count))
        let length = generator.pick([old.count, new.count, Int.random(in: bounds.0...bounds.1, using: &generator)])
        let grain = generator.pick([sector, page])
        var bytes = [UInt8](repeating: 0, count: length)
        for start in stride(from: 0, to: length, by: grain) {
            let source = generator.chance(50) ? old : new
            // Space that was given to the file and never written reads as zeros.
            guard start < source.count else { continue }
            let end = min(start + grain, length, source.count)
            bytes.replaceSubrange(start..<end, with: source[start..<end])
        }
        return bytes
    }
}
