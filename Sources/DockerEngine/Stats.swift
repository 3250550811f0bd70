import Base
import Model

/// What a container uses now.
public struct ContainerStats: Sendable, Hashable {
    /// Nanoseconds of CPU since the container started.
    public var cpuNanoseconds: Int64
    /// Bytes, without the page cache that the kernel can drop.
    public var memory: Int64
    /// Bytes; nil for no limit.
    public var memoryLimit: Int64?
    public var processes: Int64
    /// Bytes over all networks.
    public var received: Int64
    public var sent: Int64
}

extension EngineClient {
    /// One reading; the engine does not wait for a second one to compute a difference.
    public func containerStats(_ container: String) async throws(EngineError) -> ContainerStats {
        let operation = "read the resource use of container \(container)"
        let path = "/containers/" + (try Self.component(container, operation)) + "/stats"
        let fields = try await call(.get, path, query: [("stream", "0"), ("one-shot", "1")], operation)
            .fields()
        let memory = fields.optionalFields("memory_stats")
        let details = memory?.optionalFields("stats")
        // cgroup v2 calls it inactive_file, v1 total_inactive_file.
        let cache =
            details.map {
                $0.integer("inactive_file", default: $0.integer("total_inactive_file", default: 0))
            } ?? 0
        let networks = fields.members("networks").map(\.fields)
        return ContainerStats(
            cpuNanoseconds: fields.optionalFields("cpu_stats")?.optionalFields("cpu_usage")?
                .integer("total_usage", default: 0) ?? 0,
            memory: max(0, (memory?.integer("usage", default: 0) ?? 0) - cache),
            memoryLimit: memory?.value["limit"]?.integer,
            processes: fields.optionalFields("pids_stats")?.integer("current", default: 0) ?? 0,
            received: networks.reduce(0) { $0 &+ $1.integer("rx_bytes", default: 0) },
            sent: networks.reduce(0) { $0 &+ $1.integer("tx_bytes", default: 0) })
    }
}
