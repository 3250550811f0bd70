import Archive
import Base
import Dispatch
import HubProtocol
import Model
import OCI
import Synchronization
import Trust

/// A number that is used up bit by bit.
final class Counter: Sendable {
    private let value: Mutex<Int64>
    init(_ value: Int64) { self.value = Mutex(value) }

    /// Takes up to `count` away; answers how much.
    func take(_ count: Int64) -> Int {
        value.withLock { value in
            let taken = min(value, count)
            value -= taken
            return Int(taken)
        }
    }
}

/// Why the hub did not give what a verifier asked for. The verifier says that a file could not be fetched; whether the hub
/// is away, busy until a moment that it named, or wrong, is known here alone.
final class FetchFailure: Sendable {
    private let last = Mutex<HubLinkError?>(nil)

    func watch<Value>(_ fetch: () async throws -> Value) async throws -> Value {
        do {
            return try await fetch()
        } catch {
            last.withLock { $0 = error as? HubLinkError }
            throw error
        }
    }

    /// The failure behind a verifier's error; the error itself where it is of another kind.
    func behind(_ error: any Error) -> any Error {
        guard (error as? TrustError)?.reason == .fetchFailed else { return error }
        return last.withLock { $0 } ?? error
    }
}

/// Metadata of one repository from the hub. Files are fetched once for all the checks of one poll.
struct HubMetadata: MetadataFetcher {
    /// Bytes and files kept of one poll.
    static let cacheLimit = 4 << 20
    static let fileLimit = 128

    let repository: RepositoryName
    let client: HubClient
    let end: HubEnd
    let failure: FetchFailure
    private let cache = Cache()

    init(_ repository: RepositoryName, client: HubClient, end: HubEnd, failure: FetchFailure) {
        self.repository = repository
        self.client = client
        self.end = end
        self.failure = failure
    }

    func fetchMetadata(_ name: String, maxLength: Int) async throws -> [UInt8]? {
        if let known = cache.file(name) {
            guard (known?.count ?? 0) <= maxLength else {
                throw TrustError(.tooLarge, name, "at most \(maxLength) bytes are read")
            }
            return known
        }
        let file = MetadataName.encoded(name)
        // A name that the device API has no route for is one that the hub cannot have.
        guard DeviceRoute(path: DeviceRoute.metadata(repository, file: file).path) != nil else { return nil }
        let bytes = try await failure.watch { try await client.metadata(repository, file, end, limit: maxLength) }
        cache.keep(name, bytes)
        return bytes
    }

    private final class Cache: Sendable {
        private let state = Mutex((files: [String: [UInt8]?](), bytes: 0))

        func file(_ name: String) -> [UInt8]?? { state.withLock { $0.files[name] } }
        func keep(_ name: String, _ bytes: [UInt8]?) {
            state.withLock { state in
                let size = bytes?.count ?? 0
                guard state.files.count < fileLimit, state.bytes + size <= cacheLimit else { return }
                state.files[name] = .some(bytes)
                state.bytes += size
            }
        }
    }
}

/// Blobs of one release from the hub. Which there are was asked before, so that looking it up never waits; reading
/// waits on the network and is for threads that may.
struct HubBlobs: BlobSource {
    /// Pauses in a blob before the import is given up, to be taken up again at the next poll.
    static let attempts = 5

    let client: HubClient
    let clock: SystemClock
    /// Where the hub is; may change while a key is changed.
    let end: @Sendable () async throws -> HubEnd
    let sizes: [Digest: Int64]

    func blobSize(_ digest: Digest) throws -> Int64? { sizes[digest] }

    func openBlob(_ digest: Digest, from offset: Int64) throws -> any ByteSource {
        HubBlobStream(digest: digest, offset: offset, end: sizes[digest] ?? 0, blobs: self)
    }
}

/// One blob's bytes, pulled by a thread that blocks and brought by a task that does not. A connection that breaks
/// is made again where it stopped.
private final class HubBlobStream: ByteSource {
    private let digest: Digest
    private let blobs: HubBlobs
    private let size: Int64
    private var offset: Int64
    private var piece: ArraySlice<UInt8> = []
    private var flow: Flow?
    private var failures = 0
    private let backoff = Backoff(base: .seconds(1), ceiling: .seconds(30))

    init(digest: Digest, offset: Int64, end: Int64, blobs: HubBlobs) {
        self.digest = digest
        self.offset = offset
        self.blobs = blobs
        size = end
    }

    deinit { flow?.cancel() }

    func read(into buffer: UnsafeMutableRawBufferPointer) throws -> Int {
        guard offset < size, !buffer.isEmpty else { return 0 }
        while piece.isEmpty {
            let flow = self.flow ?? Flow(digest: digest, offset: offset, blobs: blobs)
            self.flow = flow
            do {
                guard let next = try flow.next() else {
                    throw HubLinkError(.unreachable, "blob \(digest.short) ended at \(offset) of \(size) bytes")
                }
                piece = next[...]
                if !next.isEmpty { failures = 0 }
            } catch {
                flow.cancel()
                self.flow = nil
                try pause(after: error)
            }
        }
        let count = min(buffer.count, piece.count)
        piece.withUnsafeBytes { buffer.copyMemory(from: UnsafeRawBufferPointer(rebasing: $0[..<count])) }
        piece = piece.dropFirst(count)
        offset += Int64(count)
        return count
    }

    /// Waits before another try, unless trying again is of no use.
    private func pause(after error: any Error) throws {
        let isPassing = (error as? HubLinkError).map { [.unreachable, .busy].contains($0.reason) } ?? false
        failures += 1
        guard isPassing, failures < HubBlobs.attempts else { throw error }
        var generator = SystemRandomNumberGenerator()
        let asked = (error as? HubLinkError)?.retryAfter.map { Duration.seconds(min($0, 300)) }
        let wait = asked ?? backoff.delay(attempt: failures - 1, using: &generator)
        let (done, clock) = (DispatchSemaphore(value: 0), blobs.clock)
        Task {
            try? await clock.sleep(wait)
            done.signal()
        }
        done.wait()
    }

    /// The task and the slot through which it hands pieces over, one at a time.
    private final class Flow: Sendable {
        private enum Handed { case piece([UInt8]), end, failed(any Error) }
        private let slot = Mutex<Handed?>(nil)
        private let filled = DispatchSemaphore(value: 0)
        private let demand: AsyncStream<Void>.Continuation
        private let task: Mutex<Task<Void, Never>?>

        init(digest: Digest, offset: Int64, blobs: HubBlobs) {
            let (wanted, demand) = AsyncStream<Void>.makeStream(bufferingPolicy: .bufferingNewest(1))
            self.demand = demand
            task = Mutex(nil)
            let started = Task { [self] in
                do {
                    try await blobs.client.blob(digest, from: offset, try await blobs.end()) { next in
                        for await _ in wanted {
                            guard let piece = try await next() else { return self.hand(.end) }
                            self.hand(.piece(piece))
                        }
                    }
                } catch {
                    hand(.failed(error))
                }
            }
            task.withLock { $0 = started }
        }

        private func hand(_ value: Handed) {
            slot.withLock { $0 = value }
            filled.signal()
        }

        func next() throws -> [UInt8]? {
            demand.yield()
            filled.wait()
            switch slot.withLock({ $0 }) {
            case .piece(let bytes): return bytes
            case .failed(let error): throw error
            case .end, nil: return nil
            }
        }

        func cancel() {
            demand.finish()
            task.withLock { $0 }?.cancel()
        }
    }
}
