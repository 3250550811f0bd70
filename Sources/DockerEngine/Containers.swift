import Base
import Model

extension EngineClient {
    /// Names of containers and IDs are interchangeable in all these calls.
    private func containerPath(_ container: String, _ action: String, _ operation: String)
        throws(EngineError) -> String
    {
        "/containers/" + (try Self.component(container, operation)) + action
    }

    /// Creates a container and gives its ID. A taken name is `engine.conflict`, a missing image `engine.not-found`.
    public func createContainer(name: String, _ spec: ContainerSpec) async throws(EngineError)
        -> String
    {
        let operation = "create container \(name)"
        let answer = try await call(
            .post, "/containers/create", query: [("name", name)], body: .json(spec.json), pace: .change,
            operation)
        return try answer.fields().string("Id")
    }

    /// Starting a running container does nothing.
    public func startContainer(_ container: String) async throws(EngineError) {
        let operation = "start container \(container)"
        try await call(.post, containerPath(container, "/start", operation), pace: .change, operation)
    }

    /// Asks the container to end by `signal` (nil: its own stop signal) and kills it after `grace`.
    /// Stopping a stopped container does nothing.
    public func stopContainer(
        _ container: String, grace: Duration, signal: String? = nil
    ) async throws(EngineError) {
        let operation = "stop container \(container)"
        let seconds = max(0, grace.components.seconds + (grace.components.attoseconds > 0 ? 1 : 0))
        var query = [(name: "t", value: "\(seconds)")]
        if let signal {
            if try await apiVersion() >= APIVersion(major: 1, minor: 42) {
                query.append((name: "signal", value: signal))
            } else if try await endBySignal(container, signal, within: grace) {
                return
            } else {
                query[0].value = "0"
            }
        }
        try await call(
            .post, containerPath(container, "/stop", operation), query: query,
            pace: .exactly(.seconds(seconds) + timeouts.stopMargin), operation)
    }

    /// Before API 1.42 a stop cannot name its signal: send it, and say whether the container ended in time.
    private func endBySignal(_ container: String, _ signal: String, within grace: Duration)
        async throws(EngineError) -> Bool
    {
        do {
            try await killContainer(container, signal: signal)
        } catch let error where error.reason == .conflict {
            return true  // not running
        }
        do {
            _ = try await waitContainer(container, limit: grace)
            return true
        } catch let error where error.reason == .timeout {
            return false
        }
    }

    /// A container that does not run is `engine.conflict`.
    public func killContainer(_ container: String, signal: String = "SIGKILL")
        async throws(EngineError)
    {
        let operation = "send \(signal) to container \(container)"
        try await call(
            .post, containerPath(container, "/kill", operation), query: [("signal", signal)],
            pace: .change, operation)
    }

    /// Removes a container; `force` kills a running one, `volumes` takes its anonymous volumes along.
    public func removeContainer(
        _ container: String, force: Bool = false, volumes: Bool = false
    ) async throws(EngineError) {
        let operation = "remove container \(container)"
        try await call(
            .delete, containerPath(container, "", operation),
            query: [("force", force ? "1" : "0"), ("v", volumes ? "1" : "0")], pace: .change, operation)
    }

    public func renameContainer(_ container: String, to name: String) async throws(EngineError) {
        let operation = "rename container \(container) to \(name)"
        try await call(
            .post, containerPath(container, "/rename", operation), query: [("name", name)], pace: .change,
            operation)
    }

    public func inspectContainer(_ container: String) async throws(EngineError) -> ContainerDetails {
        let operation = "inspect container \(container)"
        return try ContainerDetails(
            try await call(.get, containerPath(container, "/json", operation), operation).fields())
    }

    /// The whole inspection, for what ``ContainerDetails`` leaves out.
    public func inspectContainerDocument(_ container: String) async throws(EngineError) -> JSONValue {
        let operation = "inspect container \(container)"
        return try await call(.get, containerPath(container, "/json", operation), operation).json()
    }

    /// Containers in every state that have all `labels`; a label without `=` asks for its key only.
    public func listContainers(labels: [String] = [], names: [String] = []) async throws(EngineError)
        -> [ContainerSummary]
    {
        let operation = "list containers"
        var filters: [String: [String]] = [:]
        if !labels.isEmpty { filters["label"] = labels }
        if !names.isEmpty { filters["name"] = names }
        let answer = try await call(
            .get, "/containers/json",
            query: [("all", "1"), ("filters", Self.filters(filters, operation))], operation)
        var output: [ContainerSummary] = []
        for element in try answer.list() { output.append(try ContainerSummary(element)) }
        return output
    }

    /// Suspends until the container does not run, and gives its exit code.
    ///
    /// - Parameter limit: nil waits as long as the task is not cancelled.
    public func waitContainer(_ container: String, limit: Duration?) async throws(EngineError)
        -> Int64
    {
        let operation = "wait for container \(container)"
        let answer = try await call(
            .post, containerPath(container, "/wait", operation), query: [("condition", "not-running")],
            pace: limit.map { .exactly($0) } ?? .unlimited, operation)
        return try answer.fields().integer("StatusCode")
    }

    public func pauseContainer(_ container: String) async throws(EngineError) {
        let operation = "pause container \(container)"
        try await call(.post, containerPath(container, "/pause", operation), pace: .change, operation)
    }

    public func unpauseContainer(_ container: String) async throws(EngineError) {
        let operation = "unpause container \(container)"
        try await call(.post, containerPath(container, "/unpause", operation), pace: .change, operation)
    }

    /// Changes a container's restart policy while it lives.
    public func updateRestartPolicy(
        _ container: String, _ policy: Service.Restart.Policy
    ) async throws(EngineError) {
        let operation = "change the restart policy of container \(container)"
        try await call(
            .post, containerPath(container, "/update", operation),
            body: .json(["RestartPolicy": ["Name": .string(policy.rawValue)]]), pace: .change, operation)
    }
}
