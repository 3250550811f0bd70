import Base
import Testing

@testable import Compose

/// Each mistake: its code, its line, and what to do about it.
@Suite struct ComposeErrorTests {
    struct Case: CustomTestStringConvertible, Sendable {
        var text: String
        var reason: ComposeError.Reason
        var line: Int
        var hint: String?
        var testDescription: String { "\(reason.rawValue): \(text)" }

        /// A file.
        init(file: String, _ reason: ComposeError.Reason, line: Int, hint: String? = nil) {
            text = file
            self.reason = reason
            self.line = line
            self.hint = hint
        }

        /// Lines of the service `web`; the first is line 4.
        init(_ lines: String, _ reason: ComposeError.Reason, line: Int = 4, hint: String? = nil) {
            self.init(
                file: service(lines, top: "networks: {front: }\nvolumes: {data: }"), reason, line: line, hint: hint)
        }
    }

    static let fields: [Case] = [
        Case("prots: ['80']", .unknownField, hint: "did you mean ports?"),
        Case("enviroment: {A: b}", .unknownField, hint: "did you mean environment?"),
        Case("workingDir: /x", .unknownField, hint: "did you mean working_dir?"),
        Case("healthceck: {}", .unknownField, hint: "did you mean healthcheck?"),
        Case("comand: x", .unknownField, hint: "did you mean command?"),
        Case("bild: .", .unknownField, hint: "did you mean build?"),
        Case("zzzz: 1", .unknownField),
        Case("x-holdfst: {strategy: hand-over}", .unknownField, hint: "did you mean x-holdfast?"),
        Case("x-holdfast: {stratgy: hand-over}", .unknownField, hint: "did you mean strategy?"),
        Case("x-holdfast: {x-a: 1}", .unknownField),
        Case("x-holdfast: {strategy: hand-ovr}", .value, hint: "did you mean hand-over?"),
        Case("ports: ['80:80']\nx-holdfast: {strategy: hand-over}", .value, line: 5, hint: "another strategy"),
        Case("network_mode: host\nx-holdfast: {strategy: hand-over}", .value, line: 5),
        Case("networks: {front: {ipv4_address: 10.0.0.5}}\nx-holdfast: {strategy: hand-over}", .value, line: 5),
        Case("logging: {drver: local}", .unknownField, hint: "did you mean driver?"),
        Case("healthcheck: {tst: x}", .unknownField, hint: "did you mean test?"),
        Case("healthcheck:\n  test: x\n  retires: 3", .unknownField, line: 6, hint: "did you mean retries?"),
        Case("deploy: {resources: {limits: {memori: 1g}}}", .unknownField, hint: "did you mean memory?"),
        Case("ports: [{target: 80, publishd: 80}]", .unknownField, hint: "did you mean published?"),
        Case("build: .", .unsupportedField, hint: "build the image first"),
        Case("container_name: x", .unsupportedField, hint: "the agent names containers"),
        Case("profiles: [dev]", .unsupportedField), Case("pull_policy: always", .unsupportedField),
        Case("pid: host", .unsupportedField), Case("tty: true", .unsupportedField),
        Case("extends: {service: x}", .unsupportedField, hint: "anchors"), Case("links: [x]", .unsupportedField),
        Case("scale: 2", .unsupportedField), Case("deploy: {replicas: 3}", .unsupportedField),
        Case("deploy: {mode: global}", .unsupportedField), Case("deploy: {update_config: {}}", .unsupportedField),
        Case("healthcheck: {start_interval: 1s}", .unsupportedField),
        Case("networks: {front: {priority: 5}}", .unsupportedField),
        Case("volumes: [{type: bind, source: /a, target: /b, bind: {selinux: z}}]", .unsupportedField),
        Case("volumes: ['/a:/b:z']", .unsupportedField),
        Case("deploy: {resources: {reservations: {cpus: '1'}}}", .unsupportedField, hint: "limits.cpus"),
        Case("deploy: {restart_policy: {delay: 5s}}", .unsupportedField),
    ]

    static let values: [Case] = [
        Case("command: {a: b}", .type), Case("command: 'echo \"x'", .value), Case("command: 'x \\'", .value),
        Case("user: ''", .value), Case("user: [a]", .type), Case("hostname: true", .type, hint: "quote it"),
        Case("environment: {A: 010}", .type, hint: "quote it: \"010\""), Case("environment: {A: 1e3}", .type),
        Case("environment: {A: 1.50}", .type), Case("environment: {A: 0x1F}", .type),
        Case("environment: {A: .inf}", .type),
        Case("environment: {A: 1_000}", .type), Case("environment: {A: [b]}", .type),
        Case("environment: ['=x']", .value),
        Case("environment: {'A=B': c}", .value), Case("environment: x", .type),
        Case("privileged: maybe", .type), Case("privileged: [true]", .type), Case("read_only: 2", .type),
        Case("restart: sometimes", .value), Case("restart: alway", .value, hint: "did you mean always?"),
        Case("restart: always:3", .value), Case("restart: on-failure:x", .value),
        Case("stop_grace_period: 10", .value, hint: "a number with a unit"), Case("stop_grace_period: 1x", .value),
        Case("stop_grace_period: 1000h", .value), Case("stop_grace_period: 99999999999999h", .value),
        Case("shm_size: 5q", .value), Case("shm_size: 0", .value), Case("shm_size: -5m", .value),
        Case("cpus: -1", .value), Case("cpus: 0", .value), Case("cpus: x", .value), Case("pids_limit: 0", .value),
        Case("mem_limit: 1m\nmem_reservation: 2m", .value, line: 3),
        Case("mem_limit: 1g\ndeploy: {resources: {limits: {memory: 2g}}}", .duplicate, line: 5),
        Case("healthcheck: {test: []}", .value), Case("healthcheck: {test: [curl]}", .value),
        Case("healthcheck: {test: [CMD]}", .value), Case("healthcheck: {test: x, disable: true}", .duplicate),
        Case("healthcheck: {retries: -1}", .value), Case("healthcheck: {retries: many}", .type),
        Case("healthcheck: {interval: 1us}", .value), Case("healthcheck: 5", .type),
        Case("ulimits: {nofile: {soft: 5}}", .missing), Case("ulimits: {nofile: {soft: 5, hard: 4}}", .value),
        Case("ulimits: {nofile: x}", .type), Case("extra_hosts: [nohost]", .value),
        Case("extra_hosts: ['a=not-an-ip']", .value), Case("extra_hosts: {a: '999.0.0.1'}", .value),
        Case("labels: {com.docker.compose.project: x}", .value), Case("labels: {io.holdfast.app: x}", .value),
        Case("cap_add: [A, A]", .duplicate), Case("cap_add: ALL", .type), Case("security_opt: ['']", .value),
        Case("devices: ['']", .value), Case("devices: [dev/null]", .value),
        Case("devices: ['/dev/a:/dev/b:x']", .value),
        Case("devices: ['/dev/../etc/shadow']", .value), Case("devices: [{target: /dev/a}]", .missing),
        Case("working_dir: srv", .value), Case("working_dir: /srv/../etc", .value),
        Case("deploy: {restart_policy: {condition: maybe}}", .value),
        Case("restart: always\ndeploy: {restart_policy: {condition: any}}", .duplicate, line: 5),
        Case("logging: {options: {a: [b]}}", .type), Case("depends_on: 5", .type),
    ]

    static let places: [Case] = [
        Case("ports: ['x']", .value), Case("ports: ['0']", .value), Case("ports: ['65536']", .value),
        Case("ports: ['80:80:80:80']", .value), Case("ports: ['80/icmp']", .value), Case("ports: ['81-80']", .value),
        Case("ports: ['1-2000']", .limit), Case("ports: ['1:2-3']", .value), Case("ports: ['1-2:3']", .value),
        Case("ports: ['::80']", .value), Case("ports: ['[::1]80:80']", .value), Case("ports: ['host:80:80']", .value),
        Case("ports: [{published: 80}]", .missing), Case("ports: [{target: 80, mode: vip}]", .value),
        Case("ports: ['-80']", .value), Case("ports: ['80:']", .value), Case("ports: 80", .type),
        Case("ports: [null]", .type),
        Case("ports:\n- '80:80'\n- '80:80'", .duplicate, line: 6),
        Case("ports:\n- '80:80'\n- '80:81'", .duplicate, line: 6),
        Case("ports:\n- '80:80'\n- '127.0.0.1:80:81'", .duplicate, line: 6),
        Case("volumes: ['']", .value), Case("volumes: ['a:b:c:d']", .value), Case("volumes: ['data:data']", .value),
        Case("volumes: ['data:/a:rx']", .value), Case("volumes: ['data:/']", .value),
        Case("volumes: ['data:/a/../b']", .value),
        Case("volumes: ['./data:/data']", .value, hint: "configs"), Case("volumes: ['~/data:/data']", .value),
        Case("volumes: ['../x:/data']", .value), Case("volumes: ['ghost:/data']", .reference),
        Case("volumes: ['dat:/data']", .reference, hint: "did you mean data?"),
        Case("volumes:\n- data:/data\n- data:/data/", .duplicate, line: 6),
        Case("volumes: ['data:/run']\ntmpfs: /run", .duplicate, line: 5),
        Case("volumes: [{type: nfs, target: /a}]", .value), Case("volumes: [{target: /a}]", .missing),
        Case("volumes: [{type: volume}]", .missing), Case("volumes: [{type: bind, target: /a}]", .missing),
        Case("volumes: [{type: tmpfs, source: x, target: /a}]", .value),
        Case("volumes: [{type: tmpfs, target: /a, bind: {}}]", .value),
        Case("volumes: [{type: tmpfs, target: /a, tmpfs: {mode: 1777}}]", .value, hint: "octal"),
        Case("volumes: [{type: tmpfs, target: /a, tmpfs: {size: x}}]", .value),
        Case("volumes: [{type: bind, source: /a, target: /b, bind: {propagation: x}}]", .value),
        Case("tmpfs: '/run:uid=5'", .value), Case("tmpfs: run", .value),
        Case("networks: [ghost]", .reference), Case("networks: [frnt]", .reference, hint: "did you mean front?"),
        Case("networks: [front, front]", .duplicate), Case("networks: {front: {ipv4_address: 1.2.3}}", .value),
        Case("network_mode: bridge", .value), Case("network_mode: 'service:x'", .value),
        Case("network_mode: host\nnetworks: [front]", .duplicate),
        Case("network_mode: host\nports: ['80']", .duplicate),
        Case("configs: [ghost]", .reference, hint: "top level under configs"), Case("secrets: [ghost]", .reference),
        Case("configs: [{target: /a}]", .missing), Case("depends_on: [ghost]", .reference),
        Case("depends_on: [wbe]", .reference, hint: "did you mean web?"), Case("depends_on: [web]", .cycle),
        Case("depends_on: {web: {condition: service_helthy}}", .value, hint: "service_healthy"),
        Case("env_file: missing.env", .file), Case("env_file: [{path: missing.env}]", .file),
        Case("env_file: [{path: a, format: yaml}]", .value), Case("expose: [x]", .value),
    ]

    static let files: [Case] = [
        Case(file: "", .yaml, line: 1), Case(file: "[]", .type, line: 1), Case(file: "services: {}", .missing, line: 1),
        Case(file: "services:", .missing, line: 1), Case(file: "services: [a]", .type, line: 1),
        Case(file: "services: {web: 5}", .type, line: 1), Case(file: "services: {'a b': {image: x}}", .value, line: 1),
        Case(file: "services: {-a: {image: x}}", .value, line: 1),
        Case(file: "servces: {web: {image: x}}", .missing, line: 1),
        Case(file: "services: {web: {image: x}}\nnetwork: {}", .unknownField, line: 2, hint: "did you mean networks?"),
        Case(file: "services: {web: {image: x}}\ninclude: [a]", .unsupportedField, line: 2),
        Case(file: "services: {web: {image: x}}\nnetworks: {a: {external: true}}", .unsupportedField, line: 2),
        Case(file: "services: {web: {image: x}}\nnetworks: {a: {ipam: {config: [{subnet: x}]}}}", .value, line: 2),
        Case(file: "services: {web: {image: x}}\nnetworks: {a: {ipam: {driver: dhcp}}}", .unsupportedField, line: 2),
        Case(file: "services: {web: {image: x}}\nvolumes: {a: {name: x}}", .unsupportedField, line: 2),
        Case(file: "services: {web: {image: x}}\nvolumes: {a: 5}", .type, line: 2),
        Case(file: "services: {web: {image: x}}\nconfigs: {a: {external: true}}", .unsupportedField, line: 2),
        Case(file: "services: {web: {image: x}}\nconfigs: {a: {}}", .missing, line: 2),
        Case(file: "services: {web: {image: x}}\nconfigs: {a: {content: x, file: y}}", .missing, line: 2),
        Case(file: "services: {web: {image: x}}\nconfigs: {a: {file: nowhere}}", .file, line: 2),
        Case(file: "services: {web: {image: x}}\nsecrets: {a: {content: x}}", .unknownField, line: 2),
        Case(file: "services: {web: {image: x}}\nsecrets: {a: {environment: NOPE}}", .variable, line: 2),
        Case(file: "services: {web: {image: x}}\nx-holdfast: {epoch: -1}", .value, line: 2),
        Case(file: "services: {web: {image: x}}\nx-holdfast: {update: {health_window: 0s}}", .value, line: 2),
        Case(file: "services: {web: {image: x}}\nx-holdfast: {update: {stable_time: 1500ms}}", .value, line: 2),
        Case(file: "services: {web: {image: x}}\nx-holdfast: {updat: {}}", .unknownField, line: 2, hint: "update"),
        Case(
            file:
                "services:\n  a: {image: x, depends_on: [b]}\n  b: {image: x, depends_on: [c]}\n  c: {image: x, depends_on: [a]}",
            .cycle, line: 2),
        Case(
            file: "services:\n  a: {image: x, ports: ['80:1']}\n  b:\n    image: x\n    ports:\n    - '80:2'",
            .duplicate,
            line: 6),
        Case(file: "services: {web: {image: '${IMG:?name the image}'}}", .variable, line: 1, hint: "--env-file"),
        Case(file: "services: {web: {image: '${IMG'}}", .variable, line: 1, hint: "$$"),
        Case(file: "services: {web: {image: '${IMG/a/b}'}}", .variable, line: 1),
    ]

    @Test(arguments: fields + values + places + files)
    func aMistakeIsRefusedWithItsLine(example: Case) throws {
        let error = #expect(throws: ComposeError.self) { try compose(example.text) }
        #expect(error?.reason == example.reason, "\(error?.description ?? "accepted")")
        #expect(error?.location.line == example.line, "\(error?.description ?? "accepted")")
        #expect(error?.message.hasPrefix("compose.yaml:\(example.line):") == true)
        if let hint = example.hint { #expect(error?.hint?.contains(hint) == true, "\(error?.hint ?? "no hint")") }
    }

    @Test func theMessageNamesFileLineColumnPathAndFix() throws {
        let error = #expect(throws: ComposeError.self) { try compose(service("prots: ['80:80']")) }
        #expect(error?.message == "compose.yaml:4:5: services.web.prots: unknown field")
        #expect(error?.hint == "did you mean ports?")
        #expect(error?.code == "compose.unknown-field")
        #expect(error?.exitStatus == .dataError)
    }
}
