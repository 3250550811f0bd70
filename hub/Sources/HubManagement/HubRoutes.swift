import Base
import HubCore
import HubHTTP
import HubProtocol
import Model
import NIOHTTP1

/// What the hub says of its own ends, and how they are changed. Put together where the interfaces are.
public struct HubOrders: Sendable {
    public struct End: Sendable {
        public var publicKey: String
        /// `host:port`.
        public var endpoint: String
        public var since: Timestamp

        public init(publicKey: String, endpoint: String, since: Timestamp) {
            self.publicKey = publicKey
            self.endpoint = endpoint
            self.since = since
        }
    }

    public struct Status: Sendable {
        public var name: String
        public var network: String
        /// Sequence of the descriptor.
        public var sequence: Int64
        /// The newest first.
        public var ends: [End]
        /// Active devices that have still to follow to the newest.
        public var behind: [String]

        public init(name: String, network: String, sequence: Int64, ends: [End], behind: [String]) {
            self.name = name
            self.network = network
            self.sequence = sequence
            self.ends = ends
            self.behind = behind
        }
    }

    public var status: @Sendable () async throws -> Status
    /// By whom.
    public var rotateKey: @Sendable (_ actor: String) async throws -> Void
    /// By whom, and whether also when devices have not followed.
    public var retireKey: @Sendable (_ actor: String, _ force: Bool) async throws -> Void

    public init(
        status: @escaping @Sendable () async throws -> Status,
        rotateKey: @escaping @Sendable (_ actor: String) async throws -> Void,
        retireKey: @escaping @Sendable (_ actor: String, _ force: Bool) async throws -> Void
    ) {
        self.status = status
        self.rotateKey = rotateKey
        self.retireKey = retireKey
    }
}

/// The hub itself: its key, and the change of it.
struct HubRoutes: Sendable {
    /// Devices that an answer names; it counts all.
    static let named = 100

    private let services: ManagementServices

    init(_ services: ManagementServices) { self.services = services }

    var routes: [ManagementRoute] {
        [
            ManagementRoute(.GET, "/v1/hub", .hubRead) { request in
                try request.allowQuery([])
                return try await answer()
            },
            ManagementRoute(.POST, "/v1/hub/rotate-key", .hubWrite) { request in
                try await orders().rotateKey(request.actor)
                return try await answer()
            },
            ManagementRoute(.POST, "/v1/hub/retire-key", .hubWrite) { request in
                var force = false
                if !request.body.isEmpty, let value = try request.document(["force"])["force"] {
                    guard let flag = value.bool else { throw Problem.malformed("force is true or false") }
                    force = flag
                }
                try await orders().retireKey(request.actor, force)
                return try await answer()
            },
        ]
    }

    private func orders() throws(Problem) -> HubOrders {
        guard let orders = services.hub else { throw .noTunnel }
        return orders
    }

    private func answer() async throws -> HTTPAnswer {
        let status = try await orders().status()
        return .json([
            "name": .string(status.name), "network": .string(status.network), "sequence": .integer(status.sequence),
            "ends": .array(
                status.ends.enumerated().map { number, end in
                    [
                        "public_key": .string(end.publicKey), "endpoint": .string(end.endpoint),
                        "since": .string(end.since.description), "state": number == 0 ? "current" : "retiring",
                    ]
                }),
            "devices_behind": .integer(Int64(status.behind.count)),
            "behind": .array(status.behind.prefix(Self.named).map { .string($0) }),
        ])
    }
}
