import Base
import Model
import OCI

extension AgentService {
    func startScrub(_ request: LocalRequest) throws -> PullSequence<JSONValue> {
        guard let scrubber else { throw AgentError(.notFound, "this agent does not scrub") }
        let body = try body(request)
        let source = try body["path"]?.string.map { path -> any BlobSource in
            guard path.hasPrefix("/") else { throw AgentError(.invalidRequest, "a scrub needs an absolute path") }
            return try openSource(path).blobs
        }
        let mayRestart = body["restart"]?.bool ?? false
        let (stream, events) = AsyncThrowingStream<JSONValue, any Error>.makeStream(
            bufferingPolicy: .bufferingNewest(64))
        Task {
            do {
                let report = try await scrubber.scrub(from: source, mayRestart: mayRestart) { events.yield($0) }
                events.yield(report.json)
                events.finish()
            } catch {
                events.finish(throwing: error)
            }
        }
        return PullSequence(stream)
    }
}
