import Base
import TestSupport
import Testing

@testable import Model

/// A release that uses every field of the format.
enum SampleRelease {
    static func digest(_ text: String) -> Digest { Digest.sha256(Array(text.utf8)) }

    static func image(_ name: String) -> Release.Image {
        Release.Image(
            manifest: .init(digest: digest("\(name) manifest"), size: 500),
            config: .init(digest: digest("\(name) config"), size: 300),
            layers: [
                .init(
                    diffID: digest("\(name) layer"), blob: .init(digest: digest("\(name) blob"), size: 1000),
                    mediaType: "application/vnd.oci.image.layer.v1.tar+zstd", uncompressedSize: 4096)
            ],
            reference: "example/\(name):1", architecture: "amd64")
    }

    static func minimal() -> Release {
        let image = image("web")
        let key = image.manifest.digest.description
        return Release(
            app: "shop", version: version("1.0.0"), ctr: 1, services: ["web": Service(image: key)],
            images: [key: image])
    }

    static func version(_ text: String) -> SemanticVersion {
        guard let version = SemanticVersion(text) else { preconditionFailure("no version: \(text)") }
        return version
    }

    static func full() -> Release {
        var release = minimal()
        release.version = version("2.1.0-rc.1+build.5")
        release.ctr = 7
        release.epoch = 2
        release.requirements = .init(
            architectures: ["amd64", "arm64"], labels: ["site": "north"], features: ["image-delta-1"])
        release.networks = [
            "front": .init(
                driver: "bridge", internal: true, ipv6: true, labels: ["a": "b"],
                driverOptions: ["com.docker.network.driver.mtu": "1400"],
                subnets: [.init(subnet: "10.9.0.0/24", gateway: "10.9.0.1")])
        ]
        release.volumes = ["data": .init(driver: "local", driverOptions: ["type": "tmpfs"], labels: ["keep": "yes"])]
        release.files = [
            "site.conf": .init(blob: .init(digest: digest("conf"), size: 12), secret: false),
            "key": .init(blob: .init(digest: digest("key"), size: 32), secret: true),
        ]
        release.update = .init(healthWindowSeconds: 60, stableSeconds: 5, rollback: false)
        release.deltas = [
            .init(base: [digest("old")], target: digest("web layer"), blob: .init(digest: digest("delta"), size: 77))
        ]
        release.services["web"] = fullService(image: release.services["web"]?.image ?? "")
        release.services["worker"] = release.services["web"].map { Service(image: $0.image) }
        return release
    }

    static func fullService(image: String) -> Service {
        var service = Service(image: image)
        service.command = ["serve", "--verbose", "line\nfeed \"quoted\" \\ tab\t ü"]
        service.entrypoint = []
        service.environment = ["EMPTY": "", "NAME": "välue"]
        service.ports = [
            .init(hostIP: "127.0.0.1", published: 8080, target: 80), .init(target: 53, protocol: "udp"),
        ]
        service.mounts = [
            .init(kind: .volume, source: "data", target: "/data", noCopy: true),
            .init(
                kind: .bind, source: "/etc/localtime", target: "/etc/localtime", readOnly: true,
                propagation: "rslave", createHostPath: true),
            .init(kind: .tmpfs, source: nil, target: "/run", tmpfsSize: 65536, tmpfsMode: 0o1777),
            .init(kind: .volume, source: nil, target: "/scratch"),
        ]
        service.networks = ["front": .init(aliases: ["www"], ipv4Address: "10.9.0.7", ipv6Address: "fd00::7")]
        service.devices = [.init(host: "/dev/ttyS0", container: "/dev/serial", permissions: "rw")]
        service.privileged = true
        service.capAdd = ["NET_ADMIN"]
        service.capDrop = ["ALL"]
        service.user = "1000:1000"
        service.workingDirectory = "/srv"
        service.restart = .init(policy: .onFailure, maximumRetries: 3)
        service.healthcheck = .init(
            test: ["CMD-SHELL", "wget -q localhost"], interval: 5_000_000_000, timeout: 1_000_000_000,
            startPeriod: 2_000_000_000, retries: 4)
        service.dependsOn = ["worker": .init(condition: .healthy, restart: true, required: false)]
        service.stopGracePeriod = 90_000_000_000
        service.stopSignal = "SIGINT"
        service.resources = .init(nanoCPUs: 500_000_000, memory: 64 << 20, memoryReservation: 32 << 20, pids: 100)
        service.logging = .init(driver: "local", options: ["max-size": "10m"])
        service.labels = ["role": "front"]
        service.hostname = "shop-web"
        service.extraHosts = ["db.internal:10.0.0.5"]
        service.sysctls = ["net.core.somaxconn": "1024"]
        service.files = [
            .init(file: "site.conf", target: "/etc/site.conf"),
            .init(file: "key", target: "/run/secrets/key", mode: 0o400, uid: 1000, gid: 1000),
        ]
        service.readOnly = true
        service.`init` = false
        service.shmSize = 128 << 20
        service.ulimits = ["nofile": .init(soft: 1024, hard: 4096), "memlock": .init(soft: -1, hard: -1)]
        service.securityOpt = ["no-new-privileges:true"]
        service.strategy = .handOver
        return service
    }
}

@Suite struct ReleaseDocumentTests {
    @Test(arguments: [SampleRelease.minimal(), SampleRelease.full()])
    func encodingAndDecodingGiveTheSameReleaseAndBytes(release: Release) throws {
        let bytes = try release.encoded()
        let decoded = try Release(decoding: bytes)
        #expect(decoded == release)
        #expect(try decoded.encoded() == bytes)
    }

    /// The format of version 1 never changes: devices in the field read it for years.
    @Test func theGoldenDocumentOfVersion1StillReads() throws {
        let golden = try Repository.text("Tests/Golden/release-v1.json")
        let bytes = Array(golden.utf8.prefix { $0 != 0x0A })
        #expect(try Release(decoding: bytes) == SampleRelease.full())
        #expect(try SampleRelease.full().encoded() == bytes)
    }

    @Test func spaceAndOrderOfKeysDoNotMatterToAReader() throws {
        let pretty = try SampleRelease.full().json.serialized(.pretty)
        #expect(try Release(decoding: pretty) == SampleRelease.full())
    }

    // MARK: Hostile documents

    /// A change to the full document's JSON, and the reason it must be refused for.
    struct Case: CustomTestStringConvertible, Sendable {
        var path: [String]
        var value: JSONValue?
        var reason: ReleaseError.Reason
        init(_ path: String, _ value: JSONValue?, _ reason: ReleaseError.Reason) {
            self.path = path.split(separator: "/").map(String.init)
            self.value = value
            self.reason = reason
        }
        var testDescription: String { "\(path.joined(separator: ".")) -> \(reason.rawValue)" }
    }

    static let long = JSONValue.string(String(repeating: "x", count: 200_000))

    static let cases: [Case] = [
        Case("schema", 2, .schema), Case("schema", "1", .type), Case("schema", nil, .missingField),
        Case("extra", 1, .unknownField), Case("services/web/extra", 1, .unknownField),
        Case("services/web/ports/0/extra", 1, .unknownField), Case("update/extra", 1, .unknownField),
        Case("app", "", .value), Case("app", "Shop", .value), Case("app", "../x", .value),
        Case("app", nil, .missingField),
        Case("app", .string("a" + String(repeating: "b", count: 63)), .value), Case("app", 3, .type),
        Case("version", "1.0", .value), Case("version", "01.0.0", .value), Case("version", nil, .missingField),
        Case("ctr", 0, .value), Case("ctr", -1, .value), Case("ctr", .integer(1 << 53), .value),
        Case("ctr", "1", .type),
        Case("ctr", .double(1.5), .type), Case("epoch", -1, .value),
        Case("services", [:], .value), Case("services", [], .type),
        Case("services/..", ["image": "x"], .missingField),
        Case("services/web/image", "sha256:00", .reference), Case("services/web/strategy", "yolo", .value),
        Case("services/web/restart/policy", "sometimes", .value),
        Case("services/web/restart", ["policy": "always", "maximumRetries": 2], .value),
        Case("services/web/environment", ["A=B": "x"], .value), Case("services/web/environment", ["": "x"], .value),
        Case("services/web/environment", ["A": 1], .type), Case("services/web/environment", ["A": long], .limit),
        Case("services/web/environment", ["A": "\0"], .value), Case("services/web/command", ["a", "b\0"], .value),
        Case("services/web/command", "serve", .type), Case("services/web/privileged", "yes", .type),
        Case("services/web/ports/0/target", 0, .value), Case("services/web/ports/0/target", 65536, .value),
        Case("services/web/ports/0/target", -1, .value), Case("services/web/ports/0/protocol", "icmp", .value),
        Case("services/worker/ports", [["published": 8080, "target": 1, "protocol": "tcp"]], .conflict),
        Case("services/web/mounts/0/source", "nowhere", .reference), Case("services/web/mounts/0/kind", "nfs", .value),
        Case("services/web/mounts/0/target", "data", .value), Case("services/web/mounts/0/target", "/a/../b", .value),
        Case("services/web/mounts/0/target", "/", .value), Case("services/web/mounts/0/target", "/run/", .conflict),
        Case("services/web/mounts/1/source", "etc", .value), Case("services/web/mounts/1/source", nil, .missingField),
        Case("services/web/mounts/1/propagation", "weird", .value), Case("services/web/mounts/2/source", "x", .value),
        Case("services/web/mounts/0/tmpfsSize", 5, .value), Case("services/web/mounts/2/tmpfsMode", 0o10000, .value),
        Case("services/web/networks", ["elsewhere": [:]], .reference),
        Case("services/web/networkMode", "host", .conflict),
        Case("services/worker/networkMode", "container:x", .value),
        Case("services/web/devices/0/permissions", "rwx", .value),
        Case("services/web/devices/0/permissions", "rr", .value),
        Case("services/web/devices/0/host", "/dev/../etc", .value),
        Case("services/web/healthcheck/test", ["curl"], .value), Case("services/web/healthcheck/interval", 5, .value),
        Case("services/web/healthcheck/interval", -5, .value),
        Case("services/web/dependsOn", ["nobody": ["condition": "service_started"]], .reference),
        Case("services/web/dependsOn", ["web": ["condition": "service_started"]], .cycle),
        Case("services/worker/dependsOn", ["web": ["condition": "service_started"]], .cycle),
        Case("services/web/dependsOn/worker/condition", "service_happy", .value),
        Case("services/web/stopGracePeriod", -1, .value), Case("services/web/stopGracePeriod", nil, .missingField),
        Case("services/web/resources/memory", 0, .value),
        Case("services/web/ulimits/nofile", ["soft": 9, "hard": 1], .value),
        Case("services/web/ulimits/nofile", ["soft": -1, "hard": 1], .value),
        Case("services/web/files/0/file", "ghost", .reference), Case("services/web/files/0/target", "etc/x", .value),
        Case("services/web/files/0/target", "/run/secrets/key", .conflict),
        Case("services/web/files/0/mode", -1, .value),
        Case("services/web/extraHosts", ["nocolon"], .value), Case("services/web/shmSize", -1, .value),
        Case("networks/front/subnets/0/subnet", "", .value), Case("volumes/data/driver", 5, .type),
        Case("volumes/-bad", [:], .value), Case("files/key/blob/digest", "sha256:AB", .value),
        Case("files/key/blob/digest", "md5:00", .value), Case("files/key/blob/size", -1, .value),
        Case("files/key/blob/size", .integer(1 << 40), .value), Case("images", [:], .reference),
        Case("deltas/0/target", .string(SampleRelease.digest("nothing").description), .reference),
        Case("deltas/0/base", .array([.string(SampleRelease.digest("web layer").description)]), .cycle),
        Case("deltas/0/blob/size", 0, .value), Case("update/healthWindowSeconds", 0, .value),
        Case("update/stableSeconds", -1, .value), Case("requirements/architectures", ["a b"], .value),
        Case("requirements/labels", ["": "x"], .value),
    ]

    @Test(arguments: cases)
    func aDocumentThatIsWrongIsRefusedForItsReason(example: Case) throws {
        let changed = try #require(Self.set(SampleRelease.full().json, example.path[...], example.value))
        let bytes = try changed.serialized(.compact)
        let error = #expect(throws: ReleaseError.self) { try Release(decoding: bytes) }
        #expect(error?.reason == example.reason, "\(error?.description ?? "")")
    }

    /// Replaces, adds or (nil) removes the value at a path of keys and indices.
    static func set(_ value: JSONValue, _ path: ArraySlice<String>, _ new: JSONValue?) -> JSONValue? {
        guard let key = path.first else { return new }
        switch value {
        case .object(var members):
            guard path.count > 1 || members[key] != nil || new != nil else { return nil }
            members[key] = set(members[key] ?? .object([:]), path.dropFirst(), new) as JSONValue?
            return .object(members)
        case .array(var elements):
            guard let index = Int(key), elements.indices.contains(index),
                let changed = set(elements[index], path.dropFirst(), new)
            else { return nil }
            elements[index] = changed
            return .array(elements)
        default: return nil
        }
    }

    @Test(arguments: [
        "", "[]", "{", "null", "{\"schema\":1", "{\"schema\":1}garbage", "{\"schema\":1,\"schema\":1}",
        "{\"app\":\"\u{1}\"}", String(repeating: "[", count: 100_000),
        "{\"a\":" + String(repeating: "{\"a\":", count: 40),
    ])
    func whatIsNoDocumentIsRefused(text: String) {
        #expect(throws: ReleaseError.self) { try Release(decoding: Array(text.utf8)) }
    }

    @Test func aDocumentLargerThanTheLimitIsRefusedUnread() {
        let bytes = [UInt8](repeating: 0x20, count: ReleaseLimits.documentSize + 1)
        let error = #expect(throws: ReleaseError.self) { try Release(decoding: bytes) }
        #expect(error?.reason == .json)
    }

    @Test func tooManyServicesAreRefused() throws {
        var release = SampleRelease.minimal()
        let service = try #require(release.services["web"])
        for index in 0..<ReleaseLimits.services { release.services["s\(index)"] = service }
        let error = #expect(throws: ReleaseError.self) { try release.encoded() }
        #expect(error?.reason == .limit)
    }

    /// Every byte of the golden document replaced in turn: the reader answers or refuses, and never traps.
    @Test func aDamagedDocumentNeverTraps() throws {
        let bytes = try SampleRelease.full().encoded()
        var refused = 0
        for index in stride(from: 0, to: bytes.count, by: 3) {
            var damaged = bytes
            damaged[index] = damaged[index] ^ UInt8(truncatingIfNeeded: index &* 31 | 1)
            if (try? Release(decoding: damaged)) == nil { refused += 1 }
        }
        #expect(refused > bytes.count / 12)
    }

    @Test func distinctAddressesMayShareAPort() throws {
        var release = SampleRelease.full()
        release.services["worker"]?.ports = [.init(hostIP: "127.0.0.2", published: 8080, target: 80)]
        try release.validate()
    }
}
