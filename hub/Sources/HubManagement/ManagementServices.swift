import Base
import Dispatch
import HubAudit
import HubCore
import HubDevices
import HubEnrolment
import HubReleases
import HubStore
import HubTokens
import HubTunnel
import Logging
import NIOHTTP1
import OCI
import Trust

/// What the routes of the management API are made of.
public struct ManagementServices: Sendable {
    public var store: any MetadataStore
    public var blobs: any HubBlobStore
    /// Where blobs are written as they come; `blobs` reads the same.
    public var uploads: BlobStore
    public var releases: ReleaseRepository
    public var enrolment: EnrolmentService
    public var audit: AuditLog
    public var tokens: OperatorTokens
    public var tokenSigner: any Signer
    public var sealing: Sealing
    /// Nil where the hub keeps no interface.
    public var tunnel: TunnelEnds?
    /// The hub's own key; nil where it keeps no interface.
    public var hub: HubOrders?
    /// Fires after each commit.
    public var commits: Signal
    public var clock: SystemClock
    public var logger: Logger

    public init(
        store: any MetadataStore, blobs: any HubBlobStore, uploads: BlobStore, releases: ReleaseRepository,
        enrolment: EnrolmentService, audit: AuditLog,
        tokens: OperatorTokens, tokenSigner: any Signer, sealing: Sealing, tunnel: TunnelEnds?,
        hub: HubOrders? = nil, commits: Signal,
        clock: SystemClock = .live, logger: Logger
    ) {
        self.store = store
        self.blobs = blobs
        self.uploads = uploads
        self.releases = releases
        self.enrolment = enrolment
        self.audit = audit
        self.tokens = tokens
        self.tokenSigner = tokenSigner
        self.sealing = sealing
        self.tunnel = tunnel
        self.hub = hub
        self.commits = commits
        self.clock = clock
        self.logger = logger
    }

    /// Every route, in the order of the documentation.
    public func routes() -> [ManagementRoute] {
        let passwords = PasswordWork()
        return SessionRoutes(self, passwords: passwords).routes + OperatorRoutes(self, passwords: passwords).routes
            + DeviceRoutes(self).routes + TokenRoutes(self).routes + FleetRoutes(self).routes
            + ReleaseRoutes(self).routes + AssignmentRoutes(self).routes + EventRoutes(self).routes
            + AuditRoutes(self).routes
            + PeerRoutes(self).routes + HubRoutes(self).routes
    }
}
