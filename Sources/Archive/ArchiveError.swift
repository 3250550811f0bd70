import Base

/// Why an archive or a compressed stream was refused, and where.
public struct ArchiveError: CodedError, Equatable {
    public enum Reason: String, Sendable, CaseIterable {
        /// The input ends before the structure does.
        case truncated
        /// A tar header's checksum does not match its bytes.
        case checksum
        /// A numeric tar field holds no number, or one beyond 63 bits.
        case number
        /// A tar size field is negative.
        case negativeSize = "negative-size"
        case tooManyEntries = "too-many-entries"
        case nameTooLong = "name-too-long"
        case extendedHeaderTooLarge = "extended-header-too-large"
        case extendedHeader = "extended-header"
        case sparse
        case entryTooLarge = "entry-too-large"
        case totalTooLarge = "total-too-large"
        /// Bytes that are not zero follow the end-of-archive marker or the last compressed frame.
        case trailingData = "trailing-data"
        case gzip
        case zstd
        /// A zstd frame needs a larger window than the reader grants.
        case window
        /// More output than the caller's cap: a decompression bomb, or a wrong declared size.
        case outputCap = "output-cap"
        /// A writer was given something the format cannot hold.
        case unrepresentable
    }

    public var reason: Reason
    /// What was read, for people: a file name or `tar`.
    public var subject: String
    /// Byte offset in the input at which the fault was found.
    public var offset: Int64
    public var detail: String

    public init(_ reason: Reason, subject: String = "archive", offset: Int64 = 0, detail: String = "") {
        self.reason = reason
        self.subject = subject
        self.offset = offset
        self.detail = detail
    }

    public var code: String { "archive.\(reason.rawValue)" }

    public var message: String {
        let what =
            switch reason {
            case .truncated: "the input ends too early"
            case .checksum: "a tar header's checksum does not match"
            case .number: "a tar header field is no valid number"
            case .negativeSize: "a tar entry has a negative size"
            case .tooManyEntries: "more entries than the limit"
            case .nameTooLong: "an entry's name is longer than the limit"
            case .extendedHeaderTooLarge: "an extended tar header is larger than the limit"
            case .extendedHeader: "an extended tar header is malformed"
            case .sparse: "sparse tar entries are not supported"
            case .entryTooLarge: "an entry is larger than the limit"
            case .totalTooLarge: "the archive is larger than the limit"
            case .trailingData: "unexpected bytes after the end"
            case .gzip: "the gzip stream is damaged"
            case .zstd: "the zstd stream is damaged"
            case .window: "the zstd stream needs a larger window than is allowed"
            case .outputCap: "decompressed data exceeds its declared size"
            case .unrepresentable: "the format cannot hold this entry"
            }
        return "cannot read \(subject) at byte \(offset): \(what)" + (detail.isEmpty ? "" : " (\(detail))")
    }

    public var hint: String? {
        switch reason {
        case .truncated: "copy the file again; it was cut short"
        case .sparse: "write the archive without --sparse"
        default: nil
        }
    }
    public var exitStatus: ExitStatus { .dataError }
}
