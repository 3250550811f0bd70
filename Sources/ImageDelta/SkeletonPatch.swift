/// Steps that turn an extracted tree into the skeleton of the tar it came from (docs/delta-format.md).
public enum SkeletonPatch {
    /// First byte of a step.
    public enum Step: UInt8, Sendable {
        /// The skeleton is complete.
        case end = 0
        /// n: the next n entries of the walk have the predicted headers.
        case run = 1
        /// The next entry of the walk has the predicted header with differences.
        case differs = 2
        /// n: the next n entries of the walk are passed over.
        case skip = 3
        /// n, then n bytes of skeleton.
        case literal = 4
        /// n, then n bytes of path: the entry at this path, wherever the walk is, with differences.
        case path = 5
        /// n, then n bytes: the next entry of the walk has these headers, which later ones are like.
        case headers = 6
    }

    /// Bytes in one literal step.
    public static let literalLimit: Int64 = 1 << 26
    public static let pathLimit: Int64 = 4096
    /// Bytes of headers of one member that are predicted.
    public static let headersLimit: Int64 = 16 << 10
}

/// The entries of an extracted layer: one walk in order, and any of them by path.
///
/// The order is that of `tar --sort=name` and of Go's filepath.Walk: a directory before what it holds, the
/// names in a directory by their bytes (a whiteout by the name it hides).
public protocol ExtractedTree: AnyObject {
    /// The next entry, the root first; nil after the last.
    func next() throws(DeltaError) -> TreeEntry?
    func entry(at path: [UInt8]) throws(DeltaError) -> TreeEntry?
}

/// Makes a skeleton from steps and a tree.
struct SkeletonBuilder {
    private let steps: StreamDecoder
    private let tree: any ExtractedTree
    private let limit: Int64
    private let write: ([UInt8]) throws(DeltaError) -> Void
    private var template = HeaderTemplate()
    private var written: Int64 = 0

    /// `limit` is the skeleton's size; more is an error.
    init(
        steps: StreamDecoder, tree: any ExtractedTree, limit: Int64,
        write: @escaping ([UInt8]) throws(DeltaError) -> Void
    ) {
        self.steps = steps
        self.tree = tree
        self.limit = limit
        self.write = write
    }

    mutating func run() throws(DeltaError) {
        while true {
            let code = try steps.byte()
            guard let step = SkeletonPatch.Step(rawValue: code) else {
                throw DeltaError(.malformed, "header step \(code) is not known")
            }
            switch step {
            case .end: return
            case .run:
                let count = try steps.number("headers in a run", limit: limit / 512)
                for _ in 0..<count { try emit(template.predict(try nextEntry())) }
            case .differs: try emit(try corrected(template.predict(try nextEntry())))
            case .skip:
                let count = try steps.number("entries to skip", limit: Int64(TarScanner.memberLimit))
                for _ in 0..<count { _ = try nextEntry() }
            case .literal: try literal()
            case .path:
                let path = try bytes(Int(try steps.number("a path", limit: SkeletonPatch.pathLimit)))
                guard let entry = try tree.entry(at: path) else {
                    throw DeltaError(.missingBase, "\(String(decoding: path, as: UTF8.self)) is not in the tree")
                }
                try emit(try corrected(template.predict(entry)))
            case .headers:
                _ = try nextEntry()
                let count = try steps.number("headers of a member", limit: SkeletonPatch.headersLimit)
                guard count >= 512, count % 512 == 0 else { throw DeltaError(.malformed, "headers are no blocks") }
                try emit(try bytes(Int(count)))
            }
        }
    }

    private func nextEntry() throws(DeltaError) -> TreeEntry {
        guard let entry = try tree.next() else {
            throw DeltaError(.missingBase, "the extracted tree has fewer entries than the layer")
        }
        return entry
    }

    private func bytes(_ count: Int) throws(DeltaError) -> [UInt8] {
        var output = [UInt8](repeating: 0, count: count)
        for index in 0..<count { output[index] = try steps.byte() }
        return output
    }

    /// Number of differences, then gap, length and bytes of each; the checksum is put right afterwards.
    private func corrected(_ predicted: [UInt8]) throws(DeltaError) -> [UInt8] {
        var headers = predicted
        let count = try steps.number("differences of a header", limit: 512)
        var at = 0
        for _ in 0..<count {
            at += Int(try steps.number("a header difference", limit: Int64(headers.count - at)))
            let length = Int(try steps.number("a header difference", limit: Int64(headers.count - at)))
            for byte in try bytes(length) {
                headers[at] = byte
                at += 1
            }
        }
        var header = Array(headers.suffix(HeaderTemplate.headerBytes))
        HeaderTemplate.seal(&header)
        return headers.dropLast(HeaderTemplate.headerBytes) + header
    }

    /// A header and the zeros that pad the content after it.
    private mutating func emit(_ headers: [UInt8]) throws(DeltaError) {
        template.learn(headers)
        try put(headers)
        let header = Array(headers.suffix(HeaderTemplate.headerBytes))
        guard header[156] == 0x30 || header[156] == 0 || header[156] == 0x37,
            let size = TarScanner.number(header[124..<136])
        else { return }
        let padding = Int((512 - (size & 511)) & 511)
        if padding > 0 { try put([UInt8](repeating: 0, count: padding)) }
    }

    private mutating func literal() throws(DeltaError) {
        var left = try steps.number("a literal", limit: min(SkeletonPatch.literalLimit, limit - written))
        while left > 0 {
            let part = try bytes(Int(min(left, 64 << 10)))
            try put(part)
            left -= Int64(part.count)
        }
    }

    private mutating func put(_ bytes: [UInt8]) throws(DeltaError) {
        written += Int64(bytes.count)
        guard written <= limit else { throw DeltaError(.limit, "a layer's headers exceed \(limit) bytes") }
        try write(bytes)
    }
}
