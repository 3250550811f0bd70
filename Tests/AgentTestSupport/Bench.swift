import AgentCore
import Base
import Model
import TestSupport
import Trust

/// A lab and a device, and the usual first steps.
public struct Bench: Sendable {
    public let directory: TemporaryDirectory
    public let lab: Lab
    public let device: LabDevice
    /// The folder that stands for the device's disk; its state lies in it.
    public var disk: String { directory.file("disk") }

    public init(clockIsTrusted: Bool = true) throws {
        // Crash tests replay hundreds of updates: memory where there is some, syncs are counted and not timed.
        directory = try TemporaryDirectory(in: (try? FileSystem().status("/dev/shm")) ?? nil == nil ? nil : "/dev/shm")
        try FileSystem().makeDirectories(directory.file("disk"), op: "test")
        device = LabDevice(path: directory.file("disk/state"), clockIsTrusted: clockIsTrusted)
        lab = try Lab(path: directory.file("repo"), clock: device.clock.clock)
    }

    public func provision(_ process: LabDevice.Process) async throws {
        let root = try lab.repository.rootBytes()
        let trust = try TrustState.provision(releaseRoot: root, buildTime: Timestamp(seconds: 1_700_000_000))
        try await process.journal.provision(
            DeviceRecord(id: "pump-7", labels: [:], requiresDirector: false), trust: trust)
    }

    /// - Parameter app: whose newest release; needed where several are published.
    public func take(_ process: LabDevice.Process, app: String? = nil, retry: Bool = false) async throws {
        try await process.importer.importRelease(from: lab.source(), candidate: Candidate(app: app), retry: retry) {
            _ in
        }
    }

    public func v1() throws -> Release {
        try lab.release("1.0.0", ctr: 1, services: ["web": "web-1", "worker": "worker-1"]) { release in
            release.services["web"]?.healthcheck = .init(test: ["CMD", "true"])
            release.services["worker"]?.dependsOn = ["web": .init(condition: .healthy)]
            release.files["conf"] = .init(blob: lab.blobs.put(Array("v1".utf8)), secret: true)
            release.services["web"]?.files = [.init(file: "conf", target: "/etc/conf", mode: 0o400)]
            release.volumes["data"] = .init()
            release.services["web"]?.mounts = [.init(kind: .volume, source: "data", target: "/data")]
            release.networks["net"] = .init()
            release.services["web"]?.networks = ["net": .init()]
        }
    }

    public func v2(image: String = "web-2") throws -> Release {
        var release = try v1()
        let next = try lab.release("2.0.0", ctr: 2, services: ["web": image, "worker": "worker-1"])
        release.version = next.version
        release.ctr = 2
        release.images = next.images
        for name in ["web", "worker"] {
            if let image = next.services[name]?.image { release.services[name]?.image = image }
        }
        release.files["conf"] = .init(blob: lab.blobs.put(Array("v2".utf8)), secret: true)
        return release
    }

    public func version(_ process: LabDevice.Process) async throws -> String? {
        try await process.journal.desired().first { $0.app == "shop" }?.target.release.version.description
    }
}
