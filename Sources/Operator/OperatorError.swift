import Base

/// Why an operator's command cannot do what it was asked.
public struct OperatorError: CodedError, Equatable {
    public enum Reason: String, Sendable, CaseIterable {
        /// There is no repository in the folder.
        case noRepository = "no-repository"
        /// A text that should be `APP/VERSION` is not.
        case releaseName = "release-name"
        case releaseNotFound = "release-not-found"
        /// The release exists already with other content.
        case versionExists = "version-exists"
        /// `ctr` or `epoch` would not grow.
        case order
        /// A service has no image source, or a source goes with no service.
        case imageSource = "image-source"
        /// Listed, but not enough key holders have signed.
        case notSigned = "not-signed"
        /// A key file that holds no public key.
        case keyFile = "key-file"
        /// No key here may sign what waits.
        case noKey = "no-key"
        case value
    }
    public var reason: Reason
    public var message: String
    public var hint: String?

    public init(_ reason: Reason, _ message: String, hint: String? = nil) {
        self.reason = reason
        self.message = message
        self.hint = hint
    }

    public var code: String { "operator.\(reason.rawValue)" }
    public var exitStatus: ExitStatus {
        switch reason {
        case .noRepository, .releaseNotFound: .noInput
        case .releaseName, .imageSource, .value: .usage
        case .versionExists: .cannotCreate
        case .order, .keyFile: .dataError
        case .notSigned, .noKey: .notTrusted
        }
    }
}
