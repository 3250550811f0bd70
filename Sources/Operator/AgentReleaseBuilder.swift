import Archive
import Base
import Model
import OCI
import Trust

/// Makes a release of the agent's own program: a target like any other, whose one blob is the program.
public struct AgentReleaseBuilder: Sendable {
    public struct Request: Sendable {
        public var name: ReleaseName
        /// The program's file.
        public var program: String
        /// OCI architecture name; nil reads it from the file's ELF header.
        public var architecture: String?
        public var ctr: Int64?
        public var epoch: Int64?
        public var labels: [String: String] = [:]
        /// The targets role that lists the release.
        public var role = "targets"
        /// Seconds that the new agent must stay healthy before it is confirmed.
        public var stableSeconds = 60

        public init(name: ReleaseName, program: String) {
            self.name = name
            self.program = program
        }
    }

    /// What an agent must know to take such a release.
    public static let feature = "self-update-1"

    let workspace: Workspace

    public init(workspace: Workspace) { self.workspace = workspace }

    public func build(_ request: Request, signers: [any Signer]) throws -> ReleaseBuilder.Outcome {
        let order = try ReleaseOrder(request.name, ctr: request.ctr, epoch: request.epoch, workspace)
        let file = try ReadableFile(path: request.program)
        let size = try file.status().size
        guard (1...ReleaseLimits.agentSize).contains(size) else {
            throw OperatorError(
                .value, "\(request.program) has \(size) bytes, an agent has 1 to \(ReleaseLimits.agentSize)")
        }
        let architecture = try request.architecture ?? Self.architecture(of: file)
        try workspace.blobs.prepare()
        let writer = try workspace.blobs.writer()
        try writer.fill(from: FileSource(file, range: 0..<size))
        let binary = try writer.finish()
        let release = Release(
            app: request.name.app, version: request.name.version, ctr: order.ctr, epoch: order.epoch,
            requirements: .init(
                architectures: [architecture], labels: request.labels, features: [Self.feature]),
            services: [:], images: [:],
            update: .init(stableSeconds: request.stableSeconds), agent: .init(binary: binary))
        let document = try release.encoded()
        let target = ReleaseTarget(
            app: release.app, version: release.version, ctr: release.ctr, epoch: release.epoch,
            selector: release.requirements.labels, architectures: release.requirements.architectures,
            digest: Digest.sha256(document), length: Int64(document.count))
        let bytes = binary.size + target.length
        if let existing = try order.existing(as: target) {
            return .init(
                target: existing, release: release, signing: try workspace.repository.sign(signers), wasThere: true,
                totalBytes: bytes)
        }
        let signing = try workspace.repository.add(target, document: document, role: request.role, signers: signers)
        return .init(target: target, release: release, signing: signing, wasThere: false, totalBytes: bytes)
    }

    /// From `e_machine` of the ELF header (System V ABI, chapter 4); a program for another machine would only be
    /// found out on the device.
    static func architecture(of file: ReadableFile) throws -> String {
        let head = try file.read(at: 0, count: 20)
        guard head.count == 20, head.prefix(4).elementsEqual([0x7F, 0x45, 0x4C, 0x46]), head[5] == 1 else {
            throw OperatorError(
                .value, "\(file.path) is no ELF program of a little-endian machine",
                hint: "give the agent's binary; name its machine with --arch if it is something else")
        }
        let machine = UInt16(head[18]) | UInt16(head[19]) << 8
        switch machine {
        case 62: return "amd64"
        case 183: return "arm64"
        case 40: return "arm"
        case 243: return "riscv64"
        default: throw OperatorError(.value, "\(file.path) is for ELF machine \(machine)", hint: "name it with --arch")
        }
    }
}
