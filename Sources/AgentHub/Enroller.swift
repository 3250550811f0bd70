import AgentCore
import Base
import Logging
import HubProtocol
import Trust
import WireGuard

/// Makes a device part of a hub's fleet, one durable step after the other: keys, request, answer, tunnel, trust.
/// Each step is done again after a crash, with the same bytes, and the hub answers the same.
struct Enroller: Sendable {
    let environment: HubEnvironment
    let keeper: TunnelKeeper

    /// Takes a token in: it and the device's keys are on disk before anything leaves the device.
    func begin(_ token: EnrolmentToken) throws -> HubStanding {
        try environment.keys.prepare()
        try environment.files.save(token)
        let key = try environment.keys.tunnelKeyFile(.first).readOrCreate()
        let signer = try environment.keys.signer()
        let request = try EnrolmentRequest(
            token: token, privateKey: key, signingKey: signer.publicKey, architecture: environment.architecture,
            hostName: environment.hostName)
        let standing = HubStanding(
            token: token, id: try token.credential().id, request: try request.envelope(signedBy: signer),
            now: environment.clock.now())
        try environment.files.save(standing)
        return standing
    }

    /// Asks once through the token's temporary tunnel. Answers the seconds to wait when a person has to approve.
    func ask(_ standing: inout HubStanding) async throws -> Int64? {
        guard let token = try environment.files.loadToken() else {
            throw HubLinkError(
                .state, "the token is gone before the hub had answered", hint: "enrol again with a new token")
        }
        try await keeper.applyTimeFloor(standing)
        let credential = try token.credential()
        let plan = TunnelPlan(
            interface: try environment.settings.temporaryName(), privateKey: credential.privateKey,
            presharedKey: credential.presharedKey, address: token.network.temporary(credential.id),
            hub: token.network.hub, hubKey: token.hubPublicKey, host: token.host, port: token.port,
            metric: TunnelKeeper.temporaryMetric, keepalive: 0)
        try await environment.links.bringUp(plan)
        let answer = try await HubClient.enrol(standing.request, by: environment.transport, plan.path)
        var next = standing
        defer { standing = next }
        switch answer {
        case .waiting(let device, let seconds):
            next.phase = .waiting
            next.device = device
            try environment.files.save(next)
            return seconds
        case .enrolled(let device, let address, let hub):
            guard let pair = IPPrefix(address, length: 127).flatMap({ DeviceAddresses($0) }) else {
                throw HubLinkError(.badAnswer, "\(address) is no tunnel address")
            }
            next.phase = .enrolled
            next.device = device
            next.addresses = pair
            next.hub = hub
            next.rotation = RotationState(active: address == pair.address(.first) ? .first : .second)
            next.keyedAt = environment.clock.now()
            next.timeFloor = environment.clock.now()
            next.reportEpoch = max(1, next.reportEpoch + 1)
            // A device whose first address is the odd one has its key in the other slot's place.
            if next.rotation.active == .second {
                let key = try environment.keys.tunnelKeyFile(.first).read()
                try environment.keys.tunnelKeyFile(.second).write(key)
            }
            try environment.files.save(next)
            try await environment.links.takeDown(plan.interface)
            return nil
        }
    }

    /// First trust, where the device has none: the root that the token named, from the hub. And the director's,
    /// which is the hub's own to say.
    func settle(_ standing: HubStanding, _ state: DeviceStateAnswer, _ client: HubClient, _ end: HubEnd) async throws {
        let limits = TrustLimits.standard
        let director =
            try await state.director.root > 0
            ? client.metadata(
                .director, "\(state.director.root).root.json", end, limit: limits.rootBytes) : nil
        let device = DeviceRecord(
            id: standing.device, labels: state.labels, requiresDirector: environment.settings.requiresDirector)
        guard try await environment.journal.trustState() == nil else {
            return try await environment.journal.join(device, directorRoot: director)
        }
        let root = try await self.root(standing, newest: state.release.root, client, end)
        let trust = try TrustState.provision(
            releaseRoot: root, directorRoot: director, expected: standing.rootDigest,
            buildTime: environment.buildTime)
        try await environment.journal.provision(device, trust: trust)
        environment.logger.notice("provisioned by the hub", metadata: ["device": "\(standing.device)"])
    }

    /// The root whose digest the token carries: the newest or one before it. From there the way to the newest is
    /// the verifier's, by signatures.
    private func root(
        _ standing: HubStanding, newest: Int64, _ client: HubClient, _ end: HubEnd
    ) async throws -> [UInt8] {
        let limits = TrustLimits.standard
        var version = newest
        while version >= 1, version > newest - Int64(limits.rootSteps) {
            let bytes = try await client.metadata(.release, "\(version).root.json", end, limit: limits.rootBytes)
            if let bytes, Digest.sha256(bytes) == standing.rootDigest { return bytes }
            version -= 1
        }
        throw HubLinkError(
            .wrongRoot, "no root of the hub is the one that the token names (sha256 \(standing.rootDigest.hex))",
            hint: "make a token with the hub whose releases this device is to trust")
    }
}
