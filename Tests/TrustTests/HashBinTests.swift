import Base
import Model
import Testing

@testable import Trust

/// Hash bins as the writer makes them.
@Suite struct HashBinTests {
    private let online: any Signer
    private let lab: LabRepository

    init() throws {
        lab = try LabRepository(Scratch())
        online = try signer(80)
    }

    private var signers: [any Signer] { lab.signers + [online] }

    private func plan(_ key: any Signer, days: Int = 90) -> RolePlan {
        RolePlan(keys: [key.publicKey], threshold: 1, days: days)
    }

    private func client() throws -> UpdateClient {
        try UpdateClient(
            trusted: TrustedMetadata(root: lab.repository.rootBytes()), fetcher: lab.fetcher(), now: testNow
        ) { _, _ in }
    }

    @Test func whatIsListedAndWhatComesIsSpreadOverTheBins() async throws {
        try lab.add("web", "1.0.0", ctr: 1)
        try lab.repository.delegateToBins(prefix: "bin", bits: 4, plan: plan(online), signers: signers)
        for number in 2...20 {
            let (target, bytes) = try releaseFixture("web", "\(number).0.0", ctr: Int64(number))
            try lab.repository.add(target, document: bytes, signers: signers)
        }
        var client = try client()
        try await client.refresh()
        for number in 1...20 { #expect(try await client.find("web/\(number).0.0.release.json") != nil) }
        #expect(try await client.find("web/21.0.0.release.json") == nil)
        let status = try lab.repository.status()
        #expect(status.pending.isEmpty)
        #expect(status.roles.first { $0.name == "targets" }?.targets == 0)
        #expect(status.roles.filter { $0.name.hasPrefix("bin-") }.map(\.targets).reduce(0, +) == 20)
        #expect(status.releases.count == 20)
        #expect(try await lab.repository.lint().filter { $0.severity == .error }.isEmpty)

        try lab.repository.remove(path: "web/1.0.0.release.json", signers: signers)
        var second = try self.client()
        try await second.refresh()
        #expect(try await second.find("web/1.0.0.release.json") == nil)
    }

    @Test func aDeviceFindsItsReleaseInABin() async throws {
        try lab.add("web", "1.0.0", ctr: 1)
        try lab.repository.delegateToBins(prefix: "bin", bits: 3, plan: plan(online), signers: signers)
        let state = try TrustState.provision(releaseRoot: lab.repository.rootBytes(), buildTime: testNow)
        let verified = try await verifier().verify(
            from: TrustSources(release: lab.fetcher(), isSideload: true), load: lab.loader(), state: state
        ) { _ in }
        #expect(verified.targetPath == "web/1.0.0.release.json")
    }

    @Test func anotherKeyForTheBinsSignsThemAnew() async throws {
        try lab.add("web", "1.0.0", ctr: 1)
        try lab.repository.delegateToBins(prefix: "bin", bits: 2, plan: plan(online), signers: signers)
        let next = try signer(81)
        let report = try lab.repository.delegateToBins(
            prefix: "bin", bits: 2, plan: plan(next), signers: lab.signers + [next])
        #expect(report.pending.isEmpty)
        var client = try client()
        try await client.refresh()
        #expect(try await client.find("web/1.0.0.release.json") != nil)
        #expect(try lab.repository.published("bin-0")?.version == 2)
    }

    @Test func binsWaitForTheirKeysAndAreThenPublishedOnTheCarriedFolder() async throws {
        try lab.repository.delegateToBins(prefix: "bin", bits: 1, plan: plan(online), signers: lab.signers)
        #expect(Set(try lab.repository.pending().map(\.role)) == ["bin-0", "bin-1"])
        let report = try lab.repository.sign([online])
        #expect(report.published.map(\.role) == ["bin-0", "bin-1"])
        #expect(try lab.repository.sign(lab.signers).pending.isEmpty)
        #expect(try await lab.repository.lint().filter { $0.severity == .error }.isEmpty)
    }

    @Test func binsAndOtherDelegationsDoNotMix() async throws {
        let plan = plan(online)
        try lab.repository.delegate(to: "team", plan: plan, paths: ["team/*"], signers: signers)
        #expect(
            await code { try lab.repository.delegateToBins(prefix: "bin", bits: 2, plan: plan, signers: signers) }
                == "trust.delegation-invalid")
        #expect(
            await code {
                try lab.repository.delegateToBins(
                    prefix: "bin", bits: 13, plan: plan, delegator: "team", signers: signers)
            } == "trust.delegation-invalid")
        let other = try LabRepository(Scratch())
        try other.repository.delegateToBins(prefix: "bin", bits: 2, plan: plan, signers: other.signers + [online])
        #expect(
            await code { try other.repository.delegate(to: "team", plan: plan, paths: ["team/*"], signers: signers) }
                == "trust.delegation-invalid")
        #expect(
            await code { try other.repository.delegateToBins(prefix: "other", bits: 2, plan: plan, signers: signers) }
                == "trust.delegation-invalid")
    }
}
