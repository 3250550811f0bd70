import Archive
import Base
import ImageDelta
import OCI

/// Reads an engine's export (`docker save`) as it streams by, and keeps of the base layers of a delta what the delta
/// uses. Which file of the archive is which layer is told by its size and then by its digest.
public final class ExportSpool {
    private struct Candidate {
        var index: Int
        var path: String
        var spool: RunSpool
    }

    private let opened: OpenedDelta
    private let fileSystem: FileSystem
    private var wanted: Set<Int>
    private var parser: TarParser
    private var candidates: [Candidate] = []
    private var hasher: SHA256Hasher?
    private var left: Int64 = 0

    init(_ opened: OpenedDelta, wanted: Set<Int>, fileSystem: FileSystem) {
        self.opened = opened
        self.wanted = wanted
        self.fileSystem = fileSystem
        parser = TarParser(
            limits: TarLimits(entries: OCILimits.entries, entryBytes: OCILimits.layerBytes, totalBytes: .max),
            subject: "the engine's export")
    }

    /// Layers that were not found yet.
    public var missing: Set<Int> { wanted }

    public func feed(_ bytes: [UInt8]) throws {
        try bytes.withUnsafeBytes { buffer in
            var rest = UnsafeRawBufferPointer(rebasing: buffer[...])
            while true {
                var consumed = 0
                let event = try parser.next(rest, consumed: &consumed)
                let passed = UnsafeRawBufferPointer(rebasing: rest[..<consumed])
                rest = UnsafeRawBufferPointer(rebasing: rest[consumed...])
                switch event {
                case .needsInput: return
                case .end: continue
                case .header(let header): try begin(header)
                case .content(let count):
                    try take(UnsafeRawBufferPointer(rebasing: passed[(passed.count - count)...]))
                }
            }
        }
    }

    private func begin(_ header: TarHeader) throws {
        candidates = []
        hasher = nil
        guard header.kind == .file, header.size > 0 else { return }
        for index in wanted.sorted() where opened.apply.header.bases[index].size == header.size {
            let path = opened.spoolPath(index, .export) + ".new"
            let file = try fileSystem.create(path, mode: 0o600, truncate: true, op: LayerMaker.operationLabel)
            candidates.append(
                Candidate(
                    index: index, path: path,
                    spool: RunSpool(runs: opened.apply.header.usedRuns(ofLayer: index), file: file)))
        }
        if !candidates.isEmpty { hasher = SHA256Hasher() }
        left = header.size
    }

    private func take(_ bytes: UnsafeRawBufferPointer) throws {
        guard !candidates.isEmpty else { return }
        hasher?.update(bytes)
        for at in candidates.indices { try candidates[at].spool.write(bytes) }
        left -= Int64(bytes.count)
        guard left == 0, let found = hasher.take()?.finish() else { return }
        for var candidate in candidates {
            guard opened.apply.header.bases[candidate.index].diffID == found else {
                try fileSystem.unlink(candidate.path, op: LayerMaker.operationLabel)
                continue
            }
            try candidate.spool.finish()
            try fileSystem.rename(
                candidate.path, to: opened.spoolPath(candidate.index, .export), op: LayerMaker.operationLabel)
            wanted.remove(candidate.index)
        }
        candidates = []
    }
}
