import Base
import Model
import Testing

@testable import Compose

/// What each field of a service means in the release.
@Suite struct ServiceFieldTests {
    /// A fragment of a service, and a change to the plain service that it must equal.
    struct Case: CustomTestStringConvertible, Sendable {
        var lines: String
        var change: @Sendable (inout Service) -> Void
        init(_ lines: String, _ change: @escaping @Sendable (inout Service) -> Void) {
            self.lines = lines
            self.change = change
        }
        var testDescription: String { lines }
    }

    static let process: [Case] = [
        Case("") { _ in },
        Case("command: serve --port 80") { $0.command = ["serve", "--port", "80"] },
        Case("command: sh -c 'echo \"a b\"' x\\ y \"\"") { $0.command = ["sh", "-c", "echo \"a b\"", "x y", ""] },
        Case("command: [a, 'b c']") { $0.command = ["a", "b c"] },
        Case("command:") { $0.command = nil },
        Case("command: []") { $0.command = [] },
        Case("command: ''") { $0.command = [] },
        Case("command: echo $$HOME") { $0.command = ["echo", "$HOME"] },
        Case("entrypoint: /bin/tool -v") { $0.entrypoint = ["/bin/tool", "-v"] },
        Case("entrypoint: []") { $0.entrypoint = [] },
        Case("user: '1000:1000'") { $0.user = "1000:1000" },
        Case("user: 1000") { $0.user = "1000" },
        Case("working_dir: /srv//app/") { $0.workingDirectory = "/srv/app" },
        Case("restart: 'no'") { $0.restart = .init(policy: .no) },
        Case("restart: no") { $0.restart = .init(policy: .no) },
        Case("restart: always") { $0.restart = .init(policy: .always) },
        Case("restart: on-failure:5") { $0.restart = .init(policy: .onFailure, maximumRetries: 5) },
        Case("restart: unless-stopped") { $0.restart = .init(policy: .unlessStopped) },
        Case("stop_grace_period: 1m30s") { $0.stopGracePeriod = 90_000_000_000 },
        Case("stop_signal: SIGINT") { $0.stopSignal = "SIGINT" },
        Case("init: true") { $0.`init` = true },
        Case("init: \"false\"") { $0.`init` = false },
        Case("hostname: box") { $0.hostname = "box" },
        Case("labels: {a: b, c: 1, d: true, e: }") { $0.labels = ["a": "b", "c": "1", "d": "true", "e": ""] },
        Case("labels: ['a=b=c', d]") { $0.labels = ["a": "b=c", "d": ""] },
        Case("logging: {driver: local, options: {max-size: 10m, max-file: 3}}") {
            $0.logging = .init(driver: "local", options: ["max-size": "10m", "max-file": "3"])
        },
        Case("extra_hosts: ['a=10.0.0.1', 'b:10.0.0.2', 'c=[::1]', 'd:::1', 'gw=host-gateway']") {
            $0.extraHosts = ["a:10.0.0.1", "b:10.0.0.2", "c:::1", "d:::1", "gw:host-gateway"]
        },
        Case("extra_hosts: {a: 10.0.0.1, b: ['10.0.0.2', '::1']}") {
            $0.extraHosts = ["a:10.0.0.1", "b:10.0.0.2", "b:::1"]
        },
        Case("healthcheck: {test: curl -f http://localhost}") {
            $0.healthcheck = .init(test: ["CMD-SHELL", "curl -f http://localhost"])
        },
        Case(
            "healthcheck:\n  test: [CMD, curl, localhost]\n  interval: 1m30s\n  timeout: 10s\n  retries: 3\n  start_period: 40s"
        ) {
            $0.healthcheck = .init(
                test: ["CMD", "curl", "localhost"], interval: 90_000_000_000, timeout: 10_000_000_000,
                startPeriod: 40_000_000_000, retries: 3)
        },
        Case("healthcheck: {disable: true}") { $0.healthcheck = .init(test: ["NONE"]) },
        Case("healthcheck: {test: [NONE]}") { $0.healthcheck = .init(test: ["NONE"]) },
        Case("healthcheck: {interval: 5s}") { $0.healthcheck = .init(test: [], interval: 5_000_000_000) },
        Case("environment: {A: b, B: '', C: 1, D: true, E: 'x=y', F: 0.5, G: -3}") {
            $0.environment = ["A": "b", "B": "", "C": "1", "D": "true", "E": "x=y", "F": "0.5", "G": "-3"]
        },
        Case("environment: ['A=b', 'B=', 'C=x=y']") { $0.environment = ["A": "b", "B": "", "C": "x=y"] },
        Case("x-holdfast: {strategy: hand-over}") { $0.strategy = .handOver },
        Case("x-holdfast: {strategy: kill-then-download}") { $0.strategy = .killThenDownload },
        Case("x-anything: {deep: [1, 2]}") { _ in },
        Case("scale: 1") { _ in },
        Case("expose: [80, '90-95/udp']") { _ in },
    ]

    static let places: [Case] = [
        Case("ports: ['3000']") { $0.ports = [.init(target: 3000)] },
        Case("ports: [80]") { $0.ports = [.init(target: 80)] },
        Case("ports: ['3000-3002']") { $0.ports = [.init(target: 3000), .init(target: 3001), .init(target: 3002)] },
        Case("ports: ['8000:80']") { $0.ports = [.init(published: 8000, target: 80)] },
        Case("ports: [22:22]") { $0.ports = [.init(published: 22, target: 22)] },
        Case("ports: ['9090-9091:8080-8081']") {
            $0.ports = [.init(published: 9090, target: 8080), .init(published: 9091, target: 8081)]
        },
        Case("ports: ['127.0.0.1:8001:8001']") {
            $0.ports = [.init(hostIP: "127.0.0.1", published: 8001, target: 8001)]
        },
        Case("ports: ['127.0.0.1::80']") { $0.ports = [.init(hostIP: "127.0.0.1", target: 80)] },
        Case("ports: ['[::1]:80:81/tcp']") { $0.ports = [.init(hostIP: "::1", published: 80, target: 81)] },
        Case("ports: ['6060:6060/udp', '53:53/UDP']") {
            $0.ports = [
                .init(published: 6060, target: 6060, protocol: "udp"),
                .init(published: 53, target: 53, protocol: "udp"),
            ]
        },
        Case("ports: ['53:53/udp', '53:53/tcp']") {
            $0.ports = [.init(published: 53, target: 53, protocol: "udp"), .init(published: 53, target: 53)]
        },
        Case(
            "ports:\n- target: 80\n  published: '8080'\n  host_ip: 127.0.0.1\n  protocol: tcp\n  mode: host\n  name: http\n  app_protocol: http"
        ) {
            $0.ports = [.init(hostIP: "127.0.0.1", published: 8080, target: 80)]
        },
        Case("ports: [{target: 80, published: 81}, {target: '82', published: ''}]") {
            $0.ports = [.init(published: 81, target: 80), .init(target: 82)]
        },
        Case("volumes: [/data]") { $0.mounts = [.init(kind: .volume, source: nil, target: "/data")] },
        Case("volumes: ['data:/data', 'data:/ro:ro', 'data:/nc:ro,nocopy']") {
            $0.mounts = [
                .init(kind: .volume, source: "data", target: "/data"),
                .init(kind: .volume, source: "data", target: "/ro", readOnly: true),
                .init(kind: .volume, source: "data", target: "/nc", readOnly: true, noCopy: true),
            ]
        },
        Case("volumes: ['/etc/localtime:/etc/localtime:ro,rslave']") {
            $0.mounts = [
                .init(
                    kind: .bind, source: "/etc/localtime", target: "/etc/localtime", readOnly: true,
                    propagation: "rslave", createHostPath: true)
            ]
        },
        Case("volumes: [{type: volume, source: data, target: /data, read_only: true, volume: {nocopy: true}}]") {
            $0.mounts = [.init(kind: .volume, source: "data", target: "/data", readOnly: true, noCopy: true)]
        },
        Case("volumes: [{type: bind, source: /a, target: /b, bind: {propagation: rshared, create_host_path: false}}]") {
            $0.mounts = [.init(kind: .bind, source: "/a", target: "/b", propagation: "rshared")]
        },
        Case("volumes: [{type: tmpfs, target: /t, tmpfs: {size: 64m, mode: 01777}}]") {
            $0.mounts = [.init(kind: .tmpfs, source: nil, target: "/t", tmpfsSize: 64 << 20, tmpfsMode: 0o1777)]
        },
        Case("tmpfs: /run") { $0.mounts = [.init(kind: .tmpfs, source: nil, target: "/run")] },
        Case("tmpfs: ['/run:size=1m,mode=755', /tmp]") {
            $0.mounts = [
                .init(kind: .tmpfs, source: nil, target: "/run", tmpfsSize: 1 << 20, tmpfsMode: 0o755),
                .init(kind: .tmpfs, source: nil, target: "/tmp"),
            ]
        },
        Case("networks: [front]") { $0.networks = ["front": .init()] },
        Case("networks: {front: , back: {aliases: [db], ipv4_address: 10.0.0.5, ipv6_address: 'fd00::5'}}") {
            $0.networks = [
                "front": .init(), "back": .init(aliases: ["db"], ipv4Address: "10.0.0.5", ipv6Address: "fd00::5"),
            ]
        },
        Case("network_mode: host") {
            $0.networks = [:]
            $0.networkMode = "host"
        },
        Case("network_mode: none") {
            $0.networks = [:]
            $0.networkMode = "none"
        },
        Case("configs: [site]") { $0.files = [.init(file: "site", target: "/site")] },
        Case("configs: [{source: site, target: /etc/site.conf, mode: 0440, uid: '103', gid: 104}]") {
            $0.files = [.init(file: "site", target: "/etc/site.conf", mode: 0o440, uid: 103, gid: 104)]
        },
        Case("secrets: [key]") { $0.files = [.init(file: "key", target: "/run/secrets/key")] },
        Case("secrets: [{source: key, target: other, mode: '0400'}]") {
            $0.files = [.init(file: "key", target: "/run/secrets/other", mode: 0o400)]
        },
    ]

    static let host: [Case] = [
        Case("privileged: true\nread_only: yes") {
            $0.privileged = true
            $0.readOnly = true
        },
        Case("cap_add: [NET_ADMIN, SYS_TIME]\ncap_drop: [ALL]") {
            $0.capAdd = ["NET_ADMIN", "SYS_TIME"]
            $0.capDrop = ["ALL"]
        },
        Case("security_opt: ['no-new-privileges:true']") { $0.securityOpt = ["no-new-privileges:true"] },
        Case("devices: ['/dev/ttyS0:/dev/serial:rw', /dev/i2c-1, '/dev/a:/dev/b', '/dev/c:r']") {
            $0.devices = [
                .init(host: "/dev/ttyS0", container: "/dev/serial", permissions: "rw"),
                .init(host: "/dev/i2c-1", container: "/dev/i2c-1"), .init(host: "/dev/a", container: "/dev/b"),
                .init(host: "/dev/c", container: "/dev/c", permissions: "r"),
            ]
        },
        Case("devices: [{source: /dev/a, target: /dev/b, permissions: r}]") {
            $0.devices = [.init(host: "/dev/a", container: "/dev/b", permissions: "r")]
        },
        Case("sysctls: {net.core.somaxconn: 1024}") { $0.sysctls = ["net.core.somaxconn": "1024"] },
        Case("sysctls: ['net.core.somaxconn=1024']") { $0.sysctls = ["net.core.somaxconn": "1024"] },
        Case("shm_size: 64m") { $0.shmSize = 64 << 20 },
        Case("shm_size: 1048576") { $0.shmSize = 1 << 20 },
        Case("ulimits: {nproc: 65535, nofile: {soft: 20000, hard: 40000}, memlock: -1}") {
            $0.ulimits = [
                "nproc": .init(soft: 65535, hard: 65535), "nofile": .init(soft: 20000, hard: 40000),
                "memlock": .init(soft: -1, hard: -1),
            ]
        },
        Case(
            "deploy:\n  resources:\n    limits: {cpus: '0.50', memory: 50M, pids: 10}\n    reservations: {memory: 20M}"
        ) {
            $0.resources = .init(nanoCPUs: 500_000_000, memory: 50 << 20, memoryReservation: 20 << 20, pids: 10)
        },
        Case("mem_limit: 1g\nmem_reservation: 512m\ncpus: 1.5\npids_limit: 100") {
            $0.resources = .init(
                nanoCPUs: 1_500_000_000, memory: 1 << 30, memoryReservation: 512 << 20, pids: 100)
        },
        Case("mem_limit: 1g\ndeploy: {resources: {limits: {memory: 1024m}}}") { $0.resources = .init(memory: 1 << 30) },
        Case("pids_limit: -1") { _ in },
        Case("deploy: {replicas: 1}") { _ in },
        Case("deploy: {restart_policy: {condition: on-failure, max_attempts: 3}}") {
            $0.restart = .init(policy: .onFailure, maximumRetries: 3)
        },
        Case("deploy: {restart_policy: {condition: none}}") { $0.restart = .init(policy: .no) },
    ]

    static let top = """
        networks: {front: , back: }
        volumes: {data: }
        configs: {site: {content: hello}}
        secrets: {key: {environment: KEY}}
        """

    @Test(arguments: process + places + host)
    func aFieldMeansWhatTheSpecificationSays(example: Case) throws {
        var expected = Service(image: "")
        expected.networks = ["default": .init()]
        example.change(&expected)
        #expect(try web(example.lines, ["KEY": "k"], top: Self.top) == expected)
    }

    @Test func aDependencyHasItsCondition() throws {
        let text = """
            services:
              web:
                image: a
                depends_on:
                  db: {condition: service_healthy, restart: true}
                  job: {condition: service_completed_successfully, required: false}
              worker: {image: a, depends_on: [db, web]}
              db: {image: b}
              job: {image: c}
            """
        let services = try compose(text).services
        #expect(
            services["web"]?.dependsOn == [
                "db": .init(condition: .healthy, restart: true), "job": .init(condition: .completed, required: false),
            ])
        #expect(services["worker"]?.dependsOn == ["db": .init(), "web": .init()])
        #expect(services["job"]?.restart.policy == .no, "a job that another waits for runs once")
        #expect(services["db"]?.restart.policy == .unlessStopped)
    }

    @Test func theTopLevelIsRead() throws {
        let text = """
            version: "3.8"
            name: shop
            services: {web: {image: "example/web:1", configs: [a], secrets: [a], networks: [front], volumes: ["v:/v"]}}
            networks:
              front:
                driver: bridge
                driver_opts: {mtu: 1400}
                internal: true
                enable_ipv6: true
                attachable: true
                labels: [x=y]
                ipam: {driver: default, config: [{subnet: 10.5.0.0/24, gateway: 10.5.0.1}]}
            volumes: {v: {driver: local, driver_opts: {type: tmpfs}, labels: {a: b}}}
            configs: {a: {content: "port ${PORT:-80}\\n"}}
            secrets: {a: {environment: SECRET}}
            x-holdfast:
              update: {health_window: 2m, stable_time: 30s, rollback: false}
              requirements: {architectures: [arm64], labels: {site: north}, features: [f]}
              epoch: 3
            x-other: [1]
            """
        let app = try compose(text, ["SECRET": "s3"])
        #expect(app.name == "shop")
        #expect(app.images == ["web": "example/web:1"])
        #expect(
            app.networks["front"]
                == .init(
                    driver: "bridge", internal: true, ipv6: true, labels: ["x": "y"], driverOptions: ["mtu": "1400"],
                    subnets: [.init(subnet: "10.5.0.0/24", gateway: "10.5.0.1")]))
        #expect(app.volumes["v"] == .init(driver: "local", driverOptions: ["type": "tmpfs"], labels: ["a": "b"]))
        #expect(app.files["a"] == .init(bytes: Array("port 80\n".utf8), isSecret: false))
        #expect(app.files["secret.a"] == .init(bytes: Array("s3".utf8), isSecret: true))
        #expect(app.services["web"]?.files.map(\.file) == ["a", "secret.a"])
        #expect(app.update == .init(healthWindowSeconds: 120, stableSeconds: 30, rollback: false))
        #expect(app.requirements == .init(architectures: ["arm64"], labels: ["site": "north"], features: ["f"]))
        #expect(app.epoch == 3)
        #expect(
            app.warnings.map(\.description) == ["compose.yaml:1:10: version means nothing any more and can be removed"])
        #expect(app.networks["default"] == nil, "nobody uses it")
    }

    @Test func theDefaultNetworkIsThereWhenUsedAndCanBeConfigured() throws {
        #expect(try compose(service("")).networks == ["default": .init()])
        let app = try compose(service("", top: "networks: {default: {internal: true}}"))
        #expect(app.networks == ["default": .init(internal: true)])
    }

    @Test func anchorsAliasesAndMergeKeysWork() throws {
        let text = """
            x-base: &base
              image: example/base
              environment: &env {A: 1, B: 2}
              restart: always
            x-more: &more {hostname: more, user: root}
            services:
              one: *base
              two:
                <<: *base
                restart: "no"
                environment: {<<: *env, B: 3}
              three:
                <<: [*more, *base]
                user: me
            """
        let app = try compose(text)
        #expect(app.services["one"]?.environment == ["A": "1", "B": "2"])
        #expect(app.services["two"]?.environment == ["A": "1", "B": "3"])
        #expect(app.services["two"]?.restart.policy == .no)
        #expect(app.services["three"]?.hostname == "more")
        #expect(app.services["three"]?.user == "me")
        #expect(app.images["three"] == "example/base")
    }

    /// What is read passes the release's own checks once it has its image.
    @Test func everyCaseMakesAValidRelease() throws {
        let digest = Digest.sha256([1])
        let image = Release.Image(
            manifest: .init(digest: digest, size: 1), config: .init(digest: digest, size: 1), layers: [],
            reference: "", architecture: "amd64")
        let version = try #require(SemanticVersion("1.0.0"))
        for example in Self.process + Self.places + Self.host {
            let app = try compose(service(example.lines, top: Self.top), ["KEY": "k"])
            let release = Release(
                app: "shop", version: version, ctr: 1,
                services: app.services.mapValues {
                    var service = $0
                    service.image = digest.description
                    return service
                },
                networks: app.networks, volumes: app.volumes,
                files: app.files.mapValues {
                    .init(blob: .init(digest: .sha256($0.bytes), size: Int64($0.bytes.count)), secret: $0.isSecret)
                },
                images: [digest.description: image])
            #expect(throws: Never.self, "\(example.lines)") { try release.validate() }
        }
    }
}
