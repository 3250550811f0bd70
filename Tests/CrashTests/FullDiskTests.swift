import AgentCore
import AgentTestSupport
import Base
import Glibc
import Model
import OCI
import SQLite
import TestSupport
import Testing
import Trust

/// A small file system of its own, on which the state directory lies.
final class SmallDisk: Sendable {
    enum Kind: String, CaseIterable, CustomTestStringConvertible {
        case tmpfs, ext4
        var testDescription: String { rawValue }
    }

    static let isAvailable = geteuid() == 0 && Tool.isInstalled("mkfs.ext4") && Tool.isInstalled("mount")

    let path: String
    private let folder: TemporaryDirectory

    /// - Parameter inodes: files that it has room for.
    init(_ kind: Kind, megabytes: Int, inodes: Int) throws {
        folder = try TemporaryDirectory()
        path = folder.file("disk")
        try FileSystem().makeDirectories(path, op: "test")
        switch kind {
        case .tmpfs:
            try Self.run(["mount", "-t", "tmpfs", "-o", "size=\(megabytes)m,nr_inodes=\(inodes)", "none", path])
        case .ext4:
            let image = folder.file("image")
            try FileSystem().create(image, op: "test").allocate(Int64(megabytes) << 20)
            // No blocks for root alone: what is full is full for everybody.
            try Self.run(["mkfs.ext4", "-q", "-F", "-m", "0", "-N", "\(inodes)", image])
            try Self.run(["mount", "-o", "loop", image, path])
        }
    }

    deinit { _ = try? Tool.run(["umount", "-l", path]) }

    private static func run(_ command: [String]) throws {
        let outcome = try Tool.run(command)
        guard outcome.status == 0 else {
            throw Command.Failed(description: "\(command.joined(separator: " ")): \(outcome.output)")
        }
    }

    private var ballast: String { Path.join(path, "ballast") }

    /// Takes every block that is left.
    func fill() throws {
        let file = try FileSystem().append(ballast, op: "test")
        for size in [1 << 20, 64 << 10, 4 << 10, 512] {
            let block = [UInt8](repeating: 0x5A, count: size)
            while (try? file.write(block)) != nil {}
        }
    }

    /// Takes every inode that is left.
    func fillInodes() throws {
        let folder = Path.join(path, "many")
        try FileSystem().makeDirectories(folder, op: "test")
        for number in 0..<100_000 {
            guard (try? FileSystem().create(Path.join(folder, "\(number)"), op: "test")) != nil else { return }
        }
    }

    func makeRoom() throws {
        for name in ["ballast", "many"] { try FileSystem().removeTree(Path.join(path, name), op: "test") }
    }
}

/// The agent on a file system without a free block, for real.
@Suite(.serialized, .enabled(if: SmallDisk.isAvailable, "SKIPPED: mounting a small file system needs root and mkfs.ext4"))
struct FullDiskTests {
    /// Bytes that the agent holds back.
    private static let reserve: Int64 = 1 << 20

    private let directory: TemporaryDirectory
    init() throws { directory = try TemporaryDirectory() }

    private struct World {
        let disk: SmallDisk
        let device: LabDevice
        let lab: Lab

        func boot() async throws -> LabDevice.Process { try await device.boot(reserve: FullDiskTests.reserve) }
        var hasReserve: Bool { (try? FileSystem().status(device.layout.reserve)?.size) == FullDiskTests.reserve }
    }

    /// A device on which 2.0.0 runs and 1.0.0 is the release before.
    private func world(_ kind: SmallDisk.Kind, inodes: Int = 600) async throws -> (World, LabDevice.Process) {
        let disk = try SmallDisk(kind, megabytes: 12, inodes: inodes)
        let device = LabDevice(path: Path.join(disk.path, "state"))
        let lab = try Lab(path: directory.file("repo"), clock: device.clock.clock)
        let world = World(disk: disk, device: device, lab: lab)
        let process = try await world.boot()
        let trust = try TrustState.provision(
            releaseRoot: lab.repository.rootBytes(), buildTime: Timestamp(seconds: 1_700_000_000))
        try await process.journal.provision(
            DeviceRecord(id: "pump-7", labels: [:], requiresDirector: false), trust: trust)
        for number in 1...2 {
            try lab.publish(lab.release("\(number).0.0", ctr: Int64(number), services: ["web": "web-\(number)"]))
            try await process.importer.importRelease(from: lab.source()) { _ in }
            #expect(try await device.converge(process))
        }
        #expect(world.hasReserve)
        return (world, process)
    }

    private func version(_ process: LabDevice.Process) async throws -> String? {
        try await process.journal.desired().first?.target.release.version.description
    }

    @Test(arguments: SmallDisk.Kind.allCases) func aRollbackNeedsNoFreeSpace(_ kind: SmallDisk.Kind) async throws {
        let (world, process) = try await world(kind)
        try world.disk.fill()
        // The plain order finds no room, as the journal's log must grow; the service's way releases the reserve.
        let target = try await process.reconciler.withReserve { try await process.journal.rollBack("shop") }
        #expect(target.release.version.description == "1.0.0")
        #expect(try await world.device.converge(process))
        #expect(try await version(process) == "1.0.0")
        try world.disk.makeRoom()
        await process.reconciler.importBegan()
        await process.reconciler.importEnded()
        _ = await process.reconciler.tick()
        #expect(world.hasReserve, "the reserve is made again when there is room")
    }

    @Test(arguments: SmallDisk.Kind.allCases) func aFullDiskStopsNoServiceAndNoStart(_ kind: SmallDisk.Kind) async throws {
        let (world, first) = try await world(kind)
        try world.disk.fill()
        let containers = world.device.engine.running().map(\.id)
        // Something dies, and its restart is written nowhere for want of room.
        let victim = try #require(world.device.engine.running().first)
        world.device.engine.kill(victim.name)
        #expect(try await world.device.converge(first))
        // The agent starts anew on the full disk: with the reserve, and then with nothing left to give up, when it can
        // write nothing and says so.
        for _ in 0..<3 {
            let process = try await world.boot()
            let isSettled = try await world.device.converge(process, limit: 20)
            let trouble = await process.reconciler.currentReport().journalTrouble
            #expect(isSettled || trouble?.contains("full") == true, "\(trouble ?? "")")
            #expect(try await version(process) == "2.0.0")
            try world.disk.fill()
        }
        #expect(world.device.engine.running().map(\.id) == containers)
        try world.disk.makeRoom()
        let process = try await world.boot()
        #expect(try await world.device.converge(process))
        #expect(process.condition == .sound)
        let journal = try Connection(path: world.device.layout.journal)
        #expect(try journal.integrityProblems().isEmpty)
    }

    @Test(arguments: SmallDisk.Kind.allCases) func anImportThatCannotFitIsRefusedBeforeItBegins(
        _ kind: SmallDisk.Kind
    ) async throws {
        let (world, process) = try await world(kind)
        let big = try world.lab.image("big", content: [UInt8](repeating: 7, count: 16 << 20))
        var release = try world.lab.release("3.0.0", ctr: 3, services: ["web": "web-3"])
        release.images = [big.manifest.digest.description: big]
        release.services["web"]?.image = big.manifest.digest.description
        try world.lab.publish(release)
        let refusal = await #expect(throws: AgentError.self) {
            try await process.importer.importRelease(from: world.lab.source()) { _ in }
        }
        #expect(refusal?.reason == .noSpace)
        #expect(refusal?.message.contains("needs 16") == true, "\(refusal?.message ?? "")")
        #expect(try FileSystem().list(process.store.stagingDirectory).isEmpty)
        #expect(try await version(process) == "2.0.0")
    }

    @Test(arguments: SmallDisk.Kind.allCases) func aDiskWithoutInodesIsRefusedToo(_ kind: SmallDisk.Kind) async throws {
        let (world, process) = try await world(kind)
        try world.disk.fillInodes()
        try world.lab.publish(world.lab.release("3.0.0", ctr: 3, services: ["web": "web-3"]))
        let refusal = await #expect(throws: AgentError.self) {
            try await process.importer.importRelease(from: world.lab.source()) { _ in }
        }
        #expect(refusal?.reason == .noSpace)
        #expect(refusal?.message.contains("files") == true, "\(refusal?.message ?? "")")
        #expect(try await world.device.converge(process))
        try world.disk.makeRoom()
        try await process.importer.importRelease(from: world.lab.source()) { _ in }
        #expect(try await world.device.converge(process))
        #expect(try await version(process) == "3.0.0")
    }
}
