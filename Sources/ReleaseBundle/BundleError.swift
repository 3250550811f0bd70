import Base

/// What is wrong with a bundle, beyond the faults of its archive, layout and blobs, which keep their own codes.
public struct BundleError: CodedError, Equatable {
    public enum Reason: String, Sendable, CaseIterable {
        /// Neither a folder nor a tar file with the parts of a bundle.
        case notABundle = "not-a-bundle"
        /// Written in a later format.
        case version
        /// The members of the tar form do not stand in the order of the format.
        case order
        /// The tar form holds a file that the format does not have.
        case unexpectedFile = "unexpected-file"
        /// The index lists a release in a way that cannot be read.
        case release
        /// TUF metadata to be exported is missing or cannot be followed.
        case metadata
        /// More releases than a bundle may list.
        case limit
        /// The place to write to holds something else.
        case destination
    }

    public var reason: Reason
    public var subject: String
    public var detail: String

    public init(_ reason: Reason, _ subject: String, _ detail: String = "") {
        self.reason = reason
        self.subject = subject
        self.detail = detail
    }

    public var code: String { "bundle.\(reason.rawValue)" }

    public var message: String {
        let what =
            switch reason {
            case .notABundle: "not a release bundle"
            case .version: "a bundle of a format this software does not know"
            case .order: "the bundle's parts are not in order"
            case .unexpectedFile: "a file that no bundle has"
            case .release: "a malformed release entry"
            case .metadata: "signed metadata is missing or malformed"
            case .limit: "over a limit"
            case .destination: "cannot write a bundle here"
            }
        return "\(subject): \(what)" + (detail.isEmpty ? "" : " (\(detail))")
    }

    public var hint: String? {
        switch reason {
        case .notABundle: "write one with holdfast bundle export"
        case .version: "update this software, or export the bundle for its version"
        case .order, .unexpectedFile: "export the bundle again; repacked archives are not accepted"
        case .metadata: "run holdfast repo status"
        case .destination: "name a new or empty folder, or a folder that holds a bundle"
        default: nil
        }
    }

    public var exitStatus: ExitStatus {
        switch reason {
        case .destination: .cannotCreate
        default: .dataError
        }
    }
}
