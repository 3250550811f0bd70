import Base
import HubCore
import HubHTTP
import HubProtocol
import HubReleases
import HubStore
import Model
import NIOCore
import NIOHTTP1
import OCI
import Trust

/// Releases and what they are made of. Publishing gives no device anything: that is an assignment's doing.
struct ReleaseRoutes: Sendable {
    /// Bytes of one blob.
    static let blobLimit: Int64 = 64 << 30

    private let services: ManagementServices

    init(_ services: ManagementServices) { self.services = services }

    var routes: [ManagementRoute] {
        [
            ManagementRoute(.GET, "/v1/releases", .releasesRead, list),
            ManagementRoute(.GET, "/v1/releases/{app}/{version}", .releasesRead, show),
            ManagementRoute(.HEAD, "/v1/blobs/sha256/{digest}", .releasesRead, limit: 0, stat),
            ManagementRoute(.PUT, "/v1/blobs/sha256/{digest}", .releasesPublish, stream: put),
            ManagementRoute(
                .POST, "/v1/repositories/release/metadata", .releasesPublish,
                limit: ReleaseRepository.uploadSize * 2, publish),
        ]
    }

    private func list(_ request: ManagementRequest) async throws -> HTTPAnswer {
        let page = try request.page()
        let found = try await services.store.list(
            .release, selector: page.selector, after: page.cursor, limit: page.limit)
        return .page(
            try found.records.map { try ReleaseRecord(decoding: $0.body).json }, next: found.next)
    }

    private func show(_ request: ManagementRequest) async throws -> HTTPAnswer {
        try request.allowQuery([])
        let app = try request.parameter("app")
        let text = try request.parameter("version")
        guard let id = try? AppID(app), let version = SemanticVersion(text),
            let found = try await services.store.record(ReleaseRecord.self, ReleaseRecord.recordID(id, version))
        else { throw Problem.notFound("release \(app.prefix(64)) \(text.prefix(64))") }
        return .json(found.value.json, version: found.version)
    }

    // MARK: Blobs

    private func digest(_ request: ManagementRequest) throws -> Digest {
        let hex = try request.parameter("digest")
        guard let digest = Digest(hex: hex) else { throw Problem.malformed("a digest is 64 lower-case hex digits") }
        return digest
    }

    /// 200 with the length of a blob that is here; 404 with `Upload-Offset` for how much of it an upload has left.
    private func stat(_ request: ManagementRequest) async throws -> HTTPAnswer {
        let digest = try digest(request)
        if let size = try await services.blobs.stat(digest) {
            return HTTPAnswer(.ok, headers: ["Content-Type": DeviceHeader.blob, "Content-Length": String(size)])
        }
        var answer = HTTPAnswer(Problem.notFound("blob \(digest)"))
        answer.headers.add(name: "Upload-Offset", value: String(try services.uploads.partialSize(digest)))
        return answer
    }

    /// The whole blob, or with `Content-Range: bytes FIRST-LAST/SIZE` the rest of one that was cut short.
    private func put(_ request: ManagementRequest, _ body: HTTPBody) async throws -> HTTPAnswer {
        let digest = try digest(request)
        let (start, size) = try extent(request)
        let blob = Release.Blob(digest: digest, size: size)
        if try await services.blobs.stat(digest) == size { return HTTPAnswer(.noContent) }
        let writer: BlobWriter
        do {
            writer = try services.uploads.writer(for: blob)
        } catch let error as OCIError where error.reason == .blobBusy {
            throw Problem("busy", status: 503, title: "The blob is being written by another upload", retryAfter: 5)
        }
        guard writer.offset == start else {
            var problem = Problem.conflict("the upload goes on at byte \(writer.offset)")
            problem.instance = request.id
            var answer = HTTPAnswer(problem)
            answer.headers.add(name: "Upload-Offset", value: String(writer.offset))
            return answer
        }
        do {
            try await fill(writer, from: body)
            _ = try writer.finish()
        } catch let error as OCIError {
            throw Problem("blob-refused", status: 422, title: "The blob is not taken", detail: error.message)
        }
        return HTTPAnswer(.created, headers: ["Location": "/v1/blobs/sha256/\(digest.hex)"])
    }

    private func fill(_ writer: BlobWriter, from body: HTTPBody) async throws {
        do {
            while let piece = try await body.next() { try piece.withUnsafeReadableBytes { try writer.write($0) } }
        } catch is HTTPBody.Failure {
            // What came is kept: the next upload goes on from there.
            try writer.flushPartial()
            throw Problem.malformed("the body ended before its length")
        }
    }

    private func extent(_ request: ManagementRequest) throws -> (start: Int64, size: Int64) {
        let headers = request.request.headers
        guard let length = headers.first(name: "Content-Length").flatMap({ Int64($0) }), length >= 0 else {
            throw Problem("length-required", status: 411, title: "Content-Length is needed")
        }
        guard let field = headers.first(name: "Content-Range") else {
            guard length <= Self.blobLimit else { throw Problem.bodyTooLarge(Self.blobLimit) }
            return (0, length)
        }
        let parts = field.dropFirst(6).split(separator: "/", omittingEmptySubsequences: false)
        let ends = parts.first?.split(separator: "-", omittingEmptySubsequences: false) ?? []
        guard field.hasPrefix("bytes "), parts.count == 2, ends.count == 2, let size = Int64(parts[1]),
            let first = Int64(ends[0]), let last = Int64(ends[1]), first >= 0, last >= first, last == size - 1,
            last - first + 1 == length
        else { throw Problem.malformed("Content-Range is bytes FIRST-LAST/SIZE, up to the end") }
        guard size <= Self.blobLimit else { throw Problem.bodyTooLarge(Self.blobLimit) }
        return (first, size)
    }

    // MARK: Metadata

    private func publish(_ request: ManagementRequest) async throws -> HTTPAnswer {
        let limits = JSONLimits(
            size: ReleaseRepository.uploadSize * 2, depth: 4, count: ReleaseRepository.files * 2 + 16,
            literalControls: false)
        guard let value = try? JSONValue(parsing: request.body, limits: limits), value.object?.count == 1,
            let files = value["files"]?.object
        else { throw Problem.malformed("the body is {\"files\": {NAME: TEXT}}") }
        var contents: [String: [UInt8]] = [:]
        for (name, text) in files {
            guard let text = text.string else { throw Problem.malformed("files are texts") }
            contents[name] = Array(text.utf8)
        }
        do {
            let published = try await services.releases.publish(contents, by: request.actor)
            return .json([
                "timestamp": .integer(published.timestamp), "added": .array(published.added.map(\.json)),
            ])
        } catch let lacking as ReleaseRepository.Lacking {
            throw Problem(
                "blobs-missing", status: 409, title: "Blobs are missing",
                detail: lacking.blobs.map(\.digest.description).joined(separator: " "),
                hint: "upload them, then publish again")
        }
    }
}

extension ReleaseRecord {
    var json: JSONValue {
        [
            "app": .string(app.text), "version": .string(version.description), "ctr": .integer(ctr),
            "epoch": .integer(epoch), "digest": .string(digest.description), "length": .integer(length),
            "architectures": .array(architectures.map { .string($0) }), "added_at": .string(addedAt.description),
        ]
    }
}
