/// A service whose container may hold updates of its app back.
public struct LockingService: Hashable, Sendable {
    /// Where the container finds the socket `lock.sock`.
    public static let containerDirectory = "/run/holdfast"
    public static let socketName = "lock.sock"

    public var app: String
    public var service: String

    public init(app: String, service: String) {
        self.app = app
        self.service = service
    }
}
