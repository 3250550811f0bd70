import DockerEngine
import NIOPosix
import Testing

/// One event loop thread for all clients that tests make.
let testGroup = MultiThreadedEventLoopGroup(numberOfThreads: 1)

/// Expects an `EngineError` of that reason whose detail contains `words`.
func expectEngineError(
    _ reason: EngineError.Reason, _ words: String = "", sourceLocation: SourceLocation = #_sourceLocation,
    _ body: () async throws -> Void
) async {
    do {
        try await body()
        Issue.record("no error where \(reason) was expected", sourceLocation: sourceLocation)
    } catch let error as EngineError {
        #expect(error.reason == reason, "\(error)", sourceLocation: sourceLocation)
        #expect(error.detail.contains(words) || words.isEmpty, "\(error)", sourceLocation: sourceLocation)
    } catch {
        Issue.record("\(error) where \(reason) was expected", sourceLocation: sourceLocation)
    }
}
