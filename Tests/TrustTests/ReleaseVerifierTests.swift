import Base
import Model
import Testing

@testable import Trust

@Suite struct ReleaseVerifierTests {
    @Test func aSignedReleaseIsVerifiedFromAFolder() async throws {
        let scratch = try Scratch()
        let lab = try LabRepository(scratch)
        let target = try lab.add()
        let state = try TrustState.provision(releaseRoot: lab.repository.rootBytes(), buildTime: testNow)
        let verified = try await verifier().verify(
            from: TrustSources(release: lab.fetcher(), isSideload: true), load: lab.loader(), state: state
        ) { _ in }
        #expect(verified.value.app == "web")
        #expect(verified.targetPath == "web/1.0.0.release.json")
        #expect(verified.digest == target.digest)
        #expect(verified.freshness == .fresh)
        #expect(verified.newState.release.roles == ["root", "timestamp", "snapshot", "targets"])
    }
}
