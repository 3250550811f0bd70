import Base
import Model

/// A network of the engine.
public struct NetworkInfo: Sendable, Hashable {
    public var id: String
    public var name: String
    public var driver: String
    public var labels: [String: String]
    public var `internal`: Bool
}

extension EngineClient {
    /// Makes a network and gives its ID. The engine itself allows two of one name; ask first.
    public func createNetwork(
        name: String, _ network: Release.Network, labels: [String: String]
    ) async throws(EngineError) -> String {
        var body: [String: JSONValue] = [
            "Name": .string(name), "CheckDuplicate": true, "Driver": .string(network.driver ?? "bridge"),
            "Internal": .bool(network.internal), "EnableIPv6": .bool(network.ipv6),
            "Labels": .stringMap(network.labels.merging(labels) { $1 }),
            "Options": .stringMap(network.driverOptions),
        ]
        if !network.subnets.isEmpty {
            let ranges = network.subnets.map { range -> JSONValue in
                var object: [String: JSONValue] = ["Subnet": .string(range.subnet)]
                object["Gateway"] = range.gateway.map { .string($0) }
                return .object(object)
            }
            body["IPAM"] = ["Driver": "default", "Config": .array(ranges)]
        }
        let answer = try await call(
            .post, "/networks/create", body: .json(.object(body)), pace: .change, "create network \(name)"
        )
        return try answer.fields().string("Id")
    }

    public func listNetworks(labels: [String] = [], names: [String] = []) async throws(EngineError)
        -> [NetworkInfo]
    {
        let operation = "list networks"
        var filters: [String: [String]] = [:]
        if !labels.isEmpty { filters["label"] = labels }
        if !names.isEmpty { filters["name"] = names }
        let answer = try await call(
            .get, "/networks", query: [("filters", Self.filters(filters, operation))], operation)
        var output: [NetworkInfo] = []
        for fields in try answer.list() { output.append(try NetworkInfo(fields)) }
        return output
    }

    public func inspectNetwork(_ network: String) async throws(EngineError) -> NetworkInfo {
        let operation = "inspect network \(network)"
        return try NetworkInfo(
            try await call(.get, "/networks/" + Self.component(network, operation), operation).fields())
    }

    /// A network in use is `engine.refused` or `engine.conflict`, as the engine's version has it.
    public func removeNetwork(_ network: String) async throws(EngineError) {
        let operation = "remove network \(network)"
        try await call(
            .delete, "/networks/" + Self.component(network, operation), pace: .change, operation)
    }

    public func connect(_ container: String, to endpoint: ContainerSpec.Endpoint)
        async throws(EngineError)
    {
        let operation = "connect container \(container) to network \(endpoint.network)"
        try await call(
            .post, "/networks/" + Self.component(endpoint.network, operation) + "/connect",
            body: .json(["Container": .string(container), "EndpointConfig": endpoint.json]),
            pace: .change, operation)
    }

    public func disconnect(_ container: String, from network: String, force: Bool = false)
        async throws(EngineError)
    {
        let operation = "disconnect container \(container) from network \(network)"
        try await call(
            .post, "/networks/" + Self.component(network, operation) + "/disconnect",
            body: .json(["Container": .string(container), "Force": .bool(force)]), pace: .change,
            operation)
    }
}

extension NetworkInfo {
    init(_ fields: Fields) throws(EngineError) {
        id = try fields.string("Id")
        name = try fields.string("Name")
        driver = fields.optionalString("Driver") ?? ""
        labels = fields.stringMap("Labels")
        self.internal = fields.bool("Internal")
    }
}
