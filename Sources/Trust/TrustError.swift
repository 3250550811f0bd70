import Base

/// Why something is not trusted, or could not be signed: which rule, on which element, with what detail.
public struct TrustError: CodedError, Equatable {
    public enum Reason: String, Sendable, CaseIterable {
        // What the bytes are.
        case metadataMalformed = "metadata-malformed"
        case metadataMissing = "metadata-missing"
        case tooLarge = "too-large"
        case specVersion = "spec-version"
        case wrongType = "wrong-type"
        case roleName = "role-name"
        case delegationInvalid = "delegation-invalid"

        // Who signed them.
        case thresholdInvalid = "threshold-invalid"
        case thresholdNotMet = "threshold-not-met"
        case keyIDDuplicate = "keyid-duplicate"
        case signatureDuplicate = "signature-duplicate"
        case schemeUnknown = "scheme-unknown"
        case keyTypeMismatch = "keytype-mismatch"
        case keyMalformed = "key-malformed"

        // Whether they fit what is known already.
        case rollback
        case versionMismatch = "version-mismatch"
        case expired
        case lengthMismatch = "length-mismatch"
        case hashMismatch = "hash-mismatch"
        case hashUnsupported = "hash-unsupported"
        case rootChainTooLong = "root-chain-too-long"
        case tooManyRoles = "too-many-roles"

        // Whether this release is for this device.
        case targetNotFound = "target-not-found"
        case noMatch = "no-match"
        case manyMatch = "many-match"
        /// The director assigns this device nothing.
        case notAssigned = "not-assigned"
        case directorMissing = "director-missing"
        case directorDisagrees = "director-disagrees"
        case counterBelowFloor = "ctr-below-floor"
        case epochBelowFloor = "epoch-below-floor"
        case releaseMalformed = "release-malformed"
        case releaseMismatch = "release-mismatch"
        case requirementMissing = "requirement-missing"
        case ticketInvalid = "ticket-invalid"
        case notProvisioned = "not-provisioned"
        case stateCorrupt = "state-corrupt"

        // What failed around it.
        case fetchFailed = "fetch-failed"
        case persistFailed = "persist-failed"
        case crypto
        case keyNotFound = "key-not-found"
        case keyExists = "key-exists"
        case keyName = "key-name"
        case keyPermission = "key-permission"
        case keyLocked = "key-locked"
        case token
        case repositoryExists = "repository-exists"
        case repositoryInvalid = "repository-invalid"
    }

    public var reason: Reason
    /// The role, target path, key or file.
    public var element: String
    public var detail: String

    public init(_ reason: Reason, _ element: String, _ detail: String) {
        self.reason = reason
        self.element = element
        self.detail = detail
    }

    public var code: String { "trust.\(reason.rawValue)" }
    public var message: String { "\(element): \(detail)" }

    public var hint: String? {
        switch reason {
        case .thresholdNotMet: "have more of the role's key holders sign, then carry the folder again"
        case .expired: "re-sign the role with `holdfast repo refresh`, or correct the device's clock"
        case .thresholdInvalid: "let at least 1 and at most as many as there are keys have to sign"
        case .keyIDDuplicate: "name each key once"
        case .keyLocked: "give this key's own passphrase (a token's: its PIN) by file, descriptor or prompt"
        case .keyPermission: "let its owner alone use it: chmod 600 a key file, chmod 700 its folder"
        case .keyNotFound: "see which keys there are with `holdfast keys list`"
        case .keyExists: "choose another name; a key is never overwritten"
        case .keyName: "choose another name"
        case .token: "see what the module finds with `pkcs11-tool --module FILE --list-slots`"
        case .repositoryExists: "sign what waits there with `holdfast repo sign`, or name another folder"
        case .notAssigned: "see who gets what: on the hub, or with `holdfast director list`"
        case .roleName: "see the roles with `holdfast repo status`"
        case .notProvisioned: "provision the device with the repository's root.json"
        case .tooManyRoles: "name the app and version to look for"
        case .manyMatch: "name the app, or correct the selectors so that one release matches"
        case .noMatch: "compare the device's labels with the selectors of the releases"
        case .directorMissing: "bring the director's metadata too, or allow this device to go without a director"
        default: nil
        }
    }

    public var exitStatus: ExitStatus {
        switch reason {
        case .fetchFailed: .unavailable
        case .persistFailed: .ioError
        case .crypto: .software
        case .keyNotFound, .metadataMissing, .notAssigned: .noInput
        case .keyExists, .repositoryExists: .cannotCreate
        case .keyName: .usage
        case .keyPermission, .keyLocked: .noPermission
        case .repositoryInvalid: .dataError
        case .token: .unavailable
        default: .notTrusted
        }
    }
}
