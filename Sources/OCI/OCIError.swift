import Base

/// What is wrong with an image, a layout or a blob, and with which.
public struct OCIError: CodedError, Equatable {
    public enum Reason: String, Sendable, CaseIterable {
        /// An image reference or source cannot be parsed.
        case reference
        /// A document is not the JSON it should be.
        case document
        case mediaType = "media-type"
        /// More layers, manifests, entries or bytes than a named limit.
        case limit
        /// `oci-layout` is missing or of another version.
        case layout
        /// The wanted tag is not in the layout or archive, or several images are and none is named.
        case tag
        /// No image for the wanted architecture.
        case platform
        case blobMissing = "blob-missing"
        case blobTruncated = "blob-truncated"
        case blobOversized = "blob-oversized"
        case blobDigest = "blob-digest"
        /// Another process is writing this blob.
        case blobBusy = "blob-busy"
        /// A layer's content is not what the image config signs.
        case diffID = "diff-id"
        /// Config and manifest disagree on the number of layers.
        case layerCount = "layer-count"
        /// A name that is absolute or leads out of its folder.
        case pathEscape = "path-escape"
        case duplicateEntry = "duplicate-entry"
        /// A symlink, hard link, device or pipe where a plain file must be.
        case notRegular = "not-regular"
    }

    public var reason: Reason
    /// The image, file or digest at fault.
    public var subject: String
    public var detail: String

    public init(_ reason: Reason, _ subject: String, _ detail: String = "") {
        self.reason = reason
        self.subject = subject
        self.detail = detail
    }

    public var code: String { "oci.\(reason.rawValue)" }

    public var message: String {
        let what =
            switch reason {
            case .reference: "no valid image reference or source"
            case .document: "malformed document"
            case .mediaType: "unsupported media type"
            case .limit: "over a limit"
            case .layout: "no OCI image layout of version 1"
            case .tag: "cannot tell which image is meant"
            case .platform: "no image for this architecture"
            case .blobMissing: "the blob is missing"
            case .blobTruncated: "the blob is shorter than it should be"
            case .blobOversized: "the blob is longer than it should be"
            case .blobDigest: "the content does not match its digest"
            case .blobBusy: "another process is writing this blob"
            case .diffID: "the layer's content does not match the diffID of the image config"
            case .layerCount: "config and manifest name different numbers of layers"
            case .pathEscape: "a path leads out of its folder"
            case .duplicateEntry: "the same name twice"
            case .notRegular: "a link or special file where a plain file must be"
            }
        return "\(subject): \(what)" + (detail.isEmpty ? "" : " (\(detail))")
    }

    public var hint: String? {
        switch reason {
        case .blobTruncated, .blobDigest, .blobMissing: "copy or export it again; the medium may be damaged"
        case .blobBusy: "wait for the other import to end"
        case .tag: "name one, as in oci:DIR:TAG"
        default: nil
        }
    }

    public var exitStatus: ExitStatus {
        switch reason {
        case .reference: .usage
        case .blobMissing: .noInput
        case .blobBusy: .temporaryFailure
        default: .dataError
        }
    }
}

/// Bounds of untrusted images.
public enum OCILimits {
    /// Bytes of a manifest or index; what registries and containerd accept.
    public static let manifestBytes = 4 << 20
    /// Bytes of an image config.
    public static let configBytes = 8 << 20
    /// Layers of one image.
    public static let layers = 256
    /// Manifests of one index.
    public static let manifests = 4096
    /// Indexes inside indexes.
    public static let indexDepth = 3
    /// JSON nesting of any document.
    public static let jsonDepth = 32
    /// JSON values of any document.
    public static let jsonValues = 200_000
    /// Files of an archive.
    public static let entries = 20_000
    /// Bytes of a name inside an archive.
    public static let nameBytes = 1024
    /// Bytes of one uncompressed layer.
    public static let layerBytes: Int64 = 1 << 38
}
