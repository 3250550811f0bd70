import Base
import DockerEngine
import NIOPosix
import OCI

/// Fetches an image out of a local engine as a `docker save` file.
public struct EngineImages: Sendable {
    public var socketPath: String

    public static let defaultSocket = "/var/run/docker.sock"

    public init(socketPath: String = EngineImages.defaultSocket) { self.socketPath = socketPath }

    /// The socket of `DOCKER_HOST` (`unix://PATH`), or the usual one.
    public init(dockerHost: String?) throws(OperatorError) {
        guard let dockerHost, !dockerHost.isEmpty else {
            self.init()
            return
        }
        guard dockerHost.hasPrefix("unix://") else {
            throw OperatorError(
                .value, "DOCKER_HOST is \(dockerHost); only local engines are read",
                hint: "use unix:///path/of/docker.sock, or save the image and give docker-archive:FILE")
        }
        self.init(socketPath: String(dockerHost.dropFirst("unix://".count)))
    }

    /// Saves an image into `file`, which is complete when this returns.
    func save(_ reference: String, to file: String, progress: @escaping @Sendable (Int64) -> Void) async throws {
        let output = try FileSystem().create(file, mode: 0o600, truncate: true, op: "build.image")
        let client = EngineClient(socketPath: socketPath, group: MultiThreadedEventLoopGroup.singleton)
        do {
            try await client.saveImage(reference) { piece in
                try output.write(piece)
                progress(Int64(piece.count))
            }
            await client.shutdown()
        } catch {
            await client.shutdown()
            throw error
        }
    }
}
